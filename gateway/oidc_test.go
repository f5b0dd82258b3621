package gateway

import (
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

func cookies(r reply) map[string]*http.Cookie {
	out := map[string]*http.Cookie{}
	for _, c := range (&http.Response{Header: r.header}).Cookies() {
		out[c.Name] = c
	}
	return out
}

func TestOidcStart(t *testing.T) {
	h := newHarness(t)
	h.b.when(authv1.OidcService_StartOidc_FullMethodName, answer(&authv1.StartOidcResponse{
		AuthorizationUrl: "https://id.example/auth?x=1", Flow: "browser-secret", ExpiresIn: 600,
	}))
	r := h.do("GET", "/api/v1/auth/oidc/google/start?returnTo=https%3A%2F%2Fapp.example.com%2Fhome&flow=x", "", `If-None-Match: *`)
	c := cookies(r)["oidc_flow"]
	if r.status != 302 || r.header.Get("Location") != "https://id.example/auth?x=1" || r.header.Get("Cache-Control") != "no-store" || r.header.Get("Etag") != "" ||
		strings.Contains(r.body, "browser-secret") {
		t.Errorf("got %d %v %s", r.status, r.header, r.body)
	}
	if c == nil || c.Value != "browser-secret" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/api/v1/auth/oidc" || c.MaxAge != 600 {
		t.Errorf("cookie: %v", c)
	}
	if r.header.Get("RateLimit") == "" || r.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers: %v", r.header)
	}
	got, _ := h.b.last(authv1.OidcService_StartOidc_FullMethodName)
	if s, ok := got.req.(*authv1.StartOidcRequest); !ok || s.GetProvider() != "google" || s.GetReturnTo() != "https://app.example.com/home" {
		t.Errorf("auth was asked %v", got.req)
	}
}

// TestReturnTo: a browser is sent home with a session, nowhere else.
func TestReturnTo(t *testing.T) {
	o := origins{"https://app.example.com": true, "http://localhost:3000": true}
	for to, want := range map[string]bool{
		"/": true, "/home?x=1": true, "https://app.example.com": true, "https://APP.example.com/x": true, "http://localhost:3000/cb": true,
		"//evil.example": false, "/\\evil.example": false, "\\\\evil.example": false, "https://evil.example": false, "home": false,
		"https://app.example.com@evil.example/": false, "https://u@app.example.com/": false, "https://app.example.com.evil.example/": false,
		"http://app.example.com/": false, "javascript:alert(1)": false, "/x#y": false, "/\tx": false, " /x": false, "https:/app.example.com": false,
		"https:app.example.com": false, "///evil.example": false, "%2f%2fevil.example": false, "": false, "data:text/html,x": false,
	} {
		if got := o.returnable(to); got != want {
			t.Errorf("%q: got %t, want %t", to, got, want)
		}
	}
	h := newHarness(t)
	want(t, h.do("GET", "/api/v1/auth/oidc/google/start?returnTo=//evil.example", ""), 400, "INVALID_ARGUMENT")
	want(t, h.do("GET", "/api/v1/auth/oidc/google/start?returnTo=/a&returnTo=/b", ""), 400, "INVALID_ARGUMENT")
}

// TestDeviceComesBack: the device's own cookie is not sent on the way back.
func TestDeviceComesBack(t *testing.T) {
	h := newHarness(t)
	h.b.when(authv1.OidcService_StartOidc_FullMethodName, answer(&authv1.StartOidcResponse{AuthorizationUrl: "https://id.example/", Flow: "f", ExpiresIn: 600}))
	h.b.when(authv1.OidcService_FinishOidc_FullMethodName, answer(&authv1.FinishOidcResponse{Answer: &authv1.LoginAnswer{}}))
	c := cookies(h.do("GET", "/api/v1/auth/oidc/google/start", "", "Cookie: "+deviceCookie+"=dev-1"))["oidc_flow"]
	if c == nil {
		t.Fatal("no cookie")
	}
	want(t, h.do("GET", "/api/v1/auth/oidc/google/callback?code=c&state=s", "", "Cookie: oidc_flow="+c.Value), 200, "")
	got, _ := h.b.last(authv1.OidcService_FinishOidc_FullMethodName)
	if f, ok := got.req.(*authv1.FinishOidcRequest); !ok || f.GetFlow() != "f" || got.caller.Device != "dev-1" {
		t.Errorf("flow %v, device %q", got.req, got.caller.Device)
	}
}

