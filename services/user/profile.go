package user

import (
	"context"
	"errors"
	"fmt"
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

// profile is one person's row.
type profile struct {
	UserID         uuid.UUID
	Email          *string
	Phone          *string
	State          string
	Roles          []string
	AccountVersion int64
	FirstName      string
	LastName       string
	DisplayName    string
	Bio            string
	Timezone       string
	Locale         string
	AvatarURL      string
	Version        int64
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// errNoProfile is what the store answers when there is no such row.
var errNoProfile = errors.New("no profile")

// etag is the strong validator of a profile.
func (p profile) etag() string { return etagOf(p.Version) }

// name is what to call the person: the chosen name, or both names.
func (p profile) name() string {
	if p.DisplayName != "" {
		return p.DisplayName
	}
	return strings.TrimSpace(p.FirstName + " " + p.LastName)
}

// editable lists the fields a person may change, and how. Anything else in a
// mask is refused, so no body can reach roles, state or address.
var editable = map[string]func(p *profile, from profile){
	"first_name":   func(p *profile, from profile) { p.FirstName = from.FirstName },
	"last_name":    func(p *profile, from profile) { p.LastName = from.LastName },
	"display_name": func(p *profile, from profile) { p.DisplayName = from.DisplayName },
	"bio":          func(p *profile, from profile) { p.Bio = from.Bio },
	"timezone":     func(p *profile, from profile) { p.Timezone = from.Timezone },
	"locale":       func(p *profile, from profile) { p.Locale = from.Locale },
	"avatar_url":   func(p *profile, from profile) { p.AvatarURL = from.AvatarURL },
}

// read answers a profile. A person whose account is newer than the event about
// it is looked up at auth, so that nobody meets a 404 right after verifying.
func (s *Service) read(ctx context.Context, userID uuid.UUID) (profile, error) {
	p, err := s.profile(ctx, s.db.Pool, userID)
	if !errors.Is(err, errNoProfile) {
		return p, err
	}
	account, err := s.auth.account(ctx, userID)
	if err != nil {
		return profile{}, err
	}
	if err := s.insertProfile(ctx, s.db.Pool, account); err != nil {
		return profile{}, err
	}
	return s.profile(ctx, s.db.Pool, userID)
}

// visible answers a profile to the one who asks: oneself, or anybody to a
// holder of users.manage. All others get NOT_FOUND, which tells nothing.
func (s *Service) visible(ctx context.Context, caller *token.Caller, userID uuid.UUID) (profile, error) {
	if caller.UserID != userID && !caller.Has("users.manage") {
		return profile{}, fail.New(fail.NotFound, "there is no such user")
	}
	p, err := s.read(ctx, userID)
	if err != nil || caller.UserID == userID {
		return p, err
	}
	// An operator sees nobody unseen: no record, no answer.
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		return s.record(ctx, tx, caller, act{Action: trail.UserViewed, Admin: true, Targets: []target{userTarget(userID)}})
	})
	if err != nil {
		return profile{}, err
	}
	s.outbox.Wake()
	return p, nil
}

// update changes the masked fields of the caller's profile. ifMatch is the
// etag the client saw, or empty.
func (s *Service) update(ctx context.Context, caller *token.Caller, mask []string, to profile, ifMatch string) (profile, error) {
	if err := check(mask, to); err != nil {
		return profile{}, err
	}
	if _, err := s.read(ctx, caller.UserID); err != nil { // makes the row if its event is late
		return profile{}, err
	}
	return s.updateProfile(ctx, caller, ifMatch, func(p *profile) []string {
		before := *p
		var changed []string
		for _, path := range mask {
			set := editable[path]
			set(p, to)
		}
		for _, path := range mask {
			one := before
			editable[path](&one, *p)
			if !one.same(before) && !slices.Contains(changed, path) {
				changed = append(changed, path)
			}
		}
		return changed
	})
}

// same reports whether the editable fields are equal.
func (p profile) same(o profile) bool {
	return p.FirstName == o.FirstName && p.LastName == o.LastName && p.DisplayName == o.DisplayName &&
		p.Bio == o.Bio && p.Timezone == o.Timezone && p.Locale == o.Locale && p.AvatarURL == o.AvatarURL
}

// check refuses what the contract's bounds cannot say.
func check(mask []string, to profile) error {
	bad := fail.New(fail.InvalidArgument, "some fields are not valid")
	if len(mask) == 0 {
		bad = bad.Field("", "the body changes nothing")
	}
	for _, path := range mask {
		if _, ok := editable[path]; !ok {
			bad = bad.Field(path, "cannot be changed")
		}
	}
	if slices.Contains(mask, "timezone") {
		if _, err := time.LoadLocation(to.Timezone); err != nil || to.Timezone == "" || to.Timezone == "Local" {
			bad = bad.Field("timezone", "is not an IANA time zone")
		}
	}
	if slices.Contains(mask, "locale") && to.Locale == "" {
		bad = bad.Field("locale", "must be one of en, hi, kn, ta, te")
	}
	for path, text := range map[string]string{"firstName": to.FirstName, "lastName": to.LastName, "displayName": to.DisplayName} {
		if strings.IndexFunc(text, unicode.IsControl) >= 0 {
			bad = bad.Field(path, "must not hold control characters")
		}
	}
	if slices.Contains(mask, "first_name") && strings.TrimSpace(to.FirstName) == "" {
		bad = bad.Field("firstName", "must not be empty")
	}
	if len(bad.Fields) == 0 {
		return nil
	}
	return bad
}

// apply brings auth's view of an account into the profile. Older news than
// what is known changes nothing.
func (s *Service) apply(ctx context.Context, q querier, a account) error {
	if err := s.insertProfile(ctx, q, a); err != nil {
		return err
	}
	if err := s.updateAccount(ctx, q, a); err != nil {
		return fmt.Errorf("apply account %s: %w", a.UserID, err)
	}
	return nil
}

// account is what auth says of a person.
type account struct {
	UserID        uuid.UUID
	Email         *string
	EmailVerified bool
	Phone         *string
	State         string
	Roles         []string
	Version       int64
	FirstName     string
	LastName      string
	Locale        string
	CreatedAt     time.Time
}
