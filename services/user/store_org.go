package user

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

const orgColumns = `
SELECT o.id, o.name, o.type, o.payer_id, o.version, o.created_at, o.updated_at, m.role, m.joined_at
  FROM users.organization AS o
  JOIN users.org_member AS m ON m.org_id = o.id AND m.user_id = @user_id`

const selectOrg = orgColumns + `
 WHERE o.id = @id AND o.deleted_at IS NULL`

// org reads an organization as userID sees it; NOT_FOUND to who is not in it.
func (s *Service) org(ctx context.Context, q querier, userID, id uuid.UUID) (organization, error) {
	o, found, err := first[organization](ctx, q, "read an organization", selectOrg, args{"user_id": userID, "id": id})
	if err == nil && !found {
		err = noOrg()
	}
	return o, err
}

const lockOrg = `
SELECT id FROM users.organization WHERE id = @id FOR UPDATE`

func (s *Service) lockOrg(ctx context.Context, tx pg.Tx, id uuid.UUID) error {
	_, err := run(ctx, tx, "lock an organization", lockOrg, args{"id": id})
	return err
}

const selectOrgs = orgColumns + `
 WHERE o.deleted_at IS NULL AND (m.joined_at, o.id) < (@before_time, @before_id)
 ORDER BY m.joined_at DESC, o.id DESC
 LIMIT @limit`

const countOrgs = `
SELECT count(*)
  FROM users.org_member AS m
  JOIN users.organization AS o ON o.id = m.org_id
 WHERE m.user_id = @user_id AND o.deleted_at IS NULL`

// orgs reads a page of those userID is in, and counts them all.
func (s *Service) orgs(ctx context.Context, userID uuid.UUID, before cursor, limit int) ([]organization, int64, error) {
	n, err := number(ctx, s.db.Pool, "count organizations", countOrgs, args{"user_id": userID})
	if err != nil {
		return nil, 0, err
	}
	rows, err := all[organization](ctx, s.db.Pool, "list organizations", selectOrgs, args{
		"user_id": userID, "before_time": before.Time, "before_id": before.ID, "limit": limit,
	})
	return rows, n, err
}

const countOwned = countOrgs + ` AND m.role = 'OWNER'`

func (s *Service) owned(ctx context.Context, tx pg.Tx, userID uuid.UUID) (int64, error) {
	return number(ctx, tx, "count owned organizations", countOwned, args{"user_id": userID})
}

const insertOrg = `
INSERT INTO users.organization (id, name, type, payer_id, created_at, updated_at)
VALUES (@id, @name, @type, @payer_id, @now, @now)`

func (s *Service) insertOrg(ctx context.Context, tx pg.Tx, id uuid.UUID, name, kind string, payer uuid.UUID) error {
	_, err := run(ctx, tx, "insert an organization", insertOrg, args{"id": id, "name": name, "type": kind, "payer_id": payer, "now": s.now()})
	return err
}

const updateOrg = `
UPDATE users.organization
   SET name = @name, type = @type, version = version + 1, updated_at = @now
 WHERE id = @id`

func (s *Service) saveOrg(ctx context.Context, tx pg.Tx, o organization) error {
	_, err := run(ctx, tx, "update an organization", updateOrg, args{"id": o.ID, "name": o.Name, "type": o.Type, "now": s.now()})
	return err
}

const updatePayer = `
UPDATE users.organization
   SET payer_id = @payer_id, version = version + 1, updated_at = @now
 WHERE id = @id`

func (s *Service) savePayer(ctx context.Context, tx pg.Tx, id, payer uuid.UUID) error {
	_, err := run(ctx, tx, "change an organization's payer", updatePayer, args{"id": id, "payer_id": payer, "now": s.now()})
	return err
}

const closeOrg = `
UPDATE users.organization
   SET deleted_at = @now, version = version + 1, updated_at = @now
 WHERE id = @id`

func (s *Service) closeOrg(ctx context.Context, tx pg.Tx, id uuid.UUID) error {
	_, err := run(ctx, tx, "close an organization", closeOrg, args{"id": id, "now": s.now()})
	return err
}

const insertMember = `
INSERT INTO users.org_member (org_id, user_id, role, joined_at)
VALUES (@org_id, @user_id, @role, @now)`

