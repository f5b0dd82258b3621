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

	"github.com/manas360/platform/services/payment/factstate"
)

// PhonePe's hosts, from its own SDK (pg-sdk-node 2.0.2).
const (
	phonepeSandboxBase    = "https://api-preprod.phonepe.com/apis/pg-sandbox"
	phonepeSandboxOAuth   = "https://api-preprod.phonepe.com/apis/pg-sandbox/v1/oauth/token"
	phonepeProductionBase = "https://api.phonepe.com/apis/pg"
	phonepeProductionAuth = "https://api.phonepe.com/apis/identity-manager/v1/oauth/token"
)

const (
	phonepePayPath    = "/checkout/v2/pay"
	phonepeOrderPath  = "/checkout/v2/order/"
	phonepeMinPaise   = 100
	phonepeCurrency   = "INR"            // v2 has no currency on the wire
	orderLife         = 20 * time.Minute // expireAfter; PhonePe takes 5 to 60 minutes
	maxAnswerBytes    = 1 << 20
	maxIdlePerHost    = 32
	breakerTrips      = 10              // failures in a row
	breakerPause      = 2 * time.Second // then one call is let through
	handshakeTimeout  = 2 * time.Second
	maxMethodLen      = 32
	maxFailureCodeLen = 64
)

// phonepe speaks PhonePe's v2 checkout. Safe for concurrent use.
type phonepe struct {
	base     string
	merchant string
	client   *http.Client
	tokens   *tokenSource
	breaker  *gobreaker.CircuitBreaker[answer]
	now      func() time.Time
}

type answer struct {
	status int
	body   []byte
}

// newPhonePe makes the client; nothing is called before the first payment.
func newPhonePe(c PhonePe, now func() time.Time, calls *prometheus.CounterVec) *phonepe {
	t := &http.Transport{
		MaxIdleConnsPerHost: maxIdlePerHost, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: handshakeTimeout, ForceAttemptHTTP2: true,
	}
	client := &http.Client{
		Transport: counted{next: t, calls: calls},
		// An answer is never somewhere else, and the token must not follow.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &phonepe{
		base: strings.TrimSuffix(c.BaseURL, "/"), merchant: c.MerchantID, client: client, now: now,
		tokens: newTokenSource(c, client, now),
		breaker: gobreaker.NewCircuitBreaker[answer](gobreaker.Settings{
			Name: "phonepe", Timeout: breakerPause,
			ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerTrips },
		}),
	}
}

func (c *phonepe) atLeast() int64 { return phonepeMinPaise }

type phonepePay struct {
	MerchantOrderID string            `json:"merchantOrderId"`
	Amount          int64             `json:"amount"`
	ExpireAfter     int64             `json:"expireAfter"` // seconds
	MetaInfo        map[string]string `json:"metaInfo"`
	PaymentFlow     phonepeFlow       `json:"paymentFlow"`
}

type phonepeFlow struct {
	Type         string      `json:"type"`
	MerchantURLs phonepeURLs `json:"merchantUrls"`
}

type phonepeURLs struct {
	RedirectURL string `json:"redirectUrl"`
}

func (c *phonepe) pay(ctx context.Context, o order) (opened, error) {
	a, err := c.post(ctx, phonepePayPath, phonepePay{
		MerchantOrderID: o.MerchantOrderID, Amount: o.AmountMinor, ExpireAfter: int64(orderLife / time.Second),
		MetaInfo:    map[string]string{"udf1": o.PaymentID, "udf2": o.UserID},
		PaymentFlow: phonepeFlow{Type: "PG_CHECKOUT", MerchantURLs: phonepeURLs{RedirectURL: o.ReturnURL}},
	})
	if err != nil {
		return opened{}, err
	}
	return c.readOpened(a.body)
}

func (c *phonepe) readOpened(body []byte) (opened, error) {
	var r struct {
		OrderID     string `json:"orderId"`
		RedirectURL string `json:"redirectUrl"`
		ExpireAt    int64  `json:"expireAt"` // milliseconds
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return opened{}, fmt.Errorf("read the answer to pay: %w", err)
	}
	if u, err := url.Parse(r.RedirectURL); r.OrderID == "" || err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return opened{}, errors.New("the answer to pay has no order or nowhere to pay")
	}
	return opened{ProviderOrderID: r.OrderID, RedirectURL: r.RedirectURL, ExpiresAt: c.expiry(r.ExpireAt)}, nil
}

// expiry trusts the provider's time only while it makes sense.
func (c *phonepe) expiry(milli int64) time.Time {
	now := c.now()
	if at := time.UnixMilli(milli).UTC(); at.After(now) && at.Before(now.Add(24*time.Hour)) {
		return at
	}
	return now.Add(orderLife)
}

