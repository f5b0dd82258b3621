package admin

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
)

// figure is a row of what is counted: where it is kept and its columns.
type figure struct {
	source  string // of admin.cell
	id      uuid.UUID
	day     time.Time // of an active figure, whose key it is part of
	version int64     // 0: never changes
	upsert  string
	row     args
}

const upsertAccount = `
INSERT INTO admin.account_figure AS f (id, version, created_on, deleted_on)
VALUES (@id, @version, @created_on, @deleted_on)
    ON CONFLICT (id) DO UPDATE SET version = excluded.version, created_on = excluded.created_on, deleted_on = excluded.deleted_on
 WHERE f.version < excluded.version`

const insertActive = `
INSERT INTO admin.active_figure (day, id) VALUES (@day, @id) ON CONFLICT DO NOTHING`

const upsertPayment = `
INSERT INTO admin.payment_figure AS f (id, version, outcome, provider, method, currency, amount_minor, created_on)
VALUES (@id, @version, @outcome, @provider, @method, @currency, @amount_minor, @created_on)
    ON CONFLICT (id) DO UPDATE SET version = excluded.version, outcome = excluded.outcome, provider = excluded.provider,
       method = excluded.method, currency = excluded.currency, amount_minor = excluded.amount_minor, created_on = excluded.created_on
 WHERE f.version < excluded.version`

const insertJournal = `
INSERT INTO admin.journal_figure (id, day, currency, gross_minor, refund_minor, tax_minor, due_minor)
VALUES (@id, @day, @currency, @gross_minor, @refund_minor, @tax_minor, @due_minor)
    ON CONFLICT DO NOTHING`

const upsertSubscription = `
INSERT INTO admin.subscription_figure AS f
       (id, version, user_id, plan_code, cycle, currency, year_minor, live_from, live_until, paying_from, paying_until, trial_on, trialing)
VALUES (@id, @version, @user_id, @plan_code, @cycle, @currency, @year_minor, @live_from, @live_until, @paying_from, @paying_until, @trial_on, @trialing)
    ON CONFLICT (id) DO UPDATE SET version = excluded.version, user_id = excluded.user_id, plan_code = excluded.plan_code,
       cycle = excluded.cycle, currency = excluded.currency, year_minor = excluded.year_minor, live_from = excluded.live_from,
       live_until = excluded.live_until, paying_from = excluded.paying_from, paying_until = excluded.paying_until,
       trial_on = excluded.trial_on, trialing = excluded.trialing
 WHERE f.version < excluded.version`

// cell is what a row counts for.
type cell struct {
	Metric   string
	Day      time.Time
	A, B     string
	Currency string
	N, Minor int64
}

const selectCells = `
SELECT metric, day, a, b, currency, n::bigint AS n, minor
  FROM admin.cell
 WHERE source = @source AND id = @id AND (source <> 'active' OR day = @day)`

// Taken first: a count from the ground waits for whoever keeps the rollups, and
// keeps them waiting.
const keepRollups = `LOCK TABLE admin.rollup IN ROW EXCLUSIVE MODE`

// One at a time for each thing: the difference is between what was and what is.
const lockFigure = `SELECT pg_advisory_xact_lock(hashtextextended(@id::text, 17))`

const addCell = `
INSERT INTO admin.rollup AS r (metric, day, a, b, currency, n, minor)
VALUES (@metric, @day, @a, @b, @currency, @n, @minor)
    ON CONFLICT (metric, day, a, b, currency) DO UPDATE SET n = r.n + excluded.n, minor = r.minor + excluded.minor`

