package audit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

const (
	benchBatch     = 1000   // what a relay hands over at a time
	benchProducers = 4      // relays at once
	benchChunk     = 50_000 // events between two points of the plot
	benchPeople    = 20_000
)

// benchActions with how often they come.
var benchActions = []string{
	"session.opened", "session.opened", "session.opened", "session.revoked", "session.revoked", "session.refreshed", "session.refreshed",
	"payment.created", "payment.succeeded", "invoice.issued", "subscription.renewed", "subscription.change_scheduled", "profile.updated",
	"consent.given", "admin.user_read", "account.suspended", "account.roles_changed", "password.changed",
}

// benchEvent is like those of the suite: one or two targets, sometimes a change.
func benchEvent(r *rand.Rand, people []string, at time.Time) *eventv1.Event {
	u := uuid.Must(uuid.NewV7())
	actor := people[r.IntN(len(people))]
	m := &auditv1.Event{
		Action: benchActions[r.IntN(len(benchActions))], Actor: &auditv1.Event_Actor{Type: "user", Id: actor, SessionId: id.Format("ses", u)},
		Outcome: auditv1.Event_SUCCESS, RequestId: uuid.NewString(), IpPrefix: "10.20.30.0/24",
		Targets: []*auditv1.Event_Target{{Type: "user", Id: actor}},
	}
	if m.GetAction() == "session.revoked" {
		m.Outcome = auditv1.Event_DENIED
	}
	e, _ := trail.Lookup(m.GetAction())
	if i := slices.IndexFunc(e.Targets, func(kind string) bool { return kind != "user" }); i >= 0 && r.IntN(3) > 0 {
		m.Targets = append(m.Targets, &auditv1.Event_Target{Type: e.Targets[i], Id: id.Format("pay", u)})
	}
	if len(e.Keys) > 0 && r.IntN(2) == 0 {
		m.Changes = []*auditv1.Event_Change{{Path: strings.TrimSuffix(e.Keys[0], ".*"), Before: `"PENDING"`, After: `"ACTIVE"`}}
	}
	payload, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return &eventv1.Event{Id: u[:], Type: "manas.audit.v1.Event", Key: actor, Payload: payload, OccurredAt: timestamppb.New(at)}
}

// sample is a set of times taken.
type sample []time.Duration

func (s sample) at(permille int) time.Duration {
	if len(s) == 0 {
		return 0
	}
	slices.Sort(s)
	return s[min(len(s)*permille/1000, len(s)-1)]
}

// benchRun is what one run finds.
type benchRun struct {
	copyRate   int // rows a second of a bare COPY
	bareScan   sample
	points     []benchPoint
	batches    sample
	perEvent   int // bytes
	perTable   []string
	exports    []string
	recorded   sample
	durable    string
	load       string
	server     int           // the private server's process
	cpuServer  time.Duration // while events came in
	cpuService time.Duration
	totalTime  time.Duration
	totalCount int
}

// benchPoint is the log at one size.
type benchPoint struct {
	size  int
	rate  int // events a second since the last
	pages map[string]sample
}

// TestBenchAudit measures the log on a Postgres that really writes; `make
// bench-audit` runs it. MANAS_BENCH names the folder of the report,
// MANAS_LONG=1 takes ten million events, MANAS_BENCH_N another number.
func TestBenchAudit(t *testing.T) {
	dir := os.Getenv("MANAS_BENCH")
	if dir == "" {
		t.Skip("make bench-audit")
	}
	n := 1_000_000
	if os.Getenv("MANAS_LONG") == "1" {
		n = 10_000_000
	}
	if text := os.Getenv("MANAS_BENCH_N"); text != "" {
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatal(err)
		}
	}
	db, server := durable(t)
	s := New(db, secret, time.Now)
	in := &inboxServer{Service: s, peer: func(context.Context) string { return "auth" }}
	r := rand.New(rand.NewPCG(3, 6))
	people := make([]string, benchPeople)
	for i := range people {
		people[i] = id.Format("usr", uuid.Must(uuid.NewV7()))
	}
	run := &benchRun{durable: settings(t, db), load: load(), server: server}
	bareCopy(t, s, run, r, people)
	if name := os.Getenv("MANAS_PROFILE"); name != "" {
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			t.Fatal(err)
		}
		defer pprof.StopCPUProfile()
	}
	marks := []int{n / 10, n / 4, n / 2, n}
	for size := 0; size < n; {
		chunk := min(benchChunk, n-size)
		took := ingest(t, in, run, r, people, chunk) // what made the events is not counted
		size += chunk
		run.totalTime += took
		run.totalCount += chunk
		p := benchPoint{size: size, rate: int(float64(chunk) / took.Seconds())}
		if len(marks) > 0 && size >= marks[0] {
			marks = marks[1:]
			if _, err := db.Pool.Exec(t.Context(), `VACUUM ANALYZE audit.event, audit.event_target, bench.bare`); err != nil {
				t.Fatal(err)
			}
			p.pages = pages(t, s, r, people)
			t.Logf("%d events: %d/s, %s", size, p.rate, describe(p.pages))
		}
		run.points = append(run.points, p)
	}
	measureRest(t, s, run, n)
	for name, text := range map[string]string{"audit.md": run.report(), "audit.svg": run.plot()} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("\n" + run.report())
	run.judge(t)
}

