package auth

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	"github.com/manas360/platform/services/auth/totp"
)

const (
	ashasMail  = "asha@example.com"
	ashasPhone = "+919876543210"
	newSecret  = "another horse battery"
)

// pause is long enough for the next code, and short enough for the last.
const pause = resendAfter + time.Second

func (b *bench) cred() *credentialServer { return &credentialServer{Service: b.Service} }

// last is the newest letter to somebody.
func (b *bench) last(to string) letter {
	b.t.Helper()
	var out letter
	for _, l := range b.letters() {
		if l.To == to {
			out = l
		}
	}
	return out
}

func (b *bench) mailCode(email string) (*authv1.Challenge, error) {
	r, err := b.cred().SendOtp(b.visitor(), &authv1.SendOtpRequest{Email: &email})
	return r.GetChallenge(), err
}

func (b *bench) sendSMS(number string) (*authv1.Challenge, error) {
	r, err := b.cred().SendOtp(b.visitor(), &authv1.SendOtpRequest{Phone: &number})
	return r.GetChallenge(), err
}

func (b *bench) otp(ch, code string) (*authv1.LoginAnswer, error) {
	r, err := b.cred().VerifyOtp(b.visitor(), &authv1.VerifyOtpRequest{ChallengeId: ch, Code: code})
	return r.GetAnswer(), err
}

func (b *bench) forgotten(email string) (*authv1.Challenge, error) {
	r, err := b.cred().ForgotPassword(b.visitor(), &authv1.ForgotPasswordRequest{Email: email})
	return r.GetChallenge(), err
}

func (b *bench) resetTo(ch, code, plain string) error {
	_, err := b.cred().ResetPassword(b.visitor(), &authv1.ResetPasswordRequest{ChallengeId: ch, Code: code, NewPassword: plain})
	return err
}

func (b *bench) change(ctx context.Context, current, next string) error {
	_, err := b.cred().ChangePassword(ctx, &authv1.ChangePasswordRequest{CurrentPassword: current, NewPassword: next})
	return err
}

// must gives the value of a call that has to succeed.
func must[T any](t *testing.T) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wrongOf is another code.
func wrongOf(code string) string {
	if code == "000000" {
		return "000001"
	}
	return "000000"
}

// mustEnrol turns the authenticator on and gives its secret, the recovery codes
// and a fresh token.
func (b *bench) mustEnrol(g *authv1.SessionGrant) (secret []byte, codes []string, next *authv1.SessionGrant) {
	b.t.Helper()
	ctx := b.as(g.GetAccessToken())
	e := must[*authv1.CreateTotpResponse](b.t)(b.pub.CreateTotp(ctx, &authv1.CreateTotpRequest{}))
	secret = must[[]byte](b.t)(totp.Decode(e.GetSecret()))
	conf := must[*authv1.ConfirmTotpResponse](b.t)(b.pub.ConfirmTotp(ctx, &authv1.ConfirmTotpRequest{Code: totp.Code(secret, b.clock.now())}))
	b.clock.pass(totpStep)
	return secret, conf.GetRecoveryCodes(), must[*authv1.SessionGrant](b.t)(b.tryRefresh(g.GetRefreshToken()))
}

const totpStep = 30 * time.Second

func TestOTPByMail(t *testing.T) {
	b := newBench(t)
	b.mustJoin(ashasMail)
	ch := must[*authv1.Challenge](t)(b.mailCode(" ASHA@example.com"))
	want := &authv1.Challenge{ChallengeId: ch.GetChallengeId(), Channel: authv1.Challenge_EMAIL, ExpiresIn: 600, ResendAfter: 60}
	if diff := cmp.Diff(want, ch, protocmp.Transform()); diff != "" {
		t.Errorf("challenge (-want +got):\n%s", diff)
	}
	code := b.last(ashasMail).Code
	if l := b.last(ashasMail); l.Template != "login_code" || len(code) != 6 || l.Channel != "EMAIL" {
		t.Fatalf("letter: %+v", l)
	}
	_, err := b.mailCode(ashasMail)
	wantKind(t, "at once", err, fail.RateLimited)
	if e, _ := fail.As(err); e.Retry <= 0 || e.Retry > time.Minute {
		t.Errorf("retry after %s", e.Retry)
	}
	g := must[*authv1.LoginAnswer](t)(b.otp(ch.GetChallengeId(), code))
	claims := must[*token.Claims](t)(b.keys.verifier.Verify(g.GetAccessToken()))
	if diff := cmp.Diff([]string{"otp"}, claims.AMR); diff != "" || token.HasSecondFactor(claims.AMR) {
		t.Errorf("amr (-want +got), one factor:\n%s", diff)
	}
	_, err = b.otp(ch.GetChallengeId(), code)
	wantKind(t, "again", err, fail.InvalidCode)
	if _, err := b.mailCode(ashasMail); err != nil {
		t.Errorf("a used code asks for no pause: %v", err)
	}
	b.noSecretsInEvents(ashasMail, code)
}

