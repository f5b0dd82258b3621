package user

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

const therapistColumns = `
SELECT t.user_id, t.type, t.specializations, t.experience_years, t.license_number, t.languages, t.about, t.state, t.reason,
       t.submitted_at, t.decided_at, t.verified_at, t.version, t.created_at, t.updated_at,
       coalesce(nullif(p.display_name, ''), trim(p.first_name || ' ' || p.last_name)) AS display_name, p.avatar_url
  FROM users.therapist_profile AS t
  JOIN users.profile AS p ON p.user_id = t.user_id AND p.state <> 'DELETED'`

const selectTherapist = therapistColumns + `
 WHERE t.user_id = @user_id`

// therapist reads a profile in any state; NOT_FOUND when there is none.
func (s *Service) therapist(ctx context.Context, userID uuid.UUID) (therapist, error) {
	t, found, err := first[therapist](ctx, s.db.Pool, "read a therapist", selectTherapist, args{"user_id": userID})
	if err == nil && !found {
		err = noTherapist()
	}
	return t, err
}

const lockTherapist = selectTherapist + ` FOR UPDATE OF t`

func (s *Service) lockTherapist(ctx context.Context, tx pg.Tx, userID uuid.UUID) (therapist, error) {
	t, found, err := first[therapist](ctx, tx, "lock a therapist", lockTherapist, args{"user_id": userID})
	if err == nil && !found {
		err = noTherapist()
	}
	return t, err
}

const insertTherapist = `
INSERT INTO users.therapist_profile (user_id, type, specializations, experience_years, license_number, languages, about, state, created_at, updated_at)
VALUES (@user_id, @type, @specializations, @experience_years, @license_number, @languages, @about, 'DRAFT', @now, @now)
    ON CONFLICT (user_id) DO NOTHING`

// insertTherapist reports whether there was none.
func (s *Service) insertTherapist(ctx context.Context, tx pg.Tx, t therapist, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "insert a therapist", insertTherapist, args{
		"user_id": t.UserID, "type": t.Type, "specializations": list(t.Specializations), "experience_years": t.ExperienceYears,
		"license_number": t.LicenseNumber, "languages": list(t.Languages), "about": t.About, "now": now,
	})
	return n == 1, err
}

const updateTherapist = `
UPDATE users.therapist_profile
   SET type = @type, specializations = @specializations, experience_years = @experience_years, license_number = @license_number,
       languages = @languages, about = @about, state = @state, reason = @reason, submitted_at = @submitted_at,
       decided_at = @decided_at, verified_at = @verified_at, version = version + 1, updated_at = @now
 WHERE user_id = @user_id`

func (s *Service) saveTherapist(ctx context.Context, tx pg.Tx, t therapist) error {
	_, err := run(ctx, tx, "update a therapist", updateTherapist, args{
		"user_id": t.UserID, "type": t.Type, "specializations": list(t.Specializations), "experience_years": t.ExperienceYears,
		"license_number": t.LicenseNumber, "languages": list(t.Languages), "about": t.About, "state": t.State, "reason": t.Reason,
		"submitted_at": t.SubmittedAt, "decided_at": t.DecidedAt, "verified_at": t.VerifiedAt, "now": s.now(),
	})
	return err
}

// therapistFilter is what a list is narrowed to; empty is everything.
type therapistFilter struct{ Language, Specialization, Type, State string }

const publicTherapist = ` AND t.state = 'VERIFIED' AND p.state = 'ACTIVE'
   AND (@language = '' OR @language = ANY (t.languages))
   AND (@specialization = '' OR @specialization = ANY (t.specializations))
   AND (@type = '' OR t.type = @type)`

const selectVerified = therapistColumns + `
 WHERE (t.verified_at, t.user_id) < (@before_time, @before_id)` + publicTherapist + `
 ORDER BY t.verified_at DESC, t.user_id DESC
 LIMIT @limit`

const fromTherapists = `
SELECT count(*)
  FROM users.therapist_profile AS t
  JOIN users.profile AS p ON p.user_id = t.user_id AND p.state <> 'DELETED'
 WHERE true`

const countVerified = fromTherapists + publicTherapist

// verified reads a page of those everyone may see, and counts them all.
func (s *Service) verified(ctx context.Context, f therapistFilter, before cursor, limit int) ([]therapist, int64, error) {
	where := args{"language": f.Language, "specialization": f.Specialization, "type": f.Type}
	n, err := number(ctx, s.db.Pool, "count therapists", countVerified, where)
	if err != nil {
		return nil, 0, err
	}
	where["before_time"], where["before_id"], where["limit"] = before.Time, before.ID, limit
	rows, err := all[therapist](ctx, s.db.Pool, "list therapists", selectVerified, where)
	return rows, n, err
}

const selectVerifiedOne = therapistColumns + `
 WHERE t.user_id = @user_id AND t.state = 'VERIFIED' AND p.state = 'ACTIVE'`

func (s *Service) verifiedOne(ctx context.Context, userID uuid.UUID) (therapist, error) {
	t, found, err := first[therapist](ctx, s.db.Pool, "read a verified therapist", selectVerifiedOne, args{"user_id": userID})
	if err == nil && !found {
		err = noTherapist()
	}
	return t, err
}

const inState = ` AND (@state = '' OR t.state = @state)`

const selectTherapists = therapistColumns + `
 WHERE (t.updated_at, t.user_id) < (@before_time, @before_id)` + inState + `
 ORDER BY t.updated_at DESC, t.user_id DESC
 LIMIT @limit`

const countTherapists = fromTherapists + inState

// therapists reads a page for an operator, latest change first.
func (s *Service) therapists(ctx context.Context, state string, before cursor, limit int) ([]therapist, int64, error) {
	n, err := number(ctx, s.db.Pool, "count therapist profiles", countTherapists, args{"state": state})
	if err != nil {
		return nil, 0, err
	}
	rows, err := all[therapist](ctx, s.db.Pool, "list therapist profiles", selectTherapists, args{
		"state": state, "before_time": before.Time, "before_id": before.ID, "limit": limit,
	})
	return rows, n, err
}
