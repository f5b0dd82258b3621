package auth

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"go.uber.org/goleak"

	"github.com/manas360/platform/pkg/config"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// keyBench is the service with the tool that moves its keys.
type keyBench struct {
	*bench

	keys *keyServer
}

func newKeyBench(t *testing.T) *keyBench {
	t.Helper()
	b := newBench(t)
	return &keyBench{bench: b, keys: &keyServer{Service: b.Service, peer: func(context.Context) string { return keyTool }}}
}

func (b *keyBench) list() []*authv1.SigningKey {
	b.t.Helper()
	r, err := b.keys.ListSigningKeys(b.t.Context(), &authv1.ListSigningKeysRequest{})
	if err != nil {
		b.t.Fatal(err)
	}
	return r.GetKeys()
}

// in gives the kids in a state.
func (b *keyBench) in(state authv1.SigningKey_State) (kids []string) {
	for _, k := range b.list() {
		if k.GetState() == state {
			kids = append(kids, k.GetKid())
		}
	}
	return kids
}

func (b *keyBench) rotate() *authv1.SigningKey {
	b.t.Helper()
	r, err := b.keys.RotateSigningKey(b.t.Context(), &authv1.RotateSigningKeyRequest{Reason: because, Operator: "ravi"})
	if err != nil {
		b.t.Fatal(err)
	}
	return r.GetKey()
}

func kidOf(t *testing.T, raw string) string {
	t.Helper()
	return string(mustDecode(t, strings.Split(raw, ".")[0]))
}

