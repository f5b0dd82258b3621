package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/pg"
)

// States of a callback.
const (
	eventReceived        = "RECEIVED"
	eventProcessed       = "PROCESSED"
	eventOrphan          = "ORPHAN"
	eventIntegrityFailed = "INTEGRITY_FAILED"
	eventFailed          = "FAILED"
)

// webhookEvent is a callback on its way.
type webhookEvent struct {
	ID              uuid.UUID
	Provider        string
	Event           string
	Topic           string
	Subject         string
	MerchantOrderID string
	ProviderRefs    []string
	ClaimedState    string
	ClaimedMinor    *int64
	ClaimedCurrency string
	Final           bool
	Attempts        int
	RequestID       string
}

// Refunds, disputes and mandates have tables of their own: their handlers find
// out whether they are known. What has no topic nobody will handle.
const insertEvent = `
WITH e AS (SELECT @provider::text AS provider, @topic::text AS topic, @merchant_order_id::text AS merchant_order_id,
                 @provider_refs::text[] AS provider_refs),
known AS (SELECT o.merchant_order_id FROM e, LATERAL ` + orderNamed + ` o)
INSERT INTO payment.webhook_event (id, provider, event_key, provider_event_id, event, topic, subject, merchant_order_id, provider_refs,
                                   claimed_state, claimed_minor, claimed_currency, final, body, headers, state, last_error, look_at,
                                   next_attempt_at, request_id, received_at)
SELECT @id, @provider, @event_key, @provider_event_id, @event, @topic, @subject,
       coalesce((SELECT merchant_order_id FROM known), @merchant_order_id), @provider_refs,
       @claimed_state, @claimed_minor, @claimed_currency, @final, @body, @headers,
       CASE WHEN @topic = '' OR @topic = 'order' AND NOT EXISTS (SELECT 1 FROM known) THEN 'ORPHAN' ELSE 'RECEIVED' END,
       CASE WHEN @topic = '' THEN @unhandled ELSE '' END,
       CASE WHEN @topic = 'order' AND NOT EXISTS (SELECT 1 FROM known) THEN @look_at::timestamptz END,
       @now, @request_id, @now
    ON CONFLICT DO NOTHING
RETURNING state`

// keepCallback commits a callback; isNew is false when it is here already.
func (s *Service) keepCallback(ctx context.Context, provider string, c callback, headers map[string]string, body []byte) (state string, isNew bool, err error) {
	refs := c.Refs
	if refs == nil {
		refs = []string{}
	}
	now := s.now()
	// One statement is its own transaction: durable when it answers, in one round trip.
	err = s.db.Pool.QueryRow(ctx, insertEvent, pgx.StrictNamedArgs{
		"id": s.ids.New(), "provider": provider, "event_key": c.Key[:], "provider_event_id": c.EventID, "event": c.Event,
		"topic": c.Topic, "subject": c.Subject, "merchant_order_id": c.MerchantOrderID, "provider_refs": refs,
		"claimed_state": c.State, "claimed_minor": c.AmountMinor, "claimed_currency": c.Currency, "final": c.Final, "body": body,
		"headers": headers, "unhandled": noHandler, "look_at": now.Add(firstLook), "request_id": requestID(ctx), "now": now,
	}).Scan(&state)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, pg.Err(fmt.Errorf("keep callback: %w", err))
	}
	return state, true, nil
}

// noteRejected audits a callback nobody signed.
func (s *Service) noteRejected(ctx context.Context, provider string) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return s.outbox.Append(ctx, tx, auditRejected(ctx, provider, s.now())) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return fmt.Errorf("note rejected callback: %w", err)
	}
	s.outbox.Wake()
	return nil
}

const leaseEvents = `
UPDATE payment.webhook_event
   SET attempts = attempts + 1, next_attempt_at = @lease
 WHERE id IN (SELECT id FROM payment.webhook_event
               WHERE state = 'RECEIVED' AND next_attempt_at <= @now
               ORDER BY next_attempt_at
               LIMIT @limit
                 FOR UPDATE SKIP LOCKED)
RETURNING id, provider, event, topic, subject, merchant_order_id, provider_refs, claimed_state, claimed_minor, claimed_currency, final, attempts, request_id`

func (s *Service) leaseEvents(ctx context.Context, limit int) ([]webhookEvent, error) {
	now := s.now()
	return all[webhookEvent](ctx, s.db.Pool, leaseEvents, pgx.StrictNamedArgs{
		"lease": now.Add(eventLease), "now": now, "limit": limit,
	})
}

