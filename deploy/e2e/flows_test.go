package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/manas360/platform/deploy/internal/api"
)

// codeFor waits for a message of a template and gives its code.
func (p *person) codeFor(to, template string) string {
	p.t.Helper()
	var code string
	eventually(p.t, patience, template+" arrives", func() (bool, string) {
		list, err := suite.messages.To(to)
		if err != nil {
			p.t.Fatal(err)
		}
		at := slices.IndexFunc(list, func(m api.Message) bool { return m.Template == template })
		if at < 0 {
			return false, strconv.Itoa(len(list)) + " others"
		}
		code = list[at].Code
		return true, ""
	})
	return code
}

func post(path string, in body) api.Call { return api.Call{Method: "POST", URL: path, Body: in} }

func (p *person) post(path string, in body) api.Call {
	return api.Call{Method: "POST", URL: path, Token: p.token, Body: in}
}

// shape is what tells two answers apart but for their random parts.
func shape(a api.Answer) string {
	var out []string
	for k := range a.Header {
		out = append(out, k)
	}
	for k, v := range a.Body {
		if k != "challengeId" {
			text, _ := json.Marshal(v) // of JSON just decoded
			k += "=" + string(text)
		}
		out = append(out, k)
	}
	slices.Sort(out)
	return strconv.Itoa(a.Status) + " " + strings.Join(out, " ")
}

