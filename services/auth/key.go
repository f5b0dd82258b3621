package auth

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
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
	keyReload  = time.Minute
	keyTimeout = 10 * time.Second
	active     = "ACTIVE"
)

// keyring holds the token keys in memory.
type keyring struct {
	verifier *token.Verifier
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

// watchKeys loads the keys, making the first, and looks again each minute.
func (s *Service) watchKeys(ctx context.Context) error {
	tick := time.NewTicker(keyReload)
	defer tick.Stop()
	for {
		if err := s.loadKeys(ctx); err != nil {
			if s.keys.loaded.Load() == nil {
				return err // started again at once rather than in a minute
			}
			zerolog.Ctx(ctx).Error().Err(err).Msg("signing keys not reloaded")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Service) loadKeys(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	stored, err := s.storedKeys(ctx, s.db.Pool)
	if err != nil {
		return err
	}
	if !hasActive(stored) {
		if err := s.makeKey(ctx); err != nil {
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

func hasActive(list []storedKey) bool {
	for _, k := range list {
		if k.State == active {
			return true
		}
	}
	return false
}

// makeKey writes a key unless another process just did.
func (s *Service) makeKey(ctx context.Context) error {
	_, private, err := ed25519.GenerateKey(s.rand)
	if err != nil {
		return fmt.Errorf("generate a signing key: %w", err)
	}
	kid := id.Format("key", s.ids.New())
	return s.insertKey(ctx, storedKey{
		Kid: kid, Alg: jwa.EdDSA.String(), Private: seal(s.secrets.signing, private.Seed(), keyRow(kid)),
	}, s.now())
}

func keyRow(kid string) string { return "signing key " + kid }

// openKeys unseals the keys. A key that does not open was sealed under another
// JWT_SECRET: nothing may be signed until that is put right.
func (s *Service) openKeys(stored []storedKey) (*keys, jwk.Set, error) {
	next := &keys{}
	set := jwk.NewSet()
	for _, k := range stored {
		seed, err := unseal(s.secrets.signing, k.Private, keyRow(k.Kid))
		if err != nil {
			return nil, nil, fmt.Errorf("was JWT_SECRET changed? %w", err)
		}
		if len(seed) != ed25519.SeedSize {
			return nil, nil, fmt.Errorf("signing key %s of %d bytes", k.Kid, len(seed))
		}
		private, public, err := jwkPair(k.Kid, ed25519.NewKeyFromSeed(seed))
		if err != nil {
			return nil, nil, err
		}
		if err := set.AddKey(public); err != nil {
			return nil, nil, fmt.Errorf("add key %s to the set: %w", k.Kid, err)
		}
		if k.State == active {
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

func jwkPair(kid string, raw ed25519.PrivateKey) (private, public jwk.Key, err error) {
	private, err = jwk.FromRaw(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("read key %s: %w", kid, err)
	}
	for name, value := range map[string]any{jwk.KeyIDKey: kid, jwk.AlgorithmKey: jwa.EdDSA, jwk.KeyUsageKey: jwk.ForSignature} {
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
