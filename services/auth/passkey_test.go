package auth

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/manas360/platform/pkg/fail"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// key is a person's authenticator with one passkey.
type key struct {
	rp   virtualwebauthn.RelyingParty
	auth virtualwebauthn.Authenticator
	cred virtualwebauthn.Credential
}

func newKey() *key {
	return &key{
		rp:   virtualwebauthn.RelyingParty{Name: issuerName, ID: "localhost", Origin: "http://localhost:5001"},
		auth: virtualwebauthn.NewAuthenticatorWithOptions(virtualwebauthn.AuthenticatorOptions{}),
		cred: virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2),
	}
}

func (b *bench) passkeys() *passkeyServer { return &passkeyServer{Service: b.Service} }

func jsonOf(t *testing.T, s *structpb.Struct) string {
	t.Helper()
	text, err := s.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func structOf(t *testing.T, text string) *structpb.Struct {
	t.Helper()
	s := &structpb.Struct{}
	if err := s.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return s
}

// attest answers registration options.
func (k *key) attest(t *testing.T, options *structpb.Struct) *authv1.FinishPasskeyRegistrationRequest {
	t.Helper()
	o, err := virtualwebauthn.ParseAttestationOptions(jsonOf(t, options))
	if err != nil {
		t.Fatal(err)
	}
	k.auth.Options.UserHandle = []byte(o.UserID)
	return &authv1.FinishPasskeyRegistrationRequest{
		Credential: structOf(t, virtualwebauthn.CreateAttestationResponse(k.rp, k.auth, k.cred, *o)), Name: "phone",
	}
}

// assert answers login options, as AuthenticationResponseJSON at the top.
func (k *key) assert(t *testing.T, options *structpb.Struct) *authv1.FinishPasskeyLoginRequest {
	t.Helper()
	o, err := virtualwebauthn.ParseAssertionOptions(jsonOf(t, options))
	if err != nil {
		t.Fatal(err)
	}
	k.cred.Counter++
	var r struct {
		ID, RawID, Type string
		Response        map[string]any
	}
	if err := json.Unmarshal([]byte(virtualwebauthn.CreateAssertionResponse(k.rp, k.auth, k.cred, *o)), &r); err != nil {
		t.Fatal(err)
	}
	response, err := structpb.NewStruct(r.Response)
	if err != nil {
		t.Fatal(err)
	}
	return &authv1.FinishPasskeyLoginRequest{Id: r.ID, RawId: r.RawID, Type: r.Type, Response: response}
}

func (b *bench) enrolKey(g *authv1.SessionGrant, k *key) *authv1.Passkey {
	b.t.Helper()
	ctx := b.as(g.GetAccessToken())
	begun, err := b.passkeys().BeginPasskeyRegistration(ctx, &authv1.BeginPasskeyRegistrationRequest{})
	if err != nil {
		b.t.Fatal(err)
	}
	done, err := b.passkeys().FinishPasskeyRegistration(ctx, k.attest(b.t, begun.GetOptions()))
	if err != nil {
		b.t.Fatalf("finish: %v", err)
	}
	return done.GetPasskey()
}

// enrolMore adds a passkey to an account that has a factor.
func (b *bench) enrolMore(g *authv1.SessionGrant, k *key) *authv1.Passkey {
	b.t.Helper()
	ctx := b.holding(g)
	begun := must[*authv1.BeginPasskeyRegistrationResponse](b.t)(b.passkeys().BeginPasskeyRegistration(ctx, &authv1.BeginPasskeyRegistrationRequest{}))
	return must[*authv1.FinishPasskeyRegistrationResponse](b.t)(b.passkeys().FinishPasskeyRegistration(ctx, k.attest(b.t, begun.GetOptions()))).GetPasskey()
}

func (b *bench) keyOptions(r *authv1.BeginPasskeyLoginRequest) *structpb.Struct {
	b.t.Helper()
	begun, err := b.passkeys().BeginPasskeyLogin(b.visitor(), r)
	if err != nil {
		b.t.Fatal(err)
	}
	return begun.GetOptions()
}

func (b *bench) keyLogin(k *key) (*authv1.SessionGrant, error) {
	b.t.Helper()
	r, err := b.passkeys().FinishPasskeyLogin(b.visitor(), k.assert(b.t, b.keyOptions(&authv1.BeginPasskeyLoginRequest{})))
	return r.GetSession(), err
}

func TestPasskeySignsIn(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin(ashasMail)
	k := newKey()
	p := b.enrolKey(g, k)
	if len(p.GetRecoveryCodes()) != 10 || p.GetName() != "phone" || p.GetId() == "" {
		t.Errorf("registered %v", p)
	}
	ses, err := b.keyLogin(k)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"hwk", "user", "mfa"}, someone(b.as(ses.GetAccessToken())).AMR); diff != "" {
		t.Errorf("amr (-want +got):\n%s", diff)
	}
	if !ses.GetUser().GetMfaEnabled() || ses.GetUser().GetId() != g.GetUser().GetId() {
		t.Errorf("signed in as %v", ses.GetUser())
	}
	// After a password it is asked for as the second factor; a recovery code answers too.
	login := must[*authv1.LoginResponse](t)(b.pub.Login(b.visitor(), &authv1.LoginRequest{Email: ashasMail, Password: goodPassword})).GetAnswer()
	if diff := cmp.Diff([]string{"RECOVERY_CODE", "WEBAUTHN"}, login.GetFactors()); diff != "" || login.GetAccessToken() != "" {
		t.Errorf("after the password (-want +got):\n%s", diff)
	}
	if _, err := b.pub.VerifyMfa(b.visitor(), &authv1.VerifyMfaRequest{MfaToken: login.GetMfaToken(), Code: p.GetRecoveryCodes()[0]}); err != nil {
		t.Errorf("a recovery code: %v", err)
	}
	list := must[*authv1.ListPasskeysResponse](t)(b.passkeys().ListPasskeys(b.as(ses.GetAccessToken()), &authv1.ListPasskeysRequest{}))
	if list.GetTotalSize() != 1 || list.GetPasskeys()[0].GetLastUsedAt() == nil {
		t.Errorf("listed %v", list)
	}
}

