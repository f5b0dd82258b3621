package e2e_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/manas360/platform/deploy/internal/api"
	"github.com/manas360/platform/pkg/id"
)

func refresh(token string) api.Call {
	return api.Call{Method: "POST", URL: "/auth/refresh", Body: body{"refreshToken": token}}
}

func TestRefreshRotates(t *testing.T) {
	p := join(t)
	first, access := p.refresh, p.token
	p.renew()
	if p.refresh == first || p.token == access {
		t.Error("the tokens are the old ones")
	}
	p.want(200, "", p.me())
	p.renew()
	// Two rotations back: nobody but a thief has it.
	p.want(401, "REFRESH_REUSED", refresh(first))
	p.until(atOnce, 401, "TOKEN_REVOKED", p.me())
	p.want(401, "INVALID_REFRESH_TOKEN", refresh(p.refresh))
	p.login()
	p.want(200, "", p.me())
}

// TestTwoTabs refresh with the same token at the same time, and both go on.
func TestTwoTabs(t *testing.T) {
	p := join(t)
	tabs := make([]api.Answer, 2)
	var group sync.WaitGroup
	for i := range tabs {
		group.Go(func() {
			in := refresh(p.refresh)
			in.URL = suite.api + in.URL
			a, err := p.client.Send(t.Context(), in)
			if err != nil {
				t.Error(err)
			}
			tabs[i] = a
		})
	}
	group.Wait()
	for _, tab := range tabs {
		if tab.Status != 200 {
			t.Fatalf("a tab got %d: %s", tab.Status, tab.Raw)
		}
		p.want(200, "", api.Call{Method: "GET", URL: "/users/me", Token: tab.Str("accessToken")})
	}
	for _, tab := range tabs { // and once more
		again := p.want(200, "", refresh(tab.Str("refreshToken")))
		p.want(200, "", api.Call{Method: "GET", URL: "/users/me", Token: again.Str("accessToken")})
	}
}

// TestReuseAfterTheGrace has the rotation lie eleven seconds back.
func TestReuseAfterTheGrace(t *testing.T) {
	p := join(t)
	old := p.refresh
	p.renew()
	sid, _ := claimsOf(t, p.token, "sid").(string)
	key, err := id.Parse("ses", sid)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := database(t).Exec(t.Context(), `UPDATE auth.session SET rotated_at = rotated_at - interval '11 s' WHERE id = $1`, key)
	if err != nil || tag.RowsAffected() != 1 {
		t.Fatalf("age the session: %v %v", tag, err)
	}
	p.want(401, "REFRESH_REUSED", refresh(old))
	p.want(401, "INVALID_REFRESH_TOKEN", refresh(p.refresh))
	p.until(atOnce, 401, "TOKEN_REVOKED", p.me())
}

func TestLogout(t *testing.T) {
	p := join(t)
	second := &person{caller: newCaller(t), email: p.email, password: p.password}
	second.login()
	third := &person{caller: newCaller(t), email: p.email, password: p.password}
	third.login()
	list := p.get("/auth/sessions").List("sessions")
	current := 0
	for _, s := range list {
		if s["current"] == true {
			current++
		}
	}
	if len(list) != 3 || current != 1 {
		t.Errorf("sessions %v, want 3 with one current", list)
	}
	p.want(204, "", api.Call{Method: "POST", URL: "/auth/logout", Token: p.token})
	p.until(atOnce, 401, "TOKEN_REVOKED", p.me())
	p.want(401, "INVALID_REFRESH_TOKEN", refresh(p.refresh))
	second.want(200, "", second.me()) // the others go on
	sid, _ := claimsOf(t, third.token, "sid").(string)
	second.want(204, "", api.Call{Method: "DELETE", URL: "/auth/sessions/" + sid, Token: second.token})
	third.until(atOnce, 401, "TOKEN_REVOKED", third.me())
	third.login()
	second.want(204, "", api.Call{Method: "POST", URL: "/auth/logout-all", Token: second.token})
	second.until(atOnce, 401, "TOKEN_REVOKED", second.me())
	third.until(atOnce, 401, "TOKEN_REVOKED", third.me())
}

