package admin

import (
	"context"

	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

// payoutServer is how those who earned are paid. payment keeps the payouts,
// decides who may do what, and writes the audit event of each act with this
// operator as its actor, in the transaction of the act.
type payoutServer struct {
	adminv1.UnimplementedAdminPayoutServiceServer
	*server
}

func (s *payoutServer) ListPayouts(ctx context.Context, r *adminv1.ListPayoutsRequest) (*adminv1.ListPayoutsResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.peers.ledger.ListPayouts(ctx, &paymentv1.ListPayoutsRequest{
		PageSize: r.GetPageSize(), PageToken: r.GetPageToken(), BeneficiaryId: r.GetBeneficiaryId(), State: r.GetState(),
	})
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, payoutsListed(caller, len(list.GetPayouts()), s.now())); err != nil {
		return nil, err
	}
	return &adminv1.ListPayoutsResponse{Payouts: list.GetPayouts(), NextPageToken: list.GetNextPageToken()}, nil
}

func (s *payoutServer) RequestPayout(ctx context.Context, r *adminv1.RequestPayoutRequest) (*adminv1.RequestPayoutResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.ledger.RequestPayout(ctx, &paymentv1.RequestPayoutRequest{
		BeneficiaryId: r.GetBeneficiaryId(), AmountMinor: r.AmountMinor, Reason: r.GetReason(),
	})
	if err != nil {
		return nil, err
	}
	return &adminv1.RequestPayoutResponse{Payout: out.GetPayout()}, nil
}

func (s *payoutServer) ApprovePayout(ctx context.Context, r *adminv1.ApprovePayoutRequest) (*adminv1.ApprovePayoutResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.ledger.ApprovePayout(ctx, &paymentv1.ApprovePayoutRequest{Id: r.GetId(), Reason: r.GetReason()})
	if err != nil {
		return nil, err
	}
	return &adminv1.ApprovePayoutResponse{Payout: out.GetPayout()}, nil
}

func (s *payoutServer) RejectPayout(ctx context.Context, r *adminv1.RejectPayoutRequest) (*adminv1.RejectPayoutResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.ledger.RejectPayout(ctx, &paymentv1.RejectPayoutRequest{Id: r.GetId(), Reason: r.GetReason()})
	if err != nil {
		return nil, err
	}
	return &adminv1.RejectPayoutResponse{Payout: out.GetPayout()}, nil
}

func (s *payoutServer) CompletePayout(ctx context.Context, r *adminv1.CompletePayoutRequest) (*adminv1.CompletePayoutResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.ledger.CompletePayout(ctx, &paymentv1.CompletePayoutRequest{
		Id: r.GetId(), Reason: r.GetReason(), BankReference: r.GetBankReference(),
	})
	if err != nil {
		return nil, err
	}
	return &adminv1.CompletePayoutResponse{Payout: out.GetPayout()}, nil
}

func (s *payoutServer) FailPayout(ctx context.Context, r *adminv1.FailPayoutRequest) (*adminv1.FailPayoutResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.ledger.FailPayout(ctx, &paymentv1.FailPayoutRequest{
		Id: r.GetId(), Reason: r.GetReason(), BankReference: r.GetBankReference(),
	})
	if err != nil {
		return nil, err
	}
	return &adminv1.FailPayoutResponse{Payout: out.GetPayout()}, nil
}
