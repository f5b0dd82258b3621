package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
)

const putEntitlements = `
INSERT INTO subscription.entitlement_set AS e
       (user_id, epoch, subscription_id, plan_code, plan_version, features, ends_at, updated_at)
SELECT @user_id, 1, @subscription_id, @plan_code, @plan_version,
       COALESCE(array_agg(f.feature ORDER BY f.feature), '{}'), @ends_at, @now
  FROM subscription.plan_feature AS f
 WHERE f.plan_code = @plan_code AND f.version = @plan_version AND f.kind = 'boolean'
    ON CONFLICT (user_id) DO UPDATE
   SET epoch = e.epoch + 1, subscription_id = excluded.subscription_id, plan_code = excluded.plan_code,
       plan_version = excluded.plan_version, features = excluded.features, ends_at = excluded.ends_at,
       updated_at = excluded.updated_at
RETURNING e.epoch, e.plan_code, e.plan_version, e.features, e.ends_at`

// putEntitlements makes sub's plan the one that bites and gives the new set.
func (s *Service) putEntitlements(ctx context.Context, tx txn, sub subscription, now time.Time) (entitlements, error) {
	return one[entitlements](ctx, tx, putEntitlements, args{
		"user_id": sub.UserID, "subscription_id": sub.ID, "plan_code": sub.PlanCode, "plan_version": sub.PlanVersion,
		"ends_at": sub.CurrentPeriodEnd, "now": now,
	})
}

const selectEntitlements = `
SELECT epoch, plan_code, plan_version, features, ends_at
  FROM subscription.entitlement_set
 WHERE user_id = @user_id`

// entitlements reads a user's set as it was last written; errNone when there is none.
func (s *Service) entitlements(ctx context.Context, userID uuid.UUID) (entitlements, error) {
	return one[entitlements](ctx, s.db.Pool, selectEntitlements, args{"user_id": userID})
}

const selectLimits = `
SELECT f.feature, f.kind, f.limit_value, f.period, COALESCE(u.used, 0) + (
           SELECT COALESCE(sum(r.amount), 0)::bigint
             FROM subscription.reservation AS r
            WHERE u.holds AND r.user_id = u.user_id AND r.feature = u.feature AND r.period_start = u.period_start
              AND r.state = 'HELD' AND r.expires_at > @now) AS used
  FROM subscription.plan_feature AS f
  LEFT JOIN subscription.usage_counter AS u
    ON u.user_id = @user_id AND u.feature = f.feature
   AND u.period_start = CASE f.period WHEN 'day' THEN @day::timestamptz WHEN 'month' THEN @month::timestamptz END
 WHERE f.plan_code = @plan_code AND f.version = @plan_version AND f.kind <> 'boolean'
 ORDER BY f.feature`

// limits reads the counted features of a plan version and the user's use of
// them in the running day and month.
func (s *Service) limits(ctx context.Context, userID uuid.UUID, e entitlements, day, month, now time.Time) ([]limit, error) {
	return many[limit](ctx, s.db.Pool, selectLimits, args{
		"user_id": userID, "plan_code": e.PlanCode, "plan_version": e.PlanVersion, "day": day, "month": month, "now": now,
	})
}

const selectPlanLimits = `
SELECT feature, kind, limit_value, period, 0::bigint AS used
  FROM subscription.plan_feature
 WHERE plan_code = @plan_code AND version = @plan_version AND kind <> 'boolean'
 ORDER BY feature`

// planLimits reads the numbers of a plan version; -1 is no limit.
func (s *Service) planLimits(ctx context.Context, tx txn, e entitlements) (map[string]int64, error) {
	list, err := many[limit](ctx, tx, selectPlanLimits, args{"plan_code": e.PlanCode, "plan_version": e.PlanVersion})
	if err != nil {
		return nil, err
	}
	out := make(map[string]int64, len(list))
	for _, l := range list {
		out[l.Feature] = l.most()
	}
	return out, nil
}

const selectFeature = `
SELECT feature, kind, limit_value, period, 0::bigint AS used
  FROM subscription.plan_feature
 WHERE plan_code = @plan_code AND version = @plan_version AND feature = @feature`

// feature reads one feature of a plan version; errNone when it is not in it.
func (s *Service) feature(ctx context.Context, e entitlements, code string) (limit, error) {
	return one[limit](ctx, s.db.Pool, selectFeature, args{"plan_code": e.PlanCode, "plan_version": e.PlanVersion, "feature": code})
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
