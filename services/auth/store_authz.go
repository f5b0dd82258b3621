package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// authzEvent makes tokens stale or dead before their time.
type authzEvent struct {
	Seq       int64
	Kind      string
	Key       uuid.UUID
	MinEpoch  int64
	ExpiresAt time.Time
}

const insertAuthzEvents = `
INSERT INTO auth.authz_event (kind, key, min_epoch, recorded_at, expires_at)
SELECT @kind, k, @min_epoch, @now, @expires_at FROM unnest(@keys::uuid[]) AS k
RETURNING seq, kind, key, min_epoch, expires_at`

// recordAuthz writes one event for each key, to be published after the commit.
func (s *Service) recordAuthz(ctx context.Context, tx pg.Tx, kind string, minEpoch int64, now time.Time, keys ...uuid.UUID) ([]authzEvent, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	return all[authzEvent](ctx, tx, "record authz events", insertAuthzEvents, args{
		"kind": kind, "min_epoch": minEpoch, "keys": keys, "now": now, "expires_at": now.Add(s.c.AccessTTL.Std() + clockSkew),
	})
}

const selectAuthzEvents = `
SELECT seq, kind, key, min_epoch, expires_at
  FROM auth.authz_event
 WHERE recorded_at >= @since AND expires_at > @now AND seq > @after
 ORDER BY seq
 LIMIT @limit`

func (s *Service) authzEvents(ctx context.Context, since time.Time, after int64, limit int, now time.Time) ([]authzEvent, error) {
	return all[authzEvent](ctx, s.db.Pool, "list authz events", selectAuthzEvents,
		args{"since": since, "after": after, "limit": limit, "now": now})
}
