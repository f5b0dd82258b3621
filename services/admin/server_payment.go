package admin

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/idem"
	"github.com/manas360/platform/pkg/trail"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

const (
	refundPrefix   = "rfd"
	approvalPrefix = "apr" // of the refund's own uuid: an approval is a refund that waits
	acceptedHeader = "x-accepted"
)

// paymentServer is what operators do about payments. payment decides, acts and
// records.
type paymentServer struct {
	adminv1.UnimplementedAdminPaymentServiceServer
	*server
}

func (s *paymentServer) ListPayments(ctx context.Context, r *adminv1.ListPaymentsRequest) (*adminv1.ListPaymentsResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.peers.refunds.FindPayments(ctx, &paymentv1.FindPaymentsRequest{
		PageSize: r.GetPageSize(), PageToken: r.GetPageToken(), State: r.GetState(), UserId: r.GetUserId(), Provider: r.GetProvider(), NeedsReview: r.GetNeedsReview(),
	})
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, listed(caller, trail.AdminPaymentsListed, len(list.GetPayments()), s.now())); err != nil {
		return nil, err
	}
	out := &adminv1.ListPaymentsResponse{NextPageToken: list.GetNextPageToken()}
	for _, f := range list.GetPayments() {
		out.Payments = append(out.Payments, packAdminPayment(f))
	}
	return out, nil
}

func (s *paymentServer) RefundPayment(ctx context.Context, r *adminv1.RefundPaymentRequest) (*adminv1.RefundPaymentResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	var told metadata.MD
	out, err := s.peers.refunds.RequestRefund(carryKey(ctx), &paymentv1.RequestRefundRequest{
		PaymentId: r.GetId(), Amount: r.GetAmount(), Reason: r.GetReason(),
	}, grpc.Header(&told))
	if err != nil {
		return nil, err
	}
	tell := metadata.MD{}
	tell.Append(idem.ReplayedHeader, told.Get(idem.ReplayedHeader)...)
	if out.GetRefund().GetState() == paymentv1.Refund_REQUESTED {
		tell.Set(acceptedHeader, "true")
	}
	if err := grpc.SetHeader(ctx, tell); err != nil {
		return nil, fmt.Errorf("say how it was answered: %w", err)
	}
	return &adminv1.RefundPaymentResponse{Refund: packRefund(out.GetRefund())}, nil
}

// carryKey hands the client's Idempotency-Key on to payment, which keeps the
// answer: nothing is kept twice.
func carryKey(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	if key := md.Get("idempotency-key"); len(key) > 0 {
		return metadata.AppendToOutgoingContext(ctx, "idempotency-key", key[0])
	}
	return ctx
}

func (s *paymentServer) ListApprovals(ctx context.Context, r *adminv1.ListApprovalsRequest) (*adminv1.ListApprovalsResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	var own []*adminv1.Approval
	if r.GetPageToken() == "" { // few wait at a time: one page holds them
		if own, err = s.waiting(ctx, caller); err != nil {
			return nil, err
		}
	}
	list, err := s.peers.refunds.FindRefunds(ctx, &paymentv1.FindRefundsRequest{
		PageSize: r.GetPageSize(), PageToken: r.GetPageToken(), State: paymentv1.Refund_REQUESTED,
	})
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, listed(caller, trail.AdminApprovalsListed, len(own)+len(list.GetRefunds()), s.now())); err != nil {
		return nil, err
	}
	out := &adminv1.ListApprovalsResponse{Approvals: own, NextPageToken: list.GetNextPageToken()}
	for _, x := range list.GetRefunds() {
		out.Approvals = append(out.Approvals, packApproval(x))
	}
	return out, nil
}

func (s *paymentServer) ApproveApproval(ctx context.Context, r *adminv1.ApproveApprovalRequest) (*adminv1.ApproveApprovalResponse, error) {
	if a, ours, err := s.decideOwn(ctx, r.GetId(), r.GetReason(), true); err != nil || ours {
		return &adminv1.ApproveApprovalResponse{Approval: a}, err
	}
	x, err := s.decide(ctx, r.GetId(), r.GetReason(), true)
	if err != nil {
		return nil, err
	}
	return &adminv1.ApproveApprovalResponse{Approval: packApproval(x)}, nil
}

