package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/services/auth/password"
)

const firstCost = 40 * time.Millisecond // of one hash, until it has been measured

// hasher keeps password hashing from eating the machine: all processors but one
// hash, the others queue, and whoever would wait too long is told at once.
// Known devices have a lane of their own: a flood of strangers does not keep
// them waiting.
type hasher struct {
	slots    int
	patience time.Duration
	now      func() time.Time
	rand     io.Reader

	mu    sync.Mutex // guards all below
	busy  int
	lanes [2][]chan struct{} // waiting, first come first; closed when their turn has come
	cost  time.Duration
}

// Lanes of the queue: knownLane goes first.
const (
	knownLane = iota
	strangersLane
)

type laneKey struct{}

// fromKnownDevice has the hashes of ctx go first.
func fromKnownDevice(ctx context.Context) context.Context {
	return context.WithValue(ctx, laneKey{}, knownLane)
}

func laneOf(ctx context.Context) int {
	if lane, ok := ctx.Value(laneKey{}).(int); ok {
		return lane
	}
	return strangersLane
}

func newHasher(patience time.Duration, now func() time.Time, rand io.Reader) *hasher {
	// On two cores one slot was as fast as any other number, and took 13 times
	// less memory: identity.md 6.6.
	return &hasher{slots: max(1, runtime.GOMAXPROCS(0)-1), patience: patience, now: now, rand: rand, cost: firstCost}
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

// Verify reports whether the password is the one of one of the hashes, and of
// which: -1 for none. Each is tried, an empty one at the cost of a real one and
// never right: timing must tell neither who exists nor which was right.
func (h *hasher) Verify(ctx context.Context, plain string, phcs ...string) (which int, err error) {
	which = -1
	for i, phc := range phcs {
		known := phc != ""
		if !known {
			phc = password.Dummy
		}
		var right bool
		var bad error
		if err := h.run(ctx, func() { right, bad = password.Verify(plain, phc) }); err != nil {
			return -1, err
		}
		switch {
		case errors.Is(bad, password.ErrMalformed):
			zerolog.Ctx(ctx).Error().Msg("a stored password hash is malformed")
		case bad != nil:
			return -1, fmt.Errorf("verify a password: %w", bad)
		case right && known && which < 0:
			which = i
		}
	}
	return which, nil
}

func (h *hasher) run(ctx context.Context, work func()) error {
	turn, err := h.enter(laneOf(ctx))
	if err != nil {
		return err
	}
	select {
	case <-turn:
	case <-ctx.Done():
		h.giveUp(turn)
		return fmt.Errorf("wait to hash: %w", ctx.Err())
	}
	// The slot is held until the hash ends, not until the client leaves.
	began := h.now()
	defer func() { h.leave(h.now().Sub(began)) }()
	work()
	return nil
}

// enter gives a channel that is closed when the caller's turn has come. Who
// would wait longer than the patience is refused before anything is hashed.
func (h *hasher) enter(lane int) (<-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ahead := h.busy + len(h.lanes[knownLane])
	if lane == strangersLane {
		ahead += len(h.lanes[strangersLane])
	}
	if wait := h.cost * time.Duration(ahead) / time.Duration(h.slots); wait > h.patience {
		return nil, fail.New(fail.Unavailable, "too many sign-ins at once, try again").RetryAfter(wait)
	}
	turn := make(chan struct{})
	if h.busy < h.slots {
		h.busy++
		close(turn)
	} else {
		h.lanes[lane] = append(h.lanes[lane], turn)
	}
	return turn, nil
}

// leave ends a hash that took so long, and calls the next. The cost is a moving
// average, the last weighing a quarter.
func (h *hasher) leave(took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cost += (took - h.cost) / 4
	h.next()
}

// next hands the slot on, or frees it. The caller holds the lock.
func (h *hasher) next() {
	for i := range h.lanes {
		if len(h.lanes[i]) > 0 {
			close(h.lanes[i][0])
			h.lanes[i] = h.lanes[i][1:]
			return
		}
	}
	h.busy--
}

// giveUp leaves the queue. Whose turn has come in the same moment hands it on.
func (h *hasher) giveUp(turn <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, lane := range h.lanes {
		if at := slices.IndexFunc(lane, func(c chan struct{}) bool { return c == turn }); at >= 0 {
			h.lanes[i] = slices.Delete(lane, at, at+1)
			return
		}
	}
	h.next()
}
