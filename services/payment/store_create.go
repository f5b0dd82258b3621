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

const insertPayment = `
INSERT INTO payment.payment (id, request_id, user_id, purpose, product_code, amount_minor, currency, taxable_minor, cgst_minor,
                             sgst_minor, igst_minor, round_off_minor, provider, metadata, cycle, beneficiary_id, split_rule, state,
                             created_at, updated_at)
VALUES (@id, @request_id, @user_id, @purpose, @product_code, @amount_minor, @currency, @taxable_minor, @cgst_minor,
        @sgst_minor, @igst_minor, @round_off_minor, @provider, @metadata, @cycle, @beneficiary_id, @split_rule, 'CREATED', @now, @now)
    ON CONFLICT (request_id) DO NOTHING`

const insertAttempt = `
INSERT INTO payment.attempt (payment_id, no, merchant_order_id, state, created_at, updated_at)
VALUES (@payment_id, @no, @merchant_order_id, 'prepared', @now, @now)`

const selectOfRequest = `
SELECT id
  FROM payment.payment
 WHERE request_id = @request_id AND user_id = @user_id AND amount_minor = @amount_minor AND currency = @currency
   AND provider = @provider AND purpose = @purpose AND (mandate_id IS NOT NULL) = @mandated
   AND beneficiary_id IS NOT DISTINCT FROM @beneficiary_id AND split_rule = @split_rule`

func (in newPayment) row(paymentID uuid.UUID, now time.Time) pgx.StrictNamedArgs {
	return pgx.StrictNamedArgs{
		"id": paymentID, "request_id": in.RequestID, "user_id": in.UserID, "purpose": in.Purpose, "product_code": in.ProductCode,
		"amount_minor": in.AmountMinor, "currency": in.Currency, "taxable_minor": in.TaxableMinor, "cgst_minor": in.CGSTMinor,
		"sgst_minor": in.SGSTMinor, "igst_minor": in.IGSTMinor, "round_off_minor": in.RoundOffMinor, "provider": in.Provider, "metadata": orEmpty(in.Metadata),
		"cycle": in.Cycle, "beneficiary_id": in.BeneficiaryID, "split_rule": in.SplitRule, "now": now,
	}
}

// insert commits the payment and its first attempt, or gives the payment of the
// same request. CONFLICT when that one is about something else.
func (s *Service) insert(ctx context.Context, in newPayment) (paymentID uuid.UUID, err error) {
	now := s.now()
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		paymentID = s.ids.New()
		n, err := exec(ctx, tx, insertPayment, in.row(paymentID, now))
		if err != nil {
			return err
		}
		if n == 0 {
			err := tx.QueryRow(ctx, selectOfRequest, pgx.StrictNamedArgs{
				"request_id": in.RequestID, "user_id": in.UserID, "amount_minor": in.AmountMinor, "currency": in.Currency,
				"provider": in.Provider, "purpose": in.Purpose, "mandated": in.Mandate != nil,
				"beneficiary_id": in.BeneficiaryID, "split_rule": in.SplitRule,
			}).Scan(&paymentID)
			if errors.Is(err, pgx.ErrNoRows) {
				return fail.New(fail.Conflict, "the order has a payment of another kind already")
			}
			return err //nolint:wrapcheck // InTx says what it was
		}
		if err := s.insertAttempt(ctx, tx, paymentID, 1); err != nil {
			return err
		}
		if in.Mandate != nil {
			if err := s.insertMandate(ctx, tx, paymentID, in, now); err != nil {
				return err
			}
		}
		if err := s.tellPayment(ctx, tx, paymentID); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditCreated(ctx, paymentID, in, now)) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return uuid.Nil, fmt.Errorf("insert payment: %w", err)
	}
	return paymentID, nil
}

// orEmpty is for a column that is never null.
func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func (s *Service) insertAttempt(ctx context.Context, tx pgx.Tx, paymentID uuid.UUID, no int) error {
	_, err := exec(ctx, tx, insertAttempt, pgx.StrictNamedArgs{
		"payment_id": paymentID, "no": no, "merchant_order_id": merchantOrderID(paymentID, no), "now": s.now(),
	})
	return err
}

// claim is the right to call the provider about an attempt, for a while.
type claim struct {
	payment payment
	attempt attempt // as it stood
	todo    todo
	lease   time.Time
}

