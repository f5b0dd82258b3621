package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/fail"
)

// States of a debit.
const (
	debitPrepared  = "prepared"  // the customer knows nothing of it
	debitNotifying = "notifying" // the notice is being sent, or on its way
	debitNotified  = "notified"  // told, and nothing is being debited
	debitRedeeming = "redeeming" // being asked for
	debitPending   = "pending"   // asked for
	debitUnknown   = "unknown"   // asked for, and nobody knows with what result
	debitSucceeded = "succeeded"
	debitFailed    = "failed"
	debitCancelled = "cancelled"
)

// debit is a row.
type debit struct {
	PaymentID       uuid.UUID
	MandateID       uuid.UUID
	Cycle           int32
	MerchantOrderID string
	State           string
	DueAt           time.Time
	NotifiedAt      *time.Time
	RedeemAfter     *time.Time
	NoticeVoid      bool
	Tries           int
	TriedAt         *time.Time
	ExpiresAt       *time.Time
	FailureCode     string
	NextAt          *time.Time
	Fence           int64
	UpdatedAt       time.Time
}

const debitFields = `payment_id, mandate_id, cycle, merchant_order_id, state, due_at, notified_at, redeem_after, notice_void, tries,
       tried_at, expires_at, failure_code, next_at, fence, updated_at`

const selectDebit = `SELECT ` + debitFields + ` FROM payment.mandate_debit WHERE payment_id = @payment_id`

// debit reads the debit that a payment is; NOT_FOUND when it is none.
func (s *Service) debit(ctx context.Context, paymentID uuid.UUID) (debit, error) {
	return one[debit](ctx, s.db.Pool, selectDebit, pgx.StrictNamedArgs{"payment_id": paymentID})
}

const insertDebit = `
INSERT INTO payment.mandate_debit (payment_id, mandate_id, cycle, merchant_order_id, state, due_at, next_at, created_at, updated_at)
SELECT @payment_id, @mandate_id, coalesce(max(cycle), 0) + 1, @merchant_order_id, 'prepared', @due_at, @due_at, @now, @now
  FROM payment.mandate_debit
 WHERE mandate_id = @mandate_id`

const selectDebitOfRequest = `
SELECT p.id
  FROM payment.payment p
  JOIN payment.mandate_debit d ON d.payment_id = p.id
 WHERE p.request_id = @request_id AND d.mandate_id = @mandate_id AND p.amount_minor = @amount_minor AND p.currency = @currency`

// insertDebit commits a debit with its payment and order, or gives the payment
// of the same request. CONFLICT when the mandate cannot be debited.
func (s *Service) insertDebit(ctx context.Context, in newDebit) (paymentID uuid.UUID, err error) {
	now := s.now()
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		paymentID = s.ids.New()
		n, err := exec(ctx, tx, insertPayment, in.row(paymentID, now))
		if err != nil {
			return err
		}
		if n == 0 {
			err := tx.QueryRow(ctx, selectDebitOfRequest, pgx.StrictNamedArgs{
				"request_id": in.RequestID, "mandate_id": in.MandateID, "amount_minor": in.AmountMinor, "currency": in.Currency,
			}).Scan(&paymentID)
			if errors.Is(err, pgx.ErrNoRows) {
				return fail.New(fail.Conflict, "the order has a payment of another kind already")
			}
			return err //nolint:wrapcheck // InTx says what it was
		}
		m, err := one[mandate](ctx, tx, lockMandate, pgx.StrictNamedArgs{"id": in.MandateID})
		if err != nil {
			return err
		}
		if m.State != mandateActive && m.State != mandatePaused || m.CancelRequestedAt != nil {
			return fail.New(fail.Conflict, "the mandate cannot be debited")
		}
		args := pgx.StrictNamedArgs{
			"payment_id": paymentID, "mandate_id": m.ID, "merchant_order_id": debitOrderID(paymentID, 1), "due_at": in.DueAt, "now": now,
		}
		if err := s.insertDebitOrder(ctx, tx, paymentID, 1); err != nil {
			return err
		}
		if _, err := exec(ctx, tx, bindPayment, pgx.StrictNamedArgs{"id": paymentID, "mandate_id": m.ID}); err != nil {
			return err
		}
		if _, err := exec(ctx, tx, insertDebit, args); err != nil {
			return err
		}
		if err := s.tellPayment(ctx, tx, paymentID); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditDebitCreated(ctx, paymentID, in, now)) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return uuid.Nil, fmt.Errorf("insert debit: %w", err)
	}
	return paymentID, nil
}

