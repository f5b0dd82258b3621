package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/trail"
)

const (
	clockStride = 5 * 366 * 24 * time.Hour // a clock moves at most so far at once
	clockSteps  = 2000                     // in one call; the sweeper goes on
)

// testClock is a frozen time for the subscriptions made under it.
type testClock struct {
	ID        string
	FrozenAt  time.Time
	Target    *time.Time // where it is going; nil unless it moves
	CreatedAt time.Time
}

// clockTime gives the time that a new order lives in: its test clock's, or the
// real one.
func (s *Service) clockTime(ctx context.Context, q querier, clockID *string, wall time.Time) (time.Time, error) {
	if clockID == nil {
		return wall, nil
	}
	if !s.testClocks {
		return wall, fail.New(fail.InvalidArgument, "there are no test clocks here").Field("testClockId", "is not known")
	}
	c, err := s.testClock(ctx, q, *clockID)
	switch {
	case errors.Is(err, errNone):
		return wall, fail.New(fail.InvalidArgument, "there is no such test clock").Field("testClockId", "is not known")
	case err != nil:
		return wall, err
	case c.Target != nil:
		return wall, fail.New(fail.Conflict, "the test clock is moving")
	}
	return c.FrozenAt, nil
}

func (s *Service) makeClock(ctx context.Context, by uuid.UUID, at time.Time) (testClock, error) {
	if at.Year() < 2000 || at.Year() > 2100 {
		return testClock{}, fail.New(fail.InvalidArgument, "the time is out of range").Field("frozenAt", "must lie between 2000 and 2100")
	}
	c := testClock{ID: id.Format("clk", s.ids.New()), FrozenAt: at, CreatedAt: s.now()}
	return c, s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		if err := s.insertClock(ctx, tx, c, by); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditClock(ctx, trail.TestClockCreated, c, s.now()))
	})
}

// knownClock reads a clock. Fails with NOT_FOUND.
func (s *Service) knownClock(ctx context.Context, clockID string) (testClock, error) {
	c, err := s.testClock(ctx, s.db.Pool, clockID)
	if errors.Is(err, errNone) {
		return c, fail.New(fail.NotFound, "there is no such test clock")
	}
	return c, err
}

// advanceClock sends a clock on its way and walks with it for a while.
func (s *Service) advanceClock(ctx context.Context, clockID string, to time.Time) (testClock, error) {
	c, err := s.knownClock(ctx, clockID)
	if err != nil {
		return c, err
	}
	switch {
	case c.Target != nil:
		return c, fail.New(fail.Conflict, "the test clock is moving already")
	case !to.After(c.FrozenAt):
		return c, fail.New(fail.InvalidArgument, "time does not run backwards").Field("to", "must be after frozenAt")
	case to.Sub(c.FrozenAt) > clockStride:
		return c, fail.New(fail.InvalidArgument, "that is too far").Field("to", "must be at most 5 years after frozenAt")
	}
	err = s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		sent, err := s.sendClock(ctx, tx, clockID, c.FrozenAt, to, s.now())
		if err != nil {
			return err
		}
		if !sent {
			return fail.New(fail.Conflict, "the test clock is moving already")
		}
		return s.outbox.Append(ctx, tx, auditClock(ctx, trail.TestClockAdvanced, c, s.now(), change{"frozenAt", c.FrozenAt, to}))
	})
	if err != nil {
		return c, err
	}
	if err := s.walk(ctx, clockID); err != nil { // the sweeper goes on with it
		zerolog.Ctx(ctx).Warn().Err(err).Str("test_clock_id", clockID).Msg("test clock held up")
	}
	return s.testClock(ctx, s.db.Pool, clockID)
}

// walk lets what falls due under a moving clock happen in order, each at its own
// instant, until the clock has arrived or the call has done enough.
func (s *Service) walk(ctx context.Context, clockID string) error {
	for range clockSteps {
		c, err := s.testClock(ctx, s.db.Pool, clockID)
		if err != nil || c.Target == nil {
			return err
		}
		next, err := s.clockDue(ctx, clockID, *c.Target)
		if errors.Is(err, errNone) {
			return s.arrive(ctx, clockID)
		}
		if err != nil {
			return err
		}
		if next.DueAt.After(c.FrozenAt) {
			if err := s.moveClock(ctx, clockID, next.DueAt); err != nil {
				return err
			}
		}
		if err := s.sweepOne(ctx, next.ID); err != nil {
			return err
		}
	}
	return nil
}

// walkAll goes on with the clocks that a call has left moving.
func (s *Service) walkAll(ctx context.Context) error {
	moving, err := s.movingClocks(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range moving {
		errs = append(errs, s.walk(ctx, c.ID))
	}
	return errors.Join(errs...)
}
