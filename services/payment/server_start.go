package payment

import (
	"context"

	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

func (s *publicServer) StartPayment(ctx context.Context, r *paymentv1.StartPaymentRequest) (*paymentv1.StartPaymentResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.start(ctx, bought{
		UserID: caller.UserID, Purpose: r.GetPurpose(), ProductCode: r.GetProductCode(), Cycle: r.GetCycle(),
		Provider: r.GetProvider(), Metadata: r.GetMetadata(),
	})
	if err != nil {
		return nil, err
	}
	return &paymentv1.StartPaymentResponse{Payment: pack(p)}, nil
}
