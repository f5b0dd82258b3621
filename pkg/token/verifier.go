package token

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/manas360/platform/pkg/fail"
)

const (
	maxTokenBytes = 2048
	leeway        = 30 * time.Second // for nbf alone: clocks differ, lifetimes do not
)

// Verifier checks access tokens against a closed set of headers, one per live
// key, so that no token ever chooses its own algorithm or key. Safe for
// concurrent use; it refuses everything until SetKeys.
type Verifier struct {
	issuer, audience string
	now              func() time.Time
	state            atomic.Pointer[keyState]
	roles            atomic.Pointer[roleTable] // nil: what a token says stands

	fetch  func(ctx context.Context) error // set by OnMiss before use
	asking sync.Mutex                      // guards the two below; held while fetch runs, so that one asks for all
	missed time.Time                       // when a key was last asked for in vain
	lagged time.Time                       // and newer roles
}

// keyState is one key set with the claims verified under it: swapping the
// pointer drops both, so a withdrawn key's tokens cannot live on in the cache.
type keyState struct {
	keys   map[string]publicKey // by the exact first segment of a token
	prints string               // what the set holds, to know an unchanged one
	cache  cache
}

type publicKey struct {
	alg jwa.SignatureAlgorithm
	raw any
}

// NewVerifier pins issuer and audience.
func NewVerifier(issuer, audience string, now func() time.Time) *Verifier {
	v := &Verifier{issuer: issuer, audience: audience, now: now}
	v.state.Store(&keyState{})
	return v
}

// SetKeys replaces the key set. Keys that are not Ed25519 or P-256, or have no
// plain kid, are left out. An unchanged set keeps the cache.
func (v *Verifier) SetKeys(set jwk.Set) {
	s := &keyState{keys: make(map[string]publicKey, set.Len())}
	var prints strings.Builder
	for i := range set.Len() {
		key, _ := set.Key(i)
		header, pub, ok := trusted(key)
		if !ok {
			continue
		}
		s.keys[header] = pub
		fmt.Fprintf(&prints, "%s=%v;", header, pub.raw)
	}
	s.prints = prints.String()
	if v.state.Load().prints != s.prints {
		v.state.Store(s)
	}
}

// Ready reports whether there is a key to verify with.
func (v *Verifier) Ready() bool { return len(v.state.Load().keys) > 0 }

func trusted(key jwk.Key) (header string, pub publicKey, ok bool) {
	alg, ok := algorithm(key)
	if !ok || !validKid(key.KeyID()) {
		return "", publicKey{}, false
	}
	public, err := jwk.PublicKeyOf(key)
	if err != nil {
		return "", publicKey{}, false
	}
	var raw any
	if err := public.Raw(&raw); err != nil {
		return "", publicKey{}, false
	}
	// Byte for byte what Sign writes: members in order, nothing else.
	text := `{"alg":"` + alg.String() + `","kid":"` + key.KeyID() + `","typ":"` + tokenType + `"}`
	return base64.RawURLEncoding.EncodeToString([]byte(text)), publicKey{alg: alg, raw: raw}, true
}

// Verify gives the claims of a genuine, live token; they are shared, do not
// change them. Fails with INVALID_TOKEN, or TOKEN_EXPIRED for a genuine token
// past its time.
func (v *Verifier) Verify(raw string) (*Claims, error) {
	if len(raw) > maxTokenBytes {
		return nil, invalid(errors.New("too long"))
	}
	s := v.state.Load()
	now := v.now()
	c, hit := s.cache.get(raw)
	if !hit {
		var err error
		if c, err = v.check(s, raw, now); err != nil {
			return nil, invalid(err)
		}
	}
	if now.Unix() >= c.Expires {
		return nil, fail.New(fail.TokenExpired, "token expired")
	}
	if !hit {
		s.cache.put(raw, c)
	}
	return c, nil
}

func (v *Verifier) check(s *keyState, raw string, now time.Time) (*Claims, error) {
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(signature, ".") {
		return nil, errors.New("not three segments")
	}
	key, ok := s.keys[header]
	if !ok {
		return nil, errors.New("header not in the closed set")
	}
	body, err := canonical(payload)
	if err != nil {
		return nil, err
	}
	if _, err := canonical(signature); err != nil {
		return nil, err
	}
	if _, err := jws.Verify([]byte(raw), jws.WithKey(key.alg, key.raw)); err != nil {
		return nil, fmt.Errorf("verify signature: %w", err)
	}
	var c Claims
	if err := strict(body, &c); err != nil {
		return nil, err
	}
	switch {
	case v.issuer == "" || v.audience == "": // nothing to check against is no reason to check nothing
		return nil, errors.New("verifier without issuer or audience")
	case c.Issuer != v.issuer:
		return nil, errors.New("wrong issuer")
	case c.Audience != v.audience:
		return nil, errors.New("wrong audience")
	case c.Subject == "" || c.SessionID == "" || c.Expires == 0:
		return nil, errors.New("claim missing")
	case c.NotBefore > now.Add(leeway).Unix():
		return nil, errors.New("not valid yet")
	}
	return &c, nil
}

// canonical decodes base64url that has one spelling only: no padding, no line
// ends, no spare bits.
func canonical(segment string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return nil, fmt.Errorf("decode segment: %w", err)
	}
	if len(b) == 0 || base64.RawURLEncoding.EncodeToString(b) != segment {
		return nil, errors.New("segment not canonical")
	}
	return b, nil
}

// strict decodes one JSON object into c: unknown members, members given twice
// and anything after it are refused.
func strict(body []byte, c *Claims) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return fmt.Errorf("decode claims: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("decode claims: more than one value")
	}
	// Our signer writes each member once and in order; a member given twice, or
	// spelled in another case, does not come out as it went in.
	again, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode claims: %w", err)
	}
	if !bytes.Equal(again, body) {
		return errors.New("claims not as signed by us")
	}
	return nil
}

func invalid(cause error) error {
	return fail.New(fail.InvalidToken, "invalid token").Wrap(cause)
}
