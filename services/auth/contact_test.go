package auth

import (
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

func (b *bench) wishEmail(ctx context.Context, email string) (*authv1.Challenge, error) {
	r, err := b.cred().ChangeEmail(ctx, &authv1.ChangeEmailRequest{NewEmail: email, Password: goodPassword})
	return r.GetChallenge(), err
}

func (b *bench) proveEmail(ctx context.Context, ch, code string) error {
	_, err := b.cred().VerifyEmail(ctx, &authv1.VerifyEmailRequest{ChallengeId: ch, Code: code})
	return err
}

func (b *bench) wishPhone(ctx context.Context, number string) (*authv1.Challenge, error) {
	r, err := b.cred().ChangePhone(ctx, &authv1.ChangePhoneRequest{Phone: number})
	return r.GetChallenge(), err
}

func (b *bench) proveOwnPhone(ctx context.Context, ch, code string) error {
	_, err := b.cred().VerifyPhone(ctx, &authv1.VerifyPhoneRequest{ChallengeId: ch, Code: code})
	return err
}

// TestChangeEmail: identity.md rows 39 and 45. What went out to the old address
// is dead, and the old address opens nothing any more.
func TestChangeEmail(t *testing.T) {
	const fresh = "asha.rao@example.org"
	b := newBench(t)
	ctx := b.as(b.mustJoin(ashasMail).GetAccessToken())
	other := b.as(b.mustJoin("ravi@example.com").GetAccessToken())
	stranger := registration1(fresh)
	registered := must[*authv1.RegisterResponse](t)(b.pub.Register(b.visitor(), stranger))
	registeredCode := b.last(fresh).Code

	reset := must[*authv1.Challenge](t)(b.forgotten(ashasMail))
	resetCode := b.last(ashasMail).Code
	otp := must[*authv1.Challenge](t)(b.mailCode(ashasMail))
	otpCode := b.last(ashasMail).Code

	for name, email := range map[string]string{"no address": "asha", "the same": " ASHA@example.com"} {
		_, err := b.wishEmail(ctx, email)
		wantKind(t, name, err, fail.InvalidArgument)
	}
	ch := must[*authv1.Challenge](t)(b.wishEmail(ctx, " Asha.Rao@Example.org "))
	code := b.last(fresh).Code
	if l := b.last(fresh); l.Template != "email_change_code" || len(code) != 6 {
		t.Fatalf("letter: %+v", l)
	}
	wantKind(t, "another's challenge", b.proveEmail(other, ch.GetChallengeId(), code), fail.InvalidCode)
	wantKind(t, "wrong code", b.proveEmail(ctx, ch.GetChallengeId(), wrongOf(code)), fail.InvalidCode)
	if err := b.proveEmail(ctx, ch.GetChallengeId(), code); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "again", b.proveEmail(ctx, ch.GetChallengeId(), code), fail.InvalidCode)

	wantKind(t, "a reset of before", b.resetTo(reset.GetChallengeId(), resetCode, newSecret), fail.InvalidCode)
	_, err := b.otp(otp.GetChallengeId(), otpCode)
	wantKind(t, "a sign-in code of before", err, fail.InvalidCode)
	_, err = b.pub.Verify(b.visitor(), &authv1.VerifyRequest{ChallengeId: registered.GetChallengeId(), Code: registeredCode})
	wantKind(t, "a registration of the address", err, fail.InvalidCode)
	if l := b.last(ashasMail); l.Template != "email_changed" || strings.Contains(l.Text, fresh) {
		t.Errorf("the old address: %+v", l)
	}
	_, err = b.tryLogin(ashasMail, goodPassword)
	wantKind(t, "login by the old address", err, fail.InvalidCredentials)
	b.mustLogin(fresh)

	b.clock.pass(pause)
	dead := must[*authv1.Challenge](t)(b.forgotten(ashasMail))
	if l := b.last(ashasMail); l.Template != "email_changed" {
		t.Errorf("a reset went to the old address: %+v", l)
	}
	wantKind(t, "reset by the old address", b.resetTo(dead.GetChallengeId(), "000000", newSecret), fail.InvalidCode)
	alive := must[*authv1.Challenge](t)(b.forgotten(fresh))
	if err := b.resetTo(alive.GetChallengeId(), b.last(fresh).Code, newSecret); err != nil {
		t.Errorf("reset by the new address: %v", err)
	}

	payload := b.lastEvent("manas.auth.v1.AccountChanged")
	ev := &authv1.AccountChanged{}
	if err := proto.Unmarshal(payload, ev); err != nil || ev.GetAccount().GetEmail() != fresh || ev.GetVersion() != 2 {
		t.Errorf("event: %v, %v", ev, err)
	}
	b.noSecretsInEvents(ashasMail, fresh, code)
}

