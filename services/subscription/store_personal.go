package subscription

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
)

const selectPersonalData = `
SELECT jsonb_build_object(
    'subscriptions', (SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.id), '[]') FROM subscription.subscription AS s WHERE s.user_id = @id),
    'invoices', (SELECT coalesce(jsonb_agg(to_jsonb(i) ORDER BY i.id), '[]') FROM subscription.invoice AS i WHERE i.user_id = @id),
    'purchases', (SELECT coalesce(jsonb_agg(to_jsonb(p) ORDER BY p.id), '[]') FROM subscription.purchase AS p WHERE p.user_id = @id),
    'billingProfile', (SELECT to_jsonb(b) FROM subscription.billing_profile AS b WHERE b.user_id = @id),
    'trial', (SELECT to_jsonb(t) FROM subscription.trial AS t WHERE t.user_id = @id),
    'coupons', (SELECT coalesce(jsonb_agg(to_jsonb(c) ORDER BY c.redeemed_at), '[]') FROM subscription.coupon_redemption AS c WHERE c.user_id = @id),
    'entitlements', (SELECT to_jsonb(e) FROM subscription.entitlement_set AS e WHERE e.user_id = @id),
    'grants', (SELECT coalesce(jsonb_agg(to_jsonb(g) ORDER BY g.id), '[]') FROM subscription.entitlement_grant AS g WHERE g.user_id = @id),
    'organizations', (SELECT coalesce(jsonb_agg(to_jsonb(m) ORDER BY m.organization_id), '[]') FROM subscription.organization_member AS m WHERE m.user_id = @id),
    'reservations', (SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.id), '[]') FROM subscription.reservation AS r WHERE r.user_id = @id),
    'usage', (SELECT coalesce(jsonb_agg(to_jsonb(u) ORDER BY u.feature, u.period_start), '[]') FROM subscription.usage_counter AS u WHERE u.user_id = @id)
)::text`

// personalData is everything held about a person, as one JSON object.
func (s *Service) personalData(ctx context.Context, userID uuid.UUID) (text []byte, err error) {
	err = s.db.Pool.QueryRow(ctx, selectPersonalData, pgx.NamedArgs{"id": userID}).Scan(&text)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("gather a person's data: %w", err))
	}
	return text, nil
}
