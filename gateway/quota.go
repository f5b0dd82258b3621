package gateway

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"golang.org/x/sync/singleflight"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

//go:embed quota.lua
var quotaLua string

const (
	apiCalls      = "api_calls"
	quotaKept     = 48 * time.Hour         // of a counter after its month: edges' clocks differ
	recallTimeout = 300 * time.Millisecond // of subscription, once for a counter Redis has lost
	recallPause   = time.Second            // after it has not answered
)

// India has had one offset since 1945; subscription counts its months there.
var india = time.FixedZone("IST", 5*60*60+30*60)

// month gives the bounds of the calendar month of India that holds t.
func month(t time.Time) (start, end time.Time) {
	y, m, _ := t.In(india).Date()
	return time.Date(y, m, 1, 0, 0, 0, 0, india), time.Date(y, m+1, 1, 0, 0, 0, 0, india)
}

// quotas counts the calls that programs make in a month, in Redis, one script a
// call: exact at any number of edges. What Redis has lost subscription has on
// record; while Redis is away an edge counts on from where it last knew.
type quotas struct {
	limiter *limiter // its Redis, and its judgement of it
	script  *redis.Script
	usage   subscriptionv1.UsageInternalServiceClient
	prefix  string
	now     func() time.Time
	log     zerolog.Logger
	flight  singleflight.Group
	bell    chan struct{} // there is something to record

	away      atomic.Bool  // said so already
	fallbacks atomic.Int64 // calls decided without Redis

	mu       sync.Mutex // guards all below
	counters map[string]*counter
	fresh    []*counter // with something to record
}

// counter is one account's month.
type counter struct {
	key        string // in Redis
	user       uuid.UUID
	start, end time.Time

	seen     int64     // the most that Redis or subscription have said
	owed     int64     // served without Redis, which certainly has not heard of them
	owing    int64     // of these, on their way
	recorded int64     // by subscription
	waiting  bool      // it is in fresh
	recall   time.Time // subscription is left alone until then
}

// used is what has been served, as far as is known here. What is owed is nowhere
// else, so it comes on top of whatever others say; for the same reason nobody is
// told of it but Redis: two edges would each add it to the other's number.
func (c *counter) used() int64 { return c.seen + c.owed + c.owing }

func newQuotas(l *limiter, usage subscriptionv1.UsageInternalServiceClient, prefix string, now func() time.Time, log zerolog.Logger) *quotas {
	return &quotas{
		limiter: l, script: redis.NewScript(quotaLua), usage: usage, prefix: prefix, now: now, log: log,
		bell: make(chan struct{}, 1), counters: map[string]*counter{},
	}
}

// tally is where a quota stands after a call.
type tally struct {
	allowed    bool
	used       int64
	start, end time.Time
}

var (
	errCold   = errors.New("redis has no such counter")
	errRecall = errors.New("subscription does not say where the counter stands")
)

// take counts one call of an account, unless that would pass the limit; below 0
// there is none.
func (q *quotas) take(ctx context.Context, user uuid.UUID, limit int64) tally {
	c := q.counter(user)
	t, err := q.ask(ctx, c, limit, false)
	if errors.Is(err, errCold) {
		if err = q.remember(ctx, c); err == nil {
			t, err = q.ask(ctx, c, limit, true)
		}
	}
	if err != nil {
		q.fallbacks.Add(1)
		if !q.away.Swap(true) {
			q.log.Warn().Err(err).Msg("API calls are counted without Redis")
		}
		t = q.alone(c, limit, err)
	} else {
		q.away.Store(false)
	}
	t.start, t.end = c.start, c.end
	q.enqueue(c) // a refusal too may have told Redis of calls it had not heard of
	return t
}

func (q *quotas) counter(user uuid.UUID) *counter {
	now := q.now()
	start, end := month(now)
	key := q.prefix + "quota:{u:" + user.String() + "}:" + apiCalls + ":" + start.Format("2006-01")
	q.mu.Lock()
	defer q.mu.Unlock()
	c, ok := q.counters[key]
	if !ok {
		makeRoom(q.counters, key, func(c *counter) bool { return !c.end.After(now) && !c.waiting })
		c = &counter{key: key, user: user, start: start, end: end}
		q.counters[key] = c
	}
	return c
}

