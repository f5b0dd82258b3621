package user

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
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
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// clock is a time that stands until it is moved.
type clock struct {
	mu sync.Mutex // guards at
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

// rig is the service on a real database, a clock that stands, and every server
// of it.
type rig struct {
	*publicServer

	t        testing.TB
	clock    *clock
	auth     *fakeAuth
	orgs     *orgServer
	prefs    *preferencesServer
	consents *consentServer
	pros     *therapistServer
	decide   *adminTherapistServer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	c := &clock{at: time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC)}
	f := &fakeAuth{accounts: map[uuid.UUID]*authv1.Account{}}
	ids := id.NewMaker(c.now, rand.Reader)
	s := New(Parts{
		DB: pgtest.New(t, schema, migrations.For("user")), Outbox: outbox.New(schema, ids, c.now), Auth: dial(t, f),
		Pages: page.NewSealer(strings.Repeat("k", 32)), IDs: ids, Rand: rand.Reader, Now: c.now,
		TellRoster: true,
	})
	return &rig{
		publicServer: &publicServer{Service: s}, t: t, clock: c, auth: f, orgs: &orgServer{Service: s}, prefs: &preferencesServer{Service: s},
		consents: &consentServer{Service: s}, pros: &therapistServer{Service: s}, decide: &adminTherapistServer{Service: s},
	}
}

// race runs what at once n times. The connections are open before it starts:
// else those who wait for one follow the first in a row.
func (r *rig) race(n int, what func(i int)) {
	r.t.Helper()
	var held []*pgxpool.Conn
	for range min(n, 16) {
		held = append(held, must[*pgxpool.Conn](r.t)(r.db.Pool.Acquire(r.t.Context())))
	}
	for _, c := range held {
		c.Release()
	}
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			what(i)
		})
	}
	close(start)
	wg.Wait()
}

// human is one account, known to auth and to user.
type human struct {
	*authv1.Account

	rig *rig
}

func (r *rig) join(email string) human {
	r.t.Helper()
	a := person(email)
	a.EmailVerified = true
	r.auth.mu.Lock()
	r.auth.accounts[uuid.UUID(a.GetId())] = a
	r.auth.mu.Unlock()
	r.deliver("auth", &authv1.AccountActivated{Account: a, AcceptedTerms: "2026-01"})
	return human{a, r}
}

func (h human) id() uuid.UUID { return uuid.UUID(h.GetId()) }

func (h human) name() string { return id.Format("usr", h.id()) }

func (h human) ctx(permissions ...string) context.Context {
	return token.NewContext(h.rig.t.Context(), &token.Caller{
		UserID: h.id(), SessionID: h.id(), Permissions: permissions, RequestID: "req-1", ClientIP: "203.0.113.77",
	})
}

func (h human) ifMatch(etag string) context.Context {
	return metadata.NewIncomingContext(h.ctx(), metadata.Pairs("if-match", etag))
}

func (r *rig) deliver(from string, m proto.Message) {
	r.t.Helper()
	payload, err := proto.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	u := uuid.Must(uuid.NewV7())
	ev := &eventv1.Event{Id: u[:], Type: string(m.ProtoReflect().Descriptor().FullName()), Payload: payload}
	ev.OccurredAt = timestamppb.New(r.clock.now())
	in := outbox.NewInbox(r.db, schema, r.now, func(context.Context) string { return from }, r.handlers())
	got, err := in.Deliver(r.t.Context(), &eventv1.DeliverRequest{Events: []*eventv1.Event{ev}})
	if err != nil {
		r.t.Fatal(err)
	}
	if o := got.GetResults()[0].GetOutcome(); o != eventv1.DeliverResponse_Result_APPLIED {
		r.t.Fatalf("event %T: %v %s", m, o, got.GetResults()[0].GetReason())
	}
}

// plan gives a person's plan a number of seats.
func (r *rig) plan(h human, epoch, seats int64) {
	r.t.Helper()
	r.deliver("subscription", &subscriptionv1.EntitlementChanged{UserId: h.GetId(), Epoch: epoch, Plan: "x", Limits: map[string]int64{"users": seats}})
}

func (r *rig) org(h human, name string) *userv1.Organization {
	r.t.Helper()
	out, err := r.orgs.CreateOrganization(h.ctx(), &userv1.CreateOrganizationRequest{Name: name, Type: userv1.Organization_CORPORATE})
	if err != nil {
		r.t.Fatal(err)
	}
	return out.GetOrganization()
}

func (r *rig) invite(h human, org, email string, role userv1.Member_Role) (*userv1.Invitation, error) {
	out, err := r.orgs.CreateInvitation(h.ctx(), &userv1.CreateInvitationRequest{Id: org, Email: email, Role: role})
	return out.GetInvitation(), err
}

func (r *rig) accept(h human, tok string) error {
	_, err := r.orgs.AcceptInvitation(h.ctx(), &userv1.AcceptInvitationRequest{Token: tok})
	return err
}

// bring makes h a member as a person would: by mail.
func (r *rig) bring(by human, org string, h human, role userv1.Member_Role) {
	r.t.Helper()
	if _, err := r.invite(by, org, h.GetEmail(), role); err != nil {
		r.t.Fatal(err)
	}
	if err := r.accept(h, r.token(h.GetEmail())); err != nil {
		r.t.Fatal(err)
	}
}

// events reads what lies in the outbox for a service, oldest first.
func events[T proto.Message](r *rig, to string, one func() T) []T {
	r.t.Helper()
	rows, err := r.db.Pool.Query(r.t.Context(), `SELECT payload FROM users.outbox WHERE destination = $1 AND type = $2 ORDER BY seq`,
		to, string(one().ProtoReflect().Descriptor().FullName()))
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		var payload []byte
		if err := rows.Scan(&payload); err != nil {
			r.t.Fatal(err)
		}
		m := one()
		if err := proto.Unmarshal(payload, m); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, m)
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return out
}

// token is the one of the last mail to an address.
func (r *rig) token(email string) string {
	r.t.Helper()
	tok := ""
	for _, n := range events(r, "auth", func() *authv1.NoticeRequested { return &authv1.NoticeRequested{} }) {
		if n.GetEmail() == email {
			_, tok, _ = strings.Cut(n.GetParams()["link"], "#token=")
		}
	}
	if tok == "" {
		r.t.Fatalf("no invitation went to %s", email)
	}
	return tok
}

// audited counts events of an action.
func (r *rig) audited(action string) (out []*auditv1.Event) {
	r.t.Helper()
	for _, ev := range events(r, "audit", func() *auditv1.Event { return &auditv1.Event{} }) {
		if ev.GetAction() == action {
			out = append(out, ev)
		}
	}
	return out
}

func wantKind(tb testing.TB, what string, err error, want fail.Kind) {
	tb.Helper()
	if !fail.Is(err, want) {
		tb.Errorf("%s: got %v, want %s", what, err, want.Reason)
	}
}

func must[T any](tb testing.TB) func(v T, err error) T {
	tb.Helper()
	return func(v T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}
