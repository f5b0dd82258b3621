package payment

import (
	"context"
	"crypto/sha256"

	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

type refundServer struct {
	paymentv1.UnimplementedRefundServiceServer
	*publicServer
}

func (s *refundServer) QuoteRefund(ctx context.Context, r *paymentv1.QuoteRefundRequest) (*paymentv1.QuoteRefundResponse, error) {
	p, err := s.own(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	q, err := s.quoteOf(ctx, p)
	if err != nil {
		return nil, err
	}
	return &paymentv1.QuoteRefundResponse{Quote: &paymentv1.RefundQuote{
		Amount: &typev1.Money{CurrencyCode: p.Currency, AmountMinor: q.AmountMinor}, Policy: q.Policy,
		ValidUntil: timestamppb.New(q.Until), QuoteHash: q.Hash,
	}}, nil
}

func (s *refundServer) RefundPayment(ctx context.Context, r *paymentv1.RefundPaymentRequest) (*paymentv1.RefundPaymentResponse, error) {
	p, err := s.own(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	made, err := s.refundOwn(ctx, p, r.GetQuoteHash(), r.GetReason(), requestKey(ctx, p.UserID))
	if err != nil {
		return nil, err
	}
	return &paymentv1.RefundPaymentResponse{Refund: packRefund(made, p.Currency)}, nil
}

func (s *refundServer) ListRefunds(ctx context.Context, r *paymentv1.ListRefundsRequest) (*paymentv1.ListRefundsResponse, error) {
	p, err := s.own(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	list, next, err := paged(s.Service, "refunds of "+p.ID.String(), r.GetPageSize(), r.GetPageToken(),
		func(before uuid.UUID, limit int) ([]refund, error) { return s.refundsOf(ctx, p.ID, before, limit) },
		func(r refund) uuid.UUID { return r.ID })
	if err != nil {
		return nil, err
	}
	out := &paymentv1.ListRefundsResponse{NextPageToken: next}
	for _, x := range list {
		out.Refunds = append(out.Refunds, packRefund(x, p.Currency))
	}
	return out, nil
}

// requestKey names a wish by who has it and their Idempotency-Key; nil without
// one. The stored answers cover repeats; this covers an answer that was never
// stored, because we died.
func requestKey(ctx context.Context, by uuid.UUID) []byte {
	keys := metadata.ValueFromIncomingContext(ctx, "idempotency-key")
	if len(keys) == 0 {
		return nil
	}
	sum := sha256.Sum256(append(by[:], keys[0]...))
	return sum[:]
}

// paged gives a page of a list that is read newest first from before an id.
func paged[T any](s *Service, query string, pageSize int32, pageToken string, read func(before uuid.UUID, limit int) ([]T, error), idOf func(T) uuid.UUID) (list []T, next string, err error) {
	from := cursor{ID: uuid.Max}
	if pageToken != "" {
		if err := s.pages.Open(query, pageToken, &from); err != nil {
			return nil, "", err //nolint:wrapcheck // already what the caller must see
		}
	}
	size := page.Size(pageSize)
	if list, err = read(from.ID, size+1); err != nil || len(list) <= size {
		return list, "", err
	}
	return list[:size], s.pages.Seal(query, cursor{ID: idOf(list[size-1])}), nil
}

type refundInternalServer struct {
	paymentv1.UnimplementedRefundInternalServiceServer
	*Service
}

func (s *refundInternalServer) FindPayments(ctx context.Context, r *paymentv1.FindPaymentsRequest) (*paymentv1.FindPaymentsResponse, error) {
	w := wantedPayments{State: "", Provider: r.GetProvider(), NeedsReview: r.GetNeedsReview()}
	if r.GetState() != paymentv1.Payment_STATE_UNSPECIFIED {
		w.State = r.GetState().String()
	}
	if r.GetUserId() != "" {
		userID, err := id.Parse("usr", r.GetUserId())
		if err != nil {
			return nil, fail.New(fail.InvalidArgument, "the request is invalid").Field("userId", "is not an id").Wrap(err)
		}
		w.UserID = &userID
	}
	list, next, err := paged(s.Service, "all payments "+w.State+r.GetUserId()+w.Provider, r.GetPageSize(), r.GetPageToken(),
		func(before uuid.UUID, limit int) ([]payment, error) { return s.findPayments(ctx, w, before, limit) },
		func(p payment) uuid.UUID { return p.ID })
	if err != nil {
		return nil, err
	}
	out := &paymentv1.FindPaymentsResponse{NextPageToken: next}
	for _, p := range list {
		out.Payments = append(out.Payments, &paymentv1.FoundPayment{
			Payment: pack(p), UserId: id.Format("usr", p.UserID), NeedsReview: p.NeedsReview, Disputed: p.Disputed,
		})
	}
	return out, nil
}

func (s *refundInternalServer) RequestRefund(ctx context.Context, r *paymentv1.RequestRefundRequest) (*paymentv1.RequestRefundResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	paymentID, err := id.Parse("pay", r.GetPaymentId())
	if err != nil {
		return nil, fail.New(fail.NotFound, "there is no such payment").Wrap(err)
	}
	w := wantedRefund{PaymentID: paymentID, Origin: refundByAdmin, Reason: r.GetReason(), By: caller.UserID, Key: requestKey(ctx, caller.UserID)}
	if m := r.GetAmount(); m != nil {
		bad := fail.New(fail.InvalidArgument, "the request is invalid")
		switch {
		case m.GetAmountMinor() <= 0:
			return nil, bad.Field("amount.amountMinor", "is not above zero")
		case m.GetCurrencyCode() != phonepeCurrency:
			return nil, bad.Field("amount.currencyCode", "is not the payment's currency")
		}
		w.AmountMinor = m.GetAmountMinor()
	}
	made, err := s.requestRefund(ctx, w)
	if err != nil {
		return nil, err
	}
	return &paymentv1.RequestRefundResponse{Refund: packRefund(made, phonepeCurrency)}, nil
}

func (s *refundInternalServer) DecideRefund(ctx context.Context, r *paymentv1.DecideRefundRequest) (*paymentv1.DecideRefundResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	refundID, err := parseUUID("refundId", r.GetRefundId())
	if err != nil {
		return nil, err
	}
	decide := s.rejectRefund
	if r.GetApprove() {
		decide = s.approveRefund
	}
	made, err := decide(ctx, refundID, caller.UserID, r.GetReason())
	if err != nil {
		return nil, err
	}
	return &paymentv1.DecideRefundResponse{Refund: packRefund(made, phonepeCurrency)}, nil
}

func (s *refundInternalServer) FindRefunds(ctx context.Context, r *paymentv1.FindRefundsRequest) (*paymentv1.FindRefundsResponse, error) {
	state := ""
	if r.GetState() != paymentv1.Refund_STATE_UNSPECIFIED {
		state = r.GetState().String()
	}
	list, next, err := paged(s.Service, "all refunds "+state, r.GetPageSize(), r.GetPageToken(),
		func(before uuid.UUID, limit int) ([]refund, error) { return s.refundsIn(ctx, state, before, limit) },
		func(r refund) uuid.UUID { return r.ID })
	if err != nil {
		return nil, err
	}
	out := &paymentv1.FindRefundsResponse{NextPageToken: next}
	for _, x := range list {
		out.Refunds = append(out.Refunds, packRefund(x, phonepeCurrency))
	}
	return out, nil
}

func packRefund(r refund, currency string) *paymentv1.Refund {
	m := &paymentv1.Refund{
		Id: id.Format(refundPrefix, r.ID), PaymentId: id.Format("pay", r.PaymentID),
		State:  paymentv1.Refund_State(paymentv1.Refund_State_value[r.State]),
		Amount: &typev1.Money{CurrencyCode: currency, AmountMinor: r.AmountMinor}, Reason: r.Reason, MerchantRefundId: r.MerchantRefundID,
		FailureCode: optional(r.FailureCode), CreatedAt: timestamppb.New(r.CreatedAt), CompletedAt: stamp(r.DoneAt),
	}
	if r.RequestedBy != nil {
		m.RequestedBy = optional(id.Format("usr", *r.RequestedBy))
	}
	if r.DecidedBy != nil {
		m.DecidedBy = optional(id.Format("usr", *r.DecidedBy))
	}
	return m
}
