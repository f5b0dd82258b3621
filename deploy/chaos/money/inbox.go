package money

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

// inbox stands in for subscription, which knows nothing of these orders and
// would refuse their events.
type inbox struct {
	eventv1.UnimplementedEventInboxServiceServer

	addr   string
	server *grpc.Server

	mu   sync.Mutex // guards all below
	seen map[string]bool
	told map[uuid.UUID][]*paymentv1.PaymentStateChanged // by request, in the order of coming
}

func serveInbox(ctx context.Context, dir string) (*inbox, error) {
	id, err := identity(dir, "subscription")
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for events: %w", err)
	}
	b := &inbox{
		addr: l.Addr().String(), server: grpc.NewServer(grpc.Creds(credentials.NewTLS(id.Server()))),
		seen: map[string]bool{}, told: map[uuid.UUID][]*paymentv1.PaymentStateChanged{},
	}
	eventv1.RegisterEventInboxServiceServer(b.server, b)
	go func() { _ = b.server.Serve(l) }() // it ends with Stop
	return b, nil
}

// Deliver takes every event once.
func (b *inbox) Deliver(_ context.Context, q *eventv1.DeliverRequest) (*eventv1.DeliverResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &eventv1.DeliverResponse{}
	for _, ev := range q.GetEvents() {
		res := &eventv1.DeliverResponse_Result{Outcome: eventv1.DeliverResponse_Result_APPLIED}
		r.Results = append(r.Results, res)
		if b.seen[string(ev.GetId())] {
			res.Outcome = eventv1.DeliverResponse_Result_DUPLICATE
			continue
		}
		b.seen[string(ev.GetId())] = true
		if ev.GetType() != "manas.payment.v1.PaymentStateChanged" {
			continue
		}
		m := &paymentv1.PaymentStateChanged{}
		if err := proto.Unmarshal(ev.GetPayload(), m); err != nil {
			return nil, fmt.Errorf("read an event: %w", err)
		}
		request, err := uuid.FromBytes(m.GetRequestId())
		if err != nil {
			return nil, fmt.Errorf("read an event: %w", err)
		}
		b.told[request] = append(b.told[request], m)
	}
	return r, nil
}

// states is what was told of a payment.
func (b *inbox) states(request uuid.UUID) []paymentv1.Payment_State {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []paymentv1.Payment_State
	for _, m := range b.told[request] {
		all = append(all, m.GetState())
	}
	return all
}
