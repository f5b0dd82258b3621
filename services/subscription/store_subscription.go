package subscription

import (
	"context"
	"time"

	"github.com/google/uuid"
)

const subscriptionRows = `
SELECT s.id, s.user_id, s.state, s.plan_code, s.plan_version, s.cycle, s.price_id, s.total_minor, s.anchor, s.anchor_no, s.anchor_zone,
       s.period_no, s.current_period_start, s.current_period_end, s.paid_until, s.declined, s.unpaid_until, s.paused_until, s.banked_us,
       s.trial_end, s.cancel_at_period_end, s.cancelled_at, s.cancel_reason, s.pending_plan_code, s.pending_plan_version, s.pending_price_id,
       s.auto_renew, s.test_clock_id, c.frozen_at AS clock_at, s.payment_id, s.mandate_id, s.wants_renewal, s.charge_step, s.replaces, s.coupon_code, s.noticed, s.provider,
       s.due_at, s.version, s.created_at,
       p.name AS plan_name, p.tier,
       r.currency, r.amount_minor, r.tax_mode, r.tax_category, r.sac_code
  FROM subscription.subscription AS s
  JOIN subscription.plan AS p ON p.code = s.plan_code
  JOIN subscription.price AS r ON r.id = s.price_id
  LEFT JOIN subscription.test_clock AS c ON c.id = s.test_clock_id`

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
        current_period_start, trial_end, test_clock_id, replaces, coupon_code, provider, wants_renewal, due_at, created_at, updated_at)
