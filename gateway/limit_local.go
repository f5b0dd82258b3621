package gateway

import (
	"sync"
	"time"
)

// maxLocalKeys bounds each map of the local limiter, some 10 MiB when full. An
// attacker with more addresses than that, while Redis is away, gains a fresh
// start for some of them.
const maxLocalKeys = 100_000

// localLimiter is GCRA in memory, by the same numbers as limit.lua.
type localLimiter struct {
	mu    sync.Mutex           // guards all below
	tat   map[string]time.Time // theoretical arrival time by key
	until map[string]time.Time // refused for certain until then
}

func newLocalLimiter() *localLimiter {
	return &localLimiter{tat: map[string]time.Time{}, until: map[string]time.Time{}}
}

func (l *localLimiter) take(charges []charge, now time.Time) []standing {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]standing, len(charges))
	all := true
	for i, c := range charges {
		tat := later(l.tat[c.key], now)
		out[i] = standing{charge: c, allowed: true}
		if over := tat.Add(c.rule.interval()).Sub(now) - c.rule.burst(); over > 0 {
			out[i].allowed, out[i].retry, all = false, over, false
		}
	}
	for i, c := range charges {
		tat := later(l.tat[c.key], now)
		if all {
			tat = tat.Add(c.rule.interval())
			l.store(l.tat, c.key, tat, now)
		}
		out[i].reset = tat.Sub(now)
		out[i].remaining = int64((c.rule.burst() - out[i].reset) / c.rule.interval())
	}
	return out
}

// force counts what Redis has admitted.
func (l *localLimiter) force(charges []charge, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range charges {
		tat := later(l.tat[c.key], now).Add(c.rule.interval())
		// What other edges admitted is not known here, so Redis may allow more
		// than we would; never be stricter than full.
		if full := now.Add(c.rule.burst()); tat.After(full) {
			tat = full
		}
		l.store(l.tat, c.key, tat, now)
	}
}

func (l *localLimiter) block(key string, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store(l.until, key, until, until)
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

// store makes room first: what lies in the past, else anything.
func (l *localLimiter) store(m map[string]time.Time, key string, at, now time.Time) {
	if _, known := m[key]; !known && len(m) >= maxLocalKeys {
		for k, t := range m {
			if !t.After(now) {
				delete(m, k)
			}
		}
		for k := range m {
			if len(m) < maxLocalKeys*9/10 {
				break
			}
			delete(m, k)
		}
	}
	m[key] = at
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
