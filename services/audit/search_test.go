package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

var auditorID = uuid.MustParse("01980000-0000-7000-8000-000000000001")

// as gives a context in which user calls.
func as(tb testing.TB, user uuid.UUID) context.Context {
	tb.Helper()
	return token.NewContext(tb.Context(), &token.Caller{UserID: user, SessionID: user, RequestID: "req-audit"})
}

func auditor(tb testing.TB) context.Context {
	tb.Helper()
	return as(tb, auditorID)
}

// fill puts many events of some kinds and actors into the log.
func fill(tb testing.TB, in *inboxServer, n int, from time.Time, step time.Duration) {
	tb.Helper()
	actions := []string{"session.opened", "session.revoked", "payment.created", "payment.succeeded", "account.suspended", "subscription.change_scheduled"}
	for at := 0; at < n; at += 1000 {
		var batch []*eventv1.Event
		for i := at; i < min(n, at+1000); i++ {
			e := event(actions[i%len(actions)], fmt.Sprintf("usr_%d", i%97), from.Add(time.Duration(i)*step), fmt.Sprintf("usr_%d", i%89), fmt.Sprintf("pay_%d", i))
			batch = append(batch, e)
		}
		if _, err := in.Deliver(tb.Context(), &eventv1.DeliverRequest{Events: batch}); err != nil {
			tb.Fatal(err)
		}
	}
}

// TestEveryReadIsRecorded looks at the log in each way and finds the look in
// the log, with the one who looked; audit_admin_ops.md A-31.
func TestEveryReadIsRecorded(t *testing.T) {
	s, in := open(t)
	ev := event("session.opened", "usr_a", time.Now(), "usr_a")
	deliver(t, in, ev)
	list(t, s, &auditv1.ListEventsRequest{ActorId: "asha@example.com", Action: "session.", RequestId: "9812345678"})
	if _, err := (&publicServer{Service: s}).GetEvent(auditor(t), &auditv1.GetEventRequest{Id: id.Format("evt", uuid.UUID(ev.GetId()))}); err != nil {
		t.Fatal(err)
	}
	out, err := (&publicServer{Service: s}).ListEvents(auditor(t), &auditv1.ListEventsRequest{Action: "audit."})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range out.GetEvents() {
		if e.GetActor().GetId() != id.Format("usr", auditorID) || e.GetActor().GetType() != "admin" || e.GetSource() != "audit" || e.GetRequestId() != "req-audit" {
			t.Errorf("recorded as %v, want the caller", e)
		}
		line := []string{e.GetAction()}
		for _, c := range e.GetChanges() {
			line = append(line, c.GetPath()+"="+c.GetAfter())
		}
		for _, x := range e.GetTargets() {
			line = append(line, x.GetType()+":"+x.GetId())
		}
		got = append(got, strings.Join(line, " "))
	}
	want := []string{
		"audit.read event:" + id.Format("evt", uuid.UUID(ev.GetId())),
		`audit.search filter.actorId="***" filter.action="session." filter.requestId="***" count=0`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the log says (-want +got):\n%s", diff)
	}
}

// TestNoRecordNoAnswer lets a reader see nothing when the look cannot be
// written down, and refuses whoever has no name; audit_admin_ops.md A-31.
func TestNoRecordNoAnswer(t *testing.T) {
	s, in := open(t)
	ev := event("session.opened", "usr_a", time.Now())
	deliver(t, in, ev)
	if _, err := s.db.Pool.Exec(t.Context(), `ALTER TABLE audit.event ADD CONSTRAINT closed CHECK (source <> 'audit') NOT VALID`); err != nil {
		t.Fatal(err)
	}
	pub := &publicServer{Service: s}
	if r, err := pub.ListEvents(auditor(t), &auditv1.ListEventsRequest{}); err == nil {
		t.Errorf("list without a record: %v", r)
	}
	if r, err := pub.GetEvent(auditor(t), &auditv1.GetEventRequest{Id: id.Format("evt", uuid.UUID(ev.GetId()))}); err == nil {
		t.Errorf("read without a record: %v", r)
	}
	if _, err := pub.ListEvents(t.Context(), &auditv1.ListEventsRequest{}); !fail.Is(err, fail.Unauthenticated) {
		t.Errorf("nobody: %v, want UNAUTHENTICATED", err)
	}
}

