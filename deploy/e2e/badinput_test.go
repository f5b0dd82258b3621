package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/manas360/platform/deploy/internal/api"
)

// TestBadRequests asks wrongly and is told so as RFC 9457 has it.
func TestBadRequests(t *testing.T) {
	p := join(t)
	big := []byte(`{"displayName":"` + strings.Repeat("x", 70<<10) + `"}`)
	for _, tt := range []struct {
		name   string
		in     api.Call
		status int
		code   string
		field  string // named in errors[]
	}{
		{"unknown path", api.Call{Method: "GET", URL: "/nope"}, 404, "NOT_FOUND", ""},
		{"unknown path outside the API", api.Call{Method: "GET", URL: suite.root + "/nope"}, 404, "NOT_FOUND", ""},
		{"another version", api.Call{Method: "GET", URL: suite.root + "/api/v2/plans"}, 404, "NOT_FOUND", ""},
		{"metrics are not public", api.Call{Method: "GET", URL: suite.root + "/metrics"}, 404, "NOT_FOUND", ""},
		{"wrong method", api.Call{Method: "PUT", URL: "/auth/login"}, 405, "METHOD_NOT_ALLOWED", ""},
		{"malformed JSON", api.Call{Method: "POST", URL: "/auth/login", Body: []byte(`{"email":`)}, 400, "MALFORMED_BODY", ""},
		{"not UTF-8", api.Call{Method: "POST", URL: "/auth/login", Body: []byte("{\"email\":\"\xff\"}")}, 400, "MALFORMED_BODY", ""},
		{"unknown field", api.Call{Method: "POST", URL: "/auth/login", Body: body{"email": "a@b.example", "password": "x", "role": "admin"}}, 400, "INVALID_ARGUMENT", "role"},
		{"unknown field of a profile", api.Call{Method: "PATCH", URL: "/users/me", Token: p.token, Body: body{"state": "SUSPENDED"}}, 400, "INVALID_ARGUMENT", "state"},
		{"no e-mail", api.Call{Method: "POST", URL: "/auth/register", Body: registration("nobody", "correct horse 1234")}, 400, "INVALID_ARGUMENT", "email"},
		{"weak password", api.Call{Method: "POST", URL: "/auth/register", Body: registration("weak-"+unique()+"@example.com", "password")}, 400, "WEAK_PASSWORD", ""},
		{"locale nobody speaks", api.Call{Method: "PATCH", URL: "/users/me", Token: p.token, Body: body{"locale": "xx"}}, 400, "INVALID_ARGUMENT", "locale"},
		{"zone of no place", api.Call{Method: "PATCH", URL: "/users/me", Token: p.token, Body: body{"timezone": "Mars/Base"}}, 400, "INVALID_ARGUMENT", "timezone"},
		{"picture over http", api.Call{Method: "PATCH", URL: "/users/me", Token: p.token, Body: body{"avatarUrl": "http://example.com/a.png"}}, 400, "INVALID_ARGUMENT", "avatarUrl"},
		{"body too large", api.Call{Method: "PATCH", URL: "/users/me", Token: p.token, Body: big}, 413, "BODY_TOO_LARGE", ""},
		{"wrong content type", api.Call{Method: "POST", URL: "/auth/login", Body: []byte("email=a"), Header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}}, 415, "UNSUPPORTED_MEDIA_TYPE", ""},
		{"page too large", api.Call{Method: "GET", URL: "/payments?pageSize=-1", Token: p.token}, 400, "INVALID_ARGUMENT", "pageSize"},
		{"page of our own making", api.Call{Method: "GET", URL: "/payments?pageToken=AAAA", Token: p.token}, 400, "INVALID_ARGUMENT", "pageToken"},
		{"plan nobody sells", api.Call{Method: "POST", URL: "/subscriptions/checkout", Token: p.token, Body: body{"planCode": "gold", "cycle": "MONTHLY"}, Header: map[string]string{"Idempotency-Key": "x"}}, 404, "NOT_FOUND", ""},
		{"key too long", api.Call{Method: "POST", URL: "/subscriptions/checkout", Token: p.token, Body: body{"planCode": "premium", "cycle": "MONTHLY"}, Header: map[string]string{"Idempotency-Key": strings.Repeat("k", 256)}}, 400, "INVALID_ARGUMENT", "Idempotency-Key"},
		{"no token", api.Call{Method: "GET", URL: "/users/me"}, 401, "UNAUTHENTICATED", ""},
		{"user on the admin's door", api.Call{Method: "GET", URL: "/admin/users", Token: p.token}, 403, "PERMISSION_DENIED", ""},
		{"user in the audit log", api.Call{Method: "GET", URL: "/audit/events", Token: p.token}, 403, "PERMISSION_DENIED", ""},
		{"refresh token of nobody", api.Call{Method: "POST", URL: "/auth/refresh", Body: body{"refreshToken": "rt_x"}}, 401, "INVALID_REFRESH_TOKEN", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCaller(t)
			a := c.want(tt.status, tt.code, tt.in)
			if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type %q", got)
			}
			if a.Str("title") == "" || a.Str("type") == "" || a.Str("detail") == "" || a.Dig("status") != float64(tt.status) ||
				a.Str("requestId") != a.Header.Get("X-Request-Id") || a.Str("requestId") == "" {
				t.Errorf("problem %s", a.Raw)
			}
			if tt.status == 405 && a.Header.Get("Allow") != "POST" {
				t.Errorf("Allow %q, want POST", a.Header.Get("Allow"))
			}
			if tt.field == "" {
				return
			}
			for _, e := range a.List("errors") {
				if e["field"] == tt.field && e["message"] != "" {
					return
				}
			}
			t.Errorf("errors %v do not name %s", a.Dig("errors"), tt.field)
		})
	}
}

