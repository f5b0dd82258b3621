package token_test

import (
	"compress/gzip"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/manas360/platform/pkg/token"
)

// vectors reads a file of Project Wycheproof.
func vectors[T any](t *testing.T, name string) (out T) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "wycheproof", name+".json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

type signatureVectors struct {
	TestGroups []struct {
		PublicKeyJwk json.RawMessage `json:"publicKeyJwk"`
		Tests        []struct {
			TcID             int `json:"tcId"`
			Comment          string
			Msg, Sig, Result string
		}
	}
}

// identity.md row 54. The primitive behind Verify agrees with every vector.
func TestWycheproofSignatures(t *testing.T) {
	for name, alg := range map[string]jwa.SignatureAlgorithm{
		"ed25519_test": jwa.EdDSA, "ecdsa_secp256r1_sha256_p1363_test": jwa.ES256,
	} {
		n := 0
		for _, g := range vectors[signatureVectors](t, name).TestGroups {
			if len(g.PublicKeyJwk) == 0 {
				continue
			}
			key, err := jwk.ParseKey(g.PublicKeyJwk)
			if err != nil {
				continue // a key that is no point of the curve verifies nothing
			}
			var raw any
			if err := key.Raw(&raw); err != nil {
				t.Fatal(err)
			}
			v, err := jws.NewVerifier(alg)
			if err != nil {
				t.Fatal(err)
			}
			for _, tc := range g.Tests {
				msg, err1 := hex.DecodeString(tc.Msg)
				sig, err2 := hex.DecodeString(tc.Sig)
				if err1 != nil || err2 != nil {
					t.Fatal(err1, err2)
				}
				err := v.Verify(msg, sig, raw)
				if (err == nil) != (tc.Result == "valid") && tc.Result != "acceptable" {
					t.Errorf("%s %d (%s): got %v, want %s", name, tc.TcID, tc.Comment, err, tc.Result)
				}
				n++
			}
		}
		if n < 100 {
			t.Errorf("%s: only %d vectors", name, n)
		}
	}
}

type jwsVectors struct {
	TestGroups []struct {
		Public, Private json.RawMessage
		Tests           []struct {
			TcID int    `json:"tcId"`
			Jws  string `json:"jws"`
		}
	}
}

// None of its tokens is ours, whatever key the set holds: most of all those
// signed by the very key with a header of their own.
func TestWycheproofTokensAreRefused(t *testing.T) {
	c := &clock{at: start}
	n := 0
	for _, g := range vectors[jwsVectors](t, "json_web_signature_test").TestGroups {
		v, _ := newVerifier(t, c)
		set := jwk.NewSet()
		for _, raw := range []json.RawMessage{g.Public, g.Private} {
			if key, err := jwk.ParseKey(raw); err == nil {
				if err := set.AddKey(key); err != nil {
					t.Log(err) // the same key twice
				}
			}
		}
		v.SetKeys(set)
		for _, tc := range g.Tests {
			n++
			if _, err := v.Verify(tc.Jws); err == nil {
				t.Errorf("%d: accepted", tc.TcID)
			}
		}
	}
	if n < 300 {
		t.Errorf("only %d vectors", n)
	}
}

