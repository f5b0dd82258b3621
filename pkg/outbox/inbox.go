package outbox

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/propagation"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// Handler applies one type of event.
type Handler struct {
	// Source is the only service it is taken from; empty takes it from any.
	Source string
	// Sources are the only services it is taken from, when there are several.
	Sources []string
	// Apply changes what the event changes, in the inbox's transaction. An
	// error of kind fail.InvalidArgument refuses the event for good, any other
	// has it delivered again.
	Apply func(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error
	// After runs once the event is committed, if set: wake-ups and the like,
	// whose loss is made good elsewhere.
	After func(ctx context.Context, ev *eventv1.Event)
}

// Inbox serves Deliver for a service: each event in a transaction of its own,
// with the row that makes its second delivery count for nothing.
type Inbox struct {
	eventv1.UnimplementedEventInboxServiceServer

	db       *pg.DB
	schema   string
	now      func() time.Time
	peer     func(ctx context.Context) string
	handlers map[string]Handler
}

// NewInbox makes an inbox in a schema. peer names the service that delivers,
// which is rpc.Peer outside tests. Handlers go by the event's type.
func NewInbox(db *pg.DB, schema string, now func() time.Time, peer func(ctx context.Context) string, handlers map[string]Handler) *Inbox {
	return &Inbox{db: db, schema: schema, now: now, peer: peer, handlers: handlers}
}

// Deliver applies a batch in order. After an event that must be tried again,
// the later ones of its key wait too. A batch that its deadline cuts short is
// an error; what was applied by then is a duplicate the next time.
func (in *Inbox) Deliver(ctx context.Context, r *eventv1.DeliverRequest) (*eventv1.DeliverResponse, error) {
	var (
		out     = &eventv1.DeliverResponse{}
		waiting = map[string]bool{}
		source  = in.peer(ctx)
	)
	for _, ev := range r.GetEvents() {
		res := &eventv1.DeliverResponse_Result{}
		out.Results = append(out.Results, res)
		if waiting[ev.GetKey()] {
			res.Outcome, res.Reason = eventv1.DeliverResponse_Result_RETRY, "an earlier event of this key waits"
			continue
		}
		var reason string
		res.Outcome, reason = in.one(ctx, source, ev)
		res.Reason = legible(reason)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("apply events: %w", err)
		}
		waiting[ev.GetKey()] = res.GetOutcome() == eventv1.DeliverResponse_Result_RETRY
	}
	return out, nil
}

const insertInbox = `
INSERT INTO {schema}.inbox (event_id, source, type, processed_at)
VALUES (@event_id, @source, @type, @now)
    ON CONFLICT (event_id) DO NOTHING`

var errSeen = errors.New("seen before")

func (in *Inbox) one(ctx context.Context, source string, ev *eventv1.Event) (eventv1.DeliverResponse_Result_Outcome, string) {
	eventID, err := uuid.FromBytes(ev.GetId())
	if err != nil {
		return eventv1.DeliverResponse_Result_REJECTED, "the id is not a UUID"
	}
	h, ok := in.handlers[ev.GetType()]
	if !ok {
		return eventv1.DeliverResponse_Result_REJECTED, "nobody here handles this type"
	}
	if h.Source != "" && h.Source != source || len(h.Sources) > 0 && !slices.Contains(h.Sources, source) {
		return eventv1.DeliverResponse_Result_REJECTED, source + " may not send this type"
	}
	ctx = WithRequestID(ctx, ev.GetRequestId())
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": ev.GetTraceparent()})
	err = in.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, table(in.schema, insertInbox), pgx.NamedArgs{"event_id": eventID, "source": source, "type": ev.GetType(), "now": in.now()})
		if err != nil {
			return fmt.Errorf("note the event: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return errSeen
		}
		return h.safely(ctx, tx, ev)
	})
	switch {
	case errors.Is(err, errSeen):
		return eventv1.DeliverResponse_Result_DUPLICATE, ""
	case fail.Is(err, fail.InvalidArgument):
		zerolog.Ctx(ctx).Error().Err(err).Str("event_id", eventID.String()).Str("event_type", ev.GetType()).Msg("event refused")
		return eventv1.DeliverResponse_Result_REJECTED, err.Error()
	case err != nil:
		zerolog.Ctx(ctx).Warn().Err(err).Str("event_id", eventID.String()).Str("event_type", ev.GetType()).Msg("event not applied yet")
		return eventv1.DeliverResponse_Result_RETRY, err.Error()
	}
	if h.After != nil {
		h.After(ctx, ev)
	}
	return eventv1.DeliverResponse_Result_APPLIED, ""
}

// safely turns a panic into an error: one event that a handler cannot bear must
// not take the batch down, or nothing behind it would ever arrive.
func (h Handler) safely(ctx context.Context, tx pg.Tx, ev *eventv1.Event) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
			zerolog.Ctx(ctx).Error().Err(err).Bytes("stack", debug.Stack()).Str("event_type", ev.GetType()).Msg("event handler panicked")
		}
	}()
	return h.Apply(ctx, tx, ev)
}

// legible cuts a reason to what both a protobuf string and a text column hold;
// any other would make the answer for the whole batch fail.
func legible(reason string) string {
	const most = 500
	reason = strings.ReplaceAll(reason, "\x00", "?")
	if len(reason) > most {
		reason = reason[:most]
	}
	return strings.ToValidUTF8(reason, "?")
}
