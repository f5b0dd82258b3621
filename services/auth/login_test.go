package auth

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/manas360/platform/pkg/fail"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	"github.com/manas360/platform/services/auth/totp"
)

const totpSecret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"

func TestLogin(t *testing.T) {
	b := newBench(t)
	b.mustJoin("asha@example.com")
	suspended := b.mustSeed(SeedAccount{Email: "gone@example.com", Roles: []string{"user"}})
	b.exec(`UPDATE auth.account SET state = 'SUSPENDED' WHERE id = $1`, suspended)
	b.mustRegister("new@example.com")
	for _, tt := range []struct {
		name, email, password string
		want                  fail.Kind // zero for success
	}{
		{"right", "asha@example.com", goodPassword, fail.Kind{}},
		{"right, other spelling", " ASHA@example.COM", goodPassword, fail.Kind{}},
		{"wrong password", "asha@example.com", "wrong", fail.InvalidCredentials},
		{"unknown", "nobody@example.com", goodPassword, fail.InvalidCredentials},
		{"not an address", "x\x00y", goodPassword, fail.InvalidCredentials},
		{"unverified", "new@example.com", goodPassword, fail.EmailNotVerified},
		{"unverified, wrong password", "new@example.com", "wrong", fail.InvalidCredentials},
		{"suspended", "gone@example.com", goodPassword, fail.AccountSuspended},
		{"suspended, wrong password", "gone@example.com", "wrong", fail.InvalidCredentials},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := b.tryLogin(tt.email, tt.password)
			if tt.want.Reason != "" {
				wantKind(t, tt.name, err, tt.want)
				return
			}
			if err != nil || r.GetAccessToken() == "" {
				t.Errorf("got %v, %v", r, err)
			}
		})
	}
}

func TestAdminLogin(t *testing.T) {
	b := newBench(t)
	b.mustJoin("asha@example.com")
	b.mustSeed(SeedAccount{Email: "admin@example.com", Roles: []string{"admin"}, TOTPSecret: totpSecret})
	_, err := b.pub.AdminLogin(b.visitor(), &authv1.AdminLoginRequest{Email: "asha@example.com", Password: goodPassword})
	wantKind(t, "a user at the console", err, fail.InvalidCredentials)
	r, err := b.pub.AdminLogin(b.visitor(), &authv1.AdminLoginRequest{Email: "admin@example.com", Password: goodPassword})
	if err != nil {
		t.Fatal(err)
	}
	if !r.GetAnswer().GetMfaRequired() || r.GetAnswer().AccessToken != nil {
		t.Errorf("got %v, want a demand for the factor", r.GetAnswer())
	}
}

// TestLockout counts spellings of one address together, and an address nobody
// has like any other.
func TestLockout(t *testing.T) {
	b := newBench(t)
	b.mustJoin("asha@example.com")
	for _, tt := range []struct {
		name      string
		spellings []string
	}{
		{"known", []string{"asha@example.com", "ASHA@EXAMPLE.COM", " asha@example.com", "Asha@example.com"}},
		{"unknown", []string{"nobody@example.com", "NOBODY@example.com"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			try := func(i int, password string) error {
				ip := []string{"198.51.100.1", "198.51.100.2", "198.51.100.3"}[i%3]
				_, err := b.pub.Login(from(t.Context(), ip), &authv1.LoginRequest{Email: tt.spellings[i%len(tt.spellings)], Password: password})
				return err
			}
			for i := range 10 {
				wantKind(t, "failure", try(i, "wrong"), fail.InvalidCredentials)
			}
			err := try(0, goodPassword)
			wantKind(t, "after ten failures", err, fail.TooManyAttempts)
			if e, ok := fail.As(err); !ok || e.Retry != 15*time.Minute {
				t.Errorf("retry: got %v, want 15m", e.Retry)
			}
			b.clock.pass(15*time.Minute + time.Second)
			for i := range 10 {
				wantKind(t, "failure after the lock", try(i, "wrong"), fail.InvalidCredentials)
			}
			if e, ok := fail.As(try(0, "wrong")); !ok || e.Retry != 30*time.Minute {
				t.Errorf("second lock: got %v, want 30m", e)
			}
			b.clock.pass(time.Hour)
		})
	}
	b.mustLogin("asha@example.com")
}