// The attempt of a debit stays prepared until its end: the mandate's worker asks
// about it, not the poller.
func (s *Service) insertDebitOrder(ctx context.Context, tx pgx.Tx, paymentID uuid.UUID, no int) error {
	_, err := exec(ctx, tx, insertAttempt, pgx.StrictNamedArgs{
		"payment_id": paymentID, "no": no, "merchant_order_id": debitOrderID(paymentID, no), "now": s.now(),
	})
	return err
}

const leaseDebits = `
UPDATE payment.mandate_debit
   SET fence = fence + 1, next_at = @lease
 WHERE payment_id IN (SELECT payment_id FROM payment.mandate_debit
                       WHERE next_at <= @now
                       ORDER BY next_at
                       LIMIT @limit
                         FOR UPDATE SKIP LOCKED)
RETURNING ` + debitFields

func (s *Service) leaseDebits(ctx context.Context) ([]debit, error) {
	now := s.now()
	return all[debit](ctx, s.db.Pool, leaseDebits, pgx.StrictNamedArgs{"lease": now.Add(pollLease), "now": now, "limit": pollsAtOnce})
}

const moveDebit = `
UPDATE payment.mandate_debit
   SET state = @state, notified_at = @notified_at, redeem_after = @redeem_after, tries = @tries, tried_at = @tried_at,
       expires_at = @expires_at, failure_code = @failure_code, next_at = @next_at, fence = fence + 1, updated_at = @now
 WHERE payment_id = @payment_id AND fence = @fence AND state = @before`

func (d debit) row(before string, now time.Time) pgx.StrictNamedArgs {
	return pgx.StrictNamedArgs{
		"payment_id": d.PaymentID, "fence": d.Fence, "before": before, "state": d.State, "notified_at": d.NotifiedAt,
		"redeem_after": d.RedeemAfter, "tries": d.Tries, "tried_at": d.TriedAt, "expires_at": d.ExpiresAt,
		"failure_code": d.FailureCode, "next_at": d.NextAt, "now": now,
	}
}

// moveDebit keeps how a debit stands now, and does nothing when it has changed
// since it was read: whoever changed it finds out by asking.
func (s *Service) moveDebit(ctx context.Context, d debit, before string) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		now := s.now()
		n, err := exec(ctx, tx, moveDebit, d.row(before, now))
		if err != nil || n == 0 || before != debitNotifying || d.State != debitNotified {
			return err
		}
		p, err := one[payment](ctx, tx, selectPayment, pgx.StrictNamedArgs{"id": d.PaymentID, "now": now})
		if err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditDebitNotified(ctx, p, d, now)) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return fmt.Errorf("keep debit %s: %w", d.MerchantOrderID, err)
	}
	return nil
}

const pauseDebit = `
UPDATE payment.mandate_debit
   SET next_at = @next_at
 WHERE payment_id = @payment_id AND fence = @fence AND next_at IS NOT NULL`

// postpone has the worker look at a debit again at a time.
func (s *Service) postpone(ctx context.Context, d debit, at time.Time) error {
	_, err := exec(ctx, s.db.Pool, pauseDebit, pgx.StrictNamedArgs{"payment_id": d.PaymentID, "fence": d.Fence, "next_at": at})
	return err
}

const parkDebit = `
UPDATE payment.mandate_debit
   SET next_at = NULL
 WHERE payment_id = @payment_id`

// park leaves a debit to a person.
func (s *Service) park(ctx context.Context, d debit) error {
	_, err := exec(ctx, s.db.Pool, parkDebit, pgx.StrictNamedArgs{"payment_id": d.PaymentID})
	return err
}

const beginNotify = `
UPDATE payment.mandate_debit d
   SET state = 'notifying', expires_at = @expires_at, fence = d.fence + 1, updated_at = @now
  FROM payment.mandate m, payment.payment p
 WHERE d.payment_id = @payment_id AND d.fence = @fence AND d.state = 'prepared' AND d.due_at <= @now
   AND m.id = d.mandate_id AND m.state = 'ACTIVE' AND m.cancel_requested_at IS NULL
   AND p.id = d.payment_id AND p.state IN ('CREATED', 'PENDING')`

