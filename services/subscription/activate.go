package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/subscription/lifecycle"
	"github.com/manas360/platform/services/subscription/period"
)

// capture is money that payment says has arrived for an order, or gone back.
type capture struct {
	OrderID       uuid.UUID
	PaymentID     uuid.UUID
	UserID        uuid.UUID
	AmountMinor   int64
	RefundedMinor int64
	Currency      string
	PaidAt        time.Time // zero: now
}

// activate turns a paid order into the user's live subscription, once, however
// often and in whatever order it is told.
func (s *Service) activate(ctx context.Context, tx txn, c capture, by actor) error {
	sub, err := s.locked(ctx, tx, c.OrderID)
	if errors.Is(err, errNone) {
		return fail.New(fail.InvalidArgument, "there is no order %s", c.OrderID)
	}
	if err != nil {
		return err
	}
	if c.AmountMinor != sub.TotalMinor || c.Currency != sub.Currency || c.UserID != sub.UserID {
		return s.mistrust(ctx, sub, c, by)
	}
	done, err := s.invoiced(ctx, tx, c.PaymentID)
	if done || err != nil {
		return err
	}
	return s.settle(ctx, tx, sub, c, by)
}

// settle begins an order that is paid, or that costs nothing.
func (s *Service) settle(ctx context.Context, tx txn, sub subscription, c capture, by actor) error {
	wall := s.now()
	now := sub.at(wall)
	if err := s.closeCharge(ctx, tx, sub.ID, chargePaid, c.PaymentID, wall); err != nil {
		return err
	}
	if sub.State != pendingState {
		return s.late(ctx, tx, sub, c.PaymentID, by, now)
	}
	live, err := s.live(ctx, tx, sub.UserID)
	hasLive := err == nil
	if err != nil && !errors.Is(err, errNone) {
		return err
	}
	if hasLive && !sub.mayReplace(live, wall) {
		// Two orders were paid; the better one stands.
		if err := s.end(ctx, tx, &sub, cancelledState, "paid after "+live.PlanCode, now); err != nil {
			return err
		}
		return s.late(ctx, tx, sub, c.PaymentID, by, now)
	}
	inv, err := s.draftOf(ctx, tx, sub.ID, ofOrder, nil)
	if errors.Is(err, errNone) { // ordered before there were drafts
		inv = s.bill(sub, now)
		err = s.insertDraft(ctx, tx, inv)
	}
	if err != nil {
		return err
	}
	if hasLive {
		if err := s.supersede(ctx, tx, live, sub, by, wall); err != nil {
			return err
		}
	}
	if err := s.begin(ctx, tx, &sub, c, inv, by, now); err != nil {
		return err
	}
	return s.receipt(ctx, tx, sub, inv, c, by, now)
}

// mayReplace reports whether a paid order takes the place of what is live: of
// anything unpaid or ended, of a lower plan, and of the one it was credited for.
func (s subscription) mayReplace(live subscription, wall time.Time) bool {
	if !live.paid() || live.ended(wall) || live.State == trialingState {
		return true
	}
	if s.Replaces != nil {
		return *s.Replaces == live.ID
	}
	return live.Tier < s.Tier
}

// begin starts the first period of a paid order.
func (s *Service) begin(ctx context.Context, tx txn, sub *subscription, c capture, inv invoice, by actor, now time.Time) error {
	anchor := c.PaidAt
	if sub.ClockAt != nil || anchor.IsZero() || anchor.After(now) {
		anchor = now
	}
	sub.Anchor, sub.CurrentPeriodStart = &anchor, &anchor
	if c.PaymentID != uuid.Nil {
		sub.PaymentID = &c.PaymentID
	}
	if k := sub.months(); k > 0 {
		end, err := s.nextEnd(*sub, k, 0)
		if err != nil {
			return err
		}
		sub.CurrentPeriodEnd, sub.PaidUntil = &end, &end
	}
	if err := s.insertPeriod(ctx, tx, sub.ID, 0, anchor, sub.CurrentPeriodEnd, &inv.ID); err != nil {
		return err
	}
	_, err := s.apply(ctx, tx, sub, step{
		fact: lifecycle.Captured, action: trail.SubscriptionActivated, reason: "paid", by: by, now: now, paid: c.PaymentID,
		also: []change{{"planCode", "", sub.PlanCode}},
	})
	return err
}

