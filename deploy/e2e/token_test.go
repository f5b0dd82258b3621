package e2e_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/internal/api"
)

func encode(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// TestForgedTokens are all refused in the same words.
func TestForgedTokens(t *testing.T) {
	p := join(t)
	header, payload := claims(t, p.token)
	parts := strings.Split(p.token, ".")
	super := maps.Clone(payload)
	super["roles"], super["perms"] = []string{"superadmin"}, []string{"users.manage"}
	with := func(name string, value any) string {
		h := maps.Clone(header)
		h[name] = value
		return encode(h)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(head, load string, sign func([]byte) []byte) string {
		return head + "." + load + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(head+"."+load)))
	}
	public := publicKey(t, p.caller)
	withSecret := func(key []byte) func([]byte) []byte {
		return func(b []byte) []byte { m := hmac.New(sha256.New, key); m.Write(b); return m.Sum(nil) }
	}
	ownKey := func(b []byte) []byte { return ed25519.Sign(private, b) }
	own := base64.RawURLEncoding.EncodeToString(private.Public().(ed25519.PublicKey)) //nolint:errcheck // a test's own key
	flipped := []byte(parts[2])
	flipped[10] ^= 3 // stays in the alphabet or not: refused either way
	for name, token := range map[string]string{
		"no algorithm":                with("alg", "none") + "." + parts[1] + ".",
		"no algorithm, old signature": with("alg", "none") + "." + parts[1] + "." + parts[2],
		"HMAC with the public key":    signed(with("alg", "HS256"), parts[1], withSecret(public)),
		"HMAC with the empty key":     signed(with("alg", "HS256"), parts[1], withSecret(nil)),
		"another key under our kid":   signed(parts[0], encode(super), ownKey),
		"a key brought along":         signed(with("jwk", body{"kty": "OKP", "crv": "Ed25519", "x": own}), parts[1], ownKey),
		"another payload":             parts[0] + "." + encode(super) + "." + parts[2],
		"another type":                with("typ", "JWT") + "." + parts[1] + "." + parts[2],
		"another signature":           parts[0] + "." + parts[1] + "." + string(flipped),
		"truncated":                   p.token[:len(p.token)-4],
		"two parts":                   parts[0] + "." + parts[1],
		"a word":                      "token",
		"a refresh token":             p.refresh,
		"very long":                   p.token + strings.Repeat("A", 4000),
	} {
		t.Run(name, func(t *testing.T) {
			c := newCaller(t)
			a := c.want(401, "INVALID_TOKEN", api.Call{Method: "GET", URL: "/users/me", Token: token})
			if got := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer") {
				t.Errorf("WWW-Authenticate %q", got)
			}
		})
	}
	p.want(401, "INVALID_TOKEN", api.Call{Method: "GET", URL: "/users/me", Header: map[string]string{"Authorization": "Basic dXNlcjpwYXNz"}})
	p.want(200, "", p.me())
}

// publicKey is the bytes of our signing key that everybody can have.
func publicKey(t *testing.T, c *caller) []byte {
	t.Helper()
	keys := c.want(200, "", api.Call{Method: "GET", URL: suite.root + "/.well-known/jwks.json"}).List("keys")
	x, _ := keys[0]["x"].(string)
	raw, err := base64.RawURLEncoding.DecodeString(x)
	if err != nil || len(raw) == 0 {
		t.Fatalf("key %v: %v", keys[0], err)
	}
	return raw
}

// selfSigned says it is the gateway, and nobody vouches for it.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{{Scheme: "spiffe", Host: "manas360", Path: "/gateway"}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
