package payment

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// auditFound tells of something that must be true and is not.
func auditFound(ctx context.Context, invariant string, v violation, now time.Time) outbox.Event {
	return outbox.Event{
		Key: "invariant:" + invariant, Destinations: []string{"audit"}, OccurredAt: now,
		Payload: &auditv1.Event{
			Action: trail.PaymentInvariantViolated.String(), Actor: &auditv1.Event_Actor{Type: "service", Id: "payment"}, Outcome: auditv1.Event_FAILURE,
			RequestId: requestID(ctx), Source: schema, Changes: []*auditv1.Event_Change{text("invariant", "", invariant)},
			Targets: []*auditv1.Event_Target{{Type: "invariant", Id: clip(v.Subject, maxRefLen)}},
		},
	}
}

// auditAcknowledged tells that somebody looks into a finding.
func auditAcknowledged(ctx context.Context, f finding, by uuid.UUID, note string, now time.Time) outbox.Event {
	who := &auditv1.Event_Actor{Type: "admin", Id: id.Format("usr", by)}
	if c, ok := token.FromContext(ctx); ok {
		who.ImpersonatorId = c.ImpersonatorID()
	}
	return outbox.Event{
		Key: "invariant:" + f.Invariant, Destinations: []string{"audit"}, OccurredAt: now,
		Payload: &auditv1.Event{
			Action: trail.PaymentFindingAcknowledged.String(), Actor: who, Outcome: auditv1.Event_SUCCESS,
			RequestId: requestID(ctx), Source: schema, Reason: note,
			Targets: []*auditv1.Event_Target{{Type: "finding", Id: id.Format(findingPrefix, f.ID)}},
		},
	}
}
