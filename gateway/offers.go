package gateway

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

const (
	offersEvery   = time.Minute
	offersTimeout = 2 * time.Second

	freePlan = "free"
	noPlan   = "none" // what the contract calls having nothing live
)

// offers is what is sold, as subscription last said; empty until it has.
type offers struct {
	usage subscriptionv1.UsageInternalServiceClient
	log   zerolog.Logger
	list  atomic.Pointer[[]*subscriptionv1.GetOffersResponse_Offer] // by tier; the messages are read only
}

func (o *offers) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, offersTimeout)
	defer cancel()
	answer, err := o.usage.GetOffers(ctx, &subscriptionv1.GetOffersRequest{})
	if status.Code(err) == codes.Unimplemented { // a subscription of before
		return nil
	}
	if err != nil {
		return fmt.Errorf("get offers: %w", err)
	}
	list := answer.GetOffers()
	o.list.Store(&list)
	return nil
}

// run fetches at start and each minute, until ctx ends.
func (o *offers) run(ctx context.Context) error {
	return keep(ctx, o.log, "offers", offersEvery, nil, o.fetch)
}

func (o *offers) all() []*subscriptionv1.GetOffersResponse_Offer {
	if list := o.list.Load(); list != nil {
		return *list
	}
	return nil
}

// limit gives the number of a plan as sold now, -1 for no end.
func (o *offers) limit(plan, feature string) (n int64, ok bool) {
	for _, p := range o.all() {
		if p.GetCode() == plan {
			n, ok = p.GetLimits()[feature]
			return n, ok
		}
	}
	return 0, false
}

// includes reports whether a plan as sold now has a boolean feature.
func (o *offers) includes(plan, feature string) bool {
	return slices.ContainsFunc(o.all(), func(p *subscriptionv1.GetOffersResponse_Offer) bool {
		return p.GetCode() == plan && slices.Contains(p.GetFeatures(), feature)
	})
}

// name adds to a refusal the lowest plan that would do: that has the boolean
// feature, or more than limit of a counted one.
func (o *offers) name(refusal *fail.Error, feature string, limit int64) error {
	for _, p := range o.all() {
		n, counted := p.GetLimits()[feature]
		if p.GetUpgrade() && (slices.Contains(p.GetFeatures(), feature) || counted && (n < 0 || n > limit)) {
			return refusal.With("upgradeTo", p.GetCode())
		}
	}
	return refusal
}

// entitled decides from the token whether the caller's plan opens the route:
// nobody is asked, and the token is worth nothing past the plan's end.
func (e *Edge) entitled(rt *route, c *token.Caller) error {
	feature := rt.rule.GetFeature()
	switch {
	case feature == "":
		return nil
	case c.EntitlementEnded(e.now()):
		return e.offers.name(fail.New(fail.SubscriptionRequired, "there is no live subscription").
			With("requiredFeature", feature).With("currentPlan", noPlan), feature, 0)
	case slices.Contains(c.Features, feature):
		return nil
	// The first token of a new account is minted before subscription has told of
	// it, and is not made stale by that: see auth's entitle.
	case len(c.Features) == 0 && c.Plan == freePlan && e.offers.includes(freePlan, feature):
		return nil
	default:
		return e.offers.name(fail.New(fail.FeatureNotAvailable, "%s is not in the plan %s", feature, c.Plan).
			With("requiredFeature", feature).With("currentPlan", c.Plan), feature, 0)
	}
}
