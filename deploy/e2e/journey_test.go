package e2e_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/internal/api"
)

// TestJourney is the main job of the suite, through the public API only.
func TestJourney(t *testing.T) {
	p := joinAsStranger(t)
	lookAround(t, p)
	o := pay(t, p)
	o.once()
	booksAgree(t, p.caller)
	admin := signInSuperadmin(t)
	watch(t, admin, p)
	suspendAndReactivate(t, admin, p)
	p.login()
	p.want(204, "", api.Call{Method: "POST", URL: "/auth/logout", Token: p.token})
	_, took := p.until(atOnce, 401, "TOKEN_REVOKED", p.me())
	t.Logf("logout bites after %v", took)
}

func joinAsStranger(t *testing.T) *person {
	t.Helper()
	p := &person{caller: newCaller(t), email: "e2e-" + unique() + "@example.com", password: "correct horse " + unique()}
	legal := p.want(200, "", api.Call{Method: "GET", URL: "/legal"})
	if legal.Str("terms", "version") != "2026-01" || legal.Str("privacy", "version") != "2026-01" {
		t.Errorf("GET /legal = %s", legal.Raw)
	}
	reg := p.want(202, "", api.Call{Method: "POST", URL: "/auth/register", Body: registration(p.email, p.password)})
	if !strings.HasPrefix(reg.Str("challengeId"), "chl_") || reg.Str("channel") != "EMAIL" || reg.Dig("expiresIn") == nil || reg.Dig("resendAfter") == nil {
		t.Errorf("register = %s", reg.Raw)
	}
	code := p.code()
	mail, err := suite.messages.To(p.email)
	if err != nil || len(mail) != 1 || mail[0].Channel != "EMAIL" || mail[0].Subject == "" || !strings.Contains(mail[0].Text, code) {
		t.Errorf("mail %+v, %v", mail, err)
	}
	ses := p.want(200, "", api.Call{Method: "POST", URL: "/auth/verify", Body: body{"challengeId": reg.Str("challengeId"), "code": code}})
	p.take(ses)
	for _, want := range []string{"accessToken", "tokenType", "expiresIn", "refreshToken", "refreshExpiresIn", "user"} {
		if ses.Dig(want) == nil {
			t.Errorf("the session lacks %s: %s", want, ses.Raw)
		}
	}
	for _, want := range []string{"id", "email", "emailVerified", "roles", "permissions", "plan", "features", "mfaEnabled"} {
		if ses.Dig("user", want) == nil {
			t.Errorf("the session's user lacks %s: %s", want, ses.Raw)
		}
	}
	header, payload := claims(t, p.token)
	if header["alg"] != "EdDSA" || header["typ"] != "at+jwt" || header["kid"] == "" {
		t.Errorf("token header %v", header)
	}
	for _, want := range []string{"iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp", "roles", "perms", "plan", "feats", "ep", "amr", "auth_time"} {
		if _, ok := payload[want]; !ok {
			t.Errorf("the token lacks %s: %v", want, payload)
		}
	}
	for _, never := range []string{"email", "phone", "name", "given_name"} {
		if _, ok := payload[never]; ok {
			t.Errorf("the token tells %s", never)
		}
	}
	sub, _ := p.until(patience, 200, "", api.Call{Method: "GET", URL: "/subscriptions/current", Token: p.token})
	if sub.Str("planCode") != "free" || sub.Str("state") != "ACTIVE" {
		t.Errorf("the first subscription is %s", sub.Raw)
	}
	return p
}

func lookAround(t *testing.T, p *person) {
	t.Helper()
	me := p.get("/users/me")
	if me.Str("id") != p.id || me.Str("email") != p.email || me.Str("firstName") != "Asha" || me.Str("state") != "ACTIVE" || me.Str("etag") == "" {
		t.Errorf("GET /users/me = %s", me.Raw)
	}
	now := p.want(200, "", api.Call{Method: "PATCH", URL: "/users/me", Token: p.token, Body: body{
		"displayName": "Asha R.", "timezone": "Asia/Kolkata", "locale": "kn",
	}})
	if now.Str("displayName") != "Asha R." || now.Str("locale") != "kn" || now.Str("lastName") != "Rao" || now.Str("etag") == me.Str("etag") {
		t.Errorf("PATCH /users/me = %s", now.Raw)
	}
	p.want(412, "PRECONDITION_FAILED", api.Call{
		Method: "PATCH", URL: "/users/me", Token: p.token, Body: body{"bio": "x"}, Header: map[string]string{"If-Match": `"` + strings.Trim(me.Str("etag"), `"`) + `"`},
	})
	plans := p.want(200, "", api.Call{Method: "GET", URL: "/plans"})
	var codes []string
	for _, plan := range plans.List("plans") {
		code, _ := plan["code"].(string)
		codes = append(codes, code)
	}
	for _, want := range []string{"free", "basic", "premium", "enterprise", "premium_monthly", "premium_yearly", "lifetime", "track_single"} {
		if !slices.Contains(codes, want) {
			t.Errorf("plan %s is not sold: %v", want, codes)
		}
	}
	p.want(304, "", api.Call{Method: "GET", URL: "/plans", Header: map[string]string{"If-None-Match": plans.Header.Get("ETag")}})
	shut := p.want(403, "FEATURE_NOT_AVAILABLE", p.consume())
	if shut.Str("upgradeTo") == "" {
		t.Errorf("nothing to upgrade to: %s", shut.Raw)
	}
}

