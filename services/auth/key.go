package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
)

const (
	keyReload  = time.Second // a key killed by another replica signs no longer than this
	keyTimeout = 10 * time.Second
)

// keyring holds the token keys in memory.
type keyring struct {
	verifier *token.Verifier
	loading  sync.Mutex // held while keys are read and stored
	loaded   atomic.Pointer[keys]
}

type keys struct {
	signer jwk.Key
	public []byte // JSON Web Key Set
}

func noKeys() error {
	return fail.New(fail.Unavailable, "signing keys are not loaded yet").RetryAfter(time.Second)
}

func (k *keyring) check(context.Context) error {
	if k.loaded.Load() == nil {
		return noKeys()
	}
	return nil
}

func (k *keyring) sign(c token.Claims) (string, error) {
	got := k.loaded.Load()
	if got == nil {
		return "", noKeys()
	}
	raw, err := token.Sign(c, got.signer)
	if err != nil {
		return "", fmt.Errorf("sign an access token: %w", err)
	}
	return raw, nil
}

// jwks is the public set as JSON.
func (k *keyring) jwks() ([]byte, error) {
	got := k.loaded.Load()
	if got == nil {
		return nil, noKeys()
	}
	return got.public, nil
}

// watchKeys tends the keys and looks for what others have done to them.
func (s *Service) watchKeys(ctx context.Context) error {
	tick := time.NewTicker(keyReload)
	defer tick.Stop()
	failing := false
	for {
		err := s.loadKeys(ctx)
		switch {
		case err == nil:
			failing = false
		case s.keys.loaded.Load() == nil:
			return err // started again at once
		case !failing && ctx.Err() == nil: // once, not each second
			failing = true
			zerolog.Ctx(ctx).Error().Err(err).Msg("signing keys not reloaded")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// loadKeys brings the keys in memory up to date, moving those whose time has
// come.
func (s *Service) loadKeys(ctx context.Context) error {
	s.keys.loading.Lock() // what was read last is stored last
	defer s.keys.loading.Unlock()
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	stored, err := s.storedKeys(ctx, s.db.Pool)
	if err != nil {
		return err
	}
	if s.untended(stored, s.now()) {
		if err := s.tendKeys(ctx); err != nil {
			return err
		}
		if stored, err = s.storedKeys(ctx, s.db.Pool); err != nil {
			return err
		}
	}
	next, set, err := s.openKeys(stored)
	if err != nil {
		return err
	}
	s.keys.verifier.SetKeys(set)
	s.keys.loaded.Store(next)
	return nil
}

// newKey makes a key of the configured algorithm.
func (s *Service) newKey(state string) (storedKey, error) {
	k := storedKey{Kid: id.Format("key", s.ids.New()), Alg: jwa.EdDSA.String(), State: state}
	var secret []byte
	if s.c.TokenAlg == jwa.ES256.String() {
		k.Alg = s.c.TokenAlg
		private, err := ecdsa.GenerateKey(elliptic.P256(), s.rand)
		if err != nil {
			return k, fmt.Errorf("generate a signing key: %w", err)
		}
		if secret, err = private.Bytes(); err != nil {
			return k, fmt.Errorf("encode a signing key: %w", err)
		}
	} else {
		_, private, err := ed25519.GenerateKey(s.rand)
		if err != nil {
			return k, fmt.Errorf("generate a signing key: %w", err)
		}
		secret = private.Seed()
	}
	k.Private = seal(s.secrets.signing, secret, keyRow(k.Kid))
	return k, nil
}

func keyRow(kid string) string { return "signing key " + kid }

// openKeys unseals the keys. A key that does not open was sealed under another
// JWT_SECRET: nothing may be signed until that is put right.
func (s *Service) openKeys(stored []storedKey) (*keys, jwk.Set, error) {
	next := &keys{}
	set := jwk.NewSet()
	for _, k := range stored {
		secret, err := unseal(s.secrets.signing, k.Private, keyRow(k.Kid))
		if err != nil {
			return nil, nil, fmt.Errorf("was JWT_SECRET changed? %w", err)
		}
		private, public, err := jwkPair(k.Kid, jwa.SignatureAlgorithm(k.Alg), secret)
		if err != nil {
			return nil, nil, err
		}
		if err := set.AddKey(public); err != nil {
			return nil, nil, fmt.Errorf("add key %s to the set: %w", k.Kid, err)
		}
		if k.State == keyActive {
			next.signer = private
		}
	}
	if next.signer == nil {
		return nil, nil, errors.New("no active signing key")
	}
	var err error
	if next.public, err = json.Marshal(set); err != nil {
		return nil, nil, fmt.Errorf("encode the key set: %w", err)
	}
	return next, set, nil
}

func jwkPair(kid string, alg jwa.SignatureAlgorithm, secret []byte) (private, public jwk.Key, err error) {
	raw, err := parsePrivate(alg, secret)
	if err != nil {
		return nil, nil, fmt.Errorf("read key %s: %w", kid, err)
	}
	private, err = jwk.FromRaw(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("read key %s: %w", kid, err)
	}
	for name, value := range map[string]any{jwk.KeyIDKey: kid, jwk.AlgorithmKey: alg, jwk.KeyUsageKey: jwk.ForSignature} {
		if err := private.Set(name, value); err != nil {
			return nil, nil, fmt.Errorf("label key %s: %w", kid, err)
		}
	}
	public, err = private.PublicKey()
	if err != nil {
		return nil, nil, fmt.Errorf("publish key %s: %w", kid, err)
	}
	return private, public, nil
}

func parsePrivate(alg jwa.SignatureAlgorithm, secret []byte) (any, error) {
	switch {
	case alg == jwa.EdDSA && len(secret) == ed25519.SeedSize:
		return ed25519.NewKeyFromSeed(secret), nil
	case alg == jwa.ES256:
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)
		if err != nil {
			return nil, fmt.Errorf("parse: %w", err)
		}
		return key, nil
	default:
		return nil, fmt.Errorf("%s with %d bytes", alg, len(secret))
	}
}
