package subscription

import (
	"testing"

	"github.com/google/uuid"

	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

// TestMandateEventsAreTaken: refused, they would be kept as dead.
func TestMandateEventsAreTaken(t *testing.T) {
	s := newStand(t)
	mandateID := uuid.New()
	ev := event(t, &paymentv1.MandateStateChanged{MandateId: mandateID[:], State: paymentv1.Mandate_ACTIVE, Version: 2})
	if got := deliver(t, s.payment, ev); got != eventv1.DeliverResponse_Result_APPLIED {
		t.Errorf("from payment: %s", got)
	}
	if got := deliver(t, s.auth, event(t, &paymentv1.MandateStateChanged{})); got != eventv1.DeliverResponse_Result_REJECTED {
		t.Errorf("from auth: %s", got)
	}
}
