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
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/payment/factstate"
	"github.com/manas360/platform/services/payment/ledger"
)

const refundColumns = `
SELECT id, payment_id, merchant_refund_id, provider_refund_id, amount_minor, state, origin, reason, policy, requested_by, decided_by,
       decision_reason, failure_code, lease_until, submitted_at, polls, version, created_at, updated_at, done_at
  FROM payment.refund`

const selectRefund = refundColumns + `
 WHERE id = @id`

// refundByID reads one; NOT_FOUND when there is none.
func (s *Service) refundByID(ctx context.Context, q pg.Querier, refundID uuid.UUID) (refund, error) {
	return one[refund](ctx, q, selectRefund, pgx.StrictNamedArgs{"id": refundID})
}

const selectRefundNamed = refundColumns + `
 WHERE merchant_refund_id = @name OR provider_refund_id <> '' AND provider_refund_id = ANY (@names)
 LIMIT 1`

// A callback may name the refund by the payment alone.
const selectOpenRefundOf = refundColumns + `
 WHERE state = 'PENDING'
   AND payment_id = (SELECT a.payment_id FROM payment.attempt a
                      WHERE a.merchant_order_id = @merchant_order_id
                         OR a.provider_order_id <> '' AND a.provider_order_id = ANY (@names)
                      LIMIT 1)`

// refundNamed finds the refund a callback is about: by our name, by the
// provider's, or as the one that is open of the payment it names.
func (s *Service) refundNamed(ctx context.Context, ev webhookEvent) (refund, error) {
	names := append([]string{}, ev.ProviderRefs...)
	if ev.Subject != "" {
		names = append(names, ev.Subject)
	}
	r, err := one[refund](ctx, s.db.Pool, selectRefundNamed, pgx.StrictNamedArgs{"name": ev.Subject, "names": names})
	if !fail.Is(err, fail.NotFound) {
		return r, err
	}
	return one[refund](ctx, s.db.Pool, selectOpenRefundOf, pgx.StrictNamedArgs{"merchant_order_id": ev.MerchantOrderID, "names": names})
}

const selectPaidAttempt = attemptColumns + `
 WHERE payment_id = @payment_id AND state = 'succeeded'`

// paidAttempt is the order that took the money.
func (s *Service) paidAttempt(ctx context.Context, q pg.Querier, paymentID uuid.UUID) (attempt, error) {
	return one[attempt](ctx, q, selectPaidAttempt, pgx.StrictNamedArgs{"payment_id": paymentID})
}

const selectRefundOfKey = refundColumns + `
 WHERE request_key = @key AND payment_id = @payment_id`

const hasOpenRefund = `
SELECT EXISTS (SELECT FROM payment.refund WHERE payment_id = @payment_id AND state IN ('REQUESTED', 'APPROVED', 'PENDING'))`

const insertRefund = `
INSERT INTO payment.refund (id, payment_id, merchant_refund_id, amount_minor, state, origin, reason, policy, request_key, requested_by, next_poll_at,
                            created_at, updated_at)
VALUES (@id, @payment_id, @merchant_refund_id, @amount_minor, @state, @origin, @reason, @policy, @request_key, @requested_by, @next_poll, @now, @now)`

const reserveMoney = `
UPDATE payment.payment
   SET reserved_minor = reserved_minor + @amount, version = version + 1, updated_at = @now
 WHERE id = @id`

// refundOfKey reads the refund of a wish; NOT_FOUND when there is none.
func (s *Service) refundOfKey(ctx context.Context, paymentID uuid.UUID, key []byte) (refund, error) {
	return one[refund](ctx, s.db.Pool, selectRefundOfKey, pgx.StrictNamedArgs{"key": key, "payment_id": paymentID})
}

// reserve decides under the payment's lock whether money may go back, and writes
// that it will.
func (s *Service) reserve(ctx context.Context, w wantedRefund) (r refund, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		r, err = s.reserveIn(ctx, tx, w)
		return err
	})
	if err != nil {
		return refund{}, fmt.Errorf("reserve a refund: %w", err)
	}
	return r, nil
}