// count keeps a figure and the rollups it changes, in the inbox's transaction.
func (s *Service) count(ctx context.Context, tx pg.Tx, f figure) error {
	where := args{"source": f.source, "id": f.id, "day": f.day}
	if _, err := run(ctx, tx, "keep rollups", keepRollups, nil); err != nil {
		return err
	}
	if _, err := run(ctx, tx, "lock a figure", lockFigure, args{"id": f.id}); err != nil {
		return err
	}
	before, err := all[cell](ctx, tx, "read cells", selectCells, where)
	if err != nil {
		return err
	}
	if n, err := run(ctx, tx, "keep a "+f.source+" figure", f.upsert, f.row); err != nil || n == 0 {
		return err // known already
	}
	after, err := all[cell](ctx, tx, "read cells", selectCells, where)
	if err != nil {
		return err
	}
	for _, c := range difference(before, after) {
		if _, err := run(ctx, tx, "add to a rollup", addCell, args{
			"metric": c.Metric, "day": c.Day, "a": c.A, "b": c.B, "currency": c.Currency, "n": c.N, "minor": c.Minor,
		}); err != nil {
			return err
		}
	}
	return nil
}

// difference is what is to be added, in one order for everybody: two that touch
// the same rollups never wait for each other.
func difference(before, after []cell) []cell {
	sums := map[cell]cell{}
	add := func(list []cell, sign int64) {
		for _, c := range list {
			key := cell{Metric: c.Metric, Day: c.Day, A: c.A, B: c.B, Currency: c.Currency}
			sum, ok := sums[key]
			if !ok {
				sum = key
			}
			sum.N, sum.Minor = sum.N+sign*c.N, sum.Minor+sign*c.Minor
			sums[key] = sum
		}
	}
	add(before, -1)
	add(after, 1)
	out := slices.Collect(maps.Values(sums))
	out = slices.DeleteFunc(out, func(c cell) bool { return c.N == 0 && c.Minor == 0 })
	slices.SortFunc(out, func(x, y cell) int {
		return cmp.Or(cmp.Compare(x.Metric, y.Metric), x.Day.Compare(y.Day), cmp.Compare(x.A, y.A), cmp.Compare(x.B, y.B), cmp.Compare(x.Currency, y.Currency))
	})
	return out
}

// keep writes figures without their rollups, which are counted anew afterwards.
func (s *Service) keep(ctx context.Context, list []figure) error {
	return s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		batch := &pgx.Batch{}
		for _, f := range list {
			batch.Queue(f.upsert, f.row)
		}
		return pg.Err(tx.SendBatch(ctx, batch).Close())
	})
}

const selectRebuild = `SELECT wanted, done, done_at FROM admin.rebuild`

// rebuild is how far counting anew has come.
type rebuild struct {
	Wanted, Done int64
	DoneAt       *time.Time
}

func (s *Service) rebuildState(ctx context.Context, q pg.Querier) (rebuild, error) {
	r, _, err := one[rebuild](ctx, q, "read the rebuild", selectRebuild, nil)
	return r, err
}

const wantRebuild = `UPDATE admin.rebuild SET wanted = wanted + 1`

const stopRollups = `LOCK TABLE admin.rollup IN SHARE ROW EXCLUSIVE MODE`

const clearRollups = `DELETE FROM admin.rollup`

const sumCells = `
INSERT INTO admin.rollup (metric, day, a, b, currency, n, minor)
SELECT metric, day, a, b, currency, sum(n), sum(minor)
  FROM admin.cell
 GROUP BY metric, day, a, b, currency`

const endRebuild = `UPDATE admin.rebuild SET done = @done, done_at = @now WHERE done < @done`

// sum makes the rollups anew from every figure. Whoever keeps them waits.
func (s *Service) sum(ctx context.Context, done int64) error {
	return s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		for _, x := range []struct {
			what, sql string
			a         args
		}{
			{"stop rollups", stopRollups, nil},
			{"clear rollups", clearRollups, nil},
			{"sum cells", sumCells, nil},
			{"end the rebuild", endRebuild, args{"done": done, "now": s.now()}},
		} {
			if _, err := run(ctx, tx, x.what, x.sql, x.a); err != nil {
				return err
			}
		}
		return nil
	})
}