// replica is another process on the same database.
func (b *keyBench) replica(edit func(*Config)) *Service {
	b.t.Helper()
	c := b.c
	edit(&c)
	s := New(c, Deps{DB: b.db, Redis: b.redis, IDs: b.ids, Now: b.now, Rand: b.rand})
	if err := s.loadKeys(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return s
}

// TestRotate: the first rotation needs no wait, since whoever has the first key
// has the one made with it; the next waits until everybody must have it.
func TestRotate(t *testing.T) {
	b := newKeyBench(t)
	if got := len(b.list()); got != 2 {
		t.Fatalf("%d keys at the start, want 2", got)
	}
	first, next := b.in(authv1.SigningKey_ACTIVE)[0], b.in(authv1.SigningKey_PENDING)[0]
	old := b.mustJoin("asha@example.com").GetAccessToken()
	if k := b.rotate(); k.GetKid() != next || k.GetState() != authv1.SigningKey_ACTIVE {
		t.Fatalf("rotated to %v, want %s", k, next)
	}
	fresh := b.mustLogin("asha@example.com").GetAccessToken()
	if !strings.Contains(kidOf(t, fresh), next) || !strings.Contains(kidOf(t, old), first) {
		t.Errorf("signed by %s, then %s", kidOf(t, old), kidOf(t, fresh))
	}
	for _, raw := range []string{old, fresh} {
		if _, err := b.Service.keys.verifier.Verify(raw); err != nil {
			t.Errorf("during a rotation: %v", err)
		}
	}
	// The one after that has just been published.
	for range 2 { // asked twice is asked once
		k := b.rotate()
		if k.GetState() != authv1.SigningKey_PENDING || !k.GetSignsAt().AsTime().Equal(b.now().Add(publishWait)) {
			t.Fatalf("a key nobody has yet: %v", k)
		}
	}
	b.clock.pass(publishWait - time.Second)
	b.load(b.Service)
	if got := b.in(authv1.SigningKey_ACTIVE); got[0] != next {
		t.Errorf("signs before its time: %v", got)
	}
	b.clock.pass(time.Second)
	b.load(b.Service)
	if got := b.in(authv1.SigningKey_ACTIVE); len(got) != 1 || got[0] == next {
		t.Errorf("after the wait: %v", got)
	}
	// The first key's last token has ended by now.
	b.clock.pass(15*time.Minute + keyTimeout + clockSkew)
	b.load(b.Service)
	if got := b.in(authv1.SigningKey_DEAD); !slices.Contains(got, first) {
		t.Errorf("dead: %v", got)
	}
	if n := b.count(`SELECT count(*) FROM auth.signing_key WHERE state = 'DEAD' AND length(private) > 0`); n != 0 {
		t.Errorf("%d dead keys have a private half", n)
	}
	var acts []string
	for _, ev := range b.audited() {
		if strings.HasPrefix(ev.GetAction(), "signing_key.") {
			acts = append(acts, ev.GetAction()+" "+ev.GetActor().GetType()+" "+ev.GetActor().GetId())
		}
	}
	want := []string{
		"signing_key.rotated service manasctl/ravi", "signing_key.rotation_requested service manasctl/ravi",
		"signing_key.rotation_requested service manasctl/ravi", "signing_key.rotated service auth",
	}
	if !slices.Equal(acts, want) {
		t.Errorf("recorded %v\nwant %v", acts, want)
	}
}

func (b *keyBench) load(s *Service) {
	b.t.Helper()
	if err := s.loadKeys(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// TestHundredRotations: two replicas sign and rotate, a verifier learns of the
// keys a moment late, and refuses nothing. identity.md row 62
func TestHundredRotations(t *testing.T) {
	b := newKeyBench(t)
	b.c.KeyRotation = config.Duration(time.Hour)
	other := b.replica(func(*Config) {})
	edge := token.NewVerifier(b.c.Issuer, b.c.Audience, b.now)
	fetch := func() {
		set, err := b.Service.keys.jwks()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := jwk.Parse(set)
		if err != nil {
			t.Fatal(err)
		}
		edge.SetKeys(parsed)
	}
	fetch()
	acc := account{ID: uuid.New(), Roles: []string{"user"}, Permissions: []string{}, Features: []string{}}
	checked, kids := 0, map[string]bool{}
	var out []string
	check := func() {
		for _, s := range []*Service{b.Service, other} {
			g, err := s.grant(session{ID: uuid.New(), AMR: []string{"pwd"}, AuthTime: b.now(), Counter: 1, IdleUntil: b.now().Add(time.Hour)}, acc, b.now())
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, g.Access)
			kids[kidOf(t, g.Access)] = true
		}
		for _, raw := range out {
			_, err := edge.Verify(raw)
			checked++
			if err != nil && !fail.Is(err, fail.TokenExpired) {
				t.Fatalf("after %d keys: %v", len(kids), err)
			}
		}
	}
	for range 100 {
		for range 4 {
			b.clock.pass(15*time.Minute + time.Second)
			got := together(2, func(i int) error { return []*Service{b.Service, other}[i].loadKeys(t.Context()) })
			if got[""] != 2 {
				t.Fatal(got)
			}
			out = out[max(0, len(out)-2):] // older ones have ended
			check()                        // the edge has not fetched yet
			fetch()
			check()
		}
	}
	t.Logf("%d keys signed, %d checks", len(kids), checked)
	if len(kids) < 100 {
		t.Errorf("only %d keys signed", len(kids))
	}
	if n := b.count(`SELECT count(*) FROM auth.signing_key WHERE state <> 'DEAD'`); n > 4 {
		t.Errorf("%d keys are live, want at most 4", n)
	}
}

func TestKill(t *testing.T) {
	b := newKeyBench(t)
	old := b.mustJoin("asha@example.com").GetAccessToken()
	kill := func(kid string) (*authv1.SigningKey, error) {
		r, err := b.keys.KillSigningKey(t.Context(), &authv1.KillSigningKeyRequest{Kid: kid, Reason: because, Operator: "ravi"})
		return r.GetKey(), err
	}
	first := b.in(authv1.SigningKey_ACTIVE)[0]
	next := b.in(authv1.SigningKey_PENDING)[0]
	other := b.replica(func(*Config) {})
	k, err := kill(first)
	if err != nil || k.GetKid() != next || k.GetState() != authv1.SigningKey_ACTIVE {
		t.Fatalf("got %v, %v; want %s to sign", k, err, next)
	}
	_, err = b.Service.keys.verifier.Verify(old)
	wantKind(t, "a token of the dead key", err, fail.InvalidToken)
	set, err := (&internalServer{Service: other}).GetKeys(t.Context(), &authv1.GetKeysRequest{})
	if err != nil || strings.Contains(string(set.GetJwks()), first) {
		t.Errorf("another replica still shows the dead key: %s, %v", set.GetJwks(), err)
	}
	fresh := b.mustLogin("asha@example.com").GetAccessToken()
	if _, err := other.keys.verifier.Verify(fresh); err != nil {
		t.Errorf("a token of the new key: %v", err)
	}
	// Again at once, with a key that stands by nobody has yet.
	if k, err = kill(next); err != nil || k.GetState() != authv1.SigningKey_ACTIVE {
		t.Fatalf("the second: %v, %v", k, err)
	}
	// The one that stands by is replaced, and the one that signs goes on.
	standing := b.in(authv1.SigningKey_PENDING)[0]
	signs := k.GetKid()
	if k, err = kill(standing); err != nil || k.GetKid() != signs || len(b.in(authv1.SigningKey_PENDING)) != 1 {
		t.Fatalf("the one standing by: %v, %v", k, err)
	}
	for _, kid := range []string{first, "key_nobody", ""} {
		_, err := kill(kid)
		wantKind(t, "kill "+kid, err, fail.NotFound)
	}
	n := 0
	for _, ev := range b.audited() {
		if ev.GetAction() == "signing_key.killed" && ev.GetReason() == because && ev.GetActor().GetId() == "manasctl/ravi" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d kills on record, want 3", n)
	}
	if n := b.count(`SELECT count(*) FROM auth.authz_event WHERE kind = 'KEYS_CHANGED'`); n < 3 {
		t.Errorf("%d events of keys", n)
	}
}

// TestKeysTogether: any number of replicas, at the start and in an emergency,
// leave one key that signs and one that stands by.
func TestKeysTogether(t *testing.T) {
	b := newKeyBench(t)
	b.exec(`DELETE FROM auth.signing_key`)
	got := together(8, func(int) error {
		s := New(b.c, Deps{DB: b.db, Redis: b.redis, IDs: b.ids, Now: b.now, Rand: b.rand})
		return s.loadKeys(t.Context())
	})
	if got[""] != 8 {
		t.Fatal(got)
	}
	b.load(b.Service)
	if a, p := b.in(authv1.SigningKey_ACTIVE), b.in(authv1.SigningKey_PENDING); len(a) != 1 || len(p) != 1 {
		t.Fatalf("%d sign, %d stand by", len(a), len(p))
	}
	kid := b.in(authv1.SigningKey_ACTIVE)[0]
	got = together(8, func(int) error {
		_, err := b.keys.KillSigningKey(t.Context(), &authv1.KillSigningKeyRequest{Kid: kid, Reason: because})
		return err
	})
	if got[""] != 1 || got["NOT_FOUND"] != 7 {
		t.Errorf("one key killed by eight: %v", got)
	}
	if a, p := b.in(authv1.SigningKey_ACTIVE), b.in(authv1.SigningKey_PENDING); len(a) != 1 || len(p) != 1 {
		t.Errorf("%d sign, %d stand by", len(a), len(p))
	}
}

// TestAlgorithms: after a change of TOKEN_ALG keys of both sign in turn.
func TestAlgorithms(t *testing.T) {
	b := newKeyBench(t)
	old := b.mustJoin("asha@example.com").GetAccessToken()
	b.c.TokenAlg = "ES256"
	b.rotate()
	b.clock.pass(publishWait)
	b.rotate()
	fresh := b.mustLogin("asha@example.com").GetAccessToken()
	if !strings.Contains(kidOf(t, fresh), `"ES256"`) || !strings.Contains(kidOf(t, old), `"EdDSA"`) {
		t.Errorf("signed with %s, then %s", kidOf(t, old), kidOf(t, fresh))
	}
	other := b.replica(func(*Config) {})
	for _, raw := range []string{old, fresh} {
		if _, err := other.keys.verifier.Verify(raw); err != nil {
			t.Error(err)
		}
	}
}

// TestKeysWithoutPostgres: those who ask for the keys get the last known.
func TestKeysWithoutPostgres(t *testing.T) {
	b := newKeyBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := b.inside.GetKeys(ctx, &authv1.GetKeysRequest{})
	if err != nil || !strings.Contains(string(r.GetJwks()), "kid") {
		t.Errorf("got %s, %v", r.GetJwks(), err)
	}
}

// TestWhoMovesKeys: the tool, or an administrator with the permission and a
// second factor.
func TestWhoMovesKeys(t *testing.T) {
	b := newKeyBench(t)
	console := &keyServer{Service: b.Service, peer: func(context.Context) string { return "admin" }}
	with := func(edit func(*token.Caller)) context.Context {
		c := &token.Caller{UserID: uuid.New(), SessionID: uuid.New(), Permissions: []string{"settings.manage"}, AMR: []string{"pwd", "otp", "mfa"}}
		edit(c)
		return token.NewContext(t.Context(), c)
	}
	for _, tt := range []struct {
		name string
		edit func(*token.Caller)
		want fail.Kind
	}{
		{"nobody", func(c *token.Caller) { *c = token.Caller{} }, fail.Unauthenticated},
		{"without the permission", func(c *token.Caller) { c.Permissions = []string{"users.manage"} }, fail.PermissionDenied},
		{"without a factor", func(c *token.Caller) { c.AMR = []string{"pwd"} }, fail.MFARequired},
		{"in another's name", func(c *token.Caller) { c.Impersonator = uuid.New() }, fail.PermissionDenied},
	} {
		ctx := with(tt.edit)
		_, err := console.ListSigningKeys(ctx, &authv1.ListSigningKeysRequest{})
		wantKind(t, tt.name+" lists", err, tt.want)
		_, err = console.RotateSigningKey(ctx, &authv1.RotateSigningKeyRequest{Reason: because})
		wantKind(t, tt.name+" rotates", err, tt.want)
		_, err = console.KillSigningKey(ctx, &authv1.KillSigningKeyRequest{Kid: "x", Reason: because})
		wantKind(t, tt.name+" kills", err, tt.want)
	}
	if _, err := console.RotateSigningKey(with(func(*token.Caller) {}), &authv1.RotateSigningKeyRequest{Reason: because, Operator: "not me"}); err != nil {
		t.Fatal(err)
	}
	acts := b.audited()
	if by := acts[len(acts)-1].GetActor(); by.GetType() != "admin" || acts[len(acts)-1].GetOutcome() != auditv1.Event_SUCCESS {
		t.Errorf("recorded %v", acts[len(acts)-1])
	}
}

// TestKeyOfBefore: a key from before one stood by gets one, and waits for it.
func TestKeyOfBefore(t *testing.T) {
	b := newKeyBench(t)
	b.exec(`DELETE FROM auth.signing_key WHERE state = 'PENDING'`)
	b.exec(`UPDATE auth.signing_key SET usable_at = NULL`)
	b.load(b.Service)
	if k := b.rotate(); k.GetState() != authv1.SigningKey_PENDING || !k.GetSignsAt().AsTime().Equal(b.now().Add(publishWait)) {
		t.Errorf("got %v", k)
	}
}

func mustDecode(t *testing.T, segment string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestKeyWorkersEnd leaves nothing behind.
func TestKeyWorkersEnd(t *testing.T) {
	b := newBench(t)
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- b.watchKeys(ctx) }()
	go func() { ended <- b.watchRoles(ctx) }()
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	goleak.VerifyNone(t, before)
}
