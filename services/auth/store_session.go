package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// session is a sign-in on one device.
type session struct {
	ID          uuid.UUID
	AccountID   uuid.UUID
	Salt        []byte
	Counter     int64
	RotatedAt   time.Time
	AMR         []string
	AuthTime    time.Time
	UserAgent   string
	IP          string
	CreatedAt   time.Time
	LastSeenAt  time.Time
	IdleSeconds int
	IdleUntil   time.Time
	ExpiresAt   time.Time
	RevokedAt   *time.Time
	DeviceID    *uuid.UUID
}

func (x session) live(now time.Time) bool {
	return x.RevokedAt == nil && now.Before(x.IdleUntil) && now.Before(x.ExpiresAt)
}

const insertSession = `
INSERT INTO auth.session (id, account_id, salt, counter, rotated_at, amr, auth_time, user_agent, ip,
                          created_at, last_seen_at, idle_seconds, idle_until, expires_at, device_id)
VALUES (@id, @account_id, @salt, @counter, @now, @amr, @auth_time, @user_agent, @ip,
        @now, @now, @idle_seconds, @idle_until, @expires_at, @device_id)`

func (s *Service) insertSession(ctx context.Context, tx pg.Tx, x session) error {
	_, err := run(ctx, tx, "insert a session", insertSession, args{
		"id": x.ID, "account_id": x.AccountID, "salt": x.Salt, "counter": x.Counter, "now": x.CreatedAt, "amr": x.AMR,
		"auth_time": x.AuthTime, "user_agent": x.UserAgent, "ip": x.IP, "idle_seconds": x.IdleSeconds,
		"idle_until": x.IdleUntil, "expires_at": x.ExpiresAt, "device_id": x.DeviceID,
	})
	return err
}

const sessionColumns = `id, account_id, salt, counter, rotated_at, amr, auth_time, user_agent, ip,
       created_at, last_seen_at, idle_seconds, idle_until, expires_at, revoked_at, device_id`

const selectSession = `
SELECT ` + sessionColumns + `
  FROM auth.session
 WHERE id = @id`

func (s *Service) session(ctx context.Context, q pg.Querier, id uuid.UUID) (session, bool, error) {
	return one[session](ctx, q, "read a session", selectSession, args{"id": id})
}

const liveSessions = `
  FROM auth.session
 WHERE account_id = @account_id AND revoked_at IS NULL AND idle_until > @now AND expires_at > @now`

const selectSessions = `
SELECT ` + sessionColumns + liveSessions + `
   AND (created_at, id) < (@before_time, @before_id)
 ORDER BY created_at DESC, id DESC
 LIMIT @limit`

const countSessions = `
SELECT count(*)` + liveSessions

func (s *Service) sessions(ctx context.Context, account uuid.UUID, before cursor, limit int, now time.Time) (list []session, total int64, err error) {
	where := args{"account_id": account, "now": now}
	counts, err := column[int64](ctx, s.db.Pool, "count sessions", countSessions, where)
	if err != nil {
		return nil, 0, err
	}
	where["before_time"], where["before_id"], where["limit"] = before.Time, before.ID, limit
	list, err = all[session](ctx, s.db.Pool, "list sessions", selectSessions, where)
	return list, counts[0], err
}

const revokeSession = `
UPDATE auth.session
   SET revoked_at = @now, revoke_reason = @reason
 WHERE id = @id AND account_id = @account_id AND revoked_at IS NULL`

// endSession revokes one session of an account; false when it was not live.
func (s *Service) endSession(ctx context.Context, tx pg.Tx, account, id uuid.UUID, reason string, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "revoke a session", revokeSession, args{"id": id, "account_id": account, "reason": reason, "now": now})
	return n == 1, err
}

const revokeSessions = `
UPDATE auth.session
   SET revoked_at = @now, revoke_reason = @reason
 WHERE account_id = @account_id AND revoked_at IS NULL
RETURNING id`

// endSessions revokes every session of an account and names them.
func (s *Service) endSessions(ctx context.Context, tx pg.Tx, account uuid.UUID, reason string, now time.Time) ([]uuid.UUID, error) {
	return column[uuid.UUID](ctx, tx, "revoke sessions", revokeSessions, args{"account_id": account, "reason": reason, "now": now})
}

const raiseAssurance = `
UPDATE auth.session
   SET amr = @amr, mfa_at = @now
 WHERE id = @id AND account_id = @account_id AND revoked_at IS NULL`

// raiseAssurance notes that a session has shown its second factor.
func (s *Service) raiseAssurance(ctx context.Context, tx pg.Tx, account, id uuid.UUID, amr []string, now time.Time) error {
	_, err := run(ctx, tx, "raise a session's assurance", raiseAssurance, args{"id": id, "account_id": account, "amr": amr, "now": now})
	return err
}