// TestFailedSearchIsAnError has the database end a search, and be away: neither
// is an empty page; audit_admin_ops.md A-12.
func TestFailedSearchIsAnError(t *testing.T) {
	s, _ := open(t)
	err := s.reading(t.Context(), 10*time.Millisecond, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SELECT pg_sleep(20)`)
		return err
	})
	if !fail.Is(err, fail.Unavailable) {
		t.Errorf("too slow: %v, want UNAVAILABLE", err)
	}
	s.db.Close()
	if _, err := (&publicServer{Service: s}).ListEvents(auditor(t), &auditv1.ListEventsRequest{}); !fail.Is(err, fail.Unavailable) {
		t.Errorf("away: %v, want UNAVAILABLE", err)
	}
}

// TestForgedTokens changes a token in every way a client could.
func TestForgedTokens(t *testing.T) {
	s, in := open(t)
	deliver(t, in, event("profile.updated", "usr_a", time.Now()), event("profile.updated", "usr_a", time.Now()))
	_, next := list(t, s, &auditv1.ListEventsRequest{PageSize: 1, Action: "profile."})
	swap := func(i int) string {
		b := []byte(next)
		b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
		return string(b)
	}
	me := as(t, auditorID)
	mine := &auditv1.ListSecurityActivityRequest{PageSize: 1}
	deliver(t, in, event("profile.updated", id.Format("usr", auditorID), time.Now()), event("profile.updated", id.Format("usr", auditorID), time.Now()))
	own, err := (&publicServer{Service: s}).ListSecurityActivity(me, mine)
	if err != nil || own.GetNextPageToken() == "" {
		t.Fatalf("own activity: %v, %v", own, err)
	}
	other := New(s.db, strings.Repeat("x", 32), time.Now)
	for name, tok := range map[string]string{
		"first byte": swap(0), "middle": swap(len(next) / 2), "cut": next[:len(next)-2], "doubled": next + next, "spaces": next + " ",
		"not base64": "!!!", "of another list": own.GetNextPageToken(), "hostile": "<script>", "of another key": other.pages.Seal(filter{Action: "profile."}.fingerprint(), cursor{}),
	} {
		if _, err := (&publicServer{Service: s}).ListEvents(me, &auditv1.ListEventsRequest{PageSize: 1, Action: "profile.", PageToken: tok}); !fail.Is(err, fail.InvalidArgument) {
			t.Errorf("%s: %v, want INVALID_ARGUMENT", name, err)
		}
	}
	if _, err := (&publicServer{Service: s}).ListSecurityActivity(as(t, uuid.Must(uuid.NewV7())), &auditv1.ListSecurityActivityRequest{PageToken: own.GetNextPageToken()}); !fail.Is(err, fail.InvalidArgument) {
		t.Errorf("another person's token: %v, want INVALID_ARGUMENT", err)
	}
}

// TestHostileFilters finds nothing by what was never written and breaks nothing;
// audit_admin_ops.md A-22.
func TestHostileFilters(t *testing.T) {
	s, in := open(t)
	deliver(t, in, event("profile.updated", "usr_a", time.Now(), "usr_a"))
	for _, text := range []string{
		"'; DROP TABLE audit.event; --", "%", "_", `\`, "usr_%", "<script>alert(1)</script>", "\u202eusr_a", "=1+1", "\t", "\r\n", strings.Repeat("a", 64), "🙂", "@actor_id",
	} {
		for _, r := range []*auditv1.ListEventsRequest{{ActorId: text}, {Action: text}, {Action: text + "."}, {ResourceType: text}, {ResourceId: text}, {RequestId: text}} {
			if got, _ := list(t, s, r); len(got) > 0 {
				t.Errorf("%v found %v", r, got)
			}
		}
	}
	for _, r := range []*auditv1.ListEventsRequest{
		{ActorId: "a\x00"}, {ResourceId: "\x00"}, {StartTime: timestamppb.Now(), EndTime: timestamppb.New(time.Unix(0, 0))},
	} {
		if _, err := (&publicServer{Service: s}).ListEvents(auditor(t), r); !fail.Is(err, fail.InvalidArgument) {
			t.Errorf("%v: %v, want INVALID_ARGUMENT", r, err)
		}
	}
}

// TestTouchedTwiceIsFoundOnce has one event name a thing as two types, and two
// things of one type.
func TestTouchedTwiceIsFoundOnce(t *testing.T) {
	s, in := open(t)
	deliver(t, in, event("profile.updated", "usr_a", time.Now(), "usr_1", "usr_2"))
	if got, next := list(t, s, &auditv1.ListEventsRequest{ResourceType: "user", PageSize: 1}); len(got) != 1 || next != "" {
		t.Errorf("by type: %v, next %q; want the event once", got, next)
	}
}

// TestDaysJoin asks for the days of a zone, whatever length the clocks gave
// them, and finds every event once; audit_admin_ops.md A-32.
func TestDaysJoin(t *testing.T) {
	s, in := open(t)
	zones := []string{"UTC", "Asia/Kolkata", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"}
	base := time.Date(2026, 10, 23, 0, 0, 0, 0, time.UTC) // Berlin leaves summer time on the 25th, New York on 1 November
	var all []string
	var batch []*eventv1.Event
	for h := range 12 * 24 { // at each full hour, one microsecond before and after
		for _, d := range []time.Duration{-time.Microsecond, 0, time.Microsecond} {
			e := event("profile.updated", "usr_a", base.Add(time.Duration(h)*time.Hour+d))
			all = append(all, id.Format("evt", uuid.UUID(e.GetId())))
			batch = append(batch, e)
		}
	}
	deliver(t, in, batch...)
	slices.Sort(all)
	rapid.Check(t, func(rt *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(rt, "zone"))
		if err != nil {
			rt.Fatal(err)
		}
		var got []string
		for day := time.Date(2026, 10, 22, 0, 0, 0, 0, zone); day.Before(base.AddDate(0, 0, 14)); day = day.AddDate(0, 0, 1) {
			for tok := ""; ; {
				out, err := (&publicServer{Service: s}).ListEvents(auditor(t), &auditv1.ListEventsRequest{
					PageSize: 100, PageToken: tok, Action: "profile.updated",
					StartTime: timestamppb.New(day), EndTime: timestamppb.New(day.AddDate(0, 0, 1)),
				})
				if err != nil {
					rt.Fatal(err)
				}
				for _, e := range out.GetEvents() {
					got = append(got, e.GetId())
				}
				if tok = out.GetNextPageToken(); tok == "" {
					break
				}
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, all) {
			rt.Errorf("%s: the days hold %d events, the log %d", zone, len(got), len(all))
		}
	})
}

// combinations are the searches whose plans are kept in testdata/plans.golden.
func combinations() map[string]filter {
	day := time.Now().Add(-12 * time.Hour)
	out := map[string]filter{
		"nothing":             {},
		"actor":               {ActorID: "usr_7"},
		"nobody":              {ActorID: "usr_nobody"},
		"action":              {Action: "payment.created"},
		"prefix":              {Action: "payment."},
		"longer prefix":       {Action: "subscription.plan."},
		"target":              {ResourceID: "usr_7"},
		"target type":         {ResourceType: "user"},
		"target and type":     {ResourceID: "usr_7", ResourceType: "user"},
		"refused":             {Outcome: "DENIED"},
		"request":             {RequestID: "req-7"},
		"actor, action":       {ActorID: "usr_7", Action: "payment.created"},
		"actor, prefix":       {ActorID: "usr_7", Action: "payment."},
		"actor, refused":      {ActorID: "usr_7", Outcome: "DENIED"},
		"prefix, refused":     {Action: "payment.", Outcome: "DENIED"},
		"target, prefix":      {ResourceID: "usr_7", Action: "payment."},
		"actor, target":       {ActorID: "usr_7", ResourceID: "usr_7"},
		"actor, type, prefix": {ActorID: "usr_7", ResourceType: "user", Action: "payment."},
	}
	for name, f := range maps.Clone(out) {
		f.Start, f.End = day, day.Add(6*time.Hour)
		out[name+", time"] = f
	}
	return out
}

type plan struct {
	Type     string  `json:"Node Type"`
	Index    string  `json:"Index Name"`
	Cond     string  `json:"Index Cond"`
	Filter   string  `json:"Filter"`
	Relation string  `json:"Relation Name"`
	Plans    []plan  `json:"Plans"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Removed  float64 `json:"Rows Removed by Filter"`
}

func (p plan) walk(look func(plan)) {
	look(p)
	for _, sub := range p.Plans {
		sub.walk(look)
	}
}

// TestPlans explains each search over a log of some size: it reads a page off
// indexes, and sorts no more than a page; audit_admin_ops.md.
func TestPlans(t *testing.T) {
	s, in := open(t)
	fill(t, in, 30_000, time.Now().Add(-24*time.Hour), 2*time.Second)
	if _, err := s.db.Pool.Exec(t.Context(), `VACUUM ANALYZE audit.event, audit.event_target`); err != nil {
		t.Fatal(err)
	}
	parents := indexes(t, s)
	var lines []string
	combos := combinations()
	tx, err := s.db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), offIndexes); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(combos)) {
		sql, args := searchSQL(combos[name], span{Limit: 21})
		var text []byte
		if err := tx.QueryRow(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) "+sql, args).Scan(&text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var top []struct{ Plan plan }
		if err := json.Unmarshal(text, &top); err != nil {
			t.Fatal(err)
		}
		used := map[string]bool{}
		top[0].Plan.walk(func(p plan) {
			rows := p.Rows * max(p.Loops, 1)
			switch {
			case p.Type == "Seq Scan" && p.Relation != "":
				t.Errorf("%s: reads all of %s", name, p.Relation)
			case strings.HasSuffix(p.Type, "Sort") && rows > 100:
				t.Errorf("%s: sorts %v rows", name, rows)
			case p.Type == "Bitmap Heap Scan" && rows > 100:
				t.Errorf("%s: gathers %v rows of %s", name, rows, p.Relation)
			}
			if parent := parents[p.Index]; parent != "" {
				used[parent] = true
			}
		})
		lines = append(lines, name+": "+strings.Join(slices.Sorted(maps.Keys(used)), " "))
	}
	golden(t, "plans.golden", []byte(strings.Join(lines, "\n")+"\n"))
}

