package payment

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
)

// paymentFigure is what is counted of a payment.
type paymentFigure struct {
	ID          uuid.UUID
	Version     int64
	State       string
	Provider    string
	Method      string
	Currency    string
	AmountMinor int64
	CreatedAt   time.Time
}

const selectPaymentFigures = `
SELECT id, version, state, provider, method, currency, amount_minor, created_at
  FROM payment.payment
 WHERE (@id::uuid IS NULL OR id = @id) AND id > @after
 ORDER BY id
 LIMIT @limit`

// paymentFigures reads a page, or one.
func paymentFigures(ctx context.Context, q pg.Querier, id *uuid.UUID, after uuid.UUID, limit int) ([]paymentFigure, error) {
	return all[paymentFigure](ctx, q, selectPaymentFigures, pgx.StrictNamedArgs{"id": id, "after": after, "limit": limit})
}

// journalFigure is what is counted of a journal.
type journalFigure struct {
	ID          uuid.UUID
	OccurredAt  time.Time
	Currency    string
	GrossMinor  int64
	RefundMinor int64
	TaxMinor    int64
	DueMinor    int64
}

// A capture happened when it was paid, all else when it was booked. What went
// back is what left for the customer: a refund's own journal only reserves it.
const selectJournalFigures = `
SELECT j.id, CASE WHEN j.kind = 'capture' THEN j.occurred_at ELSE j.posted_at END AS occurred_at, f.currency,
       CASE WHEN j.kind = 'capture' THEN f.clearing ELSE 0 END AS gross_minor,
       CASE WHEN j.ref LIKE 'refund\_done:%' OR j.ref LIKE 'refund\_back:%' THEN f.transit
            WHEN j.ref LIKE 'dispute\_lost:%' THEN -f.held - f.clearing ELSE 0 END AS refund_minor,
       -f.tax AS tax_minor, -f.payee AS due_minor
  FROM payment.journal AS j
 CROSS JOIN LATERAL (
       SELECT min(o.currency) AS currency,
              coalesce(sum(o.amount_minor) FILTER (WHERE o.account LIKE 'gateway\_clearing:%'), 0)::bigint AS clearing,
              coalesce(sum(o.amount_minor) FILTER (WHERE o.account = 'refunds_in_transit'), 0)::bigint AS transit,
              coalesce(sum(o.amount_minor) FILTER (WHERE o.account = 'disputes_held'), 0)::bigint AS held,
              coalesce(sum(o.amount_minor) FILTER (WHERE o.account IN ('gst_cgst_payable', 'gst_sgst_payable', 'gst_igst_payable')), 0)::bigint AS tax,
              coalesce(sum(o.amount_minor) FILTER (WHERE o.account LIKE 'payee:%'), 0)::bigint AS payee
         FROM payment.posting AS o
        WHERE o.journal_id = j.id) AS f
 WHERE (@id::uuid IS NULL OR j.id = @id) AND j.id > @after
 ORDER BY j.id
 LIMIT @limit`

// journalFigures reads a page, or one.
func journalFigures(ctx context.Context, q pg.Querier, id *uuid.UUID, after uuid.UUID, limit int) ([]journalFigure, error) {
	return all[journalFigure](ctx, q, selectJournalFigures, pgx.StrictNamedArgs{"id": id, "after": after, "limit": limit})
}
