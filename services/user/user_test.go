package user

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/pgtest"
	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// fakeAuth knows the accounts it is given.
type fakeAuth struct {
	authv1.UnimplementedAuthInternalServiceServer

	mu       sync.Mutex // guards asked
	asked    int
	accounts map[uuid.UUID]*authv1.Account
}

func (f *fakeAuth) GetAccount(_ context.Context, r *authv1.GetAccountRequest) (*authv1.GetAccountResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	a, ok := f.accounts[uuid.UUID(r.GetUserId())]
	if !ok {
		return nil, fail.ToStatus(fail.New(fail.NotFound, "there is no such account")).Err()
	}
	return &authv1.GetAccountResponse{Account: a}, nil
}

// dial serves f on loopback and answers a connection to it.
func dial(t *testing.T, f *fakeAuth) *grpc.ClientConn {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	authv1.RegisterAuthInternalServiceServer(g, f)
	go func() { _ = g.Serve(l) }() // ends with Stop
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(func(ctx context.Context, m string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, o ...grpc.CallOption) error {
			return fail.FromError(next(ctx, m, req, reply, cc, o...))
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func open(t *testing.T) (*publicServer, *fakeAuth) {
	t.Helper()
	f := &fakeAuth{accounts: map[uuid.UUID]*authv1.Account{}}
	ids := id.NewMaker(time.Now, rander{})
	s := New(Parts{
		DB: pgtest.New(t, schema, migrations.For("user")), Outbox: outbox.New(schema, ids, time.Now), Auth: dial(t, f),
		Pages: page.NewSealer("0123456789abcdef0123456789abcdef"), IDs: ids, Rand: rand.Reader, Now: time.Now,
	})
	return &publicServer{Service: s}, f
}

// rander is a source of ids that repeat in no test.
type rander struct{}

func (rander) Read(p []byte) (int, error) { u := uuid.New(); return copy(p, u[:]), nil }

func person(email string) *authv1.Account {
	u := uuid.Must(uuid.NewV7())
	return &authv1.Account{
		Id: u[:], Email: &email, State: authv1.Account_ACTIVE, Roles: []string{"user"}, FirstName: "Asha", LastName: "Rao",
		Locale: "en", CreatedAt: timestamppb.Now(),
	}
}

func as(ctx context.Context, a *authv1.Account, permissions ...string) context.Context {
	return token.NewContext(ctx, &token.Caller{UserID: uuid.UUID(a.GetId()), Permissions: permissions, RequestID: "req-1"})
}

func wrap(t *testing.T, m proto.Message) *eventv1.Event {
	t.Helper()
	payload, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	u := uuid.Must(uuid.NewV7())
	return &eventv1.Event{Id: u[:], Type: string(m.ProtoReflect().Descriptor().FullName()), Payload: payload, OccurredAt: timestamppb.Now()}
}

func (s *publicServer) tell(t *testing.T, m proto.Message) {
	t.Helper()
	in := outbox.NewInbox(s.db, schema, s.now, func(context.Context) string { return "auth" }, s.handlers())
	r, err := in.Deliver(t.Context(), &eventv1.DeliverRequest{Events: []*eventv1.Event{wrap(t, m)}})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.GetResults()[0].GetOutcome(); got != eventv1.DeliverResponse_Result_APPLIED {
		t.Fatalf("event %T: %v %s", m, got, r.GetResults()[0].GetReason())
	}
}

// TestReadBeforeTheEvent meets a person whose event is still under way.
func TestReadBeforeTheEvent(t *testing.T) {
	s, auth := open(t)
	a := person("asha@example.com")
	auth.accounts[uuid.UUID(a.GetId())] = a
	for range 2 {
		r, err := s.GetMe(as(t.Context(), a), &userv1.GetMeRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if r.GetUser().GetEmail() != "asha@example.com" || r.GetUser().GetDisplayName() != "Asha Rao" {
			t.Errorf("got %v", r.GetUser())
		}
	}
	if auth.asked != 1 {
		t.Errorf("auth was asked %d times, want once: later reads take the row", auth.asked)
	}
	s.tell(t, &authv1.AccountActivated{Account: a}) // the event at last: nothing to do
}

// TestNewsInAnyOrder applies changes of an account out of order: the newest wins.
func TestNewsInAnyOrder(t *testing.T) {
	s, _ := open(t)
	a := person("asha@example.com")
	suspended := proto.CloneOf(a)
	suspended.State = authv1.Account_SUSPENDED
	s.tell(t, &authv1.AccountActivated{Account: a})
	before, err := s.GetMe(as(t.Context(), a), &userv1.GetMeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	s.tell(t, &authv1.AccountChanged{Account: suspended, Version: 3})
	s.tell(t, &authv1.AccountChanged{Account: a, Version: 2})
	r, err := s.GetMe(as(t.Context(), a), &userv1.GetMeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r.GetUser().GetState() != userv1.User_SUSPENDED {
		t.Errorf("state %v, want SUSPENDED of version 3", r.GetUser().GetState())
	}
	if r.GetUser().GetEtag() == before.GetUser().GetEtag() {
		t.Error("another state under the same etag: a client would be told 304")
	}
}

func TestUpdateMe(t *testing.T) {
	s, _ := open(t)
	a := person("asha@example.com")
	s.tell(t, &authv1.AccountActivated{Account: a})
	for _, tt := range []struct {
		name    string
		profile *userv1.Profile
		mask    []string
		ifMatch string
		want    *fail.Kind
	}{
		{"names", &userv1.Profile{FirstName: "Āśā", DisplayName: "A"}, []string{"first_name", "display_name"}, "", nil},
		{"clearing a bio", &userv1.Profile{}, []string{"bio"}, "", nil},
		{"roles", &userv1.Profile{}, []string{"roles"}, "", &fail.InvalidArgument},
		{"state", &userv1.Profile{}, []string{"state"}, "", &fail.InvalidArgument},
		{"nothing", &userv1.Profile{}, nil, "", &fail.InvalidArgument},
		{"no such zone", &userv1.Profile{Timezone: "Mars/Olympus"}, []string{"timezone"}, "", &fail.InvalidArgument},
		{"a zone that names a file", &userv1.Profile{Timezone: "../../etc/passwd"}, []string{"timezone"}, "", &fail.InvalidArgument},
		{"no first name", &userv1.Profile{}, []string{"first_name"}, "", &fail.InvalidArgument},
		{"control characters", &userv1.Profile{LastName: "a\x00b"}, []string{"last_name"}, "", &fail.InvalidArgument},
		{"etag in a list", &userv1.Profile{Bio: "y"}, []string{"bio"}, `"0", "2"`, nil},
		{"weak etag", &userv1.Profile{Bio: "x"}, []string{"bio"}, `W/"3"`, &fail.PreconditionFailed},
		{"any etag", &userv1.Profile{Bio: "z"}, []string{"bio"}, "*", nil},
		{"stale etag", &userv1.Profile{Bio: "x"}, []string{"bio"}, `"0"`, &fail.PreconditionFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := as(t.Context(), a)
			if tt.ifMatch != "" {
				ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("if-match", tt.ifMatch))
			}
			_, err := s.UpdateMe(ctx, &userv1.UpdateMeRequest{Profile: tt.profile, UpdateMask: &fieldmaskpb.FieldMask{Paths: tt.mask}})
			if tt.want == nil && err != nil || tt.want != nil && !fail.Is(err, *tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestUpdateIsRecordedOnce looks into the outbox: one event for one change,
// none for a change that changes nothing, and no value of a personal field.
func TestUpdateIsRecordedOnce(t *testing.T) {
	s, _ := open(t)
	a := person("asha@example.com")
	s.tell(t, &authv1.AccountActivated{Account: a})
	for range 2 {
		if _, err := s.UpdateMe(as(t.Context(), a), &userv1.UpdateMeRequest{
			Profile: &userv1.Profile{Bio: "a secret about me"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"bio"}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	var n int
	var payload []byte
	if err := s.db.Pool.QueryRow(t.Context(), `SELECT count(*), (array_agg(payload))[1] FROM users.outbox WHERE destination = 'audit'`).Scan(&n, &payload); err != nil {
		t.Fatal(err)
	}
	ev := &auditv1.Event{}
	if err := proto.Unmarshal(payload, ev); err != nil {
		t.Fatal(err)
	}
	if n != 1 || ev.GetAction() != "profile.updated" || ev.GetRequestId() != "req-1" || ev.GetChanges()[0].GetPath() != "bio" {
		t.Errorf("%d events, first %v", n, ev)
	}
	if strings.Contains(fmt.Sprint(ev), "secret") {
		t.Error("the event holds the words of the person")
	}
}

// TestConcurrentEdits lets two tabs save at once with the same etag: one wins.
func TestConcurrentEdits(t *testing.T) {
	s, _ := open(t)
	a := person("asha@example.com")
	s.tell(t, &authv1.AccountActivated{Account: a})
	me, err := s.GetMe(as(t.Context(), a), &userv1.GetMeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	results := make(chan error, 8)
	for i := range cap(results) {
		wg.Go(func() {
			ctx := metadata.NewIncomingContext(as(t.Context(), a), metadata.Pairs("if-match", me.GetUser().GetEtag()))
			_, err := s.UpdateMe(ctx, &userv1.UpdateMeRequest{
				Profile: &userv1.Profile{Bio: fmt.Sprintf("tab %d", i)}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"bio"}},
			})
			results <- err
		})
	}
	wg.Wait()
	close(results)
	saved := 0
	for err := range results {
		switch {
		case err == nil:
			saved++
		case !fail.Is(err, fail.PreconditionFailed):
			t.Errorf("got %v, want PRECONDITION_FAILED", err)
		}
	}
	if saved != 1 {
		t.Errorf("%d saved, want 1", saved)
	}
}

// TestOthersAreNotFound tells nobody whether another person exists.
func TestOthersAreNotFound(t *testing.T) {
	s, _ := open(t)
	a, b := person("a@example.com"), person("b@example.com")
	s.tell(t, &authv1.AccountActivated{Account: a})
	s.tell(t, &authv1.AccountActivated{Account: b})
	idOf := func(x *authv1.Account) string { return id.Format("usr", uuid.UUID(x.GetId())) }
	for _, tt := range []struct {
		name string
		ctx  context.Context
		id   string
		want *fail.Kind
	}{
		{"oneself", as(t.Context(), a), idOf(a), nil},
		{"another", as(t.Context(), a), idOf(b), &fail.NotFound},
		{"nobody", as(t.Context(), a), id.Format("usr", uuid.Must(uuid.NewV7())), &fail.NotFound},
		{"nonsense", as(t.Context(), a), "usr_x", &fail.NotFound},
		{"an operator", as(t.Context(), a, "users.manage"), idOf(b), nil},
		{"an operator asks for nobody", as(t.Context(), a, "users.manage"), id.Format("usr", uuid.Must(uuid.NewV7())), &fail.NotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.GetUser(tt.ctx, &userv1.GetUserRequest{Id: tt.id})
			if tt.want == nil && err != nil || tt.want != nil && !fail.Is(err, *tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	list, err := (&internalServer{Service: s.Service}).BatchGetProfiles(t.Context(), &userv1.BatchGetProfilesRequest{UserIds: [][]byte{a.GetId(), b.GetId(), make([]byte, 16)}})
	if err != nil || len(list.GetUsers()) != 2 {
		t.Errorf("batch: %v, %v; want two people", list, err)
	}
	if diff := cmp.Diff([]string{"user"}, list.GetUsers()[0].GetRoles()); diff != "" {
		t.Error(diff)
	}
}
