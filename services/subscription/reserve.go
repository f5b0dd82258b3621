package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
)

// States of a reservation, as the contract names them.
const (
	heldState      = "HELD"
	committedState = "COMMITTED"
	releasedState  = "RELEASED"
	lapsedState    = "EXPIRED"
)

const (
	reservedFor = 5 * time.Minute
	keptSettled = 30 * 24 * time.Hour // a repeat finds its answer so long
)

// counter is the use of one feature in one period.
type counter struct {
	UserID  uuid.UUID
	Feature string
	Start   time.Time
}

// reservation is a part of a counter held for something under way.
type reservation struct {
	ID          uuid.UUID
	UserID      uuid.UUID
	Feature     string
	PeriodStart time.Time
	Amount      int64
	State       string
	Used        *int64 // once committed
	ExpiresAt   time.Time
}

func (r reservation) counter() counter { return counter{r.UserID, r.Feature, r.PeriodStart} }

// stands is the state at a time, whether or not anybody has marked it.
func (r reservation) stands(now time.Time) string {
	if r.State == heldState && !now.Before(r.ExpiresAt) {
		return lapsedState
	}
	return r.State
}

// inCounter decides under a counter's lock whether amount more fits, does what
// then is to be done, and leaves the counter after it in l, what is held counted
// as used. held is what was held before.
func (s *Service) inCounter(ctx context.Context, c counter, l *limit, amount int64, now time.Time,
	do func(ctx context.Context, tx txn, held int64) error,
) (fits bool, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		used, err := s.lockCounter(ctx, tx, c)
		if err != nil {
			return err
		}
		held, err := s.held(ctx, tx, c, now)
		if err != nil {
			return err
		}
		l.Used = used + held
		if fits = l.LimitValue == nil || l.Used+amount <= *l.LimitValue; !fits {
			return nil
		}
		l.Used += amount
		return do(ctx, tx, held)
	})
	return fits, err
}

// reserve holds amount of a metered feature for ttl.
func (s *Service) reserve(ctx context.Context, userID uuid.UUID, code string, amount int64, ttl time.Duration) (reservation, limit, error) {
	now := s.now()
	e, l, err := s.entitledTo(ctx, userID, code, now)
	if err != nil {
		return reservation{}, l, err
	}
	if l.Kind != metered {
		return reservation{}, l, fail.New(fail.InvalidArgument, "%s is not counted by use", code).Field("feature", "is not a metered feature")
	}
	start, end := s.window(l, now)
	l.ResetsAt = &end
	c := counter{userID, l.Feature, start}
	r := reservation{
		ID: s.ids.New(), UserID: userID, Feature: l.Feature, PeriodStart: start, Amount: amount, State: heldState,
		ExpiresAt: now.Add(ttl).Truncate(time.Microsecond), // as the table keeps it
	}
	fits, err := s.inCounter(ctx, c, &l, amount, now, func(ctx context.Context, tx txn, _ int64) error {
		return s.hold(ctx, tx, c, r, now)
	})
	if err == nil && !fits {
		err = s.exceeded(ctx, e, l, now)
	}
	return r, l, err
}

// commit makes amount of what is held used, all of it when nil. It counts in
// the period of the reservation, whatever the plan has become since: it was
// promised.
func (s *Service) commit(ctx context.Context, userID, rsvID uuid.UUID, amount *int64) (reservation, error) {
	return s.settling(ctx, userID, rsvID, func(ctx context.Context, tx txn, r *reservation, now time.Time) error {
		n := r.Amount
		if amount != nil {
			n = *amount
		}
		switch r.stands(now) {
		case committedState:
			if amount != nil && n != *r.Used {
				return fail.New(fail.Conflict, "%d of it was committed already", *r.Used)
			}
			return nil
		case releasedState:
			return fail.New(fail.Conflict, "the reservation was released")
		case lapsedState:
			return fail.New(fail.Conflict, "the reservation has run out")
		}
		if n > r.Amount {
			return fail.New(fail.InvalidArgument, "only %d is held", r.Amount).Field("amount", "is more than is held")
		}
		r.State, r.Used = committedState, &n
		return s.close(ctx, tx, *r, n, now)
	})
}

// release lets go of what is held.
func (s *Service) release(ctx context.Context, userID, rsvID uuid.UUID) (reservation, error) {
	return s.settling(ctx, userID, rsvID, func(ctx context.Context, tx txn, r *reservation, now time.Time) error {
		switch r.stands(now) {
		case committedState:
			return fail.New(fail.Conflict, "the reservation was committed")
		case heldState:
			r.State = releasedState
			return s.close(ctx, tx, *r, 0, now)
		}
		r.State = r.stands(now) // it lets go already
		return nil
	})
}

// close settles a reservation and counts what was used of it.
func (s *Service) close(ctx context.Context, tx txn, r reservation, used int64, now time.Time) error {
	if err := s.closeHold(ctx, tx, r, now); err != nil {
		return err
	}
	held, err := s.held(ctx, tx, r.counter(), now)
	if err != nil {
		return err
	}
	return s.addUse(ctx, tx, r.counter(), used, held > 0)
}

// settling runs the end of a reservation under its counter's lock, then its own.
func (s *Service) settling(ctx context.Context, userID, rsvID uuid.UUID,
	do func(ctx context.Context, tx txn, r *reservation, now time.Time) error,
) (r reservation, err error) {
	missing := fail.New(fail.NotFound, "there is no such reservation")
	r, err = s.reservation(ctx, s.db.Pool, userID, rsvID)
	if errors.Is(err, errNone) {
		return r, missing
	}
	if err != nil {
		return r, err
	}
	err = s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		if _, err := s.lockCounter(ctx, tx, r.counter()); err != nil {
			return err
		}
		now := s.now() // after the wait: the end is the end
		if r, err = s.lockedReservation(ctx, tx, userID, rsvID); errors.Is(err, errNone) {
			return missing
		}
		if err != nil {
			return err
		}
		return do(ctx, tx, &r, now)
	})
	return r, err
}
