package payment

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/money"
)

const (
	wholeBps  = 10000
	quoteDays = 30 // of which a pro rata share counts the days left
)

// policyRow is one rule of what a customer gets back by their own wish.
type policyRow struct {
	Code        string
	Purpose     string
	ProductCode string
	Cycle       string
	WithinHours int
	ShareBps    int64
	ProRata     bool
}

// refundQuote is what a refund would give now. Its hash is what the customer agrees
// to: another amount, or another state of the payment, is another hash.
type refundQuote struct {
	AmountMinor int64
	Policy      string
	Until       time.Time // the policy gives this, or less by the day, until then
	Hash        string
}

// quoted finds the first rule that fits, and what it gives. Fails with
// REFUND_NOT_ALLOWED.
func quoted(p payment, rules []policyRow, hasOpen bool, now time.Time) (refundQuote, error) {
	if err := refusedRefund(p, 0, hasOpen); err != nil {
		return refundQuote{}, err
	}
	age := now.Sub(*p.PaidAt)
	for _, r := range rules {
		within := time.Duration(r.WithinHours) * time.Hour
		if r.Purpose != p.Purpose || r.Cycle != p.Cycle || r.ProductCode != "" && r.ProductCode != p.ProductCode || age >= within {
			continue
		}
		num, den := r.ShareBps, int64(wholeBps)
		if r.ProRata {
			left := quoteDays - int64(age/(24*time.Hour))
			num, den = num*left, den*quoteDays
		}
		amount, err := money.Of(p.CapturedMinor, p.Currency).Fraction(num, den)
		if err != nil {
			return refundQuote{}, fmt.Errorf("quote a refund: %w", err)
		}
		given := min(amount.Minor, p.CapturedMinor-p.RefundedMinor-p.ReservedMinor)
		if given <= 0 {
			break
		}
		q := refundQuote{AmountMinor: given, Policy: r.Code, Until: p.PaidAt.Add(within)}
		sum := sha256.Sum256(fmt.Appendf(nil, "%s|%d|%s|%d|%d", p.ID, q.AmountMinor, q.Policy, p.RefundedMinor, p.ReservedMinor))
		q.Hash = base64.RawURLEncoding.EncodeToString(sum[:16])
		return q, nil
	}
	return refundQuote{}, fail.New(fail.RefundNotAllowed, "the time in which this can be refunded is over")
}

// quoteOf says what a refund of one's own payment would give now.
func (s *Service) quoteOf(ctx context.Context, p payment) (refundQuote, error) {
	rules, err := s.refundPolicy(ctx)
	if err != nil {
		return refundQuote{}, err
	}
	open, err := s.hasOpenRefund(ctx, p.ID)
	if err != nil {
		return refundQuote{}, err
	}
	return quoted(p, rules, open, s.now())
}

// refundOwn gives a customer back what the quote said. A quote that is no longer
// true is refused with PRECONDITION_FAILED, and nothing moves.
func (s *Service) refundOwn(ctx context.Context, p payment, hash, reason string, key []byte) (refund, error) {
	if r, err := s.refundOfKey(ctx, p.ID, key); !fail.Is(err, fail.NotFound) {
		return r, err // asked before: the quote has changed by that itself
	}
	q, err := s.quoteOf(ctx, p)
	if err != nil {
		return refund{}, err
	}
	if subtle.ConstantTimeCompare([]byte(q.Hash), []byte(hash)) != 1 {
		return refund{}, fail.New(fail.PreconditionFailed, "the quote has changed: ask for another")
	}
	return s.requestRefund(ctx, wantedRefund{
		PaymentID: p.ID, AmountMinor: q.AmountMinor, Origin: refundByCustomer, Reason: reason, Policy: q.Policy, By: p.UserID, Key: key,
	})
}