// RFC 8037, appendix A: the key, its thumbprint and the signature.
func TestRFC8037(t *testing.T) {
	key, err := jwk.ParseKey([]byte(`{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := jws.Sign([]byte("Example of Ed25519 signing"), jws.WithKey(jwa.EdDSA, key))
	if err != nil {
		t.Fatal(err)
	}
	want := "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
	if string(signed) != want {
		t.Errorf("got %s", signed)
	}
}

// RFC 7515, appendix A.3: ES256.
func TestRFC7515(t *testing.T) {
	key, err := jwk.ParseKey([]byte(`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`))
	if err != nil {
		t.Fatal(err)
	}
	raw := "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	if _, err := jws.Verify([]byte(raw), jws.WithKey(jwa.ES256, key)); err != nil {
		t.Error(err)
	}
	// The same token under our closed set of headers: no kid, no typ.
	v := token.NewVerifier(issuer, audience, (&clock{at: start}).now)
	set := jwk.NewSet()
	if err := key.Set(jwk.KeyIDKey, "k"); err != nil {
		t.Fatal(err)
	}
	if err := set.AddKey(key); err != nil {
		t.Fatal(err)
	}
	v.SetKeys(set)
	if _, err := v.Verify(raw); err == nil {
		t.Error("accepted without a header of ours")
	}
}

// others verifies a token with two more libraries; all must be able to read
// what we sign, and none may refuse what we accept.
func others(raw string, key ed25519.PublicKey) error {
	_, err := jwt.Parse(raw, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithoutClaimsValidation())
	if err != nil {
		return err //nolint:wrapcheck // a test's judge
	}
	sig, err := jose.ParseSigned(raw, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return err //nolint:wrapcheck // a test's judge
	}
	_, err = sig.Verify(key)
	return err //nolint:wrapcheck // a test's judge
}

func TestOtherLibrariesReadOurTokens(t *testing.T) {
	_, key := newVerifier(t, &clock{at: start})
	if err := others(sign(t, newClaims(), key), ed25519.PublicKey(public(seeded("key_1")))); err != nil {
		t.Error(err)
	}
}

// The one thing worse than refusing a good token: accepting what golang-jwt or
// go-jose would not.
func FuzzAgainstOtherLibraries(f *testing.F) {
	v, key := newVerifier(f, &clock{at: start})
	pub := ed25519.PublicKey(public(seeded("key_1")))
	good := sign(f, newClaims(), key)
	parts := strings.Split(good, ".")
	f.Add(good)
	f.Add(forge(`{"alg":"EdDSA","kid":"key_1","typ":"at+jwt","crit":["exp"]}`, `{}`, seeded("key_1")))
	f.Add(parts[0] + "." + parts[1] + ".")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".")
	f.Add(good[:len(good)-1] + "=")
	f.Fuzz(func(t *testing.T, raw string) {
		if _, err := v.Verify(raw); err != nil {
			return
		}
		if err := others(raw, pub); err != nil {
			t.Errorf("accepted what others refuse: %v", err)
		}
	})
}

// identity.md row 36: a bomb is refused by its length, unread.
func TestHugeTokensCostNothing(t *testing.T) {
	v, _ := newVerifier(t, &clock{at: start})
	for _, raw := range []string{
		strings.Repeat(".", 1<<20), strings.Repeat("a", 1<<20), strings.Repeat("eyJ", 1000) + ".",
		base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"PBES2-HS512+A256KW","p2c":2147483647,"enc":"A256GCM"}`)) + "....",
	} {
		if n := testing.AllocsPerRun(10, func() { _, _ = v.Verify(raw) }); n > 40 {
			t.Errorf("%d bytes: %v allocations", len(raw), n)
		}
		if _, err := v.Verify(raw); err == nil {
			t.Errorf("%d bytes: accepted", len(raw))
		}
	}
}

// identity.md row 58: whatever is changed in a token that has been seen, the
// cache does not answer for it.
func TestCacheAnswersForWholeTokensOnly(t *testing.T) {
	v, key := newVerifier(t, &clock{at: start})
	raw := sign(t, newClaims(), key)
	if _, err := v.Verify(raw); err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for _, c := range []byte{raw[i] ^ 1, raw[i] ^ 2, 'A', '.', '='} {
			if c == raw[i] {
				continue
			}
			changed := []byte(raw)
			changed[i] = c
			if _, err := v.Verify(string(changed)); err == nil {
				t.Fatalf("byte %d as %q: accepted", i, c)
			}
		}
		if _, err := v.Verify(raw[:i]); err == nil {
			t.Fatalf("%d bytes of it: accepted", i)
		}
	}
}