func (b *bench) lastEvent(kind string) (payload []byte) {
	b.t.Helper()
	if err := b.db.Pool.QueryRow(b.t.Context(), `SELECT payload FROM auth.outbox WHERE type = $1 ORDER BY seq DESC LIMIT 1`, kind).Scan(&payload); err != nil {
		b.t.Fatal(err)
	}
	return payload
}

// TestChangeEmailTaken: identity.md row 42. The answer is the same; the owner is
// told.
func TestChangeEmailTaken(t *testing.T) {
	b := newBench(t)
	ctx := b.as(b.mustJoin(ashasMail).GetAccessToken())
	b.mustJoin("ravi@example.com")
	free := must[*authv1.Challenge](t)(b.wishEmail(ctx, "free@example.com"))
	taken := must[*authv1.Challenge](t)(b.wishEmail(ctx, "ravi@example.com"))
	if free.GetExpiresIn() != taken.GetExpiresIn() || free.GetResendAfter() != taken.GetResendAfter() || free.GetChannel() != taken.GetChannel() {
		t.Errorf("got %v and %v", free, taken)
	}
	if l := b.last("ravi@example.com"); l.Template != "account_exists" || l.Code != "" {
		t.Errorf("letter: %+v", l)
	}
	for range maxAttempts {
		wantKind(t, "any code", b.proveEmail(ctx, taken.GetChallengeId(), "000000"), fail.InvalidCode)
	}
	wantKind(t, "sixth", b.proveEmail(ctx, taken.GetChallengeId(), "000000"), fail.TooManyAttempts)

	// Taken between the code and the answer: refused, and nothing else changes.
	code := b.last("free@example.com").Code
	b.mustJoin("free@example.com")
	wantKind(t, "too late", b.proveEmail(ctx, free.GetChallengeId(), code), fail.InvalidCode)
	b.mustLogin(ashasMail)
}

func TestChangePhone(t *testing.T) {
	b := newBench(t)
	asha := b.as(b.mustJoin(ashasMail).GetAccessToken())
	ravi := b.as(b.mustJoin("ravi@example.com").GetAccessToken())
	_, err := b.wishPhone(asha, "call me")
	wantKind(t, "no number", err, fail.InvalidArgument)
	otp := must[*authv1.Challenge](t)(b.mailCode(ashasMail))
	otpCode := b.last(ashasMail).Code

	ch := must[*authv1.Challenge](t)(b.wishPhone(asha, "98765 43210"))
	l := b.last(ashasPhone)
	if l.Template != "phone_code" || l.Channel != "SMS" || ch.GetChannel() != authv1.Challenge_SMS {
		t.Fatalf("letter: %+v", l)
	}
	wantKind(t, "another's challenge", b.proveOwnPhone(ravi, ch.GetChallengeId(), l.Code), fail.InvalidCode)
	if err := b.proveOwnPhone(asha, ch.GetChallengeId(), l.Code); err != nil {
		t.Fatal(err)
	}
	if l := b.last(ashasMail); l.Template != "phone_changed" {
		t.Errorf("notice: %+v", l)
	}
	_, err = b.otp(otp.GetChallengeId(), otpCode)
	wantKind(t, "a code of before", err, fail.InvalidCode) // identity.md row 45

	// Proved by another: the same answer, no message.
	before := len(b.letters())
	same := must[*authv1.Challenge](t)(b.wishPhone(ravi, ashasPhone))
	if same.GetExpiresIn() != ch.GetExpiresIn() || same.GetChannel() != ch.GetChannel() || len(b.letters()) != before {
		t.Errorf("got %v, %d letters more", same, len(b.letters())-before)
	}
	wantKind(t, "any code", b.proveOwnPhone(ravi, same.GetChallengeId(), "000000"), fail.InvalidCode)
	ev := &authv1.AccountChanged{}
	if err := proto.Unmarshal(b.lastEvent("manas.auth.v1.AccountChanged"), ev); err != nil || ev.GetAccount().GetPhone() != ashasPhone {
		t.Errorf("event: %v, %v", ev, err)
	}
}

