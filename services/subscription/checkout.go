package subscription

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
)

// openFor is how long an order may wait for its money.
const openFor = 24 * time.Hour

// order is a subscription on sale and where to pay for it.
type order struct {
	subscription
	payment payment
}

// payment is what subscription needs to know of one.
type payment struct {
	ID          uuid.UUID
	State       string
	RedirectURL string
	AmountMinor int64
	Currency    string
}

// failed reports whether no money will come of it.
func (p payment) failed() bool {
	return p.State == "FAILED" || p.State == expiredState || p.State == cancelledState
}

// checkout orders a plan and opens its payment. The order is committed before
// payment is asked, under an id that makes asking repeatable: a call that was
// lost is made good by the next checkout of the same plan, which finds the
// order again.
func (s *Service) checkout(ctx context.Context, userID uuid.UUID, planCode, cycle, provider string) (order, error) {
	p, err := s.catalog.sold(ctx, planCode)
	if err != nil {
		return order{}, err
	}
	pr, err := p.orderable(cycle)
	if err != nil {
		return order{}, err
	}
	// Twice, because the order found may be one whose payment has failed and
	// whose event is still on its way.
	for range 2 {
		sub, err := s.place(ctx, userID, p, pr)
		if err != nil {
			return order{}, err
		}
		pay, err := s.payment.open(ctx, sub, provider)
		if err != nil {
			return order{}, err
		}
		if pay.failed() {
			if err := s.abandon(ctx, sub.ID, "payment "+pay.State, actorOf(ctx)); err != nil {
				return order{}, err
			}
			continue
		}
		if err := s.notePayment(ctx, sub.ID, pay.ID); err != nil {
			return order{}, err
		}
		return order{subscription: sub, payment: pay}, nil
	}
	return order{}, fail.New(fail.PaymentProviderUnavailable, "no payment could be opened")
}

// place finds the user's open order of the plan, or makes it.
func (s *Service) place(ctx context.Context, userID uuid.UUID, p plan, pr price) (subscription, error) {
	var sub subscription
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		if err := s.lockUser(ctx, tx, userID); err != nil {
			return err
		}
		now := s.now()
		live, err := s.live(ctx, tx, userID)
		if err != nil && !errors.Is(err, errNone) {
			return err
		}
		if err == nil && live.paid() && !live.ended(now) && live.Tier >= p.Tier {
			return fail.New(fail.Conflict, "the plan %s is live already", live.PlanCode).With("currentPlan", live.PlanCode)
		}
		if sub, err = s.pending(ctx, tx, userID, p.Code, pr.Cycle); !errors.Is(err, errNone) {
			return err
		}
		due := now.Add(openFor)
		id := s.ids.New()
		if err := s.insert(ctx, tx, subscription{
			ID: id, UserID: userID, State: pendingState, PlanCode: p.Code, PlanVersion: p.Version, Cycle: pr.Cycle,
			PriceID: pr.ID, TotalMinor: split(pr).Total(), DueAt: &due, Version: 1, CreatedAt: now,
		}, "checkout"); err != nil {
			return err
		}
		if sub, err = s.subscription(ctx, tx, id); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, audit(ctx, "subscription.checkout_started", actorOf(ctx), sub, now,
			change{"state", "", sub.State}, change{"planCode", "", sub.PlanCode}, change{"cycle", "", sub.Cycle},
			change{"totalMinor", "", sub.TotalMinor}))
	})
	if err != nil {
		return subscription{}, err
	}
	s.outbox.Wake()
	return sub, nil
}

// abandon ends an order that will not be paid. An order that is no longer open
// stays as it is.
func (s *Service) abandon(ctx context.Context, subID uuid.UUID, why string, by actor) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		return s.abandonIn(ctx, tx, subID, why, by)
	})
	if err != nil {
		return err
	}
	s.outbox.Wake()
	return nil
}

func (s *Service) abandonIn(ctx context.Context, tx txn, subID uuid.UUID, why string, by actor) error {
	sub, err := s.locked(ctx, tx, subID)
	if err != nil || sub.State != pendingState {
		return err
	}
	now := s.now()
	if err := s.end(ctx, tx, &sub, expiredState, why, now); err != nil {
		return err
	}
	return s.outbox.Append(ctx, tx, audit(ctx, "subscription.expired", by, sub, now,
		change{"state", pendingState, sub.State}))
}

// locked reads a subscription under its user's lock.
func (s *Service) locked(ctx context.Context, tx txn, subID uuid.UUID) (subscription, error) {
	sub, err := s.subscription(ctx, tx, subID)
	if err != nil {
		return sub, fmt.Errorf("subscription %s: %w", subID, err)
	}
	if err := s.lockUser(ctx, tx, sub.UserID); err != nil {
		return sub, err
	}
	return s.subscription(ctx, tx, subID) // as it is now that nobody else may change it
}

// end moves a subscription to a state that nothing follows.
func (s *Service) end(ctx context.Context, tx txn, sub *subscription, state, why string, now time.Time) error {
	from := sub.State
	sub.State, sub.DueAt = state, nil
	return s.move(ctx, tx, sub, from, why, now)
}
