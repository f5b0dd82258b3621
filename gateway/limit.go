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
)

// limiter decides in Redis, so that all edges count together. Each edge counts
// what it admitted itself as well: when Redis is away it goes on from there at
// the same numbers.
type limiter struct {
	redis  *redis.Client
	script *redis.Script
	local  *localLimiter
	now    func() time.Time

	failures  atomic.Int32
	openUntil atomic.Int64 // Unix nanoseconds; Redis is left alone until then
	fallbacks atomic.Int64 // decisions taken without Redis
}

func newLimiter(rdb *redis.Client, now func() time.Time) *limiter {
	return &limiter{redis: rdb, script: redis.NewScript(limitLua), local: newLocalLimiter(), now: now}
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
	all, err := l.remote(ctx, charges)
	if err != nil {
		l.fallbacks.Add(1)
		all = l.local.take(charges, l.now())
	} else if allowed(all) {
		l.local.force(charges, l.now())
	}
	for _, s := range all {
		if !s.allowed {
			l.local.block(s.key, l.now().Add(s.retry))
		}
	}
	return tightest(all)
}

// blocked answers for a request that is refused for certain, from memory: until
// the time Redis named, nothing that key does is allowed. It costs neither a
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

var errOpen = errors.New("limiter: circuit open")

func (l *limiter) remote(ctx context.Context, charges []charge) ([]standing, error) {
	now := l.now()
	if now.UnixNano() < l.openUntil.Load() {
		return nil, errOpen
	}
	// Not the client's cancellation: hanging up must not look like an outage.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limitBudget)
	defer cancel()
	names := make([]string, len(charges))
	args := make([]any, 0, 2*len(charges))
	for i, c := range charges {
		names[i] = c.key
		args = append(args, c.rule.interval().Microseconds(), c.rule.burst().Microseconds())
	}
	answer, err := l.script.Run(ctx, l.redis, names, args...).Int64Slice()
	if err == nil && len(answer) != 4*len(charges) {
		err = fmt.Errorf("limiter: %d numbers for %d rules", len(answer), len(charges))
	}
	if err != nil {
		if l.failures.Add(1) >= breakAfter {
			l.openUntil.Store(now.Add(breakDuration).UnixNano())
		}
		return nil, fmt.Errorf("charge limits: %w", err)
	}
	l.failures.Store(0)
	out := make([]standing, len(charges))
	for i, c := range charges {
		n := answer[4*i:]
		out[i] = standing{
			charge: c, allowed: n[0] == 1, remaining: max(n[1], 0),
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
