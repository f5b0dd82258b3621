package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/services/payment/factstate"
)

// invariant is something that must always be true, as the query of what breaks
// it: rows of subject and detail. @since bounds what changes, @now is the time.
type invariant struct {
	name string
	sql  string
}

var invariants = []invariant{
	{"captured_has_journal", `
SELECT 'payment:' || p.id AS subject, 'captured ' || p.captured_minor || ' without a journal of it' AS detail
  FROM payment.payment p
 WHERE p.updated_at >= @since AND p.captured_minor > 0
   AND NOT EXISTS (SELECT 1 FROM payment.journal j WHERE j.payment_id = p.id AND j.kind = 'capture')`},
	{"journal_equals_captured", `
SELECT 'payment:' || p.id AS subject, 'the journal took ' || sum(o.amount_minor) || ', the payment ' || p.captured_minor AS detail
  FROM payment.payment p
  JOIN payment.journal j ON j.payment_id = p.id AND j.kind = 'capture' AND j.posted_at >= @since
  JOIN payment.posting o ON o.journal_id = j.id AND o.account = 'gateway_clearing:' || p.provider
 GROUP BY p.id
HAVING sum(o.amount_minor) <> p.captured_minor`},
	{"journals_balance", `
SELECT 'journal:' || j.id AS subject, 'off by ' || sum(o.amount_minor) AS detail
  FROM payment.journal j
  LEFT JOIN payment.posting o ON o.journal_id = j.id
 WHERE j.posted_at >= @since
 GROUP BY j.id, o.currency
HAVING coalesce(sum(o.amount_minor), -1) <> 0`},
	{"open_is_asked_about", `
SELECT 'payment:' || a.payment_id AS subject, 'attempt ' || a.no || ' is ' || a.state || ' and nobody asks' AS detail
  FROM payment.attempt a
  JOIN payment.payment p ON p.id = a.payment_id
 WHERE a.state IN ('submitted', 'pending', 'unknown') AND (a.next_poll_at IS NULL OR a.next_poll_at < @now - interval '1 hour')
   AND a.updated_at < @now - interval '10 minutes' AND NOT p.needs_review AND NOT p.integrity_failed`},
	{"reserved_is_on_its_way", `
SELECT 'payment:' || p.id AS subject, p.reserved_minor || ' is reserved, refunds need ' || coalesce(sum(x.amount_minor), 0) AS detail
  FROM payment.payment p
  LEFT JOIN payment.refund x ON x.payment_id = p.id AND x.state IN ('REQUESTED', 'APPROVED', 'PENDING')
 WHERE p.updated_at >= @since
 GROUP BY p.id
HAVING p.reserved_minor <> coalesce(sum(x.amount_minor), 0)`},
	{"returns_have_journals", `
SELECT 'refund:' || x.id AS subject, x.state || ' without the journal of it' AS detail
  FROM payment.refund x
 WHERE x.updated_at >= @since
   AND (x.state IN ('PENDING', 'COMPLETED') AND NOT EXISTS (SELECT 1 FROM payment.journal j WHERE j.ref = 'refund:' || x.merchant_refund_id)
     OR x.state = 'COMPLETED' AND NOT EXISTS (SELECT 1 FROM payment.journal j WHERE j.ref = 'refund_done:' || x.merchant_refund_id))`},
	{"refunds_are_asked_about", `
SELECT 'refund:' || x.id AS subject, x.state || ' of ' || x.amount_minor || ' and nobody asks' AS detail
  FROM payment.refund x
 WHERE x.state IN ('APPROVED', 'PENDING') AND (x.next_poll_at IS NULL OR x.next_poll_at < @now - interval '1 hour')`},
	{"answers_are_ours", `
SELECT 'payment:' || p.id AS subject, 'the provider answered about something else' AS detail
  FROM payment.payment p
 WHERE p.updated_at >= @since AND p.integrity_failed`},
	{"ends_within_three_days", `
SELECT 'payment:' || p.id AS subject, 'the provider has not decided' AS detail
  FROM payment.payment p
 WHERE p.updated_at >= @since AND p.needs_review AND NOT p.integrity_failed AND p.state IN ('CREATED', 'PENDING')`},
	{"callbacks_are_understood", `
SELECT 'webhook:' || w.id AS subject, w.provider || ' ' || w.event || ': ' || w.state || ' ' || w.last_error AS detail
  FROM payment.webhook_event w
 WHERE w.received_at >= @since AND (w.state IN ('ORPHAN', 'FAILED', 'INTEGRITY_FAILED')
    OR w.state = 'RECEIVED' AND w.received_at < @now - interval '15 minutes')`},
	{"events_leave", `
SELECT 'outbox:' || o.destination AS subject, count(*) || ' events wait, the oldest since ' || min(o.occurred_at) AS detail
  FROM payment.outbox o
 GROUP BY o.destination
HAVING min(o.occurred_at) < @now - interval '5 minutes'`},
	{"events_are_taken", `
SELECT 'event:' || d.event_id || ':' || d.destination AS subject, d.type || ' refused: ' || d.reason AS detail
  FROM payment.outbox_dead d`},
	{"settlements_are_booked", `
SELECT 'settlement:' || l.provider || ':' || l.transaction_id || ':' || l.kind AS subject,
       l.state || ' ' || l.amount_minor || ' of ' || l.merchant_order_id || ': ' || l.detail AS detail
  FROM payment.settlement_line l
 WHERE l.received_at >= @since AND l.state IN ('MISSING_HERE', 'AMOUNT_DIFFERS')`},
	{"settlements_come", `
SELECT 'settlement_day:' || d.provider || ':' || d.day AS subject, d.last_error AS detail
  FROM payment.settlement_day d
 WHERE d.fetched_at IS NULL AND d.attempts > 3`},
	{"clearing_returns_to_nothing", `
SELECT 'payment:' || j.payment_id AS subject, j.ref || ' is not in any settlement since ' || j.occurred_at AS detail
  FROM payment.journal j
  JOIN payment.payment p ON p.id = j.payment_id
 WHERE j.kind = 'capture' AND j.posted_at >= @since - interval '7 days' AND j.occurred_at < @now - interval '3 days'
   AND EXISTS (SELECT 1 FROM payment.settlement_day d
                WHERE d.provider = p.provider AND d.fetched_at IS NOT NULL AND d.day = (j.occurred_at AT TIME ZONE 'Asia/Kolkata')::date)
   AND NOT EXISTS (SELECT 1 FROM payment.settlement_line l WHERE l.payment_id = p.id AND l.kind = 'CAPTURE' AND l.state = 'MATCHED')`},
}

