package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

const updateLegal = `
UPDATE auth.account
   SET accepted_terms = @terms, accepted_privacy = @privacy, epoch = epoch + 1, updated_at = @now
 WHERE id = @id
RETURNING epoch`

// setLegal writes what an account accepts and makes its tokens stale.
func (s *Service) setLegal(ctx context.Context, tx pg.Tx, id uuid.UUID, l legal, now time.Time) (int64, error) {
	list, err := column[int64](ctx, tx, "set accepted documents", updateLegal, args{"id": id, "terms": l.Terms, "privacy": l.Privacy, "now": now})
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0], nil
}
