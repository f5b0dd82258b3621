package payment

import (
	"context"
	"encoding/base32"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
)

// States of a refund.
const (
	refundRequested = "REQUESTED" // waits for a second administrator
	refundApproved  = "APPROVED"  // the provider has not heard of it
	refundOpen      = "PENDING"   // the provider may have heard of it
	refundCompleted = "COMPLETED"
	refundDead      = "FAILED"
	refundRejected  = "REJECTED"
)

// Where a refund comes from.
const (
	refundByCustomer = "customer"
	refundByAdmin    = "admin"
	refundOfLate     = "late_capture"
)

const (
	firstRefundPoll = 5 * time.Second
	refundPollEnds  = 30 * 24 * time.Hour // a bank takes up to ten working days
)

// refund is money on its way back.
type refund struct {
	ID               uuid.UUID
	PaymentID        uuid.UUID
	MerchantRefundID string
	ProviderRefundID string
	AmountMinor      int64
	State            string
	Origin           string
	Reason           string
	Policy           string
	RequestedBy      *uuid.UUID // nil: the suite itself
	DecidedBy        *uuid.UUID
	DecisionReason   string
	FailureCode      string
	LeaseUntil       *time.Time
	SubmittedAt      *time.Time
	Polls            int
	Version          int64
	CreatedAt        time.Time
	UpdatedAt        time.Time
	DoneAt           *time.Time
}

// wantedRefund is money that somebody wants back.
type wantedRefund struct {
	PaymentID   uuid.UUID
	AmountMinor int64 // 0: all that is left
	Origin      string
	Reason      string
	Policy      string
	By          uuid.UUID // zero: the suite itself
	Key         []byte    // the same at every repeat of the same wish; nil: there is none
}

// merchantRefundID names a refund at the provider. It follows from the row
// alone: a repeat after a crash names the same refund.
func merchantRefundID(refundID uuid.UUID) string {
	return "R" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(refundID[:])
}

// requestRefund reserves the money and commits that before the provider hears
// of it. What an administrator wants back above the threshold waits for another
// one. Fails with NOT_FOUND, REFUND_NOT_ALLOWED.
func (s *Service) requestRefund(ctx context.Context, w wantedRefund) (refund, error) {
	r, err := s.reserve(ctx, w)
	if err != nil {
		return refund{}, err
	}
	s.outbox.Wake()
	return s.submitNow(ctx, r), nil
}

// refusedRefund is why money cannot go back now; nil when it can.
func refusedRefund(p payment, amountMinor int64, hasOpen bool) error {
	left := p.CapturedMinor - p.RefundedMinor - p.ReservedMinor
	no := func(why string) error { return fail.New(fail.RefundNotAllowed, "%s", why) }
	switch {
	case !p.State.Paid():
		return no("the payment has not succeeded")
	case p.Disputed:
		return no("the payment is disputed at the bank")
	case hasOpen:
		return no("a refund of this payment is under way")
	case left <= 0:
		return no("all of it went back")
	case amountMinor > left:
		return no("it is more than what is left of the payment")
	case amountMinor < 0:
		return fail.New(fail.InvalidArgument, "the request is invalid").Field("amount", "is not above zero")
	default:
		return nil
	}
}

// approveRefund lets a waiting refund go. Never by who asked for it: that is
// told under the lock, and by the database too.
func (s *Service) approveRefund(ctx context.Context, refundID, by uuid.UUID, reason string) (refund, error) {
	r, err := s.decideRefund(ctx, refundID, by, reason, refundApproved)
	if err != nil {
		return refund{}, err
	}
	s.outbox.Wake()
	return s.submitNow(ctx, r), nil
}

// rejectRefund ends a waiting refund; its money is no longer reserved.
func (s *Service) rejectRefund(ctx context.Context, refundID, by uuid.UUID, reason string) (refund, error) {
	r, err := s.decideRefund(ctx, refundID, by, reason, refundRejected)
	if err == nil {
		s.outbox.Wake()
	}
	return r, err
}

// submitNow sends an approved refund while somebody waits for the answer. What
// goes wrong is the worker's to mend: the refund stands as it was committed.
func (s *Service) submitNow(ctx context.Context, r refund) refund {
	if r.State != refundApproved {
		return r
	}
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit+2*storeLimit)
	defer cancel()
	if err := s.followRefund(keep, r.ID); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Stringer("refund_id", r.ID).Msg("refund is sent later")
	}
	if now, err := s.refundByID(keep, s.db.Pool, r.ID); err == nil {
		return now
	}
	return r
}

