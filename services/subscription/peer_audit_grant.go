package subscription

import (
	"context"
	"time"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// auditGrant tells what an operator gave or took, and why.
func auditGrant(ctx context.Context, action trail.Action, by actor, o override, reason string, now time.Time) outbox.Event {
	changes := []change{{"source", "", o.Source}, {"feature", "", o.Feature}, {"validFrom", "", o.ValidFrom}}
	if o.counted() {
		changes = append(changes, change{"limit", "", limit{LimitValue: o.LimitValue}.most()})
	}
	if o.ValidUntil != nil {
		changes = append(changes, change{"validUntil", "", *o.ValidUntil})
	}
	if o.RevokedAt != nil {
		changes = append(changes, change{"revokedAt", "", *o.RevokedAt})
	}
	e := audit(ctx, action, by, subscription{UserID: o.UserID}, now, changes...)
	if ev, ok := e.Payload.(*auditv1.Event); ok {
		ev.Targets[0] = &auditv1.Event_Target{Type: "grant", Id: id.Format("egr", o.ID)}
		ev.Reason = reason
	}
	return e
}