// TestEveryBadFieldIsNamed has them all at once.
func TestEveryBadFieldIsNamed(t *testing.T) {
	c := newCaller(t)
	a := c.want(400, "INVALID_ARGUMENT", api.Call{Method: "POST", URL: "/auth/register", Body: body{
		"email": "x", "password": "correct horse 1234", "firstName": "", "lastName": strings.Repeat("x", 1000), "acceptedTerms": "2026-01",
	}})
	named := map[any]bool{}
	for _, e := range a.List("errors") {
		named[e["field"]] = true
	}
	for _, want := range []string{"email", "firstName", "lastName"} {
		if !named[want] {
			t.Errorf("errors do not name %s: %s", want, a.Raw)
		}
	}
}

// TestBadIDs answers 400 or 404 for what is no id, and 404 for another's.
func TestBadIDs(t *testing.T) {
	p, other := join(t), join(t)
	o := other.buy()
	for _, path := range []string{
		"/payments/x", "/payments/pay_", "/payments/usr_" + strings.Repeat("0", 26), "/payments/pay_" + strings.Repeat("z", 26), "/payments/%00",
		"/payments/" + strings.Repeat("p", 500), "/users/x", "/invoices/inv_1", "/users/" + other.id, "/payments/" + o.payment,
	} {
		a := p.do(api.Call{Method: "GET", URL: path, Token: p.token})
		if a.Status != 404 && a.Status != 400 {
			t.Errorf("GET %.60s answered %d, want 404 or 400: %s", path, a.Status, a.Raw)
		}
	}
	p.want(404, "NOT_FOUND", api.Call{Method: "GET", URL: "/payments/" + o.payment, Token: p.token})
	p.want(404, "NOT_FOUND", api.Call{Method: "GET", URL: "/users/" + other.id, Token: p.token})
	p.want(404, "NOT_FOUND", api.Call{Method: "POST", URL: "/payments/" + o.payment + "/sync", Token: p.token})
	for _, ses := range other.get("/auth/sessions").List("sessions") {
		id, _ := ses["id"].(string)
		p.want(404, "NOT_FOUND", api.Call{Method: "DELETE", URL: "/auth/sessions/" + id, Token: p.token})
	}
	other.want(200, "", other.me())
}

