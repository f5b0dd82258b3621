package money

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// The rig looks into the payment service's books as the administrator.

func (r *run) query(ctx context.Context, do func(context.Context, *pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, r.stack.AdminURL())
	if err != nil {
		return fmt.Errorf("look into the books: %w", err)
	}
	return errors.Join(do(ctx, conn), conn.Close(ctx))
}

// leftovers is what is not terminal yet.
type leftovers struct{ Payments, Refunds, Callbacks, Events int }

func (l leftovers) none() bool { return l == leftovers{} }

const countLeft = `
SELECT (SELECT count(*) FROM payment.payment WHERE state IN ('CREATED', 'PENDING')),
       (SELECT count(*) FROM payment.refund WHERE state IN ('REQUESTED', 'APPROVED', 'PENDING')),
       (SELECT count(*) FROM payment.webhook_event WHERE state = 'RECEIVED'),
       (SELECT count(*) FROM payment.outbox)`

func left(ctx context.Context, conn *pgx.Conn) (l leftovers, err error) {
	err = conn.QueryRow(ctx, countLeft).Scan(&l.Payments, &l.Refunds, &l.Callbacks, &l.Events)
	return l, err //nolint:wrapcheck // the caller says what it was for
}

// settle waits until nothing is left.
func (r *run) settle(ctx context.Context) (leftovers, error) {
	var last leftovers
	err := r.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		for {
			now, err := left(ctx, conn)
			if err != nil {
				return err
			}
			if last = now; last.none() {
				return nil
			}
			if !pause(ctx, 50*time.Millisecond) {
				return ctx.Err() //nolint:wrapcheck // the limit
			}
		}
	})
	return last, err
}

// entry is what the ledger has on the clearing account of one journal.
type entry struct {
	Ref, Kind string
	Minor     int64
}

type paid struct {
	Request       uuid.UUID
	Orders        []string
	State         string
	Captured      int64
	Refunded      int64
	Flags         int
	ClearingMinor int64
}

// books is all that the audit compares.
type books struct {
	clearing []entry
	payments []paid
	counts   map[string]int64 // every one of them has to be nothing
}

const selectClearing = `
SELECT j.ref, j.kind, sum(p.amount_minor)::bigint
  FROM payment.journal j JOIN payment.posting p ON p.journal_id = j.id
 WHERE p.account LIKE 'gateway\_clearing:%' AND j.kind <> 'settlement'
 GROUP BY j.id`

const selectPayments = `
SELECT p.request_id, array(SELECT a.merchant_order_id FROM payment.attempt a WHERE a.payment_id = p.id), p.state, p.captured_minor,
       p.refunded_minor, p.integrity_failed::int + p.needs_review::int,
       coalesce((SELECT sum(l.amount_minor) FROM payment.journal j JOIN payment.posting l ON l.journal_id = j.id
                  WHERE j.payment_id = p.id AND l.account LIKE 'gateway\_clearing:%' AND j.kind <> 'settlement'), 0)::bigint
  FROM payment.payment p`

// nothing are counts that show something wrong.
var nothing = map[string]string{
	"trial balance":                     `SELECT coalesce(sum(amount_minor), 0)::bigint FROM payment.posting`,
	"journals that do not balance":      `SELECT count(*) FROM (SELECT FROM payment.posting GROUP BY journal_id, currency HAVING sum(amount_minor) <> 0) AS x`,
	"events refused":                    `SELECT count(*) FROM payment.outbox_dead`,
	"callbacks that failed":             `SELECT count(*) FROM payment.webhook_event WHERE state NOT IN ('PROCESSED', 'RECEIVED')`,
	"payments that a person must judge": `SELECT count(*) FROM payment.payment WHERE needs_review OR integrity_failed`,
	"money reserved for no refund":      `SELECT coalesce(sum(reserved_minor), 0)::bigint FROM payment.payment`,
	"refunds left in transit":           `SELECT coalesce(sum(amount_minor), 0)::bigint FROM payment.posting WHERE account = 'refunds_in_transit'`,
	"attempts left open":                `SELECT count(*) FROM payment.attempt WHERE state NOT IN ('succeeded', 'failed')`,
}

func (r *run) books(ctx context.Context) (b books, err error) {
	b.counts = map[string]int64{}
	err = r.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, selectClearing)
		if err != nil {
			return err //nolint:wrapcheck // below
		}
		if b.clearing, err = pgx.CollectRows(rows, pgx.RowToStructByPos[entry]); err != nil {
			return err //nolint:wrapcheck // below
		}
		if rows, err = conn.Query(ctx, selectPayments); err != nil {
			return err //nolint:wrapcheck // below
		}
		if b.payments, err = pgx.CollectRows(rows, pgx.RowToStructByPos[paid]); err != nil {
			return err //nolint:wrapcheck // below
		}
		for what, q := range nothing {
			var n int64
			if err := conn.QueryRow(ctx, q).Scan(&n); err != nil {
				return fmt.Errorf("count %s: %w", what, err)
			}
			b.counts[what] = n
		}
		return nil
	})
	if err != nil {
		return b, fmt.Errorf("read the books: %w", err)
	}
	return b, nil
}

// waiting are refunds that need a second administrator.
func (r *run) waiting(ctx context.Context) (ids []uuid.UUID, err error) {
	err = r.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `SELECT id FROM payment.refund WHERE state = 'REQUESTED' LIMIT 100`)
		if err != nil {
			return err //nolint:wrapcheck // the caller says what it was for
		}
		ids, err = pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		return err //nolint:wrapcheck // the caller says what it was for
	})
	return ids, err
}
