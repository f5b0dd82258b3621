package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// factor is a TOTP secret as it lies.
type factor struct {
	Secret    []byte
	Confirmed bool
}

const selectFactor = `
SELECT secret, confirmed_at IS NOT NULL AS confirmed
  FROM auth.totp
 WHERE account_id = @id`

func (s *Service) factor(ctx context.Context, q pg.Querier, account uuid.UUID) (factor, bool, error) {
	return one[factor](ctx, q, "read a factor", selectFactor, args{"id": account})
}

const putFactor = `
INSERT INTO auth.totp AS t (account_id, secret, created_at)
VALUES (@id, @secret, @now)
    ON CONFLICT (account_id) DO UPDATE SET secret = @secret, created_at = @now, last_step = 0
 WHERE t.confirmed_at IS NULL`

// putFactor writes an unconfirmed secret; false when a factor is on.
func (s *Service) putFactor(ctx context.Context, q pg.Querier, account uuid.UUID, sealed []byte, now time.Time) (bool, error) {
	n, err := run(ctx, q, "write a factor", putFactor, args{"id": account, "secret": sealed, "now": now})
	return n == 1, err
}

const confirmFactor = `
UPDATE auth.totp
   SET confirmed_at = @now, last_step = @step
 WHERE account_id = @id AND secret = @secret AND confirmed_at IS NULL`

// confirmFactor turns the factor on; false when it was on or has been replaced.
func (s *Service) confirmFactor(ctx context.Context, tx pg.Tx, account uuid.UUID, sealed []byte, step int64, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "confirm a factor", confirmFactor, args{"id": account, "secret": sealed, "step": step, "now": now})
	return n == 1, err
}

// Each step is accepted once, however many ask at once.
const takeStep = `
UPDATE auth.totp
   SET last_step = @step
 WHERE account_id = @id AND confirmed_at IS NOT NULL AND last_step < @step`

func (s *Service) takeStep(ctx context.Context, tx pg.Tx, account uuid.UUID, step int64) (bool, error) {
	n, err := run(ctx, tx, "take a step", takeStep, args{"id": account, "step": step})
	return n == 1, err
}

const deleteRecoveryCodes = `
DELETE FROM auth.recovery_code WHERE account_id = @id`

const insertRecoveryCodes = `
INSERT INTO auth.recovery_code (account_id, mac, created_at)
SELECT @id, m, @now FROM unnest(@macs::bytea[]) AS m`

func (s *Service) putRecoveryCodes(ctx context.Context, tx pg.Tx, account uuid.UUID, macs [][]byte, now time.Time) error {
	if _, err := run(ctx, tx, "drop recovery codes", deleteRecoveryCodes, args{"id": account}); err != nil {
		return err
	}
	_, err := run(ctx, tx, "write recovery codes", insertRecoveryCodes, args{"id": account, "macs": macs, "now": now})
	return err
}

const useRecoveryCode = `
UPDATE auth.recovery_code
   SET used_at = @now
 WHERE account_id = @id AND mac = @mac AND used_at IS NULL`

func (s *Service) useRecoveryCode(ctx context.Context, tx pg.Tx, account uuid.UUID, mac []byte, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "use a recovery code", useRecoveryCode, args{"id": account, "mac": mac, "now": now})
	return n == 1, err
}