// TestPolicyIsNoFailure: whoever is right and refused all the same has not
// guessed. identity.md row 29
func TestPolicyIsNoFailure(t *testing.T) {
	b := newBench(t)
	b.mustJoin("asha@example.com")
	b.exec(`UPDATE auth.account SET state = 'SUSPENDED'`)
	b.mustRegister("new@example.com")
	for range forAccount.limit + 1 {
		_, err := b.tryLogin("asha@example.com", goodPassword)
		wantKind(t, "suspended", err, fail.AccountSuspended)
		_, err = b.tryLogin("new@example.com", goodPassword)
		wantKind(t, "unverified", err, fail.EmailNotVerified)
	}
	b.exec(`UPDATE auth.account SET state = 'ACTIVE'`)
	for range forAccount.limit - 1 {
		_, err := b.tryLogin("asha@example.com", "wrong")
		wantKind(t, "wrong", err, fail.InvalidCredentials)
	}
	b.mustLogin("asha@example.com")
}

// TestAddressLimit stops one address from trying many accounts.
func TestAddressLimit(t *testing.T) {
	b := newBench(t)
	ctx := from(t.Context(), "2001:db8:1:2::7")
	for i := range 30 {
		email := string(rune('a'+i%26)) + string(rune('a'+i/26)) + "@example.com"
		_, err := b.pub.Login(ctx, &authv1.LoginRequest{Email: email, Password: "wrong"})
		wantKind(t, email, err, fail.InvalidCredentials)
	}
	_, err := b.pub.Login(from(t.Context(), "2001:db8:1:2:ffff::1"), &authv1.LoginRequest{Email: "zz@example.com", Password: "wrong"})
	wantKind(t, "same /64", err, fail.TooManyAttempts)
	_, err = b.pub.Login(from(t.Context(), "2001:db8:1:3::1"), &authv1.LoginRequest{Email: "zz@example.com", Password: "wrong"})
	wantKind(t, "another /64", err, fail.InvalidCredentials)
}

// TestParallelLogins: identity.md row 28. Fifty right ones pass, and of many wrong ones only ten
// are tried.
func TestParallelLogins(t *testing.T) {
	b := newBench(t)
	b.mustJoin("asha@example.com")
	got := together(50, func(int) error {
		_, err := b.tryLogin("asha@example.com", goodPassword)
		return err
	})
	if diff := cmp.Diff(map[string]int{"": 50}, got); diff != "" {
		t.Errorf("right logins (-want +got):\n%s", diff)
	}
	got = together(30, func(int) error {
		_, err := b.tryLogin("asha@example.com", "wrong")
		return err
	})
	if diff := cmp.Diff(map[string]int{"INVALID_CREDENTIALS": 10, "TOO_MANY_ATTEMPTS": 20}, got); diff != "" {
		t.Errorf("wrong logins (-want +got):\n%s", diff)
	}
}

func TestLoginFailsClosed(t *testing.T) {
	b := newBench(t)
	b.mustJoin("asha@example.com")
	dead := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = dead.Close() })
	b.throttle.redis = dead
	_, err := b.tryLogin("asha@example.com", goodPassword)
	wantKind(t, "without Redis", err, fail.Unavailable)
}

