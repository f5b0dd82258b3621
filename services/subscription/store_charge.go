package subscription

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// charge is one attempt to have a draft paid.
type charge struct {
	OrderID   uuid.UUID
	InvoiceID uuid.UUID
	AttemptNo int
	State     string
	PaymentID *uuid.UUID
	CreatedAt time.Time
}

const chargeRows = `SELECT order_id, invoice_id, attempt_no, state, payment_id, created_at FROM subscription.charge`

const selectCharge = chargeRows + ` WHERE order_id = @order_id`

// chargeOf reads the attempt that payment knows as an order; errNone when there is none.
func (s *Service) chargeOf(ctx context.Context, q querier, orderID uuid.UUID) (charge, error) {
	return one[charge](ctx, q, selectCharge, args{"order_id": orderID})
}

const selectLastCharge = chargeRows + `
 WHERE invoice_id = @invoice_id
 ORDER BY attempt_no DESC
 LIMIT 1`

// lastCharge reads a draft's latest attempt; errNone when there was none.
func (s *Service) lastCharge(ctx context.Context, q querier, invoiceID uuid.UUID) (charge, error) {
	return one[charge](ctx, q, selectLastCharge, args{"invoice_id": invoiceID})
}

const insertCharge = `
INSERT INTO subscription.charge (order_id, invoice_id, attempt_no, state, created_at, updated_at)
VALUES (@order_id, @invoice_id, @attempt_no, 'OPEN', @now, @now)`

func (s *Service) insertCharge(ctx context.Context, tx txn, c charge) error {
	_, err := exec(ctx, tx, "insert charge", insertCharge, args{
		"order_id": c.OrderID, "invoice_id": c.InvoiceID, "attempt_no": c.AttemptNo, "now": c.CreatedAt,
	})
	return err
}

const closeCharge = `
UPDATE subscription.charge
   SET state = @state, payment_id = @payment_id, updated_at = @now
 WHERE order_id = @order_id AND state <> 'PAID'`

// closeCharge writes how an attempt ended. Money may still come after a failure,
// nothing after money.
func (s *Service) closeCharge(ctx context.Context, tx txn, orderID uuid.UUID, state string, paymentID uuid.UUID, now time.Time) error {
	_, err := exec(ctx, tx, "close charge", closeCharge, args{"order_id": orderID, "state": state, "payment_id": paymentID, "now": now})
	return err
}
