package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/google/uuid"
)

// provider hands letters of one channel to whoever carries SMS or WhatsApp:
// one POST each, the same Idempotency-Key when it is repeated.
type provider struct {
	url, token string
	client     *http.Client
}

func newProvider(url, token string) *provider {
	return &provider{url: url, token: token, client: &http.Client{
		Timeout:       mailTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for this address
	}}
}

// send implements transport. A refusal is final, unless the token or the pace
// is refused rather than the message.
func (p *provider) send(ctx context.Context, id uuid.UUID, l letter) error {
	body, err := json.Marshal(map[string]string{"to": l.To, "text": l.Text, "template": l.Template, "locale": l.Locale})
	if err != nil {
		return &undelivered{Why: "the message is not a letter", Final: true}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return &undelivered{Why: "the provider's address is malformed"}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", id.String())
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	res, err := p.client.Do(req)
	if err != nil {
		return unreachable("the provider", err)
	}
	defer func() { _ = res.Body.Close() }() // read as far as needed
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
	switch code := res.StatusCode; {
	case code/100 == 2:
		return nil
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusRequestTimeout,
		code == http.StatusTooEarly, code == http.StatusTooManyRequests:
		return &undelivered{Why: "the provider answered " + strconv.Itoa(code)}
	default:
		return &undelivered{Why: "the provider answered " + strconv.Itoa(code), Final: code/100 == 4}
	}
}

// unreachable says how a connection failed, without what the other side said.
func unreachable(who string, err error) error {
	var op *net.OpError
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return &undelivered{Why: who + " did not answer in time"}
	case errors.As(err, &op):
		return &undelivered{Why: who + " is not reached: " + op.Op + ": " + op.Err.Error()}
	}
	return &undelivered{Why: who + " is not reached"}
}
