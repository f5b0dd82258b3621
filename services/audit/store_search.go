package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
)

// found is one row of a search.
type found struct {
	OccurredAt time.Time
	Seq        int64
	Canonical  []byte
}

// search reads one page after cur, plus one row to tell whether more follow.
// The statement holds only the conditions that were asked for, so that each
// combination meets the index made for it; values are always parameters.
func (s *Service) search(ctx context.Context, f filter, cur *cursor, limit int) ([]found, error) {
	sql, args := searchSQL(f, cur, limit)
	rows, err := s.db.Pool.Query(ctx, sql, args)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("search events: %w", err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[found])
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read events: %w", err))
	}
	return list, nil
}

func searchSQL(f filter, cur *cursor, limit int) (string, pgx.NamedArgs) {
	var (
		where []string
		args  = pgx.NamedArgs{"limit": limit + 1}
		from  = "audit.event e"
		at    = "e" // whose order the page follows
	)
	add := func(cond, name string, value any) {
		where = append(where, cond)
		args[name] = value
	}
	if f.ResourceID != "" {
		from = "audit.event_target t JOIN audit.event e ON (e.retention_class, e.event_ts, e.event_id) = (t.retention_class, t.event_ts, t.event_id)"
		at = "t"
		add("t.target_id = @target_id", "target_id", f.ResourceID)
		if f.ResourceType != "" {
			add("t.target_type = @target_type", "target_type", f.ResourceType)
		}
	} else if f.ResourceType != "" {
		add("EXISTS (SELECT 1 FROM audit.event_target t WHERE t.seq = e.seq AND t.event_id = e.event_id AND t.target_type = @target_type)", "target_type", f.ResourceType)
	}
	if f.ActorID != "" {
		add("e.actor_id = @actor_id", "actor_id", f.ActorID)
	}
	if strings.HasSuffix(f.Action, ".") {
		add("e.action LIKE @action", "action", escapeLike(f.Action)+"%")
	} else if f.Action != "" {
		add("e.action = @action", "action", f.Action)
	}
	if f.Outcome != "" {
		add("e.outcome = @outcome", "outcome", f.Outcome)
	}
	if f.RequestID != "" {
		add("e.request_id = @request_id", "request_id", f.RequestID)
	}
	if !f.Start.IsZero() {
		add(at+".occurred_at >= @start", "start", f.Start)
	}
	if !f.End.IsZero() {
		add(at+".occurred_at < @end", "end", f.End)
	}
	order, beyond := "DESC", "<"
	if f.Ascending {
		order, beyond = "ASC", ">"
	}
	if cur != nil {
		add(fmt.Sprintf("(%[1]s.occurred_at, %[1]s.seq) %[2]s (@cursor_at, @cursor_seq)", at, beyond), "cursor_at", cur.OccurredAt)
		args["cursor_seq"] = cur.Seq
	}
	sql := "SELECT e.occurred_at, e.seq, e.canonical FROM " + from
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	return sql + fmt.Sprintf(" ORDER BY %[1]s.occurred_at %[2]s, %[1]s.seq %[2]s LIMIT @limit", at, order), args
}

// escapeLike keeps a prefix literal.
func escapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}
