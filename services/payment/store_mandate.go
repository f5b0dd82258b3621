package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
)

// mandate is a row.
type mandate struct {
	ID                uuid.UUID
	RequestID         uuid.UUID
	UserID            uuid.UUID
	Provider          string
	MerchantRef       string
	State             mandateState
	AmountType        string
	MaxMinor          int64
	Currency          string
	Frequency         string
	ExpiresAt         time.Time
	CancelRequestedAt *time.Time
	AskedAt           *time.Time
	Version           int64
	CreatedAt         time.Time
}

const mandateColumns = `
SELECT id, request_id, user_id, provider, merchant_ref, state, amount_type, max_minor, currency, frequency, expires_at,
       cancel_requested_at, asked_at, version, created_at
  FROM payment.mandate`

const insertMandate = `
INSERT INTO payment.mandate (id, request_id, user_id, provider, merchant_ref, state, amount_type, max_minor, currency, frequency,
                             expires_at, next_ask_at, created_at, updated_at)
VALUES (@id, @request_id, @user_id, @provider, @merchant_ref, 'PENDING', @amount_type, @max_minor, @currency, @frequency,
        @expires_at, @next_ask, @now, @now)`

const bindPayment = `
UPDATE payment.payment
   SET mandate_id = @mandate_id
 WHERE id = @id`

// insertMandate adds the mandate that a new payment is to set up.
func (s *Service) insertMandate(ctx context.Context, tx pgx.Tx, paymentID uuid.UUID, in newPayment, now time.Time) error {
	m := mandate{ID: s.ids.New(), RequestID: in.RequestID, UserID: in.UserID, State: mandatePending, MaxMinor: in.Mandate.MaxMinor, Version: 1}
	_, err := exec(ctx, tx, insertMandate, pgx.StrictNamedArgs{
		"id": m.ID, "request_id": in.RequestID, "user_id": in.UserID, "provider": in.Provider, "merchant_ref": mandateRef(m.ID),
		"amount_type": in.Mandate.AmountType, "max_minor": in.Mandate.MaxMinor, "currency": in.Currency, "frequency": in.Mandate.Frequency,
		"expires_at": in.Mandate.ExpiresAt, "next_ask": now.Add(firstPoll), "now": now,
	})
	if err != nil {
		return err
	}
	if _, err := exec(ctx, tx, bindPayment, pgx.StrictNamedArgs{"id": paymentID, "mandate_id": m.ID}); err != nil {
		return err
	}
	return s.outbox.Append(ctx, tx, auditMandateCreated(ctx, m, now)) //nolint:wrapcheck // its own words
}

const selectMandate = mandateColumns + `
 WHERE id = @id`

// mandate reads one; NOT_FOUND when there is none.
func (s *Service) mandate(ctx context.Context, mandateID uuid.UUID) (mandate, error) {
	return one[mandate](ctx, s.db.Pool, selectMandate, pgx.StrictNamedArgs{"id": mandateID})
}

const selectMandateOfRequest = mandateColumns + `
 WHERE request_id = @request_id`

func (s *Service) mandateOfRequest(ctx context.Context, requestID uuid.UUID) (mandate, error) {
	return one[mandate](ctx, s.db.Pool, selectMandateOfRequest, pgx.StrictNamedArgs{"request_id": requestID})
}

const selectMandateByRef = mandateColumns + `
 WHERE merchant_ref = @ref`

func (s *Service) mandateByRef(ctx context.Context, ref string) (mandate, error) {
	return one[mandate](ctx, s.db.Pool, selectMandateByRef, pgx.StrictNamedArgs{"ref": ref})
}

const selectOwnMandate = mandateColumns + `
 WHERE id = @id AND user_id = @user_id`

// ownMandate reads one of the user's; somebody else's is NOT_FOUND as well.
func (s *Service) ownMandate(ctx context.Context, mandateID, userID uuid.UUID) (mandate, error) {
	return one[mandate](ctx, s.db.Pool, selectOwnMandate, pgx.StrictNamedArgs{"id": mandateID, "user_id": userID})
}

const selectMandatesOfUser = mandateColumns + `
 WHERE user_id = @user_id AND id < @before
 ORDER BY id DESC
 LIMIT @limit`

func (s *Service) mandatesOfUser(ctx context.Context, userID, before uuid.UUID, limit int) ([]mandate, error) {
	return all[mandate](ctx, s.db.Pool, selectMandatesOfUser, pgx.StrictNamedArgs{"user_id": userID, "before": before, "limit": limit})
}