// TestSignInByCode: a mailed code and one to a phone, and what a stranger sees.
func TestSignInByCode(t *testing.T) {
	p := join(t)
	known := p.want(202, "", post("/auth/send-otp", body{"email": p.email}))
	nobody := p.want(202, "", post("/auth/send-otp", body{"email": "nobody-" + p.email}))
	if shape(known) != shape(nobody) || known.Str("channel") != "EMAIL" || known.Dig("expiresIn") != 600.0 {
		t.Errorf("known   %s\nunknown %s", shape(known), shape(nobody))
	}
	again := p.want(429, "RATE_LIMITED", post("/auth/send-otp", body{"email": p.email}))
	if wait, err := strconv.Atoi(again.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 60 {
		t.Errorf("Retry-After %q", again.Header.Get("Retry-After"))
	}
	code := p.codeFor(p.email, "login_code")
	p.want(401, "INVALID_CODE", post("/auth/verify-otp", body{"challengeId": nobody.Str("challengeId"), "code": code}))
	p.want(401, "INVALID_CODE", post("/auth/password/reset", body{"challengeId": known.Str("challengeId"), "code": code, "newPassword": "another horse 12"}))
	p.take(p.want(200, "", post("/auth/verify-otp", body{"challengeId": known.Str("challengeId"), "code": code})))
	p.want(200, "", p.me())
	p.want(401, "INVALID_CODE", post("/auth/verify-otp", body{"challengeId": known.Str("challengeId"), "code": code}))

	p.want(400, "INVALID_ARGUMENT", post("/auth/send-otp", body{"phone": "+442079460958"}))
	p.want(400, "INVALID_ARGUMENT", post("/auth/send-otp", body{}))
	number := "98" + strconv.FormatInt(time.Now().UnixNano()%1e8+1e8, 10)[1:]
	e164 := "+91" + number
	ch := p.want(202, "", p.post("/auth/phone/change", body{"phone": number}))
	p.want(204, "", p.post("/auth/phone/verify", body{"challengeId": ch.Str("challengeId"), "code": p.codeFor(e164, "phone_code")}))
	sms := p.want(202, "", post("/auth/send-otp", body{"phone": "0" + number}))
	p.take(p.want(200, "", post("/auth/verify-otp", body{"challengeId": sms.Str("challengeId"), "code": p.codeFor(e164, "login_code")})))
	eventually(t, patience, "the profile has the phone", func() (bool, string) {
		a := p.get("/users/me")
		return a.Str("phone") == e164, string(a.Raw)
	})
}

// TestPasswordFlows: forgotten, reset, changed; and identity.md row 43, no
// header of a client reaches a mail.
func TestPasswordFlows(t *testing.T) {
	const evil = "evil.example.net"
	p := join(t)
	raw, err := json.Marshal(body{"email": p.email})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, suite.api+"/auth/password/forgot", bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = evil
	for _, h := range []string{"X-Forwarded-Host", "X-Forwarded-Server", "X-Original-Host", "X-Host", "Origin", "Referer", "X-Forwarded-For", "X-Forwarded-Prefix"} {
		req.Header.Set(h, "https://"+evil+"/")
	}
	req.Header.Set("Forwarded", "host="+evil+";proto=https")
	req.Header.Set("Content-Type", "application/json")
	res, err := p.client.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var challenge struct {
		ChallengeID string `json:"challengeId"`
	}
	if err := json.NewDecoder(res.Body).Decode(&challenge); err != nil || res.StatusCode != 202 {
		t.Fatalf("forgot answered %d, %v", res.StatusCode, err)
	}
	_ = res.Body.Close() // read whole
	code := p.codeFor(p.email, "reset_password")
	files, err := filepath.Glob(filepath.Join(string(suite.messages), "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && strings.Contains(string(text), evil) {
			t.Errorf("a header came into a message: %s", text)
		}
	}
	next := "another horse " + unique()
	reset := func(plain string) api.Call {
		return post("/auth/password/reset", body{"challengeId": challenge.ChallengeID, "code": code, "newPassword": plain})
	}
	p.want(400, "WEAK_PASSWORD", reset("password1"))
	p.want(400, "WEAK_PASSWORD", reset(p.email))
	p.want(204, "", reset(next))
	p.until(atOnce, 401, "TOKEN_REVOKED", p.me())
	p.want(401, "INVALID_REFRESH_TOKEN", refresh(p.refresh))
	p.want(401, "INVALID_CODE", reset("a third horse 12"))
	p.want(401, "INVALID_CREDENTIALS", post("/auth/login", body{"email": p.email, "password": p.password}))
	p.password = next
	p.login()
	p.codeFor(p.email, "password_reset")

	second := &person{caller: newCaller(t), email: p.email, password: p.password}
	second.login()
	last := "a third horse " + unique()
	p.want(401, "INVALID_CREDENTIALS", p.post("/auth/password/change", body{"currentPassword": "not mine at all", "newPassword": last}))
	p.want(204, "", p.post("/auth/password/change", body{"currentPassword": next, "newPassword": last}))
	second.until(atOnce, 401, "TOKEN_REVOKED", second.me())
	p.want(200, "", p.me())
	p.password = last
	p.login()
}

// TestFactorFlows: on, stepped up, off again; a DELETE may have a body.
func TestFactorFlows(t *testing.T) {
	p := join(t)
	made := p.want(201, "", p.post("/auth/mfa/totp", body{}))
	confirm := func(at time.Time) string {
		code, err := totp.GenerateCode(made.Str("secret"), at)
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	codes, _ := p.want(200, "", p.post("/auth/mfa/totp/confirm", body{"code": confirm(time.Now())})).Dig("recoveryCodes").([]any)
	if len(codes) != 10 {
		t.Fatalf("recovery codes: %v", codes)
	}
	p.renew()
	before := claimsOf(t, p.token, "sid")
	up := p.want(200, "", p.post("/auth/step-up", body{"code": codes[0]}))
	p.want(401, "INVALID_CODE", p.post("/auth/step-up", body{"code": codes[0]}))
	p.want(401, "INVALID_CREDENTIALS", p.post("/auth/step-up", body{"password": "not mine at all"}))
	p.take(up)
	if claimsOf(t, p.token, "sid") != before {
		t.Error("step-up opened another session")
	}
	renewed, _ := p.want(200, "", p.post("/auth/mfa/recovery-codes", body{})).Dig("recoveryCodes").([]any)
	p.want(401, "INVALID_CODE", p.post("/auth/step-up", body{"code": codes[1]}))
	off := func(method, path string, with body) api.Call {
		return api.Call{Method: method, URL: path, Token: p.token, Body: with}
	}
	p.want(400, "INVALID_ARGUMENT", off("DELETE", "/auth/mfa/totp", body{}))
	p.want(401, "INVALID_CODE", off("POST", "/auth/mfa/totp/disable", body{"password": p.password, "code": codes[1]}))
	p.want(204, "", off("DELETE", "/auth/mfa/totp", body{"password": p.password, "code": renewed[0]}))
	p.until(atOnce, 401, "TOKEN_STALE", p.me())
	p.renew()
	if amr, _ := claimsOf(t, p.token, "amr").([]any); len(amr) != 1 {
		t.Errorf("amr after: %v", amr)
	}
	p.login() // no factor is asked
	p.want(403, "PERMISSION_DENIED", api.Call{
		Method: "DELETE", URL: "/auth/mfa/totp", Token: signInSuperadmin(t).token, Body: body{"password": "any", "code": "000000"},
	})
}

// TestStepUpInCookies: a page whose session is in cookies never sees its tokens.
func TestStepUpInCookies(t *testing.T) {
	p := join(t)
	a := p.want(200, "", api.Call{
		Method: "POST", URL: "/auth/login", Body: body{"email": p.email, "password": p.password}, Header: map[string]string{"X-Session-Mode": "cookie"},
	})
	var cookies []string
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	up := p.want(200, "", api.Call{
		Method: "POST", URL: "/auth/step-up", Body: body{"password": p.password},
		Header: map[string]string{"Cookie": strings.Join(cookies, "; "), "X-CSRF-Token": a.Str("csrfToken")},
	})
	if up.Str("accessToken") != "" || up.Str("refreshToken") != "" || up.Str("csrfToken") == "" || len(up.Header.Values("Set-Cookie")) != 3 {
		t.Errorf("got %s, cookies %v", up.Raw, up.Header.Values("Set-Cookie"))
	}
}

// TestChangeOfAddress: the new one is proved, the old one opens nothing.
func TestChangeOfAddress(t *testing.T) {
	p := join(t)
	taken := join(t)
	fresh := "new-" + p.email
	wish := func(email string) api.Call {
		return p.post("/auth/email/change", body{"newEmail": email, "password": p.password})
	}
	p.want(401, "INVALID_CREDENTIALS", p.post("/auth/email/change", body{"newEmail": fresh, "password": "not mine at all"}))
	free, owned := p.want(202, "", wish(fresh)), p.want(202, "", wish(taken.email))
	if shape(free) != shape(owned) {
		t.Errorf("free  %s\ntaken %s", shape(free), shape(owned))
	}
	code := p.codeFor(fresh, "email_change_code")
	taken.want(401, "INVALID_CODE", taken.post("/auth/email/verify", body{"challengeId": free.Str("challengeId"), "code": code}))
	p.want(204, "", p.post("/auth/email/verify", body{"challengeId": free.Str("challengeId"), "code": code}))
	p.codeFor(p.email, "email_changed")
	p.want(401, "INVALID_CREDENTIALS", post("/auth/login", body{"email": p.email, "password": p.password}))
	p.email = fresh
	p.login()
	eventually(t, patience, "the profile has the address", func() (bool, string) {
		a := p.get("/users/me")
		return a.Str("email") == fresh, string(a.Raw)
	})
}
