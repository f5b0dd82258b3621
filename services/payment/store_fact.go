package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/services/payment/ledger"
)

// applyFact is the one door for what a provider says, whoever made us ask. The
// state, the journal, the events and the callback that it settles are one
// transaction under the payment's lock. Repeating it changes nothing.
func (s *Service) applyFact(ctx context.Context, f fact, from origin) (applied, error) {
	var (
		res applied
		p   payment
		v   verdict
	)
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		res = applied{}
		known, err := s.attempt(ctx, tx, f.MerchantOrderID)
		if err != nil {
			return err
		}
		if p, err = s.lockPayment(ctx, tx, known.PaymentID); err != nil {
			return err
		}
		a, err := s.attempt(ctx, tx, f.MerchantOrderID) // again: now nobody changes it
		if err != nil {
			return err
		}
		v = decide(p, a, f)
		res.state = v.state
		if v.mismatch != "" {
			res.integrity = true
			return s.alarm(ctx, tx, p, a, f, v, from)
		}
		if err := s.moveAttempt(ctx, tx, a, v, f); err != nil {
			return err
		}
		if v.state != p.State {
			res.changed = true
			if err := s.move(ctx, tx, p, v, f, from); err != nil {
				return err
			}
		}
		return s.settleEvent(ctx, tx, from.event, eventProcessed, "")
	})
	if err != nil {
		return applied{}, fmt.Errorf("apply %s to %s: %w", f.Kind, f.MerchantOrderID, err)
	}
	if res.integrity {
		s.metrics.integrity.Inc()
		zerolog.Ctx(ctx).Error().Stringer("payment_id", p.ID).Str("merchant_order_id", f.MerchantOrderID).Str("mismatch", v.mismatch).
			Int64("asked_minor", p.AmountMinor).Int64("answered_minor", f.AmountMinor).Msg("provider's answer is not about our order")
	}
	if res.changed {
		s.metrics.settled.WithLabelValues(string(res.state)).Inc()
	}
	if res.changed || res.integrity {
		s.outbox.Wake()
	}
	return res, nil
}

const movePayment = `
UPDATE payment.payment
   SET state = @state, captured_minor = @captured_minor, paid_at = @paid_at, method = @method, failure_code = @failure_code,
       needs_review = false, version = version + 1, updated_at = @now
 WHERE id = @id AND version = @version`

// move changes the locked payment and writes all that follows from it.
func (s *Service) move(ctx context.Context, tx pgx.Tx, p payment, v verdict, f fact, from origin) error {
	now := s.now()
	before := p.State
	p.State, p.Version = v.state, p.Version+1
	p.Method = f.Method
	var booked *ledger.Journal
	if v.capture {
		at := paidAt(f, p.CreatedAt, now)
		p.CapturedMinor, p.PaidAt, p.FailureCode = f.AmountMinor, &at, ""
		split, err := s.split(ctx, tx, p)
		if err != nil {
			return err
		}
		j, err := ledger.Capture(p.Provider, f.MerchantOrderID, ledger.Total{
			AmountMinor: p.CapturedMinor, TaxableMinor: p.TaxableMinor, CGSTMinor: p.CGSTMinor, SGSTMinor: p.SGSTMinor,
			IGSTMinor: p.IGSTMinor, RoundOffMinor: p.RoundOffMinor, Currency: p.Currency, Split: split,
		})
		if err != nil {
			return err //nolint:wrapcheck // it says what it books
		}
		booked = &j
	} else {
		p.FailureCode = f.FailureCode
	}
	n, err := exec(ctx, tx, movePayment, pgx.StrictNamedArgs{
		"id": p.ID, "version": p.Version - 1, "state": string(p.State), "captured_minor": p.CapturedMinor, "paid_at": p.PaidAt,
		"method": p.Method, "failure_code": p.FailureCode, "now": now,
	})
	if err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("payment %s changed under its lock", p.ID)
	}
	if p.State.Open() {
		return nil // it waits for the customer: nobody else needs to know
	}
	if err := s.tellPayment(ctx, tx, p.ID); err != nil {
		return err
	}
	events := []outbox.Event{stateChanged(p, now), auditMoved(ctx, p, before, from, now)}
	if booked != nil {
		if err := s.book(ctx, tx, p, *booked, now); err != nil {
			return err
		}
		events = append(events, auditPosted(ctx, p, *booked, now))
	}
	if err := s.tellOrganizations(ctx, tx, p, told(before, p.State), now); err != nil {
		return err
	}
	if err := s.followMandate(ctx, tx, p, from, now); err != nil {
		return err
	}
	return s.outbox.Append(ctx, tx, events...) //nolint:wrapcheck // its own words
}

const moveAttempt = `
UPDATE payment.attempt
   SET state = @state, lease_until = NULL, updated_at = @now, failure_code = @failure_code,
       provider_order_id = CASE WHEN @provider_order_id = '' THEN provider_order_id ELSE @provider_order_id END,
       redirect_url = CASE WHEN redirect_url = '' THEN @redirect_url ELSE redirect_url END,
       expires_at = coalesce(expires_at, @expires_at),
       next_poll_at = CASE WHEN @state = 'pending' THEN coalesce(next_poll_at, @next_poll) END
 WHERE merchant_order_id = @merchant_order_id`

