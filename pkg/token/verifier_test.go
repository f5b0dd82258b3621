package token_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
)

const (
	issuer   = "https://auth.manas360.local"
	audience = "manas360-api"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// seeded gives the same key for the same kid, so fuzz corpora stay good.
func seeded(kid string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(kid))
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(key ed25519.PrivateKey) []byte {
	return key[ed25519.PrivateKeySize-ed25519.PublicKeySize:]
}

func newKey(tb testing.TB, kid string) jwk.Key {
	tb.Helper()
	key, err := jwk.FromRaw(seeded(kid))
	if err != nil {
		tb.Fatal(err)
	}
	if err := key.Set(jwk.KeyIDKey, kid); err != nil {
		tb.Fatal(err)
	}
	return key
}

func publicSet(tb testing.TB, keys ...jwk.Key) jwk.Set {
	tb.Helper()
	set := jwk.NewSet()
	for _, k := range keys {
		p, err := jwk.PublicKeyOf(k)
		if err != nil {
			tb.Fatal(err)
		}
		if err := set.AddKey(p); err != nil {
			tb.Fatal(err)
		}
	}
	return set
}

func newClaims() token.Claims {
	return token.Claims{
		Issuer: issuer, Audience: audience,
		Subject: id.Format("usr", uuid.UUID{1, 2, 3}), SessionID: id.Format("ses", uuid.UUID{4, 5, 6}), JTI: "j1",
		IssuedAt: start.Unix(), NotBefore: start.Unix(), Expires: start.Add(15 * time.Minute).Unix(),
		Roles: []string{"user"}, Permissions: []string{"profile.read"}, Plan: "free", Features: []string{"mood"},
		Epoch: 3, AMR: []string{"pwd"}, AuthTime: start.Unix(),
	}
}

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newVerifier(tb testing.TB, c *clock) (*token.Verifier, jwk.Key) {
	tb.Helper()
	key := newKey(tb, "key_1")
	v := token.NewVerifier(issuer, audience, c.now)
	v.SetKeys(publicSet(tb, key))
	return v, key
}

func sign(tb testing.TB, c token.Claims, key jwk.Key) string {
	tb.Helper()
	raw, err := token.Sign(c, key)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// forge signs any header and payload with the real key.
func forge(header, payload string, key ed25519.PrivateKey) string {
	input := b64(header) + "." + b64(payload)
	return input + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(input)))
}

func TestVerify(t *testing.T) {
	c := &clock{at: start}
	v, key := newVerifier(t, c)
	want := newClaims()
	raw := sign(t, want, key)
	for range 2 { // the second comes from the cache
		got, err := v.Verify(raw)
		if err != nil {
			t.Fatalf("Verify: %v", err)
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("claims (-want +got):\n%s", diff)
		}
	}
	caller, err := want.Caller()
	if err != nil || caller.UserID != (uuid.UUID{1, 2, 3}) || caller.SessionID != (uuid.UUID{4, 5, 6}) || !caller.Has("profile.read") {
		t.Errorf("caller: got %+v, %v", caller, err)
	}
}

func TestVerifyTimes(t *testing.T) {
	c := &clock{at: start}
	v, key := newVerifier(t, c)
	raw := sign(t, newClaims(), key)
	for _, tt := range []struct {
		name string
		at   time.Duration // since issue
		want string        // reason, empty for success
	}{
		{"clock behind by more than the leeway", -31 * time.Second, "INVALID_TOKEN"},
		{"clock behind a little", -30 * time.Second, ""},
		{"fresh", 0, ""},
		{"last second", 15*time.Minute - time.Second, ""},
		{"expired, though cached", 15 * time.Minute, "TOKEN_EXPIRED"},
		{"long expired", 24 * time.Hour, "TOKEN_EXPIRED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.at = start.Add(tt.at)
			if got := reason(v.Verify(raw)); got != tt.want {
				t.Errorf("Verify at %s: got %q, want %q", tt.at, got, tt.want)
			}
		})
	}
	fresh, _ := newVerifier(t, c)
	if got := reason(fresh.Verify(raw)); got != "TOKEN_EXPIRED" {
		t.Errorf("expired, not cached: got %q", got)
	}
}

func reason(_ *token.Claims, err error) string {
	if err == nil {
		return ""
	}
	if e, ok := fail.As(err); ok {
		return e.Kind.Reason
	}
	return "not a fail.Error: " + err.Error()
}

