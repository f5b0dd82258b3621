package audit

import (
	"testing"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// Who reads the log sees everybody's exports, by owner and state, page by page;
// that they looked is in the log.
func TestAllExports(t *testing.T) {
	s, _ := open(t)
	admin, exports := &adminExportServer{Service: s}, &exportServer{Service: s}
	other := uuid.Must(uuid.NewV7())
	for range 2 {
		for _, who := range []uuid.UUID{auditorID, other} {
			if _, err := exports.CreateExport(as(t, who), &auditv1.CreateExportRequest{Format: auditv1.Export_CSV}); err != nil {
				t.Fatal(err)
			}
		}
	}
	list := func(r *auditv1.ListAllExportsRequest) []*auditv1.Export {
		t.Helper()
		out, err := admin.ListAllExports(auditor(t), r)
		if err != nil {
			t.Fatal(err)
		}
		return out.GetExports()
	}
	if n := len(list(&auditv1.ListAllExportsRequest{})); n != 4 {
		t.Errorf("%d exports", n)
	}
	theirs := list(&auditv1.ListAllExportsRequest{OwnerId: id.Format("usr", other), State: auditv1.Export_QUEUED})
	if len(theirs) != 2 || theirs[0].GetOwnerId() != id.Format("usr", other) {
		t.Errorf("of one: %v", theirs)
	}
	if n := len(list(&auditv1.ListAllExportsRequest{State: auditv1.Export_DONE})); n != 0 {
		t.Errorf("%d are done", n)
	}
	seen := map[string]bool{}
	r := &auditv1.ListAllExportsRequest{PageSize: 3}
	for range 2 {
		out, err := admin.ListAllExports(auditor(t), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range out.GetExports() {
			seen[x.GetId()] = true
		}
		r.PageToken = out.GetNextPageToken()
	}
	if len(seen) != 4 || r.GetPageToken() != "" {
		t.Errorf("two pages have %d, then %q", len(seen), r.GetPageToken())
	}
	first, err := admin.ListAllExports(auditor(t), &auditv1.ListAllExportsRequest{PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []*auditv1.ListAllExportsRequest{
		{OwnerId: "nobody"}, {PageToken: "forged"}, {PageToken: first.GetNextPageToken(), State: auditv1.Export_QUEUED},
	} {
		if _, err := admin.ListAllExports(auditor(t), bad); !fail.Is(err, fail.InvalidArgument) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := admin.ListAllExports(t.Context(), &auditv1.ListAllExportsRequest{}); !fail.Is(err, fail.Unauthenticated) {
		t.Errorf("nobody: %v", err)
	}
	looks, err := (&publicServer{Service: s}).ListEvents(auditor(t), &auditv1.ListEventsRequest{Action: "admin.exports_listed"})
	if err != nil || len(looks.GetEvents()) != 6 {
		t.Errorf("%d looks are recorded, %v", len(looks.GetEvents()), err)
	}
}
