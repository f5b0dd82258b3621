package gateway

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

const (
	exchangeTimeout = 2 * time.Second
	exchangeEarly   = 5 * time.Second  // before the token ends: it must live as long as its request
	refusalLife     = 10 * time.Second // of what auth said of a key that opens nothing
	maxKeys         = 10_000           // of each kind, some 20 MiB when full
)

// apiKeys turns keys into the tokens that stand for them, and remembers them: a
// request with a known key asks nobody. Keys are remembered by their hash.
type apiKeys struct {
	auth   authv1.AuthInternalServiceClient
	now    func() time.Time
	flight singleflight.Group

	mu      sync.Mutex // guards all below
	good    map[keySum]keyToken
	refused map[keySum]refusal
}

type keySum [sha256.Size]byte

type keyToken struct {
	raw   string
	until time.Time
}

type refusal struct {
	err   error
	until time.Time
}

func newAPIKeys(auth authv1.AuthInternalServiceClient, now func() time.Time) *apiKeys {
	return &apiKeys{auth: auth, now: now, good: map[keySum]keyToken{}, refused: map[keySum]refusal{}}
}

// known answers from memory. A token like the one that has just proved dead is
// none.
func (k *apiKeys) known(sum keySum, dead string) (raw string, err error, ok bool) {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if t, found := k.good[sum]; found {
		if t.raw != dead && now.Before(t.until) {
			return t.raw, nil, true
		}
		delete(k.good, sum)
	}
	if r, found := k.refused[sum]; found {
		if now.Before(r.until) {
			return "", r.err, true
		}
		delete(k.refused, sum)
	}
	return "", nil, false
}

// exchange asks auth, once for all who ask at the same time for the same
// reason.
func (k *apiKeys) exchange(ctx context.Context, key string, sum keySum, dead string) (string, error) {
	v, err, _ := k.flight.Do(string(sum[:])+dead, func() (any, error) {
		// Who waits here must not be cut off by the one who came first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTimeout)
		defer cancel()
		// Another may have brought it between our look and our turn.
		if raw, err, ok := k.known(sum, dead); ok {
			return raw, err
		}
		answer, err := k.auth.ExchangeApiKey(ctx, &authv1.ExchangeApiKeyRequest{Key: key})
		if err != nil {
			err = fail.FromError(err)
			if unknownKey(err) || fail.Is(err, fail.TokenRevoked) {
				k.refuse(sum, err)
			}
			return "", err
		}
		k.keep(sum, keyToken{raw: answer.GetAccessToken(), until: answer.GetExpiresAt().AsTime().Add(-exchangeEarly)})
		return answer.GetAccessToken(), nil
	})
	if err != nil {
		return "", fmt.Errorf("exchange a key: %w", err)
	}
	raw, _ := v.(string) // nothing else is ever given
	return raw, nil
}

func unknownKey(err error) bool { return fail.Is(err, fail.InvalidToken) }

func (k *apiKeys) keep(sum keySum, t keyToken) {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	room(k.good, func(t keyToken) bool { return !now.Before(t.until) })
	k.good[sum] = t
}

func (k *apiKeys) refuse(sum keySum, err error) {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	room(k.refused, func(r refusal) bool { return !now.Before(r.until) })
	k.refused[sum] = refusal{err: err, until: now.Add(refusalLife)}
}

// room leaves a place in m: what is over goes, else anything. Refused keys have
// a map of their own, so that a guesser drives out nobody but guessers.
func room[V any](m map[keySum]V, over func(V) bool) {
	if len(m) < maxKeys {
		return
	}
	for sum, v := range m {
		if over(v) {
			delete(m, sum)
		}
	}
	for sum := range m {
		if len(m) < maxKeys*9/10 {
			return
		}
		delete(m, sum)
	}
}

// identifyKey finds who a key stands for. The key itself goes no further: what
// travels on is the token. One that is dead or out of date is exchanged again,
// since a program knows nothing of refreshing.
func (e *Edge) identifyKey(ctx context.Context, q *request) {
	key := q.raw
	q.raw, q.byKey = "", true
	if _, _, ok := token.ParseAPIKey(key); !ok || q.fromCookie {
		q.tokenErr = fail.New(fail.InvalidToken, "the key is not valid")
		q.badKey = true
		return
	}
	sum, dead := keySum(sha256.Sum256([]byte(key))), ""
	for {
		raw, err := e.tokenOf(ctx, q, key, sum, dead)
		if err != nil {
			q.tokenErr, q.badKey = err, unknownKey(err)
			return
		}
		q.caller, q.tokenErr = e.callerOf(raw)
		if q.tokenErr == nil {
			q.raw = raw
		}
		if dead != "" || !e.outOfDate(q) {
			return // usable asks the same again
		}
		q.raw, dead = "", raw
	}
}

// outOfDate reports whether the token of a key is to be exchanged anew: auth's
// signing key was killed, it has been revoked, or a role was redefined since. It
// names no roles, so only auth knows what its owner may do by now.
func (e *Edge) outOfDate(q *request) bool {
	if q.tokenErr != nil {
		return true
	}
	err := e.epochs.check(q.caller)
	return fail.Is(err, fail.TokenStale) || fail.Is(err, fail.TokenRevoked) || q.caller.RolesEpoch < e.verifier.RolesEpoch()
}

func (e *Edge) tokenOf(ctx context.Context, q *request, key string, sum keySum, dead string) (string, error) {
	if raw, err, ok := e.apiKeys.known(sum, dead); ok {
		return raw, err
	}
	// Guessers do not get as far as auth.
	if s, blocked := e.limiter.blocked(keyCharges(e.prefix, q)); blocked {
		return "", fail.New(fail.RateLimited, "too many keys that are not valid").With("limit", s.rule.name).RetryAfter(s.retry)
	}
	return e.apiKeys.exchange(rpc.WithRequestID(ctx, q.id), key, sum, dead)
}

// keyCharges count keys that open nothing, by address.
func keyCharges(prefix string, q *request) []charge {
	return []charge{newCharge(prefix, limitBadKey, "a:"+limitKey(q.client))}
}
