package admin

import (
	"context"
	"strings"

	"google.golang.org/grpc/metadata"

	"github.com/manas360/platform/pkg/trail"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// planServer decides what is sold. subscription keeps the catalogue and writes
// the audit event of each act in its transaction.
type planServer struct {
	adminv1.UnimplementedAdminPlanServiceServer
	*server
}

func (s *planServer) ListPlans(ctx context.Context, r *adminv1.ListPlansRequest) (*adminv1.ListPlansResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.peers.catalogue.ListEditions(ctx, &subscriptionv1.ListEditionsRequest{PageSize: r.GetPageSize(), PageToken: r.GetPageToken()})
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, listed(caller, trail.AdminPlansListed, len(list.GetEditions()), s.now())); err != nil {
		return nil, err
	}
	return &adminv1.ListPlansResponse{Plans: list.GetEditions(), NextPageToken: list.GetNextPageToken(), TotalSize: list.GetTotalSize()}, nil
}

func (s *planServer) ListPlanVersions(ctx context.Context, r *adminv1.ListPlanVersionsRequest) (*adminv1.ListPlanVersionsResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.peers.catalogue.ListEditions(ctx, &subscriptionv1.ListEditionsRequest{
		PageSize: r.GetPageSize(), PageToken: r.GetPageToken(), Code: r.GetCode(),
	})
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, listed(caller, trail.AdminPlansListed, len(list.GetEditions()), s.now())); err != nil {
		return nil, err
	}
	return &adminv1.ListPlanVersionsResponse{Versions: list.GetEditions(), NextPageToken: list.GetNextPageToken(), TotalSize: list.GetTotalSize()}, nil
}

func (s *planServer) PutPlan(ctx context.Context, r *adminv1.PutPlanRequest) (*adminv1.PutPlanResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.catalogue.PublishEdition(ctx, &subscriptionv1.PublishEditionRequest{
		Edition: &subscriptionv1.Edition{
			Code: r.GetCode(), Kind: r.GetKind(), Name: r.GetName(), Description: r.GetDescription(), Tier: r.GetTier(), TrialDays: r.GetTrialDays(),
			Featured: r.GetFeatured(), Retired: r.GetRetired(), Prices: r.GetPrices(), Features: r.GetFeatures(),
		},
		Etag: ifMatch(ctx), Reason: r.GetReason(),
	})
	if err != nil {
		return nil, err
	}
	return &adminv1.PutPlanResponse{Plan: out.GetEdition()}, nil
}

// ifMatch is the version that the caller has read; empty when any will do.
func ifMatch(ctx context.Context) string {
	if v := metadata.ValueFromIncomingContext(ctx, "if-match"); len(v) > 0 && v[0] != "*" {
		return v[0]
	}
	return ""
}

func (s *planServer) ListCoupons(ctx context.Context, r *adminv1.ListCouponsRequest) (*adminv1.ListCouponsResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.peers.catalogue.ListCoupons(ctx, &subscriptionv1.ListCouponsRequest{PageSize: r.GetPageSize(), PageToken: r.GetPageToken()})
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, listed(caller, trail.AdminCouponsListed, len(list.GetCoupons()), s.now())); err != nil {
		return nil, err
	}
	return &adminv1.ListCouponsResponse{Coupons: list.GetCoupons(), NextPageToken: list.GetNextPageToken(), TotalSize: list.GetTotalSize()}, nil
}

func (s *planServer) CreateCoupon(ctx context.Context, r *adminv1.CreateCouponRequest) (*adminv1.CreateCouponResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.catalogue.CreateCoupon(ctx, &subscriptionv1.CreateCouponRequest{
		Coupon: &subscriptionv1.Coupon{
			Code: strings.ToUpper(r.GetCode()), PercentOff: r.PercentOff, AmountOff: r.GetAmountOff(), PlanCodes: r.GetPlanCodes(), Cycles: r.GetCycles(),
			ValidFrom: r.GetValidFrom(), ValidUntil: r.GetValidUntil(), MaxRedemptions: r.MaxRedemptions,
		},
		Reason: r.GetReason(),
	})
	if err != nil {
		return nil, err
	}
	return &adminv1.CreateCouponResponse{Coupon: out.GetCoupon()}, nil
}

func (s *planServer) EndCoupon(ctx context.Context, r *adminv1.EndCouponRequest) (*adminv1.EndCouponResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.catalogue.EndCoupon(ctx, &subscriptionv1.EndCouponRequest{Code: r.GetCode(), Reason: r.GetReason()})
	if err != nil {
		return nil, err
	}
	return &adminv1.EndCouponResponse{Coupon: out.GetCoupon()}, nil
}