// phonepeOrder is the part of an order we rely on. Everything else may change.
type phonepeOrder struct {
	OrderID           string          `json:"orderId"`
	MerchantOrderID   string          `json:"merchantOrderId"`
	State             string          `json:"state"`
	Amount            int64           `json:"amount"`
	ErrorCode         string          `json:"errorCode"`
	DetailedErrorCode string          `json:"detailedErrorCode"`
	PaymentDetails    []phonepeDetail `json:"paymentDetails"`
}

type phonepeDetail struct {
	TransactionID string `json:"transactionId"`
	PaymentMode   string `json:"paymentMode"`
	Timestamp     int64  `json:"timestamp"` // milliseconds
	State         string `json:"state"`
}

func (c *phonepe) status(ctx context.Context, o sentOrder) (fact, error) {
	a, err := c.call(ctx, http.MethodGet, phonepeOrderPath+url.PathEscape(o.MerchantOrderID)+"/status?details=false", nil)
	if err != nil {
		return fact{}, err
	}
	switch {
	case a.status == http.StatusNotFound, a.status == http.StatusBadRequest && unknownOrder(a.body):
		return fact{}, errNoOrder
	case a.status != http.StatusOK:
		return fact{}, fmt.Errorf("status answered %d %s", a.status, errorCode(a.body))
	}
	return readPhonePeOrder(a.body, o.MerchantOrderID)
}

// readPhonePeOrder relies on the root state alone. No state, or one we do not
// know, is factstate.Unknown.
func readPhonePeOrder(body []byte, asked string) (fact, error) {
	var o phonepeOrder
	if err := json.Unmarshal(body, &o); err != nil {
		return fact{}, fmt.Errorf("read the order's status: %w", err)
	}
	f := fact{
		MerchantOrderID: asked, EchoedOrderID: o.MerchantOrderID, ProviderOrderID: o.OrderID,
		AmountMinor: o.Amount, Currency: phonepeCurrency,
	}
	switch o.State {
	case "PENDING":
		f.Kind = factstate.Opened
	case "COMPLETED":
		f.Kind = factstate.Captured
	case "FAILED":
		f.Kind = factstate.Declined
		if strings.Contains(o.ErrorCode, "EXPIRED") {
			f.Kind = factstate.Lapsed
		}
		f.FailureCode = clip(o.ErrorCode, maxFailureCodeLen)
	default:
	}
	for _, d := range o.PaymentDetails {
		if f.Method == "" || d.State == o.State {
			f.Method = clip(d.PaymentMode, maxMethodLen)
		}
		if d.State == "COMPLETED" && d.Timestamp > 0 {
			f.PaidAt = time.UnixMilli(d.Timestamp).UTC()
		}
	}
	return f, nil
}

func clip(s string, n int) string {
	return strings.ToValidUTF8(s[:min(n, len(s))], "")
}

// call makes one call with a token. errNotSent when the request certainly never
// left; an answer below 500 is no error here.
func (c *phonepe) call(ctx context.Context, method, path string, body []byte) (answer, error) {
	tok, err := c.tokens.get(ctx)
	if err != nil {
		return answer{}, fmt.Errorf("get a token: %w (%w)", errNotSent, err)
	}
	var left atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { left.Store(true) },
	})
	a, err := c.breaker.Execute(func() (answer, error) { return c.send(traced, method, path, tok, body) })
	if err != nil {
		if !left.Load() {
			return answer{}, fmt.Errorf("%w (%w)", errNotSent, err)
		}
		return answer{}, err //nolint:wrapcheck // send's own
	}
	if a.status == http.StatusUnauthorized {
		c.tokens.refuse(ctx, tok) // the next call gets another; this one is not repeated
	}
	return a, nil
}

func (c *phonepe) send(ctx context.Context, method, path, tok string, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Authorization", "O-Bearer "+tok)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.merchant != "" {
		req.Header.Set("X-Merchant-Id", c.merchant)
	}
	a, err := do(c.client, req)
	if err == nil && a.status >= http.StatusInternalServerError {
		err = fmt.Errorf("%s %s answered %d", method, req.URL.Path, a.status) // counts for the breaker
	}
	return a, err
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

// unknownOrder tells a 400 about the order from one about anything else.
func unknownOrder(body []byte) bool {
	switch errorCode(body) {
	case "INVALID_MERCHANT_ORDER_ID", "TRANSACTION_NOT_FOUND", "ORDER_NOT_FOUND":
		return true
	default:
		return false
	}
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

// counted counts calls to the provider by what came back.
type counted struct {
	next  http.RoundTripper
	calls *prometheus.CounterVec
}

func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := c.next.RoundTrip(r)
	class := "error"
	if err == nil {
		class = fmt.Sprintf("%dxx", res.StatusCode/100)
	}
	c.calls.WithLabelValues("phonepe", class).Inc()
	return res, err //nolint:wrapcheck // a RoundTripper hands on what it got
}
