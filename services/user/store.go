package user

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
)

// querier is a pool or a transaction.
type querier = pg.Querier

const selectProfile = `
SELECT user_id, email, phone, state, roles, account_version, first_name, last_name, display_name,
       bio, timezone, locale, avatar_url, version, created_at, updated_at
  FROM users.profile
 WHERE user_id = @user_id AND state <> 'DELETED'`

// profile reads one row; errNoProfile when there is none.
func (s *Service) profile(ctx context.Context, q querier, userID uuid.UUID) (profile, error) {
	return s.one(ctx, q, selectProfile, pgx.NamedArgs{"user_id": userID})
}

func (s *Service) one(ctx context.Context, q querier, sql string, args pgx.NamedArgs) (profile, error) {
	rows, err := q.Query(ctx, sql, args)
	if err != nil {
		return profile{}, pg.Err(fmt.Errorf("query a profile: %w", err))
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[profile])
	if errors.Is(err, pgx.ErrNoRows) {
		return profile{}, errNoProfile
	}
	if err != nil {
		return profile{}, pg.Err(fmt.Errorf("read a profile: %w", err))
	}
	return p, nil
}

const selectProfiles = `
SELECT user_id, email, phone, state, roles, account_version, first_name, last_name, display_name,
       bio, timezone, locale, avatar_url, version, created_at, updated_at
  FROM users.profile
 WHERE user_id = ANY (@user_ids)`

// profiles reads the rows that exist among ids.
func (s *Service) profiles(ctx context.Context, ids []uuid.UUID) ([]profile, error) {
	rows, err := s.db.Pool.Query(ctx, selectProfiles, pgx.NamedArgs{"user_ids": ids})
	if err != nil {
		return nil, pg.Err(fmt.Errorf("query profiles: %w", err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[profile])
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read profiles: %w", err))
	}
	return list, nil
}

const insertProfile = `
INSERT INTO users.profile (user_id, email, phone, state, roles, account_version, first_name, last_name, locale, created_at, updated_at)
VALUES (@user_id, @email, @phone, @state, @roles, @account_version, @first_name, @last_name, @locale, @created_at, @now)
    ON CONFLICT (user_id) DO NOTHING`

// insertProfile makes the row of a new account; an existing one stays.
func (s *Service) insertProfile(ctx context.Context, q querier, a account) error {
	_, err := q.Exec(ctx, insertProfile, pgx.NamedArgs{
		"user_id": a.UserID, "email": a.Email, "phone": a.Phone, "state": a.State, "roles": a.Roles,
		"account_version": a.Version, "first_name": a.FirstName, "last_name": a.LastName, "locale": a.Locale,
		"created_at": a.CreatedAt, "now": s.now(),
	})
	if err != nil {
		return pg.Err(fmt.Errorf("insert profile %s: %w", a.UserID, err))
	}
	return nil
}

// The etag covers state and roles as well, so these make a new version too.
const updateAccount = `
UPDATE users.profile
   SET email = @email, phone = @phone, state = @state, roles = @roles,
       account_version = @account_version, version = version + 1, updated_at = @now
 WHERE user_id = @user_id AND account_version < @account_version`

// updateAccount copies auth's fields unless newer ones are here already.
func (s *Service) updateAccount(ctx context.Context, q querier, a account) error {
	_, err := q.Exec(ctx, updateAccount, pgx.NamedArgs{
		"user_id": a.UserID, "email": a.Email, "phone": a.Phone, "state": a.State, "roles": a.Roles,
		"account_version": a.Version, "now": s.now(),
	})
	return pg.Err(err)
}

const lockProfile = selectProfile + ` FOR UPDATE`

const updateProfile = `
UPDATE users.profile
   SET first_name = @first_name, last_name = @last_name, display_name = @display_name, bio = @bio,
       timezone = @timezone, locale = @locale, avatar_url = @avatar_url,
       version = version + 1, updated_at = @now
 WHERE user_id = @user_id
RETURNING user_id, email, phone, state, roles, account_version, first_name, last_name, display_name,
          bio, timezone, locale, avatar_url, version, created_at, updated_at`

// updateProfile applies change to the locked row and records it in the same
// transaction. change answers the paths it really changed; none leaves the row
// and the log as they are.
func (s *Service) updateProfile(ctx context.Context, caller *token.Caller, ifMatch string, change func(p *profile) []string) (profile, error) {
	var p profile
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var err error
		if p, err = s.one(ctx, tx, lockProfile, pgx.NamedArgs{"user_id": caller.UserID}); err != nil {
			return err
		}
		if err := unchanged(ifMatch, p.Version, "profile"); err != nil {
			return err
		}
		changed := change(&p)
		if len(changed) == 0 {
			return nil
		}
		if p, err = s.one(ctx, tx, updateProfile, pgx.NamedArgs{
			"user_id": p.UserID, "first_name": p.FirstName, "last_name": p.LastName, "display_name": p.DisplayName,
			"bio": p.Bio, "timezone": p.Timezone, "locale": p.Locale, "avatar_url": p.AvatarURL, "now": s.now(),
		}); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, profileUpdated(caller, changed, s.now()))
	})
	if err != nil {
		return profile{}, err
	}
	s.outbox.Wake()
	return p, nil
}
