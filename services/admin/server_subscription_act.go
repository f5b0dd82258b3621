package admin

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/trail"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// subscriptionActServer is what operators do to somebody's subscription.
// subscription decides, acts and records, all in one transaction of its own.
type subscriptionActServer struct {
	adminv1.UnimplementedAdminSubscriptionActServiceServer
	*server
}

func (s *subscriptionActServer) GrantSubscription(ctx context.Context, r *adminv1.GrantSubscriptionRequest) (*adminv1.GrantSubscriptionResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.operations.OperatorGrant(ctx, &subscriptionv1.OperatorGrantRequest{
		Id: r.GetId(), Reason: r.GetReason(), Source: r.GetSource(), Feature: r.GetFeature(), Limit: r.Limit, ValidUntil: r.GetValidUntil(),
	})
	if err != nil {
		return nil, err
	}
	return &adminv1.GrantSubscriptionResponse{Grant: packGrant(out.GetGrant())}, nil
}

func (s *subscriptionActServer) PauseSubscription(ctx context.Context, r *adminv1.PauseSubscriptionRequest) (*adminv1.PauseSubscriptionResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.operations.OperatorPause(ctx, &subscriptionv1.OperatorPauseRequest{Id: r.GetId(), Reason: r.GetReason(), Etag: ifMatch(ctx)})
	if err != nil {
		return nil, err
	}
	return &adminv1.PauseSubscriptionResponse{Subscription: out.GetSubscription()}, nil
}

func (s *subscriptionActServer) ResumeSubscription(ctx context.Context, r *adminv1.ResumeSubscriptionRequest) (*adminv1.ResumeSubscriptionResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.operations.OperatorResume(ctx, &subscriptionv1.OperatorResumeRequest{Id: r.GetId(), Reason: r.GetReason(), Etag: ifMatch(ctx)})
	if err != nil {
		return nil, err
	}
	return &adminv1.ResumeSubscriptionResponse{Subscription: out.GetSubscription()}, nil
}

func (s *subscriptionActServer) CancelSubscription(ctx context.Context, r *adminv1.CancelSubscriptionRequest) (*adminv1.CancelSubscriptionResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.operations.OperatorCancel(ctx, &subscriptionv1.OperatorCancelRequest{
		Id: r.GetId(), Reason: r.GetReason(), Etag: ifMatch(ctx), AtPeriodEnd: r.AtPeriodEnd,
	})
	if err != nil {
		return nil, err
	}
	return &adminv1.CancelSubscriptionResponse{Subscription: out.GetSubscription()}, nil
}

func (s *subscriptionActServer) ListGrants(ctx context.Context, r *adminv1.ListGrantsRequest) (*adminv1.ListGrantsResponse, error) {
	caller, userID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	list, err := s.peers.grants.ListOverrides(ctx, &subscriptionv1.ListOverridesRequest{UserId: userID[:], PageSize: r.GetPageSize(), PageToken: r.GetPageToken()})
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, listed(caller, trail.AdminGrantsListed, len(list.GetGrants()), s.now())); err != nil {
		return nil, err
	}
	out := &adminv1.ListGrantsResponse{NextPageToken: list.GetNextPageToken(), TotalSize: list.GetTotalSize()}
	for _, g := range list.GetGrants() {
		out.Grants = append(out.Grants, packGrant(g))
	}
	return out, nil
}

func (s *subscriptionActServer) RevokeGrant(ctx context.Context, r *adminv1.RevokeGrantRequest) (*adminv1.RevokeGrantResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.grants.RevokeOverride(ctx, &subscriptionv1.RevokeOverrideRequest{Id: r.GetId(), Reason: r.GetReason()})
	if err != nil {
		return nil, err
	}
	return &adminv1.RevokeGrantResponse{Grant: packGrant(out.GetGrant())}, nil
}

func packGrant(g *subscriptionv1.Grant) *adminv1.Grant {
	m := &adminv1.Grant{
		Id: g.GetId(), Source: g.GetSource(), Feature: g.GetFeature(), Limit: g.Limit, ValidFrom: g.GetValidFrom(), ValidUntil: g.GetValidUntil(),
		GrantedBy: g.GetGrantedBy(), Reason: g.GetReason(), CreatedAt: g.GetCreatedAt(), RevokedAt: g.GetRevokedAt(),
	}
	if userID, err := uuid.FromBytes(g.GetUserId()); err == nil {
		m.UserId = id.Format("usr", userID)
	}
	return m
}
