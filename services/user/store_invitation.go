package user

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

const invitationColumns = `
SELECT i.id, i.org_id, o.name AS org_name, i.email, i.role, i.locale, i.invited_by, i.created_at, i.sent_at, i.expires_at,
       i.accepted_at, i.revoked_at
  FROM users.invitation AS i
  JOIN users.organization AS o ON o.id = i.org_id AND o.deleted_at IS NULL`

const selectInvitation = invitationColumns + `
 WHERE i.id = @id AND i.org_id = @org_id`

func (s *Service) invitation(ctx context.Context, tx pg.Tx, orgID, id uuid.UUID) (invitation, bool, error) {
	return first[invitation](ctx, tx, "read an invitation", selectInvitation, args{"id": id, "org_id": orgID})
}

const insertInvitation = `
INSERT INTO users.invitation (id, org_id, email, role, token_hash, locale, invited_by, created_at, sent_at, expires_at)
VALUES (@id, @org_id, @email, @role, @token_hash, @locale, @invited_by, @created_at, @sent_at, @expires_at)`

func (s *Service) insertInvitation(ctx context.Context, tx pg.Tx, i invitation, hash []byte) error {
	_, err := run(ctx, tx, "insert an invitation", insertInvitation, args{
		"id": i.ID, "org_id": i.OrgID, "email": i.Email, "role": i.Role, "token_hash": hash, "locale": i.Locale,
		"invited_by": i.InvitedBy, "created_at": i.CreatedAt, "sent_at": i.SentAt, "expires_at": i.ExpiresAt,
	})
	return err
}

const selectEmailIn = `
SELECT count(*)
  FROM users.org_member AS m
  JOIN users.profile AS p ON p.user_id = m.user_id
 WHERE m.org_id = @org_id AND p.email = @email`

// emailIn reports whether a member has the address.
func (s *Service) emailIn(ctx context.Context, tx pg.Tx, orgID uuid.UUID, email string) (bool, error) {
	n, err := number(ctx, tx, "look for a member by address", selectEmailIn, args{"org_id": orgID, "email": email})
	return n > 0, err
}

const revokeExpired = `
UPDATE users.invitation
   SET revoked_at = @now
 WHERE org_id = @org_id AND email = @email AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at <= @now`

func (s *Service) revokeExpired(ctx context.Context, tx pg.Tx, orgID uuid.UUID, email string, now time.Time) error {
	_, err := run(ctx, tx, "revoke an expired invitation", revokeExpired, args{"org_id": orgID, "email": email, "now": now})
	return err
}

const countOpen = `
SELECT count(*)
  FROM users.invitation
 WHERE org_id = @org_id AND email = @email AND accepted_at IS NULL AND revoked_at IS NULL`

func (s *Service) openTo(ctx context.Context, tx pg.Tx, orgID uuid.UUID, email string) (bool, error) {
	n, err := number(ctx, tx, "look for an open invitation", countOpen, args{"org_id": orgID, "email": email})
	return n > 0, err
}

// mails is how much an organization has sent.
type mails struct{ All, ToOne int64 }

const countMails = `
SELECT coalesce(sum(sent), 0)::bigint AS all, coalesce(sum(sent) FILTER (WHERE email = @email), 0)::bigint AS to_one
  FROM users.invitation
 WHERE org_id = @org_id AND sent_at > @since`

func (s *Service) mails(ctx context.Context, tx pg.Tx, orgID uuid.UUID, email string, since time.Time) (mails, error) {
	m, _, err := first[mails](ctx, tx, "count an organization's mail", countMails, args{"org_id": orgID, "email": email, "since": since})
	return m, err
}

const renewInvitation = `
UPDATE users.invitation
   SET token_hash = @token_hash, invited_by = @invited_by, sent_at = @sent_at, expires_at = @expires_at, sent = sent + 1
 WHERE id = @id AND accepted_at IS NULL AND revoked_at IS NULL`

func (s *Service) renewInvitation(ctx context.Context, tx pg.Tx, i invitation, hash []byte) error {
	_, err := run(ctx, tx, "renew an invitation", renewInvitation, args{
		"id": i.ID, "token_hash": hash, "invited_by": i.InvitedBy, "sent_at": i.SentAt, "expires_at": i.ExpiresAt,
	})
	return err
}

const revokeInvitation = `
UPDATE users.invitation
   SET revoked_at = @now
 WHERE id = @id AND org_id = @org_id AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > @now`

// revokeInvitation reports whether it was open.
func (s *Service) revokeInvitation(ctx context.Context, tx pg.Tx, orgID, id uuid.UUID) (bool, error) {
	n, err := run(ctx, tx, "revoke an invitation", revokeInvitation, args{"id": id, "org_id": orgID, "now": s.now()})
	return n == 1, err
}

