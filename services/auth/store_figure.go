package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// accountFigureRow is what is counted of an account.
type accountFigureRow struct {
	ID        uuid.UUID
	Version   int64
	CreatedAt time.Time
	DeletedAt *time.Time
}

// An erased account's row is not touched again: its last change is its end.
const selectAccountFigures = `
SELECT id, version, created_at, CASE WHEN state = 'DELETED' THEN updated_at END AS deleted_at
  FROM auth.account
 WHERE (@id::uuid IS NULL OR id = @id) AND id > @after
 ORDER BY id
 LIMIT @limit`

// accountFigures reads a page, or one.
func (s *Service) accountFigures(ctx context.Context, q pg.Querier, id *uuid.UUID, after uuid.UUID, limit int) ([]accountFigureRow, error) {
	return all[accountFigureRow](ctx, q, "read account figures", selectAccountFigures, args{"id": id, "after": after, "limit": limit})
}

const insertActive = `
INSERT INTO auth.active_day (account_id, day)
VALUES (@account_id, (@now::timestamptz AT TIME ZONE 'UTC')::date)
    ON CONFLICT DO NOTHING`

// insertActive notes a day on which somebody was here; false when it was known.
func (s *Service) insertActive(ctx context.Context, tx pg.Tx, userID uuid.UUID, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "note an active day", insertActive, args{"account_id": userID, "now": now})
	return n == 1, err
}

// activeRow is a day on which somebody was here.
type activeRow struct {
	AccountID uuid.UUID
	Day       time.Time
}

const selectActive = `
SELECT account_id, day
  FROM auth.active_day
 WHERE (account_id, day) > (@account_id, @day::date)
 ORDER BY account_id, day
 LIMIT @limit`

func (s *Service) activeDays(ctx context.Context, after activeRow, limit int) ([]activeRow, error) {
	return all[activeRow](ctx, s.db.Pool, "read active days", selectActive, args{"account_id": after.AccountID, "day": after.Day, "limit": limit})
}
