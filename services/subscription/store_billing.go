package subscription

import (
	"context"
	"time"

	"github.com/google/uuid"
)

const selectBilling = `
SELECT name, address, country, state, gstin, version
  FROM subscription.billing_profile
 WHERE user_id = @user_id`

const upsertBilling = `
INSERT INTO subscription.billing_profile AS b (user_id, name, address, country, state, gstin, updated_at)
VALUES (@user_id, @name, @address, @country, @state, @gstin, @now)
    ON CONFLICT (user_id) DO UPDATE
   SET name = excluded.name, address = excluded.address, country = excluded.country, state = excluded.state,
       gstin = excluded.gstin, version = b.version + 1, updated_at = excluded.updated_at
RETURNING b.version`

// billingProfile reads a user's; errNone when none was given.
func (s *Service) billingProfile(ctx context.Context, q querier, userID uuid.UUID) (billingProfile, error) {
	return one[billingProfile](ctx, q, selectBilling, args{"user_id": userID})
}

func (s *Service) writeBilling(ctx context.Context, tx txn, userID uuid.UUID, p billingProfile, now time.Time) (int64, error) {
	return scalar[int64](ctx, tx, upsertBilling, args{
		"user_id": userID, "name": p.Name, "address": p.Address, "country": p.Country, "state": p.State, "gstin": p.GSTIN, "now": now,
	})
}