// orderOf reads the order a callback names.
func (s *Service) orderOf(ctx context.Context, merchantOrderID string) (payment, attempt, error) {
	a, err := s.attempt(ctx, s.db.Pool, merchantOrderID)
	if err != nil {
		return payment{}, attempt{}, err
	}
	p, err := s.payment(ctx, a.PaymentID)
	return p, a, err
}

// endEvent ends a callback's way outside of a fact.
func (s *Service) endEvent(ctx context.Context, ev webhookEvent, state, lastError string) error {
	_, err := exec(ctx, s.db.Pool, settleEvent, pgx.StrictNamedArgs{"id": ev.ID, "state": state, "last_error": lastError, "now": s.now()})
	return err
}

// rejectEvent ends a callback that claims another amount or currency than the
// order's.
func (s *Service) rejectEvent(ctx context.Context, ev webhookEvent, p payment, mismatch string) error {
	claimed := p.AmountMinor
	if ev.ClaimedMinor != nil {
		claimed = *ev.ClaimedMinor
	}
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		n, err := exec(ctx, tx, settleEvent, pgx.StrictNamedArgs{
			"id": ev.ID, "state": eventIntegrityFailed, "last_error": "the callback differs in " + mismatch, "now": s.now(),
		})
		if err != nil || n == 0 {
			return err
		}
		return s.outbox.Append(ctx, tx, auditIntegrity(ctx, p, mismatch+" of a callback", claimed, origin{by: byProvider}, s.now())) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return fmt.Errorf("reject callback: %w", err)
	}
	s.outbox.Wake()
	s.metrics.integrity.Inc()
	zerolog.Ctx(ctx).Error().Stringer("payment_id", p.ID).Int64("asked_minor", p.AmountMinor).Int64("claimed_minor", claimed).
		Str("currency", ev.ClaimedCurrency).Str("mismatch", mismatch).Msg("callback claims what we did not ask for")
	return nil
}

const retryEvent = `
UPDATE payment.webhook_event
   SET state = CASE WHEN attempts >= @most THEN 'FAILED' ELSE state END, next_attempt_at = @next, last_error = @last_error
 WHERE id = @id AND state = 'RECEIVED'`

// retryEvent has a callback tried again, later each time, and at last given up:
// the poller asks about the order in any case.
func (s *Service) retryEvent(ctx context.Context, ev webhookEvent, cause error) error {
	_, err := exec(ctx, s.db.Pool, retryEvent, pgx.StrictNamedArgs{
		"id": ev.ID, "most": eventAttempts, "next": s.now().Add(retryAfter(ev.Attempts)), "last_error": clip(cause.Error(), 500),
	})
	return err
}

const leasePolls = `
UPDATE payment.attempt
   SET polls = polls + 1, next_poll_at = @lease, updated_at = @now
 WHERE (payment_id, no) IN (SELECT payment_id, no FROM payment.attempt
                             WHERE next_poll_at <= @now
                             ORDER BY next_poll_at
                             LIMIT @limit
                               FOR UPDATE SKIP LOCKED)
RETURNING payment_id, no, merchant_order_id, state, provider_order_id, lease_until, submitted_at, expires_at, polls, created_at`

func (s *Service) leasePolls(ctx context.Context) ([]attempt, error) {
	now := s.now()
	return all[attempt](ctx, s.db.Pool, leasePolls, pgx.StrictNamedArgs{"lease": now.Add(pollLease), "now": now, "limit": pollsAtOnce})
}

// Only an attempt that is still open is asked about again.
const setPoll = `
UPDATE payment.attempt
   SET next_poll_at = @next_poll, updated_at = @now
 WHERE merchant_order_id = @merchant_order_id AND state IN ('submitted', 'pending', 'unknown') AND next_poll_at IS NOT NULL`

func (s *Service) setPoll(ctx context.Context, merchantOrderID string, next *time.Time) error {
	_, err := exec(ctx, s.db.Pool, setPoll, pgx.StrictNamedArgs{"merchant_order_id": merchantOrderID, "next_poll": next, "now": s.now()})
	return err
}

const reviewPayment = `
UPDATE payment.payment
   SET needs_review = true, version = version + 1, updated_at = @now
 WHERE id = @id AND NOT needs_review`

func (s *Service) review(ctx context.Context, paymentID uuid.UUID) error {
	_, err := exec(ctx, s.db.Pool, reviewPayment, pgx.StrictNamedArgs{"id": paymentID, "now": s.now()})
	return err
}
