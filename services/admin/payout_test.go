package admin

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

// payouts plays payment: it answers what it was asked.
type payouts struct {
	paymentv1.UnimplementedLedgerInternalServiceServer
}

func answer(state paymentv1.Payout_State, id, reason, ref string) *paymentv1.Payout {
	return &paymentv1.Payout{Id: id, State: state, Reason: reason, BankReference: &ref}
}

func (payouts) ListPayouts(_ context.Context, r *paymentv1.ListPayoutsRequest) (*paymentv1.ListPayoutsResponse, error) {
	return &paymentv1.ListPayoutsResponse{Payouts: []*paymentv1.Payout{answer(r.GetState(), r.GetBeneficiaryId(), "", "")}, NextPageToken: "next"}, nil
}

func (payouts) RequestPayout(_ context.Context, r *paymentv1.RequestPayoutRequest) (*paymentv1.RequestPayoutResponse, error) {
	if r.AmountMinor == nil {
		return nil, fail.New(fail.Conflict, "all of it was asked for")
	}
	return &paymentv1.RequestPayoutResponse{Payout: answer(paymentv1.Payout_PENDING, r.GetBeneficiaryId(), r.GetReason(), "")}, nil
}

func (payouts) ApprovePayout(_ context.Context, r *paymentv1.ApprovePayoutRequest) (*paymentv1.ApprovePayoutResponse, error) {
	return &paymentv1.ApprovePayoutResponse{Payout: answer(paymentv1.Payout_PROCESSING, r.GetId(), r.GetReason(), "")}, nil
}

func (payouts) RejectPayout(_ context.Context, r *paymentv1.RejectPayoutRequest) (*paymentv1.RejectPayoutResponse, error) {
	return &paymentv1.RejectPayoutResponse{Payout: answer(paymentv1.Payout_REJECTED, r.GetId(), r.GetReason(), "")}, nil
}

func (payouts) CompletePayout(_ context.Context, r *paymentv1.CompletePayoutRequest) (*paymentv1.CompletePayoutResponse, error) {
	return &paymentv1.CompletePayoutResponse{Payout: answer(paymentv1.Payout_COMPLETED, r.GetId(), r.GetReason(), r.GetBankReference())}, nil
}

func (payouts) FailPayout(_ context.Context, r *paymentv1.FailPayoutRequest) (*paymentv1.FailPayoutResponse, error) {
	return &paymentv1.FailPayoutResponse{Payout: answer(paymentv1.Payout_FAILED, r.GetId(), r.GetReason(), r.GetBankReference())}, nil
}

func TestPayouts(t *testing.T) {
	s, _ := open(t)
	s.peers.ledger = paymentv1.NewLedgerInternalServiceClient(
		serve(t, "payment", func(g *grpc.Server) { paymentv1.RegisterLedgerInternalServiceServer(g, payouts{}) }))
	p := &payoutServer{server: s}
	ctx := token.NewContext(t.Context(), &token.Caller{UserID: uuid.New(), Permissions: []string{"payments.payout"}, AMR: []string{"pwd", "otp", "mfa"}})
	const reason = "a reason of its own"
	list, err := p.ListPayouts(ctx, &adminv1.ListPayoutsRequest{BeneficiaryId: "usr_1", State: paymentv1.Payout_PENDING})
	if err != nil || list.GetNextPageToken() != "next" || list.GetPayouts()[0].GetId() != "usr_1" || list.GetPayouts()[0].GetState() != paymentv1.Payout_PENDING {
		t.Errorf("list: %v, %v", list, err)
	}
	if ev := recorded(t, s); len(ev) != 1 || ev[0].GetAction() != "admin.payouts_listed" {
		t.Errorf("recorded %v, want one look", ev)
	}
	amount := int64(10_000)
	acts := map[paymentv1.Payout_State]func(ctx context.Context) (*paymentv1.Payout, error){
		paymentv1.Payout_PENDING: func(ctx context.Context) (*paymentv1.Payout, error) {
			r, err := p.RequestPayout(ctx, &adminv1.RequestPayoutRequest{BeneficiaryId: "x", AmountMinor: &amount, Reason: reason})
			return r.GetPayout(), err
		},
		paymentv1.Payout_PROCESSING: func(ctx context.Context) (*paymentv1.Payout, error) {
			r, err := p.ApprovePayout(ctx, &adminv1.ApprovePayoutRequest{Id: "x", Reason: reason})
			return r.GetPayout(), err
		},
		paymentv1.Payout_REJECTED: func(ctx context.Context) (*paymentv1.Payout, error) {
			r, err := p.RejectPayout(ctx, &adminv1.RejectPayoutRequest{Id: "x", Reason: reason})
			return r.GetPayout(), err
		},
		paymentv1.Payout_COMPLETED: func(ctx context.Context) (*paymentv1.Payout, error) {
			r, err := p.CompletePayout(ctx, &adminv1.CompletePayoutRequest{Id: "x", Reason: reason, BankReference: "U1"})
			return r.GetPayout(), err
		},
		paymentv1.Payout_FAILED: func(ctx context.Context) (*paymentv1.Payout, error) {
			r, err := p.FailPayout(ctx, &adminv1.FailPayoutRequest{Id: "x", Reason: reason, BankReference: "U1"})
			return r.GetPayout(), err
		},
	}
	for state, act := range acts {
		got, err := act(ctx)
		settled := state == paymentv1.Payout_COMPLETED || state == paymentv1.Payout_FAILED
		if err != nil || got.GetState() != state || got.GetId() != "x" || got.GetReason() != reason || (got.GetBankReference() == "U1") != settled {
			t.Errorf("%s: %v, %v", state, got, err)
		}
		if _, err := act(t.Context()); !fail.Is(err, fail.Unauthenticated) {
			t.Errorf("%s by nobody: %v", state, err)
		}
	}
	if _, err := p.RequestPayout(ctx, &adminv1.RequestPayoutRequest{BeneficiaryId: "x", Reason: reason}); !fail.Is(err, fail.Conflict) {
		t.Errorf("all there is: %v", err)
	}
}