func (s *paymentServer) RejectApproval(ctx context.Context, r *adminv1.RejectApprovalRequest) (*adminv1.RejectApprovalResponse, error) {
	if a, ours, err := s.decideOwn(ctx, r.GetId(), r.GetReason(), false); err != nil || ours {
		return &adminv1.RejectApprovalResponse{Approval: a}, err
	}
	x, err := s.decide(ctx, r.GetId(), r.GetReason(), false)
	if err != nil {
		return nil, err
	}
	return &adminv1.RejectApprovalResponse{Approval: packApproval(x)}, nil
}

// decide names the refund by its approval, or by its own id.
func (s *paymentServer) decide(ctx context.Context, raw, reason string, approve bool) (*paymentv1.Refund, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	refundID, err := id.Parse(approvalPrefix, raw)
	if err != nil {
		if refundID, err = id.Parse(refundPrefix, raw); err != nil {
			return nil, fail.New(fail.NotFound, "there is no such approval").Wrap(err)
		}
	}
	out, err := s.peers.refunds.DecideRefund(ctx, &paymentv1.DecideRefundRequest{RefundId: refundID[:], Approve: approve, Reason: reason})
	if err != nil {
		return nil, err
	}
	return out.GetRefund(), nil
}

func packAdminPayment(f *paymentv1.FoundPayment) *adminv1.AdminPayment {
	p := f.GetPayment()
	return &adminv1.AdminPayment{
		Id: p.GetId(), State: p.GetState(), Amount: p.GetAmount(), RefundedAmount: p.GetRefundedAmount(), Provider: p.GetProvider(),
		MerchantOrderId: p.GetMerchantOrderId(), Method: p.Method, FailureCode: p.FailureCode, CreatedAt: p.GetCreatedAt(), PaidAt: p.GetPaidAt(),
		Purpose: p.GetPurpose(), ProductCode: p.GetProductCode(), UserId: f.GetUserId(), NeedsReview: f.GetNeedsReview(), Disputed: f.GetDisputed(),
	}
}

func packRefund(x *paymentv1.Refund) *adminv1.AdminRefund {
	m := &adminv1.AdminRefund{
		Id: x.GetId(), PaymentId: x.GetPaymentId(), State: x.GetState(), Amount: x.GetAmount(), Reason: x.GetReason(), MerchantRefundId: x.GetMerchantRefundId(),
		FailureCode: x.FailureCode, RequestedBy: x.RequestedBy, DecidedBy: x.DecidedBy,
		CreatedAt: x.GetCreatedAt(), CompletedAt: x.GetCompletedAt(),
	}
	if x.GetState() == paymentv1.Refund_REQUESTED {
		a := approvalID(x)
		m.ApprovalId = &a
	}
	return m
}

func approvalID(x *paymentv1.Refund) string {
	refundID, err := id.Parse(refundPrefix, x.GetId())
	if err != nil {
		refundID = uuid.Nil // payment's own ids are well formed
	}
	return id.Format(approvalPrefix, refundID)
}

// packApproval tells of the decision; what the bank does afterwards is the
// refund's own state.
func packApproval(x *paymentv1.Refund) *adminv1.Approval {
	state := "APPROVED"
	switch x.GetState() {
	case paymentv1.Refund_REQUESTED:
		state = "PENDING"
	case paymentv1.Refund_REJECTED:
		state = "REJECTED"
	default:
	}
	return &adminv1.Approval{
		Id: approvalID(x), Kind: "REFUND", State: state, RequestedBy: x.GetRequestedBy(), Reason: x.GetReason(), DecidedBy: x.DecidedBy,
		CreatedAt: x.GetCreatedAt(), Refund: packRefund(x),
	}
}
