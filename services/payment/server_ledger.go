package payment

import (
	"context"
	"encoding/hex"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/trail"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

type ledgerServer struct {
	paymentv1.UnimplementedLedgerInternalServiceServer
	*Service
}

func (s *ledgerServer) ReleaseEarnings(ctx context.Context, r *paymentv1.ReleaseEarningsRequest) (*paymentv1.ReleaseEarningsResponse, error) {
	paymentID, err := parseUUID("paymentId", r.GetPaymentId())
	if err != nil {
		return nil, err
	}
	amount, currency, err := s.releaseEarnings(ctx, paymentID)
	if err != nil {
		return nil, err
	}
	return &paymentv1.ReleaseEarningsResponse{Amount: &typev1.Money{CurrencyCode: currency, AmountMinor: amount}}, nil
}

func (s *ledgerServer) ListPayouts(ctx context.Context, r *paymentv1.ListPayoutsRequest) (*paymentv1.ListPayoutsResponse, error) {
	var beneficiary *uuid.UUID
	if r.GetBeneficiaryId() != "" {
		b, err := beneficiaryOf(r.GetBeneficiaryId())
		if err != nil {
			return nil, err
		}
		beneficiary = &b
	}
	state := ""
	if r.GetState() != paymentv1.Payout_STATE_UNSPECIFIED {
		state = r.GetState().String()
	}
	query := "payouts " + r.GetBeneficiaryId() + " " + state
	from := cursor{ID: uuid.Max}
	if r.GetPageToken() != "" {
		if err := s.pages.Open(query, r.GetPageToken(), &from); err != nil {
			return nil, err //nolint:wrapcheck // already what the caller must see
		}
	}
	size := page.Size(r.GetPageSize())
	list, err := s.payouts(ctx, beneficiary, state, from.ID, size+1)
	if err != nil {
		return nil, err
	}
	out := &paymentv1.ListPayoutsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal(query, cursor{ID: list[size-1].ID})
	}
	for _, p := range list {
		out.Payouts = append(out.Payouts, packPayout(p, nil))
	}
	return out, nil
}

func (s *ledgerServer) RequestPayout(ctx context.Context, r *paymentv1.RequestPayoutRequest) (*paymentv1.RequestPayoutResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	beneficiary, err := beneficiaryOf(r.GetBeneficiaryId())
	if err != nil {
		return nil, err
	}
	p, err := s.requestPayout(ctx, caller.UserID, beneficiary, r.GetAmountMinor(), r.GetReason())
	if err != nil {
		return nil, err
	}
	m, err := s.whole(ctx, p)
	return &paymentv1.RequestPayoutResponse{Payout: m}, err
}

func (s *ledgerServer) ApprovePayout(ctx context.Context, r *paymentv1.ApprovePayoutRequest) (*paymentv1.ApprovePayoutResponse, error) {
	m, err := s.act(ctx, r.GetId(), act{action: trail.PayoutApproved, from: payoutPending, to: payoutProcessing, reason: r.GetReason()})
	return &paymentv1.ApprovePayoutResponse{Payout: m}, err
}

func (s *ledgerServer) RejectPayout(ctx context.Context, r *paymentv1.RejectPayoutRequest) (*paymentv1.RejectPayoutResponse, error) {
	m, err := s.act(ctx, r.GetId(), act{action: trail.PayoutRejected, from: payoutPending, to: payoutRejected, reason: r.GetReason()})
	return &paymentv1.RejectPayoutResponse{Payout: m}, err
}

func (s *ledgerServer) CompletePayout(ctx context.Context, r *paymentv1.CompletePayoutRequest) (*paymentv1.CompletePayoutResponse, error) {
	m, err := s.act(ctx, r.GetId(), act{
		action: trail.PayoutCompleted, from: payoutProcessing, to: payoutCompleted, reason: r.GetReason(), bankReference: r.GetBankReference(),
	})
	return &paymentv1.CompletePayoutResponse{Payout: m}, err
}

