package subscription

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// listingServer is how operators look through everybody's subscriptions; admin
// records the look.
type listingServer struct {
	subscriptionv1.UnimplementedListingInternalServiceServer
	*Service
}

func (s *listingServer) FindSubscriptions(ctx context.Context, r *subscriptionv1.FindSubscriptionsRequest) (*subscriptionv1.FindSubscriptionsResponse, error) {
	f := search{Plan: r.GetPlanCode()}
	if r.GetState() != subscriptionv1.Subscription_STATE_UNSPECIFIED {
		f.State = r.GetState().String()
	}
	if r.GetCycle() != subscriptionv1.Price_CYCLE_UNSPECIFIED {
		f.Cycle = r.GetCycle().String()
	}
	if r.GetUserId() != "" {
		userID, err := id.Parse("usr", r.GetUserId())
		if err != nil {
			return nil, fail.New(fail.InvalidArgument, "the request is invalid").Field("userId", "is not a user's id").Wrap(err)
		}
		f.UserID = &userID
	}
	query := "found\x00" + r.GetUserId() + "\x00" + f.State + "\x00" + f.Plan + "\x00" + f.Cycle
	var before *uuid.UUID
	if r.GetPageToken() != "" {
		before = &uuid.UUID{}
		if err := s.pages.Open(query, r.GetPageToken(), before); err != nil {
			return nil, err
		}
	}
	size := page.Size(r.GetPageSize())
	list, err := s.find(ctx, f, before, size+1)
	if err != nil {
		return nil, err
	}
	out := &subscriptionv1.FindSubscriptionsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal(query, list[size-1].ID)
	}
	for _, sub := range list {
		out.Subscriptions = append(out.Subscriptions, &subscriptionv1.FoundSubscription{
			Subscription: packSubscription(sub), UserId: id.Format("usr", sub.UserID), CreatedAt: timestamppb.New(sub.CreatedAt),
		})
	}
	return out, nil
}