func settings(t *testing.T, db *pg.DB) string {
	t.Helper()
	var text string
	err := db.Pool.QueryRow(t.Context(), `
SELECT string_agg(name || '=' || setting, ', ' ORDER BY name) FROM pg_settings
 WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'server_version')`).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "fsync=on") || !strings.Contains(text, "synchronous_commit=on") {
		t.Logf("figures are not of a durable log: %s", text)
	}
	return text
}

// load is how busy the machine was before: figures of a busy one say little.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:2], " ")
}

// bareCopy measures what the machine can do: the same rows into a table
// without an index, by one connection, a transaction for each batch.
func bareCopy(t *testing.T, s *Service, run *benchRun, r *rand.Rand, people []string) {
	t.Helper()
	if _, err := s.db.Pool.Exec(t.Context(), `CREATE SCHEMA bench; CREATE TABLE bench.bare (LIKE audit.event)`); err != nil {
		t.Fatal(err)
	}
	var rows []entry
	for range benchChunk {
		e, m, refusal := unpack(benchEvent(r, people, time.Now()), "auth", time.Now())
		if refusal != "" {
			t.Fatal(refusal)
		}
		e.Seq, e.RecordedAt = int64(len(rows)+1), time.Now()
		if err := seal(&e, m); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, e)
	}
	began := time.Now()
	for at := 0; at < len(rows); at += benchBatch {
		batch := rows[at : at+benchBatch]
		err := s.db.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"bench", "bare"},
				[]string{"retention_class", "event_ts", "event_id", "seq", "occurred_at", "recorded_at", "source", "action", "actor_type", "actor_id", "outcome", "request_id", "leaf_hash", "canonical"},
				pgx.CopyFromSlice(len(batch), func(i int) ([]any, error) {
					e := batch[i]
					return []any{e.Class, e.TS, e.ID, e.Seq, e.OccurredAt, e.RecordedAt, e.Source, e.Action, e.ActorType, e.ActorID, e.Outcome, e.RequestID, e.LeafHash, e.Canonical}, nil
				}))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	run.copyRate = int(benchChunk / time.Since(began).Seconds())
	if _, err := s.db.Pool.Exec(t.Context(), `CREATE INDEX ON bench.bare (seq)`); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		began := time.Now()
		rows, err := s.db.Pool.Query(t.Context(), `SELECT canonical FROM bench.bare WHERE seq < $1 ORDER BY seq DESC LIMIT 21`, r.IntN(benchChunk))
		if err == nil {
			_, err = pgx.CollectRows(rows, pgx.RowTo[[]byte])
		}
		if err != nil {
			t.Fatal(err)
		}
		run.bareScan = append(run.bareScan, time.Since(began))
	}
}