// TestPhoneProvedTogether: two accounts, one phone, one owner.
func TestPhoneProvedTogether(t *testing.T) {
	b := newBench(t)
	asha := b.as(b.mustJoin(ashasMail).GetAccessToken())
	ravi := b.as(b.mustJoin("ravi@example.com").GetAccessToken())
	type try struct {
		ctx      context.Context
		ch, code string
	}
	var tries []try
	for _, ctx := range []context.Context{asha, ravi} {
		ch := must[*authv1.Challenge](t)(b.wishPhone(ctx, ashasPhone))
		tries = append(tries, try{ctx, ch.GetChallengeId(), b.last(ashasPhone).Code})
		b.clock.pass(pause)
	}
	got := together(2, func(i int) error { return b.proveOwnPhone(tries[i].ctx, tries[i].ch, tries[i].code) })
	if got[""] != 1 || got["INVALID_CODE"] != 1 {
		t.Errorf("outcomes: %v", got)
	}
	if n := b.count(`SELECT count(*) FROM auth.account WHERE phone_verified_at IS NOT NULL`); n != 1 {
		t.Errorf("%d owners", n)
	}
}

// TestChangesNeedFreshness: identity.md rows 46 and 51. What changes a factor or
// a contact asks for a sign-in of the last ten minutes, or for the password
// itself; whatever gives new ways past the factor asks for the factor.
func TestChangesNeedFreshness(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin(ashasMail)
	b.clock.pass(11 * 60 * 1e9)
	old := someone(b.as(g.GetAccessToken()))
	g = must[*authv1.SessionGrant](t)(b.stepUp(g.GetAccessToken(), withPassword(goodPassword)))
	fresh := someone(b.as(g.GetAccessToken()))
	strong := *fresh
	strong.AMR = []string{"pwd", "otp", "mfa"}
	for _, name := range []string{
		authv1.CredentialService_ChangeEmail_FullMethodName, authv1.CredentialService_VerifyEmail_FullMethodName,
		authv1.CredentialService_ChangePhone_FullMethodName, authv1.CredentialService_VerifyPhone_FullMethodName,
		authv1.CredentialService_RenewRecoveryCodes_FullMethodName,
		authv1.AuthService_CreateTotp_FullMethodName, authv1.AuthService_ConfirmTotp_FullMethodName,
	} {
		rule, ok := rpc.Rule(name)
		if !ok {
			t.Fatalf("%s has no rule", name)
		}
		stale := *old
		stale.AMR = strong.AMR
		wantKind(t, name+" in an old session", rpc.Allow(rule, &stale, b.now()), fail.StepUpRequired)
		if err := rpc.Allow(rule, &strong, b.now()); err != nil {
			t.Errorf("%s in a fresh one: %v", name, err)
		}
	}
	// These carry their proof in the request.
	for _, name := range []string{authv1.CredentialService_ChangePassword_FullMethodName, authv1.CredentialService_DisableTotp_FullMethodName, authv1.CredentialService_StepUp_FullMethodName} {
		rule, _ := rpc.Rule(name)
		if err := rpc.Allow(rule, old, b.now()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if slices.Contains(fresh.AMR, "mfa") || !token.HasSecondFactor(strong.AMR) {
		t.Error("the callers are not what they should be")
	}
}
