package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/payment/ledger"
)

const lockPayee = `SELECT user_id FROM payment.payee WHERE user_id = @user_id FOR UPDATE`

// lockPayee keeps a payee's payouts one after the other. Nobody else's wait.
func (s *Service) lockPayee(ctx context.Context, tx pgx.Tx, userID uuid.UUID) error {
	var got uuid.UUID
	err := tx.QueryRow(ctx, lockPayee, pgx.StrictNamedArgs{"user_id": userID}).Scan(&got)
	if errors.Is(err, pgx.ErrNoRows) {
		return fail.New(fail.NotFound, "there is no such payee")
	}
	return err //nolint:wrapcheck // InTx says what it was
}

// What is left of each released payment: its share, less what was given back
// since, less what live payouts hold of it.
const selectEarned = `
SELECT e.payment_id, e.amount_minor
  FROM (SELECT r.payment_id, r.posted_at,
               (SELECT -coalesce(sum(o.amount_minor), 0) FROM payment.journal j JOIN payment.posting o ON o.journal_id = j.id
                 WHERE j.payment_id = r.payment_id AND o.account IN (@earned, @pending) AND o.currency = @currency)
             - (SELECT coalesce(sum(i.amount_minor), 0) FROM payment.payout_item i JOIN payment.payout o ON o.id = i.payout_id
                 WHERE i.payment_id = r.payment_id AND o.state IN ('PENDING', 'PROCESSING', 'COMPLETED')) AS amount_minor
          FROM payment.payment p
          JOIN payment.journal r ON r.payment_id = p.id AND r.kind = 'release'
         WHERE p.beneficiary_id = @beneficiary_id) e
 WHERE e.amount_minor <> 0
 ORDER BY e.posted_at, e.payment_id`

// earned is what a payee may be paid, by payment, the oldest first; below
// nothing where more went back than is left.
func (s *Service) earned(ctx context.Context, q pg.Querier, beneficiary uuid.UUID, currency string) ([]payoutItem, error) {
	return all[payoutItem](ctx, q, selectEarned, pgx.StrictNamedArgs{
		"beneficiary_id": beneficiary, "earned": ledger.Payee(beneficiary), "pending": ledger.Pending(beneficiary), "currency": currency,
	})
}

const insertPayout = `
INSERT INTO payment.payout (id, beneficiary_id, amount_minor, currency, state, requested_by, reason, created_at, updated_at)
VALUES (@id, @beneficiary_id, @amount_minor, @currency, 'PENDING', @requested_by, @reason, @now, @now)`

const insertItem = `
INSERT INTO payment.payout_item (payout_id, payment_id, amount_minor)
VALUES (@payout_id, @payment_id, @amount_minor)`

// requestPayout reserves what a payout takes. The balance is read under the
// payee's lock: two requests never see the same paisa. amount 0 is all.
func (s *Service) requestPayout(ctx context.Context, by, beneficiary uuid.UUID, amount int64, reason string) (p payout, err error) {
	if by == beneficiary {
		return payout{}, fail.New(fail.PermissionDenied, "somebody else must ask for it")
	}
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := s.lockPayee(ctx, tx, beneficiary); err != nil {
			return err
		}
		open, err := s.earned(ctx, tx, beneficiary, payoutCurrency)
		if err != nil {
			return err
		}
		items, total, err := pick(open, amount)
		if err != nil {
			return err
		}
		now := s.now()
		p = payout{ID: s.ids.New(), BeneficiaryID: beneficiary, State: payoutPending}
		_, err = exec(ctx, tx, insertPayout, pgx.StrictNamedArgs{
			"id": p.ID, "beneficiary_id": beneficiary, "amount_minor": total, "currency": payoutCurrency, "requested_by": by,
			"reason": reason, "now": now,
		})
		if pg.IsUnique(err, "payout_one_pending") {
			return fail.New(fail.Conflict, "a payout to this person waits for its decision")
		}
		if err != nil {
			return err
		}
		batch := &pgx.Batch{}
		for _, i := range items {
			batch.Queue(insertItem, pgx.StrictNamedArgs{"payout_id": p.ID, "payment_id": i.PaymentID, "amount_minor": i.AmountMinor})
		}
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return err //nolint:wrapcheck // InTx says what it was
		}
		if p, err = s.payout(ctx, tx, p.ID); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditPayout(ctx, trail.PayoutRequested, p, "", by, reason, now)) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return payout{}, fmt.Errorf("request a payout: %w", err)
	}
	s.outbox.Wake()
	return p, nil
}

const movePayout = `
UPDATE payment.payout
   SET state = @state, version = version + 1, updated_at = @now,
       decided_by = coalesce(@decided_by, decided_by), decided_at = CASE WHEN @decided_by::uuid IS NULL THEN decided_at ELSE @now END,
       settled_at = CASE WHEN @settled THEN @now ELSE settled_at END,
       bank_reference = @bank_reference, failure = @failure
 WHERE id = @id AND state = @from`

