package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// passkeyRow is a passkey as it lies.
type passkeyRow struct {
	ID           uuid.UUID
	AccountID    uuid.UUID
	CredentialID []byte
	Record       []byte
	SignCount    int64
	Name         string
	Transports   []string
	BackedUp     bool
	CreatedAt    time.Time
	LastUsedAt   *time.Time
	FlaggedAt    *time.Time
}

const passkeyColumns = `id, account_id, credential_id, record, sign_count, name, transports, backed_up, created_at, last_used_at, flagged_at`

const addPasskeyRow = `
INSERT INTO auth.passkey (id, account_id, credential_id, record, sign_count, name, transports, backed_up, created_at)
VALUES (@id, @account_id, @credential_id, @record, @sign_count, @name, @transports, @backed_up, @created_at)
    ON CONFLICT (credential_id) DO NOTHING`

// insertPasskey writes a passkey; false when it is somebody's already.
func (s *Service) insertPasskey(ctx context.Context, tx pg.Tx, r passkeyRow) (bool, error) {
	n, err := run(ctx, tx, "insert a passkey", addPasskeyRow, args{
		"id": r.ID, "account_id": r.AccountID, "credential_id": r.CredentialID, "record": r.Record, "sign_count": r.SignCount,
		"name": r.Name, "transports": r.Transports, "backed_up": r.BackedUp, "created_at": r.CreatedAt,
	})
	return n == 1, err
}

const selectPasskeysOf = `
SELECT ` + passkeyColumns + `
  FROM auth.passkey
 WHERE account_id = @account_id
 ORDER BY created_at DESC, id DESC`

func (s *Service) passkeysOf(ctx context.Context, q pg.Querier, account uuid.UUID) ([]passkeyRow, error) {
	return all[passkeyRow](ctx, q, "list an account's passkeys", selectPasskeysOf, args{"account_id": account})
}

const selectPasskeyPage = `
SELECT ` + passkeyColumns + `
  FROM auth.passkey
 WHERE account_id = @account_id AND (created_at, id) < (@before_time, @before_id)
 ORDER BY created_at DESC, id DESC
 LIMIT @limit`

const countPasskeys = `
SELECT count(*) FROM auth.passkey WHERE account_id = @account_id`

func (s *Service) passkeyPage(ctx context.Context, account uuid.UUID, before cursor, limit int) (list []passkeyRow, total int64, err error) {
	where := args{"account_id": account}
	counts, err := column[int64](ctx, s.db.Pool, "count passkeys", countPasskeys, where)
	if err != nil {
		return nil, 0, err
	}
	where["before_time"], where["before_id"], where["limit"] = before.Time, before.ID, limit
	list, err = all[passkeyRow](ctx, s.db.Pool, "list passkeys", selectPasskeyPage, where)
	return list, counts[0], err
}

const selectPasskeyByCredential = `
SELECT ` + passkeyColumns + `
  FROM auth.passkey
 WHERE credential_id = @credential_id`

func (s *Service) passkeyByCredential(ctx context.Context, q pg.Querier, credential []byte) (passkeyRow, bool, error) {
	return one[passkeyRow](ctx, q, "read a passkey", selectPasskeyByCredential, args{"credential_id": credential})
}

const namePasskey = `
UPDATE auth.passkey SET name = @name WHERE id = @id AND account_id = @account_id
RETURNING ` + passkeyColumns

func (s *Service) namePasskey(ctx context.Context, account, id uuid.UUID, name string) (passkeyRow, bool, error) {
	return one[passkeyRow](ctx, s.db.Pool, "name a passkey", namePasskey, args{"id": id, "account_id": account, "name": name})
}

const removePasskey = `
DELETE FROM auth.passkey WHERE id = @id AND account_id = @account_id`

func (s *Service) removePasskey(ctx context.Context, tx pg.Tx, account, id uuid.UUID) (bool, error) {
	n, err := run(ctx, tx, "remove a passkey", removePasskey, args{"id": id, "account_id": account})
	return n == 1, err
}

// The counter moves forward only; an authenticator without one stays at nothing.
const usePasskey = `
UPDATE auth.passkey
   SET sign_count = @sign_count, backed_up = @backed_up, last_used_at = @now
 WHERE id = @id AND (sign_count < @sign_count OR sign_count = 0 AND @sign_count = 0)`

// usePasskey moves a passkey's counter; false when it would go back, or the
// passkey is gone.
func (s *Service) usePasskey(ctx context.Context, tx pg.Tx, id uuid.UUID, count int64, backedUp bool, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "use a passkey", usePasskey, args{"id": id, "sign_count": count, "backed_up": backedUp, "now": now})
	return n == 1, err
}

