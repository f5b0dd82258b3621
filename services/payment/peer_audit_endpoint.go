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

// auditEndpoint is the event of an endpoint made, changed or ended. The secret is
// no part of it.
func auditEndpoint(ctx context.Context, action trail.Action, e endpoint, by uuid.UUID, reason string, now time.Time) outbox.Event {
	who := &auditv1.Event_Actor{Type: "service", Id: "payment"}
	if by != uuid.Nil {
		who = &auditv1.Event_Actor{Type: "user", Id: id.Format("usr", by)}
	}
	if c, ok := token.FromContext(ctx); ok {
		who.ImpersonatorId = c.ImpersonatorID()
	}
	endpointID := id.Format(endpointPrefix, e.ID)
	return outbox.Event{
		Key: endpointID, Destinations: []string{"audit"}, OccurredAt: now,
		Payload: &auditv1.Event{
			Action: action.String(), Actor: who, Outcome: auditv1.Event_SUCCESS, RequestId: requestID(ctx), Source: schema, Reason: reason,
			Targets: []*auditv1.Event_Target{{Type: "webhook_endpoint", Id: endpointID}, {Type: "organization", Id: id.Format("org", e.OrganizationID)}},
			Changes: []*auditv1.Event_Change{text("url", "", e.URL)},
		},
	}
}