func TestVerifyRefusesAttacks(t *testing.T) {
	c := &clock{at: start}
	v, key := newVerifier(t, c)
	ours := seeded("key_1")
	stranger := newKey(t, "key_2")
	impostor := newKey(t, "mallory")
	if err := impostor.Set(jwk.KeyIDKey, "key_1"); err != nil {
		t.Fatal(err)
	}
	good := sign(t, newClaims(), key)
	parts := strings.Split(good, ".")
	text, err := json.Marshal(newClaims())
	if err != nil {
		t.Fatal(err)
	}
	payload := string(text)
	header := `{"alg":"EdDSA","kid":"key_1","typ":"at+jwt"}`
	if got := forge(header, payload, ours); got != good {
		t.Fatalf("the signer's header is not the pinned one:\n%s\n%s", got, good)
	}
	change := func(f func(*token.Claims)) string {
		claims := newClaims()
		f(&claims)
		return sign(t, claims, key)
	}
	x := base64.RawURLEncoding.EncodeToString(public(seeded("mallory")))
	hs := func(secret []byte, header string) string {
		input := b64(header) + "." + parts[1]
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input))
		return input + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	flip := func(s string, i int) string {
		other := byte('A')
		if s[i] == 'A' {
			other = 'B'
		}
		return s[:i] + string(other) + s[i+1:]
	}
	for name, raw := range map[string]string{
		"empty":                   "",
		"dots":                    "..",
		"a megabyte of dots":      strings.Repeat(".", 1<<20),
		"alg none":                b64(`{"alg":"none","typ":"at+jwt"}`) + "." + parts[1] + ".",
		"alg none with kid":       b64(`{"alg":"none","kid":"key_1","typ":"at+jwt"}`) + "." + parts[1] + "." + parts[2],
		"no signature":            parts[0] + "." + parts[1] + ".",
		"no signature segment":    parts[0] + "." + parts[1],
		"HS256 with public key":   hs(public(ours), `{"alg":"HS256","kid":"key_1","typ":"at+jwt"}`),
		"HS256 under our header":  hs(public(ours), header),
		"unknown kid":             sign(t, newClaims(), stranger),
		"our kid, another key":    sign(t, newClaims(), impostor),
		"embedded jwk":            forge(`{"alg":"EdDSA","jwk":{"crv":"Ed25519","kty":"OKP","x":"`+x+`"},"kid":"key_1","typ":"at+jwt"}`, payload, seeded("mallory")),
		"jku":                     forge(`{"alg":"EdDSA","jku":"https://evil","kid":"key_1","typ":"at+jwt"}`, payload, ours),
		"crit":                    forge(`{"alg":"EdDSA","crit":["b64"],"b64":false,"kid":"key_1","typ":"at+jwt"}`, payload, ours),
		"typ JWT":                 forge(`{"alg":"EdDSA","kid":"key_1","typ":"JWT"}`, payload, ours),
		"no typ":                  forge(`{"alg":"EdDSA","kid":"key_1"}`, payload, ours),
		"kid twice":               forge(`{"alg":"EdDSA","kid":"key_9","kid":"key_1","typ":"at+jwt"}`, payload, ours),
		"header with a space":     forge(`{"alg":"EdDSA", "kid":"key_1","typ":"at+jwt"}`, payload, ours),
		"tampered payload":        parts[0] + "." + flip(parts[1], 40) + "." + parts[2],
		"tampered signature":      parts[0] + "." + parts[1] + "." + flip(parts[2], 3),
		"truncated":               good[:len(good)-1],
		"trailing newline":        good + "\n",
		"trailing dot":            good + ".",
		"trailing segment":        good + ".e30",
		"trailing base64":         good + "AAAA",
		"padding":                 good + "==",
		"spare bits":              good[:len(good)-1] + spare(good[len(good)-1]),
		"newline inside":          parts[0] + "." + parts[1][:8] + "\n" + parts[1][8:] + "." + parts[2],
		"Bearer left on":          "Bearer " + good,
		"wrong audience":          change(func(c *token.Claims) { c.Audience = "admin" }),
		"wrong issuer":            change(func(c *token.Claims) { c.Issuer += "/" }),
		"no subject":              change(func(c *token.Claims) { c.Subject = "" }),
		"no session":              change(func(c *token.Claims) { c.SessionID = "" }),
		"no expiry":               change(func(c *token.Claims) { c.Expires = 0 }),
		"over the size":           change(func(c *token.Claims) { c.Plan = strings.Repeat("x", 1500) }),
		"unknown claim":           forge(header, payload[:len(payload)-1]+`,"god":true}`, ours),
		"claim twice":             forge(header, payload[:len(payload)-1]+`,"sub":"usr_x"}`, ours),
		"claim in another case":   forge(header, payload[:len(payload)-1]+`,"SUB":"usr_x"}`, ours),
		"two payloads":            forge(header, payload+payload, ours),
		"payload null":            forge(header, "null", ours),
		"payload list":            forge(header, "["+payload+"]", ours),
		"audience list":           forge(header, strings.Replace(payload, `"aud":"manas360-api"`, `"aud":["manas360-api"]`, 1), ours),
		"JWE":                     "eyJhbGciOiJkaXIifQ..AAAA.AAAA.AAAA",
		"JSON serialization":      `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"signature of other text": sign(t, token.Claims{}, key)[:10] + good[10:len(good)-86] + strings.Repeat("A", 86),
	} {
		t.Run(name, func(t *testing.T) {
			if got := reason(v.Verify(raw)); got != "INVALID_TOKEN" {
				t.Errorf("Verify: got %q, want INVALID_TOKEN", got)
			}
		})
	}
	if got := reason(v.Verify(good)); got != "" {
		t.Errorf("the good one afterwards: got %q", got)
	}
}

// spare spells the last character of 64 bytes with one of its unused bits set.
func spare(last byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, last)|1])
}

func TestSetKeys(t *testing.T) {
	c := &clock{at: start}
	v := token.NewVerifier(issuer, audience, c.now)
	first, second := newKey(t, "key_1"), newKey(t, "key_2")
	raw := sign(t, newClaims(), first)
	if v.Ready() || reason(v.Verify(raw)) != "INVALID_TOKEN" {
		t.Error("accepts a token before it has keys")
	}
	v.SetKeys(publicSet(t, first, second))
	if !v.Ready() || reason(v.Verify(raw)) != "" {
		t.Error("refuses a token of the set")
	}
	v.SetKeys(publicSet(t, second))
	if got := reason(v.Verify(raw)); got != "INVALID_TOKEN" {
		t.Errorf("withdrawn key, token cached: got %q, want INVALID_TOKEN", got)
	}
	secret, err := jwk.FromRaw([]byte("shared secret"))
	if err != nil {
		t.Fatal(err)
	}
	if err := secret.Set(jwk.KeyIDKey, "hs"); err != nil {
		t.Fatal(err)
	}
	if err := secret.Set(jwk.AlgorithmKey, jwa.HS256); err != nil {
		t.Fatal(err)
	}
	set := jwk.NewSet()
	if err := set.AddKey(secret); err != nil {
		t.Fatal(err)
	}
	v.SetKeys(set)
	if v.Ready() {
		t.Error("took a shared secret for a signing key")
	}
	if _, err := token.Sign(newClaims(), secret); err == nil {
		t.Error("Sign took a shared secret")
	}
}

func TestCacheIsBoundedAndSafe(t *testing.T) {
	c := &clock{at: start}
	v, key := newVerifier(t, c)
	set := publicSet(t, key)
	var raws []string
	for i := range 50 {
		claims := newClaims()
		claims.JTI = strconv.Itoa(i)
		raws = append(raws, sign(t, claims, key))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 400 {
				if i%100 == 0 {
					v.SetKeys(set)
				}
				if got, err := v.Verify(raws[i%50]); err != nil || got.JTI != strconv.Itoa(i%50) {
					t.Errorf("Verify %d: got %v, %v", i%50, got, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzVerify(f *testing.F) {
	c := &clock{at: start}
	v, key := newVerifier(f, c)
	good := sign(f, newClaims(), key)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add("..")
	f.Fuzz(func(t *testing.T, raw string) {
		claims, err := v.Verify(raw)
		if err == nil && raw != good {
			t.Errorf("Verify(%q) accepts what nobody signed: %+v", raw, claims)
		}
		if got := reason(claims, err); err != nil && got != "INVALID_TOKEN" {
			t.Errorf("Verify(%q): got %q", raw, got)
		}
	})
}

// TestKnownTokenIsFree: a token that was seen is looked up, without allocation.
func TestKnownTokenIsFree(t *testing.T) {
	c := &clock{at: start}
	v, key := newVerifier(t, c)
	raw := sign(t, newClaims(), key)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := v.Verify(raw); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkVerifyCached(b *testing.B) {
	c := &clock{at: start}
	v, key := newVerifier(b, c)
	raw := sign(b, newClaims(), key)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(raw); err != nil {
			b.Fatal(err)
		}
	}
}