const flagPasskey = `
UPDATE auth.passkey SET flagged_at = @now WHERE id = @id`

// flagPasskey notes that there may be a copy of a passkey.
func (s *Service) flagPasskey(ctx context.Context, tx pg.Tx, id uuid.UUID, now time.Time) error {
	_, err := run(ctx, tx, "flag a passkey", flagPasskey, args{"id": id, "now": now})
	return err
}

// ceremony is a question to an authenticator.
type ceremony struct {
	ID        uuid.UUID
	Purpose   string
	AccountID *uuid.UUID
	Challenge []byte
	Session   []byte
	CreatedAt time.Time
	ExpiresAt time.Time
}

const insertCeremony = `
INSERT INTO auth.passkey_ceremony (id, purpose, account_id, challenge, session, created_at, expires_at)
VALUES (@id, @purpose, @account_id, @challenge, @session, @created_at, @expires_at)`

func (s *Service) insertCeremony(ctx context.Context, q pg.Querier, x ceremony) error {
	_, err := run(ctx, q, "insert a ceremony", insertCeremony, args{
		"id": x.ID, "purpose": x.Purpose, "account_id": x.AccountID, "challenge": x.Challenge, "session": x.Session,
		"created_at": x.CreatedAt, "expires_at": x.ExpiresAt,
	})
	return err
}

const useCeremony = `
UPDATE auth.passkey_ceremony
   SET used_at = @now
 WHERE challenge = @challenge AND purpose = @purpose AND (account_id IS NOT NULL) = @owned AND used_at IS NULL AND expires_at > @now
RETURNING id, purpose, account_id, challenge, session, created_at, expires_at`

// useCeremony uses one up; false when it was, or its time is over.
func (s *Service) useCeremony(ctx context.Context, q pg.Querier, purpose string, owned bool, challenge []byte, now time.Time) (ceremony, bool, error) {
	return one[ceremony](ctx, q, "use a ceremony", useCeremony, args{"challenge": challenge, "purpose": purpose, "owned": owned, "now": now})
}

const useNamedCeremony = `
UPDATE auth.passkey_ceremony
   SET used_at = @now
 WHERE id = @id AND purpose = @purpose AND (account_id IS NOT NULL) = @owned AND used_at IS NULL AND expires_at > @now
RETURNING id, purpose, account_id, challenge, session, created_at, expires_at`

// useNamedCeremony is useCeremony for a client that says which one.
func (s *Service) useNamedCeremony(ctx context.Context, q pg.Querier, purpose string, owned bool, id uuid.UUID, now time.Time) (ceremony, bool, error) {
	return one[ceremony](ctx, q, "use a named ceremony", useNamedCeremony, args{"id": id, "purpose": purpose, "owned": owned, "now": now})
}

// kinds of second factors an account has.
type kinds struct{ Totp, Recovery, Passkey bool }

const selectKinds = `
SELECT EXISTS (SELECT 1 FROM auth.totp WHERE account_id = @id AND confirmed_at IS NOT NULL) AS totp,
       EXISTS (SELECT 1 FROM auth.recovery_code WHERE account_id = @id AND used_at IS NULL) AS recovery,
       EXISTS (SELECT 1 FROM auth.passkey WHERE account_id = @id) AS passkey`

func (s *Service) factorKinds(ctx context.Context, q pg.Querier, account uuid.UUID) (kinds, bool, error) {
	return one[kinds](ctx, q, "read the kinds of factors", selectKinds, args{"id": account})
}

// A code stands for a second factor beside a password or a provider only; by
// itself it came by mail or SMS. @alone: no second factor is left.
const forgetKeys = `
UPDATE auth.session
   SET amr = ARRAY(
       SELECT m FROM unnest(amr) AS m
        WHERE CASE m
              WHEN 'hwk' THEN false
              WHEN 'user' THEN false
              WHEN 'mfa' THEN NOT @alone AND amr @> '{otp}' AND amr && '{pwd,fed}'
              WHEN 'otp' THEN NOT (@alone AND amr && '{pwd,fed}')
              ELSE true END),
       mfa_at = CASE WHEN NOT @alone AND amr @> '{otp}' AND amr && '{pwd,fed}' THEN mfa_at END
 WHERE account_id = @id AND revoked_at IS NULL AND amr && '{hwk,mfa}'`

// forgetKeys takes passkeys from what the live sessions of an account have
// shown: there is none any more.
func (s *Service) forgetKeys(ctx context.Context, tx pg.Tx, account uuid.UUID, alone bool) error {
	_, err := run(ctx, tx, "forget keys", forgetKeys, args{"id": account, "alone": alone})
	return err
}
