package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

const (
	sweepEvery   = 5 * time.Second
	sweepBatch   = 100
	sweepAtOnce  = 4 // of a batch; more would only wait for each other on two cores
	sweepTimeout = 30 * time.Second
	lease        = time.Minute     // of a claim, longer than a batch takes
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

// sweep does what has become due. Safe in several processes at once: each claims
// its own, and each step is decided again under the user's lock.
func (s *Service) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	return errors.Join(
		s.sweepAll(ctx, s.due, s.sweepOne),
		s.sweepAll(ctx, s.duePurchases, s.sweepPurchase),
		s.walkAll(ctx),
	)
}

func (s *Service) sweepAll(ctx context.Context, due func(context.Context, time.Time, int) ([]dueRow, error), do func(context.Context, uuid.UUID) error) error {
	for {
		list, err := due(ctx, s.now(), sweepBatch)
		if err != nil {
			return err
		}
		errs := make([]error, len(list)) // one that cannot be done must not hold up the rest
		var all errgroup.Group
		all.SetLimit(sweepAtOnce)
		for i, d := range list {
			all.Go(func() error {
				errs[i] = do(ctx, d.ID)
				return nil
			})
		}
		_ = all.Wait() // the errors are kept by row
		if err := errors.Join(errs...); err != nil || len(list) < sweepBatch {
			return err
		}
	}
}

func (s *Service) sweepOne(ctx context.Context, subID uuid.UUID) error {
	sub, err := s.subscription(ctx, s.db.Pool, subID)
	if err != nil {
		return err
	}
	if sub.State == pendingState {
		return s.sweepPending(ctx, sub)
	}
	if sub.mandateOver() {
		if err := s.endMandate(ctx, sub); err != nil {
			return err
		}
	}
	err = s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		if sub, err = s.locked(ctx, tx, subID); err != nil {
			return err
		}
		return s.sweepLive(ctx, tx, &sub)
	})
	if err != nil {
		return err
	}
	s.outbox.Wake()
	if sub.ChargeStep == chargePlaced {
		return s.send(ctx, sub)
	}
	return nil
}

// sweepLive lets time do its work on a subscription, and tells its user of what
// is coming. What has nothing due any more is asleep until its next instant.
func (s *Service) sweepLive(ctx context.Context, tx txn, sub *subscription) error {
	wall := s.now()
	if err := s.pass(ctx, tx, sub, wall); err != nil {
		return err
	}
	if err := s.noticeDue(ctx, tx, sub, sub.at(wall)); err != nil {
		return err
	}
	if at := nextCharge(*sub); !at.IsZero() && !sub.at(wall).Before(at) && sub.ChargeStep == notCharged {
		if _, _, err := s.placeRenewal(ctx, tx, *sub); err != nil {
			return err
		}
		sub.ChargeStep = chargePlaced
	}
	return s.settleDue(ctx, tx, *sub)
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
