package auth

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/manas360/platform/pkg/fail"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	"github.com/manas360/platform/services/auth/totp"
)

// factorOptions asks for a passkey after a password.
func (b *bench) factorOptions(handle string) *structpb.Struct {
	b.t.Helper()
	return must[*authv1.BeginPasskeyMfaResponse](b.t)(b.passkeys().BeginPasskeyMfa(b.visitor(), &authv1.BeginPasskeyMfaRequest{MfaToken: handle})).GetOptions()
}

// shown is the second factor's answer.
func (k *key) shown(t *testing.T, handle string, options *structpb.Struct) *authv1.FinishPasskeyMfaRequest {
	t.Helper()
	r := k.assert(t, options)
	return &authv1.FinishPasskeyMfaRequest{MfaToken: handle, Id: r.GetId(), RawId: r.GetRawId(), Type: r.GetType(), Response: r.GetResponse()}
}

func (b *bench) showKey(r *authv1.FinishPasskeyMfaRequest) (*authv1.SessionGrant, error) {
	done, err := b.passkeys().FinishPasskeyMfa(b.visitor(), r)
	return done.GetSession(), err
}

func ceremonyOf(options *structpb.Struct) string {
	return options.GetFields()["ceremonyId"].GetStringValue()
}

// One of two passkeys finishes a login, once.
func TestPasskeyIsASecondFactor(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin(ashasMail)
	k, second := newKey(), newKey()
	b.enrolKey(g, k)
	if p := b.enrolMore(g, second); len(p.GetRecoveryCodes()) != 0 {
		t.Error("recovery codes with the second passkey")
	}
	for name, key := range map[string]*key{"first": k, "second": second} {
		handle := b.mustLogin(ashasMail).GetMfaToken()
		r := key.shown(t, handle, b.factorOptions(handle))
		ses, err := b.showKey(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff([]string{"pwd", "hwk", "user", "mfa"}, someone(b.as(ses.GetAccessToken())).AMR); diff != "" {
			t.Errorf("%s: amr (-want +got):\n%s", name, diff)
		}
		_, err = b.showKey(r)
		wantKind(t, name+" again", err, fail.InvalidCode)
		_, err = b.passkeys().BeginPasskeyMfa(b.visitor(), &authv1.BeginPasskeyMfaRequest{MfaToken: handle})
		wantKind(t, name+": the login's handle", err, fail.InvalidCode)
		// Named by address, each signs in as well.
		if _, err := b.passkeys().FinishPasskeyLogin(b.visitor(), key.assert(t, b.keyOptions(&authv1.BeginPasskeyLoginRequest{Email: ashasMail}))); err != nil {
			t.Errorf("%s, named: %v", name, err)
		}
	}
	// After a mailed code it is two factors too.
	ch := must[*authv1.Challenge](t)(b.mailCode(ashasMail))
	login := must[*authv1.LoginAnswer](t)(b.otp(ch.GetChallengeId(), b.last(ashasMail).Code))
	if !slices.Contains(login.GetFactors(), "WEBAUTHN") {
		t.Errorf("factors %v", login.GetFactors())
	}
	ses := must[*authv1.SessionGrant](t)(b.showKey(k.shown(t, login.GetMfaToken(), b.factorOptions(login.GetMfaToken()))))
	if diff := cmp.Diff([]string{"otp", "hwk", "user", "mfa"}, someone(b.as(ses.GetAccessToken())).AMR); diff != "" {
		t.Errorf("after a code (-want +got):\n%s", diff)
	}
}

// identity.md rows 50 and 52: a handle and a ceremony open what they are for,
// and of two logins each its own.
func TestPasskeyPurposes(t *testing.T) {
	b := newBench(t)
	k, other := newKey(), newKey()
	g := b.mustJoin(ashasMail)
	b.enrolKey(g, k)
	b.enrolKey(b.mustJoin("ravi@example.com"), other)
	plain := b.mustJoin("uma@example.com")
	handle, second := b.mustLogin(ashasMail).GetMfaToken(), b.mustLogin(ashasMail).GetMfaToken()
	ravis := b.mustLogin("ravi@example.com").GetMfaToken()
	begun := func() *structpb.Struct {
		return must[*authv1.BeginPasskeyRegistrationResponse](t)(b.passkeys().BeginPasskeyRegistration(b.holding(g), &authv1.BeginPasskeyRegistrationRequest{})).GetOptions()
	}
	login := func(o *structpb.Struct, named bool) error {
		r := k.assert(t, o)
		if named {
			r.CeremonyId = ceremonyOf(o)
		}
		_, err := b.passkeys().FinishPasskeyLogin(b.visitor(), r)
		return err
	}
	factor := func(who *key, handle string, o *structpb.Struct, named bool) error {
		r := who.shown(t, handle, o)
		if named {
			r.CeremonyId = ceremonyOf(o)
		}
		_, err := b.showKey(r)
		return err
	}
	free := func() *structpb.Struct { return b.keyOptions(&authv1.BeginPasskeyLoginRequest{}) }
	for _, named := range []bool{false, true} {
		wantKind(t, "a second factor's ceremony at login", login(b.factorOptions(handle), named), fail.ChallengeExpired)
		wantKind(t, "a registration's at login", login(begun(), named), fail.ChallengeExpired)
		wantKind(t, "a login's as the second factor", factor(k, handle, free(), named), fail.ChallengeExpired)
		wantKind(t, "a registration's as the second factor", factor(k, handle, begun(), named), fail.ChallengeExpired)
		enrol := k.attest(t, free())
		if named {
			enrol.CeremonyId = ceremonyOf(free())
		}
		_, err := b.passkeys().FinishPasskeyRegistration(b.as(plain.GetAccessToken()), enrol)
		wantKind(t, "a login's at registration", err, fail.ChallengeExpired)
	}
	wantKind(t, "the other login's ceremony", factor(k, handle, b.factorOptions(second), false), fail.InvalidCredentials)
	wantKind(t, "another account's", factor(k, handle, b.factorOptions(ravis), false), fail.InvalidCredentials)
	wantKind(t, "another account's passkey", factor(other, handle, b.factorOptions(handle), false), fail.InvalidCredentials)
	for name, bad := range map[string]string{"an access token": g.GetAccessToken(), "a refresh token": g.GetRefreshToken(), "damaged": handle[:len(handle)-2] + "AA", "empty": "mfa_"} {
		_, err := b.passkeys().BeginPasskeyMfa(b.visitor(), &authv1.BeginPasskeyMfaRequest{MfaToken: bad})
		wantKind(t, name, err, fail.InvalidCode)
		_, err = b.showKey(&authv1.FinishPasskeyMfaRequest{MfaToken: bad, Id: "x"})
		wantKind(t, name, err, fail.InvalidCode)
	}
	if err := factor(k, handle, b.factorOptions(handle), true); err != nil {
		t.Errorf("its own: %v", err)
	}
	if n := b.count(`SELECT count(*) FROM auth.passkey`); n != 2 {
		t.Errorf("%d passkeys", n)
	}
}

// Five wrong answers end the login, not the account.
func TestPasskeyFactorTries(t *testing.T) {
	b := newBench(t)
	k := newKey()
	b.enrolKey(b.mustJoin(ashasMail), k)
	handle := b.mustLogin(ashasMail).GetMfaToken()
	unverified := *k
	unverified.auth.Options.UserNotVerified = true
	for range maxAttempts {
		_, err := b.showKey(unverified.shown(t, handle, b.factorOptions(handle)))
		wantKind(t, "no user verification", err, fail.InvalidCredentials)
	}
	_, err := b.passkeys().BeginPasskeyMfa(b.visitor(), &authv1.BeginPasskeyMfaRequest{MfaToken: handle})
	wantKind(t, "sixth", err, fail.TooManyAttempts)
	if _, err := b.keyLogin(k); err != nil {
		t.Errorf("alone: %v", err)
	}
	late := b.mustLogin(ashasMail).GetMfaToken()
	r := k.shown(t, late, b.factorOptions(late))
	b.clock.pass(handleLife)
	_, err = b.showKey(r)
	wantKind(t, "late", err, fail.ChallengeExpired)
}

// x32 the same answer: one session.
func TestPasskeyFactorIsGoodOnce(t *testing.T) {
	b := newBench(t)
	k := newKey()
	b.enrolKey(b.mustJoin(ashasMail), k)
	handle := b.mustLogin(ashasMail).GetMfaToken()
	r := k.shown(t, handle, b.factorOptions(handle))
	before := b.live()
	got := together(32, func(int) error { _, err := b.showKey(r); return err })
	if got[""] != 1 || got["CHALLENGE_EXPIRED"]+got["INVALID_CODE"] != 31 || b.live() != before+1 {
		t.Errorf("outcomes %v, %d sessions", got, b.live()-before)
	}
}

// identity.md row 51: an authenticator that was made before the passkey cannot
// be turned on by a session that has not shown the passkey.
func TestAuthenticatorMadeBeforeThePasskey(t *testing.T) {
	b := newBench(t)
	g, before := b.mustJoin(ashasMail), b.mustLogin(ashasMail)
	e := must[*authv1.CreateTotpResponse](t)(b.pub.CreateTotp(b.as(before.GetAccessToken()), &authv1.CreateTotpRequest{}))
	secret := must[[]byte](t)(totp.Decode(e.GetSecret()))
	p := b.enrolKey(g, newKey())
	confirm := &authv1.ConfirmTotpRequest{Code: totp.Code(secret, b.clock.now())}
	_, err := b.pub.ConfirmTotp(b.as(before.GetAccessToken()), confirm)
	wantKind(t, "with the old token", err, fail.MFARequired)
	again := must[*authv1.SessionGrant](t)(b.tryRefresh(before.GetRefreshToken()))
	_, err = b.pub.ConfirmTotp(b.as(again.GetAccessToken()), confirm)
	wantKind(t, "with a fresh one", err, fail.MFARequired)
	if someone(b.as(again.GetAccessToken())).HasSecondFactor() {
		t.Error("the session has a factor")
	}
	handle := b.mustLogin(ashasMail).GetMfaToken()
	if _, err := b.pub.VerifyMfa(b.visitor(), &authv1.VerifyMfaRequest{MfaToken: handle, Code: p.GetRecoveryCodes()[0]}); err != nil {
		t.Errorf("the recovery codes are the passkey's: %v", err)
	}
	if _, err := b.pub.ConfirmTotp(b.holding(g), confirm); err != nil {
		t.Errorf("by the session that has shown it: %v", err)
	}
}

// Passkey and authenticator at once: the second one to come must see the first.
func TestFirstFactorsTogether(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin(ashasMail)
	ctx := b.as(g.GetAccessToken())
	e := must[*authv1.CreateTotpResponse](t)(b.pub.CreateTotp(ctx, &authv1.CreateTotpRequest{}))
	secret := must[[]byte](t)(totp.Decode(e.GetSecret()))
	begun := must[*authv1.BeginPasskeyRegistrationResponse](t)(b.passkeys().BeginPasskeyRegistration(ctx, &authv1.BeginPasskeyRegistrationRequest{}))
	made := newKey().attest(t, begun.GetOptions())
	got := together(2, func(i int) error {
		if i == 0 {
			_, err := b.pub.ConfirmTotp(ctx, &authv1.ConfirmTotpRequest{Code: totp.Code(secret, b.clock.now())})
			return err
		}
		_, err := b.passkeys().FinishPasskeyRegistration(ctx, made)
		return err
	})
	if diff := cmp.Diff(map[string]int{"": 1, "MFA_REQUIRED": 1}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := b.count(`SELECT count(*) FROM auth.recovery_code`); n != recoveryCodes {
		t.Errorf("%d recovery codes", n)
	}
}

// Staff who owe a factor make a passkey theirs and have their permissions then.
// It is the last they may not remove.
func TestPasskeyOfStaff(t *testing.T) {
	b := newBench(t)
	b.mustSeed(SeedAccount{Email: "admin@example.com", Roles: []string{"admin"}})
	login := b.mustLogin("admin@example.com")
	if slices.Contains(login.GetUser().GetPermissions(), "users.manage") {
		t.Fatal("a password alone manages users")
	}
	g := &authv1.SessionGrant{AccessToken: login.AccessToken, RefreshToken: login.RefreshToken}
	k := newKey()
	p := b.enrolKey(g, k)
	ctx := b.holding(g)
	if c := someone(ctx); !c.Has("users.manage") || c.MFAPending || !c.HasSecondFactor() {
		t.Errorf("after enrolment: %+v", c)
	}
	_, err := b.passkeys().DeletePasskey(ctx, &authv1.DeletePasskeyRequest{Id: p.GetId()})
	wantKind(t, "the last factor of staff", err, fail.PermissionDenied)
	ses := must[*authv1.SessionGrant](t)(b.keyLogin(k)) // it is still there
	if !slices.Contains(ses.GetUser().GetPermissions(), "users.manage") {
		t.Error("a passkey alone does not manage users")
	}
	b.enrolMore(ses, newKey())
	if _, err := b.passkeys().DeletePasskey(b.holding(ses), &authv1.DeletePasskeyRequest{Id: p.GetId()}); err != nil {
		t.Errorf("with another left: %v", err)
	}
}

// identity.md row 18: what sessions have shown of passkeys goes with the last
// one; of an authenticator that stays, it stays.
func TestAssuranceAfterPasskeys(t *testing.T) {
	for _, tt := range []struct {
		name       string
		totp       bool
		held, want []string
	}{
		{"passkey alone", false, []string{"hwk", "user", "mfa"}, []string{}},
		{"password and passkey", false, []string{"pwd", "hwk", "user", "mfa"}, []string{"pwd"}},
		{"password and recovery code", false, []string{"pwd", "otp", "mfa"}, []string{"pwd"}},
		{"mailed code and passkey", false, []string{"otp", "hwk", "user", "mfa"}, []string{"otp"}},
		{"provider and passkey", false, []string{"fed", "hwk", "user", "mfa"}, []string{"fed"}},
		{"one factor", false, []string{"pwd"}, []string{"pwd"}},
		{"authenticator stays", true, []string{"pwd", "otp", "mfa"}, []string{"pwd", "otp", "mfa"}},
		{"both, authenticator stays", true, []string{"pwd", "otp", "mfa", "hwk", "user"}, []string{"pwd", "otp", "mfa"}},
		{"passkey, authenticator stays", true, []string{"hwk", "user", "mfa"}, []string{}},
		{"mailed code and passkey, authenticator stays", true, []string{"otp", "hwk", "user", "mfa"}, []string{"otp"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			g := b.mustJoin(ashasMail)
			if tt.totp {
				_, _, g = b.mustEnrol(g)
			}
			k := newKey()
			var p *authv1.Passkey
			if tt.totp {
				p = b.enrolMore(g, k)
			} else {
				p = b.enrolKey(g, k)
			}
			ctx := b.holding(g)
			// A login that waits for the passkey dies with the account's last factor.
			handle := b.mustLogin(ashasMail).GetMfaToken()
			b.exec(`UPDATE auth.session SET amr = $1`, tt.held)
			b.clock.pass(time.Minute)
			if _, err := b.passkeys().DeletePasskey(ctx, &authv1.DeletePasskeyRequest{Id: p.GetId()}); err != nil {
				t.Fatal(err)
			}
			after := someone(b.holding(g))
			if diff := cmp.Diff(tt.want, append([]string{}, after.AMR...)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if after.HasSecondFactor() != (tt.totp && slices.Contains(tt.want, "mfa")) {
				t.Errorf("second factor: %v", after.HasSecondFactor())
			}
			if live := b.count(`SELECT count(*) FROM auth.challenge WHERE purpose = 'LOGIN_MFA' AND used_at IS NULL`) > 0; live != tt.totp {
				t.Errorf("%s lives: %v", handle[:4], live)
			}
		})
	}
}
