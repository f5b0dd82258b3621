package auth

import (
	"context"
	"time"

	"github.com/manas360/platform/pkg/pg"
)

// storedKey is a token key as it lies.
type storedKey struct {
	Kid     string
	Alg     string
	State   string
	Private []byte
}

const selectKeys = `
SELECT kid, alg, state, private
  FROM auth.signing_key
 WHERE state <> 'DEAD'
 ORDER BY created_at`

func (s *Service) storedKeys(ctx context.Context, q pg.Querier) ([]storedKey, error) {
	return all[storedKey](ctx, q, "read signing keys", selectKeys, nil)
}

// An index lets one key be active: the first of several replicas wins.
const insertKey = `
INSERT INTO auth.signing_key (kid, alg, state, private, created_at)
VALUES (@kid, @alg, 'ACTIVE', @private, @now)
    ON CONFLICT DO NOTHING`

func (s *Service) insertKey(ctx context.Context, k storedKey, now time.Time) error {
	_, err := run(ctx, s.db.Pool, "insert a signing key", insertKey, args{"kid": k.Kid, "alg": k.Alg, "private": k.Private, "now": now})
	return err
}
