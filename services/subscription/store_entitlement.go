package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/services/subscription/grant"
)

const putEntitlements = `
INSERT INTO subscription.entitlement_set AS e
       (user_id, epoch, folded_epoch, subscription_id, plan_code, plan_version, plan_ends_at, features, limits, ends_at, due_at, updated_at)
VALUES (@user_id, 1, 1, @subscription_id, @plan_code, @plan_version, @plan_ends_at, @features, @limits, @ends_at, @due_at, @now)
    ON CONFLICT (user_id) DO UPDATE
   SET epoch = e.epoch + 1, folded_epoch = e.epoch + 1, subscription_id = excluded.subscription_id,
       plan_code = excluded.plan_code, plan_version = excluded.plan_version, plan_ends_at = excluded.plan_ends_at,
       features = excluded.features, limits = excluded.limits, ends_at = excluded.ends_at, due_at = excluded.due_at,
       updated_at = excluded.updated_at
RETURNING e.epoch`

// put writes a folded set; dueAt is when it has to be folded again by itself.
func (s *Service) put(ctx context.Context, tx txn, userID uuid.UUID, e entitlements, dueAt *time.Time, now time.Time) (epoch int64, err error) {
	return scalar[int64](ctx, tx, putEntitlements, args{
		"user_id": userID, "subscription_id": e.SubscriptionID, "plan_code": e.PlanCode, "plan_version": e.PlanVersion,
		"plan_ends_at": e.PlanEndsAt, "features": e.Features, "limits": e.Limits, "ends_at": e.EndsAt, "due_at": dueAt, "now": now,
	})
}

// What a program that knew the plan alone has written ends with the plan.
const selectEntitlements = `
SELECT e.epoch, e.subscription_id, e.plan_code, e.plan_version, e.features, e.ends_at,
       CASE WHEN e.folded_epoch = e.epoch THEN e.limits END AS limits,
       CASE WHEN e.folded_epoch = e.epoch THEN e.plan_ends_at ELSE e.ends_at END AS plan_ends_at,
       COALESCE(e.folded_epoch = e.epoch, false) AS folded,
       EXISTS (SELECT FROM subscription.entitlement_stale AS m WHERE m.user_id = e.user_id) AS stale, c.frozen_at AS clock_at
  FROM subscription.entitlement_set AS e
  JOIN subscription.subscription AS s ON s.id = e.subscription_id
  LEFT JOIN subscription.test_clock AS c ON c.id = s.test_clock_id
 WHERE e.user_id = @user_id`

const selectPlanLimits = `
SELECT feature, kind, limit_value AS limit, period
  FROM subscription.plan_feature
 WHERE plan_code = @plan_code AND version = @plan_version AND kind <> 'boolean'
 ORDER BY feature`

// entitlementsIn reads a user's set as it was last written; errNone when there
// is none.
func (s *Service) entitlementsIn(ctx context.Context, q querier, userID uuid.UUID) (entitlements, error) {
	e, err := one[entitlements](ctx, q, selectEntitlements, args{"user_id": userID})
	if err != nil || e.Folded {
		return e, err
	}
	e.Limits, err = many[grant.Feature](ctx, q, selectPlanLimits, args{"plan_code": e.PlanCode, "plan_version": e.PlanVersion})
	return e, err
}

// entitlements reads it outside a transaction.
func (s *Service) entitlements(ctx context.Context, userID uuid.UUID) (entitlements, error) {
	return s.entitlementsIn(ctx, s.db.Pool, userID)
}