func TestOidcCallback(t *testing.T) {
	h := newHarness(t)
	session := func(returnTo string) *authv1.FinishOidcResponse {
		return &authv1.FinishOidcResponse{ReturnTo: returnTo, Answer: &authv1.LoginAnswer{
			AccessToken: proto.String("access"), RefreshToken: proto.String("refresh"), ExpiresIn: proto.Int32(900), RefreshExpiresIn: proto.Int32(1000),
		}}
	}
	call := func(query string) reply {
		return h.do("GET", "/api/v1/auth/oidc/google/callback?"+query, "", "Cookie: oidc_flow=browser-secret", "If-None-Match: *")
	}
	h.b.when(authv1.OidcService_FinishOidc_FullMethodName, answer(session("")))
	r := call("code=c&state=s&iss=i&scope=openid&authuser=0&flow=forged")
	want(t, r, 200, "")
	if r.json["accessToken"] != "access" || r.header.Get("Cache-Control") != "no-store" || r.header.Get("Etag") != "" {
		t.Errorf("session: %v %s", r.header, r.body)
	}
	if c := cookies(r)["oidc_flow"]; c == nil || c.MaxAge >= 0 {
		t.Errorf("the flow's cookie stays: %v", c)
	}
	got, _ := h.b.last(authv1.OidcService_FinishOidc_FullMethodName)
	f, ok := got.req.(*authv1.FinishOidcRequest)
	if !ok || f.GetFlow() != "browser-secret" || f.GetCode() != "c" || f.GetState() != "s" || f.GetIss() != "i" || f.GetProvider() != "google" {
		t.Errorf("auth was told %v", got.req)
	}
	want(t, call("code=c&state=s&state=t"), 400, "INVALID_ARGUMENT")

	h.b.when(authv1.OidcService_FinishOidc_FullMethodName, answer(session("https://app.example.com/home")))
	r = call("code=c&state=s")
	set := cookies(r)
	if r.status != 303 || r.header.Get("Location") != "https://app.example.com/home" || strings.Contains(r.body, `"access"`) || strings.Contains(r.body, `"refresh"`) {
		t.Errorf("got %d %v %s", r.status, r.header, r.body)
	}
	if set["access_token"].Value != "access" || set["refresh_token"].Value != "refresh" || set["csrf_token"] == nil {
		t.Errorf("cookies: %v", set)
	}

	yes := true
	h.b.when(authv1.OidcService_FinishOidc_FullMethodName, answer(&authv1.FinishOidcResponse{
		ReturnTo: "/home", Answer: &authv1.LoginAnswer{MfaRequired: &yes, MfaToken: proto.String("mfa_x"), Factors: []string{"TOTP"}},
	}))
	if r = call("code=c&state=s"); r.status != 303 || r.header.Get("Location") != "/home#factors=TOTP&mfaRequired=true&mfaToken=mfa_x" {
		t.Errorf("got %d %s", r.status, r.header.Get("Location"))
	}
	h.b.when(authv1.OidcService_FinishOidc_FullMethodName, refuse(fail.New(fail.InvalidArgument, "the sign-in did not succeed, start again")))
	want(t, call("error=access_denied&state=s"), 400, "INVALID_ARGUMENT")
	if r := h.do("GET", "/api/v1/auth/oidc/google/callback?code=c&state=s", ""); r.status != 400 {
		t.Errorf("without a cookie: %d", r.status)
	}
	got, _ = h.b.last(authv1.OidcService_FinishOidc_FullMethodName)
	if f, ok := got.req.(*authv1.FinishOidcRequest); !ok || f.GetFlow() != "" {
		t.Error("a flow came from nowhere")
	}
}

// TestCookieMutationsNeedTheirTwin drives every route that changes something
// with the cookies a foreign page can make a browser send. identity.md row 66
func TestCookieMutationsNeedTheirTwin(t *testing.T) {
	h := newHarness(t)
	access := h.token(admin)
	n := 0
	var walk func(at *node, path string)
	walk = func(at *node, path string) {
		for method, rt := range at.methods {
			if method == http.MethodGet || rt.raw || rt.public() || rt.rpc == "" {
				continue
			}
			n++
			r := h.do(method, path, "{}", "Cookie: access_token="+access+"; csrf_token=abc", "Origin: https://evil.example", "X-Forwarded-For: 1.1.1.1")
			if r.status != 403 || r.code() == "" {
				t.Errorf("%s %s: got %d %s, want 403", method, path, r.status, r.code())
			}
		}
		for name, next := range at.literal {
			walk(next, strings.TrimSuffix(path, "/")+"/"+name)
		}
		if at.variable != nil {
			walk(at.variable, path+"/x")
		}
	}
	walk(h.edge.routes.root, "")
	if n < 15 {
		t.Errorf("only %d routes were tried", n)
	}
}

func TestLegalIsOwed(t *testing.T) {
	h := newHarness(t)
	owing := bearer(h.token(owesLegal))
	want(t, h.do("PATCH", "/api/v1/users/me", "{}", owing), 428, "LEGAL_ACCEPTANCE_REQUIRED")
	want(t, h.do("GET", "/api/v1/payments", "", owing), 428, "LEGAL_ACCEPTANCE_REQUIRED")
	for _, open := range [][2]string{
		{"GET", "/api/v1/users/me"},
		{"GET", "/api/v1/legal"},
		{"GET", "/api/v1/legal/required"},
		{"POST", "/api/v1/legal/accept"},
		{"GET", "/api/v1/auth/sessions"},
		{"POST", "/api/v1/auth/logout"},
		{"POST", "/api/v1/auth/mfa/totp"},
	} {
		body := ""
		if strings.HasSuffix(open[1], "accept") {
			body = `{"terms":"2026-02"}`
		}
		if r := h.do(open[0], open[1], body, owing); r.status >= 300 {
			t.Errorf("%s %s: %d %s", open[0], open[1], r.status, r.body)
		}
	}
}

func owesLegal(c *token.Claims) { c.LegalPending = true }
