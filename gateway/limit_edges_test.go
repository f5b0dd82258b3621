package gateway

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/rdb"
	"github.com/manas360/platform/pkg/rdbtest"
)

// In all, no more passes than the limit and a lease for each edge, whatever the
// order in which requests come and edges tell Redis; and as long as one edge
// serves alone, exactly the limit passes.
func TestEdgesTogetherKeepTheLimit(t *testing.T) {
	client, prefix := rdbtest.New(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		rule := limitRule{name: "r", limit: rapid.Int64Range(2, 120).Draw(rt, "limit"), period: 1000 * time.Hour}
		c := []charge{{rule, prefix + "k" + time.Duration(n).String()}}
		edges := make([]*limiter, rapid.IntRange(1, 4).Draw(rt, "edges"))
		for i := range edges {
			edges[i] = patient(newLimiter(client, time.Now))
		}
		var passed int64
		for _, step := range rapid.SliceOfN(rapid.IntRange(0, 5*len(edges)-1), 1, 300).Draw(rt, "steps") {
			e := edges[step%len(edges)]
			if step >= 4*len(edges) {
				e.flushAll(t.Context())
			} else if e.take(t.Context(), c).allowed {
				passed++
			}
		}
		if most := rule.limit + int64(len(edges))*rule.lease(); passed > most {
			rt.Fatalf("%d passed, at most %d may", passed, most)
		}
		if len(edges) > 1 {
			return
		}
		for edges[0].take(t.Context(), c).allowed {
			passed++
		}
		if passed != rule.limit {
			rt.Fatalf("%d passed one edge, the limit is %d", passed, rule.limit)
		}
	})
}

// patient waits for Redis as long as a loaded machine needs: what happens without
// it is another test's.
func patient(l *limiter) *limiter {
	l.budget = 10 * time.Second
	return l
}

func TestEdgesAtOnceKeepTheLimit(t *testing.T) {
	client, prefix := rdbtest.New(t)
	for _, rule := range []limitRule{
		{name: "wide", limit: 400, period: 1000 * time.Hour},
		{name: "exact", limit: 400, period: 1000 * time.Hour, strict: true},
	} {
		c := []charge{{rule, prefix + rule.name}}
		edges := []*limiter{patient(newLimiter(client, time.Now)), patient(newLimiter(client, time.Now))}
		var passed atomic.Int64
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				for range 100 {
					if edges[i%2].take(t.Context(), c).allowed {
						passed.Add(1)
					}
				}
			})
		}
		all.Wait()
		most := rule.limit
		if !rule.exact() {
			most += int64(len(edges)) * rule.lease()
		}
		if n := passed.Load(); n < rule.limit || n > most {
			t.Errorf("%s: %d passed, want %d to %d", rule.name, n, rule.limit, most)
		}
	}
}

// trips counts round trips to Redis, and those that a request waited for.
type trips struct{ all, waited atomic.Int64 }

func (c *trips) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.count(ctx)
		return next(ctx, cmd)
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.count(ctx)
		return next(ctx, cmds)
	}
}

func (c *trips) count(ctx context.Context) {
	c.all.Add(1)
	if q, ok := ctx.Value(requestKey{}).(*request); ok && q != nil {
		c.waited.Add(1)
	}
}

// identity.md G1: an authenticated request waits for no database, which the
// edge does not have, and for no Redis.
func TestSteadyStateWaitsForNoRedis(t *testing.T) {
	count := &trips{}
	h := newHarness(t, calm)
	h.edge.limiter.redis.AddHook(count)
	const accounts, each = 40, 10
	raw := make([]string, accounts)
	for i := range raw {
		h.user = uuid.Must(uuid.NewV7())
		raw[i] = h.token()
	}
	call := func(i int) {
		want(t, h.do("GET", "/api/v1/users/me", "", bearer(raw[i]), from(i)), 200, "")
	}
	for i := range raw {
		call(i)
	}
	count.all.Store(0)
	count.waited.Store(0)
	const requests = accounts * each
	for n := range requests {
		call(n % accounts)
	}
	if n := count.waited.Load(); n != 0 {
		t.Errorf("%d of %d requests waited for Redis", n, requests)
	}
	if n := count.all.Load(); n > requests/4 {
		t.Errorf("%d round trips in the background of %d requests", n, requests)
	}
}

// An exact rule is asked about each time: guesses are counted everywhere.
func TestCredentialsAreCountedEverywhere(t *testing.T) {
	a := newHarness(t)
	b := newHarness(t, func(h *harness) { h.redis = a.redis })
	passed := 0
	for i := range 130 {
		h := []*harness{a, b}[i%2]
		if h.do("POST", "/api/v1/auth/login", `{"email":"a@b.co","password":"x"}`).status != 429 {
			passed++
		}
	}
	if passed < 100 || passed > 102 { // one comes back every nine seconds
		t.Errorf("%d logins passed two edges, want 100", passed)
	}
}

func TestFlushTellsTheLastBeforeItEnds(t *testing.T) {
	client, prefix := rdbtest.New(t)
	l := newLimiter(client, time.Now)
	c := []charge{{limitRule{name: "r", limit: 100, period: time.Hour}, prefix + "last"}}
	ctx, stop := context.WithCancel(t.Context())
	l.take(ctx, c)
	stop()
	if err := l.flush(ctx); err != nil {
		t.Fatal(err)
	}
	if n := client.Exists(t.Context(), c[0].key).Val(); n != 1 {
		t.Error("what was admitted last was not told")
	}
}

func TestOutageIsToldAfterwards(t *testing.T) {
	client, prefix := rdbtest.New(t)
	dead := rdb.Open(rdb.Config{Host: "127.0.0.1", Port: 1})
	t.Cleanup(func() { _ = dead.Close() })
	l := newLimiter(dead, time.Now)
	rule := limitRule{name: "r", limit: 100, period: 1000 * time.Hour}
	c := []charge{{rule, prefix + "outage"}}
	for range 60 {
		if !l.take(t.Context(), c).allowed {
			t.Fatal("refused within the limit")
		}
	}
	l.redis = client
	l.openUntil.Store(0)
	l.flushAll(t.Context())
	if s := newLimiter(client, time.Now); s.take(t.Context(), c).allowed {
		s.flushAll(t.Context())
		if got := s.take(t.Context(), c).remaining; got != 38 {
			t.Errorf("another edge sees %d left, want 38", got)
		}
	}
}
