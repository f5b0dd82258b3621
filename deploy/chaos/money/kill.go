package money

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// victims by how often they die; the money's own way more often than the rest.
var victims = []struct {
	name   string
	weight int
}{
	{"payment", 34},
	{"gateway", 14},
	{"sandbox", 14},
	{"postgres", 12},
	{"redis", 6},
	{"audit", 6},
	{"auth", 4},
	{"user", 4},
	{"subscription", 3},
	{"admin", 3},
}

const (
	beginWithin = 20 * time.Second // for the customers between two kills
	backWithin  = 60 * time.Second // for a part to answer again
)

func victim(chance *rand.Rand) string {
	n := chance.IntN(100)
	for _, v := range victims {
		if n -= v.weight; n < 0 {
			return v.name
		}
	}
	return victims[0].name
}

// kill lets a share of the customers in, kills while they pay, brings the dead
// back, and again. All that it kills are children of this process.
func (r *run) kill(ctx context.Context) error {
	chance := r.draws(1)
	let := 0
	for i := range r.Kills + 1 {
		for ; let < r.Payments*(i+1)/(r.Kills+1); let++ {
			r.gate <- let // it has room for all
		}
		if i == r.Kills {
			return nil
		}
		if err := r.revive(ctx); err != nil {
			return err
		}
		names := []string{victim(chance)}
		if other := victim(chance); chance.IntN(4) == 0 && other != names[0] && i+1 < r.Kills {
			names = append(names, other) // at once
		}
		jitter, dead := time.Duration(chance.IntN(600))*time.Millisecond, time.Duration(chance.Int64N(int64(deadFor)))
		half := int64(let - r.Payments/(r.Kills+1)/2)
		wait, cancel := context.WithTimeout(ctx, beginWithin)
		for r.started.Load() < half && pause(wait, 5*time.Millisecond) {
			continue
		}
		cancel()
		if !pause(ctx, jitter) {
			return fmt.Errorf("after %d kills: %w", i, ctx.Err())
		}
		if err := r.slay(ctx, names, dead); err != nil {
			return err
		}
	}
	return nil
}

// slay kills the named with SIGKILL and starts them again.
func (r *run) slay(ctx context.Context, names []string, dead time.Duration) error {
	var all sync.WaitGroup
	errs := make([]error, len(names))
	for i, name := range names {
		all.Go(func() {
			if r.stack.Endpoint(name).PID == 0 {
				r.died(name)
			} else if err := r.stack.KillPart(ctx, name); err != nil {
				errs[i] = err
				return
			}
			r.killed.Add(1)
			r.mu.Lock()
			r.deaths[name]++
			r.mu.Unlock()
			r.line.mark(r.Now().Sub(r.began), name)
			pause(ctx, dead)
			began := r.Now()
			errs[i] = r.start(ctx, name)
			r.mu.Lock()
			r.back[name] = max(r.back[name], r.Now().Sub(began))
			r.mu.Unlock()
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (r *run) died(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.suicide = append(r.suicide, fmt.Sprintf("%s after %v", name, r.Now().Sub(r.began).Round(time.Millisecond)))
}

// start tries for a while: Postgres waits until the last process of its
// predecessor has gone.
func (r *run) start(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, backWithin)
	defer cancel()
	var err error
	for {
		if r.stack.Endpoint(name).PID == 0 {
			if err = r.stack.StartPart(ctx, name); err == nil && name == "sandbox" {
				err = r.bank.misbehave(ctx, r.Seed+uint64(r.killed.Load())) //nolint:gosec // it counts up
			}
			if err == nil {
				return nil
			}
		} else if err == nil {
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf("start %s again: %w", name, errors.Join(err, ctx.Err()))
		}
	}
}

// revive starts what is dead, though nobody killed it.
func (r *run) revive(ctx context.Context) error {
	var errs []error
	for _, v := range victims {
		if r.stack.Endpoint(v.name).PID == 0 {
			r.died(v.name)
			errs = append(errs, r.start(ctx, v.name))
		}
	}
	return errors.Join(errs...)
}