// A key that does not say whose it is can sign in when it was named.
func TestPasskeyWithoutUserHandle(t *testing.T) {
	b := newBench(t)
	k := newKey()
	b.enrolKey(b.mustJoin(ashasMail), k)
	k.auth.Options.UserHandle = nil
	if _, err := b.passkeys().FinishPasskeyLogin(b.visitor(), k.assert(t, b.keyOptions(&authv1.BeginPasskeyLoginRequest{Email: "ASHA@example.com "}))); err != nil {
		t.Error(err)
	}
	if _, err := b.keyLogin(k); !fail.Is(err, fail.InvalidCredentials) {
		t.Errorf("without being named: got %v", err)
	}
}

func TestPasskeyAbuse(t *testing.T) {
	b := newBench(t)
	k, other := newKey(), newKey()
	asha := b.mustJoin(ashasMail)
	b.enrolKey(asha, k)
	b.enrolKey(b.mustJoin("ravi@example.com"), other)
	finish := func(r *authv1.FinishPasskeyLoginRequest) error {
		_, err := b.passkeys().FinishPasskeyLogin(b.visitor(), r)
		return err
	}
	fresh := func() *structpb.Struct { return b.keyOptions(&authv1.BeginPasskeyLoginRequest{}) }

	good := k.assert(t, fresh())
	if err := finish(good); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "replayed", finish(good), fail.ChallengeExpired)

	phisher := *k
	phisher.rp.Origin = "https://localhost.evil.example"
	wantKind(t, "another origin", finish(phisher.assert(t, fresh())), fail.InvalidCredentials)
	phisher = *k
	phisher.rp.ID = "evil.example"
	wantKind(t, "another relying party", finish(phisher.assert(t, fresh())), fail.InvalidCredentials)
	unverified := *k
	unverified.auth.Options.UserNotVerified = true
	wantKind(t, "without user verification", finish(unverified.assert(t, fresh())), fail.InvalidCredentials)
	stolen := *k
	stolen.auth.Options.UserHandle = other.auth.Options.UserHandle
	wantKind(t, "another's user handle", finish(stolen.assert(t, fresh())), fail.InvalidCredentials)
	unknown := newKey()
	unknown.auth.Options.UserHandle = k.auth.Options.UserHandle
	wantKind(t, "an unknown key", finish(unknown.assert(t, fresh())), fail.InvalidCredentials)
	late := k.assert(t, fresh())
	b.clock.pass(ceremonyLife)
	wantKind(t, "too late", finish(late), fail.ChallengeExpired)
	wantKind(t, "nonsense", finish(&authv1.FinishPasskeyLoginRequest{Id: "x"}), fail.InvalidArgument)

	// A challenge of one purpose answers no other: identity.md row 52.
	begun := must[*authv1.BeginPasskeyRegistrationResponse](t)(b.passkeys().BeginPasskeyRegistration(b.holding(asha), &authv1.BeginPasskeyRegistrationRequest{}))
	wantKind(t, "a registration's challenge", finish(k.assert(t, begun.GetOptions())), fail.ChallengeExpired)
	// Nor another person's.
	ravi := must[*authv1.SessionGrant](t)(b.keyLogin(other))
	_, err := b.passkeys().FinishPasskeyRegistration(b.as(ravi.GetAccessToken()), newKey().attest(t, begun.GetOptions()))
	wantKind(t, "another's registration", err, fail.InvalidCredentials)
	// A key that is somebody's stays that.
	begun = must[*authv1.BeginPasskeyRegistrationResponse](t)(b.passkeys().BeginPasskeyRegistration(b.as(ravi.GetAccessToken()), &authv1.BeginPasskeyRegistrationRequest{}))
	_, err = b.passkeys().FinishPasskeyRegistration(b.as(ravi.GetAccessToken()), k.attest(t, begun.GetOptions()))
	wantKind(t, "a registered key", err, fail.Conflict)
}

