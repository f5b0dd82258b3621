package auth

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/trail"
)

// How many codes go out, identity.md row 37: an SMS costs money, and whoever
// takes a cut of it would like us to send many.
const (
	perRecipient = 5    // an hour
	perAddress   = 30   // SMS an hour: an office behind one IPv4 address, an IPv6 /64
	perNetwork   = 300  // SMS an hour: /24 and /48
	perCountry   = 5000 // SMS a day
)

// quota allows limit sends in window under a name.
type quota struct {
	name   string
	limit  int
	window time.Duration
}

// KEYS: one for each quota. ARGV: now, then limit and window (ms) of each. All
// of them count, or none: a refused send costs no quota. Gives the wait in ms.
var takeScript = redis.NewScript(`
local now, wait = tonumber(ARGV[1]), 0
local counts = {}
for i, key in ipairs(KEYS) do
  local limit, window = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local h = redis.call('HMGET', key, 'n', 'w')
  local n, since = tonumber(h[1] or '0'), tonumber(h[2] or '0')
  if now - since >= window then n, since = 0, now end
  if n >= limit then wait = math.max(wait, since + window - now) end
  counts[i] = {n + 1, since, window}
end
if wait > 0 then return wait end
for i, key in ipairs(KEYS) do
  redis.call('HSET', key, 'n', counts[i][1], 'w', string.format('%.0f', counts[i][2]))
  redis.call('PEXPIRE', key, counts[i][3])
end
return 0`)

// quotasOf are the quotas a code to a recipient counts against.
func quotasOf(claim string, to recipient, ip string) []quota {
	list := []quota{{"to " + claim, perRecipient, time.Hour}}
	if to.Channel == channelEmail {
		return list
	}
	return append(list,
		quota{"from " + addressBlock(ip), perAddress, time.Hour},
		quota{"from " + network(ip), perNetwork, time.Hour},
		quota{"country " + to.Country, perCountry, 24 * time.Hour})
}

// takeQuota counts one send. Fails with RATE_LIMITED, or UNAVAILABLE without
// Redis: what cannot be counted is not sent.
func (s *Service) takeQuota(ctx context.Context, list []quota) error {
	keys := make([]string, 0, len(list))
	argv := make([]any, 0, 2*len(list)+1)
	argv = append(argv, s.now().UnixMilli())
	for _, q := range list {
		keys = append(keys, s.c.Redis.Prefix+"auth:send:"+hex.EncodeToString(mac(s.secrets.throttle, "send", q.name)[:16]))
		argv = append(argv, q.limit, q.window.Milliseconds())
	}
	wait, err := takeScript.Run(ctx, s.redis, keys, argv...).Int64()
	if err != nil {
		return fail.New(fail.Unavailable, "codes cannot be sent just now").RetryAfter(time.Second).Wrap(fmt.Errorf("count a send: %w", err))
	}
	if wait > 0 {
		return fail.New(fail.RateLimited, "too many codes have been sent, wait a while").RetryAfter(time.Duration(wait) * time.Millisecond)
	}
	return nil
}

// network is the neighbourhood of an address: /24, or /48.
func network(ip string) string {
	if p := trail.Network(ip); p != "" {
		return p
	}
	return "unknown"
}
