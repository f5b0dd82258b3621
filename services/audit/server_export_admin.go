package audit

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

type adminExportServer struct {
	auditv1.UnimplementedAdminExportServiceServer
	*Service
}

// ListAllExports lists everybody's exports.
func (s *adminExportServer) ListAllExports(ctx context.Context, r *auditv1.ListAllExportsRequest) (*auditv1.ListAllExportsResponse, error) {
	var owner uuid.UUID
	if r.GetOwnerId() != "" {
		var err error
		if owner, err = id.Parse("usr", r.GetOwnerId()); err != nil {
			return nil, fail.New(fail.InvalidArgument, "the request is invalid").Field("ownerId", "must be a person's id, usr_…")
		}
	}
	state := ""
	if r.GetState() != auditv1.Export_STATE_UNSPECIFIED {
		state = r.GetState().String()
	}
	query, before := "audit.all_exports\x00"+r.GetOwnerId()+"\x00"+state, uuid.Max
	if r.GetPageToken() != "" {
		if err := s.pages.Open(query, r.GetPageToken(), &before); err != nil {
			return nil, err //nolint:wrapcheck // a refusal
		}
	}
	size := page.Size(r.GetPageSize())
	list, err := s.everyExport(ctx, owner, state, before, size+1)
	if err != nil {
		return nil, err
	}
	out := &auditv1.ListAllExportsResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal(query, list[size-1].ID)
	}
	for _, x := range list {
		out.Exports = append(out.Exports, wireExport(x))
	}
	filters := []detail{{"count", len(list)}}
	if r.GetOwnerId() != "" {
		filters = append(filters, detail{"filter.ownerId", r.GetOwnerId()})
	}
	if state != "" {
		filters = append(filters, detail{"filter.state", state})
	}
	if err := s.recordCaller(ctx, trail.AdminExportsListed, target{}, filters...); err != nil {
		return nil, err
	}
	return out, nil
}