// TestEveryAnswer has the headers the contract promises.
func TestEveryAnswer(t *testing.T) {
	c := newCaller(t)
	for _, tt := range []struct{ name, sent, want string }{
		{"kept", "a.B_c-1", "a.B_c-1"},
		{"made when it would break a log", "a b\tc", ""},
		{"made when too long", strings.Repeat("x", 65), ""},
		{"made", "", ""},
	} {
		h := map[string]string{}
		if tt.sent != "" {
			h["X-Request-Id"] = tt.sent
		}
		got := c.want(200, "", api.Call{Method: "GET", URL: "/plans", Header: h}).Header.Get("X-Request-Id")
		if got == "" || tt.want != "" && got != tt.want || tt.want == "" && got == tt.sent {
			t.Errorf("request id %s: sent %q, got %q", tt.name, tt.sent, got)
		}
	}
	a := c.want(200, "", api.Call{Method: "GET", URL: "/plans"})
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Content-Security-Policy": "", "Referrer-Policy": "",
		"Cross-Origin-Opener-Policy": "", "Cross-Origin-Resource-Policy": "", "ETag": "", "RateLimit": "", "RateLimit-Policy": "",
		"X-RateLimit-Limit": "", "X-RateLimit-Remaining": "", "X-RateLimit-Reset": "",
	} {
		if got := a.Header.Get(name); got == "" || want != "" && got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"Server", "X-Powered-By", "Strict-Transport-Security"} {
		if got := a.Header.Get(name); got != "" {
			t.Errorf("%s: %q, want none", name, got)
		}
	}
	if got := c.want(401, "", api.Call{Method: "GET", URL: "/users/me"}).Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q on something personal", got)
	}
	hindi := c.want(404, "NOT_FOUND", api.Call{Method: "GET", URL: "/nope", Header: map[string]string{"Accept-Language": "hi"}})
	if english := c.want(404, "", api.Call{Method: "GET", URL: "/nope"}); hindi.Str("detail") == english.Str("detail") {
		t.Errorf("the detail is %q in Hindi too", english.Str("detail"))
	}
}

// TestOrigins lets the listed origin in and no other.
func TestOrigins(t *testing.T) {
	c := newCaller(t)
	preflight := func(origin string, status int) http.Header {
		return c.want(status, "", api.Call{Method: "OPTIONS", URL: "/users/me", Header: map[string]string{
			"Origin": origin, "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization",
		}}).Header
	}
	h := preflight(allowedOrigin, 204)
	if h.Get("Access-Control-Allow-Origin") != allowedOrigin || h.Get("Access-Control-Allow-Credentials") != "true" || h.Get("Access-Control-Max-Age") != "86400" {
		t.Errorf("pre-flight of a listed origin: %v", h)
	}
	if h := preflight("http://evil.example", 403); h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("pre-flight of a foreign origin: %v", h)
	}
	for origin, want := range map[string]string{allowedOrigin: allowedOrigin, "http://evil.example": "", "null": ""} {
		h := c.want(200, "", api.Call{Method: "GET", URL: "/plans", Header: map[string]string{"Origin": origin}}).Header
		if got := h.Get("Access-Control-Allow-Origin"); got != want || !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") {
			t.Errorf("origin %s: allowed %q, vary %v", origin, got, h.Values("Vary"))
		}
	}
}

// TestLimits refuses the thirty-first registration of an hour from one address.
func TestLimits(t *testing.T) {
	c := newCaller(t)
	bad := api.Call{Method: "POST", URL: "/auth/register", Body: body{}}
	for range 30 {
		c.want(400, "INVALID_ARGUMENT", bad)
	}
	a := c.want(429, "RATE_LIMITED", bad)
	if a.Header.Get("Retry-After") == "" || a.Header.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("a refusal with %v", a.Header)
	}
	c.want(429, "RATE_LIMITED", api.Call{Method: "GET", URL: "/auth/register"}) // a wrong method too
	newCaller(t).want(400, "INVALID_ARGUMENT", bad)                             // another address is another customer
}
