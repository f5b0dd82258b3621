package payment

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

type mandateServer struct {
	paymentv1.UnimplementedMandateServiceServer
	*Service
}

func (s *mandateServer) ListMandates(ctx context.Context, r *paymentv1.ListMandatesRequest) (*paymentv1.ListMandatesResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	query := "mandates of " + caller.UserID.String()
	from := cursor{ID: uuid.Max}
	if t := r.GetPageToken(); t != "" {
		if err := s.pages.Open(query, t, &from); err != nil {
			return nil, err //nolint:wrapcheck // already what the caller must see
		}
	}
	size := page.Size(r.GetPageSize())
	list, err := s.mandatesOfUser(ctx, caller.UserID, from.ID, size+1)
	if err != nil {
		return nil, err
	}
	total, err := s.countMandates(ctx, caller.UserID)
	if err != nil {
		return nil, err
	}
	out := &paymentv1.ListMandatesResponse{TotalSize: total}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal(query, cursor{ID: list[size-1].ID})
	}
	for _, m := range list {
		out.Mandates = append(out.Mandates, packMandate(m))
	}
	return out, nil
}

func (s *mandateServer) GetMandate(ctx context.Context, r *paymentv1.GetMandateRequest) (*paymentv1.GetMandateResponse, error) {
	m, err := s.own(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	return &paymentv1.GetMandateResponse{Mandate: packMandate(m)}, nil
}

func (s *mandateServer) CancelMandate(ctx context.Context, r *paymentv1.CancelMandateRequest) (*paymentv1.CancelMandateResponse, error) {
	m, err := s.own(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	if m, err = s.endMandate(ctx, m, actorOf{"user", id.Format("usr", m.UserID)}); err != nil {
		return nil, err
	}
	return &paymentv1.CancelMandateResponse{Mandate: packMandate(m)}, nil
}

// own reads the caller's mandate. A malformed id, an unknown one and somebody
// else's are the same to the caller.
func (s *mandateServer) own(ctx context.Context, text string) (mandate, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return mandate{}, err
	}
	none := fail.New(fail.NotFound, "there is no such mandate")
	mandateID, err := id.Parse("mdt", text)
	if err != nil {
		return mandate{}, none.Wrap(err)
	}
	m, err := s.ownMandate(ctx, mandateID, caller.UserID)
	if noSuch(err) {
		return mandate{}, none.Wrap(err)
	}
	return m, err
}

type mandateInternalServer struct {
	paymentv1.UnimplementedMandateInternalServiceServer
	*Service
}

func (s *mandateInternalServer) SetUpMandate(ctx context.Context, r *paymentv1.SetUpMandateRequest) (*paymentv1.SetUpMandateResponse, error) {
	requestID, err := parseUUID("requestId", r.GetRequestId())
	if err != nil {
		return nil, err
	}
	userID, err := parseUUID("userId", r.GetUserId())
	if err != nil {
		return nil, err
	}
	if r.GetMaxAmount().GetCurrencyCode() != r.GetAmount().GetCurrencyCode() {
		return nil, fail.New(fail.InvalidArgument, "the request is invalid").Field("maxAmount.currencyCode", "is not the amount's")
	}
	in := taxed(newPayment{
		RequestID: requestID, UserID: userID, Purpose: "subscription", ProductCode: r.GetProductCode(), Provider: r.GetProvider(),
	}, r.GetAmount(), r.GetTax())
	offer := newMandate{AmountType: r.GetAmountType().String(), MaxMinor: r.GetMaxAmount().GetAmountMinor(), Frequency: r.GetFrequency().String()}
	if t := r.GetExpiresAt(); t != nil {
		offer.ExpiresAt = t.AsTime()
	}
	m, p, err := s.setUpMandate(ctx, in, offer)
	if err != nil {
		return nil, err
	}
	return &paymentv1.SetUpMandateResponse{MandateId: m.ID[:], Mandate: packMandate(m), Payment: pack(p)}, nil
}

func (s *mandateInternalServer) ScheduleDebit(ctx context.Context, r *paymentv1.ScheduleDebitRequest) (*paymentv1.ScheduleDebitResponse, error) {
	requestID, err := parseUUID("requestId", r.GetRequestId())
	if err != nil {
		return nil, err
	}
	mandateID, err := parseUUID("mandateId", r.GetMandateId())
	if err != nil {
		return nil, err
	}
	p, d, err := s.schedule(ctx, newDebit{
		newPayment: taxed(newPayment{RequestID: requestID, ProductCode: r.GetProductCode()}, r.GetAmount(), r.GetTax()),
		MandateID:  mandateID, DueAt: r.GetDueAt().AsTime(),
	})
	if err != nil {
		return nil, err
	}
	return &paymentv1.ScheduleDebitResponse{Payment: pack(p), Cycle: d.Cycle}, nil
}

func (s *mandateInternalServer) EndMandate(ctx context.Context, r *paymentv1.EndMandateRequest) (*paymentv1.EndMandateResponse, error) {
	mandateID, err := parseUUID("mandateId", r.GetMandateId())
	if err != nil {
		return nil, err
	}
	m, err := s.mandate(ctx, mandateID)
	if err != nil {
		return nil, err
	}
	if m, err = s.endMandate(ctx, m, actorOf{"service", "subscription"}); err != nil {
		return nil, err
	}
	return &paymentv1.EndMandateResponse{Mandate: packMandate(m)}, nil
}

func taxed(in newPayment, amount *typev1.Money, tax *typev1.TaxBreakdown) newPayment {
	in.AmountMinor, in.Currency = amount.GetAmountMinor(), amount.GetCurrencyCode()
	in.TaxableMinor, in.CGSTMinor, in.SGSTMinor = tax.GetTaxableMinor(), tax.GetCgstMinor(), tax.GetSgstMinor()
	in.IGSTMinor, in.RoundOffMinor = tax.GetIgstMinor(), tax.GetRoundOffMinor()
	return in
}

func packMandate(m mandate) *paymentv1.Mandate {
	out := &paymentv1.Mandate{
		Id: id.Format("mdt", m.ID), State: packMandateState(m.State), Provider: m.Provider,
		MaxAmount:  &typev1.Money{CurrencyCode: m.Currency, AmountMinor: m.MaxMinor},
		AmountType: paymentv1.Mandate_AmountType(paymentv1.Mandate_AmountType_value[m.AmountType]),
		Frequency:  paymentv1.Mandate_Frequency(paymentv1.Mandate_Frequency_value[m.Frequency]),
		CreatedAt:  timestamppb.New(m.CreatedAt), ExpiresAt: timestamppb.New(m.ExpiresAt),
	}
	if m.CancelRequestedAt != nil {
		out.CancelRequestedAt = timestamppb.New(*m.CancelRequestedAt)
	}
	return out
}
