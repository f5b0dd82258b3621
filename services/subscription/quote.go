package subscription

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/services/subscription/gst"
	"github.com/manas360/platform/services/subscription/proration"
)

// What an order would do.
const (
	asPurchase  = "PURCHASE"
	asUpgrade   = "UPGRADE"
	asDowngrade = "DOWNGRADE"
	asRenewal   = "RENEWAL"
)

const (
	quoteStep  = time.Hour           // a credit is of whole hours begun, so that a quote can be kept
	renewAhead = 14 * 24 * time.Hour // how long before its end a period may be renewed by hand
)

// quote is what an order costs and does. The same question within the same hour
// has the same answer.
type quote struct {
	Kind        string
	Plan        plan
	Price       price
	Lines       []invoiceLine // gross; they add up to the total
	Tax         gst.Split
	Credit      int64 // tax included
	Coupon      *string
	Place       string
	Customer    customer
	Live        *subscription // what it changes
	EffectiveAt time.Time
	ValidUntil  time.Time
}

// total is what is charged now.
func (q quote) total() int64 { return q.Tax.Total() }

// hash names what was quoted, for whoever must be charged exactly that.
func (q quote) hash() (string, error) {
	var live string
	if q.Live != nil {
		live = q.Live.ID.String() + q.Live.etag()
	}
	b, err := json.Marshal([]any{q.Kind, q.Price.ID, q.Lines, q.Tax, q.Place, live, q.EffectiveAt.UTC()})
	if err != nil {
		return "", fmt.Errorf("encode a quote: %w", err)
	}
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:18]), nil
}

// agreed refuses to charge anything but what was previewed.
func (q quote) agreed(hash string) error {
	if hash == "" {
		return nil
	}
	own, err := q.hash()
	if err != nil {
		return err
	}
	if own != hash {
		return fail.New(fail.PreconditionFailed, "the price has changed since the preview; look at it again")
	}
	return nil
}

// quote works out an order of a price by a user. Errors name the field that is
// wrong; CONFLICT when the user's plan leaves nothing to order.
func (s *Service) quote(ctx context.Context, q querier, userID uuid.UUID, p plan, pr price, w wanted) (quote, error) {
	out, wall := quote{Plan: p, Price: pr, Kind: asPurchase}, s.now()
	live, err := s.live(ctx, q, userID)
	if err != nil && !errors.Is(err, errNone) {
		return out, err
	}
	now, err2 := s.clockTime(ctx, q, w.ClockID, wall)
	if err2 != nil {
		return out, err2
	}
	if err == nil && live.paid() && !live.ended(wall) {
		live = live.shown(wall)
		now = live.at(wall)
		if out.Kind, err = direction(live, p, pr, now); err != nil {
			return out, err
		}
		if live.State != trialingState {
			out.Live = &live
		}
	}
	out.EffectiveAt, out.ValidUntil = now.Truncate(quoteStep), now.Truncate(quoteStep).Add(quoteStep)
	if out.Customer, err = s.customer(ctx, q, userID); err != nil {
		return out, err
	}
	out.Place = out.Customer.place(s.supplier.State)
	if out.Kind == asDowngrade || out.Kind == asRenewal {
		out.EffectiveAt = live.life().PaidUntil
	}
	switch {
	case p.Gone && out.Kind != asRenewal:
		return out, fail.New(fail.NotFound, "there is no plan %s", p.Code)
	case out.Kind == asDowngrade:
		return out, nil
	case out.Kind == asRenewal && w.Coupon != "":
		return out, fail.New(fail.InvalidArgument, "a coupon is for a new order").Field("couponCode", "is not for a renewal")
	case out.Kind == asRenewal: // what was bought, not what is sold now
		if out.Price, out.Plan.Name, err = s.renewalPrice(ctx, q, live); err != nil {
			return out, err
		}
	}
	return out, s.fill(ctx, q, &out, userID, w.Coupon, now)
}

