package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// whole is a consumer that takes a batch in one transaction, as audit does: one
// event it cannot bear fails the batch.
type whole struct {
	eventv1.UnimplementedEventInboxServiceServer

	db     *pg.DB
	refuse func(*eventv1.Event) error

	mu      sync.Mutex // guards largest
	largest int        // batch that was taken
}

func (w *whole) Deliver(ctx context.Context, r *eventv1.DeliverRequest) (*eventv1.DeliverResponse, error) {
	out := &eventv1.DeliverResponse{}
	err := w.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		out.Results = nil
		for _, ev := range r.GetEvents() {
			if err := w.refuse(ev); err != nil {
				return err
			}
			tag, err := tx.Exec(ctx, `INSERT INTO s.inbox VALUES ($1, 'here', 't', now()) ON CONFLICT DO NOTHING`, ev.GetId())
			if err != nil {
				return err
			}
			res := &eventv1.DeliverResponse_Result{Outcome: eventv1.DeliverResponse_Result_DUPLICATE}
			if tag.RowsAffected() == 1 {
				res.Outcome = eventv1.DeliverResponse_Result_APPLIED
				if err := apply(ctx, tx, ev); err != nil {
					return err
				}
			}
			out.Results = append(out.Results, res)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.largest = max(w.largest, len(r.GetEvents()))
	return out, nil
}

func value(ev *eventv1.Event) int64 {
	v := &wrapperspb.Int64Value{}
	if err := outbox.Payload(ev, v); err != nil {
		return -1
	}
	return v.GetValue()
}

// backlog writes n events over keys, in transactions of 500.
func backlog(tb testing.TB, db *pg.DB, o *outbox.Outbox, n, keys int) {
	tb.Helper()
	for at := 0; at < n; {
		var evs []outbox.Event
		for ; at < n && len(evs) < 500; at++ {
			evs = append(evs, event(strconv.Itoa(at%keys), int64(at/keys)))
		}
		write(tb, db, o, evs...)
	}
}

// audit_admin_ops.md A-24: a row that the consumer cannot bear is halved out of
// its batch and buried; all others arrive, the later ones of its key as well.
func TestPoisonIsBisected(t *testing.T) {
	for _, old := range []bool{false, true} {
		t.Run("old="+strconv.FormatBool(old), func(t *testing.T) {
			db, o := open(t)
			const n, keys = 1500, 50
			var tries atomic.Int64
			w := &whole{db: db, refuse: func(ev *eventv1.Event) error {
				if ev.GetKey() == "7" && value(ev) == 11 {
					tries.Add(1)
					return status.Error(codes.Internal, "cannot be stored")
				}
				return nil
			}}
			c := &consumer{inbox: w, old: old}
			c.start(t)
			backlog(t, db, o, n, keys)
			relays(t, db, o, c.dial(t), 1)
			until(t, db, n-30+11, `SELECT count(*) FROM s.applied`) // its key waits behind it, nobody else does
			if got := values(t, db, "7"); !slices.Equal(got, ascending(11)) {
				t.Errorf("key 7: %v, want all before the poison", got)
			}
			until(t, db, 30-11, `SELECT count(*) FROM s.outbox`)
			hurryUp(t, db, o, "7")
			until(t, db, 1, `SELECT count(*) FROM s.outbox_dead WHERE key = '7' AND attempts = 8 AND reason <> ''`)
			until(t, db, 0, `SELECT count(*) FROM s.outbox`)
			until(t, db, n-1, `SELECT count(*) FROM s.applied`)
			t.Logf("tried %d times in all, largest batch %d", tries.Load(), w.largest)
		})
	}
}

// hurryUp takes the waiting out of an event's tries, and gives the consumer
// others to take meanwhile.
func hurryUp(t *testing.T, db *pg.DB, o *outbox.Outbox, key string) {
	t.Helper()
	var dead int
	for i := 0; dead == 0; i++ {
		if i > 400 {
			t.Fatal("the poison is not buried")
		}
		write(t, db, o, event("other", int64(i)))
		until(t, db, 0, `SELECT count(*) FROM s.outbox WHERE key = 'other'`)
		if _, err := db.Pool.Exec(t.Context(), `DELETE FROM s.applied WHERE key = 'other'`); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Pool.Exec(t.Context(), `UPDATE s.outbox SET next_attempt_at = least(next_attempt_at, now()) WHERE key = $1`, key); err != nil {
			t.Fatal(err)
		}
		if err := db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM s.outbox_dead`).Scan(&dead); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBrokenConsumerBuriesNothing: a consumer that takes nothing at all is
// broken; its events wait, whatever it says of them.
func TestBrokenConsumerBuriesNothing(t *testing.T) {
	db, o := open(t)
	var broken atomic.Bool
	broken.Store(true)
	c := &consumer{inbox: &whole{db: db, refuse: func(*eventv1.Event) error {
		if broken.Load() {
			return status.Error(codes.Internal, "nothing works")
		}
		return nil
	}}}
	c.start(t)
	backlog(t, db, o, 3, 3)
	relays(t, db, o, c.dial(t), 1)
	until(t, db, 1, `SELECT count(*) FROM s.outbox WHERE attempts > 0 AND key = '0'`)
	if _, err := db.Pool.Exec(t.Context(), `UPDATE s.outbox SET attempts = 20, next_attempt_at = now()`); err != nil {
		t.Fatal(err)
	}
	until(t, db, 3, `SELECT count(*) FROM s.outbox WHERE attempts > 20`)
	until(t, db, 0, `SELECT count(*) FROM s.outbox_dead`)
	broken.Store(false)
	if _, err := db.Pool.Exec(t.Context(), `UPDATE s.outbox SET next_attempt_at = now()`); err != nil {
		t.Fatal(err)
	}
	until(t, db, 3, `SELECT count(*) FROM s.applied`)
}

// audit_admin_ops.md D-7, D-8: of a backlog larger than all credits, one failing
// key holds up itself alone, and each key arrives in its order under five relays.
func TestStreamKeepsOrder(t *testing.T) {
	db, o := open(t)
	const n, keys = 2400, 40
	var failing atomic.Bool
	failing.Store(true)
	c := &consumer{inbox: inbox(db, outbox.Handler{Apply: func(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
		if failing.Load() && ev.GetKey() == "3" && value(ev) == 4 {
			return errors.New("not yet")
		}
		return apply(ctx, tx, ev)
	}})}
	c.start(t)
	backlog(t, db, o, n, keys)
	relays(t, db, o, c.dial(t), 5)
	until(t, db, n-n/keys+4, `SELECT count(*) FROM s.applied`)
	failing.Store(false)
	if _, err := db.Pool.Exec(t.Context(), `UPDATE s.outbox SET next_attempt_at = now()`); err != nil {
		t.Fatal(err)
	}
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
	for k := range keys {
		if got := values(t, db, strconv.Itoa(k)); !slices.Equal(got, ascending(n/keys)) {
			t.Errorf("key %d: %d values, out of order or not all: %v", k, len(got), got)
		}
	}
}

// audit_admin_ops.md A-23: what no protobuf string can hold stops neither the
// rest of its batch nor the relay.
func TestIllegibleRow(t *testing.T) {
	db, o := open(t)
	c := &consumer{inbox: &whole{db: db, refuse: func(ev *eventv1.Event) error {
		if ev.GetKey() == "nul" {
			return fmt.Errorf("%w: a NUL", status.Error(codes.InvalidArgument, "bad"))
		}
		return nil
	}}}
	c.start(t)
	write(t, db, o, event("a", 0), event("nul", 0), event("b", 0))
	relays(t, db, o, c.dial(t), 1)
	until(t, db, 2, `SELECT count(*) FROM s.applied`)
	hurryUp(t, db, o, "nul")
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
}

// TestOldConsumer delivers to one without streams.
func TestOldConsumer(t *testing.T) {
	db, o := open(t)
	c := &consumer{inbox: inbox(db, outbox.Handler{Apply: apply}), old: true}
	c.start(t)
	backlog(t, db, o, 450, 3)
	relays(t, db, o, c.dial(t), 1)
	until(t, db, 450, `SELECT count(*) FROM s.applied`)
	for k := range 3 {
		if got := values(t, db, strconv.Itoa(k)); !slices.Equal(got, ascending(150)) {
			t.Errorf("key %d: %v", k, got)
		}
	}
}
