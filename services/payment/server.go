package payment

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/token"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
	"github.com/manas360/platform/services/payment/factstate"
)

// Register puts the service on g.
func (s *Service) Register(g *grpc.Server) {
	paymentv1.RegisterPaymentServiceServer(g, &publicServer{Service: s})
	paymentv1.RegisterPaymentInternalServiceServer(g, &internalServer{Service: s})
	paymentv1.RegisterRefundServiceServer(g, &refundServer{publicServer: &publicServer{Service: s}})
	paymentv1.RegisterRefundInternalServiceServer(g, &refundInternalServer{Service: s})
	paymentv1.RegisterWebhookEndpointServiceServer(g, &endpointServer{Service: s})
	s.listen(g)
	paymentv1.RegisterLedgerInternalServiceServer(g, &ledgerServer{Service: s})
	paymentv1.RegisterFindingInternalServiceServer(g, &findingServer{Service: s})
	paymentv1.RegisterWebhookEventInternalServiceServer(g, &webhookServer{Service: s})
	paymentv1.RegisterMandateServiceServer(g, &mandateServer{Service: s})
	paymentv1.RegisterMandateInternalServiceServer(g, &mandateInternalServer{Service: s})
	userv1.RegisterPersonalDataInternalServiceServer(g, &personalServer{Service: s})
	adminv1.RegisterStatusInternalServiceServer(g, outbox.NewStatus(s.db, schema, s.now))
	adminv1.RegisterFigureInternalServiceServer(g, &figureServer{Service: s})
}

type publicServer struct {
	paymentv1.UnimplementedPaymentServiceServer
	*Service
}

func (s *publicServer) ListPayments(ctx context.Context, r *paymentv1.ListPaymentsRequest) (*paymentv1.ListPaymentsResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	list, next, err := s.list(ctx, caller.UserID, r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	total, err := s.countPayments(ctx, caller.UserID)
	if err != nil {
		return nil, err
	}
	return &paymentv1.ListPaymentsResponse{Payments: packAll(list), NextPageToken: next, TotalSize: total}, nil
}

func (s *publicServer) GetPayment(ctx context.Context, r *paymentv1.GetPaymentRequest) (*paymentv1.GetPaymentResponse, error) {
	p, err := s.own(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	return &paymentv1.GetPaymentResponse{Payment: pack(p)}, nil
}

func (s *publicServer) SyncPayment(ctx context.Context, r *paymentv1.SyncPaymentRequest) (*paymentv1.SyncPaymentResponse, error) {
	p, err := s.own(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	if p, err = s.sync(ctx, p); err != nil {
		return nil, err
	}
	return &paymentv1.SyncPaymentResponse{Payment: pack(p)}, nil
}

// own reads the caller's payment. A malformed id, an unknown one and somebody
// else's are the same to the caller.
func (s *publicServer) own(ctx context.Context, text string) (payment, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return payment{}, err
	}
	paymentID, err := id.Parse("pay", text)
	if err != nil {
		return payment{}, fail.New(fail.NotFound, "there is no such payment").Wrap(err)
	}
	return s.ownPayment(ctx, paymentID, caller.UserID)
}

func signedIn(ctx context.Context) (*token.Caller, error) {
	c, ok := token.FromContext(ctx)
	if !ok || !c.SignedIn() {
		return nil, fail.New(fail.Unauthenticated, "sign-in required")
	}
	return c, nil
}

// cursor is the last row of a page.
type cursor struct {
	ID uuid.UUID `json:"id"`
}

// list gives a page of a user's payments and the token of the next.
func (s *Service) list(ctx context.Context, userID uuid.UUID, pageSize int32, pageToken string) ([]payment, string, error) {
	query := "payments of " + userID.String()
	from := cursor{ID: uuid.Max}
	if pageToken != "" {
		if err := s.pages.Open(query, pageToken, &from); err != nil {
			return nil, "", err //nolint:wrapcheck // already what the caller must see
		}
	}
	size := page.Size(pageSize)
	list, err := s.paymentsOfUser(ctx, userID, from.ID, size+1)
	if err != nil || len(list) <= size {
		return list, "", err
	}
	return list[:size], s.pages.Seal(query, cursor{ID: list[size-1].ID}), nil
}

func packAll(list []payment) []*paymentv1.Payment {
	out := make([]*paymentv1.Payment, 0, len(list))
	for _, p := range list {
		out = append(out, pack(p))
	}
	return out
}

func pack(p payment) *paymentv1.Payment {
	m := &paymentv1.Payment{
		Id: id.Format("pay", p.ID), State: packState(p.State), Provider: p.Provider, Purpose: p.Purpose,
		ProductCode: p.ProductCode, Metadata: p.Metadata,
		Amount:          &typev1.Money{CurrencyCode: p.Currency, AmountMinor: p.AmountMinor},
		RefundedAmount:  &typev1.Money{CurrencyCode: p.Currency, AmountMinor: p.RefundedMinor},
		MerchantOrderId: p.MerchantOrderID, CreatedAt: timestamppb.New(p.CreatedAt),
		Method: optional(p.Method), FailureCode: optional(p.FailureCode), RedirectUrl: optional(p.RedirectURL),
	}
	if p.PaidAt != nil {
		m.PaidAt = timestamppb.New(*p.PaidAt)
	}
	return m
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func packState(s factstate.State) paymentv1.Payment_State {
	return paymentv1.Payment_State(paymentv1.Payment_State_value[string(s)])
}
