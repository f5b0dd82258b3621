package subscription

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/subscription/lifecycle"
)

// preview answers what an order would cost and do.
func (s *Service) preview(ctx context.Context, userID uuid.UUID, w wanted) (quote, error) {
	p, pr, err := s.target(ctx, userID, w)
	if err != nil {
		return quote{}, err
	}
	return s.quote(ctx, s.db.Pool, userID, p, pr, w)
}

// target finds the plan and price of an order; without a cycle it is the
// running one, where the plan is sold so. Who has what is no longer sold may
// renew it.
func (s *Service) target(ctx context.Context, userID uuid.UUID, w wanted) (plan, price, error) {
	p, err := s.catalog.sold(ctx, w.PlanCode)
	pr := price{}
	if err == nil {
		if pr, err = p.orderable(w.Cycle); err == nil {
			return p, pr, nil
		}
	}
	if !fail.Is(err, fail.NotFound) && !fail.Is(err, fail.InvalidArgument) {
		return p, pr, err
	}
	live, liveErr := s.live(ctx, s.db.Pool, userID)
	switch {
	case errors.Is(liveErr, errNone):
		return p, pr, err
	case liveErr != nil:
		return p, pr, liveErr
	case !live.paid() || live.State == trialingState:
		return p, pr, err
	}
	if w.Cycle == "" && len(p.Prices) > 1 {
		if pr, cycleErr := p.orderable(live.Cycle); cycleErr == nil {
			return p, pr, nil
		}
	}
	if live.PlanCode != w.PlanCode || w.Cycle != "" && w.Cycle != live.Cycle || live.price().AmountMinor == 0 {
		return p, pr, err
	}
	return plan{Code: live.PlanCode, Kind: kindPlan, Name: live.PlanName, Tier: live.Tier, Version: live.PlanVersion, Gone: true}, live.price(), nil
}

// change moves a user to another plan: up through a payment, down when the paid
// time is over.
func (s *Service) change(ctx context.Context, userID uuid.UUID, w wanted) (order, error) {
	if w.PlanCode == freePlan { // the lowest of all: there is nothing to pay
		sub, err := s.wish(ctx, userID, "", step{fact: lifecycle.CancelAtEnd, action: trail.SubscriptionCancelScheduled, reason: "downgrade to free"}, "")
		return order{subscription: sub}, err
	}
	p, pr, err := s.target(ctx, userID, w)
	if err != nil {
		return order{}, err
	}
	w.Cycle = pr.Cycle
	q, err := s.quote(ctx, s.db.Pool, userID, p, pr, w)
	if err != nil {
		return order{}, err
	}
	if q.Kind != asDowngrade {
		return s.checkout(ctx, userID, w)
	}
	if err := s.checkSeats(ctx, userID, p); err != nil {
		return order{}, err
	}
	if w.Coupon != "" {
		return order{}, fail.New(fail.InvalidArgument, "a coupon is for an order that is paid now").Field("couponCode", "is not for a change at the period's end")
	}
	var sub subscription
	err = s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		if err := s.lockUser(ctx, tx, userID); err != nil {
			return err
		}
		q, err := s.quote(ctx, tx, userID, p, pr, w) // as it is now that nobody else may change it
		if err != nil {
			return err
		}
		if q.Kind != asDowngrade {
			return fail.New(fail.Conflict, "the subscription has just changed; look at it again")
		}
		if err := q.agreed(w.PreviewHash); err != nil {
			return err
		}
		sub, err = s.downgrade(ctx, tx, q)
		return err
	})
	if err != nil {
		return order{}, err
	}
	s.outbox.Wake()
	return order{subscription: sub}, nil
}

// checkSeats refuses a plan with fewer seats than are in use. Who joins later is
// refused by user, who counts by the plan that is live.
func (s *Service) checkSeats(ctx context.Context, userID uuid.UUID, p plan) error {
	most := int64(1)
	for _, f := range p.Features {
		if f.Feature == "users" {
			most = limit{LimitValue: f.LimitValue}.most()
		}
	}
	used, err := s.seats.used(ctx, userID)
	if err != nil || most < 0 || used <= most {
		return err
	}
	return fail.New(fail.Conflict, "the plan %s has %d seats, %d are in use", p.Code, most, used).
		With("feature", "users").With("limit", strconv.FormatInt(most, 10)).With("used", strconv.FormatInt(used, 10))
}

