package payment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
)

const (
	maxAnswerBytes    = 1 << 20
	maxIdlePerHost    = 32
	breakerTrips      = 10              // failures in a row
	breakerPause      = 2 * time.Second // then one call is let through
	handshakeTimeout  = 2 * time.Second
	maxMethodLen      = 32
	maxFailureCodeLen = 64
)

// line is the way to one provider: it counts the calls, stops them while the
// provider is down, and reads its answers within bounds.
type line struct {
	client  *http.Client
	breaker *gobreaker.CircuitBreaker[answer]
}

type answer struct {
	status int
	body   []byte
}

// newLine makes the line; nothing is called before the first payment.
func newLine(provider string, calls *prometheus.CounterVec) *line {
	t := &http.Transport{
		MaxIdleConnsPerHost: maxIdlePerHost, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: handshakeTimeout, ForceAttemptHTTP2: true,
	}
	return &line{
		client: &http.Client{
			Transport: counted{next: t, provider: provider, calls: calls},
			Timeout:   callLimit, // should a caller forget
			// An answer is never somewhere else, and the keys must not follow.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		breaker: gobreaker.NewCircuitBreaker[answer](gobreaker.Settings{
			Name: provider, Timeout: breakerPause,
			ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerTrips },
		}),
	}
}

func newRequest(ctx context.Context, method, address string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// exchange makes one call. errNotSent when the request certainly never left; an
// answer below 500 is no error here.
func (l *line) exchange(req *http.Request) (answer, error) {
	var left atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { left.Store(true) },
	}))
	a, err := l.breaker.Execute(func() (answer, error) {
		a, err := do(l.client, req)
		if err == nil && a.status >= http.StatusInternalServerError {
			err = fmt.Errorf("%s %s answered %d", req.Method, req.URL.Path, a.status) // counts for the breaker
		}
		return a, err
	})
	if err != nil && !left.Load() {
		return answer{}, fmt.Errorf("%w (%w)", errNotSent, err)
	}
	return a, err //nolint:wrapcheck // do's own
}

// do reads the whole answer, within bounds.
func do(client *http.Client, req *http.Request) (answer, error) {
	res, err := client.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("call the provider: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return answer{}, fmt.Errorf("read the provider's answer: %w", err)
	}
	return answer{status: res.StatusCode, body: body}, nil
}

// refusal is what an answer other than 200 says of a call that changes
// something. Only a 4xx in the provider's own words, which have a code, is a no:
// a server's failure, a proxy's page and a conflict in time decide nothing.
func refusal(doing string, status int, code string) error {
	switch {
	case code == "", status < http.StatusBadRequest, status >= http.StatusInternalServerError,
		status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooEarly:
		return fmt.Errorf("%s answered %d %s", doing, status, code)
	case status == http.StatusUnauthorized, status == http.StatusTooManyRequests:
		return fmt.Errorf("%s answered %d %s: %w", doing, status, code, errNotSent)
	default:
		return &refusedError{Status: status, Code: code}
	}
}

// before is why a call was not made: what had to be asked first failed. Of the
// cause only the words remain, for it is not about this call.
func before(doing string, err error) error {
	return fmt.Errorf("%s: %w (%s)", doing, errNotSent, err.Error())
}

func errorCode(body []byte) string {
	var e struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	return clip(e.Code, maxFailureCodeLen)
}

func clip(s string, n int) string {
	return strings.ToValidUTF8(s[:min(n, len(s))], "")
}

// isAddress tells where a customer can be sent.
func isAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

// expiry trusts the provider's time only while it makes sense.
func expiry(at, now time.Time) time.Time {
	if at = at.UTC(); at.After(now) && at.Before(now.Add(24*time.Hour)) {
		return at
	}
	return now.Add(orderLife)
}

// counted counts calls to the provider by what came back.
type counted struct {
	next     http.RoundTripper
	provider string
	calls    *prometheus.CounterVec
}

func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := c.next.RoundTrip(r)
	class := "error"
	if err == nil {
		class = fmt.Sprintf("%dxx", res.StatusCode/100)
	}
	c.calls.WithLabelValues(c.provider, class).Inc()
	return res, err //nolint:wrapcheck // a RoundTripper hands on what it got
}