// ask lets Redis decide. When the answer is lost, Redis may have counted or not:
// what was asked then goes to seen, the least it may stand at, which changes
// nothing if it has.
func (q *quotas) ask(ctx context.Context, c *counter, limit int64, known bool) (tally, error) {
	q.mu.Lock()
	floor, owed := c.seen, c.owed
	c.owed, c.owing = 0, c.owing+owed
	q.mu.Unlock()
	var fits, used int64
	err := q.limiter.try(ctx, func(ctx context.Context) error {
		life := c.end.Sub(q.now()) + quotaKept
		n, err := q.script.Run(ctx, q.limiter.redis, []string{c.key}, limit, floor, owed, flag(known), seconds(life)).Int64Slice()
		if err != nil || len(n) != 2 {
			return fmt.Errorf("answer of %d numbers: %w", len(n), err)
		}
		fits, used = n[0], n[1]
		return nil
	})
	if err == nil && fits < 0 {
		err = errCold
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	c.owing -= owed
	switch {
	case err == nil:
		c.seen = max(c.seen, used)
	case unsent(err):
		c.owed += owed
	default:
		c.seen += owed
	}
	return tally{allowed: fits == 1, used: used}, err
}

func flag(on bool) int {
	if on {
		return 1
	}
	return 0
}

// remember asks subscription for what it has on record, and tells it what is
// known here; once for all who wait.
func (q *quotas) remember(ctx context.Context, c *counter) error {
	q.mu.Lock()
	early := q.now().Before(c.recall)
	q.mu.Unlock()
	if early {
		return errRecall
	}
	_, err, _ := q.flight.Do(c.key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recallTimeout)
		defer cancel()
		return nil, q.tell(ctx, []*counter{c})
	})
	if err != nil {
		q.mu.Lock()
		c.recall = q.now().Add(recallPause)
		q.mu.Unlock()
		return fmt.Errorf("%w: %w", errRecall, err)
	}
	return nil
}

// unsent reports whether Redis has certainly counted nothing.
func unsent(err error) bool {
	var op *net.OpError
	return errors.Is(err, errOpen) || errors.Is(err, errCold) || errors.Is(err, errRecall) || errors.As(err, &op) && op.Op == "dial"
}

// alone decides from what this edge knows, for the reason why. All edges together
// can let through what is left once for each of them.
func (q *quotas) alone(c *counter, limit int64, why error) tally {
	q.mu.Lock()
	defer q.mu.Unlock()
	if limit >= 0 && c.used() >= limit {
		return tally{used: c.used()}
	}
	if unsent(why) {
		c.owed++
	} else {
		c.seen++
	}
	return tally{allowed: true, used: c.used()}
}

// callLimit is how many calls a month the caller's keys may make, -1 for no end.
// A token that does not say is of an older auth, or of an account subscription
// has not told of since: the plan as sold now stands in, and no limit where even
// that is not known. Such tokens live five minutes, and what they call is counted.
func (e *Edge) callLimit(c *token.Caller) int64 {
	limit := int64(-1)
	if n, ok := e.offers.limit(c.Plan, apiCalls); ok {
		limit = n
	}
	if c.APICalls != nil {
		limit = *c.APICalls
	}
	// Past its end a plan is worth no more than Free, whether or not the news of
	// that has come.
	if free, ok := e.offers.limit(freePlan, apiCalls); ok && c.EntitlementEnded(e.now()) && (limit < 0 || free < limit) {
		return free
	}
	return limit
}

// countCall charges a program's call to its owner's month. People's sessions
// have the rate limits alone, and what is open to everybody needs no key.
func (e *Edge) countCall(w http.ResponseWriter, r *http.Request, q *request) error {
	if !q.byKey || q.route.public() {
		return nil
	}
	limit := e.callLimit(q.caller)
	t := e.quotas.take(r.Context(), q.caller.UserID, limit)
	if limit < 0 {
		return nil
	}
	left, reset := max(0, limit-t.used), t.end.Sub(e.now())
	extend(w.Header(), "RateLimit-Policy", fmt.Sprintf("%q;q=%d;w=%d", apiCalls, limit, seconds(t.end.Sub(t.start))))
	extend(w.Header(), "RateLimit", fmt.Sprintf("%q;r=%d;t=%d", apiCalls, left, seconds(reset)))
	if t.allowed {
		return nil
	}
	plan := q.caller.Plan
	if q.caller.EntitlementEnded(e.now()) {
		plan = noPlan
	}
	refusal := fail.New(fail.QuotaExceeded, "all %d API calls of this month are used", limit).
		With("requiredFeature", apiCalls).With("currentPlan", plan).
		With("limit", strconv.FormatInt(limit, 10)).With("used", strconv.FormatInt(t.used, 10)).With("remaining", "0").
		With("resetsAt", t.end.UTC().Format(time.RFC3339)).RetryAfter(reset)
	return e.offers.name(refusal, apiCalls, limit)
}

// extend adds a member to a list header.
func extend(h http.Header, name, member string) {
	if before := h.Get(name); before != "" {
		member = before + ", " + member
	}
	h.Set(name, member)
}