VALUES (@id, @user_id, @state, @plan_code, @plan_version, @cycle, @price_id, @total_minor, @anchor, @anchor_zone,
        @current_period_start, @trial_end, @test_clock_id, @replaces, @coupon_code, @provider, @wants_renewal, @due_at, @now, @now)`

// insert writes a new subscription and the first line of its history.
func (s *Service) insert(ctx context.Context, tx txn, sub subscription, reason string) error {
	if _, err := exec(ctx, tx, "insert subscription", insertSubscription, args{
		"id": sub.ID, "user_id": sub.UserID, "state": sub.State, "plan_code": sub.PlanCode, "plan_version": sub.PlanVersion,
		"cycle": sub.Cycle, "price_id": sub.PriceID, "total_minor": sub.TotalMinor, "anchor": sub.Anchor,
		"anchor_zone": s.zone.String(), "current_period_start": sub.CurrentPeriodStart, "trial_end": sub.TrialEnd, "test_clock_id": sub.TestClockID,
		"replaces": sub.Replaces, "coupon_code": sub.CouponCode, "provider": sub.Provider, "wants_renewal": sub.WantsRenewal, "due_at": sub.DueAt, "now": sub.CreatedAt,
	}); err != nil {
		return err
	}
	return s.insertEvent(ctx, tx, sub, "", reason, sub.CreatedAt)
}

const updateSubscription = `
UPDATE subscription.subscription
   SET state = @state, plan_code = @plan_code, plan_version = @plan_version, cycle = @cycle, price_id = @price_id,
       anchor = @anchor, anchor_no = @anchor_no, period_no = @period_no, current_period_start = @current_period_start,
       current_period_end = @current_period_end, paid_until = @paid_until, declined = @declined, unpaid_until = @unpaid_until,
       paused_until = @paused_until, banked_us = @banked_us, cancel_at_period_end = @cancel_at_period_end, cancelled_at = @cancelled_at,
       cancel_reason = @cancel_reason, pending_plan_code = @pending_plan_code, pending_plan_version = @pending_plan_version,
       pending_price_id = @pending_price_id, auto_renew = @auto_renew, payment_id = @payment_id, mandate_id = @mandate_id, charge_step = @charge_step,
       noticed = @noticed, due_at = @due_at, version = version + 1, updated_at = @now
 WHERE id = @id AND version = @version`

// move writes a transition and its line of history. sub holds the new values
// and the version that was read; it gets the new version.
func (s *Service) move(ctx context.Context, tx txn, sub *subscription, from, reason string, now time.Time) error {
	n, err := exec(ctx, tx, "update subscription", updateSubscription, args{
		"id": sub.ID, "state": sub.State, "plan_code": sub.PlanCode, "plan_version": sub.PlanVersion, "cycle": sub.Cycle, "price_id": sub.PriceID,
		"anchor": sub.Anchor, "anchor_no": sub.AnchorNo, "period_no": sub.PeriodNo, "current_period_start": sub.CurrentPeriodStart,
		"current_period_end": sub.CurrentPeriodEnd, "paid_until": sub.PaidUntil, "declined": sub.Declined, "unpaid_until": sub.UnpaidUntil,
		"paused_until": sub.PausedUntil, "banked_us": sub.BankedUs, "cancel_at_period_end": sub.CancelAtPeriodEnd, "cancelled_at": sub.CancelledAt,
		"cancel_reason": sub.CancelReason, "pending_plan_code": sub.PendingPlanCode, "pending_plan_version": sub.PendingPlanVersion,
		"pending_price_id": sub.PendingPriceID, "auto_renew": sub.AutoRenew, "payment_id": sub.PaymentID, "mandate_id": sub.MandateID, "charge_step": sub.ChargeStep,
		"noticed": sub.Noticed, "due_at": sub.DueAt, "version": sub.Version, "now": now,
	})
	if err := exactly(1, n, "update subscription "+sub.ID.String(), err); err != nil {
		return err
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
	if err != nil {
		return err
	}
	return s.tellSubscription(ctx, tx, sub.ID)
}

const notePayment = `
WITH charged AS (
    UPDATE subscription.charge
       SET payment_id = @payment_id
     WHERE order_id = @order_id AND payment_id IS NULL
)
UPDATE subscription.subscription
   SET payment_id = @payment_id
 WHERE id = @order_id AND state = 'PENDING' AND payment_id IS NULL`

// notePayment remembers which payment settles an order. It is a note, not a
// transition: the version stays.
func (s *Service) notePayment(ctx context.Context, orderID, paymentID uuid.UUID) error {
	_, err := exec(ctx, s.db.Pool, "note payment", notePayment, args{"order_id": orderID, "payment_id": paymentID})
	return err
}

const insertPeriod = `
INSERT INTO subscription.subscription_period (subscription_id, n, during, invoice_id)
VALUES (@subscription_id, @n, tstzrange(@starts_at, @ends_at, '[)'), @invoice_id)`

// insertPeriod writes a paid period; a nil end is none, a nil invoice the rest
// of a period that was paused.
func (s *Service) insertPeriod(ctx context.Context, tx txn, subID uuid.UUID, n int, start time.Time, end *time.Time, invoiceID *uuid.UUID) error {
	_, err := exec(ctx, tx, "insert period", insertPeriod, args{
		"subscription_id": subID, "n": n, "starts_at": start, "ends_at": end, "invoice_id": invoiceID,
	})
	return err
}

const selectPaidPeriods = `
SELECT lower(p.during) AS starts_at, upper(p.during) AS ends_at, COALESCE(i.total_minor + i.credit_minor, 0) AS paid_minor,
       COALESCE((SELECT sum(n.total_minor) FROM subscription.invoice AS n WHERE n.corrects = i.id), 0)::bigint AS credited_minor
  FROM subscription.subscription_period AS p
  LEFT JOIN subscription.invoice AS i ON i.id = p.invoice_id
 WHERE p.subscription_id = @subscription_id AND NOT (p.during << tstzrange(@at, NULL))
 ORDER BY p.n`

// paidPeriod is one period, what was paid for it, and what of that went back.
type paidPeriod struct {
	StartsAt      time.Time
	EndsAt        *time.Time
	PaidMinor     int64
	CreditedMinor int64
}

// paidPeriods reads the periods that are not over at an instant.
func (s *Service) paidPeriods(ctx context.Context, q querier, subID uuid.UUID, at time.Time) ([]paidPeriod, error) {
	return many[paidPeriod](ctx, q, selectPaidPeriods, args{"subscription_id": subID, "at": at})
}

const claimDue = `
UPDATE subscription.subscription AS s
   SET due_at = @lease
  FROM (SELECT id
          FROM subscription.subscription
         WHERE due_at <= @now AND (test_clock_id IS NULL OR state = 'PENDING')
         ORDER BY due_at
         LIMIT @size
           FOR UPDATE SKIP LOCKED) AS d
 WHERE s.id = d.id
