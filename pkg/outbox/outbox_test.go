package outbox_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/pgtest"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// tables is the DDL every service's first migration holds, and a table that a
// consumer fills.
const tables = `
CREATE SCHEMA s;
CREATE TABLE s.outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL, destination text NOT NULL, type text NOT NULL,
    key text NOT NULL, payload bytea NOT NULL, request_id text NOT NULL DEFAULT '', traceparent text NOT NULL DEFAULT '',
    occurred_at timestamptz NOT NULL, attempts int NOT NULL DEFAULT 0, next_attempt_at timestamptz NOT NULL,
    last_error text NOT NULL DEFAULT '', UNIQUE (event_id, destination));
CREATE TABLE s.outbox_dead (
    seq bigint NOT NULL, event_id uuid NOT NULL, destination text NOT NULL, type text NOT NULL, key text NOT NULL,
    payload bytea NOT NULL, request_id text NOT NULL DEFAULT '', traceparent text NOT NULL DEFAULT '',
    occurred_at timestamptz NOT NULL, attempts int NOT NULL DEFAULT 0, next_attempt_at timestamptz NOT NULL,
    last_error text NOT NULL DEFAULT '', dead_at timestamptz NOT NULL, reason text NOT NULL, PRIMARY KEY (event_id, destination));
CREATE TABLE s.inbox (event_id uuid PRIMARY KEY, source text NOT NULL, type text NOT NULL, processed_at timestamptz NOT NULL);
CREATE TABLE s.applied (n bigint GENERATED ALWAYS AS IDENTITY, key text NOT NULL, value bigint NOT NULL);`

const valueType = "google.protobuf.Int64Value"

func open(tb testing.TB) (*pg.DB, *outbox.Outbox) {
	tb.Helper()
	db := pgtest.New(tb, "s", func(ctx context.Context, url string) error {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, tables)
		return errors.Join(err, conn.Close(ctx))
	})
	return db, outbox.New("s", id.NewMaker(time.Now, source{}), time.Now)
}

// source is a stream of bytes that differ in every process.
type source struct{}

func (source) Read(p []byte) (int, error) { u := uuid.New(); return copy(p, u[:]), nil }

func event(key string, value int64) outbox.Event {
	return outbox.Event{Key: key, Destinations: []string{"there"}, Payload: wrapperspb.Int64(value)}
}

func write(tb testing.TB, db *pg.DB, o *outbox.Outbox, evs ...outbox.Event) {
	tb.Helper()
	if err := db.InTx(tb.Context(), func(ctx context.Context, tx pgx.Tx) error { return o.Append(ctx, tx, evs...) }); err != nil {
		tb.Fatal(err)
	}
	o.Wake()
}