const revokeInvitations = `
UPDATE users.invitation
   SET revoked_at = @now
 WHERE org_id = @org_id AND accepted_at IS NULL AND revoked_at IS NULL
   AND (@invited_by::uuid IS NULL OR invited_by = @invited_by)
   AND (@role = 'MEMBER' OR role = @role)`

// revokeAll ends the open invitations of an organization, by one inviter if
// that is not zero; to one role unless that is MEMBER, which is all.
func (s *Service) revokeAll(ctx context.Context, tx pg.Tx, orgID, invitedBy uuid.UUID, role string) (int64, error) {
	var by *uuid.UUID
	if invitedBy != uuid.Nil {
		by = &invitedBy
	}
	return run(ctx, tx, "revoke invitations", revokeInvitations, args{"org_id": orgID, "invited_by": by, "role": role, "now": s.now()})
}

// invitedTo is the organization a token leads to.
type invitedTo struct{ ID, PayerID uuid.UUID }

const lockInvited = `
SELECT o.id, o.payer_id
  FROM users.organization AS o
 WHERE o.id = (SELECT i.org_id FROM users.invitation AS i WHERE i.token_hash = @token_hash) AND o.deleted_at IS NULL
   FOR UPDATE`

// lockInvited locks the organization of a token, before its seats.
func (s *Service) lockInvited(ctx context.Context, tx pg.Tx, hash []byte) (orgID, payer uuid.UUID, err error) {
	o, found, err := first[invitedTo](ctx, tx, "lock the organization of an invitation", lockInvited, args{"token_hash": hash})
	if err == nil && !found {
		err = noInvitation()
	}
	return o.ID, o.PayerID, err
}

const takeInvitation = `
UPDATE users.invitation AS i
   SET accepted_at = @now, accepted_by = @user_id
  FROM users.organization AS o
 WHERE i.token_hash = @token_hash AND i.email = @email AND o.id = i.org_id
   AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > @now
RETURNING i.id, i.org_id, o.name AS org_name, i.email, i.role, i.locale, i.invited_by, i.created_at, i.sent_at, i.expires_at,
          i.accepted_at, i.revoked_at`

// takeInvitation uses a token up; taken is false for one that is wrong, used,
// late, revoked or another address's.
func (s *Service) takeInvitation(ctx context.Context, tx pg.Tx, hash []byte, email string, userID uuid.UUID) (i invitation, taken bool, err error) {
	return first[invitation](ctx, tx, "take an invitation", takeInvitation, args{
		"token_hash": hash, "email": email, "user_id": userID, "now": s.now(),
	})
}

const countActive = `
SELECT count(*) FROM users.profile WHERE user_id = @user_id AND state = 'ACTIVE'`

func (s *Service) activeProfile(ctx context.Context, tx pg.Tx, userID uuid.UUID) (bool, error) {
	n, err := number(ctx, tx, "look for an active profile", countActive, args{"user_id": userID})
	return n == 1, err
}

const selectInvitations = invitationColumns + `
 WHERE i.org_id = @org_id AND (i.created_at, i.id) < (@before_time, @before_id)
 ORDER BY i.created_at DESC, i.id DESC
 LIMIT @limit`

const countInvitations = `
SELECT count(*) FROM users.invitation WHERE org_id = @org_id`

// invitations reads a page, newest first, and counts them all.
func (s *Service) invitations(ctx context.Context, orgID uuid.UUID, before cursor, limit int) ([]invitation, int64, error) {
	n, err := number(ctx, s.db.Pool, "count invitations", countInvitations, args{"org_id": orgID})
	if err != nil {
		return nil, 0, err
	}
	rows, err := all[invitation](ctx, s.db.Pool, "list invitations", selectInvitations, args{
		"org_id": orgID, "before_time": before.Time, "before_id": before.ID, "limit": limit,
	})
	return rows, n, err
}

const toMe = `
 WHERE i.email = @email AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > @now`

const selectInvitationsTo = invitationColumns + toMe + `
   AND (i.created_at, i.id) < (@before_time, @before_id)
 ORDER BY i.created_at DESC, i.id DESC
 LIMIT @limit`

const countInvitationsTo = `
SELECT count(*)
  FROM users.invitation AS i
  JOIN users.organization AS o ON o.id = i.org_id AND o.deleted_at IS NULL` + toMe

// invitationsTo reads a page of the open ones to an address, and counts them.
func (s *Service) invitationsTo(ctx context.Context, email string, before cursor, limit int) ([]invitation, int64, error) {
	now := s.now()
	n, err := number(ctx, s.db.Pool, "count one's invitations", countInvitationsTo, args{"email": email, "now": now})
	if err != nil {
		return nil, 0, err
	}
	rows, err := all[invitation](ctx, s.db.Pool, "list one's invitations", selectInvitationsTo, args{
		"email": email, "now": now, "before_time": before.Time, "before_id": before.ID, "limit": limit,
	})
	return rows, n, err
}