// fill says what an order costs.
func (s *Service) fill(ctx context.Context, q querier, out *quote, userID uuid.UUID, code string, now time.Time) error {
	whole := split(out.Price, out.Place, s.supplier.State).Total()
	out.Lines = []invoiceLine{{Description: out.Plan.Name + " (" + cycleWords(out.Price.Cycle) + ")", SACCode: out.Price.SACCode, AmountMinor: whole}}
	left := whole
	if code != "" {
		c, err := s.redeemable(ctx, q, couponCode(code), userID, out.Price, now)
		if err != nil {
			return err
		}
		off := min(c.off(whole), left)
		left -= off
		out.Coupon = &c.Code
		out.Lines = append(out.Lines, invoiceLine{Description: "Coupon " + c.Code, SACCode: out.Price.SACCode, AmountMinor: -off})
	}
	if out.Kind == asUpgrade {
		credit, err := s.credit(ctx, q, *out.Live, now.Truncate(quoteStep))
		if err != nil {
			return err
		}
		if out.Credit = min(credit, left); out.Credit > 0 {
			left -= out.Credit
			out.Lines = append(out.Lines, invoiceLine{
				Description: "Unused time of " + out.Live.PlanName, SACCode: out.Price.SACCode, AmountMinor: -out.Credit,
			})
		}
	}
	out.Tax = split(out.Price.of(left), out.Place, s.supplier.State)
	return nil
}

// credit is what a subscription's unused paid time is worth: of each period
// that is not over, the share that is left of what was really paid for it.
func (s *Service) credit(ctx context.Context, q querier, live subscription, at time.Time) (int64, error) {
	list, err := s.paidPeriods(ctx, q, live.ID, at)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, p := range list {
		if p.EndsAt == nil { // for life: its time has no length
			continue
		}
		sum += proration.Span{Start: p.StartsAt, End: *p.EndsAt}.Credit(p.PaidMinor, p.CreditedMinor, at)
	}
	return sum, nil
}

// direction says what an order of p at pr is to who has live. The policy for
// each pair of plans is here and nowhere else (money.md B11): a higher tier, or
// the same for a longer time, begins at once; a lower one when the paid time is
// over; the same again is a renewal, when its time has come.
func direction(live subscription, p plan, pr price, now time.Time) (string, error) {
	taken := fail.New(fail.Conflict, "the plan %s is live already", live.PlanCode).With("currentPlan", live.PlanCode)
	switch {
	case live.State == pausedState:
		return "", fail.New(fail.Conflict, "the subscription is paused; resume it first").With("currentPlan", live.PlanCode)
	case live.State == trialingState:
		return asPurchase, nil
	case live.CurrentPeriodEnd == nil: // for life: whatever came instead would end
		return "", taken
	case p.Tier > live.Tier:
		return asUpgrade, nil
	case p.Code == live.PlanCode && pr.Cycle == live.Cycle:
		if live.AutoRenew && !live.Declined || !live.life().PaidUntil.Equal(*live.CurrentPeriodEnd) || live.CancelAtPeriodEnd ||
			live.State == activeState && now.Before(live.CurrentPeriodEnd.Add(-renewAhead)) {
			return "", taken
		}
		return asRenewal, nil
	case p.Tier == live.Tier && (months(pr.Cycle) == 0 || months(pr.Cycle) > live.months()):
		return asUpgrade, nil
	default:
		return asDowngrade, nil
	}
}

// net takes the tax out of gross lines for a preview: the last of them takes
// what rounding leaves, so that lines, taxes and round-off add up to the total.
func (q quote) net() []int64 {
	out := make([]int64, len(q.Lines))
	if len(out) == 0 {
		return out
	}
	rest := q.Tax.Taxable
	for i := len(q.Lines) - 1; i > 0; i-- {
		gross := -q.Lines[i].AmountMinor // what is taken off
		out[i] = -gst.Inclusive(gross, q.rate(), false).Taxable
		rest -= out[i]
	}
	out[0] = rest
	return out
}

func (q quote) rate() int64 {
	if q.Place == abroad {
		return 0
	}
	return gst.Rate(q.Price.TaxCategory)
}
