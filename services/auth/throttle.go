package auth

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
)

// allowance is how many failures a counter bears. Full, it locks: for lock,
// doubled with each lock of the day up to longest, or, without lock, to the end
// of the window. perDay bounds all of a day.
type allowance struct {
	name          string
	limit         int
	window        time.Duration
	lock, longest time.Duration
	perDay        int
}

// identity.md 6.7. Unknown accounts count as well.
var (
	forAccount = allowance{name: "account", limit: 10, window: 15 * time.Minute, lock: 15 * time.Minute, longest: time.Hour, perDay: 100}
	forDevice  = allowance{name: "device", limit: 10, window: 15 * time.Minute}
	forAddress = allowance{name: "ip", limit: 30, window: 10 * time.Minute}
	forNetwork = allowance{name: "net", limit: 300, window: 10 * time.Minute}
)

const (
	reservationLife = 15 * time.Second      // of an attempt whose process died
	turnPatience    = 8 * time.Second       // for other attempts on the same account to end; calls have 10 s
	turnPause       = 15 * time.Millisecond // between two looks
)

// throttle counts failed attempts in Redis. An attempt is reserved before the
// password is hashed: failures and attempts under way never exceed the limit
// together, so parallel guesses gain nothing; an attempt beyond it waits for
// the others, so parallel good logins all pass. Without Redis nothing passes.
// A call touches the keys of one counter, which share a slot of a cluster.
type throttle struct {
	redis  *redis.Client
	prefix string
	key    []byte
	now    func() time.Time
	ids    *id.Maker
}

// attempt is a reservation; exactly one of failed and release ends it.
type attempt struct {
	t        *throttle
	id       string
	counters []counter
	locked   bool // the account's counter was filled by this attempt
}

type counter struct {
	allowance

	keys []string // failures, attempts under way
}

const (
	granted = iota
	wait
	refused
)

// KEYS: failures, attempts under way. ARGV: now, id, reservation's end, limit,
// window, failures a day (ms). Answers granted, wait or refused with the wait.
var reserveScript = redis.NewScript(`
local now, limit, window, perDay = tonumber(ARGV[1]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local h = redis.call('HMGET', KEYS[1], 'f', 'w', 'u', 'd', 's')
local failures, since, locked = tonumber(h[1] or '0'), tonumber(h[2] or '0'), tonumber(h[3] or '0')
local today, day = tonumber(h[4] or '0'), tonumber(h[5] or '0')
if locked > now then return {2, locked - now} end
if perDay > 0 and now - day < 86400000 and today >= perDay then return {2, day + 86400000 - now} end
if now - since >= window then failures = 0 end
if failures + redis.call('ZCARD', KEYS[2]) >= limit then return {1, 0} end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
redis.call('PEXPIRE', KEYS[2], 60000)
return {0, 0}`)

// ARGV: now, id, limit, window, lock, longest lock. Answers 1 when this failure
// locked. A lock level is forgotten a day after the last failure.
var failedScript = redis.NewScript(`
local now, limit, window, lock = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
redis.call('ZREM', KEYS[2], ARGV[2])
local h = redis.call('HMGET', KEYS[1], 'f', 'w', 'l', 'd', 's')
local failures, since, level = tonumber(h[1] or '0'), tonumber(h[2] or '0'), tonumber(h[3] or '0')
local today, day = tonumber(h[4] or '0'), tonumber(h[5] or '0')
if now - since >= window then failures, since = 0, now end
if now - day >= 86400000 then today, day = 0, now end
failures, today = failures + 1, today + 1
local full = 0
if failures >= limit then
  full = 1
  local ends = since + window
  if lock > 0 then ends = now + math.min(lock * 2 ^ level, tonumber(ARGV[6])) end
  redis.call('HSET', KEYS[1], 'u', string.format('%.0f', ends), 'l', level + 1)
  failures, since = 0, now
end
redis.call('HSET', KEYS[1], 'f', failures, 'w', string.format('%.0f', since), 'd', today, 's', string.format('%.0f', day))
redis.call('PEXPIRE', KEYS[1], 86400000)
return full`)

// reserve lets an attempt on subject from an address begin. Fails with
// TOO_MANY_ATTEMPTS, or UNAVAILABLE without Redis.
func (t *throttle) reserve(ctx context.Context, kind, subject, ip string) (*attempt, error) {
	return t.begin(ctx, t.counter(forAccount, kind, subject), t.counter(forAddress, "ip", addressBlock(ip)), t.counter(forNetwork, "net", network(ip)))
}

