package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// Row is an event as its columns hold it.
type Row struct {
	ID                     uuid.UUID
	Type, Key              string
	Payload                []byte
	RequestID, Traceparent string
	OccurredAt             time.Time
	Due                    time.Time // next_attempt_at
}

// Row checks an event as Append does and gives it to who writes it himself: a
// statement that makes its change and the row of outbox at once saves three round
// trips of four. That statement names the destination; ev's is not looked at.
func (o *Outbox) Row(ctx context.Context, ev Event) (Row, error) {
	if ev.Payload == nil {
		return Row{}, fmt.Errorf("event for %q: it needs a payload", ev.Key)
	}
	if act, ok := ev.Payload.(*auditv1.Event); ok {
		if err := trail.Check(act); err != nil {
			return Row{}, err
		}
		trail.Redact(act)
	}
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(ev.Payload)
	if err != nil {
		return Row{}, fmt.Errorf("encode %T: %w", ev.Payload, err)
	}
	if len(payload) > maxPayload {
		return Row{}, fmt.Errorf("event %T of %d bytes, at most %d", ev.Payload, len(payload), maxPayload)
	}
	if len(ev.Type) > maxName || len(ev.Key) > maxName {
		return Row{}, fmt.Errorf("event %T: a type of %d bytes and a key of %d, at most %d", ev.Payload, len(ev.Type), len(ev.Key), maxName)
	}
	r := Row{
		ID: ev.ID, Type: ev.Type, Key: ev.Key, Payload: payload,
		RequestID: requestID(ctx), Traceparent: traceparent(ctx), OccurredAt: ev.OccurredAt, Due: o.now(),
	}
	if r.ID == uuid.Nil {
		r.ID = o.ids.New()
	}
	if r.Type == "" {
		r.Type = string(ev.Payload.ProtoReflect().Descriptor().FullName())
	}
	if r.OccurredAt.IsZero() {
		r.OccurredAt = r.Due
	}
	return r, nil
}
