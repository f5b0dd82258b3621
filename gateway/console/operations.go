package console

import (
	"net/http"

	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
)

func (c *Console) operationPages() map[string]page {
	return map[string]page{
		"GET operations":                 {show: func(x *exchange) error { return x.operations(http.StatusOK, nil) }},
		"POST findings/{id}/acknowledge": {show: (*exchange).acknowledge},
		"POST webhook-events/{id}/retry": {show: (*exchange).retry},
		"GET roles":                      {show: (*exchange).roles},
	}
}

type operationsView struct {
	System   *adminv1.GetSystemResponse
	Findings part[*adminv1.ListFindingsResponse]
	Webhooks part[*adminv1.ListWebhookEventsResponse]
	MayMoney bool
}

func (x *exchange) operations(status int, p *Problem) error {
	v := operationsView{System: &adminv1.GetSystemResponse{}, MayMoney: x.s.may("payments.manage")}
	if err := x.get("/admin/system", nil, v.System); err != nil {
		return err
	}
	if v.MayMoney {
		var err error
		if v.Findings, err = load(x, "/admin/findings", x.query(), &adminv1.ListFindingsResponse{}); err != nil {
			return err
		}
		q := x.query()
		q.Set("state", "FAILED")
		if v.Webhooks, err = load(x, "/admin/webhook-events", q, &adminv1.ListWebhookEventsResponse{}); err != nil {
			return err
		}
	}
	x.draw(status, "Operations", "operations", operationsPage(v, p))
	return nil
}

func (x *exchange) acknowledge() error {
	if _, err := x.post("/admin/findings"+at(x.r.PathValue("id"))+"/acknowledge", map[string]string{"reason": x.r.PostFormValue("reason")}); err != nil {
		return refused(err, x.operations)
	}
	return x.back(Root+"operations", "acknowledge")
}

func (x *exchange) retry() error {
	if _, err := x.post("/admin/webhook-events"+at(x.r.PathValue("id"))+"/retry", map[string]string{"reason": x.r.PostFormValue("reason")}); err != nil {
		return refused(err, x.operations)
	}
	return x.back(Root+"operations", "retry")
}

func (x *exchange) roles() error {
	list, err := load(x, "/admin/roles", nil, &adminv1.ListRolesResponse{})
	if err != nil {
		return err
	}
	if !list.ok() {
		return list.Err
	}
	x.draw(http.StatusOK, "Admins and roles", "roles", rolesPage(list.Value))
	return nil
}
