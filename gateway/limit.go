package gateway

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/manas360/platform/pkg/fail"
)

//go:embed limit.lua
var limitLua string

const (
	limitBudget   = 25 * time.Millisecond // of Redis for one decision
	breakAfter    = 5                     // failures in a row
	breakDuration = time.Second           // until Redis is asked again
	flushEvery    = 50 * time.Millisecond // while there is something to tell
	flushBatch    = 500                   // keys in one pipeline
	tellAtMost    = 8                     // times in one request: others may fill the lease as fast as it is told
)

// limiter counts in memory and in Redis, so that all edges count together.
//
// A wide rule is decided from memory; what was admitted is told to Redis a
// moment later, for all keys at once, and Redis answers where the key stands
// everywhere. An edge keeps at most a lease of a rule to itself, then it tells
// Redis before it goes on: in all, limit + edges × lease pass. An exact rule
// asks Redis each time. When Redis is away, memory goes on alone at the same
// numbers.
type limiter struct {
	redis  *redis.Client
	script *redis.Script
	local  *localLimiter
	now    func() time.Time
	bell   chan struct{} // there is something to tell
	hurry  chan struct{} // a lease is half used up
	budget time.Duration // of Redis for one decision

	failures  atomic.Int32
	openUntil atomic.Int64 // Unix nanoseconds; Redis is left alone until then
	fallbacks atomic.Int64 // decisions taken without Redis
}

func newLimiter(rdb *redis.Client, now func() time.Time) *limiter {
	return &limiter{
		redis: rdb, script: redis.NewScript(limitLua), local: newLocalLimiter(), now: now, bell: make(chan struct{}, 1), hurry: make(chan struct{}, 1), budget: limitBudget,
	}
}

// standing is what one rule says after a request.
type standing struct {
	charge
	allowed   bool
	remaining int64
	reset     time.Duration // until the whole limit is there again
	retry     time.Duration // until one more is allowed; 0 when it is
}

// take charges all rules, or none when one of them refuses, and answers the
// tightest standing.
func (l *limiter) take(ctx context.Context, charges []charge) standing {
	all, due := l.local.reserve(charges, l.now(), false)
	for range tellAtMost {
		if len(due) == 0 {
			break
		}
		if err := l.tell(ctx, due); err != nil {
			l.fallbacks.Add(1)
			break
		}
		all, due = l.local.reserve(charges, l.now(), false)
	}
	if len(due) > 0 { // Redis is away
		l.local.putBack(due)
		all, _ = l.local.reserve(charges, l.now(), true)
	}
	if allowed(all) {
		all = l.ask(ctx, all)
	}
	for _, s := range all {
		if !s.allowed {
			l.local.block(s.key, l.now().Add(s.retry))
		}
	}
	ring(l.bell)
	if l.local.pressed(charges) {
		ring(l.hurry)
	}
	return tightest(all)
}

// ask lets Redis decide about the exact rule, if there is one: there never are
// two. Its refusal gives the others back.
func (l *limiter) ask(ctx context.Context, all []standing) []standing {
	for i, s := range all {
		if !s.rule.exact() {
			continue
		}
		got, err := l.run(ctx, []told{{charge: s.charge, n: 1, ask: true}})
		if err != nil {
			l.fallbacks.Add(1) // memory has allowed it
			continue
		}
		if all[i] = got[0].standing(s.charge); !all[i].allowed {
			l.local.refund(all)
		}
	}
	return all
}

// tell reports what was admitted and learns where the keys stand.
func (l *limiter) tell(ctx context.Context, news []told) error {
	got, err := l.run(ctx, news)
	if err != nil {
		return err
	}
	l.local.learn(news, got, l.now())
	return nil
}

// flush tells Redis what wide rules have admitted, until ctx ends.
func (l *limiter) flush(ctx context.Context) error {
	wait := time.NewTimer(flushEvery)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.budget)
			l.flushAll(ctx)
			cancel()
			return nil
		case <-l.bell:
		}
		wait.Reset(flushEvery) // others join
		select {
		case <-ctx.Done():
		case <-l.hurry:
		case <-wait.C:
		}
		l.flushAll(ctx)
	}
}

func (l *limiter) flushAll(ctx context.Context) {
	for {
		news := l.local.dirty(flushBatch)
		if len(news) == 0 {
			return
		}
		if err := l.tell(ctx, news); err != nil {
			l.local.putBack(news)
			ring(l.bell) // the outage shows in the fallbacks; tried again with the next
			return
		}
	}
}

func ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default: // it is ringing already
	}
}

