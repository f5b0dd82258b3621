package payment

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

type internalServer struct {
	paymentv1.UnimplementedPaymentInternalServiceServer
	*Service
}

func (s *internalServer) CreatePayment(ctx context.Context, r *paymentv1.CreatePaymentRequest) (*paymentv1.CreatePaymentResponse, error) {
	requestID, err := parseUUID("requestId", r.GetRequestId())
	if err != nil {
		return nil, err
	}
	userID, err := parseUUID("userId", r.GetUserId())
	if err != nil {
		return nil, err
	}
	beneficiary, err := optionalUUID("beneficiaryUserId", r.GetBeneficiaryUserId())
	if err != nil {
		return nil, err
	}
	p, err := s.create(ctx, newPayment{
		RequestID: requestID, UserID: userID, Purpose: r.GetPurpose(), ProductCode: r.GetProductCode(), Provider: r.GetProvider(), Cycle: r.GetCycle(),
		AmountMinor: r.GetAmount().GetAmountMinor(), Currency: r.GetAmount().GetCurrencyCode(),
		TaxableMinor: r.GetTax().GetTaxableMinor(), CGSTMinor: r.GetTax().GetCgstMinor(), SGSTMinor: r.GetTax().GetSgstMinor(),
		IGSTMinor: r.GetTax().GetIgstMinor(), RoundOffMinor: r.GetTax().GetRoundOffMinor(),
		BeneficiaryID: beneficiary, SplitRule: r.GetSplitRule(),
	})
	if err != nil {
		return nil, err
	}
	return &paymentv1.CreatePaymentResponse{Payment: pack(p)}, nil
}

func (s *internalServer) FindPayment(ctx context.Context, r *paymentv1.FindPaymentRequest) (*paymentv1.FindPaymentResponse, error) {
	requestID, err := parseUUID("requestId", r.GetRequestId())
	if err != nil {
		return nil, err
	}
	p, err := s.paymentOfRequest(ctx, requestID)
	if err != nil {
		return nil, err
	}
	return &paymentv1.FindPaymentResponse{Payment: pack(p)}, nil
}

func (s *internalServer) ReceiveEvent(ctx context.Context, r *paymentv1.ReceiveEventRequest) (*paymentv1.ReceiveEventResponse, error) {
	duplicate, err := s.receive(ctx, r.GetProvider(), r.GetHeaders(), r.GetBody())
	if err != nil {
		return nil, err
	}
	return &paymentv1.ReceiveEventResponse{Duplicate: duplicate}, nil
}

func (s *internalServer) ListUserPayments(ctx context.Context, r *paymentv1.ListUserPaymentsRequest) (*paymentv1.ListUserPaymentsResponse, error) {
	userID, err := parseUUID("userId", r.GetUserId())
	if err != nil {
		return nil, err
	}
	list, next, err := s.list(ctx, userID, r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &paymentv1.ListUserPaymentsResponse{Payments: packAll(list), NextPageToken: next}, nil
}

func parseUUID(field string, b []byte) (uuid.UUID, error) {
	u, err := uuid.FromBytes(b)
	if err != nil {
		return uuid.Nil, fail.New(fail.InvalidArgument, "the request is invalid").Field(field, "is not 16 bytes").Wrap(err)
	}
	return u, nil
}

// optionalUUID is nil for no bytes.
func optionalUUID(field string, b []byte) (*uuid.UUID, error) {
	if len(b) == 0 {
		return nil, nil //nolint:nilnil // nobody is named, and that is well
	}
	u, err := parseUUID(field, b)
	if err != nil {
		return nil, err
	}
	return &u, nil
}