// downgrade notes the plan that follows. What is paid or charged ahead stands in
// its way: two prices for one period would.
func (s *Service) downgrade(ctx context.Context, tx txn, q quote) (subscription, error) {
	live, err := s.subscription(ctx, tx, q.Live.ID)
	if err != nil {
		return live, err
	}
	next, err := s.nextPeriodNo(ctx, tx, live.ID)
	if err != nil {
		return live, err
	}
	_, err = s.draftOf(ctx, tx, live.ID, ofRenewal, &next)
	switch {
	case err == nil, next > live.PeriodNo+1:
		return live, fail.New(fail.Conflict, "the next period is charged already").With("currentPlan", live.PlanCode)
	case !errors.Is(err, errNone):
		return live, err
	case live.PendingPriceID != nil:
		return live, fail.New(fail.Conflict, "a change to %s is pending; take it back first", *live.PendingPlanCode).With("pendingPlan", *live.PendingPlanCode)
	}
	live.PendingPlanCode, live.PendingPlanVersion, live.PendingPriceID = &q.Plan.Code, &q.Plan.Version, &q.Price.ID
	now := s.now()
	by := actorOf(ctx)
	if err := s.move(ctx, tx, &live, live.State, "downgrade to "+q.Plan.Code, live.at(now)); err != nil {
		return live, err
	}
	return live, s.outbox.Append(ctx, tx, audit(ctx, trail.SubscriptionChangeScheduled, by, live, now,
		change{"pendingPlanCode", "", q.Plan.Code}))
}

// wish does what a user asks of their live subscription. etag, unless empty,
// must be its version.
func (s *Service) wish(ctx context.Context, userID uuid.UUID, etag string, st step, reason string) (subscription, error) {
	st.by = actorOf(ctx)
	return s.doTo(ctx, userID, uuid.Nil, etag, st, reason)
}

// doTo does st to a user's live subscription, which must be subID unless that is
// nil.
func (s *Service) doTo(ctx context.Context, userID, subID uuid.UUID, etag string, st step, reason string) (subscription, error) {
	var sub subscription
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) (err error) {
		if err := s.lockUser(ctx, tx, userID); err != nil {
			return err
		}
		none := fail.New(fail.Conflict, "there is no subscription that this could change")
		sub, err = s.live(ctx, tx, userID)
		if errors.Is(err, errNone) {
			return none
		}
		if err != nil {
			return err
		}
		wall := s.now()
		if err := s.pass(ctx, tx, &sub, wall); err != nil {
			return err
		}
		if subID != uuid.Nil && sub.ID != subID {
			return fail.New(fail.Conflict, "the subscription is over; another one is live")
		}
		if etag != "" && etag != sub.etag() {
			return fail.New(fail.PreconditionFailed, "the subscription has changed since you read it")
		}
		if !sub.paid() {
			return none
		}
		st.now = sub.at(wall)
		return s.grantWish(ctx, tx, &sub, st, reason)
	})
	if err != nil {
		return subscription{}, err
	}
	s.outbox.Wake()
	return sub, nil
}

// grantWish applies a wish under the user's lock.
func (s *Service) grantWish(ctx context.Context, tx txn, sub *subscription, st step, reason string) error {
	switch st.fact { //nolint:exhaustive // the rest needs no more
	case lifecycle.CancelAtEnd, lifecycle.CancelNow:
		sub.CancelledAt, sub.CancelReason = &st.now, reason
		if err := s.stopRenewal(ctx, tx, sub, st.now); err != nil {
			return err
		}
	case lifecycle.Keep:
		if sub.State == pausedState {
			st.fact, st.action = lifecycle.Resume, trail.SubscriptionResumed
			if err := s.unpause(ctx, tx, sub, st.now); err != nil {
				return err
			}
			break
		}
		if done, err := s.unschedule(ctx, tx, sub, st); done || err != nil {
			return err
		}
		sub.CancelledAt, sub.CancelReason = nil, ""
	}
	ok, err := s.apply(ctx, tx, sub, st)
	if err != nil {
		return err
	}
	if !ok {
		return fail.New(fail.Conflict, "the subscription is %s: this is not possible", sub.State).With("state", sub.State)
	}
	return nil
}

