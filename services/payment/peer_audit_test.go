package payment

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// TestImpersonatorIsRecorded: what an operator does in a person's name says so;
// a provider's callback has nobody behind it. identity.md row 67
func TestImpersonatorIsRecorded(t *testing.T) {
	c := &token.Caller{UserID: uuid.UUID{1}, SessionID: uuid.UUID{2}, Impersonator: uuid.UUID{3}}
	in := newPayment{UserID: c.UserID}
	ev, ok := auditCreated(token.NewContext(t.Context(), c), uuid.UUID{4}, in, time.Now()).Payload.(*auditv1.Event)
	if !ok || ev.GetActor().GetImpersonatorId() != c.ImpersonatorID() || c.ImpersonatorID() == "" {
		t.Errorf("recorded %v", ev)
	}
	ev, ok = auditCreated(t.Context(), uuid.UUID{4}, in, time.Now()).Payload.(*auditv1.Event)
	if !ok || ev.GetActor().GetImpersonatorId() != "" {
		t.Errorf("recorded %v", ev)
	}
}
