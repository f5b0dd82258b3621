package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/payment/factstate"
	"github.com/manas360/platform/services/payment/ledger"
)

const disputeColumns = `
SELECT id, payment_id, provider, provider_dispute_id, amount_minor, state, held, opened_at, closed_at
  FROM payment.dispute`

const selectDispute = disputeColumns + `
 WHERE provider = @provider AND provider_dispute_id = @dispute_id`

const selectDisputeOf = disputeColumns + `
 WHERE payment_id = @payment_id AND state <> 'WON' AND amount_minor = @amount
 ORDER BY id
 LIMIT 1`

// disputeOf finds the dispute of a payment that a movement of the bank is about.
func (s *Service) disputeOf(ctx context.Context, q pg.Querier, paymentID uuid.UUID, amountMinor int64) (dispute, error) {
	return one[dispute](ctx, q, selectDisputeOf, pgx.StrictNamedArgs{"payment_id": paymentID, "amount": amountMinor})
}

const insertDispute = `
INSERT INTO payment.dispute (id, payment_id, provider, provider_dispute_id, amount_minor, state, held, opened_at)
VALUES (@id, @payment_id, @provider, @dispute_id, @amount_minor, 'OPENED', @held, @now)`

const moveDispute = `UPDATE payment.dispute SET state = @state, closed_at = @now WHERE id = @id AND state = @was`

const flagDisputed = `
UPDATE payment.payment
   SET disputed = EXISTS (SELECT FROM payment.dispute d WHERE d.payment_id = payment.id AND d.state = 'OPENED'),
       refunded_minor = refunded_minor + @lost, state = @state, version = version + 1, updated_at = @now
 WHERE id = @id
RETURNING version, disputed`

// applyDispute is the one door for what is said of a dispute. Repeating it
// changes nothing; money is booked once for each state reached.
func (s *Service) applyDispute(ctx context.Context, said saidOfDispute, from origin) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		now := s.now()
		p, err := s.lockPayment(ctx, tx, said.PaymentID)
		if err != nil {
			return err
		}
		if !p.State.Paid() {
			return fail.New(fail.Conflict, "the payment has not succeeded")
		}
		d, err := one[dispute](ctx, tx, selectDispute, pgx.StrictNamedArgs{"provider": said.Provider, "dispute_id": said.DisputeID})
		var events []outbox.Event
		if fail.Is(err, fail.NotFound) {
			d = dispute{
				ID: s.ids.New(), PaymentID: p.ID, Provider: said.Provider, ProviderDisputeID: said.DisputeID,
				AmountMinor: said.AmountMinor, State: disputeOpened, Held: said.Held, OpenedAt: now,
			}
			if err := s.openDispute(ctx, tx, p, d, now); err != nil {
				return err
			}
			events = append(events, auditDispute(ctx, trail.PaymentDisputeOpened, p, d, "", from, now))
		} else if err != nil {
			return err
		}
		if disputeRank[said.State] > disputeRank[d.State] {
			more, err := s.closeDispute(ctx, tx, &p, d, said.State, from, now)
			if err != nil {
				return err
			}
			events = append(events, more...)
		} else if len(events) > 0 {
			if err := s.flagDisputed(ctx, tx, &p, 0, now); err != nil {
				return err
			}
		}
		if err := s.settleEvent(ctx, tx, from.event, eventProcessed, ""); err != nil {
			return err
		}
		if len(events) > 0 {
			if err := s.tellOrganizations(ctx, tx, p, tellDisputed, now); err != nil {
				return err
			}
		}
		return s.outbox.Append(ctx, tx, events...) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return fmt.Errorf("apply to dispute %s: %w", said.DisputeID, err)
	}
	s.outbox.Wake()
	return nil
}

func (s *Service) openDispute(ctx context.Context, tx pgx.Tx, p payment, d dispute, now time.Time) error {
	if _, err := exec(ctx, tx, insertDispute, pgx.StrictNamedArgs{
		"id": d.ID, "payment_id": p.ID, "provider": d.Provider, "dispute_id": d.ProviderDisputeID, "amount_minor": d.AmountMinor,
		"held": d.Held, "now": now,
	}); err != nil {
		return err
	}
	if !d.Held {
		return nil
	}
	return s.bookReturn(ctx, tx, p, now, func(src ledger.Source) (ledger.Journal, error) {
		return ledger.DisputeHeld(src, d.ProviderDisputeID, d.AmountMinor)
	})
}

func (s *Service) closeDispute(ctx context.Context, tx pgx.Tx, p *payment, d dispute, to string, from origin, now time.Time) ([]outbox.Event, error) {
	n, err := exec(ctx, tx, moveDispute, pgx.StrictNamedArgs{"id": d.ID, "state": to, "was": d.State, "now": now})
	if err != nil {
		return nil, err
	}
	if n != 1 {
		return nil, fmt.Errorf("dispute %s changed under its payment's lock", d.ID)
	}
	var lost int64
	held := d.Held && d.State == disputeOpened // one that was won before has been released
	switch to {
	case disputeWon:
		if held {
			err = s.bookReturn(ctx, tx, *p, now, func(src ledger.Source) (ledger.Journal, error) {
				return ledger.DisputeReleased(src, d.ProviderDisputeID, d.AmountMinor)
			})
		}
	case disputeLost:
		left := p.CapturedMinor - p.RefundedMinor - p.ReservedMinor
		lost = min(d.AmountMinor, left)
		err = s.bookReturn(ctx, tx, *p, now, func(src ledger.Source) (ledger.Journal, error) {
			return ledger.DisputeLost(src, d.ProviderDisputeID, d.AmountMinor, left, held)
		})
	}
	if err != nil {
		return nil, err
	}
	was := d.State
	d.State = to
	if err := s.flagDisputed(ctx, tx, p, lost, now); err != nil {
		return nil, err
	}
	events := []outbox.Event{auditDispute(ctx, trail.PaymentDisputeClosed, *p, d, was, from, now)}
	if lost > 0 {
		events = append(events, stateChanged(*p, now))
	}
	return events, nil
}

// flagDisputed writes whether a dispute is open, and what of the payment is lost.
func (s *Service) flagDisputed(ctx context.Context, tx pgx.Tx, p *payment, lost int64, now time.Time) error {
	p.RefundedMinor += lost
	p.State = factstate.After(p.CapturedMinor, p.RefundedMinor)
	err := tx.QueryRow(ctx, flagDisputed, pgx.StrictNamedArgs{"id": p.ID, "lost": lost, "state": string(p.State), "now": now}).Scan(&p.Version, &p.Disputed)
	if err != nil {
		return fmt.Errorf("flag a disputed payment: %w", err)
	}
	return nil
}