// TestOTPUnknownLooksKnown: identity.md row 42.
func TestOTPUnknownLooksKnown(t *testing.T) {
	b := newBench(t)
	b.mustJoin(ashasMail)
	rows := func() (n int) {
		return b.count(`SELECT (SELECT count(*) FROM auth.one_time) * 10000 + (SELECT count(*) FROM auth.message) * 100 + (SELECT count(*) FROM auth.outbox)`)
	}
	before := rows()
	known := must[*authv1.Challenge](t)(b.mailCode(ashasMail))
	perKnown := rows() - before
	unknown := must[*authv1.Challenge](t)(b.mailCode("nobody@example.com"))
	if got := rows() - before - perKnown; got != perKnown {
		t.Errorf("rows written: %d for the unknown, %d for the known", got, perKnown)
	}
	sms := must[*authv1.Challenge](t)(b.sendSMS("98765 43210"))
	if sms.GetChannel() != authv1.Challenge_SMS {
		t.Errorf("channel: %s", sms.GetChannel())
	}
	reset := must[*authv1.Challenge](t)(b.forgotten("nobody@example.com"))
	for _, ch := range []*authv1.Challenge{unknown, sms, reset} {
		if len(ch.GetChallengeId()) != len(known.GetChallengeId()) || ch.GetExpiresIn() != known.GetExpiresIn() || ch.GetResendAfter() != known.GetResendAfter() {
			t.Errorf("got %v, the known got %v", ch, known)
		}
	}
	if n := len(b.letters()); n != 2 { // the registration's and the known one's
		t.Errorf("%d letters", n)
	}
	for range 5 {
		_, err := b.otp(unknown.GetChallengeId(), "000000")
		wantKind(t, "unknown", err, fail.InvalidCode)
		_, err = b.otp(known.GetChallengeId(), wrongOf(b.last(ashasMail).Code))
		wantKind(t, "known", err, fail.InvalidCode)
		wantKind(t, "reset", b.resetTo(reset.GetChallengeId(), "000000", newSecret), fail.InvalidCode)
	}
	for _, ch := range []*authv1.Challenge{known, unknown} { // identity.md row 25
		_, err := b.otp(ch.GetChallengeId(), "000000")
		wantKind(t, "sixth", err, fail.TooManyAttempts)
	}
	wantKind(t, "sixth reset", b.resetTo(reset.GetChallengeId(), "000000", newSecret), fail.TooManyAttempts)
	b.clock.pass(codeLife)
	_, err := b.otp(sms.GetChallengeId(), "000000")
	wantKind(t, "expired", err, fail.ChallengeExpired)
}

func TestOTPRefuses(t *testing.T) {
	b := newBench(t)
	b.mustJoin(ashasMail)
	phone, mail := "98765 43210", ashasMail
	send := func(r *authv1.SendOtpRequest) error { _, err := b.cred().SendOtp(b.visitor(), r); return err }
	abroad, odd := "+1 202 555 0143", "call me"
	for name, r := range map[string]*authv1.SendOtpRequest{
		"neither":            {},
		"both":               {Phone: &phone, Email: &mail},
		"mail by SMS":        {Email: &mail, Channel: authv1.Challenge_SMS},
		"phone by mail":      {Phone: &phone, Channel: authv1.Challenge_EMAIL},
		"no number":          {Phone: &odd},
		"no address":         {Email: &odd},
		"country not served": {Phone: &abroad},
	} {
		err := send(r)
		wantKind(t, name, err, fail.InvalidArgument)
		if e, _ := fail.As(err); e != nil && len(e.Fields) != 1 {
			t.Errorf("%s: fields %v", name, e.Fields)
		}
	}
	if n := b.count(`SELECT count(*) FROM auth.one_time`); n != 0 {
		t.Errorf("%d codes", n)
	}
	b.c.OTPCountries = []string{"in", " us"}
	if err := send(&authv1.SendOtpRequest{Phone: &abroad}); err != nil {
		t.Errorf("a country that is served: %v", err)
	}
	if err := send(&authv1.SendOtpRequest{Phone: &phone, Channel: authv1.Challenge_WHATSAPP}); err != nil {
		t.Errorf("WhatsApp: %v", err)
	}
}