// act is what an administrator does with a payout.
type act struct {
	action        trail.Action
	from, to      payoutState
	by            uuid.UUID
	reason        string
	bankReference string
}

// actOn moves a payout under its payee's lock, and books what follows.
func (s *Service) actOn(ctx context.Context, payoutID uuid.UUID, a act) (p payout, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		known, err := s.payout(ctx, tx, payoutID)
		if err != nil {
			return err
		}
		if err := s.lockPayee(ctx, tx, known.BeneficiaryID); err != nil {
			return err
		}
		before, err := s.payout(ctx, tx, payoutID) // again: now nobody changes it
		if err != nil {
			return err
		}
		if err := s.allowed(ctx, tx, before, a); err != nil {
			return err
		}
		now := s.now()
		if err := s.movePayout(ctx, tx, before, a, now); err != nil {
			return err
		}
		if p, err = s.payout(ctx, tx, payoutID); err != nil {
			return err
		}
		events := []outbox.Event{auditPayout(ctx, a.action, p, before.State, a.by, a.reason, now)}
		j, booked, err := journalOf(p)
		if err != nil {
			return err
		}
		if booked {
			if err := s.enter(ctx, tx, nil, j, now, now); err != nil {
				return err
			}
			events = append(events, auditPayoutPosted(ctx, p, j, now))
		}
		return s.outbox.Append(ctx, tx, events...) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return payout{}, fmt.Errorf("%s %s: %w", a.action, payoutID, err)
	}
	s.outbox.Wake()
	return p, nil
}

func (s *Service) movePayout(ctx context.Context, tx pgx.Tx, p payout, a act, now time.Time) error {
	args := pgx.StrictNamedArgs{
		"id": p.ID, "from": string(a.from), "state": string(a.to), "decided_by": nil, "settled": a.from == payoutProcessing,
		"bank_reference": a.bankReference, "failure": "", "now": now,
	}
	if a.from == payoutPending {
		args["decided_by"] = a.by
	}
	if a.to == payoutFailed || a.to == payoutRejected {
		args["failure"] = a.reason
	}
	n, err := exec(ctx, tx, movePayout, args)
	switch {
	case pg.IsUnique(err, "payout_bank_reference"):
		return fail.New(fail.Conflict, "the bank's reference is of another payout")
	case err != nil:
		return err
	case n != 1:
		return fmt.Errorf("payout %s changed under its lock", p.ID)
	}
	return nil
}

// allowed refuses what an act may not do, of a payout that nobody else changes.
func (s *Service) allowed(ctx context.Context, tx pgx.Tx, p payout, a act) error {
	if p.State != a.from {
		return fail.New(fail.Conflict, "the payout is %s", p.State)
	}
	if a.to != payoutProcessing {
		return nil
	}
	if a.by == p.RequestedBy || a.by == p.BeneficiaryID {
		return fail.New(fail.PermissionDenied, "somebody else must approve it")
	}
	left, err := s.earned(ctx, tx, p.BeneficiaryID, p.Currency)
	if err != nil {
		return err
	}
	if total(left) < 0 { // it is reserved; since then more was given back than else is left
		return fail.New(fail.Conflict, "what was given back since exceeds what is left; reject it and ask anew")
	}
	return nil
}

const payoutColumns = `
SELECT id, beneficiary_id, amount_minor, currency, state, requested_by, reason, decided_by, decided_at, settled_at, bank_reference,
       failure, created_at
  FROM payment.payout`

func (s *Service) payout(ctx context.Context, q pg.Querier, payoutID uuid.UUID) (payout, error) {
	p, err := one[payout](ctx, q, payoutColumns+` WHERE id = @id`, pgx.StrictNamedArgs{"id": payoutID})
	if fail.Is(err, fail.NotFound) {
		return payout{}, fail.New(fail.NotFound, "there is no such payout")
	}
	return p, err
}

const selectItems = `SELECT payment_id, amount_minor FROM payment.payout_item WHERE payout_id = @payout_id ORDER BY payment_id`

func (s *Service) itemsOf(ctx context.Context, payoutID uuid.UUID) ([]payoutItem, error) {
	return all[payoutItem](ctx, s.db.Pool, selectItems, pgx.StrictNamedArgs{"payout_id": payoutID})
}

const selectPayouts = payoutColumns + `
 WHERE id < @before AND (@state = '' OR state = @state) AND (@beneficiary_id::uuid IS NULL OR beneficiary_id = @beneficiary_id)
 ORDER BY id DESC
 LIMIT @limit`

// payouts reads a page, newest first, from before an id.
func (s *Service) payouts(ctx context.Context, beneficiary *uuid.UUID, state string, before uuid.UUID, limit int) ([]payout, error) {
	return all[payout](ctx, s.db.Pool, selectPayouts, pgx.StrictNamedArgs{
		"beneficiary_id": beneficiary, "state": state, "before": before, "limit": limit,
	})
}
