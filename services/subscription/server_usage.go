package subscription

import (
	"context"
	"time"

	"github.com/manas360/platform/pkg/fail"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	"github.com/manas360/platform/services/subscription/period"
)

// edgeAhead is how far an edge's clock may be before ours at the turn of a month.
const edgeAhead = time.Hour

type usageServer struct {
	subscriptionv1.UnimplementedUsageInternalServiceServer
	*Service
}

func (s *usageServer) RecordUsage(ctx context.Context, r *subscriptionv1.RecordUsageRequest) (*subscriptionv1.RecordUsageResponse, error) {
	latest := s.now().Add(edgeAhead)
	list := make([]usage, len(r.GetUsage()))
	for i, u := range r.GetUsage() {
		userID, err := personOf(u.GetUserId())
		if err != nil {
			return nil, err
		}
		start := u.GetPeriodStart().AsTime()
		if first, _ := period.Month(start, s.zone); !first.Equal(start) || start.After(latest) {
			return nil, fail.New(fail.InvalidArgument, "the request is invalid").
				Field("usage.periodStart", "must be the start of a month of "+period.Zone+" that has begun")
		}
		list[i] = usage{UserID: userID, Feature: u.GetFeature(), Start: start, Used: u.GetUsed()}
	}
	used, err := s.raiseUses(ctx, list)
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.RecordUsageResponse{Used: used}, nil
}

func (s *usageServer) GetOffers(ctx context.Context, _ *subscriptionv1.GetOffersRequest) (*subscriptionv1.GetOffersResponse, error) {
	plans, err := s.catalog.all(ctx)
	if err != nil {
		return nil, err
	}
	out := &subscriptionv1.GetOffersResponse{}
	for _, p := range plans {
		whole := packPlan(p)
		out.Offers = append(out.Offers, &subscriptionv1.GetOffersResponse_Offer{
			Code: p.Code, Upgrade: p.Kind == kindPlan, Features: whole.GetFeatures(), Limits: whole.GetLimits(),
		})
	}
	return out, nil
}
