package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

const grantRole = `
INSERT INTO auth.account_role (account_id, role, granted_at)
VALUES (@id, @role, @now)
    ON CONFLICT (account_id, role) DO NOTHING`

const revokeRole = `
DELETE FROM auth.account_role WHERE account_id = @id AND role = @role`

// setRole gives or takes one role; false says that nothing changed.
func (s *Service) setRole(ctx context.Context, tx pg.Tx, id uuid.UUID, role string, granted bool, now time.Time) (bool, error) {
	if granted {
		n, err := run(ctx, tx, "grant a role", grantRole, args{"id": id, "role": role, "now": now})
		return n == 1, err
	}
	n, err := run(ctx, tx, "revoke a role", revokeRole, args{"id": id, "role": role})
	return n == 1, err
}

const updateRoles = `
UPDATE auth.account SET epoch = epoch + 1, version = version + 1, updated_at = @now WHERE id = @id`

// raiseRoles makes tokens stale and copies of the roles old.
func (s *Service) raiseRoles(ctx context.Context, tx pg.Tx, id uuid.UUID, now time.Time) error {
	_, err := run(ctx, tx, "note changed roles", updateRoles, args{"id": id, "now": now})
	return err
}
