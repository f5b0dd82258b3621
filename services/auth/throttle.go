package auth

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
)

// identity.md 6.7: ten failures for an account, then a lock that doubles;
// thirty for an address. Unknown accounts count as well.
const (
	accountFailures = 10
	accountWindow   = 15 * time.Minute
	lockFor         = 15 * time.Minute
	lockAtMost      = time.Hour
	addressFailures = 30
	addressWindow   = 10 * time.Minute

	reservationLife = 15 * time.Second      // of an attempt whose process died
	turnPatience    = 8 * time.Second       // for other attempts on the same account to end; calls have 10 s
	turnPause       = 15 * time.Millisecond // between two looks
)

// throttle counts failed attempts in Redis. An attempt is reserved before the
// password is hashed: failures and attempts under way never exceed the limit
// together, so parallel guesses gain nothing; an attempt beyond it waits for
// the others, so parallel good logins all pass. Without Redis nothing passes.
type throttle struct {
	redis  *redis.Client
	prefix string
	key    []byte
	now    func() time.Time
	ids    *id.Maker
}

// attempt is a reservation; exactly one of its methods ends it.
type attempt struct {
	t    *throttle
	id   string
	keys []string
}

const (
	granted = iota
	wait
	refused
)

// KEYS: account, its attempts, address, its attempts. ARGV: now, id,
// reservation's end, account limit and window, address limit and window (ms).
var reserveScript = redis.NewScript(`
local now = tonumber(ARGV[1])
local function look(key, attempts, limit, window)
  redis.call('ZREMRANGEBYSCORE', attempts, '-inf', now)
  local h = redis.call('HMGET', key, 'f', 'w', 'u')
  local failures, since, locked = tonumber(h[1] or '0'), tonumber(h[2] or '0'), tonumber(h[3] or '0')
  if locked > now then return 2, locked - now end
  if now - since >= window then failures = 0 end
  if failures + redis.call('ZCARD', attempts) >= limit then return 1, 0 end
  return 0, 0
end
local a, left = look(KEYS[1], KEYS[2], tonumber(ARGV[4]), tonumber(ARGV[5]))
if a == 2 then return {2, left} end
local b, more = look(KEYS[3], KEYS[4], tonumber(ARGV[6]), tonumber(ARGV[7]))
if b == 2 then return {2, more} end
if a == 1 or b == 1 then return {1, 0} end
for _, k in ipairs({KEYS[2], KEYS[4]}) do
  redis.call('ZADD', k, ARGV[3], ARGV[2])
  redis.call('PEXPIRE', k, 60000)
end
return {0, 0}`)

// ARGV: now, id, account limit and window, lock and longest lock, address limit
// and window. A lock level is forgotten a day after the last failure.
var failedScript = redis.NewScript(`
local now = tonumber(ARGV[1])
local function count(key, limit, window)
  local h = redis.call('HMGET', key, 'f', 'w')
  local failures, since = tonumber(h[1] or '0'), tonumber(h[2] or '0')
  if now - since >= window then failures, since = 0, now end
  failures = failures + 1
  redis.call('HSET', key, 'f', failures, 'w', since)
  redis.call('PEXPIRE', key, 86400000)
  return failures >= limit, since
end
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[4], ARGV[2])
if count(KEYS[1], tonumber(ARGV[3]), tonumber(ARGV[4])) then
  local level = tonumber(redis.call('HGET', KEYS[1], 'l') or '0')
  local span = math.min(tonumber(ARGV[5]) * 2 ^ level, tonumber(ARGV[6]))
  redis.call('HSET', KEYS[1], 'f', 0, 'w', now, 'u', string.format('%.0f', now + span), 'l', level + 1)
end
local full, since = count(KEYS[3], tonumber(ARGV[7]), tonumber(ARGV[8]))
if full then
  redis.call('HSET', KEYS[3], 'f', 0, 'w', now, 'u', string.format('%.0f', since + tonumber(ARGV[8])))
end
return 0`)

// reserve lets an attempt on subject from an address begin. Fails with
// TOO_MANY_ATTEMPTS, or UNAVAILABLE without Redis.
func (t *throttle) reserve(ctx context.Context, kind, subject, ip string) (*attempt, error) {
	a := &attempt{t: t, id: t.ids.New().String()}
	account := t.prefix + kind + ":" + hex.EncodeToString(mac(t.key, kind, subject)[:16])
	address := t.prefix + "ip:" + hex.EncodeToString(mac(t.key, "ip", addressBlock(ip))[:16])
	a.keys = []string{account, account + ":p", address, address + ":p"}

	timer := time.NewTimer(turnPatience)
	defer timer.Stop()
	pause := time.NewTicker(turnPause)
	defer pause.Stop()
	for {
		now := t.now()
		got, err := reserveScript.Run(ctx, t.redis, a.keys,
			now.UnixMilli(), a.id, now.Add(reservationLife).UnixMilli(),
			accountFailures, accountWindow.Milliseconds(), addressFailures, addressWindow.Milliseconds()).Int64Slice()
		if err != nil || len(got) != 2 {
			return nil, fail.New(fail.Unavailable, "sign-in is not possible just now").RetryAfter(time.Second).Wrap(fmt.Errorf("reserve an attempt: %w", err))
		}
		switch got[0] {
		case granted:
			return a, nil
		case refused:
			return nil, tooMany(time.Duration(got[1]) * time.Millisecond)
		case wait:
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

func tooMany(wait time.Duration) error {
	return fail.New(fail.TooManyAttempts, "too many attempts, try again later").RetryAfter(wait)
}

// failed counts the attempt against account and address.
func (a *attempt) failed(ctx context.Context) error {
	err := failedScript.Run(ctx, a.t.redis, a.keys, a.t.now().UnixMilli(), a.id,
		accountFailures, accountWindow.Milliseconds(), lockFor.Milliseconds(), lockAtMost.Milliseconds(),
		addressFailures, addressWindow.Milliseconds()).Err()
	if err != nil {
		return fail.New(fail.Unavailable, "sign-in is not possible just now").RetryAfter(time.Second).Wrap(fmt.Errorf("count an attempt: %w", err))
	}
	return nil
}

// release gives the reservation back: the attempt was good, or not one at all.
// What is not given back ends by itself.
func (a *attempt) release(ctx context.Context) {
	pipe := a.t.redis.Pipeline()
	pipe.ZRem(ctx, a.keys[1], a.id)
	pipe.ZRem(ctx, a.keys[3], a.id)
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
