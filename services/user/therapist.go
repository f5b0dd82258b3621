package user

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// States of a therapist's profile.
const (
	therapistDraft     = "DRAFT"
	therapistPending   = "PENDING"
	therapistVerified  = "VERIFIED"
	therapistRejected  = "REJECTED"
	therapistSuspended = "SUSPENDED"
)

const coach = "COACH" // the one type that no council licenses

// therapist is one professional's row.
type therapist struct {
	UserID          uuid.UUID
	Type            string
	Specializations []string
	ExperienceYears int32
	LicenseNumber   string
	Languages       []string
	About           string
	State           string
	Reason          string
	SubmittedAt     *time.Time
	DecidedAt       *time.Time
	VerifiedAt      *time.Time
	Version         int64
	CreatedAt       time.Time
	UpdatedAt       time.Time
	DisplayName     string
	AvatarURL       string
}

func (t therapist) changedAt() cursor { return cursor{Time: t.UpdatedAt, ID: t.UserID} }

// verifiedSince places a verified one in the public list.
func (t therapist) verifiedSince() cursor {
	if t.VerifiedAt == nil {
		return cursor{ID: t.UserID}
	}
	return cursor{Time: *t.VerifiedAt, ID: t.UserID}
}

func noTherapist() error { return fail.New(fail.NotFound, "there is no such therapist") }

// sameWords reports whether a person wrote the same.
func (t therapist) sameWords(o therapist) bool {
	return t.Type == o.Type && slices.Equal(t.Specializations, o.Specializations) && t.ExperienceYears == o.ExperienceYears &&
		t.LicenseNumber == o.LicenseNumber && slices.Equal(t.Languages, o.Languages) && t.About == o.About
}

// edited gives the state after the person has written something else. What an
// operator looked at is never what others then see under it: a new licence is
// verified anew, and what waits for a decision is taken back.
func edited(before, after therapist) string {
	licence := before.Type != after.Type || before.LicenseNumber != after.LicenseNumber
	switch before.State {
	case therapistVerified:
		if licence {
			return therapistPending
		}
		return therapistVerified
	case therapistSuspended:
		return therapistSuspended // only an operator ends it
	default:
		return therapistDraft
	}
}

// decided gives the state after a decision; ok is false when it does not fit.
// A decision that stands already is repeated without effect.
func decided(state, to string) bool {
	switch to {
	case therapistVerified:
		return state == therapistPending || state == therapistSuspended || state == to
	case therapistRejected:
		return state == therapistPending || state == to
	case therapistSuspended:
		return state == therapistVerified || state == to
	default:
		return false
	}
}

// complete refuses what cannot be verified.
func (t therapist) complete() error {
	bad := fail.New(fail.InvalidArgument, "the profile is not complete")
	if len(t.Specializations) == 0 {
		bad = bad.Field("specializations", "must not be empty")
	}
	if len(t.Languages) == 0 {
		bad = bad.Field("languages", "must not be empty")
	}
	if t.LicenseNumber == "" && t.Type != coach {
		bad = bad.Field("licenseNumber", "must be given")
	}
	if len(bad.Fields) == 0 {
		return nil
	}
	return bad
}

// tidy brings texts to the form they are kept in.
func (t *therapist) tidy() error {
	t.LicenseNumber = strings.Join(strings.Fields(t.LicenseNumber), " ")
	specializations := make([]string, 0, len(t.Specializations))
	for _, s := range t.Specializations {
		s = strings.ToLower(strings.Join(strings.Fields(s), " "))
		if s == "" || !printable(s) {
			return badField("profile.specializations", "must be plain words")
		}
		if !slices.Contains(specializations, s) {
			specializations = append(specializations, s)
		}
	}
	t.Specializations = specializations
	if !printable(t.LicenseNumber) {
		return badField("profile.licenseNumber", "must not hold invisible characters")
	}
	if strings.ContainsFunc(t.About, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		return badField("profile.about", "must not hold control characters")
	}
	return nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// putTherapist writes the caller's profile whole.
func (s *Service) putTherapist(ctx context.Context, caller *token.Caller, to therapist, ifMatch string) (t therapist, err error) {
	if err := to.tidy(); err != nil {
		return t, err
	}
	if _, err := s.read(ctx, caller.UserID); err != nil {
		return t, err
	}
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		now := s.now()
		to.UserID = caller.UserID
		made, err := s.insertTherapist(ctx, tx, to, now)
		if err != nil {
			return err
		}
		before, err := s.lockTherapist(ctx, tx, caller.UserID)
		if err != nil {
			return err
		}
		seen := before.Version
		if made {
			seen = 0 // nothing was there to be seen
		}
		if err := unchanged(ifMatch, seen, "profile"); err != nil {
			return err
		}
		if made {
			t = before
			return s.record(ctx, tx, caller, act{Action: trail.TherapistCreated, Targets: []target{userTarget(caller.UserID)}})
		}
		t = before
		t.Type, t.Specializations, t.ExperienceYears = to.Type, to.Specializations, to.ExperienceYears
		t.LicenseNumber, t.Languages, t.About = to.LicenseNumber, to.Languages, to.About
		if t.sameWords(before) {
			return nil
		}
		if t.State = edited(before, t); t.State == therapistPending {
			t.SubmittedAt = &now
		}
		return s.move(ctx, tx, caller, before, &t, act{Action: trail.TherapistUpdated})
	})
	return s.moved(t, err)
}

