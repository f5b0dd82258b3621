package outbox_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// consumer is a real server that can be torn down and started again under the
// same address.
type consumer struct {
	inbox eventv1.EventInboxServiceServer
	old   bool // of a release without streams

	mu  sync.Mutex // guards lis and srv
	lis *bufconn.Listener
	srv *grpc.Server
}

func (c *consumer) start(tb testing.TB) {
	tb.Helper()
	lis, srv := bufconn.Listen(1<<20), grpc.NewServer()
	if c.old {
		eventv1.RegisterEventInboxServiceServer(srv, c.inbox)
	} else {
		outbox.Register(srv, c.inbox)
	}
	c.mu.Lock()
	c.lis, c.srv = lis, srv
	c.mu.Unlock()
	go func() {
		if err := srv.Serve(lis); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			tb.Errorf("serve: %v", err)
		}
	}()
	tb.Cleanup(srv.Stop)
}

// kill breaks every connection, as the end of a process does.
func (c *consumer) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.srv.Stop()
}

func (c *consumer) dial(tb testing.TB) eventv1.EventInboxServiceClient {
	tb.Helper()
	conn, err := grpc.NewClient("passthrough:///consumer",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c.mu.Lock()
			lis := c.lis
			c.mu.Unlock()
			return lis.DialContext(ctx)
		}))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return outbox.Client(conn)
}

// TestConsumerKilled ends the consumer in the middle of its work again and
// again: each event counts once, in order, and nothing is lost.
func TestConsumerKilled(t *testing.T) {
	db, o := open(t)
	const n, kills = 120, 4
	applied := make(chan struct{}, n*(kills+1))
	c := &consumer{inbox: inbox(db, outbox.Handler{Apply: func(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
		applied <- struct{}{}
		return apply(ctx, tx, ev)
	}})}
	c.start(t)
	for v := range n {
		write(t, db, o, event("k", int64(v)))
	}
	relays(t, db, o, c.dial(t), 2)
	for range kills {
		for range 5 {
			<-applied
		}
		c.kill()
		c.start(t)
	}
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
	if got := values(t, db, "k"); !slices.Equal(got, ascending(n)) {
		t.Errorf("applied %v", got)
	}
}

