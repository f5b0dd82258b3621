package subscription

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
)

const purchaseRows = `
SELECT u.id, u.user_id, u.product_code, u.plan_version, u.price_id, u.total_minor, u.state, u.payment_id, u.due_at, u.paid_at, u.created_at,
       p.name AS product_name, r.currency, r.amount_minor, r.tax_mode, r.tax_category, r.sac_code
  FROM subscription.purchase AS u
  JOIN subscription.plan AS p ON p.code = u.product_code
  JOIN subscription.price AS r ON r.id = u.price_id`

const selectPurchase = purchaseRows + `
 WHERE u.id = @id`

// purchase reads one; errNone when there is none.
func (s *Service) purchase(ctx context.Context, q querier, purID uuid.UUID) (purchase, error) {
	return one[purchase](ctx, q, selectPurchase, args{"id": purID})
}

const selectOpenPurchase = purchaseRows + `
 WHERE u.user_id = @user_id AND u.product_code = @product_code AND u.state = 'PENDING'`

// openPurchase reads the user's open order of a product; errNone when there is none.
func (s *Service) openPurchase(ctx context.Context, q querier, userID uuid.UUID, code string) (purchase, error) {
	return one[purchase](ctx, q, selectOpenPurchase, args{"user_id": userID, "product_code": code})
}

const selectPurchases = purchaseRows + `
 WHERE u.user_id = @user_id AND (@before::uuid IS NULL OR u.id < @before)
 ORDER BY u.id DESC
 LIMIT @size`

// purchases reads one page of a user's own, newest first.
func (s *Service) purchases(ctx context.Context, userID uuid.UUID, before *uuid.UUID, size int) ([]purchase, error) {
	return many[purchase](ctx, s.db.Pool, selectPurchases, args{"user_id": userID, "before": before, "size": size})
}

const insertPurchase = `
INSERT INTO subscription.purchase (id, user_id, product_code, plan_version, price_id, total_minor, state, due_at, created_at, updated_at)
VALUES (@id, @user_id, @product_code, @plan_version, @price_id, @total_minor, 'PENDING', @due_at, @now, @now)`

func (s *Service) insertPurchase(ctx context.Context, tx txn, p purchase) error {
	_, err := exec(ctx, tx, "insert purchase", insertPurchase, args{
		"id": p.ID, "user_id": p.UserID, "product_code": p.ProductCode, "plan_version": p.PlanVersion, "price_id": p.PriceID,
		"total_minor": p.TotalMinor, "due_at": p.DueAt, "now": p.CreatedAt,
	})
	return err
}

const payPurchase = `
UPDATE subscription.purchase
   SET state = 'PAID', payment_id = @payment_id, paid_at = @now, due_at = NULL, updated_at = @now
 WHERE id = @id AND state <> 'PAID'`

func (s *Service) payPurchase(ctx context.Context, tx txn, purID, paymentID uuid.UUID, now time.Time) error {
	n, err := exec(ctx, tx, "pay purchase", payPurchase, args{"id": purID, "payment_id": paymentID, "now": now})
	if err == nil && n != 1 {
		return fmt.Errorf("purchase %s changed under its lock", purID)
	}
	return err
}

const expirePurchase = `
UPDATE subscription.purchase
   SET state = 'EXPIRED', due_at = NULL, updated_at = @now
 WHERE id = @id AND state = 'PENDING'`

func (s *Service) expirePurchase(ctx context.Context, tx txn, purID uuid.UUID, now time.Time) (closed bool, err error) {
	n, err := exec(ctx, tx, "expire purchase", expirePurchase, args{"id": purID, "now": now})
	return n == 1, err
}

const selectDuePurchases = `
SELECT id
  FROM subscription.purchase
 WHERE due_at <= @now
 ORDER BY due_at
 LIMIT @size`

// duePurchases names orders the sweeper has to look at, longest overdue first.
func (s *Service) duePurchases(ctx context.Context, now time.Time, size int) ([]dueRow, error) {
	return many[dueRow](ctx, s.db.Pool, selectDuePurchases, args{"now": now, "size": size})
}

const postponePurchase = `UPDATE subscription.purchase SET due_at = @due_at WHERE id = @id AND due_at IS NOT NULL`

func (s *Service) postponePurchase(ctx context.Context, purID uuid.UUID, until time.Time) error {
	_, err := exec(ctx, s.db.Pool, "postpone purchase", postponePurchase, args{"id": purID, "due_at": until})
	return err
}
