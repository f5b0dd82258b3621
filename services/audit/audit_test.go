package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pgtest"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

const secret = "a page secret of more than 32 characters"

// open makes the service on a database of its own.
func open(t *testing.T) (*Service, *inboxServer) {
	t.Helper()
	s := New(pgtest.New(t, "audit", migrations.For("audit")), secret, time.Now)
	return s, &inboxServer{Service: s, peer: func(context.Context) string { return "auth" }}
}

// event makes what a producer would deliver.
func event(action, actor string, at time.Time, targets ...string) *eventv1.Event {
	u := uuid.Must(uuid.NewV7())
	m := &auditv1.Event{
		Action: action, Actor: &auditv1.Event_Actor{Type: "user", Id: actor}, Outcome: auditv1.Event_SUCCESS, RequestId: "req-1",
	}
	for _, x := range targets {
		m.Targets = append(m.Targets, &auditv1.Event_Target{Type: "user", Id: x})
	}
	payload, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return &eventv1.Event{Id: u[:], Type: "manas.audit.v1.Event", Key: actor, Payload: payload, OccurredAt: timestamppb.New(at)}
}

// actsUpon gives the acts of the catalogue that touch a kind of thing.
func actsUpon(kind string) []string {
	return slices.DeleteFunc(trail.Names(), func(name string) bool {
		e, _ := trail.Lookup(name)
		return !slices.Contains(e.Targets, kind)
	})
}

func deliver(t *testing.T, in *inboxServer, events ...*eventv1.Event) []string {
	t.Helper()
	r, err := in.Deliver(t.Context(), &eventv1.DeliverRequest{Events: events})
	if err != nil {
		t.Fatalf("deliver: %v", err)
	}
	var got []string
	for _, x := range r.GetResults() {
		got = append(got, x.GetOutcome().String())
	}
	return got
}

func list(t *testing.T, s *Service, r *auditv1.ListEventsRequest) (actions []string, next string) {
	t.Helper()
	out, err := (&publicServer{Service: s}).ListEvents(auditor(t), r)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	for _, e := range out.GetEvents() {
		actions = append(actions, e.GetAction())
	}
	return actions, out.GetNextPageToken()
}

func TestDeliverOnceInOrder(t *testing.T) {
	s, in := open(t)
	now := time.Now()
	a := event("session.opened", "usr_a", now, "usr_a")
	b := event("payment.succeeded", "usr_a", now.Add(time.Millisecond), "usr_a")
	if got, want := deliver(t, in, a, b, a), []string{"APPLIED", "APPLIED", "APPLIED"}; !cmp.Equal(got, want) {
		t.Errorf("first delivery: %v, want %v", got, want)
	}
	if got, want := deliver(t, in, b, a), []string{"DUPLICATE", "DUPLICATE"}; !cmp.Equal(got, want) {
		t.Errorf("second delivery: %v, want %v", got, want)
	}
	got, _ := list(t, s, &auditv1.ListEventsRequest{Order: "asc"})
	if want := []string{"session.opened", "payment.succeeded"}; !cmp.Equal(got, want) {
		t.Errorf("log: %v, want %v", got, want)
	}
}