RETURNING s.id`

type dueRow struct{ ID uuid.UUID }

// due claims subscriptions the sweeper has to look at, longest overdue first. A
// claim is a lease: whoever dies leaves them due again soon.
func (s *Service) due(ctx context.Context, now time.Time, size int) ([]dueRow, error) {
	return many[dueRow](ctx, s.db.Pool, claimDue, args{"now": now, "lease": now.Add(lease), "size": size})
}

const selectClockDue = `
SELECT id, due_at
  FROM subscription.subscription
 WHERE test_clock_id = @clock AND state <> 'PENDING' AND due_at <= @until
 ORDER BY due_at, id
 LIMIT 1`

type clockDueRow struct {
	ID    uuid.UUID
	DueAt time.Time
}

// clockDue names what falls due first under a test clock; errNone when nothing does.
func (s *Service) clockDue(ctx context.Context, clockID string, until time.Time) (clockDueRow, error) {
	return one[clockDueRow](ctx, s.db.Pool, selectClockDue, args{"clock": clockID, "until": until})
}

const postpone = `UPDATE subscription.subscription SET due_at = @due_at WHERE id = @id AND due_at IS NOT NULL`

// postpone makes the sweeper look again later.
func (s *Service) postpone(ctx context.Context, subID uuid.UUID, until time.Time) error {
	_, err := exec(ctx, s.db.Pool, "postpone", postpone, args{"id": subID, "due_at": until})
	return err
}

const selectNextPeriod = `SELECT COALESCE(max(n), -1) + 1 FROM subscription.subscription_period WHERE subscription_id = @subscription_id`

// nextPeriodNo gives the number of the first period that is not paid.
func (s *Service) nextPeriodNo(ctx context.Context, q querier, subID uuid.UUID) (int, error) {
	return scalar[int](ctx, q, selectNextPeriod, args{"subscription_id": subID})
}

const shiftPeriods = `
UPDATE subscription.subscription_period
   SET during = tstzrange(lower(during) + @by::interval, upper(during) + @by::interval, '[)')
 WHERE subscription_id = @subscription_id AND n >= @n`

// shiftPeriods moves what a pause has kept.
func (s *Service) shiftPeriods(ctx context.Context, tx txn, subID uuid.UUID, n int, by time.Duration) error {
	_, err := exec(ctx, tx, "shift periods", shiftPeriods, args{"subscription_id": subID, "n": n, "by": by})
	return err
}

const selectOffered = `
SELECT r.id, r.plan_code, p.name AS plan_name, p.tier, r.version, r.cycle, r.currency, r.amount_minor, r.tax_mode, r.tax_category, r.sac_code
  FROM subscription.price AS r
  JOIN subscription.plan AS p ON p.code = r.plan_code
 WHERE r.id = @id`

// offered is a price and the plan version it sells.
type offered struct {
	ID          uuid.UUID
	PlanCode    string
	PlanName    string
	Tier        int32
	Version     int32
	Cycle       string
	Currency    string
	AmountMinor int64
	TaxMode     string
	TaxCategory string
	SACCode     string
}

func (o offered) price() price {
	return price{
		ID: o.ID, PlanCode: o.PlanCode, Cycle: o.Cycle, Currency: o.Currency, AmountMinor: o.AmountMinor,
		TaxMode: o.TaxMode, TaxCategory: o.TaxCategory, SACCode: o.SACCode,
	}
}

// priceOf reads a price, of whatever version.
func (s *Service) priceOf(ctx context.Context, q querier, priceID uuid.UUID) (offered, error) {
	return one[offered](ctx, q, selectOffered, args{"id": priceID})
}

const insertTrial = `
INSERT INTO subscription.trial (user_id, subscription_id, started_at)
VALUES (@user_id, @subscription_id, @now)
    ON CONFLICT DO NOTHING`

// insertTrial notes that a user has had the trial; false when it was had before.
func (s *Service) insertTrial(ctx context.Context, tx txn, sub subscription, now time.Time) (bool, error) {
	n, err := exec(ctx, tx, "insert trial", insertTrial, args{"user_id": sub.UserID, "subscription_id": sub.ID, "now": now})
	return n == 1, err
}

const settleDue = `
UPDATE subscription.subscription
   SET due_at = @due_at, noticed = @noticed, charge_step = @charge_step, mandate_id = @mandate_id
 WHERE id = @id`

// settleDue writes when a subscription is due again and what its user was told.
// It is the sweeper's note, not a transition: the version stays.
func (s *Service) settleDue(ctx context.Context, tx txn, sub subscription) error {
	_, err := exec(ctx, tx, "settle due", settleDue, args{
		"id": sub.ID, "due_at": s.dueOf(sub), "noticed": sub.Noticed, "charge_step": sub.ChargeStep, "mandate_id": sub.MandateID,
	})
	return err
}