// TestOTPQuotas: identity.md row 37.
func TestOTPQuotas(t *testing.T) {
	b := newBench(t)
	for range perRecipient {
		must[*authv1.Challenge](t)(b.sendSMS("98765 43210"))
		b.clock.pass(pause)
	}
	_, err := b.sendSMS("+91-98765-43210") // the same phone
	wantKind(t, "sixth in the hour", err, fail.RateLimited)
	if e, _ := fail.As(err); e.Retry < 50*time.Minute || e.Retry > time.Hour {
		t.Errorf("retry after %s", e.Retry)
	}
	b.clock.pass(time.Hour)
	must[*authv1.Challenge](t)(b.sendSMS("98765 43210"))

	at := func(ip string, n int) error {
		number := "+9198000" + strings.Repeat("0", 5-len(itoa(n))) + itoa(n)
		_, err := b.cred().SendOtp(from(t.Context(), ip), &authv1.SendOtpRequest{Phone: &number})
		return err
	}
	for i := range perAddress {
		if err := at("198.51.100.7", i); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, "one more of an address", at("198.51.100.7", 999), fail.RateLimited)
	if err := at("198.51.100.8", 999); err != nil {
		t.Errorf("its neighbour: %v", err)
	}
	mailTo := "ravi@example.com"
	if _, err := b.cred().SendOtp(from(t.Context(), "198.51.100.7"), &authv1.SendOtpRequest{Email: &mailTo}); err != nil {
		t.Errorf("mail costs nothing: %v", err)
	}
	country := []quota{{"country IN", 2, 24 * time.Hour}, {"other", 100, time.Hour}}
	if err := b.takeQuota(t.Context(), country); err == nil { // 37 have gone out
		t.Error("a country's quota is not counted")
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// TestOTPWithoutRedis: identity.md row 37. What cannot be counted is not sent.
func TestOTPWithoutRedis(t *testing.T) {
	b := newBench(t)
	b.mustJoin(ashasMail)
	ch := must[*authv1.Challenge](t)(b.mailCode(ashasMail))
	code := b.last(ashasMail).Code
	b.clock.pass(pause)
	dead := deadRedis(t)
	b.redis, b.throttle.redis = dead, dead
	_, err := b.sendSMS(ashasPhone)
	wantKind(t, "SMS", err, fail.Unavailable)
	_, err = b.forgotten(ashasMail)
	wantKind(t, "mail", err, fail.Unavailable)
	_, err = b.otp(ch.GetChallengeId(), code)
	wantKind(t, "a right code", err, fail.Unavailable)
	if n := b.count(`SELECT count(*) FROM auth.one_time`); n != 1 {
		t.Errorf("%d codes", n)
	}
}

func TestOTPSuspended(t *testing.T) {
	b := newBench(t)
	b.mustJoin(ashasMail)
	b.exec(`UPDATE auth.account SET state = 'SUSPENDED'`)
	ch := must[*authv1.Challenge](t)(b.mailCode(ashasMail))
	code := b.last(ashasMail).Code
	_, err := b.otp(ch.GetChallengeId(), wrongOf(code))
	wantKind(t, "wrong code", err, fail.InvalidCode)
	_, err = b.otp(ch.GetChallengeId(), code)
	wantKind(t, "right code", err, fail.AccountSuspended)
	_, err = b.otp(ch.GetChallengeId(), code)
	wantKind(t, "again", err, fail.InvalidCode)
	if n := b.count(`SELECT count(*) FROM auth.session WHERE revoked_at IS NULL`); n != 1 {
		t.Errorf("%d sessions, want the one of before", n)
	}
}

// TestOTPOwesFactor: identity.md row 50. A code is one factor.
func TestOTPOwesFactor(t *testing.T) {
	b := newBench(t)
	secret, _, _ := b.mustEnrol(b.mustJoin(ashasMail))
	ch := must[*authv1.Challenge](t)(b.mailCode(ashasMail))
	r := must[*authv1.LoginAnswer](t)(b.otp(ch.GetChallengeId(), b.last(ashasMail).Code))
	if !r.GetMfaRequired() || r.AccessToken != nil || r.GetMfaToken() == "" {
		t.Fatalf("got %v", r)
	}
	g, err := b.pub.VerifyMfa(b.visitor(), &authv1.VerifyMfaRequest{MfaToken: r.GetMfaToken(), Code: totp.Code(secret, b.clock.now())})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"otp", "mfa"}, someone(b.as(g.GetSession().GetAccessToken())).AMR); diff != "" {
		t.Errorf("amr, no password was shown (-want +got):\n%s", diff)
	}

	b.mustSeed(SeedAccount{Email: "admin@example.com", Roles: []string{"admin"}})
	ch = must[*authv1.Challenge](t)(b.mailCode("admin@example.com"))
	r = must[*authv1.LoginAnswer](t)(b.otp(ch.GetChallengeId(), b.last("admin@example.com").Code))
	if c := someone(b.as(r.GetAccessToken())); !c.MFAPending || c.Has("users.manage") {
		t.Errorf("an administrator by a mailed code alone: %+v", c)
	}
}

