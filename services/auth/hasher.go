package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/services/auth/password"
)

const firstCost = 40 * time.Millisecond // of one hash, until it has been measured

// hasher keeps password hashing from eating the machine: all processors but one
// hash, the others queue, and whoever would wait too long is told at once.
type hasher struct {
	slots    chan struct{}
	patience time.Duration
	now      func() time.Time
	rand     io.Reader

	mu     sync.Mutex // guards all below
	inside int        // hashing or waiting
	cost   time.Duration
}

func newHasher(patience time.Duration, now func() time.Time, rand io.Reader) *hasher {
	// On two cores one slot was as fast as any other number, and took 13 times
	// less memory: identity.md 6.6.
	return &hasher{
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)), patience: patience, now: now, rand: rand, cost: firstCost,
	}
}

// Hash gives the PHC string of a password. Fails with UNAVAILABLE when too many
// wait.
func (h *hasher) Hash(ctx context.Context, plain string) (string, error) {
	var phc string
	var err error
	if e := h.run(ctx, func() { phc, err = password.Hash(plain, h.rand) }); e != nil {
		return "", e
	}
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return phc, nil
}

// Verify reports whether the password is right. An empty hash costs the same
// and is never right: timing must not tell who exists.
func (h *hasher) Verify(ctx context.Context, plain, phc string) (bool, error) {
	known := phc != ""
	if !known {
		phc = password.Dummy
	}
	var right bool
	var err error
	if e := h.run(ctx, func() { right, err = password.Verify(plain, phc) }); e != nil {
		return false, e
	}
	if errors.Is(err, password.ErrMalformed) {
		zerolog.Ctx(ctx).Error().Msg("a stored password hash is malformed")
		return false, nil
	}
	return right && known, err
}

func (h *hasher) run(ctx context.Context, work func()) error {
	if err := h.enter(); err != nil {
		return err
	}
	defer h.leave()
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait to hash: %w", ctx.Err())
	}
	// The slot is held until the hash ends, not until the client leaves.
	defer func() { <-h.slots }()
	began := h.now()
	work()
	h.learn(h.now().Sub(began))
	return nil
}

func (h *hasher) enter() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait := h.cost * time.Duration(h.inside) / time.Duration(cap(h.slots))
	if wait > h.patience {
		return fail.New(fail.Unavailable, "too many sign-ins at once, try again").RetryAfter(wait)
	}
	h.inside++
	return nil
}

func (h *hasher) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inside--
}

// learn keeps a moving average, the last hash weighing a quarter.
func (h *hasher) learn(took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cost += (took - h.cost) / 4
}