// unschedule takes a pending change back.
func (s *Service) unschedule(ctx context.Context, tx txn, sub *subscription, st step) (bool, error) {
	if sub.PendingPriceID == nil || sub.CancelAtPeriodEnd {
		return false, nil
	}
	next, err := s.nextPeriodNo(ctx, tx, sub.ID)
	if err != nil {
		return true, err
	}
	if _, err := s.draftOf(ctx, tx, sub.ID, ofRenewal, &next); !errors.Is(err, errNone) || next > sub.PeriodNo+1 {
		if err != nil && !errors.Is(err, errNone) {
			return true, err
		}
		return true, fail.New(fail.Conflict, "the next period is charged already")
	}
	was := *sub.PendingPlanCode
	sub.PendingPlanCode, sub.PendingPlanVersion, sub.PendingPriceID = nil, nil, nil
	if err := s.move(ctx, tx, sub, sub.State, "change taken back", st.now); err != nil {
		return true, err
	}
	return true, s.outbox.Append(ctx, tx, explained(st.why,
		audit(ctx, trail.SubscriptionChangeWithdrawn, st.by, *sub, s.now(), change{"pendingPlanCode", was, ""})))
}

// startTrial begins the one trial a user has.
func (s *Service) startTrial(ctx context.Context, userID uuid.UUID, planCode string, clockID *string) (subscription, error) {
	p, err := s.catalog.sold(ctx, planCode)
	if err != nil {
		return subscription{}, err
	}
	if p.TrialDays == 0 || p.Kind != kindPlan {
		return subscription{}, fail.New(fail.InvalidArgument, "%s has no trial", p.Name).Field("planCode", "has no trial")
	}
	pr := p.Prices[0] // what it would cost; nothing is charged
	var sub subscription
	err = s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		if err := s.lockUser(ctx, tx, userID); err != nil {
			return err
		}
		wall := s.now()
		now, err := s.clockTime(ctx, tx, clockID, wall)
		if err != nil {
			return err
		}
		live, err := s.live(ctx, tx, userID)
		if err != nil && !errors.Is(err, errNone) {
			return err
		}
		hasLive := err == nil
		if hasLive && live.paid() && !live.ended(wall) {
			return fail.New(fail.Conflict, "the plan %s is live already", live.PlanCode).With("currentPlan", live.PlanCode)
		}
		end := now.AddDate(0, 0, int(p.TrialDays))
		sub = subscription{
			ID: s.ids.New(), UserID: userID, State: pendingState, PlanCode: p.Code, PlanVersion: p.Version, Cycle: pr.Cycle,
			PriceID: pr.ID, TestClockID: clockID, TrialEnd: &end, Version: 1, CreatedAt: wall,
		}
		sub, err = s.begun(ctx, tx, sub, live, hasLive, now)
		return err
	})
	if err != nil {
		return subscription{}, err
	}
	s.outbox.Wake()
	return sub, nil
}

// begun writes a trial in the place of what was live.
func (s *Service) begun(ctx context.Context, tx txn, trial, live subscription, hasLive bool, now time.Time) (subscription, error) {
	by := actorOf(ctx)
	if err := s.insert(ctx, tx, trial, "trial"); err != nil {
		return trial, err
	}
	first, err := s.insertTrial(ctx, tx, trial, now)
	if err != nil {
		return trial, err
	}
	if !first {
		return trial, fail.New(fail.Conflict, "the trial has been used")
	}
	if hasLive {
		if err := s.supersede(ctx, tx, live, trial, by, s.now()); err != nil {
			return trial, err
		}
	}
	sub, err := s.subscription(ctx, tx, trial.ID)
	if err != nil {
		return trial, err
	}
	sub.State, sub.CurrentPeriodStart, sub.CurrentPeriodEnd = trialingState, &now, sub.TrialEnd
	sub.DueAt = s.dueOf(sub)
	if err := s.move(ctx, tx, &sub, pendingState, "trial", now); err != nil {
		return sub, err
	}
	granted, err := s.grant(ctx, tx, sub, by, now)
	if err != nil {
		return sub, err
	}
	started := audit(ctx, trail.SubscriptionTrialStarted, by, sub, s.now(), change{"state", "", sub.State}, change{"planCode", "", sub.PlanCode})
	if err := s.outbox.Append(ctx, tx, started, s.notice(sub.UserID, "trial_started", map[string]string{
		"detail": sub.PlanName, "date": s.when(*sub.TrialEnd), "link": "/subscription",
	})); err != nil {
		return sub, err
	}
	return sub, s.outbox.Append(ctx, tx, granted...)
}