const keepFinding = `
INSERT INTO payment.finding (id, invariant, subject, detail, first_seen, last_seen)
VALUES (@id, @invariant, @subject, @detail, @now, @now)
    ON CONFLICT (invariant, subject) WHERE resolved_at IS NULL DO UPDATE
   SET last_seen = excluded.last_seen, detail = excluded.detail
RETURNING (xmax = 0)`

const resolveFindings = `
UPDATE payment.finding
   SET resolved_at = @now
 WHERE invariant = @invariant AND resolved_at IS NULL AND last_seen < @now`

// One sweeper at a time: two would each think the other's findings resolved.
const lockSweep = `SELECT pg_try_advisory_xact_lock(hashtextextended('payment.sweep', 0))`

// inspect writes down what breaks an invariant, and what does no longer. n is how
// many break it, fresh how many of them are new.
func (s *Service) inspect(ctx context.Context, inv invariant, since time.Time) (n, fresh int, err error) {
	now := s.now().Truncate(time.Microsecond) // as the database keeps it
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		n, fresh = 0, 0
		var mine bool
		if err := tx.QueryRow(ctx, lockSweep).Scan(&mine); err != nil || !mine {
			return err //nolint:wrapcheck // InTx says what it was
		}
		sql := `WITH clock AS (SELECT @since::timestamptz, @now::timestamptz)` + inv.sql // tells the parameters' types; not all use both
		broken, err := all[violation](ctx, tx, sql, pgx.StrictNamedArgs{"since": since, "now": now})
		if err != nil {
			return err
		}
		n = len(broken)
		for _, v := range broken[:min(n, mostFindings)] {
			var isNew bool
			err := tx.QueryRow(ctx, keepFinding, pgx.StrictNamedArgs{
				"id": s.ids.New(), "invariant": inv.name, "subject": v.Subject, "detail": clip(v.Detail, 500), "now": now,
			}).Scan(&isNew)
			if err != nil {
				return err //nolint:wrapcheck // InTx says what it was
			}
			if !isNew {
				continue
			}
			fresh++
			if err := s.outbox.Append(ctx, tx, auditFound(ctx, inv.name, v, now)); err != nil {
				return err //nolint:wrapcheck // its own words
			}
		}
		if n > mostFindings || !since.IsZero() {
			return nil // what was not looked at must not be taken for resolved
		}
		_, err = exec(ctx, tx, resolveFindings, pgx.StrictNamedArgs{"invariant": inv.name, "now": now})
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("look at %s: %w", inv.name, err)
	}
	if fresh > 0 {
		s.outbox.Wake()
	}
	return n, fresh, nil
}

