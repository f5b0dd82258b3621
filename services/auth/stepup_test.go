package auth

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/rpc"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	"github.com/manas360/platform/services/auth/totp"
)

func (b *bench) stepUp(access string, r *authv1.StepUpRequest) (*authv1.SessionGrant, error) {
	b.t.Helper()
	g, err := b.cred().StepUp(b.as(access), r)
	return g.GetSession(), err
}

func withPassword(plain string) *authv1.StepUpRequest { return &authv1.StepUpRequest{Password: &plain} }
func withCode(code string) *authv1.StepUpRequest      { return &authv1.StepUpRequest{Code: &code} }

func TestStepUpByPassword(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin(ashasMail)
	before := someone(b.as(g.GetAccessToken()))
	b.clock.pass(11 * time.Minute)
	_, err := b.stepUp(g.GetAccessToken(), withPassword("not my password"))
	wantKind(t, "wrong password", err, fail.InvalidCredentials)
	_, err = b.stepUp(g.GetAccessToken(), withCode("123456"))
	wantKind(t, "a code without a factor", err, fail.InvalidCode)
	_, err = b.stepUp(g.GetAccessToken(), &authv1.StepUpRequest{})
	wantKind(t, "nothing", err, fail.InvalidArgument)

	next := must[*authv1.SessionGrant](t)(b.stepUp(g.GetAccessToken(), withPassword(goodPassword)))
	after := someone(b.as(next.GetAccessToken()))
	if after.SessionID != before.SessionID || !after.AuthTime.Equal(b.clock.now()) || !slices.Equal(after.AMR, before.AMR) {
		t.Errorf("after: %+v", after)
	}
	if next.GetRefreshToken() == g.GetRefreshToken() {
		t.Error("the refresh token was not moved")
	}
	// identity.md row 5: the old one gives its successor, and after the grace
	// nothing.
	again := must[*authv1.SessionGrant](t)(b.tryRefresh(g.GetRefreshToken()))
	if again.GetRefreshToken() != next.GetRefreshToken() || !someone(b.as(again.GetAccessToken())).AuthTime.Equal(after.AuthTime) {
		t.Error("the old token has another successor")
	}
	b.clock.pass(refreshGrace + time.Second)
	_, err = b.tryRefresh(g.GetRefreshToken())
	wantKind(t, "the old one after the grace", err, fail.RefreshReused)
	_, err = b.stepUp(next.GetAccessToken(), withPassword(goodPassword))
	wantKind(t, "a session that has ended", err, fail.TokenRevoked)
}

// TestStepUpKeepsTabs: a tab that still holds the token of before a refresh is
// no thief because another tab has stepped up since.
func TestStepUpKeepsTabs(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin(ashasMail)
	b.clock.pass(time.Minute)
	one := must[*authv1.SessionGrant](t)(b.tryRefresh(g.GetRefreshToken()))
	up := must[*authv1.SessionGrant](t)(b.stepUp(one.GetAccessToken(), withPassword(goodPassword)))
	two := must[*authv1.SessionGrant](t)(b.tryRefresh(g.GetRefreshToken()))
	if up.GetRefreshToken() != one.GetRefreshToken() || two.GetRefreshToken() != one.GetRefreshToken() {
		t.Error("three successors of one token")
	}
	got := together(16, func(i int) error {
		if i%2 == 0 {
			_, err := b.stepUp(up.GetAccessToken(), withPassword(goodPassword))
			return err
		}
		_, err := b.tryRefresh(up.GetRefreshToken())
		return err
	})
	if diff := cmp.Diff(map[string]int{"": 16}, got); diff != "" {
		t.Errorf("together (-want +got):\n%s", diff)
	}
}

// TestStepUpAssurance: identity.md rows 50 and 51. A password keeps what a
// session has shown and adds nothing, a code gives the factor.
func TestStepUpAssurance(t *testing.T) {
	b := newBench(t)
	old := b.mustJoin(ashasMail)
	second := b.mustLogin(ashasMail) // opened before the factor
	secret, codes, g := b.mustEnrol(old)
	both := []string{"pwd", "otp", "mfa"}
	amr := func(access string) []string { return someone(b.as(access)).AMR }
	if diff := cmp.Diff(both, amr(g.GetAccessToken())); diff != "" {
		t.Fatalf("after enrolment:\n%s", diff)
	}
	kept := must[*authv1.SessionGrant](t)(b.stepUp(g.GetAccessToken(), withPassword(goodPassword)))
	if diff := cmp.Diff(both, amr(kept.GetAccessToken())); diff != "" {
		t.Errorf("by password (-want +got):\n%s", diff)
	}
	down := must[*authv1.SessionGrant](t)(b.stepUp(second.GetAccessToken(), withPassword(goodPassword)))
	if diff := cmp.Diff([]string{"pwd"}, amr(down.GetAccessToken())); diff != "" {
		t.Errorf("by password, of before the factor (-want +got):\n%s", diff)
	}
	rule, _ := rpc.Rule(authv1.CredentialService_RenewRecoveryCodes_FullMethodName)
	wantKind(t, "new recovery codes by password alone", rpc.Allow(rule, someone(b.as(down.GetAccessToken())), b.now()), fail.MFARequired)
	wantKind(t, "in a session of before the factor", rpc.Allow(rule, someone(b.as(second.GetAccessToken())), b.now()), fail.MFARequired)

	code := totp.Code(secret, b.clock.now())
	up := must[*authv1.SessionGrant](t)(b.stepUp(down.GetAccessToken(), withCode(code)))
	if diff := cmp.Diff(both, amr(up.GetAccessToken())); diff != "" {
		t.Errorf("by code (-want +got):\n%s", diff)
	}
	if err := rpc.Allow(rule, someone(b.as(up.GetAccessToken())), b.now()); err != nil {
		t.Error(err)
	}
	_, err := b.stepUp(up.GetAccessToken(), withCode(code))
	wantKind(t, "the code again", err, fail.InvalidCode)
	must[*authv1.SessionGrant](t)(b.stepUp(second.GetAccessToken(), withCode(codes[0])))
	if l := b.last(ashasMail); l.Template != "recovery_code_used" {
		t.Errorf("notice: %+v", l)
	}
}