// TestPoison delivers what cannot be stored among what can: the rest goes in.
func TestPoison(t *testing.T) {
	_, in := open(t)
	now := time.Now()
	nul := event("session.opened", "usr_\x00", now)
	name := event("Not An Action", "usr_a", now)
	crowd := event("session.opened", "usr_a", now, strings.Split(strings.Repeat("usr_x,", 17), ",")...)
	future := event("session.opened", "usr_a", now)
	future.Id[0]++ // a UUIDv7 of years ahead
	foreign := event("session.opened", "usr_a", now)
	foreign.Type = "manas.auth.v1.AccountChanged"
	got := deliver(t, in, nul, name, event("session.opened", "usr_a", now), crowd, future, foreign)
	want := []string{"REJECTED", "REJECTED", "APPLIED", "REJECTED", "REJECTED", "REJECTED"}
	if !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestPositionsHaveNoGaps lets many producers deliver at once, each twice.
func TestPositionsHaveNoGaps(t *testing.T) {
	s, in := open(t)
	const producers, each = 8, 25
	var wg sync.WaitGroup
	for p := range producers {
		var batch []*eventv1.Event
		for range each {
			batch = append(batch, event("session.opened", fmt.Sprintf("usr_%d", p), time.Now()))
		}
		for range 2 {
			wg.Go(func() {
				if _, err := in.Deliver(t.Context(), &eventv1.DeliverRequest{Events: batch}); err != nil {
					t.Errorf("deliver: %v", err)
				}
			})
		}
	}
	wg.Wait()
	var n, last, distinct int64
	if err := s.db.Pool.QueryRow(t.Context(), `SELECT count(*), max(seq), count(DISTINCT seq) FROM audit.event`).Scan(&n, &last, &distinct); err != nil {
		t.Fatal(err)
	}
	if n != producers*each || last != n || distinct != n {
		t.Errorf("rows %d, last seq %d, distinct %d: want %d of each", n, last, distinct, producers*each)
	}
}

func TestSearch(t *testing.T) {
	s, in := open(t)
	base := time.Now().Add(-time.Minute)
	for i, e := range []struct{ action, actor, target string }{
		{"session.opened", "usr_a", "usr_a"},
		{"payment.created", "usr_a", "pay_1"},
		{"payment.succeeded", "svc", "pay_1"},
		{"account.suspended", "usr_admin", "usr_a"},
	} {
		deliver(t, in, event(e.action, e.actor, base.Add(time.Duration(i)*time.Second), e.target))
	}
	for _, tt := range []struct {
		name string
		req  *auditv1.ListEventsRequest
		want []string
	}{
		{"all, newest first", &auditv1.ListEventsRequest{}, []string{"account.suspended", "payment.succeeded", "payment.created", "session.opened"}},
		{"by actor", &auditv1.ListEventsRequest{ActorId: "usr_a"}, []string{"payment.created", "session.opened"}},
		{"by target, oldest first", &auditv1.ListEventsRequest{ResourceId: "pay_1", Order: "asc"}, []string{"payment.created", "payment.succeeded"}},
		{"by target of another type", &auditv1.ListEventsRequest{ResourceId: "pay_1", ResourceType: "session"}, nil},
		{"by type of target", &auditv1.ListEventsRequest{ResourceType: "user", ActorId: "usr_admin"}, []string{"account.suspended"}},
		{"by action", &auditv1.ListEventsRequest{Action: "payment.created"}, []string{"payment.created"}},
		{"by prefix", &auditv1.ListEventsRequest{Action: "payment."}, []string{"payment.succeeded", "payment.created"}},
		{"wildcards are literal", &auditv1.ListEventsRequest{Action: "%."}, nil},
		{"by time, half open", &auditv1.ListEventsRequest{StartTime: timestamppb.New(base.Add(time.Second)), EndTime: timestamppb.New(base.Add(2 * time.Second))}, []string{"payment.created"}},
		{"nobody", &auditv1.ListEventsRequest{ActorId: "usr_nobody"}, nil},
		{"by outcome", &auditv1.ListEventsRequest{Outcome: auditv1.Event_DENIED}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, _ := list(t, s, tt.req); !cmp.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestPages walks a log in pages of every size: all events once, in order; and
// a token of one search opens no other.
func TestPages(t *testing.T) {
	s, in := open(t)
	var batch []*eventv1.Event
	at := time.Now().Add(-time.Minute)
	names := actsUpon("user")
	for i := range 30 {
		batch = append(batch, event(names[i%len(names)], "usr_a", at.Add(time.Duration(i/3)*time.Second), "usr_a"))
	}
	deliver(t, in, batch...)
	all, _ := list(t, s, &auditv1.ListEventsRequest{PageSize: 100, ResourceId: "usr_a"})
	if len(all) != 30 {
		t.Fatalf("%d events in the log, want 30", len(all))
	}
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.Int32Range(1, 31).Draw(rt, "size")
		var got []string
		for token := ""; ; {
			part, next := list(t, s, &auditv1.ListEventsRequest{PageSize: size, PageToken: token, ResourceId: "usr_a"})
			got = append(got, part...)
			if next == "" {
				break
			}
			token = next
		}
		if !cmp.Equal(got, all) {
			rt.Errorf("pages of %d: %v, want %v", size, got, all)
		}
	})
	_, next := list(t, s, &auditv1.ListEventsRequest{PageSize: 1})
	_, err := (&publicServer{Service: s}).ListEvents(auditor(t), &auditv1.ListEventsRequest{PageToken: next, ActorId: "usr_a"})
	if !fail.Is(err, fail.InvalidArgument) {
		t.Errorf("a token of another search: %v, want INVALID_ARGUMENT", err)
	}
}

func TestStoredBytesAreTheLeaf(t *testing.T) {
	s, in := open(t)
	ev := event("session.opened", "usr_a", time.Now())
	deliver(t, in, ev)
	var canonical, leaf []byte
	if err := s.db.Pool.QueryRow(t.Context(), `SELECT canonical, leaf_hash FROM audit.event`).Scan(&canonical, &leaf); err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256(append([]byte{0}, canonical...))
	if !bytes.Equal(leaf, want[:]) {
		t.Errorf("leaf hash %x, want %x", leaf, want)
	}
	out, err := (&publicServer{Service: s}).GetEvent(auditor(t), &auditv1.GetEventRequest{Id: id.Format("evt", uuid.UUID(ev.GetId()))})
	if err != nil {
		t.Fatal(err)
	}
	if out.GetEvent().GetSeq() != 1 || out.GetEvent().GetSource() != "auth" {
		t.Errorf("event %v: want seq 1 of source auth", out.GetEvent())
	}
}

func TestGetUnknownEvent(t *testing.T) {
	s, _ := open(t)
	for _, bad := range []string{"evt_nonsense", "usr_00000000000000000000000000", id.Format("evt", uuid.Must(uuid.NewV7())), id.Format("evt", uuid.New())} {
		if _, err := (&publicServer{Service: s}).GetEvent(auditor(t), &auditv1.GetEventRequest{Id: bad}); !fail.Is(err, fail.NotFound) {
			t.Errorf("%s: %v, want NOT_FOUND", bad, err)
		}
	}
}

// TestPartitionsAhead makes sure that a month's first event finds its place.
func TestPartitionsAhead(t *testing.T) {
	s, _ := open(t)
	for range 2 { // the second time makes nothing
		if err := s.ensurePartitions(t.Context(), time.Now(), partitionMonths); err != nil {
			t.Fatal(err)
		}
	}
	var n int
	if err := s.db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit.event_security'::regclass`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n < partitionMonths {
		t.Errorf("%d partitions, want at least %d", n, partitionMonths)
	}
	if err := s.ensurePartitions(t.Context(), time.Now(), 0); err == nil {
		t.Error("0 months: want an error")
	}
}

// TestQueriesPrepare has Postgres read every statement on the real schema.
func TestQueriesPrepare(t *testing.T) {
	s, _ := open(t)
	full := filter{ActorID: "a", Action: "b.", ResourceType: "c", Outcome: "SUCCESS", RequestID: "d", Start: time.Now(), End: time.Now()}
	byTarget := full
	byTarget.ResourceID = "x"
	for _, f := range []filter{{}, full, byTarget} {
		if _, err := s.search(t.Context(), f, span{After: &cursor{OccurredAt: time.Now(), Seq: 1}, Head: 1, Limit: 1}); err != nil {
			t.Errorf("search %+v: %v", f, err)
		}
	}
}

func TestNoForeignKeys(t *testing.T) {
	s, _ := open(t)
	var n int
	if err := s.db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND connamespace = 'audit'::regnamespace`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Errorf("%d foreign keys in schema audit: retention could not drop a partition", n)
	}
}

// What the catalogue does not know, or does not allow, never enters the log; nor
// does what is too large for an entry. audit_admin_ops.md
func TestCatalogueAtTheDoor(t *testing.T) {
	s, in := open(t)
	at := time.Now()
	of := func(change func(m *auditv1.Event)) *eventv1.Event {
		m := &auditv1.Event{Action: trail.ProfileUpdated.String(), Actor: &auditv1.Event_Actor{Type: "user", Id: "usr_a"}, Outcome: auditv1.Event_SUCCESS}
		change(m)
		payload, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		u := uuid.Must(uuid.NewV7())
		return &eventv1.Event{Id: u[:], Type: "manas.audit.v1.Event", Key: "usr_a", Payload: payload, OccurredAt: timestamppb.New(at)}
	}
	for _, tt := range []struct {
		name   string
		change func(m *auditv1.Event)
		want   string
	}{
		{"allowed", func(*auditv1.Event) {}, "APPLIED"},
		{"unknown act", func(m *auditv1.Event) { m.Action = "profile.printed" }, "REJECTED"},
		{"unknown key", func(m *auditv1.Event) { m.Changes = []*auditv1.Event_Change{{Path: "password", After: `"x"`}} }, "REJECTED"},
		{"unknown target", func(m *auditv1.Event) { m.Targets = []*auditv1.Event_Target{{Type: "payment", Id: "pay_1"}} }, "REJECTED"},
		{"large", func(m *auditv1.Event) { m.Reason = strings.Repeat("x", maxEntry-placeSize-200) }, "APPLIED"},
		{"too large", func(m *auditv1.Event) { m.Reason = strings.Repeat("x", maxEntry-placeSize) }, "REJECTED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := deliver(t, in, of(tt.change)); got[0] != tt.want {
				t.Errorf("got %s, want %s", got[0], tt.want)
			}
		})
	}
	largest := 0
	if err := s.db.Pool.QueryRow(t.Context(), `SELECT max(length(canonical)) FROM audit.event`).Scan(&largest); err != nil || largest > maxEntry || largest < maxEntry-400 {
		t.Errorf("the largest entry has %d bytes, %v", largest, err)
	}
}
