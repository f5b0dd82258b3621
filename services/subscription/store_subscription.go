package subscription

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
)

const subscriptionRows = `
SELECT s.id, s.user_id, s.state, s.plan_code, s.plan_version, s.cycle, s.price_id, s.total_minor, s.anchor,
       s.current_period_start, s.current_period_end, s.trial_end, s.cancel_at_period_end, s.pending_plan_code,
       s.auto_renew, s.test_clock_id, s.payment_id, s.due_at, s.version, s.created_at,
       p.name AS plan_name, p.tier,
       r.currency, r.amount_minor, r.tax_mode, r.tax_category, r.sac_code
  FROM subscription.subscription AS s
  JOIN subscription.plan AS p ON p.code = s.plan_code
  JOIN subscription.price AS r ON r.id = s.price_id`

const selectSubscription = subscriptionRows + `
 WHERE s.id = @id`

// subscription reads one; errNone when there is none.
func (s *Service) subscription(ctx context.Context, q querier, subID uuid.UUID) (subscription, error) {
	return one[subscription](ctx, q, selectSubscription, args{"id": subID})
}

const selectLive = subscriptionRows + `
 WHERE s.user_id = @user_id AND s.state IN ('TRIALING', 'ACTIVE', 'PAST_DUE', 'GRACE', 'PAUSED')`

// live reads the user's one live subscription, which may have ended by time
// already; errNone when there is none.
func (s *Service) live(ctx context.Context, q querier, userID uuid.UUID) (subscription, error) {
	return one[subscription](ctx, q, selectLive, args{"user_id": userID})
}

const selectPending = subscriptionRows + `
 WHERE s.user_id = @user_id AND s.plan_code = @plan_code AND s.cycle = @cycle AND s.state = 'PENDING'`

// pending reads the user's open order of a plan and cycle; errNone when there is none.
func (s *Service) pending(ctx context.Context, q querier, userID uuid.UUID, planCode, cycle string) (subscription, error) {
	return one[subscription](ctx, q, selectPending, args{"user_id": userID, "plan_code": planCode, "cycle": cycle})
}

const selectHistory = subscriptionRows + `
 WHERE s.user_id = @user_id AND (@before::uuid IS NULL OR s.id < @before)
 ORDER BY s.id DESC
 LIMIT @size`

// history reads one page of a user's subscriptions, newest first: ids grow with time.
func (s *Service) history(ctx context.Context, userID uuid.UUID, before *uuid.UUID, size int) ([]subscription, error) {
	return many[subscription](ctx, s.db.Pool, selectHistory, args{"user_id": userID, "before": before, "size": size})
}

const countHistory = `SELECT count(*) FROM subscription.subscription WHERE user_id = @user_id`

func (s *Service) countHistory(ctx context.Context, userID uuid.UUID) (int32, error) {
	return scalar[int32](ctx, s.db.Pool, countHistory, args{"user_id": userID})
}

const insertSubscription = `
INSERT INTO subscription.subscription
       (id, user_id, state, plan_code, plan_version, cycle, price_id, total_minor, anchor, anchor_zone,
        current_period_start, due_at, created_at, updated_at)
VALUES (@id, @user_id, @state, @plan_code, @plan_version, @cycle, @price_id, @total_minor, @anchor, @anchor_zone,
        @current_period_start, @due_at, @now, @now)`

// insert writes a new subscription and the first line of its history.
func (s *Service) insert(ctx context.Context, tx txn, sub subscription, reason string) error {
	if _, err := exec(ctx, tx, "insert subscription", insertSubscription, args{
		"id": sub.ID, "user_id": sub.UserID, "state": sub.State, "plan_code": sub.PlanCode, "plan_version": sub.PlanVersion,
		"cycle": sub.Cycle, "price_id": sub.PriceID, "total_minor": sub.TotalMinor, "anchor": sub.Anchor,
		"anchor_zone": s.zone.String(), "current_period_start": sub.CurrentPeriodStart, "due_at": sub.DueAt, "now": sub.CreatedAt,
	}); err != nil {
		return err
	}
	return s.insertEvent(ctx, tx, sub, "", reason, sub.CreatedAt)
}

