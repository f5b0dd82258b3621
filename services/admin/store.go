package admin

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
)

// record writes an operator's look at data before it is answered: a look that
// cannot be recorded does not happen.
func (s *Service) record(ctx context.Context, ev outbox.Event) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return s.outbox.Append(ctx, tx, ev)
	})
	if err != nil {
		return fmt.Errorf("record the look: %w", err)
	}
	s.outbox.Wake()
	return nil
}

// act changes what is admin's own, and records it in the same transaction.
func (s *Service) act(ctx context.Context, ev outbox.Event, do func(ctx context.Context, tx pg.Tx) error) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		if err := do(ctx, tx); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, ev) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return err //nolint:wrapcheck // what the caller must see
	}
	s.outbox.Wake()
	return nil
}

// args are a query's named arguments.
type args = pgx.StrictNamedArgs

// run executes a statement and gives the number of rows it touched.
func run(ctx context.Context, q pg.Querier, what, sql string, a args) (int64, error) {
	tag, err := q.Exec(ctx, sql, a)
	if err != nil {
		return 0, pg.Err(fmt.Errorf("%s: %w", what, err))
	}
	return tag.RowsAffected(), nil
}

// one reads at most one row; found says whether there was one.
func one[T any](ctx context.Context, q pg.Querier, what, sql string, a args) (v T, found bool, err error) {
	list, err := all[T](ctx, q, what, sql, a)
	if err != nil || len(list) == 0 {
		return v, false, err
	}
	return list[0], true, nil
}

// all reads every row.
func all[T any](ctx context.Context, q pg.Querier, what, sql string, a args) ([]T, error) {
	rows, err := q.Query(ctx, sql, a)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("%s: %w", what, err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[T])
	if err != nil {
		return nil, pg.Err(fmt.Errorf("%s: %w", what, err))
	}
	return list, nil
}