const countMandatesOfUser = `SELECT count(*) FROM payment.mandate WHERE user_id = @user_id`

func (s *Service) countMandates(ctx context.Context, userID uuid.UUID) (n int32, err error) {
	if err := s.db.Pool.QueryRow(ctx, countMandatesOfUser, pgx.StrictNamedArgs{"user_id": userID}).Scan(&n); err != nil {
		return 0, pg.Err(fmt.Errorf("count mandates: %w", err))
	}
	return n, nil
}

const lockMandate = selectMandate + `
   FOR UPDATE`

const moveMandate = `
UPDATE payment.mandate
   SET state = @state, provider_ref = CASE WHEN @provider_ref = '' THEN provider_ref ELSE @provider_ref END, asked_at = @asked_at,
       next_ask_at = @next_ask, version = @version, updated_at = @now
 WHERE id = @id`

// A debit that nobody has asked for yet looks at its mandate again; what the
// customer was told before a pause no longer counts.
const wakeDebits = `
UPDATE payment.mandate_debit
   SET notice_void = notice_void OR (@paused AND state NOT IN ('prepared', 'succeeded', 'failed', 'cancelled')),
       next_at = CASE WHEN state IN ('prepared', 'notified') THEN @now ELSE next_at END,
       fence = fence + CASE WHEN state IN ('prepared', 'notified') THEN 1 ELSE 0 END
 WHERE mandate_id = @mandate_id AND next_at IS NOT NULL`

// applyMandateFact is the one door for what a provider says of a mandate,
// whoever made us ask. An answer to an older question than the one that stands
// changes nothing, nor does a repeated one.
func (s *Service) applyMandateFact(ctx context.Context, mandateID uuid.UUID, f mandateFact, from origin) (m mandate, err error) {
	var mismatch, changed bool
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		mismatch, changed = false, false
		if m, err = one[mandate](ctx, tx, lockMandate, pgx.StrictNamedArgs{"id": mandateID}); err != nil {
			return err
		}
		if f.Ref != "" && f.Ref != m.MerchantRef || f.MaxMinor != 0 && f.MaxMinor != m.MaxMinor {
			mismatch = true
			return s.settleEvent(ctx, tx, from.event, eventIntegrityFailed, "the provider's answer is about another mandate")
		}
		if err := s.settleEvent(ctx, tx, from.event, eventProcessed, ""); err != nil {
			return err
		}
		if m.AskedAt != nil && f.AskedAt.Before(*m.AskedAt) {
			return nil
		}
		now := s.now()
		before := m.State
		m.State = nextMandate(m.State, f.State)
		if changed = m.State != before; changed {
			m.Version++
		}
		var next *time.Time
		if at := nextAsk(m, now); !at.IsZero() {
			next = &at
		}
		_, err := exec(ctx, tx, moveMandate, pgx.StrictNamedArgs{
			"id": m.ID, "state": string(m.State), "provider_ref": f.ProviderRef, "asked_at": f.AskedAt, "next_ask": next,
			"version": m.Version, "now": now,
		})
		if err != nil || !changed {
			return err
		}
		_, err = exec(ctx, tx, wakeDebits, pgx.StrictNamedArgs{"mandate_id": m.ID, "paused": m.State == mandatePaused, "now": now})
		if err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, mandateChanged(m, now), auditMandateMoved(ctx, m, before, from, now)) //nolint:wrapcheck // its own words
	})
	switch {
	case err != nil:
		return mandate{}, fmt.Errorf("apply %q to mandate %s: %w", f.State, mandateID, err)
	case mismatch:
		s.metrics.integrity.Inc()
		zerolog.Ctx(ctx).Error().Stringer("mandate_id", mandateID).Str("answered", clip(f.Ref, maxRefLen)).Int64("answered_minor", f.MaxMinor).
			Msg("provider's answer is not about our mandate")
		return mandate{}, errors.New("the provider's answer is not about our mandate")
	case changed:
		s.outbox.Wake()
	}
	return m, nil
}

// A mandate whose first payment ended without money is not coming.
const selectSetUpOver = `
SELECT NOT EXISTS (SELECT 1
                     FROM payment.payment p
                     JOIN payment.mandate m ON m.id = p.mandate_id AND m.request_id = p.request_id
                    WHERE m.id = @id AND p.state NOT IN ('FAILED', 'EXPIRED', 'CANCELLED'))`

