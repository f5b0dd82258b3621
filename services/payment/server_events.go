package payment

import (
	"context"

	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/rpc"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

// listen is what payment hears of other services.
func (s *Service) listen(g *grpc.Server) {
	s.outbox.RegisterDeadLetters(g, s.db)
	outbox.Register(g, outbox.NewInbox(s.db, schema, s.now, rpc.Peer, map[string]outbox.Handler{
		"manas.payment.v1.RefundRequested": {
			Source: "subscription", Apply: s.onRefundRequested, After: func(context.Context, *eventv1.Event) { s.outbox.Wake() },
		},
	}))
}

// onRefundRequested gives money back that came for nothing. The worker sends it.
func (s *Service) onRefundRequested(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
	m := &paymentv1.RefundRequested{}
	if err := outbox.Payload(ev, m); err != nil {
		return err //nolint:wrapcheck // already what the sender must see
	}
	paymentID, err := parseUUID("paymentId", m.GetPaymentId())
	if err != nil {
		return err
	}
	return s.refundLate(withRequestID(ctx, ev.GetRequestId()), tx, paymentID, clip(m.GetReason(), 500))
}
