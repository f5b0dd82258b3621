package user

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
)

// args are a query's named arguments.
type args = pgx.StrictNamedArgs

// run executes a statement and gives the number of rows it touched.
func run(ctx context.Context, q querier, what, sql string, a args) (int64, error) {
	tag, err := q.Exec(ctx, sql, a)
	if err != nil {
		return 0, pg.Err(fmt.Errorf("%s: %w", what, err))
	}
	return tag.RowsAffected(), nil
}

// first reads at most one row; found says whether there was one.
func first[T any](ctx context.Context, q querier, what, sql string, a args) (v T, found bool, err error) {
	rows, err := q.Query(ctx, sql, a)
	if err != nil {
		return v, false, pg.Err(fmt.Errorf("%s: %w", what, err))
	}
	v, err = pgx.CollectOneRow(rows, pgx.RowToStructByName[T])
	if errors.Is(err, pgx.ErrNoRows) {
		return v, false, nil
	}
	if err != nil {
		return v, false, pg.Err(fmt.Errorf("%s: %w", what, err))
	}
	return v, true, nil
}

// all reads every row.
func all[T any](ctx context.Context, q querier, what, sql string, a args) ([]T, error) {
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

// column reads every row of a single column.
func column[T any](ctx context.Context, q querier, what, sql string, a args) ([]T, error) {
	rows, err := q.Query(ctx, sql, a)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("%s: %w", what, err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		return nil, pg.Err(fmt.Errorf("%s: %w", what, err))
	}
	return list, nil
}

// number reads one integer.
func number(ctx context.Context, q querier, what, sql string, a args) (int64, error) {
	list, err := column[int64](ctx, q, what, sql, a)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0], nil
}
