package subscription

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
)

// subscriber finds whose a subscription is. Nobody operates on their own.
func (s *Service) subscriber(ctx context.Context, caller *token.Caller, subID uuid.UUID) (uuid.UUID, error) {
	sub, err := s.subscription(ctx, s.db.Pool, subID)
	if errors.Is(err, errNone) {
		return uuid.Nil, fail.New(fail.NotFound, "there is no such subscription")
	}
	if err != nil {
		return uuid.Nil, err
	}
	if sub.UserID == caller.UserID {
		return uuid.Nil, fail.New(fail.PermissionDenied, "nobody does this to their own subscription")
	}
	return sub.UserID, nil
}

// operate does to a live subscription what an operator asks. The reason goes to
// the audit trail, not to the subscriber.
func (s *Service) operate(ctx context.Context, caller *token.Caller, subID uuid.UUID, etag string, st step) (subscription, error) {
	userID, err := s.subscriber(ctx, caller, subID)
	if err != nil {
		return subscription{}, err
	}
	st.by = operatorOf(ctx)
	return s.doTo(ctx, userID, subID, etag, st, "")
}
