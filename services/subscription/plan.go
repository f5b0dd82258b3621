package subscription

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"github.com/manas360/platform/pkg/fail"
)

// kindPlan marks what is offered as an upgrade; the rest are products.
const kindPlan = "plan"

// Kinds of feature.
const (
	boolean  = "boolean"
	quantity = "quantity"
	metered  = "metered"
)

// plan is something sold, at the version sold now.
type plan struct {
	Code        string
	Kind        string
	Name        string
	Description string
	Tier        int32
	TrialDays   int32
	Featured    bool
	Version     int32
	Prices      []price   `db:"-"`
	Features    []feature `db:"-"`
	Gone        bool      `db:"-"` // no longer sold like that; only to be renewed
}

// price is what one cycle costs.
type price struct {
	ID          uuid.UUID
	PlanCode    string
	Cycle       string
	Currency    string
	AmountMinor int64
	TaxMode     string
	TaxCategory string
	SACCode     string
}

// feature is one capability of a plan version; a nil limit is unlimited.
type feature struct {
	PlanCode   string
	Feature    string
	Kind       string
	LimitValue *int64
	Period     string
}

// freshness is how old the catalogue in memory may be. Prices are pinned by
// version, so an old one is still a right one.
const freshness = 5 * time.Second

const loadTimeout = 3 * time.Second

// catalog holds what is sold in memory.
type catalog struct {
	load func(ctx context.Context) ([]plan, error)
	now  func() time.Time

	flight singleflight.Group // one load at a time; all who wait share its end

	mu    sync.Mutex // guards below
	plans []plan
	until time.Time
}

// all gives the plans by tier and code. The slice is shared: read only.
func (c *catalog) all(ctx context.Context) ([]plan, error) {
	if plans, ok := c.fresh(); ok {
		return plans, nil
	}
	loaded := c.flight.DoChan("", func() (any, error) {
		if plans, ok := c.fresh(); ok { // loaded between the look above and this
			return plans, nil
		}
		// Not the first caller's context: its leaving must not fail the others.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		plans, err := c.load(ctx)
		if err == nil {
			c.keep(plans)
		}
		return plans, err
	})
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the catalogue: %w", ctx.Err())
	case r := <-loaded:
		plans, _ := r.Val.([]plan)
		return plans, r.Err
	}
}

func (c *catalog) fresh() ([]plan, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.plans, c.plans != nil && c.now().Before(c.until)
}

// forget makes the next look read what is sold now.
func (c *catalog) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = time.Time{}
}

func (c *catalog) keep(plans []plan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plans, c.until = plans, c.now().Add(freshness)
}

// sold finds a plan by its code.
func (c *catalog) sold(ctx context.Context, code string) (plan, error) {
	plans, err := c.all(ctx)
	if err != nil {
		return plan{}, err
	}
	i := slices.IndexFunc(plans, func(p plan) bool { return p.Code == code })
	if i < 0 {
		return plan{}, fail.New(fail.NotFound, "there is no plan %s", code)
	}
	return plans[i], nil
}

// upgrade names the lowest plan that has what the caller lacks, "" if none:
// the boolean feature, or more than limit of a counted one. known reports
// whether any plan has the feature at all.
func (c *catalog) upgrade(ctx context.Context, code string, limit int64) (to string, known bool, err error) {
	plans, err := c.all(ctx)
	if err != nil {
		return "", false, err
	}
	for _, p := range plans { // by tier
		i := slices.IndexFunc(p.Features, func(f feature) bool { return f.Feature == code })
		if i < 0 {
			continue
		}
		known = true
		f := p.Features[i]
		if p.Kind == kindPlan && (f.Kind == boolean || f.LimitValue == nil || *f.LimitValue > limit) {
			return p.Code, true, nil
		}
	}
	return "", known, nil
}

// orderable finds the price of an order. No cycle will do when there is one price.
func (p plan) orderable(cycle string) (price, error) {
	i := slices.IndexFunc(p.Prices, func(pr price) bool { return pr.Cycle == cycle })
	if cycle == "" && len(p.Prices) == 1 {
		i = 0
	}
	if i < 0 {
		return price{}, fail.New(fail.InvalidArgument, "%s is not sold like that", p.Name).
			Field("cycle", "is not a cycle of this plan")
	}
	pr := p.Prices[i]
	if pr.Cycle == "ONE_TIME" {
		return price{}, fail.New(fail.InvalidArgument, "%s is not sold by subscription checkout", p.Name).
			Field("planCode", "is not sold by subscription checkout")
	}
	if pr.AmountMinor == 0 {
		return price{}, fail.New(fail.InvalidArgument, "%s costs nothing and cannot be bought", p.Name).
			Field("planCode", "costs nothing")
	}
	return pr, nil
}

// months gives the length of a cycle; 0 never ends.
func months(cycle string) int {
	switch cycle {
	case "MONTHLY":
		return 1
	case "QUARTERLY":
		return 3
	case "YEARLY":
		return 12
	default:
		return 0
	}
}
