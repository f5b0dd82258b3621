package user

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

const raiseRoster = `
UPDATE users.organization SET roster_version = roster_version + 1 WHERE id = @id RETURNING roster_version`

func (s *Service) raiseRoster(ctx context.Context, tx pg.Tx, orgID uuid.UUID) (int64, error) {
	return number(ctx, tx, "raise a roster", raiseRoster, args{"id": orgID})
}

const selectRoster = `
SELECT user_id, role, joined_at
  FROM users.org_member
 WHERE org_id = @org_id
 ORDER BY user_id`

// roster reads everybody in an organization.
func (s *Service) roster(ctx context.Context, tx pg.Tx, orgID uuid.UUID) ([]member, error) {
	return all[member](ctx, tx, "read a roster", selectRoster, args{"org_id": orgID})
}

// paid is an organization and who pays for it.
type paid struct {
	ID      uuid.UUID
	PayerID uuid.UUID
}

const lockOrgsOf = `
SELECT o.id, o.payer_id
  FROM users.organization AS o
 WHERE o.deleted_at IS NULL AND o.id IN (SELECT m.org_id FROM users.org_member AS m WHERE m.user_id = @user_id)
 ORDER BY o.id
   FOR UPDATE`

// lockOrgsOf locks the organizations somebody is in.
func (s *Service) lockOrgsOf(ctx context.Context, tx pg.Tx, userID uuid.UUID) ([]paid, error) {
	return all[paid](ctx, tx, "lock a person's organizations", lockOrgsOf, args{"user_id": userID})
}

const selectUntold = `
SELECT id, payer_id
  FROM users.organization
 WHERE roster_version = 0 AND deleted_at IS NULL
 ORDER BY id
 LIMIT @limit`

// untold reads organizations that subscription was never told of.
func (s *Service) untold(ctx context.Context, limit int) ([]paid, error) {
	return all[paid](ctx, s.db.Pool, "list untold organizations", selectUntold, args{"limit": limit})
}

const lockUntold = `
SELECT id, payer_id
  FROM users.organization
 WHERE id = @id AND roster_version = 0 AND deleted_at IS NULL
   FOR UPDATE`

// lockUntold locks one if that is still so.
func (s *Service) lockUntold(ctx context.Context, tx pg.Tx, orgID uuid.UUID) (paid, bool, error) {
	return first[paid](ctx, tx, "lock an untold organization", lockUntold, args{"id": orgID})
}