// holding is a context of the session after it has shown the account's factor.
func (b *bench) holding(g *authv1.SessionGrant) context.Context {
	b.t.Helper()
	next, err := b.pub.Refresh(b.visitor(), &authv1.RefreshRequest{RefreshToken: g.RefreshToken})
	if err != nil {
		b.t.Fatal(err)
	}
	g.RefreshToken = next.GetSession().RefreshToken
	return b.as(next.GetSession().GetAccessToken())
}

// identity.md row 53: a counter that goes back is refused once and flagged; the
// next good answer signs in.
func TestPasskeyCounterGoesBack(t *testing.T) {
	b := newBench(t)
	k := newKey()
	g := b.mustJoin(ashasMail)
	b.enrolKey(g, k)
	k.cred.Counter = 10
	if _, err := b.keyLogin(k); err != nil {
		t.Fatal(err)
	}
	k.cred.Counter = 3
	_, err := b.keyLogin(k)
	wantKind(t, "the copy", err, fail.InvalidCredentials)
	k.cred.Counter = 20
	ses, err := b.keyLogin(k)
	if err != nil {
		t.Fatalf("the next good answer: %v", err)
	}
	list := must[*authv1.ListPasskeysResponse](t)(b.passkeys().ListPasskeys(b.as(ses.GetAccessToken()), &authv1.ListPasskeysRequest{}))
	if !list.GetPasskeys()[0].GetFlagged() {
		t.Error("not flagged")
	}
}

func TestPasskeyAnswerIsGoodOnce(t *testing.T) {
	b := newBench(t)
	k := newKey()
	b.enrolKey(b.mustJoin(ashasMail), k)
	r := k.assert(t, b.keyOptions(&authv1.BeginPasskeyLoginRequest{}))
	var in atomic.Int32
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if _, err := b.passkeys().FinishPasskeyLogin(b.visitor(), r); err == nil {
				in.Add(1)
			}
		})
	}
	all.Wait()
	if n := in.Load(); n != 1 {
		t.Errorf("%d of 32 signed in", n)
	}
}

