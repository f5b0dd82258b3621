package subscription

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/subscription/lifecycle"
	"github.com/manas360/platform/services/subscription/period"
)

// step is one fact on its way through a transaction.
type step struct {
	fact   lifecycle.Fact
	action trail.Action // of the audit event
	reason string
	why    string // an operator's own words, for the audit trail
	by     actor
	now    time.Time // of the subscription, which may live under a test clock
	paid   uuid.UUID // the payment behind it, if one
	also   []change
}

// apply lets the lifecycle decide on a fact and writes what follows: the row
// and its history, entitlements, Free, the audit event. The caller holds the
// user's lock. ok is false for a wish that the state does not allow.
func (s *Service) apply(ctx context.Context, tx txn, sub *subscription, st step) (ok bool, err error) {
	before := *sub
	after, effects, ok := lifecycle.Next(sub.life(), st.fact, st.now)
	if !ok {
		return false, nil
	}
	if slices.Contains(effects, lifecycle.GiveBack) {
		return true, s.late(ctx, tx, *sub, st.paid, st.by, st.now)
	}
	*sub = sub.with(after)
	if slices.Contains(effects, lifecycle.Advance) && before.State != pendingState {
		s.advance(sub, before)
	}
	if !after.State.Live() && after.State != lifecycle.Pending {
		sub.PendingPlanCode, sub.PendingPlanVersion, sub.PendingPriceID = nil, nil, nil
		if err := s.voidDrafts(ctx, tx, sub.ID, st.now); err != nil {
			return true, err
		}
	}
	sub.DueAt = s.dueOf(*sub)
	if err := s.move(ctx, tx, sub, before.State, st.reason, st.now); err != nil {
		return true, err
	}
	events := []outbox.Event{s.record(ctx, *sub, before, st)}
	if (slices.Contains(effects, lifecycle.Grant) || sub.PlanCode != before.PlanCode) && after.State.Live() {
		granted, err := s.grant(ctx, tx, *sub, st.by, st.now)
		if err != nil {
			return true, err
		}
		events = append(events, granted...)
	}
	if err := s.outbox.Append(ctx, tx, events...); err != nil {
		return true, err
	}
	if slices.Contains(effects, lifecycle.Free) {
		return true, s.giveFree(ctx, tx, sub.UserID, st.by)
	}
	return true, nil
}

// record is the audit event of a step.
func (s *Service) record(ctx context.Context, sub, before subscription, st step) outbox.Event {
	changes := st.also
	if before.State != sub.State {
		changes = append([]change{{"state", before.State, sub.State}}, changes...)
	}
	ev := audit(ctx, st.action, st.by, sub, s.now(), changes...)
	if st.paid != uuid.Nil {
		ev = also(ev, "payment", "pay", st.paid)
	}
	return explained(st.why, ev)
}

// advance begins the paid period that follows; a pending change comes with it.
func (s *Service) advance(sub *subscription, before subscription) {
	sub.PeriodNo++
	sub.CurrentPeriodStart, sub.Noticed, sub.ChargeStep = before.CurrentPeriodEnd, 0, notCharged
	if sub.PendingPriceID == nil {
		return
	}
	sub.PlanCode, sub.PlanVersion, sub.PriceID = *sub.PendingPlanCode, *sub.PendingPlanVersion, *sub.PendingPriceID
	sub.PendingPlanCode, sub.PendingPlanVersion, sub.PendingPriceID = nil, nil, nil
}

// actions of what time alone does.
var timeActions = map[lifecycle.State]trail.Action{
	lifecycle.Active: trail.SubscriptionPeriodStarted, lifecycle.PastDue: trail.SubscriptionPastDue, lifecycle.Grace: trail.SubscriptionGraceStarted,
	lifecycle.Expired: trail.SubscriptionExpired, lifecycle.Cancelled: trail.SubscriptionCancelled,
}

// pass lets time do what it has made due, turn by turn and each at its own
// instant, and reports whether anything was.
func (s *Service) pass(ctx context.Context, tx txn, sub *subscription, wall time.Time) error {
	by := serviceActor(schema)
	for sub.State != pendingState {
		at := lifecycle.Due(sub.life())
		if at.IsZero() || sub.at(wall).Before(at) {
			return nil
		}
		after, _, _ := lifecycle.Next(sub.life(), lifecycle.Tick, at)
		st := step{fact: lifecycle.Tick, action: timeActions[after.State], reason: "time", by: by, now: at}
		if sub.State == pausedState {
			st.action = trail.SubscriptionResumed
			if err := s.unpause(ctx, tx, sub, at); err != nil {
				return err
			}
		}
		if _, err := s.apply(ctx, tx, sub, st); err != nil {
			return err
		}
		if err := s.noticeTurn(ctx, tx, *sub); err != nil {
			return err
		}
	}
	return nil
}

// unpause moves the paid time that a pause has kept to where it now lies, and
// the anchor with it.
func (s *Service) unpause(ctx context.Context, tx txn, sub *subscription, at time.Time) error {
	next, err := s.nextPeriodNo(ctx, tx, sub.ID)
	if err != nil {
		return err
	}
	life := sub.life()
	until := at.Add(life.Banked)
	if err := s.shiftPeriods(ctx, tx, sub.ID, sub.PeriodNo, until.Sub(life.PaidUntil)); err != nil {
		return err
	}
	sub.Anchor, sub.AnchorNo, sub.PeriodNo = &until, next, max(sub.PeriodNo, next-1)
	return nil
}

// nextEnd gives where a period that starts at the end of the paid time ends.
func (s *Service) nextEnd(sub subscription, k, n int) (time.Time, error) {
	zone, err := time.LoadLocation(sub.AnchorZone)
	if err != nil {
		return time.Time{}, fail.New(fail.Internal, "the zone of a subscription is not known").Wrap(err)
	}
	return period.Start(*sub.Anchor, zone, k, n-sub.AnchorNo+1), nil
}

// dueOf gives the next instant at which the sweeper has something to do.
func (s *Service) dueOf(sub subscription) *time.Time {
	life := sub.life()
	due := lifecycle.Due(life)
	for _, at := range []time.Time{nextNotice(sub), nextCharge(sub)} {
		if !at.IsZero() && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	if sub.mandateOver() {
		due = s.now()
	}
	return ref(due)
}

// late records money for something that is no longer open. It gives nothing;
// the money goes back by a refund.
func (s *Service) late(ctx context.Context, tx txn, sub subscription, paymentID uuid.UUID, by actor, now time.Time) error {
	zerolog.Ctx(ctx).Warn().Stringer("subscription_id", sub.ID).Str("state", sub.State).Msg("money for a closed order")
	return s.outbox.Append(ctx, tx, also(audit(ctx, trail.SubscriptionLatePayment, by, sub, now,
		change{"totalMinor", "", sub.TotalMinor}), "payment", "pay", paymentID), giveBack(paymentID, s.now()))
}
