package auth

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manas360/platform/pkg/fail"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// flooded is a hasher as two cores have it: of one slot, which fifty hashes at
// most may wait for, and which is taken until release is called.
func flooded(t *testing.T) (h *hasher, release func()) {
	t.Helper()
	standing := time.Date(2026, 6, 1, 10, 0, 0, 0, time.UTC)
	h = &hasher{slots: 1, patience: 2 * time.Second, now: func() time.Time { return standing }, cost: firstCost}
	end, began, done := make(chan struct{}), make(chan struct{}), make(chan error)
	for range h.slots {
		go func() { done <- h.run(context.WithoutCancel(t.Context()), func() { began <- struct{}{}; <-end }) }()
		<-began
	}
	return h, func() {
		close(end)
		for range h.slots {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
}

// surplus is what of n calls a flooded hasher refuses: it lets in as many as
// would wait no longer than its patience.
func (h *hasher) surplus(n int) int {
	return n - (int(h.patience/firstCost)*h.slots - h.slots + 1)
}

// await waits for n refusals; were there ever fewer, the counts tell.
func await(refused <-chan struct{}, n int) {
	late := time.After(20 * time.Second)
	for range n {
		select {
		case <-refused:
		case <-late:
			return
		}
	}
}

// TestFloodOfHashes: identity.md row 33. Never more than the slots hash, the
// surplus is told when to come again before anything is hashed, and a known
// device goes first.
func TestFloodOfHashes(t *testing.T) {
	const calls = 500
	h, release := flooded(t)
	var hashing, most, hashed, before atomic.Int64
	work := func() {
		n := hashing.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		hashed.Add(1)
		hashing.Add(-1)
	}
	refused, known := make(chan struct{}, calls), make(chan error, 1)
	go func() {
		await(refused, h.surplus(calls))
		turn, err := h.enter(knownLane) // the last to come
		release()
		if err == nil {
			<-turn
			before.Store(hashed.Load())
			h.leave(0)
		}
		known <- err
	}()
	got := together(calls, func(int) error {
		err := h.run(t.Context(), work)
		if e, ok := fail.As(err); ok {
			if e.Retry <= h.patience {
				t.Errorf("refused with a wait of %v", e.Retry)
			}
			refused <- struct{}{}
		}
		return err
	})
	if err := <-known; err != nil || before.Load() > 0 {
		t.Errorf("a known device: %v, after %d strangers", err, before.Load())
	}
	if diff := cmp.Diff(map[string]int{"": calls - h.surplus(calls), "UNAVAILABLE": h.surplus(calls)}, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if most.Load() > int64(h.slots) || hashed.Load() != int64(calls-h.surplus(calls)) {
		t.Errorf("%d hashed, %d at once", hashed.Load(), most.Load())
	}
	if h.busy != 0 || len(h.lanes[knownLane])+len(h.lanes[strangersLane]) != 0 {
		t.Errorf("left behind: %d busy, lanes %v", h.busy, h.lanes)
	}
}

// TestFloodOfLogins: identity.md row 33 and G12. While strangers fill the queue,
// sessions are renewed as ever; a refused login counts at nobody.
func TestFloodOfLogins(t *testing.T) {
	const calls = 200
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	h, release := flooded(t)
	b.hash = h
	refused, renewed := make(chan struct{}, calls), make(chan error, 1)
	go func() {
		await(refused, h.surplus(calls))
		_, err := b.tryRefresh(g.GetRefreshToken())
		release()
		renewed <- err
	}()
	got := together(calls, func(i int) error {
		ip := "198.51." + itoa(i) + ".1"
		_, err := b.pub.Login(from(t.Context(), ip), &authv1.LoginRequest{Email: "nobody" + itoa(i) + "@example.com", Password: "wrong"})
		if e, ok := fail.As(err); ok && e.Kind.Reason == fail.Unavailable.Reason {
			if e.Retry <= 0 {
				t.Errorf("no word when to come again: %v", err)
			}
			refused <- struct{}{}
		}
		return err
	})
	if err := <-renewed; err != nil {
		t.Errorf("a refresh in the flood: %v", err)
	}
	if diff := cmp.Diff(map[string]int{"INVALID_CREDENTIALS": calls - h.surplus(calls), "UNAVAILABLE": h.surplus(calls)}, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	b.mustLogin("asha@example.com")
}

// TestLongPasswords: identity.md row 35. One of a megabyte is refused unhashed:
// here no hash is to be had.
func TestLongPasswords(t *testing.T) {
	b := newBench(t)
	access := b.mustJoin("asha@example.com").GetAccessToken()
	ch, err := b.forgotten("asha@example.com")
	if err != nil {
		t.Fatal(err)
	}
	code := b.last("asha@example.com").Code
	b.hash.patience = -1
	_, err = b.hash.Hash(t.Context(), goodPassword)
	wantKind(t, "a hash", err, fail.Unavailable)
	for _, long := range []string{strings.Repeat("ab7!", 1<<18), strings.Repeat("न", 1<<18)} {
		r := registration1("ravi@example.com")
		r.Password = long
		_, err := b.pub.Register(b.visitor(), r)
		wantKind(t, "registration", err, fail.WeakPassword)
		c := someone(b.as(access))
		wantKind(t, "change", b.changePassword(b.as(access), c, goodPassword, long), fail.WeakPassword)
		wantKind(t, "reset", b.resetTo(ch.GetChallengeId(), code, long), fail.WeakPassword)
	}
}
