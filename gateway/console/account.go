package console

import (
	"errors"
	"net/http"

	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

func (c *Console) accountPages() map[string]page {
	return map[string]page{
		"GET account":                       {show: func(x *exchange) error { return x.account(http.StatusOK, nil, accountNews{}) }},
		"POST account/sessions/{id}/revoke": {show: (*exchange).revokeSession},
		"POST account/totp":                 {show: (*exchange).totp},
		"POST account/totp/confirm":         {show: (*exchange).confirmTotp},
		"POST account/passkey/begin":        {show: (*exchange).registerBegin},
		"POST account/passkey/finish":       {show: (*exchange).registerFinish},
		"POST account/passkeys/{id}/delete": {show: (*exchange).deletePasskey},
	}
}

// accountNews is shown once: what cannot be asked for again.
type accountNews struct {
	Totp     *authv1.CreateTotpResponse
	Recovery []string
}

type accountView struct {
	Sessions part[*authv1.ListSessionsResponse]
	Passkeys part[*authv1.ListPasskeysResponse]
	Roles    []string
	ID       string
	News     accountNews
}

func (x *exchange) account(status int, p *Problem, news accountNews) error {
	v := accountView{Roles: x.s.claims.Roles, ID: x.s.claims.Subject, News: news}
	var err error
	if v.Sessions, err = load(x, "/auth/sessions", nil, &authv1.ListSessionsResponse{}); err != nil {
		return err
	}
	if v.Passkeys, err = load(x, "/auth/passkeys", nil, &authv1.ListPasskeysResponse{}); err != nil {
		return err
	}
	v.Roles, v.ID = x.s.claims.Roles, x.s.claims.Subject // after a refresh
	x.draw(status, "Your account", "account", accountPage(v, p))
	return nil
}

func (x *exchange) accountRefused(err error) error {
	return refused(err, func(status int, p *Problem) error { return x.account(status, p, accountNews{}) })
}

func (x *exchange) revokeSession() error {
	if _, err := x.call(call{method: http.MethodDelete, path: "/auth/sessions" + at(x.r.PathValue("id"))}); err != nil {
		return x.accountRefused(err)
	}
	return x.back(Root+"account", "session")
}

func (x *exchange) totp() error {
	m, err := x.post("/auth/mfa/totp", nil)
	if err != nil {
		return x.accountRefused(err)
	}
	var a authv1.CreateTotpResponse
	if err := m.decode(&a); err != nil {
		return err
	}
	return x.account(http.StatusOK, nil, accountNews{Totp: &a})
}

func (x *exchange) confirmTotp() error {
	m, err := x.post("/auth/mfa/totp/confirm", map[string]string{"code": x.r.PostFormValue("code")})
	if err != nil {
		return x.accountRefused(err)
	}
	var a authv1.ConfirmTotpResponse
	if err := m.decode(&a); err != nil {
		return err
	}
	return x.account(http.StatusOK, nil, accountNews{Recovery: a.GetRecoveryCodes()})
}

// registerBegin answers the options of a new passkey to the page's script.
func (x *exchange) registerBegin() error {
	m, err := x.post("/auth/passkeys/register/begin", map[string]string{})
	var p *Problem
	if err != nil && (!errors.As(err, &p) || m == nil) {
		return err
	}
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(m.status)
	_, _ = x.w.Write(m.body.Bytes())
	return nil
}

func (x *exchange) registerFinish() error {
	credential, err := credentialOf(x.r)
	if err != nil {
		return x.accountRefused(err)
	}
	m, err := x.post("/auth/passkeys/register/finish", credential)
	if err != nil {
		return x.accountRefused(err)
	}
	var k authv1.Passkey
	if err := m.decode(&k); err != nil {
		return err
	}
	if len(k.GetRecoveryCodes()) > 0 {
		return x.account(http.StatusOK, nil, accountNews{Recovery: k.GetRecoveryCodes()})
	}
	return x.back(Root+"account", "passkey")
}

func (x *exchange) deletePasskey() error {
	if _, err := x.call(call{method: http.MethodDelete, path: "/auth/passkeys" + at(x.r.PathValue("id"))}); err != nil {
		return x.accountRefused(err)
	}
	return x.back(Root+"account", "passkey-deleted")
}
