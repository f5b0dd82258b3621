package subscription

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// args names a counter in a query.
func (c counter) args(more args) args {
	more["user_id"], more["feature"], more["period_start"] = c.UserID, c.Feature, c.Start
	return more
}

const lockCounter = `
INSERT INTO subscription.usage_counter AS u (user_id, feature, period_start, used)
VALUES (@user_id, @feature, @period_start, 0)
    ON CONFLICT (user_id, feature, period_start) DO UPDATE SET used = u.used
RETURNING u.used`

// lockCounter makes everybody wait who counts the same, and gives what is used.
func (s *Service) lockCounter(ctx context.Context, tx txn, c counter) (int64, error) {
	return scalar[int64](ctx, tx, lockCounter, c.args(args{}))
}

// What no longer counts is marked before it is left out: its commit may have
// read the clock earlier and come for the lock later.
const expireHeld = `
UPDATE subscription.reservation
   SET state = 'EXPIRED', settled_at = @now
 WHERE user_id = @user_id AND feature = @feature AND period_start = @period_start AND state = 'HELD' AND expires_at <= @now`

const sumHeld = `
SELECT COALESCE(sum(amount), 0)::bigint
  FROM subscription.reservation
 WHERE user_id = @user_id AND feature = @feature AND period_start = @period_start AND state = 'HELD'`

// held gives what is held of a locked counter.
func (s *Service) held(ctx context.Context, tx txn, c counter, now time.Time) (int64, error) {
	if _, err := exec(ctx, tx, "expire reservations", expireHeld, c.args(args{"now": now})); err != nil {
		return 0, err
	}
	return scalar[int64](ctx, tx, sumHeld, c.args(args{}))
}

const addUse = `
UPDATE subscription.usage_counter
   SET used = used + @amount, holds = @holds
 WHERE user_id = @user_id AND feature = @feature AND period_start = @period_start`

// addUse counts in a locked counter; holds reports whether something stays held.
func (s *Service) addUse(ctx context.Context, tx txn, c counter, amount int64, holds bool) error {
	_, err := exec(ctx, tx, "count a use", addUse, c.args(args{"amount": amount, "holds": holds}))
	return err
}

const markHolds = `
UPDATE subscription.usage_counter
   SET holds = true
 WHERE user_id = @user_id AND feature = @feature AND period_start = @period_start`

const insertReservation = `
INSERT INTO subscription.reservation (id, user_id, feature, period_start, amount, state, expires_at, created_at)
VALUES (@id, @user_id, @feature, @period_start, @amount, 'HELD', @expires_at, @now)`

// hold writes a reservation of a locked counter.
func (s *Service) hold(ctx context.Context, tx txn, c counter, r reservation, now time.Time) error {
	if _, err := exec(ctx, tx, "mark a counter", markHolds, c.args(args{})); err != nil {
		return err
	}
	_, err := exec(ctx, tx, "insert a reservation", insertReservation, c.args(args{
		"id": r.ID, "amount": r.Amount, "expires_at": r.ExpiresAt, "now": now,
	}))
	return err
}

const selectReservation = `
SELECT id, user_id, feature, period_start, amount, state, used, expires_at
  FROM subscription.reservation
 WHERE id = @id AND user_id = @user_id`

const lockReservation = selectReservation + ` FOR UPDATE`

// reservation reads one of a user's; errNone when there is none.
func (s *Service) reservation(ctx context.Context, q querier, userID, rsvID uuid.UUID) (reservation, error) {
	return one[reservation](ctx, q, selectReservation, args{"id": rsvID, "user_id": userID})
}

// lockedReservation reads one whose counter is locked; the sweeper waits.
func (s *Service) lockedReservation(ctx context.Context, tx txn, userID, rsvID uuid.UUID) (reservation, error) {
	return one[reservation](ctx, tx, lockReservation, args{"id": rsvID, "user_id": userID})
}

const settleReservation = `
UPDATE subscription.reservation
   SET state = @state, used = @used, settled_at = @now
 WHERE id = @id`

func (s *Service) closeHold(ctx context.Context, tx txn, r reservation, now time.Time) error {
	_, err := exec(ctx, tx, "settle a reservation", settleReservation, args{"id": r.ID, "state": r.State, "used": r.Used, "now": now})
	return err
}

const expireOverdue = `
UPDATE subscription.reservation
   SET state = 'EXPIRED', settled_at = @now
 WHERE id IN (SELECT id
                FROM subscription.reservation
               WHERE state = 'HELD' AND expires_at <= @now
               ORDER BY expires_at
               LIMIT @size
                 FOR UPDATE SKIP LOCKED)`

const deleteSettled = `
DELETE FROM subscription.reservation
 WHERE id IN (SELECT id
                FROM subscription.reservation
               WHERE settled_at < @before
               ORDER BY settled_at
               LIMIT @size
                 FOR UPDATE SKIP LOCKED)`

// tidyReservations marks what has run out and forgets what was settled before
// a time, up to size of each, and gives how many there were of the more.
func (s *Service) tidyReservations(ctx context.Context, now, before time.Time, size int) (int64, error) {
	expired, err := exec(ctx, s.db.Pool, "expire reservations", expireOverdue, args{"now": now, "size": size})
	if err != nil {
		return 0, err
	}
	deleted, err := exec(ctx, s.db.Pool, "delete reservations", deleteSettled, args{"before": before, "size": size})
	return max(expired, deleted), err
}