const claimAttempt = `
UPDATE payment.attempt
   SET state = CASE state WHEN 'prepared' THEN 'submitted' ELSE state END, lease_until = @lease,
       submitted_at = coalesce(submitted_at, @now), next_poll_at = @next_poll, updated_at = @now
 WHERE merchant_order_id = @merchant_order_id`

// claim decides under the payment's lock what a create has to do, and takes the
// lease when that is to call. One of any number of requests gets it.
func (s *Service) claim(ctx context.Context, paymentID uuid.UUID) (c claim, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		now := s.now()
		c = claim{lease: now.Add(leaseLength).Truncate(time.Microsecond)} // as the database keeps it
		var err error
		if c.payment, err = s.lockPayment(ctx, tx, paymentID); err != nil {
			return err
		}
		if c.attempt, err = s.latestAttempt(ctx, tx, paymentID); err != nil {
			return err
		}
		if c.attempt.isDebit() {
			return nil // its notice opens it
		}
		do, fresh := next(c.payment, c.attempt, now)
		c.todo = do
		if fresh {
			if err := s.insertAttempt(ctx, tx, paymentID, c.attempt.No+1); err != nil {
				return err
			}
			if c.attempt, err = s.latestAttempt(ctx, tx, paymentID); err != nil {
				return err
			}
		}
		if do != send && do != ask {
			return nil
		}
		_, err = exec(ctx, tx, claimAttempt, pgx.StrictNamedArgs{
			"merchant_order_id": c.attempt.MerchantOrderID, "lease": c.lease, "next_poll": now.Add(firstPoll), "now": now,
		})
		return err
	})
	if err != nil {
		return claim{}, fmt.Errorf("claim payment %s: %w", paymentID, err)
	}
	return c, nil
}

// A fact may have settled the attempt while the provider was being called; then
// the lease is no longer ours.
const releaseAttempt = `
UPDATE payment.attempt
   SET state = @state, lease_until = NULL, failure_code = @failure_code, updated_at = @now,
       submitted_at = CASE WHEN @state = 'prepared' THEN NULL ELSE submitted_at END,
       next_poll_at = CASE WHEN @state = 'unknown' THEN next_poll_at END
 WHERE merchant_order_id = @merchant_order_id AND lease_until = @lease AND state IN ('submitted', 'unknown')`

func (s *Service) release(ctx context.Context, c claim, state string, cause error) error {
	var refused *refusedError
	code := ""
	if errors.As(cause, &refused) {
		code = refused.Code
	}
	_, err := exec(ctx, s.db.Pool, releaseAttempt, pgx.StrictNamedArgs{
		"merchant_order_id": c.attempt.MerchantOrderID, "lease": c.lease, "state": state, "failure_code": code, "now": s.now(),
	})
	if err != nil {
		return fmt.Errorf("release attempt %s: %w", c.attempt.MerchantOrderID, err)
	}
	return nil
}

const openAttempt = `
UPDATE payment.attempt
   SET state = 'pending', provider_order_id = @provider_order_id, redirect_url = @redirect_url, expires_at = @expires_at,
       next_poll_at = @next_poll, lease_until = NULL, updated_at = @now
 WHERE merchant_order_id = @merchant_order_id AND state IN ('submitted', 'unknown', 'pending')`

const openPayment = `
UPDATE payment.payment
   SET state = 'PENDING', expires_at = @expires_at, version = version + 1, updated_at = @now
 WHERE id = @id AND state = 'CREATED'`

// opened keeps where the customer pays. A fact that came first stays.
func (s *Service) opened(ctx context.Context, c claim, o opened) (payment, error) {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := s.lockPayment(ctx, tx, c.payment.ID); err != nil {
			return err
		}
		now := s.now()
		_, err := exec(ctx, tx, openAttempt, pgx.StrictNamedArgs{
			"merchant_order_id": c.attempt.MerchantOrderID, "provider_order_id": o.ProviderOrderID, "redirect_url": o.RedirectURL,
			"expires_at": o.ExpiresAt, "next_poll": now.Add(firstPoll), "now": now,
		})
		if err != nil {
			return err
		}
		_, err = exec(ctx, tx, openPayment, pgx.StrictNamedArgs{"id": c.payment.ID, "expires_at": o.ExpiresAt, "now": now})
		return err
	})
	if err != nil {
		return payment{}, fmt.Errorf("keep the order of %s: %w", c.attempt.MerchantOrderID, err)
	}
	return s.payment(ctx, c.payment.ID)
}