func pay(t *testing.T, p *person) *order {
	t.Helper()
	old := p.token
	o := p.buy()
	if o.state() != "PENDING" {
		t.Errorf("an unpaid order is %s", o.state())
	}
	began := time.Now()
	o.complete("SUCCESS")
	p.until(patience, 401, "TOKEN_STALE", p.consume())
	fresh := p.renew()
	p.want(200, "", p.consume())
	t.Logf("from the customer's click to the working feature: %v (the contract: p99 <= 250 ms on an idle machine)", time.Since(began))
	p.want(401, "TOKEN_STALE", api.Call{Method: "GET", URL: "/users/me", Token: old})
	if fresh.Str("user", "plan") != "premium" {
		t.Errorf("the new session's plan: %s", fresh.Raw)
	}
	_, payload := claims(t, p.token)
	feats, _ := payload["feats"].([]any)
	if payload["plan"] != "premium" || !slices.Contains(feats, any(premiumFeature)) {
		t.Errorf("the new token carries %v %v", payload["plan"], feats)
	}
	sub := p.get("/subscriptions/current")
	if sub.Str("planCode") != "premium" || sub.Str("state") != "ACTIVE" || sub.Str("cycle") != "MONTHLY" || sub.Str("currentPeriodEnd") == "" {
		t.Errorf("the subscription is %s", sub.Raw)
	}
	pay := p.get("/payments/" + o.payment)
	if pay.Str("state") != "SUCCEEDED" || pay.Str("paidAt") == "" {
		t.Errorf("the payment is %s", pay.Raw)
	}
	list := p.get("/invoices").List("invoices")
	if len(list) != 1 {
		t.Fatalf("%d invoices, want 1", len(list))
	}
	number, _ := list[0]["number"].(string)
	total, _ := list[0]["total"].(map[string]any)
	if number == "" || total["amountMinor"] != pay.Str("amount", "amountMinor") || list[0]["state"] != "PAID" {
		t.Errorf("the invoice is %v", list[0])
	}
	t.Logf("invoice %s", number)
	return o
}

// watch finds the customer and reads what they did, in order.
func watch(t *testing.T, admin, p *person) {
	t.Helper()
	amr, _ := claimsOf(t, admin.token, "amr").([]any)
	if !slices.Contains(amr, any("otp")) && !slices.Contains(amr, any("mfa")) && len(amr) < 2 {
		t.Errorf("the superadmin's amr is %v", amr)
	}
	found := admin.get("/admin/users?search=" + url.QueryEscape(p.email)).List("users")
	if len(found) != 1 || found[0]["id"] != p.id {
		t.Fatalf("the search for %s found %v", p.email, found)
	}
	admin.get("/admin/users/" + p.id)
	want := []string{
		"account.verified", "session.opened", "subscription.created", "profile.updated", "subscription.checkout_started",
		"payment.created", "payment.succeeded", "subscription.activated", "invoice.issued",
	}
	eventually(t, patience, "the audit trail in order", func() (bool, string) {
		a := admin.get("/audit/events?pageSize=100&order=asc&resourceId=" + p.id)
		var got []string
		for _, e := range a.List("events") {
			action, _ := e["action"].(string)
			got = append(got, action)
		}
		rest := got
		for _, w := range want {
			i := slices.Index(rest, w)
			if i < 0 {
				return false, strings.Join(got, " ") + "; lacks " + w
			}
			rest = rest[i+1:]
		}
		return true, ""
	})
	// The order is that of happening; seq is that of arriving from several services.
	var last time.Time
	seen := map[int64]bool{}
	for _, e := range admin.get("/audit/events?pageSize=100&order=asc&resourceId=" + p.id).List("events") {
		text, _ := e["occurredAt"].(string)
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil || at.Before(last) {
			t.Errorf("event %v of %s stands after one of %v: %v", e["id"], text, last, err)
		}
		seq := integer(t, e["seq"])
		if seen[seq] {
			t.Errorf("two events have seq %d", seq)
		}
		if last, seen[seq] = at, true; e["requestId"] == "" {
			t.Errorf("event %v has no request id", e)
		}
	}
}

func suspendAndReactivate(t *testing.T, admin, p *person) {
	t.Helper()
	p.want(200, "", p.me())
	admin.act("suspend", p.id)
	_, took := p.until(atOnce, 401, "TOKEN_REVOKED", p.me())
	t.Logf("suspension bites after %v", took)
	admin.act("reactivate", p.id)
}