func (s *Service) moveAttempt(ctx context.Context, tx pgx.Tx, a attempt, v verdict, f fact) error {
	if v.attempt == a.State {
		return nil
	}
	now := s.now()
	expires := now.Add(orderLife)
	if a.SubmittedAt != nil {
		expires = a.SubmittedAt.Add(orderLife)
	}
	_, err := exec(ctx, tx, moveAttempt, pgx.StrictNamedArgs{
		"merchant_order_id": a.MerchantOrderID, "state": v.attempt, "provider_order_id": f.ProviderOrderID, "redirect_url": f.RedirectURL,
		"failure_code": f.FailureCode, "expires_at": expires, "next_poll": now.Add(firstPoll), "now": now,
	})
	return err
}

const insertJournal = `
INSERT INTO payment.journal (id, ref, kind, payment_id, occurred_at, posted_at)
VALUES (@id, @ref, @kind, @payment_id, @occurred_at, @now)`

const insertPosting = `
INSERT INTO payment.posting (journal_id, seq, account, amount_minor, currency)
VALUES (@journal_id, @seq, @account, @amount_minor, @currency)`

// book writes a journal. A second one of the same ref is refused by the
// database, and with it the transaction.
func (s *Service) book(ctx context.Context, tx pgx.Tx, p payment, j ledger.Journal, now time.Time) error {
	occurred := now
	if p.PaidAt != nil {
		occurred = *p.PaidAt
	}
	return s.enter(ctx, tx, &p.ID, j, occurred, now)
}

const insertAccount = `
INSERT INTO payment.account (code, kind, normal_side)
VALUES (@code, 'liability', 'credit')
    ON CONFLICT (code) DO NOTHING`

// enter writes a journal, of a payment or of none, and the rows of persons'
// accounts that it is the first to use.
func (s *Service) enter(ctx context.Context, tx pgx.Tx, paymentID *uuid.UUID, j ledger.Journal, occurred, now time.Time) error {
	batch := &pgx.Batch{}
	for _, line := range j.Postings {
		if ledger.Personal(line.Account) {
			batch.Queue(insertAccount, pgx.StrictNamedArgs{"code": line.Account})
		}
	}
	batch.Queue(insertJournal, pgx.StrictNamedArgs{
		"id": j.ID, "ref": j.Ref, "kind": j.Kind, "payment_id": paymentID, "occurred_at": occurred, "now": now,
	})
	for i, line := range j.Postings {
		batch.Queue(insertPosting, pgx.StrictNamedArgs{
			"journal_id": j.ID, "seq": i + 1, "account": line.Account, "amount_minor": line.AmountMinor, "currency": j.Currency,
		})
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("book %s: %w", j.Ref, err)
	}
	return s.tellJournal(ctx, tx, j.ID)
}

const flagPayment = `
UPDATE payment.payment
   SET integrity_failed = true, needs_review = true, version = version + 1, updated_at = @now
 WHERE id = @id AND NOT integrity_failed`

const parkAttempt = `
UPDATE payment.attempt
   SET next_poll_at = NULL, lease_until = NULL, updated_at = @now
 WHERE merchant_order_id = @merchant_order_id`

// alarm records a fact that is not about what we asked for. No money moves and
// we stop asking; the first one of a payment is audited.
func (s *Service) alarm(ctx context.Context, tx pgx.Tx, p payment, a attempt, f fact, v verdict, from origin) error {
	now := s.now()
	n, err := exec(ctx, tx, flagPayment, pgx.StrictNamedArgs{"id": p.ID, "now": now})
	if err != nil {
		return err
	}
	if _, err := exec(ctx, tx, parkAttempt, pgx.StrictNamedArgs{"merchant_order_id": a.MerchantOrderID, "now": now}); err != nil {
		return err
	}
	if err := s.settleEvent(ctx, tx, from.event, eventIntegrityFailed, "the provider's status differs in "+v.mismatch); err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	return s.outbox.Append(ctx, tx, auditIntegrity(ctx, p, v.mismatch, f.AmountMinor, from, now)) //nolint:wrapcheck // its own words
}

const settleEvent = `
UPDATE payment.webhook_event
   SET state = @state, last_error = @last_error, processed_at = @now
 WHERE id = @id AND state = 'RECEIVED'`

// settleEvent ends a callback's way; without one there is nothing to do.
func (s *Service) settleEvent(ctx context.Context, tx pgx.Tx, eventID uuid.UUID, state, lastError string) error {
	if eventID == uuid.Nil {
		return nil
	}
	_, err := exec(ctx, tx, settleEvent, pgx.StrictNamedArgs{"id": eventID, "state": state, "last_error": lastError, "now": s.now()})
	return err
}
