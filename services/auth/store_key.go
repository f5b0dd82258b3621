package auth

import (
	"context"
	"time"

	"github.com/manas360/platform/pkg/pg"
)

// storedKey is a token key as it lies.
type storedKey struct {
	Kid         string
	Alg         string
	State       string
	Private     []byte // sealed; empty once DEAD
	CreatedAt   time.Time
	UsableAt    *time.Time // every verifier has it then; nil for a key of before it was noted
	DueAt       *time.Time // it signs then, if it was asked to
	ActivatedAt *time.Time
	VerifyUntil *time.Time // the end of its last token
	DeadAt      *time.Time
}

const keyColumns = `kid, alg, state, private, created_at, usable_at, due_at, activated_at, verify_until, dead_at`

// The one that signs first: that is the key people look for in the set.
const selectKeys = `
SELECT ` + keyColumns + `
  FROM auth.signing_key
 WHERE state <> 'DEAD'
 ORDER BY state <> 'ACTIVE', created_at, kid`

func (s *Service) storedKeys(ctx context.Context, q pg.Querier) ([]storedKey, error) {
	return all[storedKey](ctx, q, "read signing keys", selectKeys, nil)
}

const lockKeys = `
SELECT ` + keyColumns + `
  FROM auth.signing_key
 WHERE state <> 'DEAD'
 ORDER BY kid
   FOR UPDATE`

// lockKeys gives the live keys, which nobody else moves until tx ends.
func (s *Service) lockKeys(ctx context.Context, tx pg.Tx) ([]storedKey, error) {
	return all[storedKey](ctx, tx, "lock signing keys", lockKeys, nil)
}

const selectAllKeys = `
SELECT ` + keyColumns + `
  FROM auth.signing_key
 WHERE state <> 'DEAD' OR dead_at > @since
 ORDER BY created_at DESC, kid DESC
 LIMIT 200`

func (s *Service) allKeys(ctx context.Context, since time.Time) ([]storedKey, error) {
	return all[storedKey](ctx, s.db.Pool, "list signing keys", selectAllKeys, args{"since": since})
}

// Indexes let one key be active and one stand by: the first of several replicas
// wins.
const insertKey = `
INSERT INTO auth.signing_key (kid, alg, state, private, created_at, usable_at, activated_at)
VALUES (@kid, @alg, @state, @private, @now, @usable_at, @activated_at)
    ON CONFLICT DO NOTHING`

func (s *Service) insertKey(ctx context.Context, tx pg.Tx, k storedKey, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "insert a signing key", insertKey, args{
		"kid": k.Kid, "alg": k.Alg, "state": k.State, "private": k.Private, "now": now, "usable_at": k.UsableAt, "activated_at": k.ActivatedAt,
	})
	return n == 1, err
}

const dueKey = `
UPDATE auth.signing_key SET due_at = coalesce(due_at, @due_at) WHERE kid = @kid AND state = 'PENDING'`

// askKey notes when the key that stands by is to sign.
func (s *Service) askKey(ctx context.Context, tx pg.Tx, kid string, due time.Time) error {
	_, err := run(ctx, tx, "ask a key to sign", dueKey, args{"kid": kid, "due_at": due})
	return err
}

const retireKey = `
UPDATE auth.signing_key SET state = 'RETIRING', verify_until = @until WHERE kid = @kid AND state = 'ACTIVE'`

func (s *Service) retireKey(ctx context.Context, tx pg.Tx, kid string, until time.Time) (bool, error) {
	n, err := run(ctx, tx, "retire a key", retireKey, args{"kid": kid, "until": until})
	return n == 1, err
}

const activateKey = `
UPDATE auth.signing_key SET state = 'ACTIVE', activated_at = @now WHERE kid = @kid AND state = 'PENDING'`

func (s *Service) activateKey(ctx context.Context, tx pg.Tx, kid string, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "activate a key", activateKey, args{"kid": kid, "now": now})
	return n == 1, err
}

const buryKey = `
UPDATE auth.signing_key SET state = 'DEAD', dead_at = @now, private = '' WHERE kid = @kid AND state = @state`

// buryKey ends a key that is still in the state it was seen in, and forgets its
// private half.
func (s *Service) buryKey(ctx context.Context, tx pg.Tx, kid, state string, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "bury a key", buryKey, args{"kid": kid, "state": state, "now": now})
	return n == 1, err
}
