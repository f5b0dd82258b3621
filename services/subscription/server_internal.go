package subscription

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

type internalServer struct {
	subscriptionv1.UnimplementedSubscriptionInternalServiceServer
	*Service
}

// GetUserSubscription makes nothing: only a person's own token proves that
// there is an account.
func (s *internalServer) GetUserSubscription(ctx context.Context, r *subscriptionv1.GetUserSubscriptionRequest) (*subscriptionv1.GetUserSubscriptionResponse, error) {
	userID, err := uuid.FromBytes(r.GetUserId())
	if err != nil {
		return nil, fail.New(fail.InvalidArgument, "the user id is malformed").Field("userId", "must be 16 bytes")
	}
	out := &subscriptionv1.GetUserSubscriptionResponse{}
	sub, err := s.live(ctx, s.db.Pool, userID)
	switch {
	case err == nil && !sub.ended(s.now()):
		out.Subscription = packSubscription(sub.shown(s.now()))
	case err != nil && !errors.Is(err, errNone):
		return nil, err
	}
	e, err := s.fresh(ctx, userID)
	if err != nil && !errors.Is(err, errNone) {
		return nil, err
	}
	if out.Entitlements, err = s.packCurrent(ctx, userID, e); err != nil {
		return nil, err
	}
	return out, nil
}
