package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/services/audit/merkle"
)

const selectBlock = `
SELECT seq, retention_class, event_ts, event_id, occurred_at, recorded_at, source, action, actor_type, actor_id, outcome,
       request_id, leaf_hash, canonical
  FROM audit.event
 WHERE seq > @after AND seq <= @last
 ORDER BY seq`

// block reads the events after a place, to another, as they are stored.
func block(ctx context.Context, q pg.Querier, after, last int64) ([]entry, error) {
	rows, err := q.Query(ctx, selectBlock, pgx.NamedArgs{"after": after, "last": last})
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read events to verify: %w", err))
	}
	defer rows.Close()
	out := make([]entry, 0, last-after)
	for rows.Next() {
		var e entry
		err := rows.Scan(&e.Seq, &e.Class, &e.TS, &e.ID, &e.OccurredAt, &e.RecordedAt, &e.Source, &e.Action, &e.ActorType, &e.ActorID, &e.Outcome,
			&e.RequestID, &e.LeafHash, &e.Canonical)
		if err != nil {
			return nil, fmt.Errorf("read events to verify: %w", err)
		}
		out = append(out, e)
	}
	if err := rows.Err(); err != nil {
		return nil, pg.Err(fmt.Errorf("read events to verify: %w", err))
	}
	return out, nil
}

const selectTargets = `
SELECT t.seq, t.target_type, t.target_id
  FROM unnest(@target_ids::text[], @occurreds::timestamptz[], @seqs::bigint[], @types::text[], @classes::text[], @times::timestamptz[], @ids::uuid[])
         AS k (target_id, occurred_at, seq, target_type, retention_class, event_ts, event_id)
  JOIN audit.event_target t USING (target_id, occurred_at, seq, target_type, retention_class, event_ts, event_id)`

// place is a target of an event.
type place struct {
	Seq int64
	target
}

// targetsOf looks for the rows that events must have by their targets, and
// answers those that are there.
func targetsOf(ctx context.Context, q pg.Querier, events []entry) (map[place]bool, error) {
	var (
		targetIDs, types, classes []string
		occurreds, times          []time.Time
		seqs                      []int64
		ids                       []uuid.UUID
	)
	for i := range events {
		e := &events[i]
		for _, t := range e.Targets {
			targetIDs, types, classes = append(targetIDs, t.ID), append(types, t.Type), append(classes, e.Class)
			occurreds, times, seqs, ids = append(occurreds, e.OccurredAt), append(times, e.TS), append(seqs, e.Seq), append(ids, e.ID)
		}
	}
	out := make(map[place]bool, len(seqs))
	if len(seqs) == 0 {
		return out, nil
	}
	rows, err := q.Query(ctx, selectTargets, pgx.NamedArgs{ //nolint:rowserrcheck // ForEachRow answers it
		"target_ids": targetIDs, "occurreds": occurreds, "seqs": seqs, "types": types, "classes": classes, "times": times, "ids": ids,
	})
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read targets to verify: %w", err))
	}
	var p place
	_, err = pgx.ForEachRow(rows, []any{&p.Seq, &p.Type, &p.ID}, func() error {
		out[p] = true
		return nil
	})
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read targets to verify: %w", err))
	}
	return out, nil
}

const tilesOf = `SELECT level, idx, root, data FROM audit.tile WHERE level = @level AND idx >= @first AND idx < @end ORDER BY idx`

// storedTiles reads the tiles of a level from one on, to before another.
func storedTiles(ctx context.Context, q pg.Querier, level int, first, end int64) ([]merkle.Tile, error) {
	rows, err := q.Query(ctx, tilesOf, pgx.NamedArgs{"level": level, "first": first, "end": end})
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read tiles to verify: %w", err))
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t merkle.Tile, err error) {
		var root []byte
		err = row.Scan(&t.Level, &t.Index, &root, &t.Data)
		copy(t.Root[:], root)
		return t, err //nolint:wrapcheck // below
	})
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read tiles to verify: %w", err))
	}
	return list, nil
}

const rootsOf = `SELECT idx, root FROM audit.tile WHERE level = 0 AND idx >= @first AND idx < @end ORDER BY idx`

