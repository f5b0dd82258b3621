package admin

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
)

// rolled is a sum of rollups.
type rolled struct {
	Metric   string
	Day      time.Time
	A, B     string
	N, Minor int64
}

// Amounts are in the one currency of the catalogue; counts have none.
const selectSums = `
SELECT metric, day, a, b, sum(n)::bigint AS n, sum(minor)::bigint AS minor
  FROM admin.rollup
 WHERE metric = ANY (@metrics::text[]) AND day BETWEEN @first AND @last AND currency IN ('', @currency)
 GROUP BY metric, day, a, b
 ORDER BY day`

// within reads rollups of a range, day by day.
func (s *Service) within(ctx context.Context, q pg.Querier, r span, metrics ...string) ([]rolled, error) {
	return all[rolled](ctx, q, "read rollups", selectSums, args{"metrics": metrics, "first": r.first, "last": r.last, "currency": currency})
}

// What was so at the end of the day before the range.
const selectBefore = `
SELECT metric, @first::date AS day, a, '' AS b, sum(n)::bigint AS n, sum(minor)::bigint AS minor
  FROM admin.rollup
 WHERE metric = ANY (@metrics::text[]) AND day < @first AND currency IN ('', @currency)
 GROUP BY metric, a`

func (s *Service) before(ctx context.Context, q pg.Querier, first time.Time, metrics ...string) ([]rolled, error) {
	return all[rolled](ctx, q, "read rollups", selectBefore, args{"metrics": metrics, "first": first, "currency": currency})
}

// People are counted once in a range, however many days they were here.
const selectActivePeople = `
SELECT count(DISTINCT id) AS n FROM admin.active_figure WHERE day BETWEEN @first AND @last`

type number struct{ N int64 }

func (s *Service) active(ctx context.Context, q pg.Querier, r span) (int64, error) {
	n, _, err := one[number](ctx, q, "count active people", selectActivePeople, args{"first": r.first, "last": r.last})
	return n.N, err
}

// By person: whoever moves from one paid subscription to another is not lost.
const selectChurn = `
SELECT count(*) AS began, count(*) FILTER (WHERE NOT stays) AS lost
  FROM (SELECT DISTINCT f.user_id, EXISTS (
               SELECT FROM admin.subscription_figure AS l
                WHERE l.user_id = f.user_id AND l.paying_from <= @last AND (l.paying_until IS NULL OR l.paying_until > @last)) AS stays
          FROM admin.subscription_figure AS f
         WHERE f.paying_from < @first AND (f.paying_until IS NULL OR f.paying_until >= @first)) AS payers`

type churned struct{ Began, Lost int64 }

func (s *Service) churn(ctx context.Context, q pg.Querier, r span) (churned, error) {
	c, _, err := one[churned](ctx, q, "count who left", selectChurn, args{"first": r.first, "last": r.last})
	return c, err
}

const selectTrials = `
SELECT count(*) AS began, count(*) FILTER (WHERE paid) AS converted, count(*) FILTER (WHERE trialing AND NOT paid) AS running
  FROM (SELECT t.trialing, EXISTS (
               SELECT FROM admin.subscription_figure AS p
                WHERE p.user_id = t.user_id AND p.paying_from >= t.trial_on) AS paid
          FROM admin.subscription_figure AS t
         WHERE t.trial_on BETWEEN @first AND @last) AS trials`

type tried struct{ Began, Converted, Running int64 }

func (s *Service) trials(ctx context.Context, q pg.Querier, r span) (tried, error) {
	c, _, err := one[tried](ctx, q, "count trials", selectTrials, args{"first": r.first, "last": r.last})
	return c, err
}

func (s *Service) want(ctx context.Context, tx pg.Tx) error {
	_, err := run(ctx, tx, "ask for a rebuild", wantRebuild, nil)
	return err
}

// picture reads everything as it was at one moment.
func (s *Service) picture(ctx context.Context, read func(ctx context.Context, q pg.Querier) error) error {
	err := pgx.BeginTxFunc(ctx, s.db.Pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		return read(ctx, tx)
	})
	return pg.Err(err)
}
