package payment

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
)

// dialect is how one provider calls back.
type dialect struct {
	verify verifier
	parse  claimReader
}

// verifier reports whether a callback comes from whom it says. Header names are
// in lower case.
type verifier func(headers map[string]string, body []byte) bool

// claimReader reads a body whose sender is known already: strict about what we rely
// on, and blind to the rest.
type claimReader func(headers map[string]string, body []byte) (callback, error)

// What callbacks are about. Nobody acts on the empty topic.
const (
	topicOrder      = "order"
	topicRefund     = "refund"
	topicDispute    = "dispute"
	topicMandate    = "mandate"
	topicSettlement = "settlement"
)

// callback is what a body claims. A claim is a reason to ask, never a fact.
type callback struct {
	Event           string
	EventID         string // as the provider numbers them; empty when it does not
	Topic           string
	Subject         string // the refund, dispute or mandate it is about: our name if it has it, or theirs
	MerchantOrderID string
	Refs            []string // the provider's names of the order and of what belongs to it
	State           string
	Final           bool   // the order has ended, it says
	AmountMinor     *int64 // of the order, refund or dispute; nil when it does not say
	Currency        string
	Key             [sha256.Size]byte // the same for the same claim, however often it comes
}

const (
	authorizationHeader = "authorization"

	maxCallback   = 256 << 10 // what the edge lets through
	maxEventLen   = 100
	maxRefLen     = 128
	maxStateLen   = 32
	maxRefs       = 8
	maxTxns       = 64
	keepHeaderLen = 512
)

// seal bounds a callback's fields and gives it its key. parts are what tells its
// claim from others beside the fields, in any order.
func (c callback) seal(parts ...string) (callback, error) {
	if c.Event == "" || len(parts) > maxTxns {
		return callback{}, errors.New("it has no event or too many transactions")
	}
	refs := c.Refs[:0:0]
	for _, ref := range c.Refs {
		if ref != "" && !slices.Contains(refs, ref) && len(refs) < maxRefs {
			refs = append(refs, ref)
		}
	}
	c.Refs = refs
	for _, f := range []struct {
		limit int
		texts []string
	}{
		{maxEventLen, []string{c.Event}},
		{maxRefLen, append([]string{c.MerchantOrderID, c.Subject, c.EventID}, refs...)},
		{maxStateLen, []string{c.State, c.Currency}},
	} {
		for _, text := range f.texts {
			if len(text) > f.limit || strings.ContainsRune(text, 0) {
				return callback{}, errors.New("a field is too long or holds a zero byte")
			}
		}
	}
	c.Key = c.key(parts)
	return c, nil
}

// key names a claim by what it claims, never by when it came: providers repeat,
// and the ids they number events with are mostly not signed. The amount is part
// of it, lest a false claim take the place of the true one.
func (c callback) key(parts []string) (key [sha256.Size]byte) {
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
	part(c.Subject)
	part(c.State)
	if c.Currency != "" { // PhonePe has none; its keys are older than this line
		part("currency " + c.Currency)
	}
	for _, s := range slices.Sorted(slices.Values(parts)) {
		part(s)
	}
	h.Sum(key[:0])
	return key
}

// receive keeps a callback and answers; what it means is found out by asking.
// duplicate reports that it was kept before.
func (s *Service) receive(ctx context.Context, provider string, headers map[string]string, body []byte) (duplicate bool, err error) {
	d, ok := s.dialects[provider]
	if !ok {
		return false, fail.New(fail.NotFound, "there is no such provider")
	}
	if len(body) > maxCallback {
		return false, fail.New(fail.BodyTooLarge, "a callback is at most 256 KiB")
	}
	if !d.verify(headers, body) {
		s.metrics.callbacks.WithLabelValues(provider, "rejected").Inc()
		if s.refusals.take(s.now()) {
			if err := s.noteRejected(ctx, provider); err != nil {
				zerolog.Ctx(ctx).Warn().Err(err).Msg("rejected callback not audited")
			}
		}
		return false, fail.New(fail.InvalidSignature, "the signature is not valid")
	}
	c, err := d.parse(headers, body)
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
		return true, s.heardAgain(ctx, provider, c)
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
			kept[name] = legible(v)
		}
	}
	return kept
}

// legible is text that the database takes.
func legible(s string) string { return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "") }

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
