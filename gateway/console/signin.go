package console

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

func (c *Console) signInPages() map[string]page {
	return map[string]page{
		"GET sign-in":            {open: true, show: func(x *exchange) error { return x.signIn(http.StatusOK, nil) }},
		"POST sign-in":           {open: true, show: (*exchange).password},
		"GET second-factor":      {open: true, show: func(x *exchange) error { return x.secondFactor(http.StatusOK, nil) }},
		"POST second-factor":     {open: true, show: (*exchange).code},
		"POST passkey/begin":     {open: true, show: (*exchange).passkeyBegin},
		"POST passkey/finish":    {open: true, show: (*exchange).passkeyFinish},
		"POST passkey/mfa/begin": {open: true, show: (*exchange).passkeyBegin},
		"POST sign-out":          {open: true, show: (*exchange).signOut},
		"POST theme":             {open: true, show: (*exchange).theme},
		"GET step-up":            {show: func(x *exchange) error { x.askStepUp(""); return nil }},
		"POST step-up":           {show: (*exchange).stepUp},
	}
}

func (x *exchange) signIn(status int, p *Problem) error {
	x.draw(status, "Sign in", "", signInPage(x.r.FormValue("next"), x.r.PostFormValue("email"), p))
	return nil
}

// device tells auth that this browser has signed in before.
func (x *exchange) device() map[string]string {
	if x.s.device == "" {
		return nil
	}
	return map[string]string{deviceTag: x.s.device}
}

func (x *exchange) keepDevice(m *memory) {
	if v := m.header.Get(deviceTag); v != "" {
		x.cookie(deviceCookie, v, longLife)
	}
}

// password is the first factor.
func (x *exchange) password() error {
	m, err := x.api.do(x.r, "", call{method: http.MethodPost, path: "/auth/login", header: x.device(), body: map[string]string{
		"email": x.r.PostFormValue("email"), "password": x.r.PostFormValue("password"),
	}})
	var p *Problem
	if errors.As(err, &p) {
		return x.signIn(p.Status, p)
	}
	if err != nil {
		return err
	}
	var a authv1.LoginAnswer
	if err := m.decode(&a); err != nil {
		return err
	}
	next := local(x.r.PostFormValue("next"))
	if a.GetMfaRequired() {
		x.cookie(mfaCookie, a.GetMfaToken(), mfaLife)
		to := Root + "second-factor?next=" + url.QueryEscape(next)
		if slices.Contains(a.GetFactors(), "WEBAUTHN") {
			to += "&passkey=1"
		}
		return x.back(to, "")
	}
	x.keepDevice(m)
	x.begin(a.GetAccessToken(), a.GetRefreshToken(), a.GetExpiresIn(), a.GetRefreshExpiresIn())
	return x.back(next, "")
}

func (x *exchange) secondFactor(status int, p *Problem) error {
	if k, err := x.r.Cookie(mfaCookie); err != nil || k.Value == "" {
		return errSignedOut
	}
	x.draw(status, "Second factor", "", secondFactorPage(x.r.FormValue("next"), x.r.FormValue("passkey") != "", p))
	return nil
}

// code is the second factor: six digits, or a recovery code.
func (x *exchange) code() error {
	k, err := x.r.Cookie(mfaCookie)
	if err != nil || k.Value == "" {
		return errSignedOut
	}
	m, err := x.api.do(x.r, "", call{method: http.MethodPost, path: "/auth/mfa/verify", header: x.device(), body: map[string]string{
		"mfaToken": k.Value, "code": x.r.PostFormValue("code"),
	}})
	var p *Problem
	if errors.As(err, &p) {
		if p.Code == "INVALID_TOKEN" || p.Code == "TOKEN_EXPIRED" {
			x.cookie(mfaCookie, "", 0)
			return x.signIn(p.Status, p)
		}
		return x.secondFactor(p.Status, p)
	}
	if err != nil {
		return err
	}
	return x.enter(m)
}

// enter opens the session that an answer grants.
func (x *exchange) enter(m *memory) error {
	var g authv1.SessionGrant
	if err := m.decode(&g); err != nil {
		return err
	}
	x.keepDevice(m)
	x.cookie(mfaCookie, "", 0)
	x.grant(&g)
	return x.back(local(x.r.PostFormValue("next")), "")
}

