package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

const putPHC = `
INSERT INTO auth.credential (account_id, phc, updated_at)
VALUES (@id, @phc, @now)
    ON CONFLICT (account_id) DO UPDATE SET phc = @phc, updated_at = @now`

// putPHC sets the password of an account, which may have had none.
func (s *Service) putPHC(ctx context.Context, tx pg.Tx, account uuid.UUID, phc string, now time.Time) error {
	_, err := run(ctx, tx, "set a password", putPHC, args{"id": account, "phc": phc, "now": now})
	return err
}

const swapPHC = `
UPDATE auth.credential SET phc = @phc, updated_at = @now WHERE account_id = @id AND phc = @old`

// swapPHC changes a password; false when it has been changed meanwhile.
func (s *Service) swapPHC(ctx context.Context, tx pg.Tx, account uuid.UUID, old, phc string, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "change a password", swapPHC, args{"id": account, "old": old, "phc": phc, "now": now})
	return n == 1, err
}

const revokeOtherSessions = `
UPDATE auth.session
   SET revoked_at = @now, revoke_reason = @reason
 WHERE account_id = @account_id AND id <> @keep AND revoked_at IS NULL
RETURNING id`

// endOtherSessions revokes every session of an account but one, and names them.
func (s *Service) endOtherSessions(ctx context.Context, tx pg.Tx, account, keep uuid.UUID, reason string, now time.Time) ([]uuid.UUID, error) {
	return column[uuid.UUID](ctx, tx, "revoke other sessions", revokeOtherSessions,
		args{"account_id": account, "keep": keep, "reason": reason, "now": now})
}

// Within the grace of a rotation the token stays what it is: moved again, it
// would turn the tab that still holds its forerunner into a thief.
const freshenSession = `
UPDATE auth.session
   SET counter = counter + CASE WHEN counter = 1 OR rotated_at < @settled THEN 1 ELSE 0 END,
       rotated_at = CASE WHEN counter = 1 OR rotated_at < @settled THEN @now ELSE rotated_at END,
       last_seen_at = @now, auth_time = @now, amr = @amr,
       idle_until = least(expires_at, @now::timestamptz + make_interval(secs => idle_seconds))
 WHERE id = @id AND account_id = @account_id AND revoked_at IS NULL AND idle_until > @now AND expires_at > @now
RETURNING ` + sessionColumns

// freshenSession notes that the session's person has just authenticated; false
// when it has ended.
func (s *Service) freshenSession(ctx context.Context, tx pg.Tx, account, id uuid.UUID, amr []string, now time.Time) (session, bool, error) {
	return one[session](ctx, tx, "freshen a session", freshenSession,
		args{"id": id, "account_id": account, "amr": amr, "now": now, "settled": now.Add(-refreshGrace)})
}

const deleteFactor = `
DELETE FROM auth.totp WHERE account_id = @id`

func (s *Service) deleteFactor(ctx context.Context, tx pg.Tx, account uuid.UUID) error {
	_, err := run(ctx, tx, "delete a factor", deleteFactor, args{"id": account})
	return err
}

// A session shown by a code alone, which came by mail or SMS, keeps its "otp".
const lowerAssurance = `
UPDATE auth.session
   SET amr = CASE WHEN amr && @stands::text[] THEN array_remove(array_remove(amr, 'otp'), 'mfa') ELSE array_remove(amr, 'mfa') END,
       mfa_at = NULL
 WHERE account_id = @id AND revoked_at IS NULL AND amr @> ARRAY['otp', 'mfa']`

// lowerAssurance takes the authenticator from the live sessions of an account.
func (s *Service) lowerAssurance(ctx context.Context, tx pg.Tx, account uuid.UUID) error {
	_, err := run(ctx, tx, "lower assurance", lowerAssurance, args{"id": account, "stands": []string{"pwd", "fed", "hwk"}})
	return err
}

func (s *Service) dropRecoveryCodes(ctx context.Context, tx pg.Tx, account uuid.UUID) error {
	_, err := run(ctx, tx, "drop recovery codes", deleteRecoveryCodes, args{"id": account})
	return err
}
