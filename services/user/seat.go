package user

import (
	"context"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
)

const (
	seatFeature = "users" // the plan's limit that counts people
	freeSeats   = 1       // its value in the Free plan, for who has no other
	noLimit     = -1
)

// seatLimit is how many people a payer's plan allows.
type seatLimit struct {
	UserID uuid.UUID
	Epoch  int64
	Seats  int64
	EndsAt *time.Time
}

// inForce is the number now: a plan that has ended counts as Free, whether or
// not the news of it has come.
func (l seatLimit) inForce(now time.Time) int64 {
	if l.EndsAt != nil && !now.Before(*l.EndsAt) {
		return freeSeats
	}
	return l.Seats
}

// fits reports whether used seats are within a limit.
func fits(limit, used int64) bool { return limit == noLimit || used <= limit }

// seatsOf is the limit that a set of plan limits gives.
func seatsOf(limits map[string]int64) int64 {
	n, ok := limits[seatFeature]
	switch {
	case !ok:
		return freeSeats
	case n < 0:
		return noLimit
	default:
		return n
	}
}

// checkSeats refuses when the people and open invitations of a payer are more
// than the plan allows. The caller has locked the payer's seats before it wrote
// the one more, so of those who race only as many pass as fit.
func (s *Service) checkSeats(ctx context.Context, tx pg.Tx, payer uuid.UUID, l seatLimit) error {
	now := s.now()
	used, err := s.seatsUsed(ctx, tx, payer, now)
	if err != nil {
		return err
	}
	limit := l.inForce(now)
	if fits(limit, used) {
		return nil
	}
	return fail.New(fail.QuotaExceeded, "the plan has no free seat").
		With("feature", seatFeature).With("limit", strconv.FormatInt(limit, 10)).With("used", strconv.FormatInt(used-1, 10))
}
