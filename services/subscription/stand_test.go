package subscription

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/idem"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/pgtest"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// clock is a time that stands until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// stand is the whole service on a real database, a real connection to a fake
// payment, and a client for each process that may call.
type stand struct {
	*Service
	clock   *clock
	money   *fakePayment
	public  subscriptionv1.SubscriptionServiceClient
	admin   subscriptionv1.SubscriptionInternalServiceClient
	auth    eventv1.EventInboxServiceClient
	payment eventv1.EventInboxServiceClient
	shop    subscriptionv1.PurchaseInternalServiceClient // as payment sees it
	kept    subscriptionv1.PurchaseServiceClient
	edge    subscriptionv1.UsageInternalServiceClient
	gateway *grpc.ClientConn

	mandates *fakeMandates
	chairs   *fakeSeats
	holds    subscriptionv1.ReservationServiceClient
	user     eventv1.EventInboxServiceClient
	grants   subscriptionv1.EntitlementInternalServiceClient
	shelf    subscriptionv1.CatalogueInternalServiceClient
	acts     subscriptionv1.OperatorInternalServiceClient
}

func newStand(t *testing.T) *stand {
	t.Helper()
	db := pgtest.New(t, schema, migrations.For(schema))
	c := &clock{at: time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC)}

	money := &fakePayment{payments: map[string]*paymentv1.Payment{}, ids: id.NewMaker(c.now, rand.Reader)}
	pay, err := rpc.NewServer(rpc.ServerConfig{Process: rpctest.Process(t, "payment")})
	if err != nil {
		t.Fatal(err)
	}
	paymentv1.RegisterPaymentInternalServiceServer(pay, money)
	mandates := &fakeMandates{fakePayment: money}
	paymentv1.RegisterMandateInternalServiceServer(pay, mandates)
	people, err := rpc.NewServer(rpc.ServerConfig{Process: rpctest.Process(t, "user")})
	if err != nil {
		t.Fatal(err)
	}
	seats := &fakeSeats{}
	userv1.RegisterMembershipInternalServiceServer(people, seats)

	ids := id.NewMaker(c.now, rand.Reader)
	s, err := New(Parts{
		DB: db, Outbox: outbox.New(schema, ids, c.now), Payment: rpctest.Dial(t, "subscription", "payment", rpctest.Serve(t, pay)),
		User:  rpctest.Dial(t, "subscription", "user", rpctest.Serve(t, people)),
		Pages: page.NewSealer(strings.Repeat("k", 32)), Supplier: Supplier{State: "29", Prefix: "INV"}, IDs: ids, Now: c.now, TestClocks: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	g, err := rpc.NewServer(rpc.ServerConfig{Process: rpctest.Process(t, "subscription"), Idempotency: idem.NewStore(db, schema, c.now)})
	if err != nil {
		t.Fatal(err)
	}
	s.Register(g, rpc.Peer)
	addr := rpctest.Serve(t, g)
	as := func(name string) *grpc.ClientConn { return rpctest.Dial(t, name, "subscription", addr) }
	edge := as("gateway")
	return &stand{
		gateway: edge, mandates: mandates, chairs: seats,
		Service: s, clock: c, money: money,
		public:  subscriptionv1.NewSubscriptionServiceClient(edge),
		admin:   subscriptionv1.NewSubscriptionInternalServiceClient(as("admin")),
		auth:    eventv1.NewEventInboxServiceClient(as("auth")),
		payment: eventv1.NewEventInboxServiceClient(as("payment")),
		shop:    subscriptionv1.NewPurchaseInternalServiceClient(as("payment")),
		kept:    subscriptionv1.NewPurchaseServiceClient(edge),
		edge:    subscriptionv1.NewUsageInternalServiceClient(edge),
		holds:   subscriptionv1.NewReservationServiceClient(edge),
		user:    eventv1.NewEventInboxServiceClient(as("user")),
		grants:  subscriptionv1.NewEntitlementInternalServiceClient(as("admin")),
		shelf:   subscriptionv1.NewCatalogueInternalServiceClient(as("admin")),
		acts:    subscriptionv1.NewOperatorInternalServiceClient(as("admin")),
	}
}

// fakeSeats is user as subscription sees it.
type fakeSeats struct {
	userv1.UnimplementedMembershipInternalServiceServer

	used atomic.Int64
}

func (f *fakeSeats) CountSeats(context.Context, *userv1.CountSeatsRequest) (*userv1.CountSeatsResponse, error) {
	return &userv1.CountSeatsResponse{Used: f.used.Load()}, nil
}

// fakePayment is payment as subscription sees it.
type fakePayment struct {
	paymentv1.UnimplementedPaymentInternalServiceServer
	ids *id.Maker

	mu       sync.Mutex // guards below
	payments map[string]*paymentv1.Payment
	requests []*paymentv1.CreatePaymentRequest
	down     bool
}

func (f *fakePayment) CreatePayment(_ context.Context, r *paymentv1.CreatePaymentRequest) (*paymentv1.CreatePaymentResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r)
	if f.down {
		return nil, fail.New(fail.PaymentProviderUnavailable, "the provider does not answer")
	}
	key := string(r.GetRequestId())
	if f.payments[key] == nil {
		url := "http://sandbox/pay"
		f.payments[key] = &paymentv1.Payment{
			Id: id.Format("pay", f.ids.New()), State: paymentv1.Payment_PENDING, Amount: r.GetAmount(), RedirectUrl: &url,
		}
	}
	return &paymentv1.CreatePaymentResponse{Payment: proto.CloneOf(f.payments[key])}, nil
}

