package payment

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

// inboxClient is the delivery end of another service.
func inboxClient(conn grpc.ClientConnInterface) eventv1.EventInboxServiceClient {
	return outbox.Client(conn)
}

// stateChanged tells subscription that a payment reached a state from which it
// will not open again. The amount is what was captured, nothing otherwise.
func stateChanged(p payment, now time.Time) outbox.Event {
	m := &paymentv1.PaymentStateChanged{
		PaymentId: p.ID[:], RequestId: p.RequestID[:], UserId: p.UserID[:], State: packState(p.State),
		Amount:  &typev1.Money{CurrencyCode: p.Currency, AmountMinor: p.CapturedMinor},
		Version: p.Version, FailureCode: p.FailureCode, RefundedAmount: &typev1.Money{CurrencyCode: p.Currency, AmountMinor: p.RefundedMinor},
	}
	if p.PaidAt != nil {
		m.PaidAt = timestamppb.New(*p.PaidAt)
	}
	return outbox.Event{
		Key: id.Format("pay", p.ID), Destinations: []string{"subscription"}, Payload: m, OccurredAt: now,
	}
}