// apply is a handler that keeps what it is given.
func apply(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
	v := &wrapperspb.Int64Value{}
	if err := outbox.Payload(ev, v); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO s.applied (key, value) VALUES ($1, $2)`, ev.GetKey(), v.GetValue())
	return err
}

// direct is a client that calls the inbox without a wire, through a hook that
// can make the wire bad.
type direct struct {
	inbox *outbox.Inbox
	hook  func(deliver func() (*eventv1.DeliverResponse, error)) (*eventv1.DeliverResponse, error)
}

func (d direct) Deliver(ctx context.Context, r *eventv1.DeliverRequest, _ ...grpc.CallOption) (*eventv1.DeliverResponse, error) {
	call := func() (*eventv1.DeliverResponse, error) { return d.inbox.Deliver(ctx, r) }
	if d.hook == nil {
		return call()
	}
	return d.hook(call)
}

func inbox(db *pg.DB, h outbox.Handler) *outbox.Inbox {
	return outbox.NewInbox(db, "s", time.Now, func(context.Context) string { return "here" }, map[string]outbox.Handler{valueType: h})
}

// relays runs n relays until stop is called.
func relays(tb testing.TB, db *pg.DB, o *outbox.Outbox, c eventv1.EventInboxServiceClient, n int) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := o.Relay(db, "there", c, zerolog.New(io.Discard))(ctx); err != nil {
				tb.Errorf("relay: %v", err)
			}
		})
	}
	stop = func() { cancel(); wg.Wait() }
	tb.Cleanup(stop)
	return stop
}

// until waits for a query to answer want.
func until(tb testing.TB, db *pg.DB, want int64, query string) {
	tb.Helper()
	var got int64
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if err := db.Pool.QueryRow(tb.Context(), query).Scan(&got); err != nil {
			tb.Fatal(err)
		}
		if got == want {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	tb.Fatalf("%s: %d after 20 s, want %d", query, got, want)
}

func values(t *testing.T, db *pg.DB, key string) []int64 {
	t.Helper()
	rows, err := db.Pool.Query(t.Context(), `SELECT value FROM s.applied WHERE key = $1 ORDER BY n`, key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func ascending(n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(i)
	}
	return out
}

func TestNoEventWithoutItsChange(t *testing.T) {
	db, o := open(t)
	boom := errors.New("boom")
	err := db.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
		if err := o.Append(ctx, tx, event("k", 1)); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("got %v, want boom", err)
	}
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
}

// audit_admin_ops.md D-8: TestOrderUnderManyRelays lets five relays deliver what eight writers write:
// every key's events arrive once and in order.
func TestOrderUnderManyRelays(t *testing.T) {
	db, o := open(t)
	const keys, each = 8, 40
	relays(t, db, o, direct{inbox: inbox(db, outbox.Handler{Source: "here", Apply: apply})}, 5)
	var wg sync.WaitGroup
	for k := range keys {
		wg.Go(func() {
			for v := range each {
				write(t, db, o, event(strconv.Itoa(k), int64(v)))
			}
		})
	}
	wg.Wait()
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
	for k := range keys {
		if got := values(t, db, strconv.Itoa(k)); !slices.Equal(got, ascending(each)) {
			t.Errorf("key %d: %v", k, got)
		}
	}
}

// audit_admin_ops.md A-1, D-1, D-9: TestBadWire loses requests and answers: each event still counts once.
func TestBadWire(t *testing.T) {
	db, o := open(t)
	const n = 60
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(1, 2))
	lost := errors.New("connection lost")
	relays(t, db, o, direct{
		inbox: inbox(db, outbox.Handler{Source: "here", Apply: apply}),
		hook: func(deliver func() (*eventv1.DeliverResponse, error)) (*eventv1.DeliverResponse, error) {
			mu.Lock()
			fate := dice.IntN(3)
			mu.Unlock()
			switch fate {
			case 0:
				return nil, lost
			case 1:
				_, _ = deliver() // applied, and the relay never learns it
				return nil, lost
			}
			return deliver()
		},
	}, 2)
	for v := range n {
		write(t, db, o, event("k", int64(v)))
	}
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
	if got := values(t, db, "k"); !slices.Equal(got, ascending(n)) {
		t.Errorf("applied %v", got)
	}
}

// audit_admin_ops.md D-7: TestOneKeyWaitsAlone has a consumer refuse one key for a while: the others
// pass, and its order is kept when it comes round.
func TestOneKeyWaitsAlone(t *testing.T) {
	db, o := open(t)
	var mu sync.Mutex
	blocked := true
	relays(t, db, o, direct{inbox: inbox(db, outbox.Handler{Apply: func(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
		mu.Lock()
		defer mu.Unlock()
		if blocked && ev.GetKey() == "bad" {
			return errors.New("not yet")
		}
		return apply(ctx, tx, ev)
	}})}, 1)
	for v := range 10 {
		write(t, db, o, event("bad", int64(v)), event("good", int64(v)))
	}
	until(t, db, 10, `SELECT count(*) FROM s.applied WHERE key = 'good'`)
	if got := values(t, db, "bad"); len(got) != 0 {
		t.Errorf("the refused key applied %v", got)
	}
	mu.Lock()
	blocked = false
	mu.Unlock()
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
	if got := values(t, db, "bad"); !slices.Equal(got, ascending(10)) {
		t.Errorf("applied %v", got)
	}
}

// audit_admin_ops.md D-2: TestRefusedForGood buries what a consumer will never take; the key goes on.
func TestRefusedForGood(t *testing.T) {
	db, o := open(t)
	relays(t, db, o, direct{inbox: inbox(db, outbox.Handler{Apply: func(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
		v := &wrapperspb.Int64Value{}
		if err := outbox.Payload(ev, v); err != nil {
			return err
		}
		if v.GetValue() == 1 {
			return fail.New(fail.InvalidArgument, "one is refused")
		}
		return apply(ctx, tx, ev)
	}})}, 1)
	write(t, db, o, event("k", 0), event("k", 1), event("k", 2))
	write(t, db, o, outbox.Event{Key: "k", Destinations: []string{"there"}, Payload: wrapperspb.String("a type nobody handles")})
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
	until(t, db, 2, `SELECT count(*) FROM s.outbox_dead WHERE reason <> ''`)
	if got := values(t, db, "k"); !slices.Equal(got, []int64{0, 2}) {
		t.Errorf("applied %v, want [0 2]", got)
	}
}

// TestForeignSource refuses an event of a type that another service owns.
func TestForeignSource(t *testing.T) {
	db, o := open(t)
	relays(t, db, o, direct{inbox: inbox(db, outbox.Handler{Source: "auth", Apply: apply})}, 1)
	write(t, db, o, event("k", 1))
	until(t, db, 1, `SELECT count(*) FROM s.outbox_dead`)
	until(t, db, 0, `SELECT count(*) FROM s.applied`)
}

// audit_admin_ops.md A-7: transactions of very different length commit in another
// order than their events were numbered; each event arrives, none is passed over.
func TestLateCommits(t *testing.T) {
	db, o := open(t)
	const writers, each = 14, 12 // the pool has 16
	relays(t, db, o, direct{inbox: inbox(db, outbox.Handler{Apply: apply})}, 1)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(w), 7))
			for v := range each {
				err := db.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
					if err := o.Append(ctx, tx, event(strconv.Itoa(w), int64(v))); err != nil {
						return err
					}
					if dice.IntN(3) > 0 {
						return nil
					}
					_, err := tx.Exec(ctx, `SELECT pg_sleep($1)`, dice.Float64()/2)
					return err
				})
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
				o.Wake()
			}
		})
	}
	wg.Wait()
	until(t, db, writers*each, `SELECT count(*) FROM s.applied`)
	for w := range writers {
		if got := values(t, db, strconv.Itoa(w)); !slices.Equal(got, ascending(each)) {
			t.Errorf("writer %d: %v", w, got)
		}
	}
}

// TestStoppedInTheMiddle ends the relay while the consumer works, many times.
func TestStoppedInTheMiddle(t *testing.T) {
	db, o := open(t)
	const n = 30
	for v := range n {
		write(t, db, o, event("k", int64(v)))
	}
	in := inbox(db, outbox.Handler{Apply: apply})
	for range 5 {
		entered := make(chan struct{}, 64)
		stop := relays(t, db, o, direct{inbox: in, hook: func(deliver func() (*eventv1.DeliverResponse, error)) (*eventv1.DeliverResponse, error) {
			entered <- struct{}{}
			return deliver()
		}}, 1)
		select {
		case <-entered:
		case <-time.After(time.Second): // all was delivered before
		}
		stop()
	}
	relays(t, db, o, direct{inbox: in}, 1)
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
	if got := values(t, db, "k"); !slices.Equal(got, ascending(n)) {
		t.Errorf("applied %v", got)
	}
}

func TestPending(t *testing.T) {
	db, o := open(t)
	write(t, db, o, event("k", 1), event("k", 2))
	n, oldest, err := o.Pending(t.Context(), db, "there")
	if err != nil || n != 2 || time.Since(oldest) > time.Minute {
		t.Errorf("pending %d since %v, %v; want 2 since now", n, oldest, err)
	}
	if n, oldest, err = o.Pending(t.Context(), db, "nowhere"); err != nil || n != 0 || !oldest.IsZero() {
		t.Errorf("pending %d since %v, %v; want nothing", n, oldest, err)
	}
}

func TestTooLarge(t *testing.T) {
	db, o := open(t)
	err := db.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
		return o.Append(ctx, tx, outbox.Event{Key: "k", Destinations: []string{"there"}, Payload: wrapperspb.Bytes(make([]byte, 65<<10))})
	})
	if err == nil {
		t.Error("an event of 65 KiB was written")
	}
}

// TestOldInboxRowsGo keeps a month and forgets what is older.
func TestOldInboxRowsGo(t *testing.T) {
	db, o := open(t)
	for _, age := range []time.Duration{0, 29 * 24 * time.Hour, 31 * 24 * time.Hour} {
		if _, err := db.Pool.Exec(t.Context(), `INSERT INTO s.inbox VALUES ($1, 'here', 't', $2)`, uuid.New(), time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.SweepInbox(db)(ctx) }()
	until(t, db, 2, `SELECT count(*) FROM s.inbox`)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the sweep ended with %v", err)
	}
}
