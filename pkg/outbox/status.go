package outbox

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
)

// Status serves GetStatus for a service: its version and what waits in its
// outbox.
type Status struct {
	adminv1.UnimplementedStatusInternalServiceServer

	db     *pg.DB
	schema string
	now    func() time.Time
}

// NewStatus makes it for a schema.
func NewStatus(db *pg.DB, schema string, now func() time.Time) *Status {
	return &Status{db: db, schema: schema, now: now}
}

const selectQueues = `
SELECT q.destination, q.waiting, q.oldest, coalesce(d.dead, 0) AS dead
  FROM (SELECT destination, count(*) AS waiting, min(occurred_at) AS oldest FROM {schema}.outbox GROUP BY destination) AS q
  LEFT JOIN (SELECT destination, count(*) AS dead FROM {schema}.outbox_dead GROUP BY destination) AS d USING (destination)
UNION ALL
SELECT destination, 0, NULL, count(*)
  FROM {schema}.outbox_dead AS d
 WHERE NOT EXISTS (SELECT FROM {schema}.outbox AS o WHERE o.destination = d.destination)
 GROUP BY destination
 ORDER BY 1`

type queue struct {
	Destination string
	Waiting     int64
	Oldest      *time.Time
	Dead        int64
}

// GetStatus answers what is running and what waits.
func (s *Status) GetStatus(ctx context.Context, _ *adminv1.GetStatusRequest) (*adminv1.GetStatusResponse, error) {
	rows, err := s.db.Pool.Query(ctx, table(s.schema, selectQueues))
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read the queues: %w", err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[queue])
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read the queues: %w", err))
	}
	out := &adminv1.GetStatusResponse{Version: version()}
	for _, q := range list {
		m := &adminv1.Queue{Destination: q.Destination, Waiting: q.Waiting, Dead: q.Dead}
		if q.Oldest != nil {
			m.OldestSeconds = int32(min(max(s.now().Sub(*q.Oldest)/time.Second, 0), math.MaxInt32))
		}
		out.Queues = append(out.Queues, m)
	}
	return out, nil
}

// version is the commit the program was built from, if its build knew.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