// identity.md rows 18 and 51: factors change in sessions that hold one, and with
// the last one goes what sessions have shown.
func TestPasskeyRemoval(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin(ashasMail)
	before := b.mustLogin(ashasMail) // a session of before the factor
	k := newKey()
	p := b.enrolKey(g, k)
	_, err := b.passkeys().BeginPasskeyRegistration(b.as(before.GetAccessToken()), &authv1.BeginPasskeyRegistrationRequest{})
	wantKind(t, "a passkey from a session of before", err, fail.MFARequired)
	_, err = b.pub.CreateTotp(b.as(before.GetAccessToken()), &authv1.CreateTotpRequest{})
	wantKind(t, "an authenticator from a session of before", err, fail.MFARequired)
	_, err = b.passkeys().DeletePasskey(b.as(before.GetAccessToken()), &authv1.DeletePasskeyRequest{Id: p.GetId()})
	wantKind(t, "removal from a session of before", err, fail.MFARequired)
	ravi := b.mustJoin("ravi@example.com")
	_, err = b.passkeys().DeletePasskey(b.as(ravi.GetAccessToken()), &authv1.DeletePasskeyRequest{Id: p.GetId()})
	wantKind(t, "another's", err, fail.NotFound)
	_, err = b.passkeys().UpdatePasskey(b.as(ravi.GetAccessToken()), &authv1.UpdatePasskeyRequest{Id: p.GetId(), Name: "mine"})
	wantKind(t, "another's name", err, fail.NotFound)

	ses := must[*authv1.SessionGrant](t)(b.keyLogin(k))
	ctx := b.as(ses.GetAccessToken())
	if _, err := b.passkeys().UpdatePasskey(ctx, &authv1.UpdatePasskeyRequest{Id: p.GetId(), Name: "laptop"}); err != nil {
		t.Error(err)
	}
	if _, err := b.passkeys().DeletePasskey(ctx, &authv1.DeletePasskeyRequest{Id: p.GetId()}); err != nil {
		t.Fatal(err)
	}
	after := someone(b.holding(ses))
	if slices.Contains(after.AMR, "mfa") || slices.Contains(after.AMR, "hwk") {
		t.Errorf("the session still holds %v", after.AMR)
	}
	if login := b.mustLogin(ashasMail); login.GetAccessToken() == "" {
		t.Error("a factor is still asked for")
	}
	_, err = b.keyLogin(k)
	wantKind(t, "with the removed key", err, fail.InvalidCredentials)
}

// identity.md rows 15 and 17.
func TestPasskeyOfSuspendedAccount(t *testing.T) {
	b := newBench(t)
	k := newKey()
	b.enrolKey(b.mustJoin(ashasMail), k)
	handles := []string{b.mustLogin(ashasMail).GetMfaToken(), b.mustLogin(ashasMail).GetMfaToken()}
	answers := []*authv1.FinishPasskeyMfaRequest{}
	for _, h := range handles {
		answers = append(answers, k.shown(t, h, b.factorOptions(h)))
	}
	b.exec(`UPDATE auth.account SET state = 'SUSPENDED'`)
	_, err := b.keyLogin(k)
	wantKind(t, "suspended", err, fail.AccountSuspended)
	_, err = b.showKey(answers[0])
	wantKind(t, "suspended, second factor", err, fail.AccountSuspended)
	b.exec(`UPDATE auth.account SET state = 'DELETED'`)
	_, err = b.keyLogin(k)
	wantKind(t, "deleted", err, fail.InvalidCredentials)
	_, err = b.showKey(answers[1])
	wantKind(t, "deleted, second factor", err, fail.InvalidCredentials)
	if b.live() != 1 {
		t.Errorf("%d sessions", b.live())
	}
}