func (s *Service) setUpOver(ctx context.Context, mandateID uuid.UUID) (over bool, err error) {
	if err := s.db.Pool.QueryRow(ctx, selectSetUpOver, pgx.StrictNamedArgs{"id": mandateID}).Scan(&over); err != nil {
		return false, pg.Err(fmt.Errorf("look at the setup of mandate %s: %w", mandateID, err))
	}
	return over, nil
}

const requestCancel = `
UPDATE payment.mandate
   SET cancel_requested_at = @now, next_ask_at = @now, version = version + 1, updated_at = @now
 WHERE id = @id AND cancel_requested_at IS NULL AND state IN ('PENDING', 'ACTIVE', 'PAUSED', 'FAILED')
RETURNING id, request_id, user_id, provider, merchant_ref, state, amount_type, max_minor, currency, frequency, expires_at,
          cancel_requested_at, asked_at, version, created_at`

// requestCancel notes that a mandate is to end. Its debits hear of it at once.
func (s *Service) requestCancel(ctx context.Context, mandateID uuid.UUID, by actorOf) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		now := s.now()
		m, err := one[mandate](ctx, tx, requestCancel, pgx.StrictNamedArgs{"id": mandateID, "now": now})
		if fail.Is(err, fail.NotFound) {
			return nil // it is ending, or over
		}
		if err != nil {
			return err
		}
		if _, err := exec(ctx, tx, wakeDebits, pgx.StrictNamedArgs{"mandate_id": m.ID, "paused": false, "now": now}); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditCancelRequested(ctx, m, by, now)) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return fmt.Errorf("have mandate %s end: %w", mandateID, err)
	}
	s.outbox.Wake()
	return nil
}

const leaseMandates = `
UPDATE payment.mandate
   SET next_ask_at = @lease, updated_at = @now
 WHERE id IN (SELECT id FROM payment.mandate
               WHERE next_ask_at <= @now
               ORDER BY next_ask_at
               LIMIT @limit
                 FOR UPDATE SKIP LOCKED)
RETURNING id, request_id, user_id, provider, merchant_ref, state, amount_type, max_minor, currency, frequency, expires_at,
          cancel_requested_at, asked_at, version, created_at`

func (s *Service) leaseMandates(ctx context.Context) ([]mandate, error) {
	now := s.now()
	return all[mandate](ctx, s.db.Pool, leaseMandates, pgx.StrictNamedArgs{"lease": now.Add(pollLease), "now": now, "limit": pollsAtOnce})
}

const askMandateNow = `
UPDATE payment.mandate
   SET next_ask_at = @now
 WHERE id = @id AND state NOT IN ('REVOKED', 'CANCELLED', 'EXPIRED')`

// followMandate moves what hangs on a payment with it, in its transaction: its
// debit, or the mandate that it set up.
func (s *Service) followMandate(ctx context.Context, tx pgx.Tx, p payment, from origin, now time.Time) error {
	if p.MandateID == nil {
		return nil
	}
	state := debitFailed
	switch {
	case p.State.Paid():
		state = debitSucceeded
	case isCancelled(p.FailureCode):
		state = debitCancelled
	}
	n, err := exec(ctx, tx, endDebit, pgx.StrictNamedArgs{"payment_id": p.ID, "state": state, "failure_code": p.FailureCode, "now": now})
	if err != nil {
		return err
	}
	if n == 0 {
		_, err := exec(ctx, tx, askMandateNow, pgx.StrictNamedArgs{"id": *p.MandateID, "now": now})
		return err
	}
	return s.outbox.Append(ctx, tx, auditDebitEnded(ctx, p, from, now)) //nolint:wrapcheck // its own words
}

const selectLiveMandates = `
SELECT id
  FROM payment.mandate
 WHERE user_id = @user_id AND cancel_requested_at IS NULL AND state IN ('PENDING', 'ACTIVE', 'PAUSED', 'FAILED')`

// endMandates has all mandates of a person end.
func (s *Service) endMandates(ctx context.Context, userID uuid.UUID, by actorOf) error {
	list, err := all[struct{ ID uuid.UUID }](ctx, s.db.Pool, selectLiveMandates, pgx.StrictNamedArgs{"user_id": userID})
	for _, m := range list {
		if err := s.requestCancel(ctx, m.ID, by); err != nil {
			return err
		}
	}
	return err
}
