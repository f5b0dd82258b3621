package subscription

import (
	"context"
	"time"

	"github.com/google/uuid"
)

const couponRows = `
SELECT code, percent_off, minor_off, currency, plan_codes, cycles, valid_from, valid_until, max_redemptions, redeemed, created_by, created_at
  FROM subscription.coupon`

const selectCoupon = couponRows + `
 WHERE code = @code`

// coupon reads one; errNone when there is none.
func (s *Service) coupon(ctx context.Context, q querier, code string) (coupon, error) {
	return one[coupon](ctx, q, selectCoupon, args{"code": code})
}

const couponUsed = `
SELECT EXISTS (SELECT FROM subscription.coupon_redemption WHERE coupon_code = @code AND user_id = @user_id AND released_at IS NULL)`

func (s *Service) couponUsed(ctx context.Context, q querier, code string, userID uuid.UUID) (bool, error) {
	return scalar[bool](ctx, q, couponUsed, args{"code": code, "user_id": userID})
}

const countCoupon = `
UPDATE subscription.coupon
   SET redeemed = redeemed + 1
 WHERE code = @code AND (max_redemptions IS NULL OR redeemed < max_redemptions)`

// countCoupon takes one of a coupon's redemptions; false when none is left.
func (s *Service) countCoupon(ctx context.Context, tx txn, code string) (bool, error) {
	n, err := exec(ctx, tx, "count coupon", countCoupon, args{"code": code})
	return n == 1, err
}

const insertRedemption = `
INSERT INTO subscription.coupon_redemption (subscription_id, coupon_code, user_id, redeemed_at)
VALUES (@subscription_id, @code, @user_id, @now)`

func (s *Service) insertRedemption(ctx context.Context, tx txn, sub subscription, now time.Time) error {
	_, err := exec(ctx, tx, "insert redemption", insertRedemption, args{
		"subscription_id": sub.ID, "code": sub.CouponCode, "user_id": sub.UserID, "now": now,
	})
	return err
}

const releaseCoupon = `
WITH released AS (
    UPDATE subscription.coupon_redemption
       SET released_at = @now
     WHERE subscription_id = @subscription_id AND released_at IS NULL
 RETURNING coupon_code
)
UPDATE subscription.coupon AS c
   SET redeemed = c.redeemed - 1
  FROM released
 WHERE c.code = released.coupon_code`

// releaseCoupon gives the redemption of an order that was not paid back.
func (s *Service) releaseCoupon(ctx context.Context, tx txn, subID uuid.UUID, now time.Time) error {
	_, err := exec(ctx, tx, "release coupon", releaseCoupon, args{"subscription_id": subID, "now": now})
	return err
}