func (s *Service) reserveIn(ctx context.Context, tx pgx.Tx, w wantedRefund) (refund, error) {
	now := s.now()
	p, err := s.lockPayment(ctx, tx, w.PaymentID)
	if err != nil {
		return refund{}, err
	}
	if w.Key != nil {
		r, err := one[refund](ctx, tx, selectRefundOfKey, pgx.StrictNamedArgs{"key": w.Key, "payment_id": p.ID})
		if !fail.Is(err, fail.NotFound) {
			return r, err
		}
	}
	var hasOpen bool
	if err := tx.QueryRow(ctx, hasOpenRefund, pgx.StrictNamedArgs{"payment_id": p.ID}).Scan(&hasOpen); err != nil {
		return refund{}, fmt.Errorf("look for an open refund: %w", err)
	}
	if err := refusedRefund(p, w.AmountMinor, hasOpen); err != nil {
		return refund{}, err
	}
	amount := w.AmountMinor
	if amount == 0 {
		amount = p.CapturedMinor - p.RefundedMinor - p.ReservedMinor
	}
	state, next := refundApproved, &now
	if w.Origin == refundByAdmin && amount > s.approvalAbove {
		state, next = refundRequested, nil
	}
	refundID := s.ids.New()
	var by *uuid.UUID
	if w.By != uuid.Nil {
		by = &w.By
	}
	if _, err := exec(ctx, tx, insertRefund, pgx.StrictNamedArgs{
		"id": refundID, "payment_id": p.ID, "merchant_refund_id": merchantRefundID(refundID), "amount_minor": amount, "state": state,
		"origin": w.Origin, "reason": w.Reason, "policy": w.Policy, "request_key": w.Key, "requested_by": by, "next_poll": next, "now": now,
	}); err != nil {
		return refund{}, err
	}
	if _, err := exec(ctx, tx, reserveMoney, pgx.StrictNamedArgs{"id": p.ID, "amount": amount, "now": now}); err != nil {
		return refund{}, err
	}
	r, err := s.refundByID(ctx, tx, refundID)
	if err != nil {
		return refund{}, err
	}
	return r, s.outbox.Append(ctx, tx, auditRefund(ctx, trail.PaymentRefundRequested, p, r, w.By, now)) //nolint:wrapcheck // its own words
}

const decideRefundRow = `
UPDATE payment.refund
   SET state = @state, decided_by = @by, decision_reason = @reason, next_poll_at = @next_poll, version = version + 1, updated_at = @now
 WHERE id = @id AND state = 'REQUESTED'`

func (s *Service) decideRefund(ctx context.Context, refundID, by uuid.UUID, reason, to string) (r refund, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		now := s.now()
		known, err := s.refundByID(ctx, tx, refundID)
		if err != nil {
			return err
		}
		p, err := s.lockPayment(ctx, tx, known.PaymentID)
		if err != nil {
			return err
		}
		if r, err = s.refundByID(ctx, tx, refundID); err != nil { // again: now nobody changes it
			return err
		}
		if r.State != refundRequested {
			return fail.New(fail.Conflict, "the refund is %s already", r.State)
		}
		if r.RequestedBy != nil && *r.RequestedBy == by {
			return fail.New(fail.PermissionDenied, "another administrator must decide on it")
		}
		var next *time.Time
		action := trail.PaymentRefundRejected
		if to == refundApproved {
			next, action = &now, trail.PaymentRefundApproved
		}
		n, err := exec(ctx, tx, decideRefundRow, pgx.StrictNamedArgs{"id": r.ID, "state": to, "by": by, "reason": reason, "next_poll": next, "now": now})
		if err != nil {
			return err
		}
		if n != 1 {
			return fmt.Errorf("refund %s changed under its lock", r.ID)
		}
		if to == refundRejected {
			if _, err := exec(ctx, tx, reserveMoney, pgx.StrictNamedArgs{"id": p.ID, "amount": -r.AmountMinor, "now": now}); err != nil {
				return err
			}
		}
		if r, err = s.refundByID(ctx, tx, refundID); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditRefund(ctx, action, p, r, by, now)) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return refund{}, fmt.Errorf("decide on refund: %w", err)
	}
	return r, nil
}

