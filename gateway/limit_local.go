package gateway

import (
	"sync"
	"time"
)

// maxLocalKeys bounds each map of the local limiter, some 20 MiB when full. An
// attacker with more addresses than that, while Redis is away, gains a fresh
// start for some of them.
const maxLocalKeys = 100_000

// localLimiter is GCRA in memory, by the same numbers as limit.lua.
type localLimiter struct {
	mu    sync.Mutex           // guards all below
	keys  map[string]*account  // by key
	until map[string]time.Time // refused for certain until then
	fresh []*account           // with something to tell
}

// account is where one key stands.
type account struct {
	charge
	tat     time.Time // theoretical arrival time
	untold  int64     // admitted here, not yet told to Redis
	telling int64     // admitted here, on its way to Redis
	waiting bool      // it is in fresh
}

func newLocalLimiter() *localLimiter {
	return &localLimiter{keys: map[string]*account{}, until: map[string]time.Time{}}
}

// reserve counts a request against all rules, or none when one of them refuses.
// An edge keeps no more than a lease of a wide rule to itself: unless forced,
// what must be told first is taken out and answered instead, and nothing is
// counted.
func (l *localLimiter) reserve(charges []charge, now time.Time, force bool) (out []standing, due []told) {
	l.mu.Lock()
	defer l.mu.Unlock()
	accounts := make([]*account, len(charges))
	out = make([]standing, len(charges))
	all := true
	for i, c := range charges {
		a := l.account(c, now)
		accounts[i] = a
		a.tat = later(a.tat, now)
		out[i] = standing{charge: c, allowed: true}
		if over := a.tat.Add(c.rule.interval()).Sub(now) - c.rule.burst(); over > 0 {
			out[i].allowed, out[i].retry, all = false, over, false
		}
	}
	if all && !force {
		if due = takeFull(accounts); len(due) > 0 {
			return out, due
		}
	}
	for i, a := range accounts {
		if all {
			a.tat = a.tat.Add(a.rule.interval())
			l.untell(a)
		}
		out[i].reset = a.tat.Sub(now)
		out[i].remaining = max(0, int64((a.rule.burst()-out[i].reset)/a.rule.interval()))
	}
	return out, nil
}

// takeFull takes out the untold of accounts whose lease is used up; 0 where it
// is all on its way: then the news from Redis is worth the trip.
func takeFull(accounts []*account) []told {
	var due []told
	for _, a := range accounts {
		if !a.rule.exact() && a.untold+a.telling >= a.rule.lease() {
			due = append(due, a.takeOut())
		}
	}
	return due
}

func (a *account) takeOut() told {
	n := a.untold
	a.untold, a.telling = 0, a.telling+n
	return told{charge: a.charge, n: n}
}

// untell notes an admitted request for Redis, which hears of exact ones by
// being asked.
func (l *localLimiter) untell(a *account) {
	if a.rule.exact() {
		return
	}
	a.untold++
	l.enqueue(a)
}

// refund takes back a reservation that the exact rule, asked last, has refused.
func (l *localLimiter) refund(all []standing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range all {
		a, ok := l.keys[s.key]
		if !ok {
			continue
		}
		a.tat = a.tat.Add(-a.rule.interval())
		if a.untold > 0 { // else Redis has heard of it: one less for the client, once
			a.untold--
		}
	}
}

// pressed reports whether a lease of these charges is half used up.
func (l *localLimiter) pressed(charges []charge) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range charges {
		if a, ok := l.keys[c.key]; ok && !c.rule.exact() && 2*a.untold >= c.rule.lease() {
			return true
		}
	}
	return false
}

// dirty takes out what is untold, n keys at most.
func (l *localLimiter) dirty(n int) []told {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = min(n, len(l.fresh))
	out := make([]told, 0, n)
	for _, a := range l.fresh[:n] {
		a.waiting = false
		if a.untold > 0 {
			out = append(out, a.takeOut())
		}
	}
	l.fresh = append(l.fresh[:0:0], l.fresh[n:]...)
	return out
}

// putBack returns what could not be told.
func (l *localLimiter) putBack(news []told) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range news {
		if a, ok := l.keys[n.key]; ok {
			a.untold, a.telling = a.untold+n.n, max(0, a.telling-n.n)
			l.enqueue(a)
		}
	}
}

// learn takes over where Redis says the keys stand, and what was admitted here
// since it was told.
func (l *localLimiter) learn(news []told, got []heard, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, n := range news {
		if a, ok := l.keys[n.key]; ok {
			a.telling = max(0, a.telling-n.n)
			a.tat = later(a.tat, now.Add(got[i].reset+time.Duration(a.untold)*a.rule.interval()))
		}
	}
}

func (l *localLimiter) enqueue(a *account) {
	if !a.waiting {
		a.waiting = true
		l.fresh = append(l.fresh, a)
	}
}

func (l *localLimiter) block(key string, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	makeRoom(l.until, key, func(t time.Time) bool { return !t.After(until) })
	l.until[key] = until
}

func (l *localLimiter) blocked(key string, now time.Time) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	until, ok := l.until[key]
	if ok && !until.After(now) {
		delete(l.until, key)
		return time.Time{}, false
	}
	return until, ok
}

func (l *localLimiter) account(c charge, now time.Time) *account {
	a, ok := l.keys[c.key]
	if !ok {
		makeRoom(l.keys, c.key, func(a *account) bool { return !a.tat.After(now) && a.untold+a.telling == 0 })
		a = &account{charge: c}
		l.keys[c.key] = a
	}
	return a
}

// makeRoom keeps m within bounds: what is over goes first, else anything.
func makeRoom[V any](m map[string]V, key string, over func(V) bool) {
	if _, known := m[key]; known || len(m) < maxLocalKeys {
		return
	}
	for k, v := range m {
		if over(v) {
			delete(m, k)
		}
	}
	for k := range m {
		if len(m) < maxLocalKeys*9/10 {
			return
		}
		delete(m, k)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