// indexes maps the indexes of tables that hold something to those they are
// parts of: of an empty month any will do.
func indexes(t *testing.T, s *Service) map[string]string {
	t.Helper()
	rows, err := s.db.Pool.Query(t.Context(), `
WITH RECURSIVE up AS (
    SELECT i.indexrelid AS leaf, i.indexrelid AS top FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
     WHERE c.relnamespace = 'audit'::regnamespace AND c.relkind = 'r' AND c.reltuples > 0
    UNION ALL
    SELECT up.leaf, h.inhparent FROM up JOIN pg_inherits h ON h.inhrelid = up.top
)
SELECT l.relname, t.relname FROM up JOIN pg_class l ON l.oid = up.leaf JOIN pg_class t ON t.oid = up.top
 WHERE NOT EXISTS (SELECT 1 FROM pg_inherits h WHERE h.inhrelid = up.top)`)
	if err != nil {
		t.Fatal(err)
	}
	type pair struct{ Leaf, Top string }
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pair])
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, p := range list {
		out[p.Leaf] = p.Top
	}
	return out
}

// golden compares with a file under testdata; MANAS_GOLDEN=1 writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("MANAS_GOLDEN") == "1" {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// TestOwnActivity pages through what one did and what was done to one's
// account, in order and once each, and shows nobody else.
func TestOwnActivity(t *testing.T) {
	s, in := open(t)
	mine, other := id.Format("usr", auditorID), id.Format("usr", uuid.Must(uuid.NewV7()))
	at := time.Now().Add(-time.Hour)
	var batch []*eventv1.Event
	var want []string
	add := func(seen bool, e *eventv1.Event) {
		batch = append(batch, e)
		if seen {
			want = append(want, id.Format("evt", uuid.UUID(e.GetId())))
		}
	}
	for i := range 40 {
		next := at.Add(time.Duration(i/2) * time.Second)
		add(true, event("session.opened", mine, next, mine))     // both: once
		add(true, event("account.suspended", other, next, mine)) // done to the account
		add(false, event("session.opened", other, next, other))
		add(true, event("profile.updated", mine, next))
	}
	deliver(t, in, batch...)
	slices.Sort(want)
	for _, size := range []int32{1, 7, 100} {
		var got []string
		for token := ""; ; {
			r, err := (&publicServer{Service: s}).ListSecurityActivity(auditor(t), &auditv1.ListSecurityActivityRequest{PageSize: size, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range r.GetEvents() {
				got = append(got, e.GetId())
				if strings.Contains(e.String(), other) {
					t.Errorf("names another: %v", e)
				}
			}
			if token = r.GetNextPageToken(); token == "" {
				break
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %d events, want %d", size, len(got), len(want))
		}
	}
}
