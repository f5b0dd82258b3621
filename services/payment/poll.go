package payment

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/services/payment/factstate"
)

const (
	firstPoll    = 22 * time.Second // PhonePe: between 20 and 25 s
	pollLease    = 30 * time.Second
	pollsAtOnce  = 4 // each 200 ms at most: 20 calls a second after an outage
	expiryMargin = 10 * time.Minute
	pollingEnds  = 72 * time.Hour
	outagePause  = 30 * time.Second // of a provider that does not answer: the pace, not the pause, spares it
)

// schedule is PhonePe's table: how often to ask until so long after opening.
var schedule = []struct{ until, every time.Duration }{
	{firstPoll + 30*time.Second, 3 * time.Second},
	{firstPoll + 90*time.Second, 6 * time.Second},
	{firstPoll + 150*time.Second, 10 * time.Second},
	{firstPoll + 210*time.Second, 30 * time.Second},
	{orderLife + time.Minute, time.Minute},
	{orderLife + 15*time.Minute, 5 * time.Minute},
	{orderLife + time.Hour, 15 * time.Minute},
	{orderLife + 6*time.Hour, time.Hour},
	{pollingEnds, 6 * time.Hour},
}

// nextPoll gives the pause before an order is asked about again, by its age;
// false when a person must look instead.
func nextPoll(age time.Duration) (time.Duration, bool) {
	if age < firstPoll {
		return firstPoll - age, true
	}
	for _, row := range schedule {
		if age < row.until {
			return row.every, true
		}
	}
	return 0, false
}

// poll is the worker that asks about open orders: callbacks get lost.
func (s *Service) poll(ctx context.Context) error {
	return s.every(ctx, nil, func(ctx context.Context) (int, error) {
		_, err := s.pollBatch(ctx)
		return 0, err // never at once again: the pace is bounded
	})
}

func (s *Service) pollBatch(ctx context.Context) (int, error) {
	claim, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	due, err := s.leasePolls(claim)
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	for _, a := range due {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, callLimit+2*storeLimit)
			defer cancel()
			if err := s.pollOne(ctx, a); err != nil && ctx.Err() == nil {
				zerolog.Ctx(ctx).Warn().Err(err).Str("merchant_order_id", a.MerchantOrderID).Msg("order not polled")
			}
		})
	}
	wg.Wait()
	return len(due), nil
}

// pollOne asks about one order and sets when to ask again.
func (s *Service) pollOne(ctx context.Context, a attempt) error {
	opened := s.now()
	if a.SubmittedAt != nil {
		opened = *a.SubmittedAt
	}
	asked := s.askAbout(ctx, a, origin{by: byProvider})
	pause, again := nextPoll(s.now().Sub(opened))
	if !again {
		if err := s.review(ctx, a.PaymentID); err != nil {
			return err
		}
		zerolog.Ctx(ctx).Error().Stringer("payment_id", a.PaymentID).Msg("payment undecided for days, a person must look")
		return errors.Join(asked, s.setPoll(ctx, a.MerchantOrderID, nil))
	}
	if asked != nil {
		pause = min(pause, outagePause)
	}
	at := s.now().Add(pause)
	return errors.Join(asked, s.setPoll(ctx, a.MerchantOrderID, &at))
}

// askAbout asks the provider about an order now and takes what it says. An
// order it does not know lapses only when it can no longer come to know it.
func (s *Service) askAbout(ctx context.Context, a attempt, from origin) error {
	p, err := s.payment(ctx, a.PaymentID)
	if err != nil {
		return err
	}
	provider, ok := s.providers[p.Provider]
	if !ok {
		return errors.New("its provider is not configured")
	}
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	f, err := provider.status(call, sent(p, a))
	if errors.Is(err, errNoOrder) {
		if a.SubmittedAt == nil || s.now().Before(a.SubmittedAt.Add(orderLife+expiryMargin)) {
			return nil
		}
		f, err = fact{Kind: factstate.Lapsed, MerchantOrderID: a.MerchantOrderID, Currency: p.Currency, FailureCode: "ORDER_NOT_FOUND"}, nil
	}
	if err != nil {
		return fail.New(fail.PaymentProviderUnavailable, "the payment provider does not answer").RetryAfter(providerAge).Wrap(err)
	}
	_, err = s.applyFact(ctx, f, from)
	return err
}

// sync asks the provider now on behalf of the one who pays.
func (s *Service) sync(ctx context.Context, p payment) (payment, error) {
	a, err := s.attempt(ctx, s.db.Pool, p.MerchantOrderID)
	if err != nil {
		return payment{}, err
	}
	// What was never sent, and what is paid, nobody has news of.
	if a.State != attemptPrepared && a.State != attemptSucceeded {
		if err := s.askAbout(ctx, a, origin{by: byUser, userID: p.UserID}); err != nil {
			return payment{}, err
		}
	}
	return s.payment(ctx, p.ID)
}