func (f *fakePayment) FindPayment(_ context.Context, r *paymentv1.FindPaymentRequest) (*paymentv1.FindPaymentResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, fail.New(fail.Unavailable, "not now")
	}
	p := f.payments[string(r.GetRequestId())]
	if p == nil {
		return nil, fail.New(fail.NotFound, "there is no such payment")
	}
	return &paymentv1.FindPaymentResponse{Payment: proto.CloneOf(p)}, nil
}

func (f *fakePayment) set(do func(f *fakePayment)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f)
}

// as gives ctx a signed-in caller.
func as(ctx context.Context, userID uuid.UUID) context.Context {
	return token.NewContext(ctx, &token.Caller{
		UserID: userID, SessionID: uuid.New(), ClientIP: "203.0.113.77", RequestID: "req-1",
		Permissions: []string{"profile.read", "profile.update", "payments.read"},
	})
}

func event(t *testing.T, m proto.Message) *eventv1.Event {
	t.Helper()
	payload, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	eventID := uuid.New()
	return &eventv1.Event{
		Id: eventID[:], Type: string(m.ProtoReflect().Descriptor().FullName()), Key: "k", Payload: payload,
		OccurredAt: timestamppb.Now(), RequestId: "req-2",
	}
}

// deliver sends events and gives the outcome of the last.
func deliver(t *testing.T, to eventv1.EventInboxServiceClient, events ...*eventv1.Event) eventv1.DeliverResponse_Result_Outcome {
	t.Helper()
	r, err := to.Deliver(t.Context(), &eventv1.DeliverRequest{Events: events})
	if err != nil {
		t.Fatalf("deliver: %v", err)
	}
	return r.GetResults()[len(r.GetResults())-1].GetOutcome()
}

// activated is auth's event of a new account.
func activated(t *testing.T, userID uuid.UUID) *eventv1.Event {
	t.Helper()
	return event(t, &authv1.AccountActivated{Account: &authv1.Account{Id: userID[:], State: authv1.Account_ACTIVE}})
}

// member makes an account with its Free subscription.
func (s *stand) member(t *testing.T) uuid.UUID {
	t.Helper()
	userID := uuid.New()
	if got := deliver(t, s.auth, activated(t, userID)); got != eventv1.DeliverResponse_Result_APPLIED {
		t.Fatalf("AccountActivated: %s", got)
	}
	return userID
}

