package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

const setEraseAt = `
UPDATE auth.account SET erase_at = @at WHERE id = @id AND erase_at IS DISTINCT FROM @at::timestamptz AND state <> 'DELETED'`

// setEraseAt schedules or, with nil, cancels; false when it was so already.
func (s *Service) setEraseAt(ctx context.Context, tx pg.Tx, id uuid.UUID, at *time.Time) (bool, error) {
	n, err := run(ctx, tx, "set the day of erasure", setEraseAt, args{"id": id, "at": at})
	return n == 1, err
}

const endKeys = `
UPDATE auth.api_key SET revoked_at = @now WHERE account_id = @id AND revoked_at IS NULL`

// endKeys revokes every API key of an account. Tokens they were exchanged for
// die with its epoch.
func (s *Service) endKeys(ctx context.Context, tx pg.Tx, id uuid.UUID, now time.Time) error {
	_, err := run(ctx, tx, "revoke an account's keys", endKeys, args{"id": id, "now": now})
	return err
}

const selectEraseAt = `
SELECT erase_at FROM auth.account WHERE id = @id`

func (s *Service) eraseAt(ctx context.Context, tx pg.Tx, id uuid.UUID) (*time.Time, error) {
	list, err := column[*time.Time](ctx, tx, "read the day of erasure", selectEraseAt, args{"id": id})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// wipes are what goes with an account, in the order of their references. The
// row stays: ids are never given again, and others refer to it.
var wipes = []string{
	`DELETE FROM auth.registration WHERE email = (SELECT email FROM auth.account WHERE id = @id)`,
	`DELETE FROM auth.recipient WHERE address = (SELECT email FROM auth.account WHERE id = @id)`,
	`DELETE FROM auth.challenge WHERE account_id = @id`,
	`DELETE FROM auth.one_time WHERE account_id = @id`,
	`DELETE FROM auth.credential WHERE account_id = @id`,
	`DELETE FROM auth.totp WHERE account_id = @id`,
	`DELETE FROM auth.recovery_code WHERE account_id = @id`,
	`DELETE FROM auth.passkey_ceremony WHERE account_id = @id`,
	`DELETE FROM auth.passkey WHERE account_id = @id`,
	`DELETE FROM auth.api_key WHERE account_id = @id`,
	`DELETE FROM auth.oidc_identity WHERE account_id = @id`,
	`DELETE FROM auth.device WHERE account_id = @id`,
	`DELETE FROM auth.active_day WHERE account_id = @id`,
	`DELETE FROM auth.account_role WHERE account_id = @id`,
	`UPDATE auth.session SET user_agent = '', ip = '' WHERE account_id = @id`,
}

const tombstone = `
UPDATE auth.account
   SET state = 'DELETED', email = 'erased-' || id::text || '@invalid', email_verified_at = NULL, phone = NULL, phone_verified_at = NULL,
       first_name = '', last_name = '', locale = 'en', erase_at = NULL, epoch = epoch + 1, version = version + 1, updated_at = @now
 WHERE id = @id`

func (s *Service) wipe(ctx context.Context, tx pg.Tx, id uuid.UUID, now time.Time) error {
	for _, sql := range wipes {
		if _, err := run(ctx, tx, "erase an account", sql, args{"id": id}); err != nil {
			return err
		}
	}
	_, err := run(ctx, tx, "bury an account", tombstone, args{"id": id, "now": now})
	return err
}

// Secrets stay out: hashes, sealed records, MACs, salts.
const selectPersonalData = `
SELECT jsonb_build_object(
    'account', to_jsonb(a),
    'roles', (SELECT coalesce(jsonb_agg(r.role ORDER BY r.role), '[]') FROM auth.account_role AS r WHERE r.account_id = a.id),
    'sessions', (SELECT coalesce(jsonb_agg((to_jsonb(x) - 'salt' - 'counter' - 'impersonator_id' - 'impersonator_session') ORDER BY x.created_at), '[]') FROM auth.session AS x WHERE x.account_id = a.id),
    'devices', (SELECT coalesce(jsonb_agg((to_jsonb(d) - 'id') ORDER BY d.first_seen_at), '[]') FROM auth.device AS d WHERE d.account_id = a.id),
    'password', (SELECT jsonb_build_object('updated_at', c.updated_at) FROM auth.credential AS c WHERE c.account_id = a.id),
    'authenticator', (SELECT jsonb_build_object('created_at', t.created_at, 'confirmed_at', t.confirmed_at) FROM auth.totp AS t WHERE t.account_id = a.id),
    'recovery_codes', (SELECT jsonb_build_object('left', count(*) FILTER (WHERE rc.used_at IS NULL), 'used', count(rc.used_at)) FROM auth.recovery_code AS rc WHERE rc.account_id = a.id),
    'passkeys', (SELECT coalesce(jsonb_agg((to_jsonb(k) - 'record' - 'credential_id') ORDER BY k.created_at), '[]') FROM auth.passkey AS k WHERE k.account_id = a.id),
    'api_keys', (SELECT coalesce(jsonb_agg((to_jsonb(p) - 'mac' - 'hash' - 'secret') ORDER BY p.created_at), '[]') FROM auth.api_key AS p WHERE p.account_id = a.id),
    'active_days', (SELECT coalesce(jsonb_agg(v.day ORDER BY v.day), '[]') FROM auth.active_day AS v WHERE v.account_id = a.id),
    'providers', (SELECT coalesce(jsonb_agg(to_jsonb(o)), '[]') FROM auth.oidc_identity AS o WHERE o.account_id = a.id)
)::text
  FROM auth.account AS a
 WHERE a.id = @id`

// personalData is everything held about a person but secrets, as one JSON object.
func (s *Service) personalData(ctx context.Context, id uuid.UUID) ([]byte, error) {
	list, err := column[string](ctx, s.db.Pool, "gather a person's data", selectPersonalData, args{"id": id})
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", id, err)
	}
	if len(list) == 0 {
		return []byte("{}"), nil
	}
	return []byte(list[0]), nil
}