const updateSubscription = `
UPDATE subscription.subscription
   SET state = @state, anchor = @anchor, current_period_start = @current_period_start,
       current_period_end = @current_period_end, payment_id = @payment_id, due_at = @due_at,
       version = version + 1, updated_at = @now
 WHERE id = @id AND version = @version`

// move writes a transition and its line of history. sub holds the new values
// and the version that was read; it gets the new version.
func (s *Service) move(ctx context.Context, tx txn, sub *subscription, from, reason string, now time.Time) error {
	n, err := exec(ctx, tx, "update subscription", updateSubscription, args{
		"id": sub.ID, "state": sub.State, "anchor": sub.Anchor, "current_period_start": sub.CurrentPeriodStart,
		"current_period_end": sub.CurrentPeriodEnd, "payment_id": sub.PaymentID, "due_at": sub.DueAt,
		"version": sub.Version, "now": now,
	})
	if err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("subscription %s is no longer at version %d", sub.ID, sub.Version)
	}
	sub.Version++
	return s.insertEvent(ctx, tx, *sub, from, reason, now)
}

const insertEvent = `
INSERT INTO subscription.subscription_event (subscription_id, version, from_state, to_state, reason, occurred_at)
VALUES (@subscription_id, @version, @from_state, @to_state, @reason, @now)`

func (s *Service) insertEvent(ctx context.Context, tx txn, sub subscription, from, reason string, now time.Time) error {
	_, err := exec(ctx, tx, "insert subscription event", insertEvent, args{
		"subscription_id": sub.ID, "version": sub.Version, "from_state": from, "to_state": sub.State, "reason": reason, "now": now,
	})
	return err
}

const notePayment = `
UPDATE subscription.subscription
   SET payment_id = @payment_id
 WHERE id = @id AND state = 'PENDING' AND payment_id IS NULL`

// notePayment remembers which payment settles an order. It is a note for the
// sweeper, not a transition: the version stays.
func (s *Service) notePayment(ctx context.Context, subID, paymentID uuid.UUID) error {
	_, err := exec(ctx, s.db.Pool, "note payment", notePayment, args{"id": subID, "payment_id": paymentID})
	return err
}

const insertPeriod = `
INSERT INTO subscription.subscription_period (subscription_id, n, during, invoice_id)
VALUES (@subscription_id, @n, tstzrange(@starts_at, @ends_at, '[)'), @invoice_id)`

func (s *Service) insertPeriod(ctx context.Context, tx txn, sub subscription, n int, invoiceID uuid.UUID) error {
	_, err := exec(ctx, tx, "insert period", insertPeriod, args{
		"subscription_id": sub.ID, "n": n, "starts_at": sub.CurrentPeriodStart, "ends_at": sub.CurrentPeriodEnd, "invoice_id": invoiceID,
	})
	return err
}

const selectDue = `
SELECT id
  FROM subscription.subscription
 WHERE due_at <= @now
 ORDER BY due_at
 LIMIT @size`

type dueRow struct{ ID uuid.UUID }

// due names subscriptions the sweeper has to look at, longest overdue first.
func (s *Service) due(ctx context.Context, now time.Time, size int) ([]dueRow, error) {
	return many[dueRow](ctx, s.db.Pool, selectDue, args{"now": now, "size": size})
}

const postpone = `UPDATE subscription.subscription SET due_at = @due_at WHERE id = @id AND due_at IS NOT NULL`

// postpone makes the sweeper look again later.
func (s *Service) postpone(ctx context.Context, subID uuid.UUID, until time.Time) error {
	_, err := exec(ctx, s.db.Pool, "postpone", postpone, args{"id": subID, "due_at": until})
	return err
}