// An address tells nothing: nobody's and one without passkeys are answered as
// one that has some, the same each time.
func TestPasskeyOptionsTellNothing(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin(ashasMail)
	b.enrolKey(g, newKey())
	b.enrolMore(g, newKey()) // as many as one has: it must not show
	b.mustJoin("ravi@example.com")
	shape := func(email string) (keys []string, allowed []any) {
		o := b.keyOptions(&authv1.BeginPasskeyLoginRequest{Email: email}).AsMap()
		for name := range o {
			keys = append(keys, name)
		}
		slices.Sort(keys)
		allowed, _ = o["allowCredentials"].([]any)
		return keys, allowed
	}
	want, named := shape(ashasMail)
	for _, email := range []string{"ravi@example.com", "nobody@example.com"} {
		got, allowed := shape(email)
		_, again := shape(email)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", email, diff)
		}
		if len(allowed) != len(named) || cmp.Diff(allowed, again) != "" {
			t.Errorf("%s: %v, then %v", email, allowed, again)
		}
		one, _ := named[0].(map[string]any)
		other, _ := allowed[0].(map[string]any)
		for name := range one {
			if _, ok := other[name]; !ok {
				t.Errorf("%s: a key without %s", email, name)
			}
		}
	}
}

// What is done to passkeys stands in the audit trail, and their owner is told of
// what changes the account.
func TestPasskeysAreToldOf(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin(ashasMail)
	k := newKey()
	p := b.enrolKey(g, k)
	ses := must[*authv1.SessionGrant](t)(b.keyLogin(k))
	forged := newKeyOf(k)
	forged.cred.ID = k.cred.ID
	_, err := b.keyLogin(forged)
	wantKind(t, "forged", err, fail.InvalidCredentials)
	if _, err := b.passkeys().DeletePasskey(b.as(ses.GetAccessToken()), &authv1.DeletePasskeyRequest{Id: p.GetId()}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, ev := range b.audited() {
		for _, x := range ev.GetTargets() {
			if x.GetId() == p.GetId() {
				seen[ev.GetAction()]++
			}
		}
	}
	if diff := cmp.Diff(map[string]int{"passkey.registered": 1, "passkey.used": 1, "login.failed": 1, "passkey.removed": 1}, seen); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	told := map[string]int{}
	for _, l := range b.letters() {
		told[l.Template]++
	}
	if told["factor_added"] != 1 || told["factor_removed"] != 1 {
		t.Errorf("letters %v", told)
	}
	b.noSecretsInEvents(p.GetRecoveryCodes()...)
}

func TestPasskeysAreListedByPages(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin(ashasMail)
	want := []string{b.enrolKey(g, newKey()).GetId()}
	for range 4 {
		b.clock.pass(time.Second)
		want = append([]string{b.enrolMore(g, newKey()).GetId()}, want...)
	}
	ctx := b.holding(g)
	var got []string
	for token := ""; ; {
		r := must[*authv1.ListPasskeysResponse](t)(b.passkeys().ListPasskeys(ctx, &authv1.ListPasskeysRequest{PageSize: 2, PageToken: token}))
		if r.GetTotalSize() != 5 || len(r.GetPasskeys()) > 2 {
			t.Fatalf("%v", r)
		}
		for _, p := range r.GetPasskeys() {
			got = append(got, p.GetId())
		}
		if token = r.GetNextPageToken(); token == "" {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	ravi := b.as(b.mustJoin("ravi@example.com").GetAccessToken())
	token := must[*authv1.ListPasskeysResponse](t)(b.passkeys().ListPasskeys(ctx, &authv1.ListPasskeysRequest{PageSize: 2})).GetNextPageToken()
	_, err := b.passkeys().ListPasskeys(ravi, &authv1.ListPasskeysRequest{PageToken: token})
	wantKind(t, "another's page", err, fail.InvalidArgument)
	for len(want) < mostPasskeys {
		want = append(want, b.enrolMore(g, newKey()).GetId())
	}
	_, err = b.passkeys().BeginPasskeyRegistration(b.holding(g), &authv1.BeginPasskeyRegistrationRequest{})
	wantKind(t, "one too many", err, fail.Conflict)
}
