package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// role is a role and what it gives.
type role struct {
	Name        string
	Level       int
	NeedsMFA    bool
	Epoch       int64
	Permissions []string
	Users       int // holders, if they were counted
}

const roleColumns = `ro.name, ro.level, ro.needs_mfa, ro.epoch,
       (SELECT coalesce(array_agg(rp.permission ORDER BY rp.permission), '{}')
          FROM auth.role_permission AS rp WHERE rp.role = ro.name) AS permissions`

const selectRoles = `
SELECT ` + roleColumns + `, 0 AS users
  FROM auth.role AS ro
 ORDER BY ro.level DESC, ro.name`

func (s *Service) roles(ctx context.Context, q pg.Querier) ([]role, error) {
	return all[role](ctx, q, "read roles", selectRoles, nil)
}

const countRoles = `
SELECT ` + roleColumns + `,
       (SELECT count(*) FROM auth.account_role AS ar WHERE ar.role = ro.name) AS users
  FROM auth.role AS ro
 ORDER BY ro.level DESC, ro.name`

// countedRoles is roles with the number of their holders.
func (s *Service) countedRoles(ctx context.Context) ([]role, error) {
	return all[role](ctx, s.db.Pool, "count roles", countRoles, nil)
}

const lockRoles = `
SELECT name FROM auth.role ORDER BY name FOR UPDATE`

const lockRolesShared = `
SELECT name FROM auth.role ORDER BY name FOR SHARE`

// lockRoles makes definitions of roles follow one another, so that their epochs
// rise in the order they are committed.
func (s *Service) lockRoles(ctx context.Context, tx pg.Tx) error {
	_, err := run(ctx, tx, "lock roles", lockRoles, nil)
	return err
}

// holdRoles keeps roles as they are until tx ends.
func (s *Service) holdRoles(ctx context.Context, tx pg.Tx) error {
	_, err := run(ctx, tx, "hold roles", lockRolesShared, nil)
	return err
}

const selectPermissions = `
SELECT name FROM auth.permission ORDER BY name`

func (s *Service) permissions(ctx context.Context, q pg.Querier) ([]string, error) {
	return column[string](ctx, q, "read permissions", selectPermissions, nil)
}

const takePermissions = `
DELETE FROM auth.role_permission WHERE role = @role AND NOT permission = ANY (@permissions::text[])`

const givePermissions = `
INSERT INTO auth.role_permission (role, permission)
SELECT @role, p FROM unnest(@permissions::text[]) AS p
    ON CONFLICT DO NOTHING`

const raiseRole = `
UPDATE auth.role SET epoch = @epoch WHERE name = @role`

// redefine writes what a role gives from now on. Roles are locked.
func (s *Service) redefine(ctx context.Context, tx pg.Tx, name string, permissions []string, epoch int64) error {
	for _, x := range []struct {
		what, sql string
		a         args
	}{
		{"take permissions", takePermissions, args{"role": name, "permissions": permissions}},
		{"give permissions", givePermissions, args{"role": name, "permissions": permissions}},
		{"raise a role's epoch", raiseRole, args{"role": name, "epoch": epoch}},
	} {
		if _, err := run(ctx, tx, x.what, x.sql, x.a); err != nil {
			return err
		}
	}
	return nil
}

const lockAccounts = `
SELECT id FROM auth.account WHERE id = ANY (@ids::uuid[]) ORDER BY id FOR UPDATE`

// lockAccounts locks several in one order, so that two operators who act upon
// each other do not wait for each other.
func (s *Service) lockAccounts(ctx context.Context, tx pg.Tx, ids ...uuid.UUID) error {
	_, err := run(ctx, tx, "lock accounts", lockAccounts, args{"ids": ids})
	return err
}

const takeRoles = `
DELETE FROM auth.account_role WHERE account_id = @id AND NOT role = ANY (@roles::text[])`

const giveRoles = `
INSERT INTO auth.account_role (account_id, role, granted_at)
SELECT @id, r, @now FROM unnest(@roles::text[]) AS r
    ON CONFLICT DO NOTHING`

const raiseAccount = `
UPDATE auth.account SET epoch = epoch + 1, version = version + 1, updated_at = @now WHERE id = @id`

