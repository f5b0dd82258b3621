package subscription

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
)

type (
	txn     = pgx.Tx
	querier = pg.Querier
	args    = pgx.StrictNamedArgs
)

// errNone is what a read of one row answers when there is none.
var errNone = errors.New("no such row")

// one reads exactly one row into a T by column names; errNone when there is none.
func one[T any](ctx context.Context, q querier, sql string, a args) (T, error) {
	var none T
	rows, err := q.Query(ctx, sql, a)
	if err != nil {
		return none, pg.Err(fmt.Errorf("query %T: %w", none, err))
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
	if errors.Is(err, pgx.ErrNoRows) {
		return none, errNone
	}
	if err != nil {
		return none, pg.Err(fmt.Errorf("read %T: %w", none, err))
	}
	return v, nil
}

// many reads all rows.
func many[T any](ctx context.Context, q querier, sql string, a args) ([]T, error) {
	var none T
	rows, err := q.Query(ctx, sql, a)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("query %T rows: %w", none, err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[T])
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read %T rows: %w", none, err))
	}
	return list, nil
}

// scalar reads one value; errNone when there is no row.
func scalar[T any](ctx context.Context, q querier, sql string, a args) (T, error) {
	var v T
	err := q.QueryRow(ctx, sql, a).Scan(&v)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, errNone
	}
	if err != nil {
		return v, pg.Err(fmt.Errorf("read a value: %w", err))
	}
	return v, nil
}

func exec(ctx context.Context, q querier, what, sql string, a args) (int64, error) {
	tag, err := q.Exec(ctx, sql, a)
	if err != nil {
		return 0, pg.Err(fmt.Errorf("%s: %w", what, err))
	}
	return tag.RowsAffected(), nil
}

// exactly turns a count of rows that is not the expected one into an error.
func exactly(want, got int64, what string, err error) error {
	if err == nil && got != want {
		return fmt.Errorf("%s: %d rows, want %d", what, got, want)
	}
	return err
}

const lockUser = `SELECT pg_advisory_xact_lock(hashtextextended(@user_id::text, 0))`

// lockUser makes the transitions of one user wait for each other, so that what
// a transaction reads of the user stays true until its end. It comes first in
// every such transaction; an invoice series is locked last.
func (s *Service) lockUser(ctx context.Context, tx txn, userID uuid.UUID) error {
	_, err := exec(ctx, tx, "lock user", lockUser, args{"user_id": userID})
	return err
}

const selectPlans = `
SELECT code, kind, name, description, tier, trial_days, featured, version
  FROM subscription.plan
 WHERE NOT retired
 ORDER BY tier, code`

const selectPrices = `
SELECT r.id, r.plan_code, r.cycle, r.currency, r.amount_minor, r.tax_mode, r.tax_category, r.sac_code
  FROM subscription.price AS r
  JOIN subscription.plan AS p ON p.code = r.plan_code AND p.version = r.version
 WHERE NOT p.retired
 ORDER BY r.plan_code, r.amount_minor, r.cycle`

const selectFeatures = `
SELECT f.plan_code, f.feature, f.kind, f.limit_value, f.period
  FROM subscription.plan_feature AS f
  JOIN subscription.plan AS p ON p.code = f.plan_code AND p.version = f.version
 WHERE NOT p.retired
 ORDER BY f.plan_code, f.feature`

// loadPlans reads the catalogue whole.
func (s *Service) loadPlans(ctx context.Context) ([]plan, error) {
	plans, err := many[plan](ctx, s.db.Pool, selectPlans, args{})
	if err != nil {
		return nil, err
	}
	prices, err := many[price](ctx, s.db.Pool, selectPrices, args{})
	if err != nil {
		return nil, err
	}
	features, err := many[feature](ctx, s.db.Pool, selectFeatures, args{})
	if err != nil {
		return nil, err
	}
	byCode := make(map[string]*plan, len(plans))
	for i := range plans {
		byCode[plans[i].Code] = &plans[i]
	}
	for _, r := range prices {
		if p := byCode[r.PlanCode]; p != nil {
			p.Prices = append(p.Prices, r)
		}
	}
	for _, f := range features {
		if p := byCode[f.PlanCode]; p != nil {
			p.Features = append(p.Features, f)
		}
	}
	return plans, nil
}

const selectOffer = `
SELECT p.version, r.id, r.cycle
  FROM subscription.plan AS p
  JOIN subscription.price AS r ON r.plan_code = p.code AND r.version = p.version
 WHERE p.code = @code
 ORDER BY r.cycle
 LIMIT 1`

// planOffer is what a subscription pins.
type planOffer struct {
	Version int32
	ID      uuid.UUID
	Cycle   string
}

// offerOf reads a plan's first price in the transaction itself: one that holds
// a connection must not wait for the catalogue to get another.
func (s *Service) offerOf(ctx context.Context, tx txn, code string) (planOffer, error) {
	o, err := one[planOffer](ctx, tx, selectOffer, args{"code": code})
	if err != nil {
		return o, fmt.Errorf("price of plan %s: %w", code, err)
	}
	return o, nil
}
