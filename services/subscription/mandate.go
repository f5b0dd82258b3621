package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/subscription/lifecycle"
)

// How far the charge of the next period is.
const (
	notCharged   = 0
	chargePlaced = 1 // its order is written; payment may not have heard of it
	chargeSent   = 2
)

const (
	// chargeAhead is when a debit is announced, before the period's end: the law
	// wants a day between notice and debit, the network forbids the hours of its
	// peak, and 6 hours are for both to be late.
	chargeAhead = 30 * time.Hour
	mandateMost = 1_500_000 // paise: above ₹15,000 a debit needs the person's own hand
)

// renewable refuses a mandate that could not be debited.
func renewable(pr price, w wanted) error {
	if !w.AutoRenew {
		return nil
	}
	bad := func(why string) error {
		return fail.New(fail.InvalidArgument, "this order cannot renew by itself").Field("autoRenew", why)
	}
	switch {
	case months(pr.Cycle) == 0:
		return bad("is for what has periods")
	case w.Provider != "" && w.Provider != defaultProvider:
		return bad("is not kept by this provider")
	case w.ClockID != nil:
		return bad("needs the bank's time, not a test clock's")
	case pr.AmountMinor > mandateMost:
		return bad("is above what may be debited without you")
	}
	return nil
}

// withMandate adds to what payment is asked the consent that the order wants.
func (s *Service) withMandate(sub subscription, pay payable) payable {
	if sub.WantsRenewal {
		pay.MaxMinor = s.ownTax(sub.price()).Total()
	}
	return pay
}

// openPayment opens the payment of an order, with the consent to later ones if
// it has one.
func (s *Service) openPayment(ctx context.Context, pay payable, provider string) (payment, error) {
	if pay.MaxMinor > 0 {
		return s.payment.setUp(ctx, pay)
	}
	return s.payment.open(ctx, pay, provider)
}

// mandateOver reports whether a mandate is left that nothing may be taken by.
func (s subscription) mandateOver() bool {
	return s.MandateID != nil && (!s.AutoRenew || !lifecycle.State(s.State).Live()) && s.State != pendingState
}

// nextCharge gives the instant at which the next period is charged, or, while
// payment has not heard of it, asked for again; zero is none.
func nextCharge(sub subscription) time.Time {
	life := sub.life()
	unpaid := life.State == lifecycle.PastDue || life.State == lifecycle.Active && life.PaidUntil.Equal(life.Ends)
	if !sub.AutoRenew || sub.MandateID == nil || sub.Declined || !unpaid || sub.CancelAtPeriodEnd || sub.ChargeStep == chargeSent {
		return time.Time{}
	}
	at := life.PaidUntil.Add(-chargeAhead)
	if sub.ChargeStep == chargePlaced {
		at = at.Add(askSoon) // it is called at once; this is for who died before
	}
	return at
}

// onMandate keeps what became of a mandate. A lost one ends the renewals, not
// what is paid.
func (s *Service) onMandate(ctx context.Context, tx txn, subID, mandateID uuid.UUID, active bool, by actor) error {
	sub, err := s.locked(ctx, tx, subID)
	if errors.Is(err, errNone) {
		return nil // of an order that is not ours
	}
	if err != nil {
		return err
	}
	now := sub.at(s.now())
	if !active {
		if sub.MandateID == nil || *sub.MandateID != mandateID {
			return nil
		}
		sub.MandateID = nil
		_, err := s.apply(ctx, tx, &sub, step{fact: lifecycle.MandateLost, action: trail.SubscriptionMandateLost, reason: "mandate lost", by: by, now: now})
		return err
	}
	if sub.MandateID != nil {
		return nil
	}
	sub.MandateID, sub.AutoRenew = &mandateID, !sub.CancelAtPeriodEnd
	if sub.State != pendingState {
		sub.DueAt = s.dueOf(sub)
	}
	if err := s.move(ctx, tx, &sub, sub.State, "mandate", now); err != nil {
		return err
	}
	if err := s.outbox.Append(ctx, tx, audit(ctx, trail.SubscriptionMandateActive, by, sub, s.now(), change{"autoRenew", false, sub.AutoRenew})); err != nil {
		return err
	}
	if sub.State != activeState { // its set comes when it begins
		return nil
	}
	granted, err := s.grant(ctx, tx, sub, by, now)
	if err != nil {
		return err
	}
	return s.outbox.Append(ctx, tx, granted...)
}

// stopRenewal makes sure that nothing is taken from who has cancelled: a debit
// under way loses its draft, and what it brings goes back.
func (s *Service) stopRenewal(ctx context.Context, tx txn, sub *subscription, now time.Time) error {
	if sub.MandateID != nil {
		sub.AutoRenew = false
	}
	sub.ChargeStep = notCharged
	return s.voidDrafts(ctx, tx, sub.ID, now)
}

// endMandate has payment end a mandate that is over, outside any transaction.
func (s *Service) endMandate(ctx context.Context, sub subscription) error {
	if err := s.payment.endMandate(ctx, *sub.MandateID); err != nil {
		return err // the claim's lease brings it back
	}
	return s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		now, err := s.locked(ctx, tx, sub.ID)
		if err != nil || !now.mandateOver() {
			return err
		}
		now.MandateID = nil
		return s.settleDue(ctx, tx, now)
	})
}

// send promises the debit of the placed charge to payment. Safe to repeat: the
// order's id is the request's.
func (s *Service) send(ctx context.Context, sub subscription) error {
	next, err := s.nextPeriodNo(ctx, s.db.Pool, sub.ID)
	if err != nil {
		return err
	}
	inv, err := s.draftOf(ctx, s.db.Pool, sub.ID, ofRenewal, &next)
	if errors.Is(err, errNone) { // paid or voided meanwhile
		return nil
	}
	if err != nil {
		return err
	}
	ch, err := s.lastCharge(ctx, s.db.Pool, inv.ID)
	if err != nil || ch.State != chargeOpen {
		return err
	}
	pay, err := s.payment.debit(ctx, *sub.MandateID, sub.payable(ch.OrderID, inv), s.now())
	if refusedForGood(err) {
		zerolog.Ctx(ctx).Warn().Err(err).Stringer("subscription_id", sub.ID).Msg("renewal cannot be debited")
		return s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
			return s.declineCharge(ctx, tx, ch.OrderID, uuid.Nil, serviceActor(schema))
		})
	}
	if err != nil {
		return err // nextCharge brings it back
	}
	if err := s.notePayment(ctx, ch.OrderID, pay.ID); err != nil {
		return err
	}
	return s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		now, err := s.locked(ctx, tx, sub.ID)
		if err != nil || now.ChargeStep != chargePlaced {
			return err
		}
		now.ChargeStep = chargeSent
		return s.settleDue(ctx, tx, now)
	})
}

// refusedForGood reports whether asking again would bring the same refusal.
func refusedForGood(err error) bool {
	return fail.Is(err, fail.NotFound) || fail.Is(err, fail.InvalidArgument) || fail.Is(err, fail.Conflict)
}
