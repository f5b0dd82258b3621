package subscription

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/subscription/gst"
)

// openFor is how long an order may wait for its money.
const openFor = 24 * time.Hour

// wanted is what somebody orders.
type wanted struct {
	PlanCode, Cycle, Provider, Coupon string
	PreviewHash                       string
	ClockID                           *string
	AutoRenew                         bool
}

// order is a subscription on sale and where to pay for it.
type order struct {
	subscription
	payment *payment // nil: there is nothing to pay
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

// payable is what payment is asked to collect.
type payable struct {
	OrderID     uuid.UUID // makes asking repeatable
	UserID      uuid.UUID
	ProductCode string
	Cycle       string
	Currency    string
	Tax         gst.Split
	Zero        bool  // nothing is to be paid: it is settled already
	MaxMinor    int64 // the most that a renewal may take; 0 without a mandate
}

// checkout orders a plan and opens its payment. The order is committed before
// payment is asked, under an id that makes asking repeatable: a call that was
// lost is made good by the next checkout of the same plan, which finds the
// order again.
func (s *Service) checkout(ctx context.Context, userID uuid.UUID, w wanted) (order, error) {
	p, pr, err := s.target(ctx, userID, w)
	if err != nil {
		return order{}, err
	}
	if err := renewable(pr, w); err != nil {
		return order{}, err
	}
	// Twice, because the order found may be one whose payment has failed and
	// whose event is still on its way.
	for range 2 {
		sub, pay, err := s.place(ctx, userID, p, pr, w)
		if err != nil {
			return order{}, err
		}
		if pay.Zero {
			return order{subscription: sub}, nil
		}
		opened, err := s.openPayment(ctx, pay, w.Provider)
		if err != nil {
			return order{}, err
		}
		if opened.failed() {
			if err := s.giveUpCharge(ctx, sub.ID, pay.OrderID, opened, actorOf(ctx)); err != nil {
				return order{}, err
			}
			continue
		}
		if err := s.notePayment(ctx, pay.OrderID, opened.ID); err != nil {
			return order{}, err
		}
		return order{subscription: sub, payment: &opened}, nil
	}
	return order{}, fail.New(fail.PaymentProviderUnavailable, "no payment could be opened")
}

// place finds the user's open order of the plan, or makes it.
func (s *Service) place(ctx context.Context, userID uuid.UUID, p plan, pr price, w wanted) (sub subscription, pay payable, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		if err := s.lockUser(ctx, tx, userID); err != nil {
			return err
		}
		sub, err = s.pending(ctx, tx, userID, p.Code, pr.Cycle)
		if err == nil {
			pay, err = s.again(ctx, tx, sub, w)
			return err
		}
		if !errors.Is(err, errNone) {
			return err
		}
		q, err := s.quote(ctx, tx, userID, p, pr, w)
		if err != nil {
			return err
		}
		if err := q.agreed(w.PreviewHash); err != nil {
			return err
		}
		switch q.Kind {
		case asDowngrade:
			return fail.New(fail.Conflict, "the plan %s is live already; change it instead", q.Live.PlanCode).With("currentPlan", q.Live.PlanCode)
		case asRenewal:
			sub, pay, err = s.placeRenewal(ctx, tx, *q.Live)
			return err
		default:
			sub, pay, err = s.insertOrder(ctx, tx, userID, q, w)
			return err
		}
	})
	if err != nil {
		return subscription{}, payable{}, err
	}
	s.outbox.Wake()
	return sub, pay, nil
}

// again is the open order of the same thing: what was quoted with it stands.
func (s *Service) again(ctx context.Context, tx txn, sub subscription, w wanted) (payable, error) {
	if w.Coupon != "" && (sub.CouponCode == nil || *sub.CouponCode != couponCode(w.Coupon)) {
		return payable{}, fail.New(fail.Conflict, "an order of this plan is open without the coupon").Field("couponCode", "comes after the order")
	}
	inv, err := s.draftOf(ctx, tx, sub.ID, ofOrder, nil)
	if errors.Is(err, errNone) {
		inv, err = s.bill(sub, s.now()), nil
	}
	return s.withMandate(sub, sub.payable(sub.ID, inv)), err
}

