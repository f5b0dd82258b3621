package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
)

const (
	remember   = 30 * 24 * time.Hour // a relay repeats a delivery within minutes; a restored backup within days
	sweepEvery = time.Hour
	sweepSize  = 5000
)

// The index on processed_at is not worth its writes: once an hour a scan of a
// month's rows finds what is old.
const sweepInbox = `
DELETE FROM {schema}.inbox
 WHERE event_id IN (SELECT event_id FROM {schema}.inbox WHERE processed_at < @before LIMIT @limit)`

// SweepInbox answers a worker that forgets the schema's events applied more
// than 30 days ago.
func (o *Outbox) SweepInbox(db *pg.DB) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			n, err := o.sweepInbox(ctx, db)
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				return err
			case n == sweepSize:
				continue
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	}
}

func (o *Outbox) sweepInbox(ctx context.Context, db *pg.DB) (int64, error) {
	tag, err := db.Pool.Exec(ctx, table(o.schema, sweepInbox), pgx.NamedArgs{"before": o.now().Add(-remember), "limit": sweepSize})
	if err != nil {
		return 0, pg.Err(fmt.Errorf("remove old inbox rows: %w", err))
	}
	return tag.RowsAffected(), nil
}
