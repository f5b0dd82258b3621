package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/services/payment/factstate"
)

// States of an attempt.
const (
	attemptPrepared  = "prepared"  // committed here, unknown to the provider
	attemptSubmitted = "submitted" // being sent
	attemptPending   = "pending"   // the customer may pay
	attemptSucceeded = "succeeded"
	attemptFailed    = "failed"
	attemptUnknown   = "unknown" // sent, and nobody knows with what result
)

// payment is a row with what its latest attempt shows to the customer.
type payment struct {
	ID              uuid.UUID
	RequestID       uuid.UUID
	UserID          uuid.UUID
	Purpose         string
	ProductCode     string
	Metadata        map[string]string
	AmountMinor     int64
	Currency        string
	TaxableMinor    int64
	CGSTMinor       int64 `db:"cgst_minor"`
	SGSTMinor       int64 `db:"sgst_minor"`
	IGSTMinor       int64 `db:"igst_minor"`
	RoundOffMinor   int64
	Provider        string
	State           factstate.State
	CapturedMinor   int64
	RefundedMinor   int64
	ReservedMinor   int64 // of refunds on their way
	Disputed        bool
	NeedsReview     bool
	Cycle           string
	Method          string
	FailureCode     string
	PaidAt          *time.Time
	Version         int64
	CreatedAt       time.Time
	MandateID       *uuid.UUID // it sets this up, or is debited by it
	BeneficiaryID   *uuid.UUID // who shares in it
	SplitRule       string     // how far
	MerchantOrderID string
	RedirectURL     string // empty unless the customer may still pay there
}

// attempt is one order at the provider.
type attempt struct {
	PaymentID       uuid.UUID
	No              int
	MerchantOrderID string
	State           string
	ProviderOrderID string
	LeaseUntil      *time.Time
	SubmittedAt     *time.Time
	ExpiresAt       *time.Time
	Polls           int
	CreatedAt       time.Time
}

const paymentColumns = `
SELECT p.id, p.request_id, p.user_id, p.purpose, p.product_code, p.metadata, p.amount_minor, p.currency, p.taxable_minor, p.cgst_minor, p.sgst_minor,
       p.igst_minor, p.round_off_minor, p.provider, p.state, p.captured_minor, p.refunded_minor, p.reserved_minor, p.disputed, p.needs_review, p.cycle, p.method, p.failure_code,
       p.paid_at, p.version, p.created_at, p.mandate_id, p.beneficiary_id, p.split_rule, a.merchant_order_id,
       CASE WHEN p.state = 'PENDING' AND a.state = 'pending' AND a.expires_at > @now THEN a.redirect_url ELSE '' END AS redirect_url
  FROM payment.payment p
  JOIN payment.attempt a ON a.payment_id = p.id
   AND a.no = (SELECT max(l.no) FROM payment.attempt l WHERE l.payment_id = p.id)`

const selectPayment = paymentColumns + `
 WHERE p.id = @id`

// payment reads one; NOT_FOUND when there is none.
func (s *Service) payment(ctx context.Context, paymentID uuid.UUID) (payment, error) {
	return one[payment](ctx, s.db.Pool, selectPayment, pgx.StrictNamedArgs{"id": paymentID, "now": s.now()})
}

const selectOwnPayment = paymentColumns + `
 WHERE p.id = @id AND p.user_id = @user_id`

// ownPayment reads one of the user's; somebody else's is NOT_FOUND as well.
func (s *Service) ownPayment(ctx context.Context, paymentID, userID uuid.UUID) (payment, error) {
	return one[payment](ctx, s.db.Pool, selectOwnPayment, pgx.StrictNamedArgs{"id": paymentID, "user_id": userID, "now": s.now()})
}

const selectPaymentsOfUser = paymentColumns + `
 WHERE p.user_id = @user_id AND p.id < @before
 ORDER BY p.id DESC
 LIMIT @limit`