// refundClaim is the right to call the provider about a refund, for a while.
type refundClaim struct {
	refund  refund
	payment payment
	attempt attempt
	mine    bool
	fresh   bool // the provider has certainly not heard of it
	lease   time.Time
}

const claimRefundRow = `
UPDATE payment.refund
   SET state = 'PENDING', lease_until = @lease, submitted_at = coalesce(submitted_at, @now), polls = polls + 1, next_poll_at = @next_poll,
       version = version + 1, updated_at = @now
 WHERE id = @id`

// claimRefund takes the lease of a refund that is to be sent or asked about. The
// first time, its journal is written: from then on the money is in transit.
func (s *Service) claimRefund(ctx context.Context, refundID uuid.UUID) (c refundClaim, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		now := s.now()
		c = refundClaim{lease: now.Add(leaseLength).Truncate(time.Microsecond)}
		known, err := s.refundByID(ctx, tx, refundID)
		if err != nil {
			return err
		}
		if c.payment, err = s.lockPayment(ctx, tx, known.PaymentID); err != nil {
			return err
		}
		if c.refund, err = s.refundByID(ctx, tx, refundID); err != nil {
			return err
		}
		leased := c.refund.LeaseUntil != nil && now.Before(*c.refund.LeaseUntil)
		if leased || c.refund.State != refundApproved && c.refund.State != refundOpen {
			return nil
		}
		if c.attempt, err = s.paidAttempt(ctx, tx, c.payment.ID); err != nil {
			return err
		}
		c.mine, c.fresh = true, c.refund.SubmittedAt == nil
		since := now
		if c.refund.SubmittedAt != nil {
			since = *c.refund.SubmittedAt
		}
		var next *time.Time
		if pause, again := nextRefundPoll(now.Sub(since)); again {
			at := now.Add(pause)
			next = &at
		}
		if _, err := exec(ctx, tx, claimRefundRow, pgx.StrictNamedArgs{"id": refundID, "lease": c.lease, "next_poll": next, "now": now}); err != nil {
			return err
		}
		if c.refund.State != refundApproved {
			return nil
		}
		return s.bookReturn(ctx, tx, c.payment, now, func(src ledger.Source) (ledger.Journal, error) {
			return ledger.Refund(src, c.refund.MerchantRefundID, c.refund.AmountMinor)
		})
	})
	if err != nil {
		return refundClaim{}, fmt.Errorf("claim refund %s: %w", refundID, err)
	}
	if c.mine {
		s.outbox.Wake()
	}
	return c, nil
}

const freeRefundRow = `
UPDATE payment.refund
   SET lease_until = NULL, updated_at = @now
 WHERE id = @id AND lease_until = @lease AND state = 'PENDING'`

// freeRefund gives the lease back; the refund is asked about when its time comes.
func (s *Service) freeRefund(ctx context.Context, c refundClaim) error {
	_, err := exec(ctx, s.db.Pool, freeRefundRow, pgx.StrictNamedArgs{"id": c.refund.ID, "lease": c.lease, "now": s.now()})
	return err
}

const selectDueRefunds = `
SELECT id FROM payment.refund
 WHERE next_poll_at <= @now AND state IN ('APPROVED', 'PENDING')
 ORDER BY next_poll_at
 LIMIT @limit`

type dueRefund struct{ ID uuid.UUID }

func (s *Service) dueRefunds(ctx context.Context) ([]dueRefund, error) {
	return all[dueRefund](ctx, s.db.Pool, selectDueRefunds, pgx.StrictNamedArgs{"now": s.now(), "limit": pollsAtOnce})
}

const selectSource = `
SELECT j.kind, o.account, o.amount_minor
  FROM payment.journal j
  JOIN payment.posting o ON o.journal_id = j.id
 WHERE j.payment_id = @payment_id AND j.kind IN ('capture', 'refund')
 ORDER BY j.posted_at, j.id, o.seq`

