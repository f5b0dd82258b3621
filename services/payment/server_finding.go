package payment

import (
	"context"
	"strconv"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

const findingPrefix = "fnd"

type findingServer struct {
	paymentv1.UnimplementedFindingInternalServiceServer
	*Service
}

func (s *findingServer) ListFindings(ctx context.Context, r *paymentv1.ListFindingsRequest) (*paymentv1.ListFindingsResponse, error) {
	query := "findings " + r.GetInvariant() + strconv.FormatBool(r.GetIncludeResolved())
	from := cursor{ID: uuid.Max}
	if r.GetPageToken() != "" {
		if err := s.pages.Open(query, r.GetPageToken(), &from); err != nil {
			return nil, err //nolint:wrapcheck // already what the caller must see
		}
	}
	size := page.Size(r.GetPageSize())
	list, err := s.findings(ctx, r.GetInvariant(), r.GetIncludeResolved(), from.ID, size+1)
	if err != nil {
		return nil, err
	}
	out := &paymentv1.ListFindingsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal(query, cursor{ID: list[size-1].ID})
	}
	for _, f := range list {
		out.Findings = append(out.Findings, packFinding(f))
	}
	return out, nil
}

func (s *findingServer) AcknowledgeFinding(ctx context.Context, r *paymentv1.AcknowledgeFindingRequest) (*paymentv1.AcknowledgeFindingResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	findingID, err := id.Parse(findingPrefix, r.GetId())
	if err != nil {
		return nil, fail.New(fail.NotFound, "there is no such finding").Wrap(err)
	}
	f, err := s.acknowledge(ctx, findingID, caller.UserID, r.GetReason())
	if err != nil {
		return nil, err
	}
	return &paymentv1.AcknowledgeFindingResponse{Finding: packFinding(f)}, nil
}

func packFinding(f finding) *paymentv1.Finding {
	m := &paymentv1.Finding{
		Id: id.Format(findingPrefix, f.ID), Invariant: f.Invariant, Subject: f.Subject, Detail: f.Detail,
		FirstSeenAt: timestamppb.New(f.FirstSeen), LastSeenAt: timestamppb.New(f.LastSeen),
		ResolvedAt: stamp(f.ResolvedAt), AcknowledgedAt: stamp(f.AcknowledgedAt), Note: optional(f.Note),
	}
	if f.AcknowledgedBy != nil {
		by := id.Format("usr", *f.AcknowledgedBy)
		m.AcknowledgedBy = &by
	}
	return m
}

// stamp is a time that may not have come.
func stamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