// lowRoots reads the roots of the tiles of level 0, the zero hash for one that
// lacks.
func lowRoots(ctx context.Context, q pg.Querier, n int64) ([]merkle.Hash, error) {
	const atOnce = 100_000 // a statement has five seconds
	out := make([]merkle.Hash, n)
	for first := int64(0); first < n; first += atOnce {
		rows, err := q.Query(ctx, rootsOf, pgx.NamedArgs{"first": first, "end": min(n, first+atOnce)}) //nolint:rowserrcheck // ForEachRow answers it
		if err != nil {
			return nil, pg.Err(fmt.Errorf("read the roots of tiles: %w", err))
		}
		var (
			idx  int64
			root []byte
		)
		_, err = pgx.ForEachRow(rows, []any{&idx, &root}, func() error {
			copy(out[idx][:], root)
			return nil
		})
		if err != nil {
			return nil, pg.Err(fmt.Errorf("read the roots of tiles: %w", err))
		}
	}
	return out, nil
}

const checkpointsOf = selectCheckpoint + ` WHERE c.size > @after AND c.size <= @last ORDER BY c.size`

func checkpointsIn(ctx context.Context, q pg.Querier, after, last int64) ([]storedCheckpoint, error) {
	rows, err := q.Query(ctx, checkpointsOf, pgx.NamedArgs{"after": after, "last": last})
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read checkpoints to verify: %w", err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[storedCheckpoint])
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read checkpoints to verify: %w", err))
	}
	return list, nil
}

const beyondHead = `
SELECT EXISTS (SELECT 1 FROM audit.event WHERE seq > h.size),
       EXISTS (SELECT 1 FROM audit.event WHERE seq < 1),
       h.size > 0 AND NOT EXISTS (SELECT 1 FROM audit.event WHERE seq = h.size),
       EXISTS (SELECT 1 FROM audit.tile t WHERE (t.idx + 1) << (8 * (t.level + 1)) > h.tree_size),
       EXISTS (SELECT 1 FROM audit.checkpoint WHERE size > h.tree_size),
       EXISTS (SELECT 1 FROM audit.cosignature w WHERE NOT EXISTS (SELECT 1 FROM audit.checkpoint c WHERE c.size = w.size))
  FROM audit.log_head h WHERE h.id = 1`

// beyond tells what is stored where no event, tile or checkpoint belongs.
func beyond(ctx context.Context, q pg.Querier) ([]string, error) {
	what := [...]string{
		"there are events beyond the head", "there are events before the first", "the event at the head is missing",
		"there are tiles beyond the head", "there are checkpoints beyond the head", "there are cosignatures without a checkpoint",
	}
	var is [len(what)]bool
	if err := q.QueryRow(ctx, beyondHead).Scan(&is[0], &is[1], &is[2], &is[3], &is[4], &is[5]); err != nil {
		return nil, pg.Err(fmt.Errorf("look beyond the head: %w", err))
	}
	var out []string
	for i, yes := range is {
		if yes {
			out = append(out, what[i])
		}
	}
	return out, nil
}

const allTargets = `
SELECT target_id, target_type, retention_class, occurred_at, event_ts, seq, event_id FROM audit.event_target WHERE seq <= @size`

// subtractTargets takes every row there is from the sum of those that must be.
func subtractTargets(ctx context.Context, q pg.Querier, size int64, sum *rowSum) error {
	rows, err := q.Query(ctx, allTargets, pgx.NamedArgs{"size": size}) //nolint:rowserrcheck // ForEachRow answers it
	if err != nil {
		return pg.Err(fmt.Errorf("read targets to verify: %w", err))
	}
	var (
		e entry
		t target
	)
	_, err = pgx.ForEachRow(rows, []any{&t.ID, &t.Type, &e.Class, &e.OccurredAt, &e.TS, &e.Seq, &e.ID}, func() error {
		sum.row(-1, &e, t)
		return nil
	})
	if err != nil {
		return pg.Err(fmt.Errorf("read targets to verify: %w", err))
	}
	return nil
}

const countTargets = `SELECT count(*) FROM audit.event_target WHERE seq <= @size`

func targetCount(ctx context.Context, q pg.Querier, size int64) (n int64, err error) {
	if err := q.QueryRow(ctx, countTargets, pgx.NamedArgs{"size": size}).Scan(&n); err != nil {
		return 0, pg.Err(fmt.Errorf("count targets: %w", err))
	}
	return n, nil
}
