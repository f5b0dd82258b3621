package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

const selectRecipient = `
SELECT sent_at FROM auth.recipient WHERE address = @address AND sent_at > @since`

// lastSent gives when the address was last written to, if that is after since.
func (s *Service) lastSent(ctx context.Context, address string, since time.Time) (time.Time, bool, error) {
	list, err := column[time.Time](ctx, s.db.Pool, "read a recipient", selectRecipient, args{"address": address, "since": since})
	if err != nil || len(list) == 0 {
		return time.Time{}, false, err
	}
	return list[0], true, nil
}

const claimRecipient = `
INSERT INTO auth.recipient AS r (address, sent_at)
VALUES (@address, @now)
    ON CONFLICT (address) DO UPDATE SET sent_at = @now WHERE r.sent_at <= @since`

// claimRecipient takes the address's turn; false when another took it since.
func (s *Service) claimRecipient(ctx context.Context, tx pg.Tx, address string, since, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "claim a recipient", claimRecipient, args{"address": address, "since": since, "now": now})
	return n == 1, err
}

const insertRegistration = `
INSERT INTO auth.registration (id, email, phc, phone, first_name, last_name, locale, accepted_terms, created_at, expires_at)
VALUES (@id, @email, @phc, @phone, @first_name, @last_name, @locale, @accepted_terms, @now, @expires_at)`

func (s *Service) insertRegistration(ctx context.Context, tx pg.Tx, id uuid.UUID, p person, phc string, now time.Time) error {
	_, err := run(ctx, tx, "insert a registration", insertRegistration, args{
		"id": id, "email": p.Email, "phc": phc, "phone": p.Phone, "first_name": p.FirstName, "last_name": p.LastName,
		"locale": p.Locale, "accepted_terms": p.AcceptedTerms, "now": now, "expires_at": now.Add(registrationLife),
	})
	return err
}

// registration is a wish for an account.
type registration struct {
	ID            uuid.UUID
	Email         string
	PHC           string
	Phone         *string
	FirstName     string
	LastName      string
	Locale        string
	AcceptedTerms string
}

func (r registration) person() person {
	return person{Email: r.Email, Phone: r.Phone, FirstName: r.FirstName, LastName: r.LastName, Locale: r.Locale, AcceptedTerms: r.AcceptedTerms}
}

const registrationColumns = `
SELECT id, email, phc, phone, first_name, last_name, locale, accepted_terms
  FROM auth.registration`

const selectRegistration = registrationColumns + `
 WHERE id = @id AND expires_at > @now`

func (s *Service) registration(ctx context.Context, tx pg.Tx, id uuid.UUID, now time.Time) (registration, bool, error) {
	return one[registration](ctx, tx, "read a registration", selectRegistration, args{"id": id, "now": now})
}

const selectLastRegistration = registrationColumns + `
 WHERE email = @email AND expires_at > @now
 ORDER BY created_at DESC
 LIMIT 1`

func (s *Service) lastRegistration(ctx context.Context, email string, now time.Time) (registration, bool, error) {
	return one[registration](ctx, s.db.Pool, "read the last registration", selectLastRegistration, args{"email": email, "now": now})
}

const deleteRegistrations = `
DELETE FROM auth.registration WHERE email = @email`

const releaseRecipient = `
DELETE FROM auth.recipient WHERE address = @address`

// releaseRecipient lets the next message to an address go at once. The pause
// spares people a second code while the first is good; a used code asks for none.
func (s *Service) releaseRecipient(ctx context.Context, tx pg.Tx, address string) error {
	_, err := run(ctx, tx, "release a recipient", releaseRecipient, args{"address": address})
	return err
}

// dropRegistrations forgets every wish for an address, with its challenges.
func (s *Service) dropRegistrations(ctx context.Context, tx pg.Tx, email string) error {
	_, err := run(ctx, tx, "drop registrations", deleteRegistrations, args{"email": email})
	return err
}

// challenge is something to prove.
type challenge struct {
	ID             uuid.UUID
	Purpose        string
	RegistrationID *uuid.UUID
	AccountID      *uuid.UUID
	MAC            []byte
	CreatedAt      time.Time
	ExpiresAt      time.Time
}

const insertChallenge = `
INSERT INTO auth.challenge (id, purpose, registration_id, account_id, mac, max_attempts, created_at, expires_at)
VALUES (@id, @purpose, @registration_id, @account_id, @mac, @max_attempts, @created_at, @expires_at)`

func (s *Service) insertChallenge(ctx context.Context, q pg.Querier, c challenge) error {
	_, err := run(ctx, q, "insert a challenge", insertChallenge, args{
		"id": c.ID, "purpose": c.Purpose, "registration_id": c.RegistrationID, "account_id": c.AccountID, "mac": c.MAC,
		"max_attempts": maxAttempts, "created_at": c.CreatedAt, "expires_at": c.ExpiresAt,
	})
	return err
}

// answer is what became of one try.
type answer struct {
	RegistrationID *uuid.UUID
	AccountID      *uuid.UUID
	Right          bool
}

// Counting and using are one statement: of any number of tries at once, five
// are counted and one succeeds.
const answerChallenge = `
UPDATE auth.challenge
   SET attempts = attempts + 1, used_at = CASE WHEN mac = @mac THEN @now::timestamptz END
 WHERE id = @id AND purpose = @purpose AND used_at IS NULL AND attempts < max_attempts AND expires_at > @now
RETURNING registration_id, account_id, used_at IS NOT NULL AS "right"`

// answerChallenge tries a code; live is false when the challenge takes none.
func (s *Service) answerChallenge(ctx context.Context, tx pg.Tx, purpose string, id uuid.UUID, mac []byte, now time.Time) (a answer, live bool, err error) {
	return one[answer](ctx, tx, "answer a challenge", answerChallenge, args{"id": id, "purpose": purpose, "mac": mac, "now": now})
}

// For a second factor the handle must fit before a try is counted, and the
// challenge is used only once the factor fits as well.
const countTry = `
UPDATE auth.challenge
   SET attempts = attempts + 1
 WHERE id = @id AND purpose = @purpose AND mac = @mac AND used_at IS NULL AND attempts < max_attempts AND expires_at > @now
RETURNING registration_id, account_id, false AS "right"`

func (s *Service) countTry(ctx context.Context, tx pg.Tx, purpose string, id uuid.UUID, mac []byte, now time.Time) (a answer, live bool, err error) {
	return one[answer](ctx, tx, "count a try", countTry, args{"id": id, "purpose": purpose, "mac": mac, "now": now})
}

const useChallenge = `
UPDATE auth.challenge SET used_at = @now WHERE id = @id`

func (s *Service) useChallenge(ctx context.Context, tx pg.Tx, id uuid.UUID, now time.Time) error {
	_, err := run(ctx, tx, "use a challenge", useChallenge, args{"id": id, "now": now})
	return err
}

// fate is why a challenge takes no answer.
type fate struct {
	Used      bool
	Exhausted bool
	Expired   bool
	MAC       []byte
	AccountID *uuid.UUID
}

const selectFate = `
SELECT used_at IS NOT NULL AS used, attempts >= max_attempts AS exhausted, expires_at <= @now AS expired, mac, account_id
  FROM auth.challenge
 WHERE id = @id AND purpose = @purpose`

func (s *Service) fate(ctx context.Context, q pg.Querier, purpose string, id uuid.UUID, now time.Time) (fate, bool, error) {
	return one[fate](ctx, q, "read a challenge", selectFate, args{"id": id, "purpose": purpose, "now": now})
}
