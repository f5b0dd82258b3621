package payment

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/services/payment/factstate"
)

const (
	lookAround    = 200 * time.Millisecond // when nobody wakes the worker
	eventLease    = 30 * time.Second       // then another worker takes it
	eventsAtOnce  = 8
	firstRetry    = 250 * time.Millisecond
	longestRetry  = 5 * time.Minute
	eventAttempts = 40 // some three hours, and the poller goes on without it
	lagAttempts   = 6  // for a status that lags behind its own callback
)

// confirm is the worker that finds out what callbacks mean. A provider that is
// slow about one order holds up one slot, not the others. It ends with ctx,
// once what it began has ended.
func (s *Service) confirm(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, eventsAtOnce)
	return s.every(ctx, s.received, func(ctx context.Context) (int, error) {
		free := cap(slots) - len(slots)
		if free == 0 {
			return 0, nil // whoever ends first wakes us
		}
		events, err := s.lease(ctx, free)
		for _, ev := range events {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots; s.wake() }()
				ctx, cancel := context.WithTimeout(ctx, callLimit+2*storeLimit)
				defer cancel()
				s.confirmOne(withRequestID(ctx, ev.RequestID), ev)
			})
		}
		return len(events), err
	})
}

func (s *Service) lease(ctx context.Context, limit int) ([]webhookEvent, error) {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	return s.leaseEvents(ctx, limit)
}

// wake makes the worker look now.
func (s *Service) wake() {
	select {
	case s.received <- struct{}{}:
	default: // it is awake already
	}
}

// every runs work until it finds nothing, then waits for wake or the next look.
func (s *Service) every(ctx context.Context, wake <-chan struct{}, work func(context.Context) (int, error)) error {
	tick := time.NewTicker(lookAround)
	defer tick.Stop()
	var quiet bool // the outage has been logged
	for {
		n, err := work(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			quiet = false
		case !fail.Is(err, fail.Unavailable):
			return err
		case !quiet:
			zerolog.Ctx(ctx).Warn().Err(err).Msg("worker waits for the database")
			quiet = true
		}
		if n > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-tick.C:
		}
	}
}

// withRequestID makes what follows from a callback carry the callback's id.
func withRequestID(ctx context.Context, requestID string) context.Context {
	return outbox.WithRequestID(rpc.WithRequestID(ctx, requestID), requestID)
}

func requestID(ctx context.Context) string {
	if c, ok := token.FromContext(ctx); ok && c.RequestID != "" {
		return c.RequestID
	}
	return rpc.RequestID(ctx)
}

// confirmOne never fails: whatever goes wrong, the callback is tried again.
func (s *Service) confirmOne(ctx context.Context, ev webhookEvent) {
	log := zerolog.Ctx(ctx).With().Stringer("event_id", ev.ID).Str("request_id", ev.RequestID).Logger()
	ctx = log.WithContext(ctx)
	err := s.understand(ctx, ev)
	if err == nil {
		return
	}
	if ctx.Err() == nil {
		log.Warn().Err(err).Int("attempts", ev.Attempts).Msg("callback not confirmed yet")
	}
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeLimit)
	defer cancel()
	if err := s.retryEvent(keep, ev, err); err != nil {
		log.Warn().Err(err).Msg("callback comes back when its lease ends")
	}
}

var errLag = errors.New("the order is still open by its status")

// understand finds out what a callback means, by what it is about. The callback
// decides nothing.
func (s *Service) understand(ctx context.Context, ev webhookEvent) error {
	if ev.Topic == "" { // kept before callbacks had topics
		ev.Topic, ev.Final = phonepeTopic(ev.Event), phonepeFinal(ev.Event)
	}
	switch ev.Topic {
	case topicOrder:
		return s.onOrder(ctx, ev)
	case topicRefund:
		return s.onRefund(ctx, ev)
	case topicDispute:
		return s.onDispute(ctx, ev)
	case topicMandate:
		return s.onMandate(ctx, ev)
	default:
		return s.unhandled(ctx, ev)
	}
}

const noHandler = "no part of this release handles it"

func (s *Service) unhandled(ctx context.Context, ev webhookEvent) error {
	return s.endEvent(ctx, ev, eventOrphan, noHandler)
}

// onOrder compares a callback with its order and asks the provider. A wrong
// callback is not even asked about.
func (s *Service) onOrder(ctx context.Context, ev webhookEvent) error {
	p, a, err := s.orderOf(ctx, ev.MerchantOrderID)
	if err != nil {
		return err
	}
	switch {
	case ev.Provider != p.Provider && ev.Provider != sandboxCode:
		return s.endEvent(ctx, ev, eventOrphan, "it speaks of another provider's order")
	case ev.ClaimedMinor != nil && *ev.ClaimedMinor != p.AmountMinor && !strings.HasPrefix(ev.Event, "pg.transaction."):
		return s.rejectEvent(ctx, ev, p, "amount")
	case ev.ClaimedCurrency != "" && ev.ClaimedCurrency != p.Currency:
		return s.rejectEvent(ctx, ev, p, "currency")
	case a.State == attemptSucceeded:
		return s.endEvent(ctx, ev, eventProcessed, "")
	}
	provider, ok := s.providers[p.Provider]
	if !ok {
		return errors.New("its provider is not configured")
	}
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	f, err := provider.status(call, sent(p, a))
	if err != nil {
		return err //nolint:wrapcheck // of our own kinds
	}
	if ev.Attempts < lagAttempts && (f.Kind == factstate.Unknown || f.Kind == factstate.Opened && ev.Final) {
		return errLag
	}
	_, err = s.applyFact(ctx, f, origin{by: byProvider, event: ev.ID})
	return err
}

// retryAfter doubles from a quarter of a second to five minutes.
func retryAfter(attempts int) time.Duration {
	if attempts > 12 {
		return longestRetry
	}
	return min(firstRetry<<max(attempts-1, 0), longestRetry)
}
