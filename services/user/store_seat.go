package user

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

const putSeats = `
INSERT INTO users.seat_limit AS l (user_id, epoch, seats, ends_at, updated_at)
VALUES (@user_id, @epoch, @seats, @ends_at, @now)
    ON CONFLICT (user_id) DO UPDATE
   SET epoch = excluded.epoch, seats = excluded.seats, ends_at = excluded.ends_at, updated_at = excluded.updated_at
 WHERE l.epoch < excluded.epoch`

// putSeats copies subscription's word unless a newer one is here.
func (s *Service) putSeats(ctx context.Context, tx pg.Tx, l seatLimit) error {
	_, err := run(ctx, tx, "put a seat limit", putSeats, args{
		"user_id": l.UserID, "epoch": l.Epoch, "seats": l.Seats, "ends_at": l.EndsAt, "now": s.now(),
	})
	return err
}

const insertSeats = `
INSERT INTO users.seat_limit (user_id, epoch, seats, updated_at)
VALUES (@user_id, 0, @seats, @now)
    ON CONFLICT (user_id) DO NOTHING`

const lockSeatRow = `
SELECT user_id, epoch, seats, ends_at
  FROM users.seat_limit
 WHERE user_id = @user_id
   FOR UPDATE`

// lockSeats makes everybody wait who wants a seat of the same payer. Always
// after the organization's own lock.
func (s *Service) lockSeats(ctx context.Context, tx pg.Tx, payer uuid.UUID) (seatLimit, error) {
	if _, err := run(ctx, tx, "insert a seat limit", insertSeats, args{"user_id": payer, "seats": freeSeats, "now": s.now()}); err != nil {
		return seatLimit{}, err
	}
	l, _, err := first[seatLimit](ctx, tx, "lock a seat limit", lockSeatRow, args{"user_id": payer})
	return l, err
}

const selectSeats = `
SELECT user_id, epoch, seats, ends_at
  FROM users.seat_limit
 WHERE user_id = @user_id`

// seats reads a payer's limit.
func (s *Service) seats(ctx context.Context, q querier, payer uuid.UUID) (seatLimit, error) {
	l, found, err := first[seatLimit](ctx, q, "read a seat limit", selectSeats, args{"user_id": payer})
	if err != nil || found {
		return l, err
	}
	return seatLimit{UserID: payer, Seats: freeSeats}, nil
}

// A person counts once, however many of the payer's organizations they are in,
// and so does an address that is invited to several.
const countSeats = `
SELECT (SELECT count(DISTINCT m.user_id)
          FROM users.organization AS o
          JOIN users.org_member AS m ON m.org_id = o.id
         WHERE o.payer_id = @payer_id AND o.deleted_at IS NULL)
     + (SELECT count(DISTINCT i.email)
          FROM users.organization AS o
          JOIN users.invitation AS i ON i.org_id = o.id
         WHERE o.payer_id = @payer_id AND o.deleted_at IS NULL
           AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > @now
           AND NOT EXISTS (
               SELECT 1
                 FROM users.organization AS o2
                 JOIN users.org_member AS m2 ON m2.org_id = o2.id
                 JOIN users.profile AS p ON p.user_id = m2.user_id
                WHERE o2.payer_id = @payer_id AND o2.deleted_at IS NULL AND p.email = i.email))`

// seatsUsed counts the people and open invitations of a payer.
func (s *Service) seatsUsed(ctx context.Context, q querier, payer uuid.UUID, now time.Time) (int64, error) {
	return number(ctx, q, "count seats", countSeats, args{"payer_id": payer, "now": now})
}
