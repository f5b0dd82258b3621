package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
)

const exportColumns = `id, owner_id, format, filters, state, attempt, log_size, row_count, size_bytes, part_count, progress,
       first_seq, last_seq, coalesce(sha256, ''), checkpoint, failure, created_at, finished_at, expires_at`

func scanExport(row pgx.CollectableRow) (export, error) {
	var (
		x       export
		filters []byte
	)
	err := row.Scan(&x.ID, &x.OwnerID, &x.Format, &filters, &x.State, &x.Attempt, &x.LogSize, &x.Rows, &x.Bytes, &x.Parts, &x.Progress,
		&x.FirstSeq, &x.LastSeq, &x.Sum, &x.Checkpoint, &x.Failure, &x.CreatedAt, &x.FinishedAt, &x.ExpiresAt)
	if err != nil {
		return x, err
	}
	return x, json.Unmarshal(filters, &x.Filters)
}

// oneExport runs a statement that answers one export or none.
func oneExport(ctx context.Context, q pg.Querier, what, sql string, args pgx.NamedArgs) (x export, ok bool, err error) {
	rows, err := q.Query(ctx, sql, args)
	if err != nil {
		return x, false, pg.Err(fmt.Errorf("%s: %w", what, err))
	}
	x, err = pgx.CollectExactlyOneRow(rows, scanExport)
	if errors.Is(err, pgx.ErrNoRows) {
		return x, false, nil
	}
	if err != nil {
		return x, false, pg.Err(fmt.Errorf("%s: %w", what, err))
	}
	return x, true, nil
}

const logSize = `SELECT size FROM audit.log_head WHERE id = 1`

// size is the log's: the position of its last event.
func (s *Service) size(ctx context.Context) (n int64, err error) {
	if err := s.db.Pool.QueryRow(ctx, logSize).Scan(&n); err != nil {
		return 0, pg.Err(fmt.Errorf("read the log's size: %w", err))
	}
	return n, nil
}

// Two requests of one person at once count each other.
const lockOwner = `SELECT pg_advisory_xact_lock(hashtextextended('audit.export:' || @owner::text, 0))`

const countLive = `SELECT count(*) FROM audit.export WHERE owner_id = @owner AND state IN ('QUEUED', 'RUNNING')`

const insertExport = `
INSERT INTO audit.export (id, owner_id, format, filters, state, created_at, beat_at)
VALUES (@id, @owner, @format, @filters, 'QUEUED', @now, @now)`

// queueExport adds an export and its job. Fails with CONFLICT when its owner has
// enough of them.
func (s *Service) queueExport(ctx context.Context, x export) error {
	filters, err := json.Marshal(x.Filters)
	if err != nil {
		return fmt.Errorf("encode the filters: %w", err)
	}
	return s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		owner := pgx.NamedArgs{"owner": x.OwnerID}
		if _, err := tx.Exec(ctx, lockOwner, owner); err != nil {
			return fmt.Errorf("lock the owner: %w", err)
		}
		var live int
		if err := tx.QueryRow(ctx, countLive, owner).Scan(&live); err != nil {
			return fmt.Errorf("count exports: %w", err)
		}
		if live >= exportLive {
			return fail.New(fail.Conflict, "%d of your exports are not done yet", live)
		}
		_, err := tx.Exec(ctx, insertExport, pgx.NamedArgs{"id": x.ID, "owner": x.OwnerID, "format": x.Format, "filters": filters, "now": x.CreatedAt})
		if err != nil {
			return fmt.Errorf("insert an export: %w", err)
		}
		return s.jobs.add(ctx, tx, x.ID)
	})
}

const selectExport = `SELECT ` + exportColumns + ` FROM audit.export WHERE id = @id AND owner_id = @owner`

// exportOf reads an export of owner's.
func (s *Service) exportOf(ctx context.Context, owner, id uuid.UUID) (export, bool, error) {
	return oneExport(ctx, s.db.Pool, "read an export", selectExport, pgx.NamedArgs{"id": id, "owner": owner})
}

const selectExports = `
SELECT ` + exportColumns + `
  FROM audit.export
 WHERE owner_id = @owner AND id < @before
 ORDER BY id DESC
 LIMIT @limit`

// exportsOf reads owner's exports that are older than before, newest first.
func (s *Service) exportsOf(ctx context.Context, owner, before uuid.UUID, limit int) ([]export, error) {
	rows, err := s.db.Pool.Query(ctx, selectExports, pgx.NamedArgs{"owner": owner, "before": before, "limit": limit})
	if err != nil {
		return nil, pg.Err(fmt.Errorf("list exports: %w", err))
	}
	list, err := pgx.CollectRows(rows, scanExport)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read exports: %w", err))
	}
	return list, nil
}