// submitTherapist asks for verification.
func (s *Service) submitTherapist(ctx context.Context, caller *token.Caller) (t therapist, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		before, err := s.lockTherapist(ctx, tx, caller.UserID)
		if err != nil {
			return err
		}
		t = before
		switch before.State {
		case therapistPending:
			return nil
		case therapistDraft, therapistRejected:
		default:
			return fail.New(fail.Conflict, "the profile is %s", strings.ToLower(before.State))
		}
		if err := before.complete(); err != nil {
			return err
		}
		now := s.now()
		t.State, t.Reason, t.SubmittedAt = therapistPending, "", &now
		return s.move(ctx, tx, caller, before, &t, act{Action: trail.TherapistSubmitted})
	})
	return s.moved(t, err)
}

// therapistActions name what an operator decides.
var therapistActions = map[string]trail.Action{
	therapistVerified: trail.TherapistVerified, therapistRejected: trail.TherapistRejected, therapistSuspended: trail.TherapistSuspended,
}

// decideTherapist is an operator's decision. A refusal for one's own profile is
// told after the commit: the attempt is on record.
func (s *Service) decideTherapist(ctx context.Context, caller *token.Caller, userID uuid.UUID, choose func(state string) string, reason, ifMatch string) (t therapist, err error) {
	var refusal error
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		refusal = nil
		before, err := s.lockTherapist(ctx, tx, userID)
		if err != nil {
			return err
		}
		to := choose(before.State)
		what := act{Action: therapistActions[to], Admin: true, Reason: strings.TrimSpace(reason)}
		if userID == caller.UserID {
			refusal = fail.New(fail.PermissionDenied, "nobody decides about oneself")
			what.Denied, what.Targets = true, []target{userTarget(userID)}
			return s.record(ctx, tx, caller, what)
		}
		if err := unchanged(ifMatch, before.Version, "profile"); err != nil {
			return err
		}
		if !decided(before.State, to) {
			return fail.New(fail.Conflict, "the profile is %s", strings.ToLower(before.State))
		}
		if t = before; before.State == to {
			return nil
		}
		now := s.now()
		t.State, t.DecidedAt, t.Reason = to, &now, ""
		if to == therapistVerified {
			t.VerifiedAt = &now
		} else {
			t.Reason = what.Reason
		}
		return s.move(ctx, tx, caller, before, &t, what)
	})
	if err == nil && refusal != nil {
		s.outbox.Wake()
		return therapist{}, refusal
	}
	return s.moved(t, err)
}

// move writes a changed profile, records it, and has auth give or take the
// role when the verification came or went.
func (s *Service) move(ctx context.Context, tx pg.Tx, caller *token.Caller, before therapist, t *therapist, what act) error {
	if err := s.saveTherapist(ctx, tx, *t); err != nil {
		return err
	}
	var err error
	if *t, err = s.lockTherapist(ctx, tx, t.UserID); err != nil {
		return err
	}
	what.Targets = []target{userTarget(t.UserID)}
	if before.State != t.State {
		what.Changes = append(what.Changes, change{"state", before.State, t.State})
	}
	if before.LicenseNumber != t.LicenseNumber {
		what.Changes = append(what.Changes, change{Path: "licenseNumber"}) // a personal number stays here
	}
	if before.Type != t.Type {
		what.Changes = append(what.Changes, change{"type", before.Type, t.Type})
	}
	if err := s.record(ctx, tx, caller, what); err != nil {
		return err
	}
	is, was := t.State == therapistVerified, before.State == therapistVerified
	if is == was {
		return nil
	}
	return s.outbox.Append(ctx, tx, s.therapistVerified(t.UserID, is, t.Version))
}

func (s *Service) moved(t therapist, err error) (therapist, error) {
	if err != nil {
		return therapist{}, err
	}
	s.outbox.Wake()
	return t, nil
}
