package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
)

const (
	sweepEvery   = 5 * time.Second
	sweepBatch   = 50
	sweepTimeout = 30 * time.Second
	askAgain     = time.Hour       // an order whose payment is still undecided
	askSoon      = 5 * time.Minute // payment did not answer
)

// sweepForever does what has become due, until ctx ends. Reads never wait for
// it: they go by time.
func (s *Service) sweepForever(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("sweep incomplete")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sweep ends what has run out. Safe in several processes at once: each step is
// decided again under the user's lock.
func (s *Service) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	return errors.Join(s.sweepAll(ctx, s.due, s.sweepOne), s.sweepAll(ctx, s.duePurchases, s.sweepPurchase))
}

func (s *Service) sweepAll(ctx context.Context, due func(context.Context, time.Time, int) ([]dueRow, error), do func(context.Context, uuid.UUID) error) error {
	for {
		list, err := due(ctx, s.now(), sweepBatch)
		if err != nil {
			return err
		}
		var errs []error
		for _, d := range list { // one that cannot be done must not hold up the rest
			if err := do(ctx, d.ID); err != nil {
				errs = append(errs, err)
			}
		}
		if len(errs) > 0 || len(list) < sweepBatch {
			return errors.Join(errs...)
		}
	}
}

func (s *Service) sweepOne(ctx context.Context, subID uuid.UUID) error {
	sub, err := s.subscription(ctx, s.db.Pool, subID)
	if err != nil {
		return err
	}
	switch {
	case sub.State == pendingState:
		return s.sweepPending(ctx, sub)
	case sub.ended(s.now()):
		return s.expire(ctx, subID)
	default:
		return s.postpone(ctx, subID, s.now().Add(askAgain))
	}
}

// sweepPending ends an order nobody paid. While payment does not know whether
// money will come, the order stays open.
func (s *Service) sweepPending(ctx context.Context, sub subscription) error {
	pay, err := s.payment.find(ctx, sub.ID)
	switch {
	case errors.Is(err, errNone): // the customer never learned where to pay
		return s.abandon(ctx, sub.ID, "never paid", serviceActor(schema))
	case err != nil:
		zerolog.Ctx(ctx).Warn().Err(err).Stringer("subscription_id", sub.ID).Msg("payment does not answer")
		return s.postpone(ctx, sub.ID, s.now().Add(askSoon))
	case pay.failed():
		return s.abandon(ctx, sub.ID, "payment "+pay.State, serviceActor(schema))
	default:
		return s.postpone(ctx, sub.ID, s.now().Add(askAgain))
	}
}

// expire ends a paid subscription whose time is over and gives its user Free
// again.
func (s *Service) expire(ctx context.Context, subID uuid.UUID) error {
	by := serviceActor(schema)
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		sub, err := s.locked(ctx, tx, subID)
		if err != nil {
			return err
		}
		now := s.now()
		if sub.State != activeState || !sub.ended(now) {
			return nil // somebody was faster
		}
		if err := s.end(ctx, tx, &sub, expiredState, "time is over", now); err != nil {
			return err
		}
		if err := s.outbox.Append(ctx, tx, audit(ctx, "subscription.expired", by, sub, now,
			change{"state", activeState, sub.State})); err != nil {
			return err
		}
		return s.giveFree(ctx, tx, sub.UserID, by)
	})
	if err != nil {
		return err
	}
	s.outbox.Wake()
	return nil
}
