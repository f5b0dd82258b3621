package gateway

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/manas360/platform/pkg/fail"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// maxSpoolTries is how often an event that audit fails alone is sent, while
// others pass, before it is given up.
const maxSpoolTries = 8

// sender carries the spool to audit, oldest first.
type sender struct {
	*denials

	audit eventv1.EventInboxServiceClient
	size  int // events in a batch; halved around one that fails as a whole
	tries int // of the event at the head, alone
}

// send delivers until ctx ends. What is not delivered waits on disk.
func (s *denials) send(audit eventv1.EventInboxServiceClient) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		to := &sender{denials: s, audit: audit, size: spoolBatch}
		wait, failing := sendAgain, false
		for {
			sent, err := to.once(ctx)
			switch {
			case ctx.Err() != nil:
				return nil //nolint:nilerr // asked to end; the rest waits on disk
			case err == nil && sent:
				wait, failing = sendAgain, false
				continue
			case err == nil:
				select {
				case <-ctx.Done():
					return nil
				case <-s.spool.written:
				}
				continue
			case !failing:
				failing = true
				s.log.Warn().Err(err).Msg("audit events of the edge wait")
			}
			pause(ctx, wait)
			wait = min(2*wait, sendAtMost)
		}
	}
}

// once delivers a batch; sent says that something has moved.
func (s *sender) once(ctx context.Context) (sent bool, err error) {
	events, at, end := s.spool.waiting(s.size)
	if at == nil {
		return false, nil
	}
	if len(events) == 0 { // nothing of it could be read
		s.spool.done(at, end)
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	resp, err := s.audit.Deliver(ctx, &eventv1.DeliverRequest{Events: events})
	if err == nil && len(resp.GetResults()) != len(events) {
		err = fmt.Errorf("%d results for %d events", len(resp.GetResults()), len(events))
	}
	if err != nil {
		return s.failed(at, end, events, err)
	}
	for i, res := range resp.GetResults() {
		switch res.GetOutcome() {
		case eventv1.DeliverResponse_Result_APPLIED, eventv1.DeliverResponse_Result_DUPLICATE:
		case eventv1.DeliverResponse_Result_REJECTED:
			s.giveUp(events[i], res.GetReason())
		default: // all of it again; what was applied is a duplicate then
			return false, fmt.Errorf("audit asks to try again: %s", res.GetReason())
		}
	}
	s.tries, s.size = 0, min(2*s.size, spoolBatch)
	s.spool.done(at, end)
	return true, nil
}

// failed halves a batch that audit answers but cannot bear, until one event is
// alone; that is given up after maxSpoolTries, since nothing behind it would ever
// arrive.
func (s *sender) failed(at *segment, end int64, events []*eventv1.Event, cause error) (bool, error) {
	n := len(events)
	cause = fmt.Errorf("deliver %d events: %w", n, cause)
	p, ok := fail.As(cause)
	if !ok || p.Kind.Code == codes.Unavailable || p.Kind.Code == codes.Unauthenticated || p.Kind.Code == codes.PermissionDenied {
		return false, cause
	}
	if n > 1 {
		s.size = n / 2
		return false, cause
	}
	if s.tries++; s.tries < maxSpoolTries || p.Kind.Code == codes.DeadlineExceeded {
		return false, cause
	}
	s.tries = 0
	s.giveUp(events[0], cause.Error())
	s.spool.done(at, end)
	return true, nil
}

// giveUp sets an event aside for a person.
func (s *sender) giveUp(ev *eventv1.Event, why string) {
	err := s.spool.setAside(ev)
	s.log.Error().Err(err).Hex("event_id", ev.GetId()).Str("reason", why).Msg("audit refuses an event of the edge")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused++
	if err != nil {
		s.lost++
	}
}