func TestOTPByPhone(t *testing.T) {
	b := newBench(t)
	b.mustJoin(ashasMail)
	b.mustJoin("ravi@example.com")
	claim := func(email string) {
		t.Helper()
		b.exec(`UPDATE auth.account SET phone = $1 WHERE email = $2`, ashasPhone, email)
	}
	signIn := func() (*authv1.LoginAnswer, error) {
		t.Helper()
		b.clock.pass(pause)
		ch := must[*authv1.Challenge](t)(b.sendSMS("098765 43210"))
		return b.otp(ch.GetChallengeId(), b.last(ashasPhone).Code)
	}
	claim(ashasMail)
	claim("ravi@example.com")
	_, err := signIn()
	wantKind(t, "two claim it", err, fail.InvalidCode)

	b.exec(`UPDATE auth.account SET phone = NULL WHERE email = 'ravi@example.com'`)
	r, err := signIn()
	if err != nil || r.GetUser().GetEmail() != ashasMail {
		t.Fatalf("one claims it: %v, %v", r, err)
	}
	if l := b.last(ashasPhone); l.Channel != "SMS" || l.Template != "login_code" {
		t.Errorf("letter: %+v", l)
	}
	if l := b.last(ashasMail); l.Template != "phone_changed" {
		t.Errorf("her mail: %+v", l)
	}
	if n := b.count(`SELECT count(*) FROM auth.account WHERE phone_verified_at IS NOT NULL`); n != 1 {
		t.Errorf("%d proved phones", n)
	}
	claim("ravi@example.com") // a claim beside the proof means nothing
	if r, err := signIn(); err != nil || r.GetUser().GetEmail() != ashasMail {
		t.Errorf("beside a claim: %v, %v", r, err)
	}
	b.exec(`UPDATE auth.account SET state = 'DELETED' WHERE email = $1`, ashasMail)
	b.exec(`UPDATE auth.account SET phone = NULL WHERE email = 'ravi@example.com'`)
	before := len(b.letters())
	_, err = signIn()
	wantKind(t, "deleted", err, fail.InvalidCode)
	if n := len(b.letters()); n != before {
		t.Errorf("%d more letters", n-before)
	}
}

func TestRegisterReadsPhones(t *testing.T) {
	b := newBench(t)
	r := registration1(ashasMail)
	r.Phone = new("098765-43210")
	ch := must[*authv1.RegisterResponse](t)(b.pub.Register(b.visitor(), r))
	g := must[*authv1.VerifyResponse](t)(b.pub.Verify(b.visitor(), &authv1.VerifyRequest{ChallengeId: ch.GetChallengeId(), Code: b.last(ashasMail).Code}))
	if got := g.GetSession().GetUser().GetPhone(); got != ashasPhone {
		t.Errorf("phone: got %q, want %q", got, ashasPhone)
	}
	r = registration1("ravi@example.com")
	r.Phone = new("12")
	_, err := b.pub.Register(b.visitor(), r)
	wantKind(t, "no number", err, fail.InvalidArgument)
	if e, _ := fail.As(err); e == nil || len(e.Fields) != 1 || e.Fields[0].Field != "phone" {
		t.Errorf("fields: %v", err)
	}
}

func deadRedis(t *testing.T) *redis.Client {
	t.Helper()
	dead := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = dead.Close() })
	return dead
}
