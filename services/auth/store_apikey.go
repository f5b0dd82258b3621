package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// apiKey is a program's way in.
type apiKey struct {
	ID          uuid.UUID
	AccountID   uuid.UUID
	Name        string
	Permissions []string
	MAC         []byte
	CreatedAt   time.Time
	ExpiresAt   time.Time
	LastUsedDay *time.Time
	RevokedAt   *time.Time
}

const insertKeyRow = `
INSERT INTO auth.api_key (id, account_id, name, permissions, mac, created_at, expires_at)
VALUES (@id, @account_id, @name, @permissions, @mac, @created_at, @expires_at)`

func (s *Service) insertAPIKey(ctx context.Context, tx pg.Tx, k apiKey) error {
	_, err := run(ctx, tx, "insert an API key", insertKeyRow, args{
		"id": k.ID, "account_id": k.AccountID, "name": k.Name, "permissions": k.Permissions, "mac": k.MAC,
		"created_at": k.CreatedAt, "expires_at": k.ExpiresAt,
	})
	return err
}

const keyRowColumns = `
SELECT id, account_id, name, permissions, mac, created_at, expires_at, last_used_day, revoked_at
  FROM auth.api_key`

const selectKeyRow = keyRowColumns + `
 WHERE id = @id`

func (s *Service) apiKey(ctx context.Context, q pg.Querier, id uuid.UUID) (apiKey, bool, error) {
	return one[apiKey](ctx, q, "read an API key", selectKeyRow, args{"id": id})
}

const liveKeyRows = `
 WHERE account_id = @account_id AND revoked_at IS NULL AND expires_at > @now`

const selectKeyRows = keyRowColumns + liveKeyRows + `
   AND (created_at, id) < (@before_time, @before_id)
 ORDER BY created_at DESC, id DESC
 LIMIT @limit`

func (s *Service) apiKeys(ctx context.Context, account uuid.UUID, before cursor, limit int, now time.Time) ([]apiKey, error) {
	return all[apiKey](ctx, s.db.Pool, "list API keys", selectKeyRows,
		args{"account_id": account, "now": now, "before_time": before.Time, "before_id": before.ID, "limit": limit})
}

const countKeyRows = `
SELECT count(*)
  FROM auth.api_key` + liveKeyRows

func (s *Service) countAPIKeys(ctx context.Context, q pg.Querier, account uuid.UUID, now time.Time) (int64, error) {
	counts, err := column[int64](ctx, q, "count API keys", countKeyRows, args{"account_id": account, "now": now})
	if err != nil {
		return 0, err
	}
	return counts[0], nil
}

const revokeKeyRow = `
UPDATE auth.api_key
   SET revoked_at = @now
 WHERE id = @id AND account_id = @account_id AND revoked_at IS NULL AND expires_at > @now`

// endAPIKey revokes one key of an account; false when it was not live.
func (s *Service) endAPIKey(ctx context.Context, tx pg.Tx, account, id uuid.UUID, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "revoke an API key", revokeKeyRow, args{"id": id, "account_id": account, "now": now})
	return n == 1, err
}

const noteKeyUse = `
UPDATE auth.api_key
   SET last_used_day = @day
 WHERE id = @id AND (last_used_day IS NULL OR last_used_day < @day)`

// noteKeyUse writes a day at most once, however often a key is used on it.
func (s *Service) noteKeyUse(ctx context.Context, id uuid.UUID, day time.Time) error {
	_, err := run(ctx, s.db.Pool, "note an API key's use", noteKeyUse, args{"id": id, "day": day})
	return err
}