// TestWhatTravels writes an event in a traced request and looks at what its
// handler sees, and at the hook after the commit.
func TestWhatTravels(t *testing.T) {
	db, o := open(t)
	var (
		seen  = make(chan context.Context, 1)
		after atomic.Int64
	)
	c := &consumer{inbox: inbox(db, outbox.Handler{
		Source: "here",
		Apply: func(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
			seen <- ctx
			// What a handler writes keeps the request's id.
			return errors.Join(apply(ctx, tx, ev), o.Append(ctx, tx, outbox.Event{Key: "answer", Destinations: []string{"nobody"}, Payload: wrapperspb.Int64(2)}))
		},
		After: func(_ context.Context, ev *eventv1.Event) {
			var rows int64
			if err := db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM s.applied`).Scan(&rows); err != nil || rows != 1 {
				t.Errorf("after %s: %d rows, %v; want the change committed", ev.GetType(), rows, err)
			}
			after.Add(1)
		},
	})}
	c.start(t)
	relays(t, db, o, c.dial(t), 1)
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	ctx := trace.ContextWithSpanContext(token.NewContext(t.Context(), &token.Caller{RequestID: "req-1"}), span)
	sent := event("k", 1)
	sent.OccurredAt = time.Now().Add(time.Hour) // a wrong clock delays nothing
	if err := db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error { return o.Append(ctx, tx, sent) }); err != nil {
		t.Fatal(err)
	}
	o.Wake()
	got := trace.SpanContextFromContext(<-seen)
	if got.TraceID() != span.TraceID() || !got.IsSampled() || !got.IsRemote() {
		t.Errorf("the handler's trace is %v, want %v", got.TraceID(), span.TraceID())
	}
	until(t, db, 0, `SELECT count(*) FROM s.outbox WHERE destination = 'there'`)
	until(t, db, 1, `SELECT count(*) FROM s.outbox WHERE destination = 'nobody' AND request_id = 'req-1' AND traceparent LIKE '00-01%'`)
	if after.Load() != 1 {
		t.Errorf("After ran %d times, want once", after.Load())
	}
}

// TestOneResultEach sends a batch by hand: a failure holds back the rest of its
// key and nothing else, a second delivery is a duplicate.
func TestOneResultEach(t *testing.T) {
	db, o := open(t)
	broken := true
	in := inbox(db, outbox.Handler{Apply: func(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
		switch {
		case broken && ev.GetKey() == "panics":
			panic("a handler's mistake")
		case broken && ev.GetKey() == "illegible":
			return errors.New("\xff\x00" + strings.Repeat("ü", 400))
		}
		return apply(ctx, tx, ev)
	}})
	write(t, db, o, event("panics", 0), event("a", 0), event("panics", 1), event("illegible", 0), event("a", 1))
	const (
		applied   = eventv1.DeliverResponse_Result_APPLIED
		duplicate = eventv1.DeliverResponse_Result_DUPLICATE
		retry     = eventv1.DeliverResponse_Result_RETRY
	)
	batch := &eventv1.DeliverRequest{}
	stop := relays(t, db, o, recorder(func(r *eventv1.DeliverRequest) { batch = r }), 1)
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
	stop()
	check := func(want ...eventv1.DeliverResponse_Result_Outcome) {
		t.Helper()
		r, err := in.Deliver(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := proto.Marshal(r); err != nil {
			t.Errorf("the answer cannot be sent: %v", err)
		}
		for i, res := range r.GetResults() {
			if res.GetOutcome() != want[i] || len(res.GetReason()) > 500 {
				t.Errorf("event %d of key %s: %v %q, want %v", i, batch.GetEvents()[i].GetKey(), res.GetOutcome(), res.GetReason(), want[i])
			}
		}
	}
	check(retry, applied, retry, retry, applied)
	broken = false
	check(applied, duplicate, applied, applied, duplicate)
	check(duplicate, duplicate, duplicate, duplicate, duplicate)
	if got := values(t, db, "panics"); !slices.Equal(got, ascending(2)) {
		t.Errorf("applied %v", got)
	}
}

// TestDeadlineInTheMiddle ends the request while a batch is applied: an error,
// not a lie about the events after it.
func TestDeadlineInTheMiddle(t *testing.T) {
	db, o := open(t)
	write(t, db, o, event("k", 0), event("k", 1))
	batch := &eventv1.DeliverRequest{}
	stop := relays(t, db, o, recorder(func(r *eventv1.DeliverRequest) { batch = r }), 1)
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
	stop()
	ctx, cancel := context.WithCancel(t.Context())
	in := inbox(db, outbox.Handler{Apply: apply, After: func(context.Context, *eventv1.Event) { cancel() }})
	if r, err := in.Deliver(ctx, batch); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v; want a cancelled context", r, err)
	}
	if r, err := in.Deliver(t.Context(), batch); err != nil || r.GetResults()[0].GetOutcome() != eventv1.DeliverResponse_Result_DUPLICATE {
		t.Errorf("the second time: %v, %v; want a duplicate first", r, err)
	}
	if got := values(t, db, "k"); !slices.Equal(got, ascending(2)) {
		t.Errorf("applied %v", got)
	}
}

// recorder is a consumer that takes everything and shows it to the test.
type recorder func(r *eventv1.DeliverRequest)

func (f recorder) Deliver(_ context.Context, r *eventv1.DeliverRequest, _ ...grpc.CallOption) (*eventv1.DeliverResponse, error) {
	f(r)
	out := &eventv1.DeliverResponse{}
	for range r.GetEvents() {
		out.Results = append(out.Results, &eventv1.DeliverResponse_Result{Outcome: eventv1.DeliverResponse_Result_APPLIED})
	}
	return out, nil
}

// TestOutOfBounds refuses at the source what a consumer's validation would
// refuse a whole batch for.
func TestOutOfBounds(t *testing.T) {
	db, o := open(t)
	there := []string{"there"}
	for name, ev := range map[string]outbox.Event{
		"long key":       {Key: strings.Repeat("k", 201), Destinations: there, Payload: wrapperspb.Int64(1)},
		"long type":      {Key: "k", Type: strings.Repeat("t", 201), Destinations: there, Payload: wrapperspb.Int64(1)},
		"no payload":     {Key: "k", Destinations: there},
		"no destination": {Key: "k", Payload: wrapperspb.Int64(1)},
	} {
		if err := db.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error { return o.Append(ctx, tx, ev) }); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	ctx := outbox.WithRequestID(t.Context(), strings.Repeat("r", 65))
	if err := db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error { return o.Append(ctx, tx, event("k", 1)) }); err != nil {
		t.Errorf("a request id of 65 bytes: %v", err)
	}
	until(t, db, 1, `SELECT count(*) FROM s.outbox WHERE request_id = ''`)
}