func TestSecondFactor(t *testing.T) {
	b := newBench(t)
	b.mustSeed(SeedAccount{Email: "admin@example.com", Roles: []string{"admin"}, TOTPSecret: totpSecret})
	secret, err := totp.Decode(totpSecret)
	if err != nil {
		t.Fatal(err)
	}
	try := func(handle, code string) (*authv1.SessionGrant, error) {
		r, err := b.pub.VerifyMfa(b.visitor(), &authv1.VerifyMfaRequest{MfaToken: handle, Code: code})
		return r.GetSession(), err
	}
	handle := b.mustLogin("admin@example.com").GetMfaToken()
	g, err := try(handle, totp.Code(secret, b.clock.now()))
	if err != nil {
		t.Fatal(err)
	}
	claims, err := b.keys.verifier.Verify(g.GetAccessToken())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pwd", "otp", "mfa"}, claims.AMR); diff != "" || claims.MFAPending || g.GetRefreshExpiresIn() != 1800 {
		t.Errorf("assurance: %v pending %v, idle %d", claims.AMR, claims.MFAPending, g.GetRefreshExpiresIn())
	}
	if r, err := b.tryRefresh(g.GetRefreshToken()); err != nil {
		t.Error(err)
	} else if c, err := b.keys.verifier.Verify(r.GetAccessToken()); err != nil || len(c.AMR) != 3 {
		t.Errorf("assurance after refresh: %v, %v", c, err)
	}
	_, err = try(handle, totp.Code(secret, b.clock.now().Add(30*time.Second)))
	wantKind(t, "used handle", err, fail.InvalidCode)
	_, err = try("mfa_x", "123456")
	wantKind(t, "malformed handle", err, fail.InvalidCode)

	// One code, sixteen logins at once.
	b.clock.pass(time.Minute)
	handles := make([]string, 8)
	for i := range handles {
		handles[i] = b.mustLogin("admin@example.com").GetMfaToken()
	}
	code := totp.Code(secret, b.clock.now())
	got := together(16, func(i int) error {
		_, err := try(handles[i%8], code)
		return err
	})
	if got[""] != 1 {
		t.Errorf("one code opened %d sessions: %v", got[""], got)
	}

	b.clock.pass(time.Hour)
	handle = b.mustLogin("admin@example.com").GetMfaToken()
	for range 5 {
		_, err := try(handle, "000000")
		wantKind(t, "wrong code", err, fail.InvalidCode)
	}
	_, err = try(handle, totp.Code(secret, b.clock.now()))
	wantKind(t, "after five", err, fail.TooManyAttempts)
	handle = b.mustLogin("admin@example.com").GetMfaToken()
	b.clock.pass(handleLife)
	_, err = try(handle, totp.Code(secret, b.clock.now()))
	wantKind(t, "expired handle", err, fail.ChallengeExpired)
}

func TestEnrolment(t *testing.T) {
	b := newBench(t)
	b.mustSeed(SeedAccount{Email: "admin@example.com", Roles: []string{"admin"}})
	r := b.mustLogin("admin@example.com")
	if diff := cmp.Diff([]string{"profile.read", "profile.update"}, r.GetUser().GetPermissions()); diff != "" {
		t.Errorf("permissions before the factor (-want +got):\n%s", diff)
	}
	ctx := b.as(r.GetAccessToken())
	if c := someone(ctx); !c.MFAPending {
		t.Error("the token does not say that a factor is owed")
	}
	e, err := b.pub.CreateTotp(ctx, &authv1.CreateTotpRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(e.GetQrPng()) < 100 || string(e.GetQrPng()[1:4]) != "PNG" {
		t.Errorf("QR code of %d bytes", len(e.GetQrPng()))
	}
	secret, err := totp.Decode(e.GetSecret())
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.pub.ConfirmTotp(ctx, &authv1.ConfirmTotpRequest{Code: "000000"})
	wantKind(t, "wrong code", err, fail.InvalidCode)
	conf, err := b.pub.ConfirmTotp(ctx, &authv1.ConfirmTotpRequest{Code: totp.Code(secret, b.clock.now())})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(conf.GetRecoveryCodes()); n != 10 || len(conf.GetRecoveryCodes()[0]) != 24 {
		t.Errorf("recovery codes: %v", conf.GetRecoveryCodes())
	}
	_, err = b.pub.CreateTotp(ctx, &authv1.CreateTotpRequest{})
	wantKind(t, "a second secret", err, fail.Conflict)

	g, err := b.tryRefresh(r.GetRefreshToken())
	if err != nil {
		t.Fatal(err)
	}
	if c := someone(b.as(g.GetAccessToken())); c.MFAPending || !c.Has("users.manage") || !g.GetUser().GetMfaEnabled() || c.Epoch != 2 {
		t.Errorf("after the refresh: %+v", c)
	}

	for range 2 {
		handle := b.mustLogin("admin@example.com").GetMfaToken()
		_, err = b.pub.VerifyMfa(b.visitor(), &authv1.VerifyMfaRequest{MfaToken: handle, Code: conf.GetRecoveryCodes()[0]})
		if err != nil {
			break
		}
	}
	wantKind(t, "a recovery code twice", err, fail.InvalidCode)
}
