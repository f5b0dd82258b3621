package audit

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	"github.com/manas360/platform/services/audit/merkle"
)

// inboxServer takes batches from every service's outbox. A batch is one
// transaction; the log's key makes a second delivery a duplicate for ever, so
// audit needs no inbox table.
type inboxServer struct {
	eventv1.UnimplementedEventInboxServiceServer
	*Service

	peer func(context.Context) string
}

func (s *inboxServer) Deliver(ctx context.Context, r *eventv1.DeliverRequest) (*eventv1.DeliverResponse, error) {
	var (
		out    = &eventv1.DeliverResponse{}
		batch  []entry
		events = map[uuid.UUID]*auditv1.Event{}
		ids    = make([]uuid.UUID, len(r.GetEvents()))
		source = s.peer(ctx)
	)
	for i, ev := range r.GetEvents() {
		e, m, refusal := unpack(ev, source, s.now())
		result := &eventv1.DeliverResponse_Result{Outcome: eventv1.DeliverResponse_Result_APPLIED}
		out.Results = append(out.Results, result)
		if refusal != "" {
			result.Outcome, result.Reason = eventv1.DeliverResponse_Result_REJECTED, refusal
			zerolog.Ctx(ctx).Error().Str("event_type", ev.GetType()).Str("source", source).Str("refusal", refusal).Msg("audit event refused")
			continue
		}
		ids[i] = e.ID
		if _, twice := events[e.ID]; !twice {
			events[e.ID] = m
			batch = append(batch, e)
		}
	}
	if len(batch) == 0 {
		return out, nil
	}
	known, err := s.append(ctx, batch, func(e *entry) error { return seal(e, events[e.ID]) })
	if err != nil {
		return nil, err
	}
	for i, result := range out.GetResults() {
		if known[ids[i]] {
			result.Outcome = eventv1.DeliverResponse_Result_DUPLICATE
		}
	}
	return out, nil
}

// seal fixes the bytes that are stored and hashed, once the place is known.
func seal(e *entry, m *auditv1.Event) error {
	m.Seq, m.RecordedAt = e.Seq, timestamppb.New(e.RecordedAt)
	canonical, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	leaf := merkle.LeafHash(canonical)
	e.Canonical, e.LeafHash = canonical, leaf[:]
	return nil
}