// beginNotify commits that the customer may be told; false when not now.
func (s *Service) beginNotify(ctx context.Context, d debit) (bool, error) {
	now := s.now()
	n, err := exec(ctx, s.db.Pool, beginNotify, pgx.StrictNamedArgs{
		"payment_id": d.PaymentID, "fence": d.Fence, "expires_at": now.Add(debitOrderLife), "now": now,
	})
	return n == 1, err
}

// Every condition but the hour stands here once more, where
// nobody comes between it and the decision.
const beginRedeem = `
UPDATE payment.mandate_debit d
   SET state = 'redeeming', tries = d.tries + 1, tried_at = @now, fence = d.fence + 1, updated_at = @now
  FROM payment.mandate m, payment.payment p
 WHERE d.payment_id = @payment_id AND d.fence = @fence AND d.state = 'notified' AND NOT d.notice_void
   AND d.redeem_after <= @now AND d.notified_at <= @day_ago AND d.expires_at > @now AND d.tries < @most
   AND m.id = d.mandate_id AND m.state = 'ACTIVE' AND m.cancel_requested_at IS NULL
   AND p.id = d.payment_id AND p.state IN ('CREATED', 'PENDING')`

// beginRedeem commits that money is about to be asked for; false when not now.
// Of any number of workers one gets it.
func (s *Service) beginRedeem(ctx context.Context, d debit) (bool, error) {
	now := s.now()
	n, err := exec(ctx, s.db.Pool, beginRedeem, pgx.StrictNamedArgs{
		"payment_id": d.PaymentID, "fence": d.Fence, "most": debitTries, "day_ago": now.Add(-noticeAhead), "now": now,
	})
	return n == 1, err
}

const dropAttempt = `
UPDATE payment.attempt
   SET state = 'failed', failure_code = 'MANDATE_PAUSED', next_poll_at = NULL, lease_until = NULL, updated_at = @now
 WHERE merchant_order_id = @merchant_order_id AND state = 'prepared'`

const renewDebit = `
UPDATE payment.mandate_debit
   SET state = 'prepared', merchant_order_id = @merchant_order_id, notified_at = NULL, redeem_after = NULL, notice_void = false,
       tries = 0, tried_at = NULL, expires_at = NULL, next_at = @now, fence = fence + 1, updated_at = @now
 WHERE payment_id = @payment_id AND fence = @fence AND state = 'notified' AND notice_void`

// renew begins a debit again under another order: the customer is to be told
// anew, and an order takes one notice.
func (s *Service) renew(ctx context.Context, d debit) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		p, err := s.lockPayment(ctx, tx, d.PaymentID)
		if err != nil || !p.State.Open() {
			return err
		}
		a, err := s.attempt(ctx, tx, d.MerchantOrderID)
		if err != nil {
			return err
		}
		now := s.now()
		if _, err := exec(ctx, tx, dropAttempt, pgx.StrictNamedArgs{"merchant_order_id": a.MerchantOrderID, "now": now}); err != nil {
			return err
		}
		if err := s.insertDebitOrder(ctx, tx, d.PaymentID, a.No+1); err != nil {
			return err
		}
		n, err := exec(ctx, tx, renewDebit, pgx.StrictNamedArgs{
			"payment_id": d.PaymentID, "fence": d.Fence, "merchant_order_id": debitOrderID(d.PaymentID, a.No+1), "now": now,
		})
		if err == nil && n == 0 {
			return errLost
		}
		return err
	})
	if errors.Is(err, errLost) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("renew debit %s: %w", d.MerchantOrderID, err)
	}
	return nil
}

var errLost = errors.New("another worker has the debit")

const endDebit = `
UPDATE payment.mandate_debit
   SET state = @state, failure_code = @failure_code, next_at = NULL, fence = fence + 1, updated_at = @now
 WHERE payment_id = @payment_id AND state <> @state`

// isDebit tells the order of a debit from one that a customer pays on a page.
func (a attempt) isDebit() bool {
	return len(a.MerchantOrderID) > 0 && a.MerchantOrderID[:1] == debitPrefix
}
