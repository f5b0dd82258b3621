package admin

import (
	"context"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/token"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// paymentsShown is how many payments a person's page holds.
const paymentsShown = 20

// Register puts the service on g.
// peer names the direct caller of a request.
func (s *Service) Register(g *grpc.Server, peer func(context.Context) string) {
	eventv1.RegisterEventInboxServiceServer(g, outbox.NewInbox(s.db, schema, s.now, peer, s.handlers()))
	adminv1.RegisterStatusInternalServiceServer(g, outbox.NewStatus(s.db, schema, s.now))
	adminv1.RegisterAdminMetricsServiceServer(g, &metricsServer{server: &server{Service: s}})
	adminv1.RegisterAdminListingServiceServer(g, &listingServer{server: &server{Service: s}})
	adminv1.RegisterAdminBulkServiceServer(g, &bulkServer{server: &server{Service: s}})
	adminv1.RegisterAdminSystemServiceServer(g, &systemServer{server: &server{Service: s}})
	adminv1.RegisterAdminServiceServer(g, &server{Service: s})
	adminv1.RegisterAdminRoleServiceServer(g, &roleServer{server: &server{Service: s}})
	adminv1.RegisterAdminPaymentServiceServer(g, &paymentServer{server: &server{Service: s}})
	adminv1.RegisterAdminWebhookServiceServer(g, &webhookServer{server: &server{Service: s}})
	adminv1.RegisterAdminFindingServiceServer(g, &findingServer{server: &server{Service: s}})
	adminv1.RegisterAdminPlanServiceServer(g, &planServer{server: &server{Service: s}})
	adminv1.RegisterAdminSubscriptionActServiceServer(g, &subscriptionActServer{server: &server{Service: s}})
	adminv1.RegisterAdminDeadLetterServiceServer(g, &deadServer{server: &server{Service: s}})
	adminv1.RegisterAdminPayoutServiceServer(g, &payoutServer{server: &server{Service: s}})
	s.outbox.RegisterDeadLetters(g, s.db)
}

type server struct {
	adminv1.UnimplementedAdminServiceServer
	*Service
}

func (s *server) ListUsers(ctx context.Context, r *adminv1.ListUsersRequest) (*adminv1.ListUsersResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.peers.auth.ListAccounts(ctx, &authv1.ListAccountsRequest{
		PageSize: int32(page.Size(r.GetPageSize())), PageToken: r.GetPageToken(), //nolint:gosec // Size answers 1 to 100
		Search: r.GetSearch(), Role: r.GetRole(), State: authv1.Account_State(r.GetState()), Sort: r.GetSort(),
	})
	if err != nil {
		return nil, err
	}
	ids := make([][]byte, 0, len(list.GetAccounts()))
	for _, a := range list.GetAccounts() {
		ids = append(ids, a.GetId())
	}
	names, err := s.names(ctx, ids)
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, usersListed(caller, len(ids), s.now())); err != nil {
		return nil, err
	}
	out := &adminv1.ListUsersResponse{NextPageToken: list.GetNextPageToken(), TotalSize: list.GetTotalSize()}
	for _, a := range list.GetAccounts() {
		out.Users = append(out.Users, summary(a, names))
	}
	return out, nil
}

func (s *server) GetUser(ctx context.Context, r *adminv1.GetUserRequest) (*adminv1.GetUserResponse, error) {
	caller, userID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	account, err := s.peers.auth.GetAccount(ctx, &authv1.GetAccountRequest{UserId: userID[:]})
	if err != nil {
		return nil, err
	}
	var (
		names map[string]*userv1.User
		sub   *subscriptionv1.GetUserSubscriptionResponse
		pays  *paymentv1.ListUserPaymentsResponse
	)
	g, gctx := errgroup.WithContext(ctx) // three services, none waits for another
	g.Go(func() (err error) { names, err = s.names(gctx, [][]byte{userID[:]}); return err })
	g.Go(func() (err error) {
		sub, err = s.peers.subscription.GetUserSubscription(gctx, &subscriptionv1.GetUserSubscriptionRequest{UserId: userID[:]})
		return err
	})
	g.Go(func() (err error) {
		pays, err = s.peers.payment.ListUserPayments(gctx, &paymentv1.ListUserPaymentsRequest{UserId: userID[:], PageSize: paymentsShown})
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := s.record(ctx, userRead(caller, userID, s.now())); err != nil {
		return nil, err
	}
	u := detail(summary(account.GetAccount(), names), sub, pays)
	profile := names[u.GetId()]
	u.Sessions, u.Timezone, u.Locale = account.GetSessions(), profile.GetTimezone(), profile.GetLocale()
	return &adminv1.GetUserResponse{User: u}, nil
}

func (s *server) SuspendUser(ctx context.Context, r *adminv1.SuspendUserRequest) (*adminv1.SuspendUserResponse, error) {
	_, userID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	// auth checks rank, acts, and writes the audit event with this operator as
	// its actor, all in one transaction of its own.
	out, err := s.peers.auth.SuspendAccount(ctx, &authv1.SuspendAccountRequest{UserId: userID[:], Reason: r.GetReason()})
	if err != nil {
		return nil, err
	}
	u, err := s.after(ctx, out.GetAccount())
	if err != nil {
		return nil, err
	}
	return &adminv1.SuspendUserResponse{User: u}, nil
}

func (s *server) ReactivateUser(ctx context.Context, r *adminv1.ReactivateUserRequest) (*adminv1.ReactivateUserResponse, error) {
	_, userID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	out, err := s.peers.auth.ReactivateAccount(ctx, &authv1.ReactivateAccountRequest{UserId: userID[:], Reason: r.GetReason()})
	if err != nil {
		return nil, err
	}
	u, err := s.after(ctx, out.GetAccount())
	if err != nil {
		return nil, err
	}
	return &adminv1.ReactivateUserResponse{User: u}, nil
}

// after is the person as shown once an act is done. The act stands whether or
// not user can be reached, so a missing name is no error here.
func (s *server) after(ctx context.Context, a *authv1.Account) (*adminv1.UserSummary, error) {
	names, err := s.names(ctx, [][]byte{a.GetId()})
	if err != nil && !fail.Is(err, fail.Unavailable) && !fail.Is(err, fail.DeadlineExceeded) {
		return nil, err
	}
	return summary(a, names), nil
}

// names asks user for what people are called, by the bytes of their id.
func (s *server) names(ctx context.Context, ids [][]byte) (map[string]*userv1.User, error) {
	out := map[string]*userv1.User{}
	if len(ids) == 0 {
		return out, nil
	}
	r, err := s.peers.user.BatchGetProfiles(ctx, &userv1.BatchGetProfilesRequest{UserIds: ids})
	if err != nil {
		return nil, err
	}
	for _, u := range r.GetUsers() {
		out[u.GetId()] = u
	}
	return out, nil
}

// operator is who asks; the rule has seen to the permission and the factor.
func operator(ctx context.Context) (*token.Caller, error) {
	caller, ok := token.FromContext(ctx)
	if !ok || caller.UserID == uuid.Nil {
		return nil, fail.New(fail.Unauthenticated, "sign in first")
	}
	return caller, nil
}

// subject is who asks and whom it is about.
func subject(ctx context.Context, raw string) (*token.Caller, uuid.UUID, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, uuid.Nil, err
	}
	userID, err := id.Parse("usr", raw)
	if err != nil {
		return nil, uuid.Nil, fail.New(fail.NotFound, "there is no such user")
	}
	return caller, userID, nil
}
