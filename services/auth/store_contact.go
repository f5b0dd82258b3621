package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// phoneClaim is an account with a phone.
type phoneClaim struct {
	ID     uuid.UUID
	Proved bool
}

const selectPhoneClaims = `
SELECT id, phone_verified_at IS NOT NULL AS proved
  FROM auth.account
 WHERE phone = @phone AND state <> 'DELETED'
 ORDER BY phone_verified_at NULLS LAST, id
 LIMIT 2`

// phoneOwner is the account a phone means: the one that has proved it, else the
// only one that claims it.
func (s *Service) phoneOwner(ctx context.Context, q pg.Querier, number string) (phoneClaim, bool, error) {
	list, err := all[phoneClaim](ctx, q, "read a phone's claims", selectPhoneClaims, args{"phone": number})
	if err != nil || len(list) == 0 || len(list) > 1 && !list[0].Proved {
		return phoneClaim{}, false, err
	}
	return list[0], true, nil
}

const provePhone = `
UPDATE auth.account
   SET phone = @phone, phone_verified_at = @now, version = version + 1, updated_at = @now
 WHERE id = @id
   AND NOT EXISTS (SELECT 1 FROM auth.account AS o WHERE o.phone = @phone AND o.id <> @id AND o.phone_verified_at IS NOT NULL)`

// provePhone makes a phone the account's own; taken says that another has
// proved it.
func (s *Service) provePhone(ctx context.Context, tx pg.Tx, account uuid.UUID, number string, now time.Time) (taken bool, err error) {
	n, err := run(ctx, tx, "prove a phone", provePhone, args{"id": account, "phone": number, "now": now})
	if pg.IsUnique(err, "account_proved_phone") { // at the same moment
		return true, wrongCode()
	}
	return n == 0, err
}

const updateEmail = `
UPDATE auth.account
   SET email = @email, email_verified_at = @now, version = version + 1, updated_at = @now
 WHERE id = @id
   AND NOT EXISTS (SELECT 1 FROM auth.account AS o WHERE o.email = @email AND o.id <> @id)`

// setEmail gives an account a proved address; taken says that another has it.
func (s *Service) setEmail(ctx context.Context, tx pg.Tx, account uuid.UUID, email string, now time.Time) (taken bool, err error) {
	n, err := run(ctx, tx, "set an address", updateEmail, args{"id": account, "email": email, "now": now})
	if pg.IsUnique(err, "account_email_key") { // at the same moment
		return true, wrongCode()
	}
	return n == 0, err
}
