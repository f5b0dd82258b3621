package console

import (
	"net/http"
	"net/url"

	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
)

func (c *Console) operationPages() map[string]page {
	pages := map[string]page{
		"GET dead-letters":               {show: func(x *exchange) error { return x.deadLetters(http.StatusOK, nil) }},
		"GET operations":                 {show: func(x *exchange) error { return x.operations(http.StatusOK, nil) }},
		"POST findings/{id}/acknowledge": {show: (*exchange).acknowledge},
		"POST webhook-events/{id}/retry": {show: (*exchange).retry},
		"GET roles":                      {show: (*exchange).roles},
	}
	for _, act := range []string{"requeue", "discard"} {
		pages["POST dead-letters/{service}/{destination}/{id}/"+act] = page{show: func(x *exchange) error { return x.deadLetterAct(act) }}
	}
	return pages
}

type operationsView struct {
	System     *adminv1.GetSystemResponse
	Findings   part[*adminv1.ListFindingsResponse]
	Webhooks   part[*adminv1.ListWebhookEventsResponse]
	MayMoney   bool
	MayLetters bool
}

func (x *exchange) operations(status int, p *Problem) error {
	v := operationsView{System: &adminv1.GetSystemResponse{}, MayMoney: x.s.may("payments.manage"), MayLetters: x.s.may("settings.manage")}
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

// senders are the services with an outbox.
var senders = []string{"auth", "user", "subscription", "payment", "admin"}

type deadView struct {
	Service string
	List    *adminv1.ListDeadLettersResponse
	Pager   pager
}

func (x *exchange) deadLetters(status int, p *Problem) error {
	service := firstOf(x.r.PathValue("service"), x.r.FormValue("service"), senders[0])
	q := x.query("destination")
	q.Set("service", service)
	list, err := load(x, "/admin/dead-letters", q, &adminv1.ListDeadLettersResponse{})
	if err != nil {
		return err
	}
	if !list.ok() {
		return list.Err
	}
	x.draw(status, "Dead letters", "operations", deadLettersPage(deadView{service, list.Value, x.pager(list.Value.GetNextPageToken())}, p))
	return nil
}

func (x *exchange) deadLetterAct(act string) error {
	service := x.r.PathValue("service")
	path := "/admin/dead-letters" + at(service, x.r.PathValue("destination"), x.r.PathValue("id")) + "/" + act
	if _, err := x.post(path, map[string]string{"reason": x.r.PostFormValue("reason")}); err != nil {
		return refused(err, x.deadLetters)
	}
	return x.back(Root+"dead-letters?service="+url.QueryEscape(service), "letter-"+act)
}