const selectAllExports = `
SELECT ` + exportColumns + `
  FROM audit.export
 WHERE id < @before AND (@owner::uuid IS NULL OR owner_id = @owner) AND (@state = '' OR state = @state)
 ORDER BY id DESC
 LIMIT @limit`

// everyExport reads everybody's exports that are older than before, newest
// first; of one owner, and in one state, when those are given.
func (s *Service) everyExport(ctx context.Context, owner uuid.UUID, state string, before uuid.UUID, limit int) ([]export, error) {
	args := pgx.NamedArgs{"owner": nil, "state": state, "before": before, "limit": limit}
	if owner != uuid.Nil {
		args["owner"] = owner
	}
	rows, err := s.db.Pool.Query(ctx, selectAllExports, args)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("list all exports: %w", err))
	}
	list, err := pgx.CollectRows(rows, scanExport)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read all exports: %w", err))
	}
	return list, nil
}

// A run begins anew: what an earlier one has written goes. The log's size stays
// what the first run found.
const claimExport = `
UPDATE audit.export
   SET state = 'RUNNING', attempt = attempt + 1, row_count = 0, size_bytes = 0, part_count = 0, progress = 0, beat_at = @now,
       log_size = CASE WHEN log_size > 0 THEN log_size ELSE (SELECT size FROM audit.log_head WHERE id = 1) END
 WHERE id = @id AND state IN ('QUEUED', 'RUNNING')
RETURNING ` + exportColumns

const deleteParts = `DELETE FROM audit.export_part WHERE export_id = @id`

// claimExport makes an export this run's. ok is false when there is nothing to do.
func (s *Service) claimExport(ctx context.Context, id uuid.UUID) (x export, ok bool, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		if x, ok, err = oneExport(ctx, tx, "claim an export", claimExport, pgx.NamedArgs{"id": id, "now": s.now()}); err != nil || !ok {
			return err
		}
		return dropParts(ctx, tx, id)
	})
	x.Rows, x.FirstSeq, x.LastSeq = 0, 0, 0
	return x, ok, err
}

func dropParts(ctx context.Context, tx pgx.Tx, id uuid.UUID) error {
	if _, err := tx.Exec(ctx, deleteParts, pgx.NamedArgs{"id": id}); err != nil {
		return fmt.Errorf("drop an export's parts: %w", err)
	}
	return nil
}

// The row's lock keeps a part from outliving its export's end: whoever comes
// second, this or a cancellation, sees the other.
const beatExport = `
UPDATE audit.export
   SET row_count = @rows, size_bytes = @bytes, part_count = @parts, progress = @progress, beat_at = @now
 WHERE id = @id AND attempt = @attempt AND state = 'RUNNING'`

func (s *Service) beat(ctx context.Context, q pg.Querier, x export) error {
	tag, err := q.Exec(ctx, beatExport, pgx.NamedArgs{
		"id": x.ID, "attempt": x.Attempt, "rows": x.Rows, "bytes": x.Bytes, "parts": x.Parts, "progress": x.Progress, "now": s.now(),
	})
	if err != nil {
		return pg.Err(fmt.Errorf("note an export's progress: %w", err))
	}
	if tag.RowsAffected() == 0 {
		return errEnded
	}
	return nil
}

// beatExport says how far a run is. Fails with errEnded when it is one no more.
func (s *Service) beatExport(ctx context.Context, x export) error { return s.beat(ctx, s.db.Pool, x) }

const insertPart = `INSERT INTO audit.export_part (export_id, part, data) VALUES (@id, @part, @data)`

// savePart adds to a run's file. Fails with errEnded.
func (s *Service) savePart(ctx context.Context, x export, piece []byte) error {
	return s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := s.beat(ctx, tx, x); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, insertPart, pgx.NamedArgs{"id": x.ID, "part": x.Parts, "data": piece}); err != nil {
			return fmt.Errorf("save a part: %w", err)
		}
		return nil
	})
}

const finishExport = `
UPDATE audit.export
   SET state = 'DONE', row_count = @rows, size_bytes = @bytes, part_count = @parts, progress = 100, first_seq = @first, last_seq = @last,
       sha256 = @sum, checkpoint = @checkpoint, finished_at = @now, expires_at = @expires
 WHERE id = @id AND attempt = @attempt AND state = 'RUNNING'`

// finishExport lets the file be had. Fails with errEnded.
func (s *Service) finishExport(ctx context.Context, x export) error {
	now := s.now()
	tag, err := s.db.Pool.Exec(ctx, finishExport, pgx.NamedArgs{
		"id": x.ID, "attempt": x.Attempt, "rows": x.Rows, "bytes": x.Bytes, "parts": x.Parts, "first": x.FirstSeq, "last": x.LastSeq,
		"sum": x.Sum, "checkpoint": x.Checkpoint, "now": now, "expires": now.Add(exportLife),
	})
	if err != nil {
		return pg.Err(fmt.Errorf("finish an export: %w", err))
	}
	if tag.RowsAffected() == 0 {
		return errEnded
	}
	return nil
}

const endExport = `
UPDATE audit.export
   SET state = @state, failure = @failure, finished_at = coalesce(finished_at, @now), expires_at = NULL, sha256 = NULL
 WHERE id = @id AND state = ANY (@from)
RETURNING ` + exportColumns

func (s *Service) endExport(ctx context.Context, id uuid.UUID, state, why string, from ...string) (x export, ok bool, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		x, ok, err = oneExport(ctx, tx, "end an export", endExport, pgx.NamedArgs{"id": id, "state": state, "failure": why, "now": s.now(), "from": from})
		if err != nil || !ok {
			return err
		}
		return dropParts(ctx, tx, id)
	})
	return x, ok, err
}

// failExport ends an export that is not done, and removes what it has written.
func (s *Service) failExport(ctx context.Context, id uuid.UUID, why string) (export, bool, error) {
	return s.endExport(ctx, id, exportFailed, why, exportQueued, exportRunning)
}

// cancelExport ends an export that is not over, done or not, and removes what
// it has written.
func (s *Service) cancelExport(ctx context.Context, id uuid.UUID) error {
	_, _, err := s.endExport(ctx, id, exportCancelled, "", exportQueued, exportRunning, exportDone)
	return err
}

const selectPart = `SELECT data FROM audit.export_part WHERE export_id = @id AND part = @part`

// part reads one part of a file; false when it is gone.
func (s *Service) part(ctx context.Context, id uuid.UUID, n int32) (piece []byte, ok bool, err error) {
	err = s.db.Pool.QueryRow(ctx, selectPart, pgx.NamedArgs{"id": id, "part": n}).Scan(&piece)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, pg.Err(fmt.Errorf("read a part: %w", err))
	}
	return piece, true, nil
}

const selectExpired = `SELECT id FROM audit.export WHERE state = 'DONE' AND expires_at <= @now LIMIT 100`

const selectDead = `
SELECT id, attempt FROM audit.export
 WHERE state = 'RUNNING' AND beat_at <= @dead
 LIMIT 100`

// A second look finds the beat fresh and does nothing.
const revive = `UPDATE audit.export SET state = 'QUEUED', beat_at = @now WHERE id = @id AND state = 'RUNNING' AND beat_at <= @dead`

// sweepExports removes files past their time, and gives new jobs to exports
// whose process has died over them.
func (s *Service) sweepExports(ctx context.Context) error {
	now := s.now()
	rows, err := s.db.Pool.Query(ctx, selectExpired, pgx.NamedArgs{"now": now})
	if err != nil {
		return pg.Err(fmt.Errorf("find expired exports: %w", err))
	}
	old, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return pg.Err(fmt.Errorf("read expired exports: %w", err))
	}
	for _, id := range old {
		if err := s.expireExport(ctx, id); err != nil {
			return err
		}
	}
	type run struct {
		ID      uuid.UUID
		Attempt int32
	}
	dead := pgx.NamedArgs{"dead": now.Add(-deadAfter)}
	if rows, err = s.db.Pool.Query(ctx, selectDead, dead); err != nil {
		return pg.Err(fmt.Errorf("find dead exports: %w", err))
	}
	runs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[run])
	if err != nil {
		return pg.Err(fmt.Errorf("read dead exports: %w", err))
	}
	for _, r := range runs {
		if r.Attempt >= exportTries {
			err = s.giveUp(ctx, r.ID, "the service stopped over it too often")
		} else {
			err = s.reviveExport(ctx, r.ID, now)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const expireExport = `UPDATE audit.export SET state = 'EXPIRED' WHERE id = @id AND state = 'DONE' AND expires_at <= @now`

// expireExport removes a file and leaves its manifest.
func (s *Service) expireExport(ctx context.Context, id uuid.UUID) error {
	return s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, expireExport, pgx.NamedArgs{"id": id, "now": s.now()})
		if err != nil {
			return fmt.Errorf("expire an export: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
		return dropParts(ctx, tx, id)
	})
}

func (s *Service) reviveExport(ctx context.Context, id uuid.UUID, now time.Time) error {
	return s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, revive, pgx.NamedArgs{"id": id, "now": now, "dead": now.Add(-deadAfter)})
		if err != nil {
			return fmt.Errorf("revive an export: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
		return s.jobs.add(ctx, tx, id)
	})
}
