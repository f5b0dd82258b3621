package auth

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/descope/virtualwebauthn"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/fail"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

func (b *bench) ask(ctx context.Context) *structpb.Struct {
	b.t.Helper()
	return must[*authv1.BeginPasskeyRegistrationResponse](b.t)(b.passkeys().BeginPasskeyRegistration(ctx, &authv1.BeginPasskeyRegistrationRequest{})).GetOptions()
}

func TestPasskeyRegistrationAbuse(t *testing.T) {
	b := newBench(t)
	ctx := b.as(b.mustJoin(ashasMail).GetAccessToken())
	finish := func(r *authv1.FinishPasskeyRegistrationRequest) error {
		_, err := b.passkeys().FinishPasskeyRegistration(ctx, r)
		return err
	}
	for name, change := range map[string]func(k *key){
		"another origin":         func(k *key) { k.rp.Origin = "https://localhost.evil.example" },
		"another port":           func(k *key) { k.rp.Origin = "http://localhost:5002" },
		"another relying party":  func(k *key) { k.rp.ID = "evil.example" },
		"no user verification":   func(k *key) { k.auth.Options.UserNotVerified = true },
		"nobody present":         func(k *key) { k.auth.Options.UserNotPresent = true },
		"backed up but not able": func(k *key) { k.auth.Options.BackupState = true },
	} {
		k := newKey()
		change(k)
		wantKind(t, name, finish(k.attest(t, b.ask(ctx))), fail.InvalidCredentials)
	}
	// The challenge of another ceremony of one's own.
	r := newKey().attest(t, b.ask(ctx))
	r.CeremonyId = ceremonyOf(b.ask(ctx))
	wantKind(t, "another challenge", finish(r), fail.InvalidCredentials)
	for _, name := range []string{"cer_nonsense", "cer_" + strings.Repeat("0", 26), "pky_" + strings.Repeat("0", 26)} {
		r := newKey().attest(t, b.ask(ctx))
		r.CeremonyId = name
		wantKind(t, name, finish(r), fail.ChallengeExpired)
	}
	late := newKey().attest(t, b.ask(ctx))
	b.clock.pass(ceremonyLife)
	wantKind(t, "late", finish(late), fail.ChallengeExpired)
	if n := b.count(`SELECT count(*) FROM auth.passkey`); n != 0 {
		t.Fatalf("%d passkeys", n)
	}

	// x32 the same answer: one passkey, recovery codes once.
	o := b.ask(ctx)
	good := newKey().attest(t, o)
	good.CeremonyId = ceremonyOf(o)
	got := together(32, func(int) error { return finish(good) })
	if diff := cmp.Diff(map[string]int{"": 1, "CHALLENGE_EXPIRED": 31}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := b.count(`SELECT count(*) FROM auth.passkey`) + b.count(`SELECT count(*) FROM auth.recovery_code`); n != 1+recoveryCodes {
		t.Errorf("%d rows", n)
	}
}

// A challenge is judged even when the ceremony is named.
func TestPasskeyWrongChallenge(t *testing.T) {
	b := newBench(t)
	k := newKey()
	b.enrolKey(b.mustJoin(ashasMail), k)
	free := func() *structpb.Struct { return b.keyOptions(&authv1.BeginPasskeyLoginRequest{}) }
	r := k.assert(t, free())
	r.CeremonyId = ceremonyOf(free())
	_, err := b.passkeys().FinishPasskeyLogin(b.visitor(), r)
	wantKind(t, "another's challenge", err, fail.InvalidCredentials)
	_, err = b.passkeys().FinishPasskeyLogin(b.visitor(), r)
	wantKind(t, "again: it was used up", err, fail.ChallengeExpired)
	o := free()
	r = k.assert(t, o)
	r.CeremonyId = ceremonyOf(o)
	if _, err := b.passkeys().FinishPasskeyLogin(b.visitor(), r); err != nil {
		t.Errorf("its own: %v", err)
	}
	k.auth.Options.UserNotPresent = true
	_, err = b.keyLogin(k)
	wantKind(t, "nobody present", err, fail.InvalidCredentials)
}

// identity.md row 53: of answers at once the counter lets through those that
// move it forward; one that comes late is refused once.
func TestPasskeyCountersTogether(t *testing.T) {
	b := newBench(t)
	k := newKey()
	b.enrolKey(b.mustJoin(ashasMail), k)
	requests := make([]*authv1.FinishPasskeyLoginRequest, 8)
	for i := range requests {
		requests[i] = k.assert(t, b.keyOptions(&authv1.BeginPasskeyLoginRequest{}))
	}
	got := together(len(requests), func(i int) error {
		_, err := b.passkeys().FinishPasskeyLogin(b.visitor(), requests[i])
		return err
	})
	if got[""] == 0 || got[""]+got["INVALID_CREDENTIALS"] != len(requests) {
		t.Errorf("outcomes %v", got)
	}
	if n := b.count(`SELECT sign_count FROM auth.passkey`); n != int(k.cred.Counter) && got["INVALID_CREDENTIALS"] == 0 {
		t.Errorf("the counter stands at %d, %d were made", n, k.cred.Counter)
	}
	if _, err := b.keyLogin(k); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

// An authenticator without a counter, as synced passkeys are, signs in each time
// and is never flagged.
func TestPasskeyWithoutCounter(t *testing.T) {
	b := newBench(t)
	k := newKey()
	k.auth.Options.BackupEligible, k.auth.Options.BackupState = true, true
	if p := b.enrolKey(b.mustJoin(ashasMail), k); !p.GetBackedUp() {
		t.Error("not backed up")
	}
	for range 3 {
		o, err := virtualwebauthn.ParseAssertionOptions(jsonOf(t, b.keyOptions(&authv1.BeginPasskeyLoginRequest{})))
		if err != nil {
			t.Fatal(err)
		}
		r := &authv1.FinishPasskeyLoginRequest{Credential: structOf(t, virtualwebauthn.CreateAssertionResponse(k.rp, k.auth, k.cred, *o))}
		if _, err := b.passkeys().FinishPasskeyLogin(b.visitor(), r); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.count(`SELECT count(*) FROM auth.passkey WHERE flagged_at IS NOT NULL OR sign_count <> 0`); n != 0 {
		t.Error("flagged")
	}
}

// identity.md rows 27 and 30: noise counts at its address and locks nobody out.
func TestPasskeyNoise(t *testing.T) {
	b := newBench(t)
	k := newKey()
	b.enrolKey(b.mustJoin(ashasMail), k)
	forged := newKey() // of the same name, which login/begin tells everyone
	forged.cred.ID, forged.auth.Options.UserHandle = k.cred.ID, k.auth.Options.UserHandle
	noise := func(ip string, k *key) error {
		_, err := b.passkeys().FinishPasskeyLogin(from(t.Context(), ip), k.assert(t, b.keyOptions(&authv1.BeginPasskeyLoginRequest{})))
		return err
	}
	for range forAccount.limit {
		wantKind(t, "forged", noise("198.51.100.1", forged), fail.InvalidCredentials)
	}
	wantKind(t, "forged, the eleventh", noise("198.51.100.1", forged), fail.TooManyAttempts)
	wantKind(t, "the true one there", noise("198.51.100.1", k), fail.TooManyAttempts)
	if err := noise("203.0.113.7", k); err != nil {
		t.Errorf("its owner elsewhere: %v", err)
	}
	for range forAddress.limit {
		wantKind(t, "unknown", noise("198.51.100.2", newKeyOf(k)), fail.InvalidCredentials)
	}
	wantKind(t, "unknown, the address is full", noise("198.51.100.2", newKeyOf(k)), fail.TooManyAttempts)
}

// newKeyOf is a new passkey that says it is k's owner's.
func newKeyOf(k *key) *key {
	x := newKey()
	x.auth.Options.UserHandle = k.auth.Options.UserHandle
	return x
}

// What comes in is JSON of any form: it is refused by a kind of the contract,
// and signs nobody in.
func TestPasskeyAnswersOfAnyForm(t *testing.T) {
	b := newBench(t)
	k := newKey()
	b.enrolKey(b.mustJoin(ashasMail), k)
	ctx := b.as(b.mustJoin("ravi@example.com").GetAccessToken())
	assertion := b.keyOptions(&authv1.BeginPasskeyLoginRequest{})
	creation := b.ask(ctx)
	o, err := virtualwebauthn.ParseAssertionOptions(jsonOf(t, assertion))
	if err != nil {
		t.Fatal(err)
	}
	k.cred.Counter++
	texts := []string{virtualwebauthn.CreateAssertionResponse(k.rp, k.auth, k.cred, *o), jsonOf(t, newKey().attest(t, creation).GetCredential())}
	rapid.Check(t, func(r *rapid.T) {
		var v map[string]any
		if err := json.Unmarshal([]byte(rapid.SampledFrom(texts).Draw(r, "of")), &v); err != nil {
			r.Fatal(err)
		}
		spoil(r, v)
		s, err := structpb.NewStruct(v)
		if err != nil {
			return
		}
		b.forgetCounters()
		_, err = b.passkeys().FinishPasskeyLogin(b.visitor(), &authv1.FinishPasskeyLoginRequest{Credential: s})
		refusedWell(r, err)
		// A spoiled attestation may still be one: ours is to answer.
		if _, err = b.passkeys().FinishPasskeyRegistration(ctx, &authv1.FinishPasskeyRegistrationRequest{Credential: s}); err != nil {
			refusedWell(r, err)
		}
	})
}

func refusedWell(r *rapid.T, err error) {
	e, ok := fail.As(err)
	if !ok {
		r.Fatalf("got %v", err)
	}
	switch e.Kind.Reason {
	case "INVALID_ARGUMENT", "INVALID_CREDENTIALS", "CHALLENGE_EXPIRED":
	default:
		r.Fatalf("got %v", err)
	}
}

// spoil changes what the authenticator said: no member stays, or one of them is
// of another type or a few of its bytes are others.
func spoil(r *rapid.T, v map[string]any) {
	response, _ := v["response"].(map[string]any)
	where := rapid.SampledFrom([]map[string]any{v, response}).Draw(r, "where")
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(where))).Draw(r, "name")
	switch rapid.IntRange(0, 3).Draw(r, "how") {
	case 0:
		delete(where, name)
		delete(response, "signature")
		delete(response, "attestationObject")
	case 1:
		where[name] = rapid.SampledFrom([]any{nil, true, 1.5, "", "====", []any{"x"}, map[string]any{"x": nil}}).Draw(r, "value")
		response["clientDataJSON"] = "e30"
	case 2:
		response["clientDataJSON"] = rapid.StringMatching(`[A-Za-z0-9_-]{0,64}`).Draw(r, "client data")
	default:
		for _, name := range []string{"authenticatorData", "attestationObject"} {
			if text, ok := response[name].(string); ok {
				b := []byte(text)
				for range rapid.IntRange(1, 6).Draw(r, "changes") {
					b[rapid.IntRange(0, len(b)-1).Draw(r, "at")] = rapid.SampledFrom([]byte("AZaz09_-")).Draw(r, "byte")
				}
				response[name] = string(b[:rapid.IntRange(1, len(b)).Draw(r, "length")])
			}
		}
		response["signature"] = "AAAA"
	}
}