// TestNewRecoveryCodes kill the old.
func TestNewRecoveryCodes(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin(ashasMail)
	_, err := b.cred().RenewRecoveryCodes(b.as(g.GetAccessToken()), &authv1.RenewRecoveryCodesRequest{})
	wantKind(t, "without a factor", err, fail.Conflict)
	_, old, g := b.mustEnrol(g)
	if l := b.last(ashasMail); l.Template != "factor_added" {
		t.Errorf("notice: %+v", l)
	}
	r, err := b.cred().RenewRecoveryCodes(b.as(g.GetAccessToken()), &authv1.RenewRecoveryCodesRequest{})
	if err != nil || len(r.GetRecoveryCodes()) != 10 {
		t.Fatalf("got %v, %v", r, err)
	}
	if l := b.last(ashasMail); l.Template != "recovery_codes_renewed" {
		t.Errorf("notice: %+v", l)
	}
	_, err = b.stepUp(g.GetAccessToken(), withCode(old[1]))
	wantKind(t, "an old one", err, fail.InvalidCode)
	must[*authv1.SessionGrant](t)(b.stepUp(g.GetAccessToken(), withCode(r.GetRecoveryCodes()[1])))
}

// TestDisableTOTP: identity.md row 18. Every session loses the factor at once.
func TestDisableTOTP(t *testing.T) {
	b := newBench(t)
	secret, codes, g := b.mustEnrol(b.mustJoin(ashasMail))
	handle := b.mustLogin(ashasMail).GetMfaToken()
	ctx := b.as(g.GetAccessToken())
	off := func(plain, code string) error {
		_, err := b.cred().DisableTotp(ctx, &authv1.DisableTotpRequest{Password: plain, Code: code})
		return err
	}
	wantKind(t, "wrong password", off("not my password", totp.Code(secret, b.clock.now())), fail.InvalidCredentials)
	wantKind(t, "wrong code", off(goodPassword, wrongOf(totp.Code(secret, b.clock.now()))), fail.InvalidCode)
	if err := off(goodPassword, totp.Code(secret, b.clock.now())); err != nil {
		t.Fatal(err)
	}
	if n := b.count(`SELECT count(*) FROM auth.authz_event WHERE kind = 'ACCOUNT_STALE' AND min_epoch = 3`); n != 1 {
		t.Error("tokens are not stale")
	}
	next := must[*authv1.SessionGrant](t)(b.tryRefresh(g.GetRefreshToken()))
	if c := someone(b.as(next.GetAccessToken())); c.HasSecondFactor() || !slices.Equal(c.AMR, []string{"pwd"}) || next.GetUser().GetMfaEnabled() {
		t.Errorf("after: %+v", c)
	}
	if n := b.count(`SELECT count(*) FROM auth.recovery_code`); n != 0 {
		t.Errorf("%d recovery codes are left", n)
	}
	if l := b.last(ashasMail); l.Template != "factor_removed" {
		t.Errorf("notice: %+v", l)
	}
	_, err := b.pub.VerifyMfa(b.visitor(), &authv1.VerifyMfaRequest{MfaToken: handle, Code: codes[0]})
	wantKind(t, "a login that waited for it", err, fail.InvalidCode)
	if r := b.mustLogin(ashasMail); r.GetMfaRequired() {
		t.Error("login still asks for it")
	}

	b.mustSeed(SeedAccount{Email: "admin@example.com", Roles: []string{"admin"}, TOTPSecret: totpSecret})
	admin := must[[]byte](t)(totp.Decode(totpSecret))
	v := must[*authv1.VerifyMfaResponse](t)(b.pub.VerifyMfa(b.visitor(), &authv1.VerifyMfaRequest{
		MfaToken: b.mustLogin("admin@example.com").GetMfaToken(), Code: totp.Code(admin, b.clock.now()),
	}))
	b.clock.pass(totpStep)
	ctx = b.as(v.GetSession().GetAccessToken())
	wantKind(t, "a role that must have it", off(goodPassword, totp.Code(admin, b.clock.now())), fail.PermissionDenied)
}

// TestFactorTogether: identity.md rows 7, 8 and 13. One recovery code and one
// code of the authenticator, 64 times each, on two sessions: one success.
func TestFactorTogether(t *testing.T) {
	for _, kind := range []string{methodRecovery, "TOTP"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t)
			secret, codes, g := b.mustEnrol(b.mustJoin(ashasMail))
			v := must[*authv1.VerifyMfaResponse](t)(b.pub.VerifyMfa(b.visitor(), &authv1.VerifyMfaRequest{
				MfaToken: b.mustLogin(ashasMail).GetMfaToken(), Code: codes[9],
			}))
			sessions := []string{g.GetAccessToken(), v.GetSession().GetAccessToken()}
			code := codes[0]
			if kind == "TOTP" {
				code = totp.Code(secret, b.clock.now())
			}
			got := together(64, func(i int) error {
				_, err := b.stepUp(sessions[i%2], withCode(code))
				return err
			})
			if got[""] != 1 || got["INVALID_CODE"]+got["TOO_MANY_ATTEMPTS"] != 63 {
				t.Errorf("outcomes: %v", got)
			}
		})
	}
}
