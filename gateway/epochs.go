package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

const (
	pollEvery    = 500 * time.Millisecond
	pollTimeout  = 2 * time.Second
	pollOverlap  = 30 * time.Second // events commit out of order of their time, never by more
	pollPage     = 1000
	sweepEvery   = 30 * time.Second
	staleAfter   = 2 * time.Second // without news from auth or Redis: identity.md 6.3
	pushSilence  = time.Second     // then Redis is asked whether it is still there
	channelAuthz = "authz"         // after the key prefix
)

// epochs is what makes a token dead or out of date before its time. Auth's
// table is the truth: polled whole at start, then by time; Redis only brings
// the news sooner. Memory is bounded by recent changes: entries go when no
// token they could concern is left.
type epochs struct {
	auth    authv1.AuthInternalServiceClient
	redis   *redis.Client
	channel string
	now     func() time.Time
	log     zerolog.Logger
	every   time.Duration                // between two polls
	onNews  func(authv1.AuthzEvent_Kind) // of keys and roles; once for each event

	loaded   atomic.Bool
	polled   atomic.Int64 // Unix nanoseconds of the last good poll
	pushed   atomic.Int64 // and of the last sign of life of the push channel
	mu       sync.RWMutex // guards all below
	sessions map[uuid.UUID]time.Time
	revoked  map[uuid.UUID]floor
	stale    map[uuid.UUID]floor
	told     map[int64]time.Time // events of keys and roles, by seq
}

// floor is the smallest epoch still good.
type floor struct {
	min   int64
	until time.Time
}

func newEpochs(auth authv1.AuthInternalServiceClient, rdb *redis.Client, prefix string, now func() time.Time, log zerolog.Logger) *epochs {
	return &epochs{
		auth: auth, redis: rdb, channel: prefix + channelAuthz, now: now, log: log, every: pollEvery,
		onNews:   func(authv1.AuthzEvent_Kind) {},
		told:     map[int64]time.Time{},
		sessions: map[uuid.UUID]time.Time{},
		revoked:  map[uuid.UUID]floor{},
		stale:    map[uuid.UUID]floor{},
	}
}

// check fails with TOKEN_REVOKED or TOKEN_STALE; UNAVAILABLE until the first
// load, because nothing is known then.
func (e *epochs) check(c *token.Caller) error {
	if !e.loaded.Load() {
		return starting()
	}
	e.mu.RLock()
	_, ended := e.sessions[c.SessionID]
	dead, stale := e.revoked[c.UserID], e.stale[c.UserID]
	e.mu.RUnlock()
	switch {
	case ended, c.Epoch < dead.min:
		return fail.New(fail.TokenRevoked, "this session has ended")
	case c.Epoch < stale.min:
		return fail.New(fail.TokenStale, "your permissions have changed; refresh the token")
	default:
		return nil
	}
}

func starting() error {
	return fail.New(fail.Unavailable, "starting, try again").RetryAfter(time.Second)
}

// fresh fails when neither auth nor Redis has been heard of lately, so that a
// revocation might be missed. Only sensitive routes ask; the others live until
// their tokens expire.
func (e *epochs) fresh(now time.Time) error {
	if e.staleness(now) > staleAfter {
		return fail.New(fail.Unavailable, "cannot check the session just now").RetryAfter(time.Second)
	}
	return nil
}

// staleness is how long ago the table was last known to be complete.
func (e *epochs) staleness(now time.Time) time.Duration {
	last := max(e.polled.Load(), e.pushed.Load())
	return now.Sub(time.Unix(0, last))
}

func (e *epochs) apply(events ...*authv1.AuthzEvent) {
	for _, kind := range e.enter(events) {
		e.onNews(kind)
	}
}

