package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Problem is a refusal of the API, RFC 9457, as contract section 1 has it.
type Problem struct { //nolint:errname // RFC 9457 calls it so
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Title     string `json:"title"`
	Detail    string `json:"detail"`
	RequestID string `json:"requestId"`
	Errors    []struct {
		Field   string `json:"field"`
		Message string `json:"message"`
	} `json:"errors"`
}

// Error is its code and words.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

var errTooLarge = errors.New("the answer is larger than a page")

const maxAnswer = 8 << 20

// client speaks to the API in this process.
type client struct{ api http.Handler }

// call is one request to the API; body is sent as JSON.
type call struct {
	method, path string
	query        url.Values
	body         any
	header       map[string]string
}

// memory keeps an answer.
type memory struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (m *memory) Header() http.Header { return m.header }

func (m *memory) WriteHeader(status int) {
	if m.status == 0 && status >= http.StatusOK {
		m.status = status
	}
}

func (m *memory) Write(b []byte) (int, error) {
	m.WriteHeader(http.StatusOK)
	if m.body.Len()+len(b) > maxAnswer {
		return 0, errTooLarge
	}
	return m.body.Write(b) //nolint:wrapcheck // never fails
}

// carried are the headers of a page's request that the API must see as well:
// who asks, from where, in what language, with what.
var carried = []string{"X-Forwarded-For", "User-Agent", "Accept-Language", "Traceparent", "Tracestate"}

// request makes the API's request out of a page's.
func (in call) request(ctx context.Context, outer *http.Request, token string) (*http.Request, error) {
	var body []byte
	if in.body != nil {
		var err error
		if m, ok := in.body.(proto.Message); ok {
			body, err = protojson.Marshal(m)
		} else {
			body, err = json.Marshal(in.body)
		}
		if err != nil {
			return nil, fmt.Errorf("encode a request: %w", err)
		}
	}
	target := url.URL{Path: "/api/v1" + in.path, RawQuery: in.query.Encode()}
	r, err := http.NewRequestWithContext(ctx, in.method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	r.RequestURI = target.RequestURI()
	r.RemoteAddr, r.Host, r.TLS = outer.RemoteAddr, outer.Host, outer.TLS
	for _, name := range carried {
		if v := outer.Header.Values(name); len(v) > 0 {
			r.Header[name] = v
		}
	}
	if in.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for k, v := range in.header {
		r.Header.Set(k, v)
	}
	return r, nil
}

// do sends a call and keeps the answer; a refusal is a *Problem.
func (c client) do(outer *http.Request, token string, in call) (*memory, error) {
	r, err := in.request(outer.Context(), outer, token)
	if err != nil {
		return nil, err
	}
	m := &memory{header: http.Header{}}
	c.api.ServeHTTP(m, r)
	m.WriteHeader(http.StatusOK)
	if m.status < http.StatusBadRequest {
		return m, nil
	}
	return m, problemOf(m)
}

func problemOf(m *memory) *Problem {
	p := &Problem{}
	if json.Unmarshal(m.body.Bytes(), p) != nil || p.Code == "" {
		return &Problem{Status: m.status, Code: "INTERNAL", Title: http.StatusText(m.status), Detail: "the answer could not be read"}
	}
	p.Status = m.status
	return p
}

// decode reads an answer. Fields that a newer service adds are no fault.
func (m *memory) decode(into proto.Message) error {
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(m.body.Bytes(), into); err != nil {
		return fmt.Errorf("read the API's answer: %w", err)
	}
	return nil
}

// at joins a path of escaped segments.
func at(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}