// Seats belong to who pays: a member gets all of the payer's plan but those.
const selectGrants = `
SELECT 'plan' AS source, '' AS id, f.feature, f.kind, f.limit_value, f.period, 0 AS priority,
       NULL::timestamptz AS valid_from, @plan_ends_at::timestamptz AS valid_until, NULL::timestamptz AS created_at
  FROM subscription.plan_feature AS f
 WHERE f.plan_code = @plan_code AND f.version = @plan_version
 UNION ALL
SELECT g.source, g.id::text, g.feature, g.kind, g.limit_value, g.period, g.priority, g.valid_from, g.valid_until, g.created_at
  FROM subscription.entitlement_grant AS g
 WHERE g.user_id = @user_id AND g.revoked_at IS NULL AND (g.valid_until IS NULL OR g.valid_until > @now)
 UNION ALL
SELECT 'organization', m.organization_id::text, f.feature, f.kind, f.limit_value, f.period, 0,
       NULL, CASE WHEN p.folded_epoch = p.epoch THEN p.plan_ends_at ELSE p.ends_at END, NULL
  FROM subscription.organization_member AS m
  JOIN subscription.entitlement_set AS p ON p.user_id = m.payer_id
  JOIN subscription.plan_feature AS u ON u.plan_code = p.plan_code AND u.version = p.plan_version
  JOIN subscription.plan_feature AS f ON f.plan_code = p.plan_code AND f.version = p.plan_version
 WHERE m.user_id = @user_id AND m.member AND m.payer_id <> m.user_id
   AND u.feature = 'users' AND (u.limit_value IS NULL OR u.limit_value > 1) AND f.feature <> 'users'`

// granted is a row of it.
type granted struct {
	Source     string
	ID         string
	Feature    string
	Kind       string
	LimitValue *int64
	Period     string
	Priority   int32
	ValidFrom  *time.Time // nil: always was
	ValidUntil *time.Time
	CreatedAt  *time.Time
}

// grants reads all that a user's set is folded from, the plan of e among them.
func (s *Service) grants(ctx context.Context, q querier, userID uuid.UUID, e entitlements, now time.Time) ([]granted, error) {
	return many[granted](ctx, q, selectGrants, args{
		"user_id": userID, "plan_code": e.PlanCode, "plan_version": e.PlanVersion, "plan_ends_at": e.PlanEndsAt, "now": now,
	})
}

const selectUses = `
SELECT u.feature, u.period_start, u.used + (
           SELECT COALESCE(sum(r.amount), 0)::bigint
             FROM subscription.reservation AS r
            WHERE u.holds AND r.user_id = u.user_id AND r.feature = u.feature AND r.period_start = u.period_start
              AND r.state = 'HELD' AND r.expires_at > @now) AS used
  FROM subscription.usage_counter AS u
 WHERE u.user_id = @user_id AND u.period_start IN (@day, @month)`

// use is a counter, with what is held of it.
type use struct {
	Feature     string
	PeriodStart time.Time
	Used        int64
}

// uses reads a user's counters of the running day and month.
func (s *Service) uses(ctx context.Context, userID uuid.UUID, day, month, now time.Time) ([]use, error) {
	return many[use](ctx, s.db.Pool, selectUses, args{"user_id": userID, "day": day, "month": month, "now": now})
}

// One statement: whatever races, the row's own lock decides who still fits.
// What is held stands in other rows, which a statement that waited may see as
// they were: a limited counter with something held is left alone.
const countUse = `
INSERT INTO subscription.usage_counter AS u (user_id, feature, period_start, used)
SELECT @user_id, @feature, @period_start, @amount
 WHERE @limit_value::bigint IS NULL OR @amount::bigint <= @limit_value
    ON CONFLICT (user_id, feature, period_start) DO UPDATE
   SET used = u.used + excluded.used
 WHERE @limit_value::bigint IS NULL OR (NOT u.holds AND u.used + excluded.used <= @limit_value)
RETURNING u.used`

// countUse adds amount to a counter and gives the sum; fits is false, and
// nothing is counted, when that would pass the limit or something may be held.
func (s *Service) countUse(ctx context.Context, userID uuid.UUID, l limit, start time.Time, amount int64) (used int64, fits bool, err error) {
	used, err = scalar[int64](ctx, s.db.Pool, countUse, args{
		"user_id": userID, "feature": l.Feature, "period_start": start, "amount": amount, "limit_value": l.LimitValue,
	})
	if errors.Is(err, errNone) {
		return 0, false, nil
	}
	return used, err == nil, err
}
