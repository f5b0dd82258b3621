package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

const (
	keysEvery   = time.Minute // when no news of a change has come; keys are published long before they sign
	keysRetry   = 250 * time.Millisecond
	keysTimeout = 2 * time.Second
)

// keys keeps the verifier's key set and the JWKS document up to date. An
// outage of auth leaves the last set in force.
type keys struct {
	auth     authv1.AuthInternalServiceClient
	verifier *token.Verifier
	log      zerolog.Logger
	bell     chan struct{} // the set has changed
	document atomic.Pointer[[]byte]
}

func (k *keys) loaded() bool { return k.document.Load() != nil }

// jwks is the document as auth wrote it, nil before the first fetch.
func (k *keys) jwks() []byte {
	if d := k.document.Load(); d != nil {
		return *d
	}
	return nil
}

func (k *keys) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	answer, err := k.auth.GetKeys(ctx, &authv1.GetKeysRequest{})
	if err != nil {
		return fmt.Errorf("get keys: %w", err)
	}
	set, err := jwk.Parse(answer.GetJwks())
	if err != nil {
		return fmt.Errorf("parse keys: %w", err)
	}
	if set.Len() == 0 {
		return errors.New("get keys: empty set")
	}
	k.verifier.SetKeys(set)
	document := answer.GetJwks()
	k.document.Store(&document)
	return nil
}

// run fetches at start, when told of a change, and each minute, until ctx ends.
func (k *keys) run(ctx context.Context) error {
	return keep(ctx, k.log, "keys", keysEvery, k.bell, k.fetch)
}
