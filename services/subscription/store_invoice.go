package subscription

import (
	"context"
	"time"

	"github.com/google/uuid"
)

const insertInvoice = `
INSERT INTO subscription.invoice
       (id, user_id, subscription_id, purchase_id, payment_id, kind, period_no, state, supplier_gstin, supplier_state, place_of_supply,
        customer, corrects, currency, lines, credit_minor, taxable_minor, cgst_minor, sgst_minor, igst_minor, round_off_minor, total_minor, issued_at)
VALUES (@id, @user_id, @subscription_id, @purchase_id, @payment_id, @kind, @period_no, 'DRAFT', @supplier_gstin, @supplier_state, @place_of_supply,
        @customer, @corrects, @currency, @lines, @credit_minor, @taxable_minor, @cgst_minor, @sgst_minor, @igst_minor, @round_off_minor, @total_minor, @issued_at)`

// insertDraft writes an invoice without a number.
func (s *Service) insertDraft(ctx context.Context, tx txn, inv invoice) error {
	_, err := exec(ctx, tx, "insert invoice", insertInvoice, args{
		"id": inv.ID, "user_id": inv.UserID, "subscription_id": inv.SubscriptionID, "purchase_id": inv.PurchaseID, "payment_id": inv.PaymentID,
		"kind": inv.Kind, "period_no": inv.PeriodNo, "supplier_gstin": s.supplier.GSTIN, "supplier_state": s.supplier.State,
		"place_of_supply": inv.PlaceOfSupply, "customer": inv.Customer, "corrects": inv.Corrects, "currency": inv.Currency, "lines": inv.Lines,
		"credit_minor": inv.CreditMinor, "taxable_minor": inv.TaxableMinor, "cgst_minor": inv.CGSTMinor, "sgst_minor": inv.SGSTMinor, "igst_minor": inv.IGSTMinor,
		"round_off_minor": inv.RoundOffMinor, "total_minor": inv.TotalMinor, "issued_at": inv.IssuedAt,
	})
	return err
}

const nextNumber = `
INSERT INTO subscription.invoice_series AS n (gstin, series, fy, last)
VALUES (@gstin, @series, @fy, 1)
    ON CONFLICT (gstin, series, fy) DO UPDATE
   SET last = n.last + 1
RETURNING n.last`

const finalizeInvoice = `
UPDATE subscription.invoice
   SET number = @number, state = @state, payment_id = @payment_id, issued_at = @issued_at, hash = @hash,
       finalized_at = @issued_at, paid_at = CASE WHEN @state = 'PAID' THEN @issued_at::timestamptz END
 WHERE id = @id AND state = 'DRAFT'`

// issue numbers a draft and makes it final in the given state. The series' row
// stays locked until the transaction ends, and every invoice of the company
// waits for it: nothing but the commit comes after.
func (s *Service) issue(ctx context.Context, tx txn, inv invoice, state string, fy string) error {
	series := s.supplier.Prefix
	if inv.Kind == ofCreditNote {
		series = creditSeries
	}
	last, err := scalar[int64](ctx, tx, nextNumber, args{"gstin": s.supplier.GSTIN, "series": series, "fy": fy})
	if err != nil {
		return err
	}
	number, err := invoiceNumber(series, fy, last)
	if err != nil {
		return err
	}
	inv.Number = &number
	hash, err := inv.digest()
	if err != nil {
		return err
	}
	n, err := exec(ctx, tx, "finalize invoice", finalizeInvoice, args{
		"id": inv.ID, "number": number, "state": state, "payment_id": inv.PaymentID, "issued_at": inv.IssuedAt, "hash": hash,
	})
	return exactly(1, n, "finalize invoice", err)
}

const voidDrafts = `
UPDATE subscription.invoice
   SET state = 'VOID', voided_at = @now
 WHERE subscription_id = @subscription_id AND state = 'DRAFT'`

