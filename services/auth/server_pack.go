package auth

import (
	"time"

	"github.com/manas360/platform/pkg/id"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

const bearer = "Bearer"

func seconds(d time.Duration) int32 {
	return int32(d / time.Second) //nolint:gosec // lives of tokens, 30 days at most
}

func packGrant(g grant) *authv1.SessionGrant {
	return &authv1.SessionGrant{
		AccessToken: &g.Access, TokenType: bearer, ExpiresIn: seconds(g.AccessTTL),
		RefreshToken: &g.Refresh, RefreshExpiresIn: seconds(g.RefreshTTL), User: packUser(g), DeviceToken: given(g.Device),
	}
}

// given is a value that may be missing, absent then.
func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func packLogin(r loginResult) *authv1.LoginAnswer {
	if r.Handle != "" {
		owed := true
		return &authv1.LoginAnswer{MfaRequired: &owed, MfaToken: &r.Handle, Factors: r.Factors}
	}
	kind, life, refreshLife := bearer, seconds(r.AccessTTL), seconds(r.RefreshTTL)
	return &authv1.LoginAnswer{
		AccessToken: &r.Access, TokenType: &kind, ExpiresIn: &life,
		RefreshToken: &r.Refresh, RefreshExpiresIn: &refreshLife, User: packUser(r.grant), DeviceToken: given(r.Device),
	}
}

func packUser(g grant) *authv1.SessionUser {
	a := g.Account
	return &authv1.SessionUser{
		Id: id.Format("usr", a.ID), Email: &a.Email, Phone: shown(a.Phone), EmailVerified: a.EmailVerifiedAt != nil,
		Roles: a.Roles, Permissions: g.InForce, Plan: a.Plan, Features: a.Features, MfaEnabled: a.HasFactor,
	}
}

// shown is a value that may be missing, empty then: the contract fixes which
// fields a client finds.
func shown(s *string) *string {
	if s == nil {
		return new(string)
	}
	return s
}
