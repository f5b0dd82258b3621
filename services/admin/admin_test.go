package admin

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pgtest"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	"github.com/manas360/platform/pkg/token"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// world plays the four services admin asks; it knows one person.
type world struct {
	authv1.UnimplementedAuthInternalServiceServer
	userv1.UnimplementedUserInternalServiceServer
	subscriptionv1.UnimplementedSubscriptionInternalServiceServer
	paymentv1.UnimplementedPaymentInternalServiceServer

	person *authv1.Account
	reason string
	noUser bool
}

func (w *world) ListAccounts(context.Context, *authv1.ListAccountsRequest) (*authv1.ListAccountsResponse, error) {
	return &authv1.ListAccountsResponse{Accounts: []*authv1.Account{w.person}, TotalSize: 1, NextPageToken: "next"}, nil
}

func (w *world) GetAccount(_ context.Context, r *authv1.GetAccountRequest) (*authv1.GetAccountResponse, error) {
	if string(r.GetUserId()) != string(w.person.GetId()) {
		return nil, fail.New(fail.NotFound, "there is no such account")
	}
	return &authv1.GetAccountResponse{Account: w.person}, nil
}

func (w *world) SuspendAccount(_ context.Context, r *authv1.SuspendAccountRequest) (*authv1.SuspendAccountResponse, error) {
	w.reason = r.GetReason()
	after := proto.CloneOf(w.person)
	after.State = authv1.Account_SUSPENDED
	return &authv1.SuspendAccountResponse{Account: after}, nil
}

func (w *world) BatchGetProfiles(_ context.Context, r *userv1.BatchGetProfilesRequest) (*userv1.BatchGetProfilesResponse, error) {
	if w.noUser {
		return nil, fail.New(fail.Unavailable, "user is away")
	}
	out := &userv1.BatchGetProfilesResponse{}
	for _, raw := range r.GetUserIds() {
		out.Users = append(out.Users, &userv1.User{Id: id.Format("usr", uuid.UUID(raw)), FirstName: "Āśā", LastName: "Rao"})
	}
	return out, nil
}

func (w *world) GetUserSubscription(context.Context, *subscriptionv1.GetUserSubscriptionRequest) (*subscriptionv1.GetUserSubscriptionResponse, error) {
	return &subscriptionv1.GetUserSubscriptionResponse{
		Subscription: &subscriptionv1.Subscription{Id: "sub_1", State: subscriptionv1.Subscription_ACTIVE, PlanCode: "premium"},
		Entitlements: &subscriptionv1.Entitlements{Features: []string{"premium_dashboard"}},
	}, nil
}

func (w *world) ListUserPayments(context.Context, *paymentv1.ListUserPaymentsRequest) (*paymentv1.ListUserPaymentsResponse, error) {
	return &paymentv1.ListUserPaymentsResponse{Payments: []*paymentv1.Payment{{
		Id: "pay_1", State: paymentv1.Payment_SUCCEEDED, Amount: &typev1.Money{CurrencyCode: "INR", AmountMinor: 149900},
	}}}, nil
}

// serve runs what register adds as the named service, with the real chain and real mTLS, and
// answers admin's connection to it.
func serve(t *testing.T, name string, register func(g *grpc.Server)) *grpc.ClientConn {
	t.Helper()
	v := token.NewVerifier("iss", "aud", time.Now)
	v.SetKeys(keys(t))
	g, err := rpc.NewServer(rpc.ServerConfig{Process: rpctest.Process(t, name), Verifier: v})
	if err != nil {
		t.Fatal(err)
	}
	register(g)
	return rpctest.Dial(t, "admin", name, rpctest.Serve(t, g))
}

func open(t *testing.T) (*server, *world) {
	t.Helper()
	u, mail := uuid.Must(uuid.NewV7()), "asha@example.com"
	w := &world{person: &authv1.Account{Id: u[:], Email: &mail, State: authv1.Account_ACTIVE, Roles: []string{"user"}, FirstName: "Asha", CreatedAt: timestamppb.Now()}}
	p := rpctest.Process(t, "admin")
	peers := newPeers(
		serve(t, "auth", func(g *grpc.Server) { authv1.RegisterAuthInternalServiceServer(g, w) }),
		serve(t, "user", func(g *grpc.Server) { userv1.RegisterUserInternalServiceServer(g, w) }),
		serve(t, "subscription", func(g *grpc.Server) { subscriptionv1.RegisterSubscriptionInternalServiceServer(g, w) }),
		serve(t, "payment", func(g *grpc.Server) { paymentv1.RegisterPaymentInternalServiceServer(g, w) }),
	)
	db := pgtest.New(t, schema, migrations.For("admin"))
	return &server{Service: New(db, outbox.New(schema, p.IDs, p.Now), peers, p.IDs, p.Now)}, w
}

