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

// auditRetried tells who had a callback understood again, and why.
func auditRetried(ctx context.Context, k kept, by uuid.UUID, reason string, now time.Time) outbox.Event {
	target := id.Format("evt", k.ID)
	actor := &auditv1.Event_Actor{Type: "user", Id: id.Format("usr", by)}
	if c, ok := token.FromContext(ctx); ok {
		actor.ImpersonatorId = c.ImpersonatorID()
	}
	return outbox.Event{
		Key: target, Destinations: []string{"audit"}, OccurredAt: now,
		Payload: &auditv1.Event{
			Action: trail.WebhookRetried.String(), Actor: actor, Outcome: auditv1.Event_SUCCESS,
			RequestId: requestID(ctx), Source: schema, Reason: reason,
			Targets: []*auditv1.Event_Target{{Type: "webhook", Id: target}},
			Changes: []*auditv1.Event_Change{text("state", k.State, eventReceived), text("provider", "", k.Provider)},
		},
	}
}
