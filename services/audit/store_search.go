package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// searchTime bounds one page. Whoever asks is told to come back, and never
// takes the silence of a slow log for an empty one (audit_admin_ops.md A-12).
const searchTime = 2 * time.Second

// found is one row of a search.
type found struct {
	OccurredAt time.Time
	Seq        int64
	Canonical  []byte
}

// span is the part of a search that is read at once: after a row, up to a
// position of the log, at most so many.
type span struct {
	After *cursor
	Head  int64 // no event beyond; 0 for no end
	Limit int

	Patience time.Duration // searchTime when zero
}

// Every search has an index in its order, and a page off it is found without
// reading more, however large the log. The planner, which guesses from samples
// of a table that grows all day, is not asked.
const offIndexes = `
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off;
SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off`

// search reads a part of what f finds, in its order.
func (s *Service) search(ctx context.Context, f filter, p span) ([]found, error) {
	var list []found
	sql, args := searchSQL(f, p)
	patience := p.Patience
	if patience == 0 {
		patience = searchTime
	}
	err := s.reading(ctx, patience, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, offIndexes); err != nil {
			return fmt.Errorf("keep to the indexes: %w", err)
		}
		rows, err := tx.Query(ctx, sql, args)
		if err != nil {
			return fmt.Errorf("search events: %w", err)
		}
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[found])
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		return nil
	})
	return list, err
}

// reading runs do in a transaction whose statements end after limit.
func (s *Service) reading(ctx context.Context, limit time.Duration, do func(ctx context.Context, tx pgx.Tx) error) error {
	return s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL statement_timeout = %d", limit.Milliseconds())); err != nil {
			return fmt.Errorf("bound the statements: %w", err)
		}
		return do(ctx, tx)
	})
}

// where gathers the conditions of a statement and their values.
type where struct {
	conds []string
	args  pgx.NamedArgs
}

func (w *where) add(cond, name string, value any) {
	w.conds = append(w.conds, cond)
	w.args[name] = value
}

// is asks for the text and for its hash, which is what the index holds.
func (w *where) is(column, name, value string) {
	w.add(fmt.Sprintf("hashtextextended(%[1]s, 0) = hashtextextended(@%[2]s, 0) AND %[1]s = @%[2]s", column, name), name, value)
}

func (w *where) String() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conds, " AND ")
}

// searchSQL holds only the conditions that were asked for, so that each
// combination meets the index made for it; values are always parameters. The
// order is of time and then of position, which is what the indexes hold: every
// plan reads a page off an index and sorts nothing.
func searchSQL(f filter, p span) (string, pgx.NamedArgs) {
	order, beyond := "DESC", "<"
	if f.Ascending {
		order, beyond = "ASC", ">"
	}
	w := &where{args: pgx.NamedArgs{"limit": p.Limit}}
	within := func(w *where, at string) { // conditions on the place of an event
		if !f.Start.IsZero() {
			w.add(at+".occurred_at >= @start", "start", f.Start)
		}
		if !f.End.IsZero() {
			w.add(at+".occurred_at < @end", "end", f.End)
		}
		if p.Head > 0 {
			w.add(at+".seq <= @head", "head", p.Head)
		}
		if p.After != nil {
			w.add(fmt.Sprintf("(%[1]s.occurred_at, %[1]s.seq) %[2]s (@cursor_at, @cursor_seq)", at, beyond), "cursor_at", p.After.OccurredAt)
			w.args["cursor_seq"] = p.After.Seq
		}
	}
	from, at := "audit.event AS e", "e"
	alone := f == filter{ResourceType: f.ResourceType, Start: f.Start, End: f.End, Ascending: f.Ascending}
	switch {
	case f.ResourceID != "" || f.ResourceType != "" && alone:
		// An event may touch one thing twice, as two types, or two of a type.
		inner := &where{args: w.args}
		if f.ResourceID != "" {
			inner.is("t.target_id", "target_id", f.ResourceID)
		}
		if f.ResourceType != "" {
			if f.ResourceID != "" {
				inner.add("t.target_type = @target_type", "target_type", f.ResourceType)
			} else {
				inner.is("t.target_type", "target_type", f.ResourceType)
			}
		}
		within(inner, "t")
		from = fmt.Sprintf(`(SELECT DISTINCT ON (t.occurred_at, t.seq) t.occurred_at, t.seq, t.retention_class, t.event_ts, t.event_id
          FROM audit.event_target AS t%[1]s
         ORDER BY t.occurred_at %[2]s, t.seq %[2]s) AS x
  CROSS JOIN LATERAL (SELECT * FROM audit.event AS e -- OFFSET: by its key, whatever else is asked of it
          WHERE (e.retention_class, e.event_ts, e.event_id) = (x.retention_class, x.event_ts, x.event_id) OFFSET 0) AS e`, inner, order)
		at = "x"
	case f.ResourceType != "": // a type is touched by many: the other filter leads
		within(w, "e")
		w.add("EXISTS (SELECT 1 FROM audit.event_target AS t WHERE hashtextextended(t.target_type, 0) = hashtextextended(@target_type, 0) AND t.target_type = @target_type AND t.occurred_at = e.occurred_at AND t.seq = e.seq)", "target_type", f.ResourceType)
	default:
		within(w, "e")
	}
	byColumns(w, f)
	return fmt.Sprintf("SELECT e.occurred_at, e.seq, e.canonical\n  FROM %[1]s%[2]s\n ORDER BY %[3]s.occurred_at %[4]s, %[3]s.seq %[4]s\n LIMIT @limit", from, w, at, order), w.args
}

func byColumns(w *where, f filter) {
	if f.ActorID != "" {
		w.is("e.actor_id", "actor_id", f.ActorID)
	}
	if noun, _, _ := strings.Cut(f.Action, "."); strings.HasSuffix(f.Action, ".") {
		w.is("split_part(e.action, '.', 1)", "noun", noun)
		if f.Action != noun+"." { // bounds instead of LIKE: wildcards mean nothing
			w.add("e.action ~>=~ @action", "action", f.Action)
			w.add("e.action ~<~ @action_end", "action_end", f.Action[:len(f.Action)-1]+"/") // '/' follows '.'
		}
	} else if f.Action != "" {
		w.is("e.action", "action", f.Action)
	}
	if f.Outcome != "" {
		w.add("e.outcome = @outcome", "outcome", f.Outcome)
		if f.Outcome != "SUCCESS" {
			w.conds = append(w.conds, "e.outcome <> 'SUCCESS'") // says to the planner that the partial index will do
		}
	}
	if f.RequestID != "" {
		w.is("e.request_id", "request_id", f.RequestID)
	}
}