// putRoles replaces the roles of an account and makes its tokens stale.
func (s *Service) putRoles(ctx context.Context, tx pg.Tx, id uuid.UUID, roles []string, now time.Time) error {
	if _, err := run(ctx, tx, "take roles", takeRoles, args{"id": id, "roles": roles}); err != nil {
		return err
	}
	if _, err := run(ctx, tx, "give roles", giveRoles, args{"id": id, "roles": roles, "now": now}); err != nil {
		return err
	}
	_, err := run(ctx, tx, "raise an account", raiseAccount, args{"id": id, "now": now})
	return err
}

const shortenSessions = `
UPDATE auth.session
   SET idle_seconds = least(idle_seconds, @idle_seconds), idle_until = least(idle_until, @idle_until), expires_at = least(expires_at, @expires_at)
 WHERE account_id = @id AND revoked_at IS NULL`

// shortenSessions holds the live sessions of an account to an administrator's
// times, from now.
func (s *Service) shortenSessions(ctx context.Context, tx pg.Tx, id uuid.UUID, now time.Time) error {
	_, err := run(ctx, tx, "shorten sessions", shortenSessions, args{
		"id": id, "idle_seconds": int(adminIdle / time.Second), "idle_until": now.Add(adminIdle), "expires_at": now.Add(adminSession),
	})
	return err
}

const insertImpersonation = `
INSERT INTO auth.session (id, account_id, salt, counter, rotated_at, amr, auth_time, user_agent, ip,
                          created_at, last_seen_at, idle_seconds, idle_until, expires_at, impersonator_id, impersonator_session)
VALUES (@id, @account_id, @salt, 1, @now, '{}', to_timestamp(0), @user_agent, '',
        @now, @now, @idle_seconds, @until, @until, @impersonator_id, @impersonator_session)`

func (s *Service) insertImpersonation(ctx context.Context, tx pg.Tx, x session, operator, from uuid.UUID) error {
	_, err := run(ctx, tx, "insert an impersonation", insertImpersonation, args{
		"id": x.ID, "account_id": x.AccountID, "salt": x.Salt, "now": x.CreatedAt, "user_agent": x.UserAgent, "idle_seconds": x.IdleSeconds,
		"until": x.ExpiresAt, "impersonator_id": operator, "impersonator_session": from,
	})
	return err
}

const holdSession = `
SELECT id FROM auth.session
 WHERE id = @id AND account_id = @account_id AND revoked_at IS NULL AND idle_until > @now AND expires_at > @now
   FOR UPDATE`

// holdSession keeps a live session from ending until tx does; false when it has
// ended.
func (s *Service) holdSession(ctx context.Context, tx pg.Tx, account, id uuid.UUID, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "hold a session", holdSession, args{"id": id, "account_id": account, "now": now})
	return n == 1, err
}

// acted is an impersonation that was ended.
type acted struct{ ID, AccountID, ImpersonatorID uuid.UUID }

const liveImpersonation = `
UPDATE auth.session AS x
   SET revoked_at = @now, revoke_reason = @reason
 WHERE x.impersonator_id IS NOT NULL AND x.revoked_at IS NULL AND x.expires_at > @now`

// The nil session stands for all of an operator's.
const revokeImpersonations = liveImpersonation + `
   AND x.impersonator_id = @operator AND (@from_session = '00000000-0000-0000-0000-000000000000'::uuid OR x.impersonator_session = @from_session::uuid)
   AND x.impersonator_session <> @keep::uuid
RETURNING x.id, x.account_id, x.impersonator_id`

const revokeUnentitled = liveImpersonation + `
   AND NOT EXISTS (SELECT 1 FROM auth.account_role AS ar JOIN auth.role_permission AS rp ON rp.role = ar.role
                    WHERE ar.account_id = x.impersonator_id AND rp.permission = @permission)
RETURNING x.id, x.account_id, x.impersonator_id`

func (s *Service) revokeImpersonations(ctx context.Context, tx pg.Tx, operator, from, keep uuid.UUID, reason string, now time.Time) ([]acted, error) {
	return all[acted](ctx, tx, "revoke impersonations", revokeImpersonations,
		args{"operator": operator, "from_session": from, "keep": keep, "reason": reason, "now": now})
}

// revokeUnentitled ends what operators opened who may not any more.
func (s *Service) revokeUnentitled(ctx context.Context, tx pg.Tx, permission string, now time.Time) ([]acted, error) {
	return all[acted](ctx, tx, "revoke unentitled impersonations", revokeUnentitled,
		args{"permission": permission, "reason": "the operator may not impersonate any more", "now": now})
}