const selectUnopened = `
SELECT p.id
  FROM payment.payment p
  JOIN payment.attempt a ON a.payment_id = p.id
   AND a.no = (SELECT max(l.no) FROM payment.attempt l WHERE l.payment_id = p.id)
 WHERE p.state = 'CREATED' AND p.created_at < @before AND a.state IN ('prepared', 'failed') AND a.updated_at < @before
   AND NOT EXISTS (SELECT 1 FROM payment.mandate_debit d WHERE d.payment_id = p.id) -- a debit waits for its day
 LIMIT 100`

func (s *Service) unopened(ctx context.Context) ([]uuid.UUID, error) {
	rows, err := all[struct{ ID uuid.UUID }](ctx, s.db.Pool, selectUnopened, pgx.StrictNamedArgs{"before": s.now().Add(-lapseAfter)})
	ids := make([]uuid.UUID, 0, len(rows))
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids, err
}

// lapse ends a payment that was never opened, unless somebody opens it now.
func (s *Service) lapse(ctx context.Context, paymentID uuid.UUID) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		p, err := s.lockPayment(ctx, tx, paymentID)
		if err != nil {
			return err
		}
		a, err := s.latestAttempt(ctx, tx, paymentID)
		if err != nil {
			return err
		}
		leased := a.LeaseUntil != nil && s.now().Before(*a.LeaseUntil)
		if p.State != factstate.Created || leased || a.State != attemptPrepared && a.State != attemptFailed {
			return nil
		}
		f := fact{Kind: factstate.Lapsed, MerchantOrderID: a.MerchantOrderID, Currency: p.Currency, FailureCode: neverOpened}
		v := verdict{state: factstate.Next(p.State, f.Kind), attempt: attemptFailed}
		if err := s.moveAttempt(ctx, tx, a, v, f); err != nil {
			return err
		}
		return s.move(ctx, tx, p, v, f, origin{by: byClock})
	})
	if err != nil {
		return fmt.Errorf("lapse payment %s: %w", paymentID, err)
	}
	s.outbox.Wake()
	return nil
}

const findingColumns = `
SELECT id, invariant, subject, detail, first_seen, last_seen, resolved_at, acknowledged_at, acknowledged_by, note
  FROM payment.finding`

const selectFindings = findingColumns + `
 WHERE id < @before AND (@resolved OR resolved_at IS NULL) AND (@invariant = '' OR invariant = @invariant)
 ORDER BY id DESC
 LIMIT @limit`

// findings reads a page, newest first, from before an id.
func (s *Service) findings(ctx context.Context, invariant string, resolved bool, before uuid.UUID, limit int) ([]finding, error) {
	return all[finding](ctx, s.db.Pool, selectFindings, pgx.StrictNamedArgs{
		"invariant": invariant, "resolved": resolved, "before": before, "limit": limit,
	})
}

const acknowledgeFinding = `
UPDATE payment.finding
   SET acknowledged_by = @by, acknowledged_at = @now, note = @note
 WHERE id = @id`

// acknowledge notes that somebody looks into a finding. It stays open until the
// sweep no longer finds it.
func (s *Service) acknowledge(ctx context.Context, findingID, by uuid.UUID, note string) (f finding, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		now := s.now()
		n, err := exec(ctx, tx, acknowledgeFinding, pgx.StrictNamedArgs{"id": findingID, "by": by, "note": note, "now": now})
		if err != nil {
			return err
		}
		if n == 0 {
			return fail.New(fail.NotFound, "there is no such finding")
		}
		if f, err = one[finding](ctx, tx, findingColumns+` WHERE id = @id`, pgx.StrictNamedArgs{"id": findingID}); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditAcknowledged(ctx, f, by, note, now)) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return finding{}, fmt.Errorf("acknowledge finding: %w", err)
	}
	s.outbox.Wake()
	return f, nil
}