func (s *ledgerServer) FailPayout(ctx context.Context, r *paymentv1.FailPayoutRequest) (*paymentv1.FailPayoutResponse, error) {
	m, err := s.act(ctx, r.GetId(), act{
		action: trail.PayoutFailed, from: payoutProcessing, to: payoutFailed, reason: r.GetReason(), bankReference: r.GetBankReference(),
	})
	return &paymentv1.FailPayoutResponse{Payout: m}, err
}

func (s *ledgerServer) act(ctx context.Context, raw string, a act) (*paymentv1.Payout, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	payoutID, err := id.Parse(payoutPrefix, raw)
	if err != nil {
		return nil, fail.New(fail.NotFound, "there is no such payout").Wrap(err)
	}
	a.by = caller.UserID
	p, err := s.actOn(ctx, payoutID, a)
	if err != nil {
		return nil, err
	}
	return s.whole(ctx, p)
}

// whole is a payout with the payments it is for.
func (s *ledgerServer) whole(ctx context.Context, p payout) (*paymentv1.Payout, error) {
	items, err := s.itemsOf(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	return packPayout(p, items), nil
}

func (s *ledgerServer) ExportLedger(ctx context.Context, r *paymentv1.ExportLedgerRequest) (*paymentv1.ExportLedgerResponse, error) {
	const query = "ledger"
	from := struct{ Seq int64 }{}
	if r.GetPageToken() != "" {
		if err := s.pages.Open(query, r.GetPageToken(), &from); err != nil {
			return nil, err //nolint:wrapcheck // already what the caller must see
		}
	}
	text, last, more, err := s.export(ctx, from.Seq, exportPage)
	if err != nil {
		return nil, err
	}
	out := &paymentv1.ExportLedgerResponse{Text: text}
	if more {
		from.Seq = last
		out.NextPageToken = s.pages.Seal(query, from)
	}
	return out, nil
}

func (s *ledgerServer) VerifyLedger(ctx context.Context, _ *paymentv1.VerifyLedgerRequest) (*paymentv1.VerifyLedgerResponse, error) {
	v, err := s.verify(ctx)
	if err != nil {
		return nil, err
	}
	return &paymentv1.VerifyLedgerResponse{Journals: v.journals, Problems: v.problems, Head: hex.EncodeToString(v.head[:])}, nil
}

func beneficiaryOf(raw string) (uuid.UUID, error) {
	u, err := id.Parse("usr", raw)
	if err != nil {
		return uuid.Nil, fail.New(fail.NotFound, "there is no such payee").Wrap(err)
	}
	return u, nil
}

func packPayout(p payout, items []payoutItem) *paymentv1.Payout {
	m := &paymentv1.Payout{
		Id: id.Format(payoutPrefix, p.ID), BeneficiaryId: id.Format("usr", p.BeneficiaryID),
		Amount: &typev1.Money{CurrencyCode: p.Currency, AmountMinor: p.AmountMinor},
		State:  paymentv1.Payout_State(paymentv1.Payout_State_value[string(p.State)]), RequestedBy: id.Format("usr", p.RequestedBy),
		Reason: p.Reason, DecidedAt: stamp(p.DecidedAt), SettledAt: stamp(p.SettledAt), BankReference: optional(p.BankReference),
		Failure: optional(p.Failure), CreatedAt: timestamppb.New(p.CreatedAt),
	}
	if p.DecidedBy != nil {
		by := id.Format("usr", *p.DecidedBy)
		m.DecidedBy = &by
	}
	for _, i := range items {
		m.Items = append(m.Items, &paymentv1.Payout_Item{
			PaymentId: id.Format("pay", i.PaymentID), Amount: &typev1.Money{CurrencyCode: p.Currency, AmountMinor: i.AmountMinor},
		})
	}
	return m
}
