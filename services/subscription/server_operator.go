package subscription

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	"github.com/manas360/platform/services/subscription/grant"
	"github.com/manas360/platform/services/subscription/lifecycle"
)

type operatorServer struct {
	subscriptionv1.UnimplementedOperatorInternalServiceServer
	*Service
}

// upon is who asks, and the subscription they name.
func upon(ctx context.Context, named string) (*token.Caller, uuid.UUID, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, uuid.Nil, err
	}
	subID, err := id.Parse("sub", named)
	if err != nil {
		return nil, uuid.Nil, fail.New(fail.NotFound, "there is no such subscription")
	}
	return caller, subID, nil
}

func (s *operatorServer) OperatorGrant(ctx context.Context, r *subscriptionv1.OperatorGrantRequest) (*subscriptionv1.OperatorGrantResponse, error) {
	caller, subID, err := upon(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	userID, err := s.subscriber(ctx, caller, subID)
	if err != nil {
		return nil, err
	}
	o := override{UserID: userID, Source: string(grant.Override), Feature: r.GetFeature(), Reason: r.GetReason()}
	if r.GetSource() != subscriptionv1.Grant_SOURCE_UNSPECIFIED {
		o.Source = strings.ToLower(r.GetSource().String())
	}
	if t := r.GetValidUntil(); t != nil {
		until := t.AsTime()
		o.ValidUntil = &until
	}
	if o, err = s.grantOverride(ctx, o, r.Limit); err != nil {
		return nil, err
	}
	return &subscriptionv1.OperatorGrantResponse{Grant: packGrant(o)}, nil
}

// asked does what an operator asks of a subscription.
func (s *operatorServer) asked(ctx context.Context, named, etag string, st step) (*subscriptionv1.Subscription, error) {
	caller, subID, err := upon(ctx, named)
	if err != nil {
		return nil, err
	}
	st.reason = "operator"
	sub, err := s.operate(ctx, caller, subID, etag, st)
	if err != nil {
		return nil, err
	}
	return packSubscription(sub), nil
}

func (s *operatorServer) OperatorPause(ctx context.Context, r *subscriptionv1.OperatorPauseRequest) (*subscriptionv1.OperatorPauseResponse, error) {
	m, err := s.asked(ctx, r.GetId(), r.GetEtag(), step{fact: lifecycle.Pause, action: trail.SubscriptionPaused, why: r.GetReason()})
	return &subscriptionv1.OperatorPauseResponse{Subscription: m}, err
}

func (s *operatorServer) OperatorResume(ctx context.Context, r *subscriptionv1.OperatorResumeRequest) (*subscriptionv1.OperatorResumeResponse, error) {
	m, err := s.asked(ctx, r.GetId(), r.GetEtag(), step{fact: lifecycle.Keep, action: trail.SubscriptionCancelWithdrawn, why: r.GetReason()})
	return &subscriptionv1.OperatorResumeResponse{Subscription: m}, err
}

func (s *operatorServer) OperatorCancel(ctx context.Context, r *subscriptionv1.OperatorCancelRequest) (*subscriptionv1.OperatorCancelResponse, error) {
	fact, action := cancelling(r.AtPeriodEnd == nil || r.GetAtPeriodEnd())
	m, err := s.asked(ctx, r.GetId(), r.GetEtag(), step{fact: fact, action: action, why: r.GetReason()})
	return &subscriptionv1.OperatorCancelResponse{Subscription: m}, err
}

// cancelling is the fact of a cancellation and its name.
func cancelling(atPeriodEnd bool) (fact lifecycle.Fact, action trail.Action) {
	if atPeriodEnd {
		return lifecycle.CancelAtEnd, trail.SubscriptionCancelScheduled
	}
	return lifecycle.CancelNow, trail.SubscriptionCancelled
}
