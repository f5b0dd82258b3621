package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Two index scans, each as long as a page: what the person did, and what was
// done to the person.
const selectAbout = `
SELECT occurred_at, seq, canonical FROM (
    (SELECT e.occurred_at, e.seq, e.canonical
       FROM audit.event AS e
      WHERE hashtextextended(e.actor_id, 0) = hashtextextended(@id, 0) AND e.actor_id = @id AND (e.occurred_at, e.seq) < (@at, @seq)
      ORDER BY e.occurred_at DESC, e.seq DESC LIMIT @limit)
    UNION
    (SELECT e.occurred_at, e.seq, e.canonical
       FROM (SELECT DISTINCT ON (t.occurred_at, t.seq) t.occurred_at, t.seq, t.retention_class, t.event_ts, t.event_id
               FROM audit.event_target AS t
              WHERE hashtextextended(t.target_id, 0) = hashtextextended(@id, 0) AND t.target_id = @id AND (t.occurred_at, t.seq) < (@at, @seq)
              ORDER BY t.occurred_at DESC, t.seq DESC LIMIT @limit) AS x
       JOIN audit.event AS e ON (e.retention_class, e.event_ts, e.event_id) = (x.retention_class, x.event_ts, x.event_id))
) AS mine
 ORDER BY occurred_at DESC, seq DESC
 LIMIT @limit`

// about reads the events of a person after cur, newest first.
func (s *Service) about(ctx context.Context, person string, cur *cursor, limit int) ([]found, error) {
	from := cursor{OccurredAt: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
	if cur != nil {
		from = *cur
	}
	var list []found
	err := s.reading(ctx, searchTime, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, offIndexes); err != nil {
			return fmt.Errorf("keep to the indexes: %w", err)
		}
		rows, err := tx.Query(ctx, selectAbout, pgx.NamedArgs{"id": person, "at": from.OccurredAt, "seq": from.Seq, "limit": limit})
		if err != nil {
			return fmt.Errorf("list a person's events: %w", err)
		}
		if list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[found]); err != nil {
			return fmt.Errorf("read a person's events: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}
