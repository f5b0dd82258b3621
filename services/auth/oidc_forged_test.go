package auth

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/manas360/platform/pkg/fail"
)

// forger is a provider that answers whatever token it is told to.
type forger struct {
	*httptest.Server

	key   jwk.Key
	token string
}

func newForger(t *testing.T) *forger {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{}
	if f.key, err = jwk.FromRaw(private); err != nil {
		t.Fatal(err)
	}
	if err := f.key.Set(jwk.KeyIDKey, "k"); err != nil {
		t.Fatal(err)
	}
	public, err := f.key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	set := jwk.NewSet()
	if err := set.AddKey(public); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	answer := func(path string, content func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(content())
		})
	}
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	answer("/.well-known/openid-configuration", func() any {
		return map[string]any{
			"issuer": f.URL, "authorization_endpoint": f.URL + "/auth", "token_endpoint": f.URL + "/token", "jwks_uri": f.URL + "/jwks",
			"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
		}
	})
	answer("/jwks", func() any { return set })
	answer("/token", func() any { return map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": f.token} })
	return f
}

// TestForgedIDTokens: a token that was not made for us, by them, now and for
// this sign-in, signs nobody in. identity.md row 49
func TestForgedIDTokens(t *testing.T) {
	f := newForger(t)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	p := newProviders([]providerConfig{{Name: "idp", Issuer: f.URL, ClientID: "us", ClientSecret: "shared secret"}}, oidcHome, func() time.Time { return now })["idp"]
	good := map[string]any{
		"iss": f.URL, "aud": "us", "sub": "s", "nonce": "n", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "email": "A@b.example", "email_verified": "true",
	}
	for _, tt := range []struct {
		name string
		edit map[string]any // nil removes
		alg  jwa.SignatureAlgorithm
		key  any
		ok   bool
	}{
		{"good", nil, jwa.RS256, f.key, true},
		{"several audiences, made for us", map[string]any{"aud": []string{"them", "us"}, "azp": "us"}, jwa.RS256, f.key, true},
		{"wrong audience", map[string]any{"aud": "them"}, jwa.RS256, f.key, false},
		{"no audience", map[string]any{"aud": nil}, jwa.RS256, f.key, false},
		{"several audiences, made for them", map[string]any{"aud": []string{"them", "us"}, "azp": "them"}, jwa.RS256, f.key, false},
		{"several audiences, no party", map[string]any{"aud": []string{"them", "us"}}, jwa.RS256, f.key, false},
		{"wrong nonce", map[string]any{"nonce": "m"}, jwa.RS256, f.key, false},
		{"no nonce", map[string]any{"nonce": nil}, jwa.RS256, f.key, false},
		{"wrong issuer", map[string]any{"iss": "https://evil.example"}, jwa.RS256, f.key, false},
		{"expired", map[string]any{"exp": now.Add(-time.Minute).Unix()}, jwa.RS256, f.key, false},
		{"no subject", map[string]any{"sub": ""}, jwa.RS256, f.key, false},
		{"wrong access token", map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, jwa.RS256, f.key, false},
		{"another's key", nil, jwa.RS256, stranger, false},
		{"signed with our secret", nil, jwa.HS256, []byte("shared secret"), false},
		{"not signed", nil, jwa.NoSignature, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			claims := maps.Clone(good)
			for name, value := range tt.edit {
				if claims[name] = value; value == nil {
					delete(claims, name)
				}
			}
			payload, err := json.Marshal(claims)
			if err != nil {
				t.Fatal(err)
			}
			option := jws.SignOption(jws.WithKey(tt.alg, tt.key))
			if tt.alg == jwa.NoSignature {
				option = jws.WithInsecureNoSignature()
			}
			raw, err := jws.Sign(payload, option)
			if err != nil {
				t.Fatal(err)
			}
			f.token = string(raw)
			who, err := p.redeem(t.Context(), "code", "proof", "n")
			if tt.ok {
				if err != nil || who.Subject != "s" || who.Email != "a@b.example" || !who.EmailVerified {
					t.Errorf("got %+v, %v", who, err)
				}
				return
			}
			wantKind(t, tt.name, err, fail.InvalidArgument)
		})
	}
}
