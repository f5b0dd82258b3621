// Package outbox carries facts between services without a broker: an event is
// written in the transaction of the change it tells of, delivered over gRPC at
// least once, and applied once by the consumer's inbox.
//
// A relay sends batches as large as what waits, several under way at once, over a
// stream that lasts as long as there is something to send, a second or so at
// most. Within a key order is kept. An event the consumer refuses for now holds
// up its own key alone; one it refuses for good is set aside in outbox_dead; one
// that makes it fail a whole batch is found by halving the batch.
//
// Audit's log remembers an event for ever, an inbox for 30 days: nothing repeats
// a delivery that late but a backup of more than a month ago.
//
// Every service's schema holds the tables outbox, outbox_dead and, if it
// listens, inbox; their DDL stands in its first migration.
package outbox

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// Event is a fact about to be written.
type Event struct {
	ID           uuid.UUID     // made by Append when zero
	Type         string        // the payload's full name when empty
	Key          string        // aggregate; its events arrive in order, see Append
	Destinations []string      // services that are told
	Payload      proto.Message // at most 64 KiB encoded
	OccurredAt   time.Time     // Append's clock when zero; past or future, it delays nothing
}

// Outbox writes events of one schema and wakes the relays that deliver them.
// Safe for concurrent use.
type Outbox struct {
	schema string
	insert string // insertEvent for the schema
	ids    *id.Maker
	now    func() time.Time

	mu     sync.Mutex // guards wakers
	wakers []chan struct{}
}

// New makes the outbox of a schema.
func New(schema string, ids *id.Maker, now func() time.Time) *Outbox {
	return &Outbox{schema: schema, insert: table(schema, insertEvent), ids: ids, now: now}
}

// What event.proto bounds. Refused before the row is written: a consumer would
// refuse the whole batch around such an event, again and again.
const (
	maxPayload   = 64 << 10
	maxName      = 200 // of a type and of a key
	maxRequestID = 64
)

// table puts the schema into a statement. Schemas are names in code, never input.
func table(schema, sql string) string { return strings.ReplaceAll(sql, "{schema}", schema) }

// By position: every transaction pays for this statement, and names are looked for
// in its text each time.
const insertEvent = `
INSERT INTO {schema}.outbox (event_id, destination, type, key, payload, request_id, traceparent, occurred_at, next_attempt_at)
SELECT $1, d, $2, $3, $4, $5, $6, $7, $8
  FROM unnest($9::text[]) AS d`

// Append writes events in tx: they exist if and only if the change does. An
// audit event that its catalogue does not allow is refused, and with it the
// change; what it says is masked. Call
// Wake after the commit; without it the relay finds them within 200 ms.
//
// The order within a key is that of the calls. Lock the aggregate's row before,
// as a change of it does anyway, and it is the order of the commits too.
func (o *Outbox) Append(ctx context.Context, tx pgx.Tx, evs ...Event) error {
	batch := &pgx.Batch{}
	for _, ev := range evs {
		if ev.Payload == nil || len(ev.Destinations) == 0 {
			return fmt.Errorf("event %T for %q: it needs a payload and a destination", ev.Payload, ev.Destinations)
		}
		r, err := o.Row(ctx, ev)
		if err != nil {
			return err
		}
		batch.Queue(o.insert, r.ID, r.Type, r.Key, r.Payload, r.RequestID, r.Traceparent, r.OccurredAt, r.Due, ev.Destinations)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return pg.Err(fmt.Errorf("write events: %w", err))
	}
	return nil
}

// Wake tells the relays that there may be something to deliver. Cheap and
// coalesced.
func (o *Outbox) Wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.wakers {
		select {
		case w <- struct{}{}:
		default: // it is awake already
		}
	}
}

func (o *Outbox) waker() (wake <-chan struct{}, leave func()) {
	c := make(chan struct{}, 1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wakers = append(o.wakers, c)
	return c, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for i, w := range o.wakers {
			if w == c {
				o.wakers = append(o.wakers[:i], o.wakers[i+1:]...)
				return
			}
		}
	}
}

type requestKey struct{}

// WithRequestID gives events written under ctx a request id when no caller
// stands in it.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	if c, ok := token.FromContext(ctx); ok && c.RequestID != "" {
		id = c.RequestID
	}
	if len(id) > maxRequestID {
		return "" // no id of ours; the trace still tells
	}
	return id
}

func traceparent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier["traceparent"]
}

// Payload decodes an event's payload into m and checks that the type fits. What
// cannot be decoded never will be: the error refuses the event for good.
func Payload[T proto.Message](ev *eventv1.Event, m T) error {
	if want := string(m.ProtoReflect().Descriptor().FullName()); ev.GetType() != want {
		return fail.New(fail.InvalidArgument, "event of type %q where %q is expected", ev.GetType(), want)
	}
	if err := proto.Unmarshal(ev.GetPayload(), m); err != nil {
		return fail.New(fail.InvalidArgument, "the payload is no %s", ev.GetType()).Wrap(err)
	}
	return nil
}