func TestSuspension(t *testing.T) {
	admin, p := signInSuperadmin(t), join(t)
	admin.act("suspend", p.id)
	p.until(atOnce, 401, "TOKEN_REVOKED", p.me())
	p.want(401, "INVALID_REFRESH_TOKEN", refresh(p.refresh))
	login := func(password string) api.Call {
		return api.Call{Method: "POST", URL: "/auth/login", Body: body{"email": p.email, "password": password}}
	}
	p.want(401, "INVALID_CREDENTIALS", login("wrong horse 12"))
	p.want(403, "ACCOUNT_SUSPENDED", login(p.password))
	admin.act("suspend", p.id) // again changes nothing
	admin.act("reactivate", p.id)
	p.want(401, "TOKEN_REVOKED", p.me()) // what was ended stays so
	p.login()
	p.want(200, "", p.me())

	admin.want(403, "PERMISSION_DENIED", api.Call{
		Method: "POST", URL: "/admin/users/" + admin.id + "/suspend", Token: admin.token, Body: body{"reason": "end-to-end test of oneself"},
	})
	admin.want(400, "INVALID_ARGUMENT", api.Call{Method: "POST", URL: "/admin/users/" + p.id + "/suspend", Token: admin.token, Body: body{}})
	admin.want(404, "NOT_FOUND", api.Call{
		Method: "POST", URL: "/admin/users/usr_00000000000000000000000000/suspend", Token: admin.token, Body: body{"reason": "end-to-end test of nobody"},
	})
	p.want(403, "PERMISSION_DENIED", api.Call{
		Method: "POST", URL: "/admin/users/" + p.id + "/suspend", Token: p.token, Body: body{"reason": "end-to-end test as a user"},
	})
}

// TestPasswordIsNotEnoughForAdmins: the handle opens nothing.
func TestPasswordIsNotEnoughForAdmins(t *testing.T) {
	c := newCaller(t)
	for _, path := range []string{"/auth/login", "/auth/admin-login"} {
		a := c.want(200, "", api.Call{Method: "POST", URL: path, Body: body{"email": suite.creds.Admin.Email, "password": suite.creds.Admin.Password}})
		handle := a.Str("mfaToken")
		if a.Dig("mfaRequired") != true || handle == "" || len(a.Header.Values("Set-Cookie")) != 0 {
			t.Errorf("POST %s = %s", path, a.Raw)
		}
		c.want(401, "INVALID_TOKEN", api.Call{Method: "GET", URL: "/admin/users", Token: handle})
		for range 4 {
			c.want(401, "INVALID_CODE", api.Call{Method: "POST", URL: "/auth/mfa/verify", Body: body{"mfaToken": handle, "code": "000000"}})
		}
		c.do(api.Call{Method: "POST", URL: "/auth/mfa/verify", Body: body{"mfaToken": handle, "code": "000000"}})
		c.want(429, "TOO_MANY_ATTEMPTS", api.Call{Method: "POST", URL: "/auth/mfa/verify", Body: body{"mfaToken": handle, "code": "000000"}})
	}
}

// TestCookieMode keeps the tokens from the page and asks for the CSRF token.
func TestCookieMode(t *testing.T) {
	p := join(t)
	a := p.want(200, "", api.Call{
		Method: "POST", URL: "/auth/login", Header: map[string]string{"X-Session-Mode": "cookie"}, Body: body{"email": p.email, "password": p.password},
	})
	csrf := a.Str("csrfToken")
	if a.Dig("accessToken") != nil || a.Dig("refreshToken") != nil || csrf == "" {
		t.Errorf("the body is %s", a.Raw)
	}
	cookies := map[string]*http.Cookie{}
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		cookies[c.Name] = c
	}
	var jar []string
	for name, path := range map[string]string{"access_token": "/api", "refresh_token": "/api/v1/auth", "csrf_token": "/"} {
		c := cookies[name]
		if c == nil || c.Path != path || c.SameSite != http.SameSiteStrictMode || c.HttpOnly == (name == "csrf_token") {
			t.Fatalf("cookie %s is %v", name, c)
		}
		jar = append(jar, name+"="+c.Value)
	}
	with := func(method, path, token string, content any) api.Call {
		h := map[string]string{"Cookie": strings.Join(jar, "; ")}
		if token != "" {
			h["X-CSRF-Token"] = token
		}
		return api.Call{Method: method, URL: path, Header: h, Body: content}
	}
	p.want(200, "", with("GET", "/users/me", "", nil))
	p.want(403, "CSRF_FAILED", with("PATCH", "/users/me", "", body{"bio": "x"}))
	p.want(403, "CSRF_FAILED", with("PATCH", "/users/me", "x"+csrf, body{"bio": "x"}))
	p.want(200, "", with("PATCH", "/users/me", csrf, body{"bio": "x"}))
	p.want(403, "CSRF_FAILED", with("POST", "/auth/refresh", "", body{}))
	if again := p.want(200, "", with("POST", "/auth/refresh", csrf, body{})); again.Dig("accessToken") != nil || again.Str("csrfToken") == "" {
		t.Errorf("a refresh by cookie answered %s", again.Raw)
	}
}
