package console

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

func (c *Console) userPages() map[string]page {
	pages := map[string]page{
		"GET users":             {show: (*exchange).users},
		"GET users/{id}":        {show: func(x *exchange) error { return x.user(http.StatusOK, nil) }},
		"POST users/{id}/roles": {show: (*exchange).setRoles},
		"GET therapists":        {show: func(x *exchange) error { return x.therapists(http.StatusOK, nil) }},
	}
	for _, act := range []string{"suspend", "reactivate", "unlock", "revoke-sessions"} {
		pages["POST users/{id}/"+act] = page{show: func(x *exchange) error { return x.userAct(act) }}
	}
	for _, act := range []string{"verify", "reject", "suspend"} {
		pages["POST therapists/{id}/"+act] = page{show: func(x *exchange) error { return x.therapistAct(act) }}
	}
	return pages
}

// query copies the named filters of a page into a call's, and asks for a page.
func (x *exchange) query(names ...string) url.Values {
	q := url.Values{"pageSize": {"25"}}
	for _, n := range append(names, "pageToken") {
		if v := strings.TrimSpace(x.r.FormValue(n)); v != "" {
			q.Set(n, v)
		}
	}
	return q
}

// next is the address of the page behind this one, or "".
func (x *exchange) next(token string) string {
	if token == "" {
		return ""
	}
	q := x.r.URL.Query()
	q.Del("done")
	q.Set("pageToken", token)
	return x.r.URL.Path + "?" + q.Encode()
}

// first is the address of the first page, when this is not it.
func (x *exchange) first() string {
	q := x.r.URL.Query()
	if q.Get("pageToken") == "" {
		return ""
	}
	q.Del("pageToken")
	return x.r.URL.Path + "?" + q.Encode()
}

type pager struct{ First, Next string }

func (x *exchange) pager(token string) pager { return pager{First: x.first(), Next: x.next(token)} }

// filters are what a search form shows again.
type filters map[string]string

func (x *exchange) filters(names ...string) filters {
	f := filters{}
	for _, n := range names {
		f[n] = x.r.FormValue(n)
	}
	return f
}

func (x *exchange) users() error {
	names := []string{"search", "role", "state", "sort"}
	list, err := load(x, "/admin/users", x.query(names...), &adminv1.ListUsersResponse{})
	if err != nil {
		return err
	}
	if !list.ok() {
		return list.Err
	}
	x.draw(http.StatusOK, "Users", "users", usersPage(list.Value, x.filters(names...), x.pager(list.Value.GetNextPageToken())))
	return nil
}

type userView struct {
	User     *adminv1.UserDetail
	Roles    part[*adminv1.ListRolesResponse]
	Timeline part[*auditv1.ListEventsResponse]
	MayAudit bool
	MayRoles bool
	Self     bool
}

// holds reports whether the person has a role.
func (v userView) holds(role string) bool { return slices.Contains(v.User.GetRoles(), role) }

func (x *exchange) user(status int, p *Problem) error {
	id := x.r.PathValue("id")
	v := userView{User: &adminv1.UserDetail{}, MayAudit: x.s.may("audit.read"), MayRoles: x.s.may("roles.manage"), Self: id == x.s.claims.Subject}
	if err := x.get("/admin/users"+at(id), nil, v.User); err != nil {
		return err
	}
	var err error
	if v.MayRoles {
		if v.Roles, err = load(x, "/admin/roles", nil, &adminv1.ListRolesResponse{}); err != nil {
			return err
		}
	}
	if v.MayAudit {
		q := url.Values{"resourceType": {"user"}, "resourceId": {id}, "pageSize": {"15"}}
		if v.Timeline, err = load(x, "/audit/events", q, &auditv1.ListEventsResponse{}); err != nil {
			return err
		}
	}
	x.draw(status, personName(v.User.GetFirstName(), v.User.GetLastName()), "users", userPage(v, p))
	return nil
}

// refused shows a refusal above the page a form stands on; what asks for more
// of a session than it has goes its own way.
func refused(err error, show func(status int, p *Problem) error) error {
	var p *Problem
	if !errors.As(err, &p) || p.Code == "STEP_UP_REQUIRED" || p.Code == "MFA_REQUIRED" || p.Status == http.StatusNotFound {
		return err
	}
	return show(p.Status, p)
}

func (x *exchange) userAct(act string) error {
	id := x.r.PathValue("id")
	m, err := x.post("/admin/users"+at(id)+"/"+act, map[string]string{"reason": x.r.PostFormValue("reason")})
	if err != nil {
		return refused(err, x.user)
	}
	return x.back(Root+"users"+at(id), done(m, act))
}

// done is the note of an act: what waits for another administrator says so.
func done(m *memory, act string) string {
	if m.status == http.StatusAccepted {
		return "waits"
	}
	return act
}

func (x *exchange) setRoles() error {
	id := x.r.PathValue("id")
	m, err := x.call(call{method: http.MethodPut, path: "/admin/users" + at(id) + "/roles", body: map[string]any{
		"roles": append([]string{}, x.r.PostForm["roles"]...), "reason": x.r.PostFormValue("reason"),
	}})
	if err != nil {
		return refused(err, x.user)
	}
	return x.back(Root+"users"+at(id), done(m, "roles"))
}

func (x *exchange) therapists(status int, p *Problem) error {
	list, err := load(x, "/admin/therapists", x.query("state"), &userv1.ListTherapistProfilesResponse{})
	if err != nil {
		return err
	}
	if !list.ok() {
		return list.Err
	}
	x.draw(status, "Therapists", "therapists", therapistsPage(list.Value, x.filters("state"), x.pager(list.Value.GetNextPageToken()), p))
	return nil
}

func (x *exchange) therapistAct(act string) error {
	if _, err := x.post("/admin/therapists"+at(x.r.PathValue("id"))+"/"+act, map[string]string{"reason": x.r.PostFormValue("reason")}); err != nil {
		return refused(err, x.therapists)
	}
	return x.back(Root+"therapists", "therapist-"+act)
}
