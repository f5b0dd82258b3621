package admin

import (
	"context"

	"github.com/manas360/platform/pkg/trail"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

// findingServer shows what the sweep of the money found. payment keeps it.
type findingServer struct {
	adminv1.UnimplementedAdminFindingServiceServer
	*server
}

func (s *findingServer) ListFindings(ctx context.Context, r *adminv1.ListFindingsRequest) (*adminv1.ListFindingsResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.peers.findings.ListFindings(ctx, &paymentv1.ListFindingsRequest{
		PageSize: r.GetPageSize(), PageToken: r.GetPageToken(), Invariant: r.GetInvariant(), IncludeResolved: r.GetIncludeResolved(),
	})
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, listed(caller, trail.AdminFindingsListed, len(list.GetFindings()), s.now())); err != nil {
		return nil, err
	}
	return &adminv1.ListFindingsResponse{Findings: list.GetFindings(), NextPageToken: list.GetNextPageToken()}, nil
}

func (s *findingServer) AcknowledgeFinding(ctx context.Context, r *adminv1.AcknowledgeFindingRequest) (*adminv1.AcknowledgeFindingResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.findings.AcknowledgeFinding(ctx, &paymentv1.AcknowledgeFindingRequest{Id: r.GetId(), Reason: r.GetReason()})
	if err != nil {
		return nil, err
	}
	return &adminv1.AcknowledgeFindingResponse{Finding: out.GetFinding()}, nil
}