// paymentsOfUser reads a page, newest first, from before an id.
func (s *Service) paymentsOfUser(ctx context.Context, userID, before uuid.UUID, limit int) ([]payment, error) {
	return all[payment](ctx, s.db.Pool, selectPaymentsOfUser, pgx.StrictNamedArgs{
		"user_id": userID, "before": before, "limit": limit, "now": s.now(),
	})
}

const selectPaymentOfRequest = paymentColumns + `
 WHERE p.request_id = @request_id`

// paymentOfRequest reads the payment of an order; NOT_FOUND when there is none.
func (s *Service) paymentOfRequest(ctx context.Context, requestID uuid.UUID) (payment, error) {
	return one[payment](ctx, s.db.Pool, selectPaymentOfRequest, pgx.StrictNamedArgs{"request_id": requestID, "now": s.now()})
}

const countPaymentsOfUser = `SELECT count(*) FROM payment.payment WHERE user_id = @user_id`

func (s *Service) countPayments(ctx context.Context, userID uuid.UUID) (n int32, err error) {
	if err := s.db.Pool.QueryRow(ctx, countPaymentsOfUser, pgx.StrictNamedArgs{"user_id": userID}).Scan(&n); err != nil {
		return 0, pg.Err(fmt.Errorf("count payments: %w", err))
	}
	return n, nil
}

const attemptColumns = `
SELECT payment_id, no, merchant_order_id, state, provider_order_id, lease_until, submitted_at, expires_at, polls, created_at
  FROM payment.attempt`

const selectLatestAttempt = attemptColumns + `
 WHERE payment_id = @payment_id
 ORDER BY no DESC
 LIMIT 1`

func (s *Service) latestAttempt(ctx context.Context, q pg.Querier, paymentID uuid.UUID) (attempt, error) {
	return one[attempt](ctx, q, selectLatestAttempt, pgx.StrictNamedArgs{"payment_id": paymentID})
}

const selectAttempt = attemptColumns + `
 WHERE merchant_order_id = @merchant_order_id`

func (s *Service) attempt(ctx context.Context, q pg.Querier, merchantOrderID string) (attempt, error) {
	return one[attempt](ctx, q, selectAttempt, pgx.StrictNamedArgs{"merchant_order_id": merchantOrderID})
}

// Only the payment is locked: everybody who changes its attempts holds that lock.
const lockPayment = selectPayment + `
   FOR UPDATE OF p`

func (s *Service) lockPayment(ctx context.Context, tx pg.Querier, paymentID uuid.UUID) (payment, error) {
	return one[payment](ctx, tx, lockPayment, pgx.StrictNamedArgs{"id": paymentID, "now": s.now()})
}

// one reads exactly one row; NOT_FOUND when there is none.
func one[T any](ctx context.Context, q pg.Querier, sql string, args pgx.StrictNamedArgs) (T, error) {
	var zero T
	rows, err := q.Query(ctx, sql, args)
	if err != nil {
		return zero, pg.Err(fmt.Errorf("query %T: %w", zero, err))
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
	if errors.Is(err, pgx.ErrNoRows) {
		return zero, fail.New(fail.NotFound, "there is no such payment")
	}
	if err != nil {
		return zero, pg.Err(fmt.Errorf("read %T: %w", zero, err))
	}
	return v, nil
}

func all[T any](ctx context.Context, q pg.Querier, sql string, args pgx.StrictNamedArgs) ([]T, error) {
	rows, err := q.Query(ctx, sql, args)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("query rows: %w", err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[T])
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read rows: %w", err))
	}
	return list, nil
}

// exec runs a statement and gives the number of rows it changed.
func exec(ctx context.Context, q pg.Querier, sql string, args pgx.StrictNamedArgs) (int64, error) {
	tag, err := q.Exec(ctx, sql, args)
	if err != nil {
		return 0, pg.Err(fmt.Errorf("change rows: %w", err))
	}
	return tag.RowsAffected(), nil
}