// receipt makes the invoice of a payment final and tells the customer. It takes
// the number, so nothing but the commit comes after.
func (s *Service) receipt(ctx context.Context, tx txn, sub subscription, inv invoice, c capture, by actor, now time.Time) error {
	inv.IssuedAt = now
	if c.PaymentID != uuid.Nil {
		inv.PaymentID = &c.PaymentID
	}
	events := []outbox.Event{also(audit(ctx, trail.InvoiceIssued, by, sub, s.now(),
		change{"state", draftState, paidState}, change{"totalMinor", "", inv.TotalMinor}), "invoice", "inv", inv.ID)}
	if inv.TotalMinor > 0 {
		events = append(events, s.notice(inv.UserID, "receipt", map[string]string{
			"detail": inv.Lines[0].Description + ": " + rupees(inv.Currency, inv.TotalMinor),
			"date":   s.when(now), "link": "/invoices/" + invoiceName(inv.ID),
		}))
	}
	if err := s.outbox.Append(ctx, tx, events...); err != nil {
		return err
	}
	return s.issue(ctx, tx, inv, paidState, period.FinancialYear(now, s.zone))
}

// supersede ends what the user had until now.
func (s *Service) supersede(ctx context.Context, tx txn, live, by subscription, who actor, wall time.Time) error {
	if err := s.pass(ctx, tx, &live, wall); err != nil || !lifecycle.State(live.State).Live() {
		return err
	}
	_, err := s.apply(ctx, tx, &live, step{
		fact: lifecycle.Superseded, action: trail.SubscriptionSuperseded, reason: "superseded by " + by.PlanCode, by: who, now: live.at(wall),
	})
	return err
}

// takeBack books money that went back: a credit note for the invoice, and the
// end of a subscription whose running period is no longer paid. One that has
// ended, or that other money keeps, stays as it is.
func (s *Service) takeBack(ctx context.Context, tx txn, sub subscription, c capture, whole bool, by actor) error {
	if err := s.lockUser(ctx, tx, sub.UserID); err != nil {
		return err
	}
	sub, err := s.subscription(ctx, tx, sub.ID)
	if err != nil {
		return err
	}
	if whole && sub.PaymentID != nil && *sub.PaymentID == c.PaymentID && lifecycle.State(sub.State).Live() {
		if _, err := s.apply(ctx, tx, &sub, step{
			fact: lifecycle.Refunded, action: trail.SubscriptionRefunded, reason: "refunded", by: by, now: sub.at(s.now()), paid: c.PaymentID,
		}); err != nil {
			return err
		}
	}
	return s.correct(ctx, tx, sub, c, by)
}

// correct issues the credit note of money that went back. A payment that was
// never invoiced has none.
func (s *Service) correct(ctx context.Context, tx txn, sub subscription, c capture, by actor) error {
	inv, err := s.invoiceOfPayment(ctx, tx, c.PaymentID)
	if errors.Is(err, errNone) {
		return nil
	}
	if err != nil {
		return err
	}
	before, err := s.credited(ctx, tx, inv.ID)
	if err != nil || c.RefundedMinor <= before {
		return err
	}
	now := s.now()
	note := s.creditNote(inv, before, min(c.RefundedMinor, inv.TotalMinor), sub.at(now))
	if note.TotalMinor <= 0 {
		return nil
	}
	if err := s.insertDraft(ctx, tx, note); err != nil {
		return err
	}
	if err := s.outbox.Append(ctx, tx,
		also(audit(ctx, trail.InvoiceCredited, by, sub, now, change{"totalMinor", "", note.TotalMinor}), "invoice", "inv", note.ID),
		s.notice(note.UserID, "credit_note", map[string]string{
			"detail": note.Lines[0].Description + ": " + rupees(note.Currency, note.TotalMinor), "link": "/invoices/" + invoiceName(note.ID),
		}),
	); err != nil {
		return err
	}
	return s.issue(ctx, tx, note, finalState, period.FinancialYear(note.IssuedAt, s.zone))
}

// mistrust refuses money that is not what the order asks for. The record is
// written beside the refused transaction, which leaves none.
func (s *Service) mistrust(ctx context.Context, sub subscription, c capture, by actor) error {
	zerolog.Ctx(ctx).Error().Stringer("subscription_id", sub.ID).Stringer("payment_id", c.PaymentID).
		Int64("want_minor", sub.TotalMinor).Int64("got_minor", c.AmountMinor).Str("currency", c.Currency).
		Msg("payment does not match its order")
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		return s.outbox.Append(ctx, tx, also(audit(ctx, trail.PaymentIntegrityFailed, by, sub, s.now(),
			change{"amountMinor", sub.TotalMinor, c.AmountMinor}), "payment", "pay", c.PaymentID))
	})
	if err != nil {
		return err
	}
	return fail.New(fail.InvalidArgument, "payment %s does not match order %s", c.PaymentID, sub.ID)
}
