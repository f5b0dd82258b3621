package payment

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
)

// verifier reports whether a callback comes from whom it says. Header names are
// in lower case.
type verifier func(headers map[string]string, body []byte) bool

const authorizationHeader = "authorization"

// staticVerifier checks PhonePe's v2 header: hex SHA-256 of "user:password". It
// proves nothing about the body, which is why a callback is only a hint.
func staticVerifier(username, password string) verifier {
	want := sha256.Sum256([]byte(username + ":" + password))
	return func(h map[string]string, _ []byte) bool {
		if username == "" || password == "" {
			return false // not configured: nobody can know it
		}
		v := strings.TrimSpace(h[authorizationHeader])
		if len(v) > len("SHA256 ") && strings.EqualFold(v[:len("SHA256 ")], "SHA256 ") {
			v = v[len("SHA256 "):]
		}
		got, err := hex.DecodeString(v) // either case
		return err == nil && subtle.ConstantTimeCompare(got, want[:]) == 1
	}
}

// callback is what a body claims.
type callback struct {
	Event           string
	MerchantOrderID string
	State           string
	AmountMinor     *int64
	Key             [sha256.Size]byte // the same for the same claim, however often it comes
}

const (
	maxEventLen   = 100
	maxRefLen     = 128
	maxStateLen   = 32
	maxTxns       = 64
	legacyEvent   = "payment.status" // the old dialect has no event name
	keepHeaderLen = 512
)

// callbackBody is the part we rely on; the rest may change.
type callbackBody struct {
	Event   string           `json:"event"`
	Payload *callbackPayload `json:"payload"`

	// The old system's sandbox dialect.
	MerchantTransactionID string `json:"merchantTransactionId"`
	Status                string `json:"status"`
}

type callbackPayload struct {
	MerchantOrderID         string          `json:"merchantOrderId"`
	OriginalMerchantOrderID string          `json:"originalMerchantOrderId"`
	MerchantRefundID        string          `json:"merchantRefundId"`
	State                   string          `json:"state"`
	Amount                  *int64          `json:"amount"`
	PaymentDetails          []phonepeDetail `json:"paymentDetails"`
}

// parseCallback reads a body whose sender is known already.
func parseCallback(body []byte) (callback, error) {
	var b callbackBody
	if err := json.Unmarshal(body, &b); err != nil {
		return callback{}, errors.New("it is not the JSON of a callback")
	}
	c := callback{Event: b.Event}
	var refund string
	var txns []string
	switch {
	case b.Payload != nil:
		c.MerchantOrderID, c.State, c.AmountMinor = b.Payload.MerchantOrderID, b.Payload.State, b.Payload.Amount
		refund = b.Payload.MerchantRefundID
		if c.MerchantOrderID == "" {
			c.MerchantOrderID = b.Payload.OriginalMerchantOrderID
		}
		for _, d := range b.Payload.PaymentDetails {
			txns = append(txns, d.TransactionID)
		}
	case b.MerchantTransactionID != "":
		c.MerchantOrderID, c.State = b.MerchantTransactionID, b.Status
		if c.Event == "" {
			c.Event = legacyEvent
		}
	default:
		return callback{}, errors.New("it has no payload")
	}
	for _, s := range []struct {
		text  string
		limit int
	}{{c.Event, maxEventLen}, {c.MerchantOrderID, maxRefLen}, {c.State, maxStateLen}} {
		if len(s.text) > s.limit || strings.ContainsRune(s.text, 0) {
			return callback{}, errors.New("a field is too long or holds a zero byte")
		}
	}
	if c.Event == "" || len(txns) > maxTxns {
		return callback{}, errors.New("it has no event or too many transactions")
	}
	c.Key = eventKey(c, refund, txns)
	return c, nil
}

// eventKey names a claim by what it claims, never by when it came: providers
// send no id, and repeat. The amount is part of it, lest a false claim take the
// place of the true one.
func eventKey(c callback, refund string, txns []string) (key [sha256.Size]byte) {
	h := sha256.New()
	part := func(s string) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) //nolint:gosec // bodies are far below 4 GiB
		h.Write([]byte(s))
	}
	amount := int64(-1)
	if c.AmountMinor != nil {
		amount = *c.AmountMinor
	}
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(amount))) //nolint:gosec // the bits are what counts
	part(c.Event)
	part(c.MerchantOrderID)
	part(refund)
	part(c.State)
	slices.Sort(txns)
	for _, t := range txns {
		part(t)
	}
	h.Sum(key[:0])
	return key
}

// aboutOrder reports whether the claimed amount is the order's.
func (c callback) aboutOrder() bool {
	return strings.HasPrefix(c.Event, "checkout.order.") || strings.HasPrefix(c.Event, "pg.order.") || c.Event == legacyEvent
}

// receive keeps a callback and answers; what it means is found out by asking.
// duplicate reports that it was kept before.
func (s *Service) receive(ctx context.Context, provider string, headers map[string]string, body []byte) (duplicate bool, err error) {
	verify, ok := s.verifiers[provider]
	if !ok {
		return false, fail.New(fail.NotFound, "there is no such provider")
	}
	if !verify(headers, body) {
		s.metrics.callbacks.WithLabelValues(provider, "rejected").Inc()
		if s.refusals.take(s.now()) {
			if err := s.noteRejected(ctx, provider); err != nil {
				zerolog.Ctx(ctx).Warn().Err(err).Msg("rejected callback not audited")
			}
		}
		return false, fail.New(fail.InvalidSignature, "the signature is not valid")
	}
	c, err := parseCallback(body)
	if err != nil {
		s.metrics.callbacks.WithLabelValues(provider, "malformed").Inc()
		return false, fail.New(fail.MalformedBody, "the body is not a callback").Wrap(err)
	}
	state, isNew, err := s.keepCallback(ctx, provider, c, keepHeaders(headers), body)
	if err != nil {
		return false, err
	}
	if !isNew {
		s.metrics.callbacks.WithLabelValues(provider, "duplicate").Inc()
		return true, nil
	}
	s.metrics.callbacks.WithLabelValues(provider, strings.ToLower(state)).Inc()
	if state == eventOrphan {
		zerolog.Ctx(ctx).Error().Str("provider", provider).Str("event", c.Event).Msg("callback about an unknown order kept")
		return false, nil
	}
	s.wake()
	return false, nil
}

// keepHeaders leaves out the static secret: whoever reads the table must not be
// able to sign.
func keepHeaders(headers map[string]string) map[string]string {
	kept := make(map[string]string, len(headers))
	for name, v := range headers {
		if name != authorizationHeader && len(v) <= keepHeaderLen {
			kept[name] = strings.ToValidUTF8(strings.ReplaceAll(v, "\x00", ""), "")
		}
	}
	return kept
}

// budget bounds what a flood of forgeries writes to the audit log. The zero
// budget is full.
type budget struct {
	mu     sync.Mutex // guards all below
	minute time.Time
	spent  int
}

const rejectedPerMinute = 60 // the rest is counted in the metrics alone

func (b *budget) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.minute) >= time.Minute {
		b.minute, b.spent = now, 0
	}
	b.spent++
	return b.spent <= rejectedPerMinute
}