type bookedLine struct {
	Kind        string
	Account     string
	AmountMinor int64
}

// source reads what the journal says of a locked payment.
func (s *Service) source(ctx context.Context, tx pgx.Tx, p payment) (ledger.Source, error) {
	lines, err := all[bookedLine](ctx, tx, selectSource, pgx.StrictNamedArgs{"payment_id": p.ID})
	src := ledger.Source{Provider: p.Provider, Currency: p.Currency}
	for _, l := range lines {
		line := ledger.Posting{Account: l.Account, AmountMinor: l.AmountMinor}
		if l.Kind == ledger.RefundKind {
			src.Reversed = append(src.Reversed, line)
		} else {
			src.Capture = append(src.Capture, line)
		}
	}
	return src, err
}

// bookReturn writes journals of money that goes back, and their audit events.
func (s *Service) bookReturn(ctx context.Context, tx pgx.Tx, p payment, now time.Time, makes ...func(ledger.Source) (ledger.Journal, error)) error {
	src, err := s.source(ctx, tx, p)
	if err != nil {
		return err
	}
	for _, made := range makes {
		j, err := made(src)
		if err != nil {
			return err
		}
		if err := s.book(ctx, tx, p, j, now); err != nil {
			return err
		}
		if err := s.outbox.Append(ctx, tx, auditPosted(ctx, p, j, now)); err != nil {
			return err //nolint:wrapcheck // its own words
		}
	}
	return nil
}

const selectJournal = `
SELECT j.kind, o.account, o.amount_minor
  FROM payment.journal j
  JOIN payment.posting o ON o.journal_id = j.id
 WHERE j.ref = @ref
 ORDER BY o.seq`

func (s *Service) postingsOf(ctx context.Context, tx pgx.Tx, ref string) ([]ledger.Posting, error) {
	lines, err := all[bookedLine](ctx, tx, selectJournal, pgx.StrictNamedArgs{"ref": ref})
	out := make([]ledger.Posting, 0, len(lines))
	for _, l := range lines {
		out = append(out, ledger.Posting{Account: l.Account, AmountMinor: l.AmountMinor})
	}
	return out, err
}

const moveRefund = `
UPDATE payment.refund
   SET state = @state, provider_refund_id = CASE WHEN @provider_refund_id = '' THEN provider_refund_id ELSE @provider_refund_id END,
       failure_code = @failure_code, lease_until = NULL, done_at = @done_at,
       next_poll_at = CASE WHEN @state = 'PENDING' THEN next_poll_at END, version = version + 1, updated_at = @now
 WHERE id = @id AND version = @version`

const settleRefund = `
UPDATE payment.payment
   SET refunded_minor = refunded_minor + @refunded, reserved_minor = reserved_minor + @reserved, state = @state,
       version = version + 1, updated_at = @now
 WHERE id = @id
RETURNING version`

// applyRefund is the one door for what a provider says of a refund, whoever made
// us ask. Repeating it changes nothing.
func (s *Service) applyRefund(ctx context.Context, f refundFact, from origin) error {
	mismatch := ""
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		mismatch = ""
		known, err := one[refund](ctx, tx, selectRefundNamed, pgx.StrictNamedArgs{"name": f.MerchantRefundID, "names": []string{}})
		if err != nil {
			return err
		}
		p, err := s.lockPayment(ctx, tx, known.PaymentID)
		if err != nil {
			return err
		}
		r, err := s.refundByID(ctx, tx, known.ID)
		if err != nil {
			return err
		}
		now := s.now()
		switch {
		case f.EchoedRefundID != "" && f.EchoedRefundID != r.MerchantRefundID:
			mismatch = "refund"
		case f.ProviderRefundID != "" && r.ProviderRefundID != "" && f.ProviderRefundID != r.ProviderRefundID:
			mismatch = "provider refund"
		case f.AmountMinor != 0 && f.AmountMinor != r.AmountMinor:
			mismatch = "refund amount"
		case f.Currency != p.Currency:
			mismatch = "refund currency"
		}
		if mismatch != "" {
			return s.alarmRefund(ctx, tx, p, r, f, mismatch, from, now)
		}
		return s.moveRefundIn(ctx, tx, p, r, f, from, now)
	})
	if err != nil {
		return fmt.Errorf("apply to refund %s: %w", f.MerchantRefundID, err)
	}
	if mismatch != "" {
		s.metrics.integrity.Inc()
		zerolog.Ctx(ctx).Error().Str("merchant_refund_id", f.MerchantRefundID).Str("mismatch", mismatch).Msg("provider's answer is not about our refund")
	}
	s.outbox.Wake()
	return nil
}