// followRefund takes a refund one step on: sends what the provider has not heard
// of, and asks about what it may have.
func (s *Service) followRefund(ctx context.Context, refundID uuid.UUID) error {
	c, err := s.claimRefund(ctx, refundID)
	if err != nil || !c.mine {
		return err
	}
	provider, ok := s.providers[c.payment.Provider]
	if !ok {
		return errors.New("its provider is not configured")
	}
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	order := sentRefund{
		MerchantRefundID: c.refund.MerchantRefundID, ProviderRefundID: c.refund.ProviderRefundID,
		Order: sent(c.payment, c.attempt), AmountMinor: c.refund.AmountMinor,
	}
	f, err := s.askOrSend(call, provider, order, c.fresh)
	var refused *refusedError
	switch {
	case err == nil:
		return s.applyRefund(ctx, f, origin{by: byProvider})
	case errors.As(err, &refused) && c.fresh:
		return s.applyRefund(ctx, refundFact{
			Kind: refundFailed, MerchantRefundID: order.MerchantRefundID, Currency: c.payment.Currency, FailureCode: refused.Code,
		}, origin{by: byProvider})
	default: // nobody knows: it is asked about
		return errors.Join(err, s.freeRefund(ctx, c))
	}
}

// askOrSend repeats nothing blindly: a refund that the provider may have heard of
// is asked about first, and sent again, under its own name, only when the
// provider does not know it.
func (s *Service) askOrSend(ctx context.Context, p provider, r sentRefund, fresh bool) (refundFact, error) {
	if !fresh {
		f, err := p.refundStatus(ctx, r)
		if !errors.Is(err, errNoOrder) {
			return f, err //nolint:wrapcheck // of our own kinds
		}
	}
	f, err := p.refund(ctx, r)
	if errors.Is(err, errDuplicate) {
		return p.refundStatus(ctx, r) //nolint:wrapcheck // of our own kinds
	}
	return f, err //nolint:wrapcheck // of our own kinds
}

// nextRefundPoll gives the pause before a refund is asked about again, by its
// age; false when a person must look instead.
func nextRefundPoll(age time.Duration) (time.Duration, bool) {
	switch {
	case age < time.Minute:
		return firstRefundPoll, true
	case age < 10*time.Minute:
		return 30 * time.Second, true
	case age < 6*time.Hour:
		return 10 * time.Minute, true
	case age < refundPollEnds:
		return 6 * time.Hour, true
	default:
		return 0, false
	}
}

// refunds is the worker that sends and asks about refunds.
func (s *Service) refunds(ctx context.Context) error {
	return s.every(ctx, nil, func(ctx context.Context) (int, error) {
		due, err := s.dueRefunds(ctx)
		if err != nil {
			return 0, err
		}
		for _, d := range due {
			step, cancel := context.WithTimeout(ctx, callLimit+2*storeLimit)
			if err := s.followRefund(step, d.ID); err != nil && ctx.Err() == nil {
				zerolog.Ctx(ctx).Warn().Err(err).Stringer("refund_id", d.ID).Msg("refund not settled yet")
			}
			cancel()
		}
		return 0, nil // never at once again: the pace is bounded
	})
}

// onRefund takes a callback about a refund as a hint to ask.
func (s *Service) onRefund(ctx context.Context, ev webhookEvent) error {
	r, err := s.refundNamed(ctx, ev)
	if fail.Is(err, fail.NotFound) {
		return s.orphan(ctx, ev, "the refund is not ours")
	}
	if err != nil {
		return err
	}
	if ev.ClaimedMinor != nil && *ev.ClaimedMinor != r.AmountMinor {
		p, err := s.payment(ctx, r.PaymentID)
		if err != nil {
			return err
		}
		return s.rejectEvent(ctx, ev, p, "amount")
	}
	if r.State == refundRejected || r.State == refundDead {
		return s.endEvent(ctx, ev, eventProcessed, "")
	}
	if err := s.askAboutRefund(ctx, r); err != nil {
		return err
	}
	now, err := s.refundByID(ctx, s.db.Pool, r.ID)
	if err != nil {
		return err
	}
	if now.State == refundOpen && ev.Final && ev.Attempts < lagAttempts {
		return errLag
	}
	return s.endEvent(ctx, ev, eventProcessed, "")
}

// askAboutRefund asks the provider what became of a refund that it has.
func (s *Service) askAboutRefund(ctx context.Context, r refund) error {
	p, err := s.payment(ctx, r.PaymentID)
	if err != nil {
		return err
	}
	a, err := s.paidAttempt(ctx, s.db.Pool, p.ID)
	if err != nil {
		return err
	}
	provider, ok := s.providers[p.Provider]
	if !ok {
		return errors.New("its provider is not configured")
	}
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	f, err := provider.refundStatus(call, sentRefund{
		MerchantRefundID: r.MerchantRefundID, ProviderRefundID: r.ProviderRefundID, Order: sent(p, a), AmountMinor: r.AmountMinor,
	})
	if err != nil {
		return err //nolint:wrapcheck // of our own kinds
	}
	return s.applyRefund(ctx, f, origin{by: byProvider})
}
