package subscription

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// TestImpersonatorIsRecorded: what an operator does in a person's name says so.
// identity.md row 67
func TestImpersonatorIsRecorded(t *testing.T) {
	c := &token.Caller{UserID: uuid.UUID{1}, SessionID: uuid.UUID{2}, Impersonator: uuid.UUID{3}}
	ctx := token.NewContext(t.Context(), c)
	ev, ok := audit(ctx, trail.SubscriptionActivated, actorOf(ctx), subscription{}, time.Now()).Payload.(*auditv1.Event)
	if !ok || ev.GetActor().GetImpersonatorId() != c.ImpersonatorID() || c.ImpersonatorID() == "" {
		t.Errorf("recorded %v", ev)
	}
}