// moveRefundIn changes the refund and the payment, and books what that means.
func (s *Service) moveRefundIn(ctx context.Context, tx pgx.Tx, p payment, r refund, f refundFact, from origin, now time.Time) error {
	before := r
	var refunded, reserved int64
	var journals []func(ledger.Source) (ledger.Journal, error)
	name, amount := r.MerchantRefundID, r.AmountMinor
	failed := func(ledger.Source) (ledger.Journal, error) { return ledger.Journal{}, nil }
	if f.Kind == refundFailed && (r.State == refundOpen || r.State == refundCompleted) {
		taken, err := s.postingsOf(ctx, tx, "refund:"+name)
		if err != nil {
			return err
		}
		failed = func(src ledger.Source) (ledger.Journal, error) { return ledger.RefundFailed(src, name, taken) }
	}
	switch {
	case f.Kind == refundPending && r.State == refundOpen:
		if f.ProviderRefundID == "" || r.ProviderRefundID != "" {
			f.ProviderRefundID = r.ProviderRefundID
		}
	case f.Kind == refundDone && r.State == refundOpen:
		r.State, r.DoneAt = refundCompleted, &now
		refunded, reserved = amount, -amount
		journals = append(journals, func(src ledger.Source) (ledger.Journal, error) { return ledger.RefundDone(src, name, amount) })
	case f.Kind == refundFailed && r.State == refundOpen:
		r.State, r.FailureCode, reserved = refundDead, f.FailureCode, -amount
		journals = append(journals, failed)
	case f.Kind == refundFailed && r.State == refundCompleted: // Stripe: it came back
		r.State, r.FailureCode, r.DoneAt, refunded = refundDead, f.FailureCode, nil, -amount
		journals = append(journals, func(src ledger.Source) (ledger.Journal, error) { return ledger.RefundBack(src, name, amount) }, failed)
	default:
		return nil // nothing new
	}
	n, err := exec(ctx, tx, moveRefund, pgx.StrictNamedArgs{
		"id": r.ID, "version": before.Version, "state": r.State, "provider_refund_id": f.ProviderRefundID, "failure_code": r.FailureCode,
		"done_at": r.DoneAt, "now": now,
	})
	if err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("refund %s changed under its lock", r.ID)
	}
	if r.State == before.State {
		return nil
	}
	if err := s.bookReturn(ctx, tx, p, now, journals...); err != nil {
		return err
	}
	was := p.State
	p.RefundedMinor, p.ReservedMinor = p.RefundedMinor+refunded, p.ReservedMinor+reserved
	p.State = factstate.After(p.CapturedMinor, p.RefundedMinor)
	if err := tx.QueryRow(ctx, settleRefund, pgx.StrictNamedArgs{
		"id": p.ID, "refunded": refunded, "reserved": reserved, "state": string(p.State), "now": now,
	}).Scan(&p.Version); err != nil {
		return fmt.Errorf("settle the refund: %w", err)
	}
	action := trail.PaymentRefunded
	if r.State == refundDead {
		action = trail.PaymentRefundFailed
	}
	moved := auditRefundMoved(ctx, action, p, r, before.State, was, from, now)
	if refunded == 0 {
		return s.outbox.Append(ctx, tx, moved) //nolint:wrapcheck // its own words
	}
	return s.announce(ctx, tx, p, was, moved, now)
}