// ingest delivers n new events as relays do, and says how long it took.
func ingest(t *testing.T, in *inboxServer, run *benchRun, r *rand.Rand, people []string, n int) time.Duration {
	t.Helper()
	work := make(chan *eventv1.DeliverRequest, n/benchBatch+1)
	for at := 0; at < n; at += benchBatch {
		req := &eventv1.DeliverRequest{}
		for range min(benchBatch, n-at) {
			req.Events = append(req.Events, benchEvent(r, people, time.Now()))
		}
		work <- req
	}
	close(work)
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		failed error
	)
	serverBefore, serviceBefore := cpuOf(run.server), cpuOwn()
	began := time.Now()
	for range benchProducers {
		wg.Go(func() {
			for req := range work {
				at := time.Now()
				_, err := in.Deliver(context.WithoutCancel(t.Context()), req)
				mu.Lock()
				run.batches = append(run.batches, time.Since(at))
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
	run.cpuServer += cpuOf(run.server) - serverBefore
	run.cpuService += cpuOwn() - serviceBefore
	return time.Since(began)
}

// benchPages are the searches measured, by name.
func benchPages(r *rand.Rand, people []string) []struct {
	name string
	f    filter
} {
	who := people[r.IntN(len(people))]
	end := time.Now().Add(-time.Duration(r.IntN(1000)) * time.Millisecond)
	return []struct {
		name string
		f    filter
	}{
		{"newest", filter{}},
		{"actor", filter{ActorID: who}},
		{"target", filter{ResourceID: who}},
		{"action", filter{Action: "payment.created"}},
		{"prefix", filter{Action: "payment."}},
		{"denied", filter{Outcome: "DENIED"}},
		{"actor, prefix, time", filter{ActorID: who, Action: "session.", Start: end.Add(-24 * time.Hour), End: end}},
		{"time", filter{Start: end.Add(-time.Hour), End: end}},
		{"nobody", filter{ActorID: id.Format("usr", uuid.Must(uuid.NewV7()))}},
		{"nothing of somebody", filter{ActorID: who, Action: "ledger."}},
	}
}

func pages(t *testing.T, s *Service, r *rand.Rand, people []string) map[string]sample {
	t.Helper()
	out := map[string]sample{}
	for i := range 220 {
		for _, q := range benchPages(r, people) {
			began := time.Now()
			if _, err := s.search(t.Context(), q.f, span{Limit: 21}); err != nil {
				t.Fatal(err)
			}
			if i >= 20 { // warm
				out[q.name] = append(out[q.name], time.Since(began))
			}
		}
	}
	return out
}

func describe(pages map[string]sample) string {
	var out []string
	for _, q := range benchPages(rand.New(rand.NewPCG(1, 1)), []string{"usr_x"}) {
		out = append(out, fmt.Sprintf("%s %.1f ms", q.name, ms(pages[q.name].at(990))))
	}
	return strings.Join(out, ", ")
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// measureRest weighs the log, answers with the record and exports.
func measureRest(t *testing.T, s *Service, run *benchRun, n int) {
	t.Helper()
	rows, err := s.db.Pool.Query(t.Context(), `
SELECT name, (sum(size) / @n)::bigint FROM (
    SELECT CASE WHEN i.indexrelid IS NULL THEN CASE WHEN c.relname LIKE 'event_target%' THEN 'table event_target' ELSE 'table event' END
                ELSE 'index on ' || regexp_replace(pg_get_indexdef(i.indexrelid), '^.* USING btree ', '') END AS name, pg_relation_size(c.oid) AS size
      FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
      LEFT JOIN pg_class t ON t.oid = coalesce(i.indrelid, c.oid)
     WHERE c.relnamespace = 'audit'::regnamespace AND c.relkind IN ('r', 'i') AND t.relname LIKE 'event%') AS x
 GROUP BY 1 ORDER BY 2 DESC`, pgx.NamedArgs{"n": n})
	if err != nil {
		t.Fatal(err)
	}
	type weight struct {
		Name  string
		Bytes int64
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[weight])
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range list {
		run.perEvent += int(w.Bytes)
		run.perTable = append(run.perTable, fmt.Sprintf("| %s | %d |", w.Name, w.Bytes))
	}
	for range 200 {
		began := time.Now()
		if _, err := (&publicServer{Service: s}).ListEvents(auditor(t), &auditv1.ListEventsRequest{ActorId: "usr_x"}); err != nil {
			t.Fatal(err)
		}
		run.recorded = append(run.recorded, time.Since(began))
	}
	const exported = 100_000
	for _, format := range []string{"NDJSON", "CSV", "OCSF", "PARQUET"} {
		began := time.Now()
		out := newParts(sendBytes, func([]byte) error { return nil })
		enc := newEncoder(format, out)
		err := s.each(t.Context(), filter{}, int64(min(exported, n)), func(list []found) error {
			for _, row := range list {
				if err := enc.encode(row); err != nil {
					return err
				}
			}
			return nil
		})
		if err = errors.Join(err, enc.end(), out.end()); err != nil {
			t.Fatal(err)
		}
		rate := int(float64(min(exported, n)) / time.Since(began).Seconds())
		run.exports = append(run.exports, fmt.Sprintf("| %s | %d | %d |", format, rate, out.n/int64(min(exported, n))))
	}
}

// durable opens a Postgres whose commits are on the disk: the one at
// MANAS_BENCH_PG, or one of its own.
func durable(t *testing.T) (db *pg.DB, server int) {
	t.Helper()
	url := os.Getenv("MANAS_BENCH_PG")
	if url == "" {
		url, server = privatePostgres(t)
	}
	if err := migrations.For("audit")(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	var err error
	db, err = pg.Open(t.Context(), pg.Config{URL: url, Max: 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db, server
}

// The events that are measured are events of the suite: what audit would
// refuse measures nothing.
func TestBenchEventsAreTaken(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		ev := benchEvent(r, []string{"usr_1"}, time.Unix(1795000000, 0))
		var m auditv1.Event
		if err := proto.Unmarshal(ev.GetPayload(), &m); err != nil {
			t.Fatal(err)
		}
		if err := trail.Check(&m); err != nil {
			t.Fatal(err)
		}
	}
}