// order checks out a plan.
func (s *stand) order(t *testing.T, userID uuid.UUID, planCode string, cycle subscriptionv1.Price_Cycle) *subscriptionv1.CheckoutResponse {
	t.Helper()
	r, err := s.public.Checkout(as(t.Context(), userID), &subscriptionv1.CheckoutRequest{PlanCode: planCode, Cycle: cycle})
	if err != nil {
		t.Fatalf("checkout %s: %v", planCode, err)
	}
	return r
}

// paid is payment's event of money for an order, as payment would send it.
func (s *stand) paid(t *testing.T, userID uuid.UUID, o *subscriptionv1.CheckoutResponse, state paymentv1.Payment_State) *eventv1.Event {
	t.Helper()
	orderID, err := id.Parse("sub", o.GetSubscription().GetId())
	if err != nil {
		t.Fatal(err)
	}
	payID, err := id.Parse("pay", o.GetPayment().GetId())
	if err != nil {
		t.Fatal(err)
	}
	return event(t, &paymentv1.PaymentStateChanged{
		PaymentId: payID[:], RequestId: orderID[:], UserId: userID[:], State: state, Version: 2,
		Amount: &typev1.Money{CurrencyCode: "INR", AmountMinor: o.GetPayment().GetAmount().GetAmountMinor()},
		PaidAt: timestamppb.New(s.clock.now()),
	})
}

// buy makes userID hold a plan.
func (s *stand) buy(t *testing.T, userID uuid.UUID, planCode string, cycle subscriptionv1.Price_Cycle) {
	t.Helper()
	o := s.order(t, userID, planCode, cycle)
	if got := deliver(t, s.payment, s.paid(t, userID, o, paymentv1.Payment_SUCCEEDED)); got != eventv1.DeliverResponse_Result_APPLIED {
		t.Fatalf("payment of %s: %s", planCode, got)
	}
}

func (s *stand) entitled(t *testing.T, userID uuid.UUID) *subscriptionv1.Entitlements {
	t.Helper()
	r, err := s.public.GetEntitlements(as(t.Context(), userID), &subscriptionv1.GetEntitlementsRequest{})
	if err != nil {
		t.Fatalf("entitlements: %v", err)
	}
	return r.GetEntitlements()
}

func (s *stand) use(t *testing.T, userID uuid.UUID, feature string, amount int64) (*subscriptionv1.ConsumeEntitlementResponse, error) {
	t.Helper()
	return s.public.ConsumeEntitlement(as(t.Context(), userID), &subscriptionv1.ConsumeEntitlementRequest{Feature: feature, Amount: &amount})
}

// states gives the states of a user's subscriptions by plan, newest last.
func (s *stand) states(t *testing.T, userID uuid.UUID) []string {
	t.Helper()
	return texts(t, s.db, `SELECT plan_code || ' ' || state FROM subscription.subscription WHERE user_id = $1 ORDER BY id`, userID)
}

// told gives the outbox of a destination in order, decoded.
func told[T proto.Message](t *testing.T, s *stand, destination string, fresh func() T) []T {
	t.Helper()
	rows, err := s.db.Pool.Query(t.Context(), `SELECT payload FROM subscription.outbox WHERE destination = $1 AND type = $2 ORDER BY seq`,
		destination, string(fresh().ProtoReflect().Descriptor().FullName()))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		var b []byte
		m := fresh()
		if err := rows.Scan(&b); err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(b, m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// actions gives the audited actions in order.
func (s *stand) actions(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, e := range told(t, s, "audit", func() *auditv1.Event { return &auditv1.Event{} }) {
		out = append(out, e.GetAction())
	}
	return out
}

func texts(t *testing.T, db *pg.DB, sql string, a ...any) []string {
	t.Helper()
	rows, err := db.Pool.Query(t.Context(), sql, a...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// refused checks that err is of kind k and gives it.
func refused(t *testing.T, err error, k fail.Kind) *fail.Error {
	t.Helper()
	e, ok := fail.As(err)
	if !ok || e.Kind.Reason != k.Reason {
		t.Fatalf("error = %v, want %s", err, k.Reason)
	}
	return e
}
