package subscription

import (
	"context"

	"github.com/google/uuid"
)

const nextNumber = `
INSERT INTO subscription.invoice_series AS n (gstin, series, fy, last)
VALUES (@gstin, @series, @fy, 1)
    ON CONFLICT (gstin, series, fy) DO UPDATE
   SET last = n.last + 1
RETURNING n.last`

const insertInvoice = `
INSERT INTO subscription.invoice
       (id, user_id, subscription_id, purchase_id, payment_id, state, number, supplier_gstin, supplier_state, place_of_supply, currency,
        lines, taxable_minor, cgst_minor, sgst_minor, igst_minor, round_off_minor, total_minor, issued_at)
VALUES (@id, @user_id, @subscription_id, @purchase_id, @payment_id, @state, @number, @supplier_gstin, @supplier_state, @place_of_supply, @currency,
        @lines, @taxable_minor, @cgst_minor, @sgst_minor, @igst_minor, @round_off_minor, @total_minor, @issued_at)`

// issue numbers the invoice and writes it. The series' row stays locked until
// the transaction ends, and every invoice of the company waits for it: nothing
// but the commit comes after.
func (s *Service) issue(ctx context.Context, tx txn, inv invoice, fy string) error {
	last, err := scalar[int64](ctx, tx, nextNumber, args{"gstin": s.supplier.GSTIN, "series": s.supplier.Prefix, "fy": fy})
	if err != nil {
		return err
	}
	if inv.Number, err = invoiceNumber(s.supplier.Prefix, fy, last); err != nil {
		return err
	}
	_, err = exec(ctx, tx, "insert invoice", insertInvoice, args{
		"id": inv.ID, "user_id": inv.UserID, "subscription_id": inv.SubscriptionID, "purchase_id": inv.PurchaseID, "payment_id": inv.PaymentID,
		"state": inv.State, "number": inv.Number, "supplier_gstin": s.supplier.GSTIN, "supplier_state": s.supplier.State,
		"place_of_supply": inv.PlaceOfSupply, "currency": inv.Currency, "lines": inv.Lines,
		"taxable_minor": inv.TaxableMinor, "cgst_minor": inv.CGSTMinor, "sgst_minor": inv.SGSTMinor, "igst_minor": inv.IGSTMinor,
		"round_off_minor": inv.RoundOffMinor, "total_minor": inv.TotalMinor, "issued_at": inv.IssuedAt,
	})
	return err
}

const invoiceRows = `
SELECT id, user_id, subscription_id, purchase_id, payment_id, state, number, place_of_supply, currency, lines,
       taxable_minor, cgst_minor, sgst_minor, igst_minor, round_off_minor, total_minor, issued_at
  FROM subscription.invoice`

const selectInvoice = invoiceRows + `
 WHERE id = @id AND user_id = @user_id`

// invoice reads one of the user's own; errNone when there is none.
func (s *Service) invoice(ctx context.Context, userID, invoiceID uuid.UUID) (invoice, error) {
	return one[invoice](ctx, s.db.Pool, selectInvoice, args{"id": invoiceID, "user_id": userID})
}

const selectInvoices = invoiceRows + `
 WHERE user_id = @user_id AND (@before::uuid IS NULL OR id < @before)
 ORDER BY id DESC
 LIMIT @size`

// invoices reads one page of a user's own, newest first.
func (s *Service) invoices(ctx context.Context, userID uuid.UUID, before *uuid.UUID, size int) ([]invoice, error) {
	return many[invoice](ctx, s.db.Pool, selectInvoices, args{"user_id": userID, "before": before, "size": size})
}

const countInvoices = `SELECT count(*) FROM subscription.invoice WHERE user_id = @user_id`

func (s *Service) countInvoices(ctx context.Context, userID uuid.UUID) (int32, error) {
	return scalar[int32](ctx, s.db.Pool, countInvoices, args{"user_id": userID})
}

const invoiced = `SELECT EXISTS (SELECT FROM subscription.invoice WHERE payment_id = @payment_id)`

// invoiced reports whether a payment has been turned into a subscription.
func (s *Service) invoiced(ctx context.Context, q querier, paymentID uuid.UUID) (bool, error) {
	return scalar[bool](ctx, q, invoiced, args{"payment_id": paymentID})
}