// announce tells of money that went back, or came again: the audit, subscription
// and the payer's organizations.
func (s *Service) announce(ctx context.Context, tx pgx.Tx, p payment, was factstate.State, moved outbox.Event, now time.Time) error {
	if err := s.tellOrganizations(ctx, tx, p, told(was, p.State), now); err != nil {
		return err
	}
	return s.outbox.Append(ctx, tx, moved, stateChanged(p, now)) //nolint:wrapcheck // its own words
}

const parkRefund = `UPDATE payment.refund SET next_poll_at = NULL, lease_until = NULL, updated_at = @now WHERE id = @id`

// alarmRefund records a fact that is not about our refund: no money moves, and
// we stop asking until a person has looked.
func (s *Service) alarmRefund(ctx context.Context, tx pgx.Tx, p payment, r refund, f refundFact, mismatch string, from origin, now time.Time) error {
	n, err := exec(ctx, tx, flagPayment, pgx.StrictNamedArgs{"id": p.ID, "now": now})
	if err != nil {
		return err
	}
	if _, err := exec(ctx, tx, parkRefund, pgx.StrictNamedArgs{"id": r.ID, "now": now}); err != nil || n == 0 {
		return err
	}
	return s.outbox.Append(ctx, tx, auditIntegrity(ctx, p, mismatch, f.AmountMinor, from, now)) //nolint:wrapcheck // its own words
}

const selectRefundsOf = refundColumns + `
 WHERE payment_id = @payment_id AND id < @before
 ORDER BY id DESC
 LIMIT @limit`

func (s *Service) refundsOf(ctx context.Context, paymentID, before uuid.UUID, limit int) ([]refund, error) {
	return all[refund](ctx, s.db.Pool, selectRefundsOf, pgx.StrictNamedArgs{"payment_id": paymentID, "before": before, "limit": limit})
}

const selectRefunds = refundColumns + `
 WHERE id < @before AND (@state = '' OR state = @state)
 ORDER BY id DESC
 LIMIT @limit`

// refundsIn reads a page of refunds in a state, newest first.
func (s *Service) refundsIn(ctx context.Context, state string, before uuid.UUID, limit int) ([]refund, error) {
	return all[refund](ctx, s.db.Pool, selectRefunds, pgx.StrictNamedArgs{"state": state, "before": before, "limit": limit})
}

// refundLate gives back money that came for an order which is closed; once,
// however often and by whom it is asked for.
func (s *Service) refundLate(ctx context.Context, tx pgx.Tx, paymentID uuid.UUID, reason string) error {
	_, err := s.reserveIn(ctx, tx, wantedRefund{PaymentID: paymentID, Origin: refundOfLate, Reason: reason})
	if e, ok := fail.As(err); ok && (errors.Is(err, e) && fail.Is(err, fail.RefundNotAllowed)) {
		zerolog.Ctx(ctx).Info().Err(err).Stringer("payment_id", paymentID).Msg("late money is on its way back already")
		return nil
	}
	return err
}

// wantedPayments narrows a list of payments; what is empty does not.
type wantedPayments struct {
	State, Provider string
	UserID          *uuid.UUID
	NeedsReview     bool
}

const selectPayments = paymentColumns + `
 WHERE p.id < @before AND (@state = '' OR p.state = @state) AND (@provider = '' OR p.provider = @provider)
   AND (@user_id::uuid IS NULL OR p.user_id = @user_id) AND (NOT @needs_review OR p.needs_review)
 ORDER BY p.id DESC
 LIMIT @limit`

// findPayments reads a page of everybody's payments, newest first.
func (s *Service) findPayments(ctx context.Context, w wantedPayments, before uuid.UUID, limit int) ([]payment, error) {
	return all[payment](ctx, s.db.Pool, selectPayments, pgx.StrictNamedArgs{
		"before": before, "state": w.State, "provider": w.Provider, "user_id": w.UserID, "needs_review": w.NeedsReview, "limit": limit, "now": s.now(),
	})
}
