package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/services/audit/merkle"
)

// In every class: an act may have been of another when it came first. The range
// says nothing new; it leaves the months out that a batch does not touch, which
// the join alone would read from end to end.
const knownEvents = `
SELECT e.event_id
  FROM audit.event e
  JOIN unnest(@times::timestamptz[], @ids::uuid[]) AS k (ts, id)
    ON e.retention_class = ANY ('{ops,security,financial}') AND e.event_ts = k.ts AND e.event_id = k.id
 WHERE e.event_ts BETWEEN @first AND @last`

// append writes a batch to the log in order: events, tiles and head in one
// transaction. finish is called under the head's lock for each event that is
// new, with its place, to fix the bytes that are stored. It answers which ids
// were known before.
func (s *Service) append(ctx context.Context, batch []entry, finish func(e *entry) error) (map[uuid.UUID]bool, error) {
	known, err := s.appendOnce(ctx, batch, finish)
	if errors.Is(err, errBehind) {
		if err := s.catchUp(ctx); err != nil {
			return nil, err
		}
		known, err = s.appendOnce(ctx, batch, finish)
	}
	if missesPartition(err) { // audit_admin_ops.md A-15: the month is made, and nothing waits or dies
		if err := s.ensureMonths(ctx, batch); err != nil {
			return nil, err
		}
		known, err = s.appendOnce(ctx, batch, finish)
	}
	if err == nil {
		s.signer.wake()
	}
	return known, err
}

func (s *Service) appendOnce(ctx context.Context, batch []entry, finish func(e *entry) error) (map[uuid.UUID]bool, error) {
	known := map[uuid.UUID]bool{}
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		clear(known)
		h, err := scanHead(tx.QueryRow(ctx, lockHead))
		if err != nil {
			return fmt.Errorf("lock the head: %w", err)
		}
		if h.Edge.Size() != h.Size {
			return errBehind
		}
		if err := s.markKnown(ctx, tx, batch, known); err != nil {
			return err
		}
		var (
			fresh  []entry
			leaves []merkle.Hash
			size   = h.Size
		)
		now := s.now().UTC().Truncate(time.Microsecond)
		for _, e := range batch {
			if known[e.ID] {
				continue
			}
			known[e.ID] = false
			size++
			e.Seq, e.RecordedAt = size, now
			if err := finish(&e); err != nil {
				return err
			}
			fresh, leaves = append(fresh, e), append(leaves, merkle.Hash(e.LeafHash))
		}
		if len(fresh) == 0 {
			return nil
		}
		if err := copyIn(ctx, tx, fresh); err != nil {
			return err
		}
		return grow(ctx, tx, &h, leaves, moveHead)
	})
	return known, err
}

func (s *Service) markKnown(ctx context.Context, tx pgx.Tx, batch []entry, known map[uuid.UUID]bool) error {
	var (
		times []time.Time
		ids   []uuid.UUID
	)
	for _, e := range batch {
		times, ids = append(times, e.TS), append(ids, e.ID)
	}
	rows, err := tx.Query(ctx, knownEvents, pgx.NamedArgs{
		"times": times, "ids": ids,
		"first": slices.MinFunc(times, time.Time.Compare), "last": slices.MaxFunc(times, time.Time.Compare),
	})
	if err != nil {
		return fmt.Errorf("look for known events: %w", err)
	}
	seen, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return fmt.Errorf("read known events: %w", err)
	}
	for _, k := range seen {
		known[k] = true
	}
	return nil
}

// copyIn writes events and their targets by COPY, an order of magnitude
// cheaper than single inserts (performance.md 1g).
func copyIn(ctx context.Context, tx pgx.Tx, fresh []entry) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"audit", "event"},
		[]string{
			"retention_class", "event_ts", "event_id", "seq", "occurred_at", "recorded_at", "source", "action",
			"actor_type", "actor_id", "outcome", "request_id", "leaf_hash", "canonical",
		},
		pgx.CopyFromSlice(len(fresh), func(i int) ([]any, error) {
			e := fresh[i]
			return []any{
				e.Class, e.TS, [16]byte(e.ID), e.Seq, e.OccurredAt, e.RecordedAt, e.Source, e.Action,
				e.ActorType, e.ActorID, e.Outcome, e.RequestID, e.LeafHash, e.Canonical,
			}, nil
		}))
	if err != nil {
		return fmt.Errorf("copy events: %w", err)
	}
	var targets [][]any
	for _, e := range fresh {
		seen := map[target]bool{}
		for _, t := range e.Targets {
			if seen[t] {
				continue
			}
			seen[t] = true
			targets = append(targets, []any{t.ID, e.OccurredAt, e.Seq, t.Type, e.Class, e.TS, [16]byte(e.ID)})
		}
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"audit", "event_target"},
		[]string{"target_id", "occurred_at", "seq", "target_type", "retention_class", "event_ts", "event_id"},
		pgx.CopyFromRows(targets))
	if err != nil {
		return fmt.Errorf("copy targets: %w", err)
	}
	return nil
}

const selectEvent = `
SELECT canonical FROM audit.event
 WHERE event_id = @id AND event_ts = @ts AND retention_class = ANY ('{ops,security,financial}')`

// event reads one event's stored bytes; nil when there is none.
func (s *Service) event(ctx context.Context, id uuid.UUID) ([]byte, error) {
	var canonical []byte
	err := s.db.Pool.QueryRow(ctx, selectEvent, pgx.NamedArgs{"id": id, "ts": eventTime(id)}).Scan(&canonical)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read event %s: %w", id, err))
	}
	return canonical, nil
}

const ensurePartitions = `SELECT audit.ensure_partitions(@day::date, @months)`

func (s *Service) ensurePartitions(ctx context.Context, day time.Time, months int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := s.db.Pool.Exec(ctx, ensurePartitions, pgx.NamedArgs{"day": day.UTC(), "months": months}); err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	return nil
}

// missesPartition reports whether an event has no home: no partition of its
// month is there.
func missesPartition(err error) bool {
	var fault *pgconn.PgError
	return errors.As(err, &fault) && fault.Code == "23514" && fault.ConstraintName == "" // a check; of no constraint that has a name
}

// ensureMonths makes the partitions of the months that a batch lies in.
func (s *Service) ensureMonths(ctx context.Context, batch []entry) error {
	months := map[time.Time]bool{}
	for _, e := range batch {
		months[time.Date(e.TS.Year(), e.TS.Month(), 1, 0, 0, 0, 0, time.UTC)] = true
	}
	for month := range months {
		if err := s.ensurePartitions(ctx, month, 1); err != nil {
			return err
		}
	}
	return nil
}
