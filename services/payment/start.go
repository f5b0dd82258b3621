package payment

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
)

// bought is what a customer wants to pay for. Everything else is the catalogue's.
type bought struct {
	UserID                                uuid.UUID
	Purpose, ProductCode, Cycle, Provider string
	Metadata                              map[string]string
}

// start opens a payment that a customer begins. The catalogue names the order
// and the price; an order whose payment has failed is closed there and made anew.
func (s *Service) start(ctx context.Context, b bought) (payment, error) {
	var failed uuid.UUID
	// Twice, because the order found may be one whose payment has failed and
	// whose event is still on its way.
	for range 2 {
		in, err := s.shop.prepare(ctx, b, failed)
		if err != nil {
			return payment{}, err
		}
		in.Provider, in.Metadata = b.Provider, b.Metadata
		p, err := s.create(ctx, in)
		if err != nil {
			return payment{}, err
		}
		if p.State.Open() || p.State.Paid() {
			return p, nil
		}
		failed = in.RequestID
	}
	return payment{}, fail.New(fail.PaymentProviderUnavailable, "no payment could be opened").RetryAfter(providerAge)
}
