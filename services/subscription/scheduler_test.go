package subscription

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"
)

// dueTogether makes n subscriptions whose time is over in the same instant.
func (s *stand) dueTogether(t *testing.T, n int) {
	t.Helper()
	s.exec(t, `INSERT INTO subscription.subscription (id, user_id, state, plan_code, plan_version, cycle, price_id, total_minor, anchor, anchor_zone,
	    current_period_start, current_period_end, paid_until, due_at, noticed, created_at, updated_at)
	  SELECT gen_random_uuid(), gen_random_uuid() AS user_id, 'ACTIVE', 'premium', 1, 'MONTHLY', r.id, 149900, $1::timestamptz - interval '30 days', 'Asia/Kolkata',
	    $1::timestamptz - interval '30 days', $1, $1, $1, 3, $1, $1
	    FROM generate_series(1, $2::int), subscription.price AS r WHERE r.plan_code = 'premium' AND r.version = 1 AND r.cycle = 'MONTHLY'`, s.clock.now(), n)
}

// Four schedulers that are being killed do what is due in one second, each
// exactly once. money.md B9, B10 and M6; MANAS_LONG=1 does it with 100,000.
func TestSchedulersAreKilled(t *testing.T) {
	n := 100
	if os.Getenv("MANAS_LONG") != "" {
		n = 100_000
	}
	s := newStand(t)
	s.dueTogether(t, n)
	began := time.Now()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			chance := rand.New(rand.NewPCG(uint64(i), 7))
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(50+chance.IntN(800))*time.Millisecond)
				_ = s.sweep(ctx) // what it could not do is seen below
				cancel()         // a claim that was cut short is due again when its lease is over
				left, e := scalar[int](t.Context(), s.db.Pool, `SELECT count(*)::int FROM subscription.subscription WHERE state = 'ACTIVE' AND plan_code = 'premium'`, args{})
				if e != nil {
					t.Error(e)
					return
				}
				if left == 0 {
					return
				}
				s.clock.move(lease) // as long as the dead are remembered
			}
		})
	}
	all.Wait()
	t.Logf("%d done in %v", n, time.Since(began))
	counts := texts(t, s.db, `SELECT (SELECT count(*) FROM subscription.subscription_event WHERE to_state = 'EXPIRED') || ' ' ||
	  (SELECT count(DISTINCT subscription_id) FROM subscription.subscription_event WHERE to_state = 'EXPIRED') || ' ' ||
	  (SELECT count(*) FROM subscription.subscription WHERE plan_code = 'free' AND state = 'ACTIVE')`)
	want := fmt.Sprintf("%[1]d %[1]d %[1]d", n)
	if counts[0] != want {
		t.Errorf("expiries, subscriptions, Free = %s, want %s", counts[0], want)
	}
}

// What is due in one second is claimed by parts, and nobody gets what another
// has.
func TestClaims(t *testing.T) {
	n := 5_000
	if os.Getenv("MANAS_LONG") != "" {
		n = 100_000
	}
	s := newStand(t)
	s.dueTogether(t, n)
	began := time.Now()
	var mu sync.Mutex
	seen := map[dueRow]int{}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				list, err := s.due(t.Context(), s.clock.now(), sweepBatch)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, d := range list {
					seen[d]++
				}
				mu.Unlock()
				if len(list) == 0 {
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	t.Logf("%d claimed in %v: %.0f a second", n, took, float64(n)/took.Seconds())
	if len(seen) != n {
		t.Errorf("%d claimed, want %d", len(seen), n)
	}
	for d, times := range seen {
		if times != 1 {
			t.Fatalf("%s claimed %d times", d.ID, times)
		}
	}
}
