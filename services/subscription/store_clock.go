package subscription

import (
	"context"
	"time"

	"github.com/google/uuid"
)

const clockRows = `SELECT id, frozen_at, target, created_at FROM subscription.test_clock`

const selectClock = clockRows + ` WHERE id = @id`

// testClock reads one; errNone when there is none.
func (s *Service) testClock(ctx context.Context, q querier, clockID string) (testClock, error) {
	return one[testClock](ctx, q, selectClock, args{"id": clockID})
}

const selectClocks = clockRows + `
 WHERE @before::text IS NULL OR id < @before
 ORDER BY id DESC
 LIMIT @size`

// clocks reads one page, newest first: ids grow with time.
func (s *Service) clocks(ctx context.Context, before *string, size int) ([]testClock, error) {
	return many[testClock](ctx, s.db.Pool, selectClocks, args{"before": before, "size": size})
}

const selectMoving = clockRows + ` WHERE target IS NOT NULL ORDER BY id LIMIT 20`

func (s *Service) movingClocks(ctx context.Context) ([]testClock, error) {
	return many[testClock](ctx, s.db.Pool, selectMoving, args{})
}

const insertClock = `
INSERT INTO subscription.test_clock (id, created_by, frozen_at, created_at, updated_at)
VALUES (@id, @created_by, @frozen_at, @now, @now)`

func (s *Service) insertClock(ctx context.Context, tx txn, c testClock, by uuid.UUID) error {
	_, err := exec(ctx, tx, "insert test clock", insertClock, args{"id": c.ID, "created_by": by, "frozen_at": c.FrozenAt, "now": c.CreatedAt})
	return err
}

const sendClock = `
UPDATE subscription.test_clock
   SET target = @target, updated_at = @now
 WHERE id = @id AND target IS NULL AND frozen_at = @frozen_at`

// sendClock starts a clock's move; false when it has moved meanwhile.
func (s *Service) sendClock(ctx context.Context, tx txn, clockID string, from, to, now time.Time) (bool, error) {
	n, err := exec(ctx, tx, "send test clock", sendClock, args{"id": clockID, "frozen_at": from, "target": to, "now": now})
	return n == 1, err
}

const moveClock = `
UPDATE subscription.test_clock
   SET frozen_at = @at
 WHERE id = @id AND frozen_at < @at AND target >= @at`

// moveClock moves a clock to an instant on its way; never back.
func (s *Service) moveClock(ctx context.Context, clockID string, at time.Time) error {
	_, err := exec(ctx, s.db.Pool, "move test clock", moveClock, args{"id": clockID, "at": at})
	return err
}

const arriveClock = `
UPDATE subscription.test_clock
   SET frozen_at = target, target = NULL
 WHERE id = @id AND target IS NOT NULL`

// arrive ends a clock's move.
func (s *Service) arrive(ctx context.Context, clockID string) error {
	_, err := exec(ctx, s.db.Pool, "test clock arrives", arriveClock, args{"id": clockID})
	return err
}
