package gateway

import (
	"time"

	"github.com/google/uuid"
)

// limitRule allows limit requests in period, all at once if need be: GCRA with
// a burst of the whole limit.
type limitRule struct {
	name    string
	limit   int64
	period  time.Duration
	account bool // counted by account instead of address
	strict  bool // every request is asked for: guesses and money
}

// leases is the part of a limit that an edge may admit before it tells Redis.
const leases = 20

// lease is how many requests of one key an edge keeps to itself; 1 makes the
// rule exact.
func (l limitRule) lease() int64 {
	if l.strict {
		return 1
	}
	return max(1, l.limit/leases)
}

// exact rules ask Redis about every request.
func (l limitRule) exact() bool { return l.lease() == 1 }

func (l limitRule) interval() time.Duration { return l.period / time.Duration(l.limit) }
func (l limitRule) burst() time.Duration    { return l.interval() * time.Duration(l.limit) }

// The numbers of the old system where it had any (1000 and 100 in 15 minutes).
var (
	limitAddress    = limitRule{name: "address", limit: 1000, period: 15 * time.Minute}
	limitAccount    = limitRule{name: "account", limit: 600, period: time.Minute, account: true}
	limitProbe      = limitRule{name: "probe", limit: 6000, period: time.Minute}          // /livez and /readyz: machines ask each second
	limitBadWebhook = limitRule{name: "webhook_bad", limit: 120, period: time.Minute}     // only callbacks with a bad signature count
	limitBadKey     = limitRule{name: "api_key_bad", limit: 60, period: 15 * time.Minute} // only API keys that are none of ours count

	// By the rate_class of a method's rule, beside the two above.
	limitClasses = map[string]limitRule{
		"credential": {name: "credential", limit: 100, period: 15 * time.Minute, strict: true},
		"register":   {name: "register", limit: 30, period: time.Hour, strict: true},
		"refresh":    {name: "refresh", limit: 200, period: 5 * time.Minute, strict: true},
		"payment":    {name: "payment", limit: 30, period: time.Minute, account: true, strict: true},
		"admin":      {name: "admin", limit: 200, period: time.Minute, account: true},
	}
)

// charge is one rule applied to one address or account.
type charge struct {
	rule limitRule
	key  string
}

// addressCharges are the limits of a request that need no token.
func addressCharges(prefix string, q *request) []charge {
	scope := "a:" + limitKey(q.client)
	if q.route != nil && q.route.probe {
		return []charge{newCharge(prefix, limitProbe, scope)}
	}
	if q.route != nil && q.route.raw {
		return nil // a provider sends thousands from one address; only bad signatures count against it
	}
	out := []charge{newCharge(prefix, limitAddress, scope)}
	if q.route != nil {
		if l, ok := limitClasses[q.route.rule.GetRateClass()]; ok && !l.account {
			out = append(out, newCharge(prefix, l, scope))
		}
	}
	return out
}

// accountCharges are those of a request with a genuine token.
func accountCharges(prefix string, q *request) []charge {
	if q.tokenErr != nil || q.caller == nil || q.caller.UserID == uuid.Nil || q.route == nil || q.route.rpc == "" {
		return nil
	}
	scope := "u:" + q.caller.UserID.String()
	out := []charge{newCharge(prefix, limitAccount, scope)}
	if l, ok := limitClasses[q.route.rule.GetRateClass()]; ok && l.account {
		out = append(out, newCharge(prefix, l, scope))
	}
	return out
}

func newCharge(prefix string, l limitRule, scope string) charge {
	return charge{rule: l, key: prefix + "rl:{" + scope + "}:" + l.name}
}
