package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// oneTime is a code that went out, or the pretence of one.
type oneTime struct {
	ID          uuid.UUID
	Purpose     string
	AccountID   *uuid.UUID
	Recipient   string
	Channel     string
	MAC         []byte
	Attempts    int
	MaxAttempts int
	CreatedAt   time.Time
	ExpiresAt   time.Time
	UsedAt      *time.Time
}

func (x oneTime) account() uuid.UUID {
	if x.AccountID == nil {
		return uuid.Nil
	}
	return *x.AccountID
}

const insertCode = `
INSERT INTO auth.one_time (id, purpose, account_id, recipient, channel, mac, max_attempts, created_at, expires_at)
VALUES (@id, @purpose, @account_id, @recipient, @channel, @mac, @max_attempts, @created_at, @expires_at)`

func (s *Service) insertCode(ctx context.Context, tx pg.Tx, x oneTime) error {
	_, err := run(ctx, tx, "insert a code", insertCode, args{
		"id": x.ID, "purpose": x.Purpose, "account_id": x.AccountID, "recipient": x.Recipient, "channel": x.Channel,
		"mac": x.MAC, "max_attempts": maxAttempts, "created_at": x.CreatedAt, "expires_at": x.ExpiresAt,
	})
	return err
}

const selectCode = `
SELECT id, purpose, account_id, recipient, channel, mac, attempts, max_attempts, created_at, expires_at, used_at
  FROM auth.one_time
 WHERE id = @id AND purpose = @purpose`

func (s *Service) code(ctx context.Context, q pg.Querier, purpose string, id uuid.UUID) (oneTime, bool, error) {
	return one[oneTime](ctx, q, "read a code", selectCode, args{"id": id, "purpose": purpose})
}

// Counting and using are one statement: of any number of tries at once, five
// are compared and one succeeds. A right code that is kept costs no try.
const tryCode = `
UPDATE auth.one_time
   SET attempts = attempts + CASE WHEN @keep AND mac = @mac THEN 0 ELSE 1 END,
       used_at = CASE WHEN mac = @mac AND NOT @keep THEN @now::timestamptz END
 WHERE id = @id AND purpose = @purpose AND used_at IS NULL AND attempts < max_attempts AND expires_at > @now
RETURNING mac = @mac AS "right"`

// tryCode compares a code; live is false when the challenge takes none.
func (s *Service) tryCode(ctx context.Context, tx pg.Tx, a attemptAt, mac []byte, now time.Time) (right, live bool, err error) {
	list, err := column[bool](ctx, tx, "try a code", tryCode, args{"id": a.ID, "purpose": a.Purpose, "mac": mac, "keep": a.Keep, "now": now})
	if err != nil || len(list) == 0 {
		return false, false, err
	}
	return list[0], true, nil
}

const useCodes = `
UPDATE auth.one_time SET used_at = @now WHERE account_id = @id AND used_at IS NULL`

func (s *Service) useCodes(ctx context.Context, tx pg.Tx, account uuid.UUID, now time.Time) error {
	_, err := run(ctx, tx, "end an account's codes", useCodes, args{"id": account, "now": now})
	return err
}

const useChallenges = `
UPDATE auth.challenge SET used_at = @now WHERE account_id = @id AND used_at IS NULL`

func (s *Service) useChallenges(ctx context.Context, tx pg.Tx, account uuid.UUID, now time.Time) error {
	_, err := run(ctx, tx, "end an account's challenges", useChallenges, args{"id": account, "now": now})
	return err
}

const updateFirstFactor = `
UPDATE auth.challenge SET amr = @amr WHERE id = @id`

// noteFirstFactor keeps what a login that owes its second factor has shown.
func (s *Service) noteFirstFactor(ctx context.Context, id uuid.UUID, amr []string) error {
	_, err := run(ctx, s.db.Pool, "note a first factor", updateFirstFactor, args{"id": id, "amr": amr})
	return err
}

const selectFirstFactor = `
SELECT unnest(coalesce(amr, '{pwd}')) FROM auth.challenge WHERE id = @id`

func (s *Service) firstFactor(ctx context.Context, tx pg.Tx, id uuid.UUID) ([]string, error) {
	return column[string](ctx, tx, "read a first factor", selectFirstFactor, args{"id": id})
}
