package subscription

import (
	"context"
	"time"

	"github.com/google/uuid"
)

const grantRows = `
SELECT id, user_id, source, feature, kind, limit_value, period, priority, valid_from, valid_until, granted_by, reason, created_at, revoked_at
  FROM subscription.entitlement_grant`

const selectOverride = grantRows + `
 WHERE id = @id`

// override reads one; errNone when there is none.
func (s *Service) override(ctx context.Context, q querier, grantID uuid.UUID) (override, error) {
	return one[override](ctx, q, selectOverride, args{"id": grantID})
}

const selectOverrides = grantRows + `
 WHERE user_id = @user_id AND (@before::uuid IS NULL OR id < @before)
 ORDER BY id DESC
 LIMIT @size`

// overrides reads one page of a user's, newest first: ids grow with time.
func (s *Service) overrides(ctx context.Context, userID uuid.UUID, before *uuid.UUID, size int) ([]override, error) {
	return many[override](ctx, s.db.Pool, selectOverrides, args{"user_id": userID, "before": before, "size": size})
}

const countOverrides = `SELECT count(*) FROM subscription.entitlement_grant WHERE user_id = @user_id`

func (s *Service) countOverrides(ctx context.Context, userID uuid.UUID) (int32, error) {
	return scalar[int32](ctx, s.db.Pool, countOverrides, args{"user_id": userID})
}

const countGrants = countOverrides + ` AND revoked_at IS NULL AND (valid_until IS NULL OR valid_until > @now)`

// countGrants counts those of a user that are in force or to come.
func (s *Service) countGrants(ctx context.Context, tx txn, userID uuid.UUID, now time.Time) (int64, error) {
	return scalar[int64](ctx, tx, countGrants, args{"user_id": userID, "now": now})
}

const insertGrant = `
INSERT INTO subscription.entitlement_grant
       (id, user_id, source, feature, kind, limit_value, period, priority, valid_from, valid_until, granted_by, reason, created_at)
VALUES (@id, @user_id, @source, @feature, @kind, @limit_value, @period, @priority, @valid_from, @valid_until, @granted_by, @reason, @now)`

func (s *Service) insertGrant(ctx context.Context, tx txn, o override) error {
	_, err := exec(ctx, tx, "insert a grant", insertGrant, args{
		"id": o.ID, "user_id": o.UserID, "source": o.Source, "feature": o.Feature, "kind": o.Kind, "limit_value": o.LimitValue,
		"period": o.Period, "priority": o.Priority, "valid_from": o.ValidFrom, "valid_until": o.ValidUntil,
		"granted_by": o.GrantedBy, "reason": o.Reason, "now": o.CreatedAt,
	})
	return err
}

const revokeGrant = `UPDATE subscription.entitlement_grant SET revoked_at = @now WHERE id = @id AND revoked_at IS NULL`

func (s *Service) revokeGrant(ctx context.Context, tx txn, grantID uuid.UUID, now time.Time) error {
	_, err := exec(ctx, tx, "revoke a grant", revokeGrant, args{"id": grantID, "now": now})
	return err
}