// keys is a key set as auth would answer it.
func keys(t *testing.T) jwk.Set {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwk.FromRaw(public)
	if err != nil {
		t.Fatal(err)
	}
	set := jwk.NewSet()
	for _, err := range []error{key.Set(jwk.KeyIDKey, "k1"), key.Set(jwk.AlgorithmKey, jwa.EdDSA), set.AddKey(key)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return set
}

// operatorCtx is an administrator with a second factor.
func operatorCtx(t *testing.T) context.Context {
	t.Helper()
	return token.NewContext(t.Context(), &token.Caller{
		UserID: uuid.Must(uuid.NewV7()), SessionID: uuid.Must(uuid.NewV7()), Roles: []string{"admin"}, Permissions: []string{"users.manage"},
		AMR: []string{"pwd", "otp", "mfa"}, AuthTime: time.Now(), RequestID: "req-1",
	})
}

func (w *world) id() string { return id.Format("usr", uuid.UUID(w.person.GetId())) }

// recorded reads the outbox's audit events, oldest first.
func recorded(t *testing.T, s *server) []*auditv1.Event {
	t.Helper()
	rows, err := s.db.Pool.Query(t.Context(), `SELECT payload FROM admin.outbox WHERE destination = 'audit' ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []*auditv1.Event
	for rows.Next() {
		var raw []byte
		ev := &auditv1.Event{}
		if err := rows.Scan(&raw); err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(raw, ev); err != nil {
			t.Fatal(err)
		}
		out = append(out, ev)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestListUsers(t *testing.T) {
	s, w := open(t)
	r, err := s.ListUsers(operatorCtx(t), &adminv1.ListUsersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if u := r.GetUsers()[0]; u.GetId() != w.id() || u.GetFirstName() != "Āśā" || u.GetEmail() != "asha@example.com" || r.GetNextPageToken() != "next" || r.GetTotalSize() != 1 {
		t.Errorf("got %v: want auth's account with user's name", r)
	}
	if ev := recorded(t, s); len(ev) != 1 || ev[0].GetAction() != "admin.users_listed" || ev[0].GetActor().GetType() != "admin" {
		t.Errorf("recorded %v, want one look", ev)
	}
}

func TestGetUser(t *testing.T) {
	s, w := open(t)
	r, err := s.GetUser(operatorCtx(t), &adminv1.GetUserRequest{Id: w.id()})
	if err != nil {
		t.Fatal(err)
	}
	u := r.GetUser()
	if u.GetSubscription().GetPlanCode() != "premium" || u.GetSubscription().GetState() != "ACTIVE" || u.GetPayments()[0].GetAmount().GetAmountMinor() != 149900 {
		t.Errorf("got %v", u)
	}
	ev := recorded(t, s)
	if len(ev) != 1 || ev[0].GetTargets()[0].GetId() != w.id() || ev[0].GetRequestId() != "req-1" {
		t.Errorf("recorded %v, want one look at %s", ev, w.id())
	}
}

// TestNoLookWithoutARecord takes the outbox away: nothing is answered.
func TestNoLookWithoutARecord(t *testing.T) {
	s, w := open(t)
	if _, err := s.db.Pool.Exec(t.Context(), `DROP TABLE admin.outbox`); err != nil {
		t.Fatal(err)
	}
	if r, err := s.GetUser(operatorCtx(t), &adminv1.GetUserRequest{Id: w.id()}); err == nil {
		t.Errorf("answered %v without a record", r)
	}
}

func TestUnknownPeople(t *testing.T) {
	s, _ := open(t)
	for _, who := range []string{"usr_nonsense", "ses_00000000000000000000000000", id.Format("usr", uuid.Must(uuid.NewV7()))} {
		if _, err := s.GetUser(operatorCtx(t), &adminv1.GetUserRequest{Id: who}); !fail.Is(err, fail.NotFound) {
			t.Errorf("%s: %v, want NOT_FOUND", who, err)
		}
	}
	if ev := recorded(t, s); len(ev) != 0 {
		t.Errorf("recorded %v, want nothing: nobody was seen", ev)
	}
}

// TestSuspendNeedsTheToken calls auth, whose rule is sensitive, without the
// operator's own token: auth must refuse, whoever admin says is asking.
func TestSuspendNeedsTheToken(t *testing.T) {
	s, w := open(t)
	_, err := s.SuspendUser(operatorCtx(t), &adminv1.SuspendUserRequest{Id: w.id(), Reason: "a reason long enough"})
	if !fail.Is(err, fail.InvalidToken) && !fail.Is(err, fail.Unauthenticated) {
		t.Errorf("got %v, want the missing token refused", err)
	}
	if w.reason != "" {
		t.Error("auth acted without the operator's token")
	}
}

// TestAfterAnAct shows the person even while user is away: the act is done.
func TestAfterAnAct(t *testing.T) {
	s, w := open(t)
	w.noUser = true
	u, err := s.after(operatorCtx(t), w.person)
	if err != nil || u.GetFirstName() != "Asha" {
		t.Errorf("got %v, %v; want the name auth knows", u, err)
	}
}
