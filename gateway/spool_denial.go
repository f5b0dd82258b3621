package gateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/trail"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

const (
	denialWindow = 10 * time.Second       // of refusals that are told of as one
	maxDenials   = 2000                   // kinds in a window; the rest is told of without address and person
	groupCommit  = 20 * time.Millisecond  // of waiting for others to share an fsync
	otherRoutes  = "other"                // stands for what the rest was
	sendAgain    = 200 * time.Millisecond // after audit was not reached, doubled to sendAtMost
	sendAtMost   = 10 * time.Second
	sendTimeout  = 6 * time.Second
)

// denied are the codes of refusals worth a record: of those who try what they may
// not. That a token has run out, or that somebody has not signed in, is every
// day's business.
var denied = map[string]bool{
	fail.InvalidToken.Reason: true, fail.TokenRevoked.Reason: true, fail.PermissionDenied.Reason: true,
	fail.CSRFFailed.Reason: true, fail.RateLimited.Reason: true,
}

// denials counts what the edge refuses, so that a flood of refusals is a line
// each window and not one each. The first of a kind is told of at once; a kill
// loses at most the number of those that followed it within the window.
type denials struct {
	spool *Spool
	ids   *id.Maker
	now   func() time.Time
	log   zerolog.Logger
	bell  chan struct{} // something waits for the disk

	mu      sync.Mutex // guards all below; never held over anything slow
	window  map[denial]*repeats
	pending []*eventv1.Event
	lost    int64 // events, for want of room in pending
	refused int64 // events audit will not have
}

// repeats are those after the first.
type repeats struct {
	n         int64
	since     time.Time
	requestID string
}

func newDenials(s *Spool, ids *id.Maker, now func() time.Time, log zerolog.Logger) *denials {
	return &denials{spool: s, ids: ids, now: now, log: log, bell: make(chan struct{}, 1), window: map[denial]*repeats{}}
}

// refusedAt records a refusal of the edge's own, if it is worth a record. It
// neither waits nor fails.
func (e *Edge) refusedAt(method string, q *request, err error) {
	if e.denials == nil {
		return
	}
	reason := asProblem(err).Kind.Reason
	if !denied[reason] {
		return
	}
	d := denial{route: methodLabel(method) + " " + q.pattern, reason: reason, prefix: trail.Network(q.client.String())}
	if q.caller.SignedIn() { // nobody has signed in with a token that is not genuine
		d.user = q.caller.UserID
	}
	e.denials.count(d, q.id)
}

func (s *denials) count(d denial, requestID string) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, known := s.window[d]; known {
		r.add(requestID, now)
		return
	}
	if len(s.window) >= maxDenials {
		d = denial{route: otherRoutes, reason: d.reason, user: uuid.Nil}
		if r, known := s.window[d]; known {
			r.add(requestID, now)
			return
		}
	}
	s.window[d] = &repeats{}
	s.tell(d, 1, requestID, now)
}

func (r *repeats) add(requestID string, now time.Time) {
	if r.n == 0 {
		r.since, r.requestID = now, requestID
	}
	r.n++
}

// tell hands an event to the disk. Called under mu.
func (s *denials) tell(d denial, n int64, requestID string, at time.Time) {
	ev, err := d.event(s.ids.New(), n, requestID, at)
	if err != nil || len(s.pending) >= spoolPending {
		s.lost++
		return
	}
	s.pending = append(s.pending, ev)
	ring(s.bell)
}

// turnOver tells of what was repeated since the last window. A kind that goes on
// stays known, so that it goes on being one event a window.
func (s *denials) turnOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, r := range s.window {
		if r.n == 0 {
			delete(s.window, d)
			continue
		}
		s.tell(d, r.n, r.requestID, r.since)
		*r = repeats{}
	}
}

// flush writes what waits.
func (s *denials) flush() {
	s.mu.Lock()
	list := s.pending
	s.pending = nil
	s.mu.Unlock()
	s.spool.write(list)
}

// write keeps the disk up to date until ctx ends, and at its end leaves nothing
// in memory.
func (s *denials) write(ctx context.Context) error {
	tick := time.NewTicker(denialWindow)
	defer tick.Stop()
	group := time.NewTimer(groupCommit)
	defer group.Stop()
	for {
		select {
		case <-ctx.Done():
			s.turnOver()
			s.flush()
			return nil
		case <-tick.C:
			s.turnOver()
			continue
		case <-s.bell:
		}
		group.Reset(groupCommit) // others join
		select {
		case <-ctx.Done():
		case <-group.C:
		}
		s.flush()
	}
}

// spoolDir is where the spool lies when nobody says. In development two edges of
// one machine must not share it.
func (c Config) spoolDir() string {
	switch {
	case c.SpoolDir != "":
		return c.SpoolDir
	case c.Production():
		return "/var/lib/manas360/edge"
	default:
		return filepath.Join(os.TempDir(), fmt.Sprintf("manas360-edge-%d", c.Port))
	}
}

// metrics are what an operator watches: lost must stay 0, and the oldest be
// seconds old.
func (s *denials) metrics() []prometheus.Collector {
	counter := func(name, help string, get func() int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(get()) })
	}
	own := func(n *int64) int64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return *n
	}
	return []prometheus.Collector{
		counter("gateway_spool_lost_events_total", "Audit events of the edge that could not be kept.", func() int64 {
			_, lost, _ := s.spool.standing()
			return lost + own(&s.lost)
		}),
		counter("gateway_spool_refused_events_total", "Audit events of the edge that audit refused for good.", func() int64 { return own(&s.refused) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gateway_spool_bytes", Help: "Audit events of the edge that wait on disk."}, func() float64 {
			n, _, _ := s.spool.standing()
			return float64(n)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gateway_spool_oldest_seconds", Help: "Age of the oldest segment that waits."}, func() float64 {
			_, _, oldest := s.spool.standing()
			return oldest.Seconds()
		}),
	}
}