// voidDrafts ends the drafts of a subscription that nobody will pay any more.
func (s *Service) voidDrafts(ctx context.Context, tx txn, subID uuid.UUID, now time.Time) error {
	_, err := exec(ctx, tx, "void drafts", voidDrafts, args{"subscription_id": subID, "now": now})
	return err
}

const invoiceRows = `
SELECT id, user_id, subscription_id, purchase_id, payment_id, kind, period_no, state, number, place_of_supply, customer, corrects, currency, lines,
       credit_minor, taxable_minor, cgst_minor, sgst_minor, igst_minor, round_off_minor, total_minor, hash, issued_at
  FROM subscription.invoice`

const selectInvoice = invoiceRows + `
 WHERE id = @id AND user_id = @user_id`

// invoice reads one of the user's own; errNone when there is none.
func (s *Service) invoice(ctx context.Context, userID, invoiceID uuid.UUID) (invoice, error) {
	return one[invoice](ctx, s.db.Pool, selectInvoice, args{"id": invoiceID, "user_id": userID})
}

const selectInvoiceByID = invoiceRows + `
 WHERE id = @id`

func (s *Service) invoiceByID(ctx context.Context, q querier, invoiceID uuid.UUID) (invoice, error) {
	return one[invoice](ctx, q, selectInvoiceByID, args{"id": invoiceID})
}

const selectDraft = invoiceRows + `
 WHERE subscription_id = @subscription_id AND kind = @kind AND state = 'DRAFT'
   AND (@period_no::int IS NULL OR period_no = @period_no)`

// draftOf reads the open draft of a subscription; errNone when there is none.
func (s *Service) draftOf(ctx context.Context, q querier, subID uuid.UUID, kind string, periodNo *int) (invoice, error) {
	return one[invoice](ctx, q, selectDraft, args{"subscription_id": subID, "kind": kind, "period_no": periodNo})
}

const selectInvoiceOfPayment = invoiceRows + `
 WHERE payment_id = @payment_id AND kind <> 'CREDIT_NOTE'`

// invoiceOfPayment reads what a payment paid; errNone when it was for nothing.
func (s *Service) invoiceOfPayment(ctx context.Context, q querier, paymentID uuid.UUID) (invoice, error) {
	return one[invoice](ctx, q, selectInvoiceOfPayment, args{"payment_id": paymentID})
}

const selectCredited = `SELECT COALESCE(sum(total_minor), 0)::bigint FROM subscription.invoice WHERE corrects = @id`

// credited is what credit notes have taken back of an invoice.
func (s *Service) credited(ctx context.Context, q querier, invoiceID uuid.UUID) (int64, error) {
	return scalar[int64](ctx, q, selectCredited, args{"id": invoiceID})
}

const selectInvoices = invoiceRows + `
 WHERE user_id = @user_id AND (@before::uuid IS NULL OR id < @before) AND state IN ('FINAL', 'PAID')
 ORDER BY id DESC
 LIMIT @size`

// invoices reads one page of a user's own, newest first. A draft is no document
// yet, and one that was voided never was.
func (s *Service) invoices(ctx context.Context, userID uuid.UUID, before *uuid.UUID, size int) ([]invoice, error) {
	return many[invoice](ctx, s.db.Pool, selectInvoices, args{"user_id": userID, "before": before, "size": size})
}

const countInvoices = `SELECT count(*) FROM subscription.invoice WHERE user_id = @user_id AND state IN ('FINAL', 'PAID')`

func (s *Service) countInvoices(ctx context.Context, userID uuid.UUID) (int32, error) {
	return scalar[int32](ctx, s.db.Pool, countInvoices, args{"user_id": userID})
}

const invoiced = `SELECT EXISTS (SELECT FROM subscription.invoice WHERE payment_id = @payment_id)`

// invoiced reports whether a payment has been turned into a subscription.
func (s *Service) invoiced(ctx context.Context, q querier, paymentID uuid.UUID) (bool, error) {
	return scalar[bool](ctx, q, invoiced, args{"payment_id": paymentID})
}