// passkeyBegin answers a ceremony's options to the script of the page.
func (x *exchange) passkeyBegin() error {
	in := call{method: http.MethodPost, path: "/auth/passkeys/login/begin", body: map[string]string{}}
	if k, err := x.r.Cookie(mfaCookie); err == nil && x.r.URL.Path == Root+"passkey/mfa/begin" {
		in.path, in.body = "/auth/mfa/passkey/begin", map[string]string{"mfaToken": k.Value}
	}
	m, err := x.api.do(x.r, "", in)
	var p *Problem
	if err != nil && !errors.As(err, &p) {
		return err
	}
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(m.status)
	_, _ = x.w.Write(m.body.Bytes())
	return nil
}

// passkeyFinish takes what the authenticator signed: a sign-in of its own, or
// the second factor of one that has begun.
func (x *exchange) passkeyFinish() error {
	credential, err := credentialOf(x.r)
	if err != nil {
		return err
	}
	in := call{method: http.MethodPost, path: "/auth/passkeys/login/finish", header: x.device(), body: credential}
	again := x.signIn
	if id := x.r.PostFormValue("ceremonyId"); id != "" {
		k, err := x.r.Cookie(mfaCookie)
		if err != nil {
			return errSignedOut
		}
		again = x.secondFactor
		in.path, in.body = "/auth/mfa/passkey/finish", map[string]any{"mfaToken": k.Value, "ceremonyId": id, "credential": credential}
	}
	m, err := x.api.do(x.r, "", in)
	var p *Problem
	if errors.As(err, &p) {
		return again(p.Status, p)
	}
	if err != nil {
		return err
	}
	return x.enter(m)
}

// credentialOf is what the authenticator said, as the page's script put it into
// the form.
func credentialOf(r *http.Request) (json.RawMessage, error) {
	credential := json.RawMessage(r.PostFormValue("credential"))
	if !json.Valid(credential) {
		return nil, &Problem{Status: http.StatusBadRequest, Code: "INVALID_ARGUMENT", Title: "Invalid argument", Detail: "the passkey's answer could not be read"}
	}
	return credential, nil
}

func (x *exchange) signOut() error {
	if x.s.open() {
		if _, err := x.post("/auth/logout", nil); err != nil && !errors.Is(err, errSignedOut) {
			var p *Problem
			if !errors.As(err, &p) || p.Status != http.StatusUnauthorized {
				return err // the session goes on: to say otherwise would be a lie
			}
		}
	}
	x.end()
	return x.back(Root+"sign-in", "")
}

func (x *exchange) theme() error {
	value := x.r.PostFormValue("theme")
	if value != "light" && value != "dark" {
		value = ""
	}
	x.cookie(themeCookie, value, longLife)
	return x.back(local(x.r.PostFormValue("next")), "")
}

// askStepUp asks for the password or a code once more. What was sent with a
// form is kept in the form it draws: the browser sends it on by itself once the
// session has stepped up (307 keeps method and body).
func (x *exchange) askStepUp(said string) {
	to, fields := local(x.r.FormValue("next")), url.Values{}
	if x.r.Method == http.MethodPost {
		to = x.r.URL.RequestURI()
		if x.r.URL.Path == Root+"step-up" {
			to = local(x.r.PostFormValue("_to"))
		}
		for k, v := range x.r.PostForm {
			if k != "_to" && k != "_password" && k != "_code" {
				fields[k] = v
			}
		}
	} else if x.r.URL.Path != Root+"step-up" {
		to = x.r.URL.RequestURI()
	}
	status := http.StatusOK
	if said != "" {
		status = http.StatusForbidden
	}
	x.draw(status, "Confirm that it is you", "", stepUpPage(to, x.r.Method == http.MethodPost, fields, said))
}

func (x *exchange) stepUp() error {
	body := map[string]string{}
	if v := x.r.PostFormValue("_password"); v != "" {
		body["password"] = v
	}
	if v := x.r.PostFormValue("_code"); v != "" {
		body["code"] = v
	}
	m, err := x.post("/auth/step-up", body)
	var p *Problem
	if errors.As(err, &p) {
		x.askStepUp(p.Detail)
		return nil
	}
	if err != nil {
		return err
	}
	var g authv1.SessionGrant
	if err := m.decode(&g); err != nil {
		return err
	}
	x.grant(&g)
	to := local(x.r.PostFormValue("_to"))
	if x.r.PostFormValue("_again") == "1" {
		http.Redirect(x.w, x.r, to, http.StatusTemporaryRedirect)
		return nil
	}
	return x.back(to, "")
}