func (s *Service) insertMember(ctx context.Context, tx pg.Tx, orgID, userID uuid.UUID, role string) error {
	_, err := run(ctx, tx, "insert a member", insertMember, args{"org_id": orgID, "user_id": userID, "role": role, "now": s.now()})
	return err
}

const selectMember = `
SELECT user_id, role, joined_at
  FROM users.org_member
 WHERE org_id = @org_id AND user_id = @user_id`

func (s *Service) member(ctx context.Context, tx pg.Tx, orgID, userID uuid.UUID) (member, bool, error) {
	return first[member](ctx, tx, "read a member", selectMember, args{"org_id": orgID, "user_id": userID})
}

const selectOwners = `
SELECT user_id, role, joined_at
  FROM users.org_member
 WHERE org_id = @org_id AND role = 'OWNER'`

func (s *Service) owners(ctx context.Context, tx pg.Tx, orgID uuid.UUID) ([]member, error) {
	return all[member](ctx, tx, "read owners", selectOwners, args{"org_id": orgID})
}

const updateMember = `
UPDATE users.org_member SET role = @role WHERE org_id = @org_id AND user_id = @user_id`

func (s *Service) saveMember(ctx context.Context, tx pg.Tx, orgID, userID uuid.UUID, role string) error {
	_, err := run(ctx, tx, "change a member's role", updateMember, args{"org_id": orgID, "user_id": userID, "role": role})
	return err
}

const deleteMember = `
DELETE FROM users.org_member WHERE org_id = @org_id AND user_id = @user_id`

func (s *Service) deleteMember(ctx context.Context, tx pg.Tx, orgID, userID uuid.UUID) error {
	_, err := run(ctx, tx, "delete a member", deleteMember, args{"org_id": orgID, "user_id": userID})
	return err
}

// memberView is a member with the name and address of the profile.
type memberView struct {
	UserID      uuid.UUID
	Role        string
	JoinedAt    time.Time
	Email       string
	DisplayName string
}

func (m memberView) at() cursor { return cursor{Time: m.JoinedAt, ID: m.UserID} }

const memberColumns = `
SELECT m.user_id, m.role, m.joined_at, coalesce(p.email, '') AS email,
       coalesce(nullif(p.display_name, ''), trim(p.first_name || ' ' || p.last_name), '') AS display_name
  FROM users.org_member AS m
  LEFT JOIN users.profile AS p ON p.user_id = m.user_id AND p.state <> 'DELETED'
 WHERE m.org_id = @org_id`

const selectMemberView = memberColumns + ` AND m.user_id = @user_id`

func (s *Service) memberView(ctx context.Context, orgID, userID uuid.UUID) (memberView, bool, error) {
	return first[memberView](ctx, s.db.Pool, "read a member", selectMemberView, args{"org_id": orgID, "user_id": userID})
}

const selectMembers = memberColumns + `
   AND (m.joined_at, m.user_id) > (@after_time, @after_id)
 ORDER BY m.joined_at, m.user_id
 LIMIT @limit`

const countMembers = `
SELECT count(*) FROM users.org_member WHERE org_id = @org_id`

// members reads a page, longest first, and counts them all.
func (s *Service) members(ctx context.Context, orgID uuid.UUID, after cursor, limit int) ([]memberView, int64, error) {
	n, err := number(ctx, s.db.Pool, "count members", countMembers, args{"org_id": orgID})
	if err != nil {
		return nil, 0, err
	}
	rows, err := all[memberView](ctx, s.db.Pool, "list members", selectMembers, args{
		"org_id": orgID, "after_time": after.Time, "after_id": after.ID, "limit": limit,
	})
	return rows, n, err
}

type membership struct {
	Role    string
	PayerID uuid.UUID
}

const selectMembership = `
SELECT m.role, o.payer_id
  FROM users.org_member AS m
  JOIN users.organization AS o ON o.id = m.org_id
 WHERE m.org_id = @org_id AND m.user_id = @user_id AND o.deleted_at IS NULL`

// membership is what a person is in an organization, and who pays for it.
func (s *Service) membership(ctx context.Context, orgID, userID uuid.UUID) (membership, bool, error) {
	return first[membership](ctx, s.db.Pool, "read a membership", selectMembership, args{"org_id": orgID, "user_id": userID})
}