// blocked answers for a request that is refused for certain, from memory: until
// the time named, nothing that key does is allowed. It costs neither a
// signature check nor a round trip.
func (l *limiter) blocked(charges []charge) (standing, bool) {
	now := l.now()
	for _, c := range charges {
		if until, ok := l.local.blocked(c.key, now); ok {
			return standing{charge: c, retry: until.Sub(now), reset: c.rule.burst()}, true
		}
	}
	return standing{}, false
}

// told is what Redis hears about one key: n requests that have been admitted,
// or, to ask, that would like to be.
type told struct {
	charge
	n   int64
	ask bool
}

// heard is Redis's answer about one key.
type heard struct {
	allowed   bool
	remaining int64
	reset     time.Duration
	retry     time.Duration
}

func (h heard) standing(c charge) standing {
	return standing{charge: c, allowed: h.allowed, remaining: max(h.remaining, 0), reset: h.reset, retry: h.retry}
}

var errOpen = errors.New("limiter: circuit open")

// run is one round trip for any number of keys, one script a key: they may lie
// in different slots of a cluster.
func (l *limiter) run(ctx context.Context, news []told) (answers []heard, err error) {
	err = l.try(ctx, func(ctx context.Context) (err error) {
		answers, err = l.pipeline(ctx, news)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("charge limits: %w", err)
	}
	return answers, nil
}

// try asks Redis within the budget, or not at all while it is held to be away:
// errOpen.
func (l *limiter) try(ctx context.Context, ask func(ctx context.Context) error) error {
	now := l.now()
	if now.UnixNano() < l.openUntil.Load() {
		return errOpen
	}
	// Not the client's cancellation: hanging up must not look like an outage.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.budget)
	defer cancel()
	err := ask(ctx)
	if err == nil {
		l.failures.Store(0)
		return nil
	}
	if l.failures.Add(1) >= breakAfter {
		l.openUntil.Store(now.Add(breakDuration).UnixNano())
	}
	return err
}

func (l *limiter) pipeline(ctx context.Context, news []told) ([]heard, error) {
	pipe := l.redis.Pipeline()
	cmds := make([]*redis.Cmd, len(news))
	for i, n := range news {
		mode := "tell"
		if n.ask {
			mode = "ask"
		}
		// Eval, not EvalSha: a pipeline cannot fall back when Redis has forgotten.
		cmds[i] = l.script.Eval(ctx, pipe, []string{n.key}, n.rule.interval().Microseconds(), n.rule.burst().Microseconds(), n.n, mode)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err //nolint:wrapcheck // the caller wraps
	}
	out := make([]heard, len(news))
	for i, cmd := range cmds {
		n, err := cmd.Int64Slice()
		if err != nil || len(n) != 4 {
			return nil, fmt.Errorf("answer of %d numbers: %w", len(n), err)
		}
		out[i] = heard{
			allowed: n[0] == 1, remaining: n[1],
			reset: time.Duration(n[2]) * time.Microsecond, retry: time.Duration(n[3]) * time.Microsecond,
		}
	}
	return out, nil
}

func allowed(all []standing) bool {
	for _, s := range all {
		if !s.allowed {
			return false
		}
	}
	return true
}

// tightest is the refusal with the longest wait, else the rule with the
// smallest share left.
func tightest(all []standing) standing {
	best := all[0]
	for _, s := range all[1:] {
		switch {
		case best.allowed && !s.allowed:
			best = s
		case best.allowed != s.allowed:
		case !s.allowed && s.retry > best.retry:
			best = s
		case s.allowed && s.remaining*best.rule.limit < best.remaining*s.rule.limit:
			best = s
		}
	}
	return best
}

// limit charges and says where the client stands: draft-ietf-httpapi-
// ratelimit-headers, and the old names for old clients.
func (e *Edge) limit(w http.ResponseWriter, r *http.Request, charges []charge) error {
	if len(charges) == 0 {
		return nil
	}
	return e.report(w, e.limiter.take(r.Context(), charges))
}

func (e *Edge) report(w http.ResponseWriter, s standing) error {
	h := w.Header()
	reset := seconds(s.reset)
	h.Set("RateLimit-Policy", fmt.Sprintf("%q;q=%d;w=%d", s.rule.name, s.rule.limit, seconds(s.rule.period)))
	h.Set("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", s.rule.name, s.remaining, reset))
	h.Set("X-RateLimit-Limit", strconv.FormatInt(s.rule.limit, 10))
	h.Set("X-RateLimit-Remaining", strconv.FormatInt(s.remaining, 10))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(e.now().Unix()+reset, 10))
	if s.allowed {
		return nil
	}
	return fail.New(fail.RateLimited, "too many requests; the limit is %d in %d seconds", s.rule.limit, seconds(s.rule.period)).
		With("limit", s.rule.name).RetryAfter(s.retry)
}

// seconds rounds up: a client told 0 would come back too early.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }
