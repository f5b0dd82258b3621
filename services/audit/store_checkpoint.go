package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
)

const takeLease = `SELECT pg_try_advisory_xact_lock(@key)`

const insertCheckpoint = `
INSERT INTO audit.checkpoint (size, root, note, signed_at) VALUES (@size, @root, @note, @now)`

// sign signs the head if it has grown and it is this process's turn. It
// answers how long to wait when it is too early.
func (s *Service) sign(ctx context.Context) (wait time.Duration, err error) {
	var published bool
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		wait, published = 0, false
		var mine bool
		if err := tx.QueryRow(ctx, takeLease, pgx.NamedArgs{"key": lockKey}).Scan(&mine); err != nil {
			return fmt.Errorf("take the lease: %w", err)
		}
		if !mine {
			return nil
		}
		stored, err := newestCheckpoint(ctx, tx, newestOfAll)
		if err != nil {
			return err
		}
		now := s.now().UTC()
		if stored != nil {
			if since := now.Sub(stored.SignedAt); since >= 0 && since < signEvery {
				wait = signEvery - since
				return nil
			}
		}
		h, err := scanHead(tx.QueryRow(ctx, readHead)) // after the checkpoint, so that it cannot be older
		if err != nil {
			return err
		}
		text, err := s.signer.endorse(h, stored, tiles(ctx, tx, h))
		if err != nil || text == "" {
			return err
		}
		root := h.tree().Hash
		_, err = tx.Exec(ctx, insertCheckpoint, pgx.NamedArgs{"size": h.Edge.Size(), "root": root[:], "note": text, "now": now})
		if err != nil {
			return fmt.Errorf("store the checkpoint: %w", err)
		}
		published = true
		return nil
	})
	if err == nil && published {
		s.signer.announce()
	}
	return wait, err
}

const (
	selectCheckpoint = `
SELECT c.size, c.root, c.note, c.signed_at, COALESCE((SELECT string_agg(w.lines, '' ORDER BY w.witness) FROM audit.cosignature w WHERE w.size = c.size), '')
  FROM audit.checkpoint c`
	newestOfAll = selectCheckpoint + ` ORDER BY c.size DESC LIMIT 1`
	newestSeen  = selectCheckpoint + ` WHERE c.size = (SELECT max(size) FROM audit.cosignature)`
)

// newestCheckpoint is nil when there is none.
func newestCheckpoint(ctx context.Context, q pg.Querier, which string) (*storedCheckpoint, error) {
	rows, err := q.Query(ctx, which)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read the newest checkpoint: %w", err))
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[storedCheckpoint])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read the newest checkpoint: %w", err))
	}
	return &c, nil
}

// covering is the newest checkpoint, once it covers size events: a client that
// has just acted waits for it.
func (s *Service) covering(ctx context.Context, size int64) (*storedCheckpoint, error) {
	limit := time.NewTimer(coverLimit)
	defer limit.Stop()
	look := time.NewTicker(coverLimit / 8) // another replica may sign
	defer look.Stop()
	for {
		next := s.signer.next()
		c, err := s.newest(ctx, size)
		if err != nil {
			return nil, err
		}
		if c != nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-limit.C:
			return nil, fail.New(fail.Unavailable, "no signed checkpoint covers this yet").RetryAfter(signEvery)
		case <-next:
		case <-look.C:
		}
	}
}

// newest is the newest checkpoint of at least size events, nil if there is
// none. One that the witness is still asked about stands back for a moment.
func (s *Service) newest(ctx context.Context, size int64) (*storedCheckpoint, error) {
	c, err := newestCheckpoint(ctx, s.db.Pool, newestOfAll)
	if err != nil || c == nil || c.Size < size {
		return nil, err
	}
	if s.witness == nil || c.Lines != "" || s.now().Sub(c.SignedAt) > witnessPatience {
		return c, nil
	}
	seen, err := newestCheckpoint(ctx, s.db.Pool, newestSeen)
	if err != nil || seen == nil || seen.Size < size {
		return nil, err
	}
	return seen, nil
}

const insertCosignature = `
INSERT INTO audit.cosignature (size, witness, lines, signed_at) VALUES (@size, @witness, @lines, @now)
ON CONFLICT (size, witness) DO NOTHING`

func (s *Service) keepCosignature(ctx context.Context, size int64, witness, lines string) error {
	_, err := s.db.Pool.Exec(ctx, insertCosignature, pgx.NamedArgs{"size": size, "witness": witness, "lines": lines, "now": s.now().UTC()})
	if err != nil {
		return pg.Err(fmt.Errorf("store the cosignature: %w", err))
	}
	return nil
}

const selectLeaf = `
SELECT seq, leaf_hash FROM audit.event
 WHERE event_id = @id AND event_ts = @ts AND retention_class = ANY ('{ops,security,financial}')`

// leaf is an event's place and leaf; a seq of 0 when there is no such event.
func (s *Service) leaf(ctx context.Context, id uuid.UUID) (seq int64, leaf []byte, err error) {
	err = s.db.Pool.QueryRow(ctx, selectLeaf, pgx.NamedArgs{"id": id, "ts": eventTime(id)}).Scan(&seq, &leaf)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, pg.Err(fmt.Errorf("read the leaf of %s: %w", id, err))
	}
	return seq, leaf, nil
}
