package subscription

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
)

// coupon is a price cut that a customer asks for by its code.
type coupon struct {
	Code           string
	PercentOff     *int
	MinorOff       *int64
	Currency       string
	PlanCodes      []string
	Cycles         []string
	ValidFrom      time.Time
	ValidUntil     *time.Time
	MaxRedemptions *int
	Redeemed       int
	CreatedBy      *uuid.UUID
	CreatedAt      time.Time
}

// couponCode is a code as it is kept.
func couponCode(typed string) string { return strings.ToUpper(strings.TrimSpace(typed)) }

// off is what it takes off an amount, in the customer's favour.
func (c coupon) off(amount int64) int64 {
	if c.MinorOff != nil {
		return *c.MinorOff
	}
	percent := int64(*c.PercentOff)
	return amount/100*percent + (amount%100*percent+99)/100 // no product that overflows
}

// fits reports whether it is for a price.
func (c coupon) fits(pr price) bool {
	return c.Currency == pr.Currency &&
		(len(c.PlanCodes) == 0 || slices.Contains(c.PlanCodes, pr.PlanCode)) &&
		(len(c.Cycles) == 0 || slices.Contains(c.Cycles, pr.Cycle))
}

// redeemable finds a coupon that a user may use for a price now.
func (s *Service) redeemable(ctx context.Context, q querier, code string, userID uuid.UUID, pr price, now time.Time) (coupon, error) {
	bad := func(why string) error {
		return fail.New(fail.InvalidArgument, "the coupon %s", why).Field("couponCode", why)
	}
	c, err := s.coupon(ctx, q, code)
	switch {
	case errors.Is(err, errNone):
		return c, bad("is not known")
	case err != nil:
		return c, err
	case now.Before(c.ValidFrom):
		return c, bad("is not valid yet")
	case c.ValidUntil != nil && !now.Before(*c.ValidUntil):
		return c, bad("has expired")
	case !c.fits(pr):
		return c, bad("is not for this plan")
	case c.MaxRedemptions != nil && c.Redeemed >= *c.MaxRedemptions:
		return c, bad("is used up")
	}
	used, err := s.couponUsed(ctx, q, code, userID)
	if err != nil {
		return c, err
	}
	if used {
		return c, bad("has been used")
	}
	return c, nil
}

// redeem counts a coupon for an order. Whatever races, it is never counted more
// often than it may be.
func (s *Service) redeem(ctx context.Context, tx txn, sub subscription, now time.Time) error {
	if sub.CouponCode == nil {
		return nil
	}
	counted, err := s.countCoupon(ctx, tx, *sub.CouponCode)
	if err != nil {
		return err
	}
	if !counted {
		return fail.New(fail.InvalidArgument, "the coupon is used up").Field("couponCode", "is used up")
	}
	return s.insertRedemption(ctx, tx, sub, now)
}