// reserveOn is reserve on a device the account is known on: only that device
// counts, so that no stranger can close the door, from whatever address.
func (t *throttle) reserveOn(ctx context.Context, kind, subject string, device uuid.UUID) (*attempt, error) {
	return t.begin(ctx, t.counter(forDevice, kind+" device", subject+" "+device.String()))
}

// forget clears the counter of a subject: an operator has looked into it.
func (t *throttle) forget(ctx context.Context, kind, subject string) error {
	if err := t.redis.Del(ctx, t.counter(forAccount, kind, subject).keys[0]).Err(); err != nil {
		return fail.New(fail.Unavailable, "the lock cannot be lifted just now").RetryAfter(time.Second).Wrap(fmt.Errorf("forget failures: %w", err))
	}
	return nil
}

func (t *throttle) counter(a allowance, kind, subject string) counter {
	key := t.prefix + kind + ":{" + hex.EncodeToString(mac(t.key, kind, subject)[:16]) + "}"
	return counter{allowance: a, keys: []string{key, key + ":p"}}
}

func (t *throttle) begin(ctx context.Context, counters ...counter) (*attempt, error) {
	a := &attempt{t: t, id: t.ids.New().String(), counters: counters}
	timer := time.NewTimer(turnPatience)
	defer timer.Stop()
	pause := time.NewTicker(turnPause)
	defer pause.Stop()
	for {
		said, left, err := a.take(ctx)
		if err != nil {
			return nil, fail.New(fail.Unavailable, "sign-in is not possible just now").RetryAfter(time.Second).Wrap(fmt.Errorf("reserve an attempt: %w", err))
		}
		switch said {
		case granted:
			return a, nil
		case refused:
			return nil, tooMany(left)
		default:
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for other attempts: %w", ctx.Err())
		case <-timer.C:
			return nil, tooMany(time.Second)
		case <-pause.C:
		}
	}
}

// take reserves at each counter, or at none.
func (a *attempt) take(ctx context.Context) (said int, left time.Duration, err error) {
	now := a.t.now()
	for i, c := range a.counters {
		got, err := reserveScript.Run(ctx, a.t.redis, c.keys, now.UnixMilli(), a.id, now.Add(reservationLife).UnixMilli(),
			c.limit, c.window.Milliseconds(), c.perDay).Int64Slice()
		if err != nil || len(got) != 2 {
			return 0, 0, fmt.Errorf("%s: %d answers: %w", c.name, len(got), err)
		}
		if got[0] != granted {
			a.leave(ctx, a.counters[:i])
			return int(got[0]), time.Duration(got[1]) * time.Millisecond, nil
		}
	}
	return granted, 0, nil
}

func tooMany(wait time.Duration) error {
	return fail.New(fail.TooManyAttempts, "too many attempts, try again later").RetryAfter(wait)
}

// failed counts the attempt at every counter.
func (a *attempt) failed(ctx context.Context) error {
	for _, c := range a.counters {
		full, err := failedScript.Run(ctx, a.t.redis, c.keys, a.t.now().UnixMilli(), a.id,
			c.limit, c.window.Milliseconds(), c.lock.Milliseconds(), c.longest.Milliseconds()).Int()
		if err != nil {
			return fail.New(fail.Unavailable, "sign-in is not possible just now").RetryAfter(time.Second).Wrap(fmt.Errorf("count an attempt: %w", err))
		}
		if full == 1 && c.name == forAccount.name {
			a.locked = true
		}
	}
	return nil
}

// release gives the reservation back: the attempt was good, or not one at all.
// What is not given back ends by itself.
func (a *attempt) release(ctx context.Context) { a.leave(ctx, a.counters) }

func (a *attempt) leave(ctx context.Context, counters []counter) {
	if len(counters) == 0 {
		return
	}
	pipe := a.t.redis.Pipeline()
	for _, c := range counters {
		pipe.ZRem(ctx, c.keys[1], a.id)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("attempt not released")
	}
}

// addressBlock is what one subscriber holds: an IPv4 address, an IPv6 /64.
func addressBlock(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return "unknown"
	}
	a = a.Unmap()
	if a.Is4() {
		return a.String()
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return "unknown"
	}
	return p.String()
}
