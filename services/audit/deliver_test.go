package audit

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pgtest"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// places gives the log's order of events.
func places(t *testing.T, s *Service) map[uuid.UUID]int64 {
	t.Helper()
	rows, err := s.db.Pool.Query(t.Context(), `SELECT event_id, seq FROM audit.event`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[uuid.UUID]int64{}
	for rows.Next() {
		var (
			id  uuid.UUID
			seq int64
		)
		if err := rows.Scan(&id, &seq); err != nil {
			t.Fatal(err)
		}
		out[id] = seq
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// audit_admin_ops.md A-9: an event counts once for ever. Sent again a second, a
// day and 400 days later it is a duplicate and stays at its place.
func TestReplayAfterYears(t *testing.T) {
	began := time.Now()
	clock := began
	s := New(pgtest.New(t, "audit", migrations.For("audit")), secret, func() time.Time { return clock })
	in := &inboxServer{Service: s, peer: func(context.Context) string { return "payment" }}
	var batch []*eventv1.Event
	for range 20 {
		batch = append(batch, event("payment.succeeded", "usr_a", began, "pay_1"))
	}
	deliver(t, in, batch...)
	want := places(t, s)
	for _, later := range []time.Duration{time.Second, 24 * time.Hour, 400 * 24 * time.Hour} {
		clock = began.Add(later)
		for i, got := range deliver(t, in, batch...) {
			if got != "DUPLICATE" {
				t.Errorf("event %d after %v: %s, want DUPLICATE", i, later, got)
			}
		}
		if diff := cmp.Diff(want, places(t, s)); diff != "" {
			t.Errorf("after %v the log is another one:\n%s", later, diff)
		}
	}
}

// stream opens a stream of batches to s, as a relay does.
func stream(t *testing.T, in eventv1.EventInboxServiceServer) eventv1.EventStreamService_DeliverBatchesClient {
	t.Helper()
	lis, g := bufconn.Listen(1<<20), grpc.NewServer()
	outbox.Register(g, in)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///audit", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Stop()
		if err := errors.Join(conn.Close(), <-ended); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	c, err := eventv1.NewEventStreamServiceClient(conn).DeliverBatches(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hello, err := c.Recv()
	if err != nil || hello.GetBatch() != 0 || hello.GetCredits() < 1 || hello.GetMaxEvents() != 1000 {
		t.Fatalf("the stream begins with %v, %v", hello, err)
	}
	return c
}

// audit_admin_ops.md A-23: one poisoned event in a thousand is refused with its
// reason, the others are in, and the stream goes on; and so for the next batch.
func TestPoisonInAStream(t *testing.T) {
	s, in := open(t)
	c := stream(t, in)
	now := time.Now()
	const batches, size = 4, 1000
	for n := range batches { // all under way at once
		r := &eventv1.DeliverBatchesRequest{Batch: int64(n) + 1}
		for i := range size {
			actor := "usr_a"
			if i == 499+n {
				actor = "usr_\x00"
			}
			r.Events = append(r.Events, event("session.opened", actor, now))
			r.Events[i].Key = strconv.Itoa(i)
		}
		r.Events[700+n].Payload = []byte("\x2a\x02\xff\xfe") // an action that is no UTF-8
		if err := c.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	for n := range batches {
		r, err := c.Recv()
		if err != nil || r.GetBatch() != int64(n)+1 || r.GetCredits() != 1 {
			t.Fatalf("batch %d: %v, %v", n+1, r.GetBatch(), err)
		}
		for i, res := range r.GetResults() {
			poisoned := i == 499+n || i == 700+n
			if (res.GetOutcome() == eventv1.DeliverResponse_Result_REJECTED) != poisoned || poisoned != (res.GetReason() != "") {
				t.Errorf("batch %d, event %d: %v %q", n+1, i, res.GetOutcome(), res.GetReason())
			}
		}
	}
	if err := c.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v, want EOF", err)
	}
	if got, want := len(places(t, s)), batches*(size-2); got != want {
		t.Errorf("%d events in the log, want %d", got, want)
	}
}
