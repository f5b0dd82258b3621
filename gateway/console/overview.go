package console

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/protobuf/proto"

	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

func (c *Console) overviewPages() map[string]page {
	return map[string]page{"GET {$}": {show: (*exchange).overview}}
}

// part is a piece of a page that may be missing without the rest.
type part[T any] struct {
	Value T
	Err   *Problem
}

// load reads a part. What is not a refusal of the API ends the page.
func load[T proto.Message](x *exchange, path string, query url.Values, into T) (part[T], error) {
	err := x.get(path, query, into)
	var p *Problem
	if errors.As(err, &p) {
		return part[T]{Err: p}, nil
	}
	return part[T]{Value: into}, err
}

// ok reports whether the part is there.
func (p part[T]) ok() bool { return p.Err == nil }

type overview struct {
	Days          int
	Overview      part[*adminv1.GetOverviewResponse]
	Users         part[*adminv1.GetUserMetricsResponse]
	Revenue       part[*adminv1.GetRevenueResponse]
	Approvals     part[*adminv1.ListApprovalsResponse]
	Verification  part[*auditv1.GetVerificationResponse]
	MayApprove    bool
	MayReadAudit  bool
	MayReadFigure bool
}

func (x *exchange) overview() error {
	v := overview{
		Days: 30, MayApprove: x.s.may("payments.manage"),
		MayReadAudit: x.s.may("audit.read"), MayReadFigure: x.s.may("analytics.read"),
	}
	switch x.r.FormValue("days") {
	case "7":
		v.Days = 7
	case "90":
		v.Days = 90
	}
	now := x.now().UTC()
	span := url.Values{
		"startDate": {now.AddDate(0, 0, 1-v.Days).Format(time.DateOnly)}, "endDate": {now.Format(time.DateOnly)}, "granularity": {"DAY"},
	}
	var err error
	if v.MayReadFigure {
		if v.Overview, err = load(x, "/admin/metrics/overview", span, &adminv1.GetOverviewResponse{}); err != nil {
			return err
		}
		if v.Users, err = load(x, "/admin/metrics/users", span, &adminv1.GetUserMetricsResponse{}); err != nil {
			return err
		}
		if v.Revenue, err = load(x, "/admin/metrics/revenue", span, &adminv1.GetRevenueResponse{}); err != nil {
			return err
		}
	}
	if v.MayApprove {
		if v.Approvals, err = load(x, "/admin/approvals", url.Values{"pageSize": {"5"}}, &adminv1.ListApprovalsResponse{}); err != nil {
			return err
		}
	}
	if v.MayReadAudit {
		if v.Verification, err = load(x, "/audit/verification", nil, &auditv1.GetVerificationResponse{}); err != nil {
			return err
		}
	}
	x.draw(http.StatusOK, "Overview", "overview", overviewPage(v))
	return nil
}