// payable is what an order's draft asks payment for.
func (s subscription) payable(orderID uuid.UUID, inv invoice) payable {
	return payable{OrderID: orderID, UserID: s.UserID, ProductCode: s.PlanCode, Cycle: s.Cycle, Currency: inv.Currency, Tax: inv.tax()}
}

// insertOrder writes a new order with its draft. One that costs nothing begins
// at once.
func (s *Service) insertOrder(ctx context.Context, tx txn, userID uuid.UUID, q quote, w wanted) (subscription, payable, error) {
	wall := s.now()
	due, subID := wall.Add(openFor), s.ids.New()
	sub := subscription{
		ID: subID, UserID: userID, State: pendingState, PlanCode: q.Plan.Code, PlanVersion: q.Plan.Version, Cycle: q.Price.Cycle,
		PriceID: q.Price.ID, TotalMinor: q.total(), TestClockID: w.ClockID, CouponCode: q.Coupon, Provider: w.Provider, WantsRenewal: w.AutoRenew,
		DueAt: &due, Version: 1, CreatedAt: wall,
	}
	if q.Live != nil {
		sub.Replaces = &q.Live.ID
		if sub.TestClockID == nil {
			sub.TestClockID = q.Live.TestClockID
		}
	}
	if err := s.insert(ctx, tx, sub, "checkout"); err != nil {
		return sub, payable{}, err
	}
	sub, err := s.subscription(ctx, tx, subID)
	if err != nil {
		return sub, payable{}, err
	}
	if err := s.redeem(ctx, tx, sub, wall); err != nil {
		return sub, payable{}, err
	}
	inv := s.draft(userID, q, sub.at(wall))
	zero := 0
	inv.SubscriptionID, inv.PeriodNo = &subID, &zero
	if err := s.insertDraft(ctx, tx, inv); err != nil {
		return sub, payable{}, err
	}
	if err := s.insertCharge(ctx, tx, charge{OrderID: subID, InvoiceID: inv.ID, AttemptNo: 1, CreatedAt: wall}); err != nil {
		return sub, payable{}, err
	}
	by := actorOf(ctx)
	if err := s.outbox.Append(ctx, tx, audit(ctx, trail.SubscriptionCheckoutStarted, by, sub, wall,
		change{"state", "", sub.State}, change{"planCode", "", sub.PlanCode}, change{"cycle", "", sub.Cycle},
		change{"totalMinor", "", sub.TotalMinor})); err != nil {
		return sub, payable{}, err
	}
	pay := s.withMandate(sub, sub.payable(subID, inv))
	if q.total() > 0 {
		return sub, pay, nil
	}
	pay.Zero = true
	if err := s.settle(ctx, tx, sub, capture{OrderID: subID, UserID: userID, Currency: sub.Currency}, by); err != nil {
		return sub, payable{}, err
	}
	sub, err = s.subscription(ctx, tx, subID)
	return sub, pay, err
}

// giveUpCharge closes an order that no money will come for.
func (s *Service) giveUpCharge(ctx context.Context, subID, orderID uuid.UUID, pay payment, by actor) error {
	if subID == orderID {
		return s.abandon(ctx, subID, "payment "+pay.State, by)
	}
	return s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		return s.declineCharge(ctx, tx, orderID, pay.ID, by)
	})
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
	if err := s.releaseCoupon(ctx, tx, sub.ID, now); err != nil {
		return err
	}
	return s.outbox.Append(ctx, tx, audit(ctx, trail.SubscriptionExpired, by, sub, now,
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

// end moves an order that never began to a state that nothing follows.
func (s *Service) end(ctx context.Context, tx txn, sub *subscription, state, why string, now time.Time) error {
	from := sub.State
	sub.State, sub.DueAt = state, nil
	if err := s.voidDrafts(ctx, tx, sub.ID, now); err != nil {
		return err
	}
	return s.move(ctx, tx, sub, from, why, now)
}