// enter takes events into the table, and gives the kinds of those that say only
// that something is to be fetched.
func (e *epochs) enter(events []*authv1.AuthzEvent) (news []authv1.AuthzEvent_Kind) {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range events {
		key, err := uuid.FromBytes(ev.GetKey())
		until := ev.GetExpiresAt().AsTime()
		if err != nil || !until.After(now) {
			continue
		}
		switch ev.GetKind() {
		case authv1.AuthzEvent_SESSION_REVOKED:
			e.sessions[key] = until
		case authv1.AuthzEvent_ACCOUNT_REVOKED:
			e.revoked[key] = e.revoked[key].raise(ev.GetMinEpoch(), until)
		case authv1.AuthzEvent_ACCOUNT_STALE:
			e.stale[key] = e.stale[key].raise(ev.GetMinEpoch(), until)
		case authv1.AuthzEvent_ROLES_CHANGED, authv1.AuthzEvent_KEYS_CHANGED:
			if _, known := e.told[ev.GetSeq()]; !known { // the poll repeats itself
				e.told[ev.GetSeq()] = until
				news = append(news, ev.GetKind())
			}
		case authv1.AuthzEvent_KIND_UNSPECIFIED:
			e.log.Error().Int64("seq", ev.GetSeq()).Msg("authz event of unknown kind")
		}
	}
	return news
}

// raise never lowers: the poll repeats old events after new ones.
func (f floor) raise(minEpoch int64, until time.Time) floor {
	if until.Before(f.until) {
		until = f.until
	}
	return floor{min: max(f.min, minEpoch), until: until}
}

func (e *epochs) sweep() {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for k, until := range e.sessions {
		if !until.After(now) {
			delete(e.sessions, k)
		}
	}
	for k, until := range e.told {
		if !until.After(now) {
			delete(e.told, k)
		}
	}
	for _, m := range []map[uuid.UUID]floor{e.revoked, e.stale} {
		for k, f := range m {
			if !f.until.After(now) {
				delete(m, k)
			}
		}
	}
}

// poll asks auth twice a second until ctx ends.
func (e *epochs) poll(ctx context.Context) error {
	tick := time.NewTicker(e.every)
	defer tick.Stop()
	var since *timestamppb.Timestamp
	swept := e.now()
	failing := false
	for {
		next, err := e.pollOnce(ctx, since)
		switch {
		case err == nil:
			since = next
			e.polled.Store(e.now().UnixNano())
			e.loaded.Store(true)
			failing = false
		case ctx.Err() != nil:
			return nil
		case !failing: // once, not twice a second
			failing = true
			e.log.Warn().Err(err).Msg("authz events not polled")
		}
		if e.now().Sub(swept) > sweepEvery {
			e.sweep()
			swept = e.now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (e *epochs) pollOnce(ctx context.Context, since *timestamppb.Timestamp) (next *timestamppb.Timestamp, err error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	req := &authv1.ListAuthzEventsRequest{Since: since, PageSize: pollPage}
	for {
		page, err := e.auth.ListAuthzEvents(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("list authz events: %w", err)
		}
		e.apply(page.GetEvents()...)
		if next == nil { // of the first page: what came after it is asked for again
			next = timestamppb.New(page.GetNow().AsTime().Add(-pollOverlap))
		}
		if page.GetNextPageToken() == "" {
			return next, nil
		}
		req.PageToken = page.GetNextPageToken()
	}
}

// push listens to Redis until ctx ends. A dead channel costs nothing but the
// half second until the next poll.
func (e *epochs) push(ctx context.Context) error {
	sub := e.redis.Subscribe(ctx, e.channel)
	defer func() {
		if err := sub.Close(); err != nil {
			e.log.Debug().Err(err).Msg("authz channel not closed")
		}
	}()
	for ctx.Err() == nil {
		got, err := sub.ReceiveTimeout(ctx, pushSilence)
		var silence net.Error
		switch {
		case errors.As(err, &silence) && silence.Timeout():
			if err := sub.Ping(ctx); err != nil {
				pause(ctx, pushSilence)
			}
		case err != nil:
			pause(ctx, pushSilence)
		default:
			e.pushed.Store(e.now().UnixNano())
			if m, ok := got.(*redis.Message); ok {
				e.receive(m.Payload)
			}
		}
	}
	return nil
}

func (e *epochs) receive(payload string) {
	var ev authv1.AuthzEvent
	if err := proto.Unmarshal([]byte(payload), &ev); err != nil {
		e.log.Error().Err(err).Msg("authz message not understood")
		return
	}
	e.apply(&ev)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
