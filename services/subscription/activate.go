package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/services/subscription/period"
)

// capture is money that payment says has arrived for an order.
type capture struct {
	OrderID     uuid.UUID
	PaymentID   uuid.UUID
	UserID      uuid.UUID
	AmountMinor int64
	Currency    string
	PaidAt      time.Time // zero: now
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
	now := s.now()
	done, err := s.invoiced(ctx, tx, c.PaymentID)
	if done || err != nil {
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
	if hasLive && live.paid() && !live.ended(now) && live.Tier >= sub.Tier {
		// Two orders were paid; the better one stands.
		if err := s.end(ctx, tx, &sub, cancelledState, "paid after "+live.PlanCode, now); err != nil {
			return err
		}
		return s.late(ctx, tx, sub, c.PaymentID, by, now)
	}
	var events []outbox.Event
	if hasLive {
		ev, err := s.supersede(ctx, tx, live, sub, by, now)
		if err != nil {
			return err
		}
		events = append(events, ev)
	}
	inv := s.bill(sub, c.PaymentID, now)
	more, err := s.begin(ctx, tx, &sub, c, inv, by, now)
	if err != nil {
		return err
	}
	if err := s.outbox.Append(ctx, tx, append(events, more...)...); err != nil {
		return err
	}
	return s.issue(ctx, tx, inv, period.FinancialYear(now, s.zone))
}

// begin starts the first period of a paid order.
func (s *Service) begin(ctx context.Context, tx txn, sub *subscription, c capture, inv invoice, by actor, now time.Time) ([]outbox.Event, error) {
	anchor := c.PaidAt
	if anchor.IsZero() || anchor.After(now) {
		anchor = now
	}
	sub.State, sub.PaymentID, sub.Anchor, sub.CurrentPeriodStart, sub.DueAt = activeState, &c.PaymentID, &anchor, &anchor, nil
	if k := months(sub.Cycle); k > 0 {
		end := period.Start(anchor, s.zone, k, 1)
		sub.CurrentPeriodEnd, sub.DueAt = &end, &end
	}
	if err := s.move(ctx, tx, sub, pendingState, "paid", now); err != nil {
		return nil, err
	}
	if err := s.insertPeriod(ctx, tx, *sub, 0, inv.ID); err != nil {
		return nil, err
	}
	granted, err := s.grant(ctx, tx, *sub, by, now)
	if err != nil {
		return nil, err
	}
	return append([]outbox.Event{
		also(audit(ctx, "subscription.activated", by, *sub, now,
			change{"state", pendingState, sub.State}, change{"planCode", "", sub.PlanCode}), "payment", "pay", c.PaymentID),
		also(audit(ctx, "invoice.issued", by, *sub, now,
			change{"state", "", inv.State}, change{"totalMinor", "", inv.TotalMinor}), "invoice", "inv", inv.ID),
	}, granted...), nil
}

// supersede ends what the user had until now.
func (s *Service) supersede(ctx context.Context, tx txn, live, by subscription, who actor, now time.Time) (outbox.Event, error) {
	from, to := live.State, cancelledState
	if live.ended(now) {
		to = expiredState
	}
	if err := s.end(ctx, tx, &live, to, "superseded by "+by.PlanCode, now); err != nil {
		return outbox.Event{}, err
	}
	return audit(ctx, "subscription.superseded", who, live, now, change{"state", from, live.State}), nil
}

// late records money for an order that is no longer open. It gives nothing; the
// money goes back by a refund.
func (s *Service) late(ctx context.Context, tx txn, sub subscription, paymentID uuid.UUID, by actor, now time.Time) error {
	zerolog.Ctx(ctx).Warn().Stringer("subscription_id", sub.ID).Str("state", sub.State).Msg("money for a closed order")
	return s.outbox.Append(ctx, tx, also(audit(ctx, "subscription.late_payment", by, sub, now,
		change{"totalMinor", "", sub.TotalMinor}), "payment", "pay", paymentID), giveBack(paymentID, now))
}

// takeBack ends a subscription whose money went back, and gives its user Free.
// One that has ended, or that other money keeps, stays as it is.
func (s *Service) takeBack(ctx context.Context, tx txn, c capture, by actor) error {
	sub, err := s.locked(ctx, tx, c.OrderID)
	if errors.Is(err, errNone) {
		return nil
	}
	if err != nil || sub.State != activeState || sub.PaymentID == nil || *sub.PaymentID != c.PaymentID {
		return err
	}
	now := s.now()
	if err := s.end(ctx, tx, &sub, cancelledState, "refunded", now); err != nil {
		return err
	}
	if err := s.outbox.Append(ctx, tx, also(audit(ctx, "subscription.refunded", by, sub, now,
		change{"state", activeState, sub.State}), "payment", "pay", c.PaymentID)); err != nil {
		return err
	}
	return s.giveFree(ctx, tx, sub.UserID, by)
}

// mistrust refuses money that is not what the order asks for. The record is
// written beside the refused transaction, which leaves none.
func (s *Service) mistrust(ctx context.Context, sub subscription, c capture, by actor) error {
	zerolog.Ctx(ctx).Error().Stringer("subscription_id", sub.ID).Stringer("payment_id", c.PaymentID).
		Int64("want_minor", sub.TotalMinor).Int64("got_minor", c.AmountMinor).Str("currency", c.Currency).
		Msg("payment does not match its order")
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		return s.outbox.Append(ctx, tx, also(audit(ctx, "payment.integrity_failed", by, sub, s.now(),
			change{"amountMinor", sub.TotalMinor, c.AmountMinor}), "payment", "pay", c.PaymentID))
	})
	if err != nil {
		return err
	}
	return fail.New(fail.InvalidArgument, "payment %s does not match order %s", c.PaymentID, sub.ID)
}
