package boot

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	checkFresh = time.Second            // answers are this old at most
	checkLimit = 800 * time.Millisecond // for one check
)

// check is one readiness check with its last answer.
type check struct {
	name string
	ask  func(ctx context.Context) error

	mu      sync.Mutex // guards all below; never held while asking
	at      time.Time
	ok      bool
	asking  chan struct{} // closed when the running question is answered
	started bool
}

// Check registers a readiness check. It is asked at most once a second and has
// 800 ms to answer; the answer is shared by all who ask.
func (p *Process) Check(name string, ask func(ctx context.Context) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checks = append(p.checks, &check{name: name, ask: ask})
}

// Ready names the checks that fail, in the order they were registered; none
// when the process is ready. A draining process fails "draining".
func (p *Process) Ready(ctx context.Context) (failing []string) {
	if p.draining.Load() {
		return []string{"draining"}
	}
	p.mu.Lock()
	checks := p.checks[:len(p.checks):len(p.checks)]
	p.mu.Unlock()
	passed := make([]bool, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { passed[i] = c.pass(ctx, p.Now) })
	}
	wg.Wait()
	for i, c := range checks {
		if !passed[i] {
			failing = append(failing, c.name)
		}
	}
	return failing
}

// pass gives the last answer while it is fresh, else asks again. One question
// runs at a time, so a check that hangs holds one goroutine, not one per probe.
func (c *check) pass(ctx context.Context, now func() time.Time) bool {
	c.mu.Lock()
	if c.started && c.asking == nil && now().Sub(c.at) < checkFresh {
		defer c.mu.Unlock()
		return c.ok
	}
	answered := c.asking
	if answered == nil {
		answered = make(chan struct{})
		c.asking, c.started = answered, true
		// Not the prober's cancellation: the answer is for everybody.
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkLimit)
		go func() {
			defer cancel()
			err := safely(limited, c.ask)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.ok, c.at, c.asking = err == nil, now(), nil
			close(answered)
		}()
	}
	c.mu.Unlock()

	timer := time.NewTimer(checkLimit + 100*time.Millisecond)
	defer timer.Stop()
	select {
	case <-answered:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.ok
	case <-timer.C:
		return false
	case <-ctx.Done():
		return false
	}
}

// opsHandler answers /livez, /readyz and /metrics.
func (p *Process) opsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"status": "live"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if failing := p.Ready(r.Context()); len(failing) > 0 {
			writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "unready", "failing": failing})
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{"status": "ready"})
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Registry, promhttp.HandlerOpts{}))
	return mux
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the prober has hung up: nobody to tell
}
