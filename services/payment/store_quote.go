package payment

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
)

const selectPolicy = `
SELECT code, purpose, product_code, cycle, within_hours, share_bps, pro_rata
  FROM payment.refund_policy
 ORDER BY ordinal`

// refundPolicy reads the rules, the first that fits first.
func (s *Service) refundPolicy(ctx context.Context) ([]policyRow, error) {
	return all[policyRow](ctx, s.db.Pool, selectPolicy, pgx.StrictNamedArgs{})
}

func (s *Service) hasOpenRefund(ctx context.Context, paymentID uuid.UUID) (open bool, err error) {
	if err := s.db.Pool.QueryRow(ctx, hasOpenRefund, pgx.StrictNamedArgs{"payment_id": paymentID}).Scan(&open); err != nil {
		return false, pg.Err(fmt.Errorf("look for an open refund: %w", err))
	}
	return open, nil
}
