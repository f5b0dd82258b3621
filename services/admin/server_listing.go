package admin

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/trail"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// listingServer is how operators look through subscriptions.
type listingServer struct {
	adminv1.UnimplementedAdminListingServiceServer
	*server
}

// ListSubscriptions asks at most three services, whatever the page holds.
func (s *listingServer) ListSubscriptions(ctx context.Context, r *adminv1.ListSubscriptionsRequest) (*adminv1.ListSubscriptionsResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	out, userID := &adminv1.ListSubscriptionsResponse{}, r.GetUserId()
	found := true
	if r.GetSearch() != "" {
		if userID, found, err = s.whose(ctx, r.GetSearch(), userID); err != nil {
			return nil, err
		}
	}
	if found {
		if err := s.page(ctx, r, userID, out); err != nil {
			return nil, err
		}
	}
	if err := s.record(ctx, listed(caller, trail.AdminSubscriptionsListed, len(out.GetSubscriptions()), s.now())); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *listingServer) page(ctx context.Context, r *adminv1.ListSubscriptionsRequest, userID string, out *adminv1.ListSubscriptionsResponse) error {
	list, err := s.peers.listing.FindSubscriptions(ctx, &subscriptionv1.FindSubscriptionsRequest{
		PageSize: r.GetPageSize(), PageToken: r.GetPageToken(), UserId: userID, State: r.GetState(), PlanCode: r.GetPlan(), Cycle: r.GetCycle(),
	})
	if err != nil {
		return err
	}
	var ids [][]byte
	for _, f := range list.GetSubscriptions() {
		if u, err := id.Parse("usr", f.GetUserId()); err == nil {
			ids = append(ids, u[:])
		}
	}
	slices.SortFunc(ids, slices.Compare[[]byte])
	names, err := s.names(ctx, slices.CompactFunc(ids, slices.Equal[[]byte]))
	if err != nil {
		return err
	}
	for _, f := range list.GetSubscriptions() {
		x := f.GetSubscription()
		out.Subscriptions = append(out.Subscriptions, &adminv1.AdminSubscription{
			Id: x.GetId(), State: x.GetState(), PlanCode: x.GetPlanCode(), Cycle: x.GetCycle(), Price: x.GetPrice(),
			CurrentPeriodStart: x.GetCurrentPeriodStart(), CurrentPeriodEnd: x.GetCurrentPeriodEnd(), TrialEnd: x.GetTrialEnd(),
			CancelAtPeriodEnd: x.GetCancelAtPeriodEnd(), PendingPlanCode: x.PendingPlanCode, AutoRenew: x.GetAutoRenew(), TestClockId: x.TestClockId,
			Etag: x.GetEtag(), CreatedAt: f.GetCreatedAt(), UserId: f.GetUserId(),
			FirstName: names[f.GetUserId()].GetFirstName(), LastName: names[f.GetUserId()].GetLastName(),
		})
	}
	out.NextPageToken = list.GetNextPageToken()
	return nil
}

// whose finds the one person with an address, a number or an id; found is false
// when there is nobody, or somebody else than userID, if that is given.
func (s *listingServer) whose(ctx context.Context, search, userID string) (who string, found bool, err error) {
	search = strings.TrimSpace(search)
	if _, err := id.Parse("usr", search); err == nil {
		return search, userID == "" || userID == search, nil
	}
	list, err := s.peers.auth.ListAccounts(ctx, &authv1.ListAccountsRequest{Search: search, PageSize: 20})
	if err != nil {
		return "", false, err
	}
	for _, a := range list.GetAccounts() {
		if !strings.EqualFold(a.GetEmail(), search) && a.GetPhone() != search {
			continue
		}
		u, err := uuid.FromBytes(a.GetId())
		if err != nil {
			continue
		}
		who = id.Format("usr", u)
		return who, userID == "" || userID == who, nil
	}
	return "", false, nil
}
