package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/services/payment/ledger"
)

// States of a settlement line.
const (
	lineMatched       = "MATCHED"
	lineMissingHere   = "MISSING_HERE"
	lineAmountDiffers = "AMOUNT_DIFFERS"
)

type settlementDay struct {
	Provider string
	Day      time.Time
}

const expectDay = `
INSERT INTO payment.settlement_day (provider, day, next_at)
VALUES (@provider, @day, @now)
    ON CONFLICT (provider, day) DO NOTHING`

// expectDays makes the rows of the days that have ended.
func (s *Service) expectDays(ctx context.Context) error {
	now := s.now()
	today := now.In(india)
	if s.expected.Equal(dayOf(today)) {
		return nil
	}
	batch := &pgx.Batch{}
	for provider := range s.settlements {
		for back := 1; back <= settlementDays; back++ {
			batch.Queue(expectDay, pgx.StrictNamedArgs{"provider": provider, "day": dayOf(today.AddDate(0, 0, -back)), "now": now})
		}
	}
	if err := s.db.Pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("expect settlements: %w", err)
	}
	s.expected = dayOf(today)
	return nil
}

// dayOf is a date as the database keeps it.
func dayOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}

const leaseDays = `
UPDATE payment.settlement_day
   SET next_at = @lease, attempts = attempts + 1
 WHERE (provider, day) IN (SELECT provider, day FROM payment.settlement_day
                            WHERE next_at <= @now AND provider = ANY (@providers)
                            ORDER BY next_at
                            LIMIT 4
                              FOR UPDATE SKIP LOCKED)
RETURNING provider, day`

func (s *Service) leaseDays(ctx context.Context) ([]settlementDay, error) {
	now := s.now()
	providers := make([]string, 0, len(s.settlements))
	for code := range s.settlements {
		providers = append(providers, code)
	}
	return all[settlementDay](ctx, s.db.Pool, leaseDays, pgx.StrictNamedArgs{"lease": now.Add(2 * settlementLimit), "now": now, "providers": providers})
}

// A line that is here already stays as it is; one that now says something else
// is a finding.
const insertLine = `
INSERT INTO payment.settlement_line (provider, transaction_id, kind, settlement_id, utr, merchant_order_id, amount_minor, fee_minor,
                                     tax_minor, net_minor, currency, moved_at, settled_at, state, next_match_at, received_at)
VALUES (@provider, @transaction_id, @kind, @settlement_id, @utr, @merchant_order_id, @amount_minor, @fee_minor,
        @tax_minor, @net_minor, @currency, @moved_at, @settled_at, 'RECEIVED', @now, @now)
    ON CONFLICT (provider, transaction_id, kind) DO UPDATE
   SET detail = 'a later file says ' || excluded.amount_minor || ' less ' || excluded.fee_minor || ' and ' || excluded.tax_minor,
       state = 'AMOUNT_DIFFERS', next_match_at = NULL
 WHERE (settlement_line.amount_minor, settlement_line.fee_minor, settlement_line.tax_minor, settlement_line.currency, settlement_line.merchant_order_id)
       IS DISTINCT FROM (excluded.amount_minor, excluded.fee_minor, excluded.tax_minor, excluded.currency, excluded.merchant_order_id)`

const keepDay = `
UPDATE payment.settlement_day
   SET lines = @lines, fetched_at = @now, next_at = @next, last_error = ''
 WHERE provider = @provider AND day = @day`

// keepDay commits a day's lines, all or none.
func (s *Service) keepDay(ctx context.Context, d settlementDay, lines []settlementLine) error {
	now := s.now()
	var next *time.Time
	if at := now.Add(settlementEvery); at.Before(d.Day.AddDate(0, 0, settlementDays+1)) {
		next = &at
	}
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		batch := &pgx.Batch{}
		for _, l := range lines {
			batch.Queue(insertLine, pgx.StrictNamedArgs{
				"provider": l.Provider, "transaction_id": l.TransactionID, "kind": l.Kind, "settlement_id": l.SettlementID, "utr": l.UTR,
				"merchant_order_id": l.MerchantOrderID, "amount_minor": l.AmountMinor, "fee_minor": l.FeeMinor, "tax_minor": l.TaxMinor,
				"net_minor": l.NetMinor, "currency": l.Currency, "moved_at": l.MovedAt, "settled_at": l.SettledAt, "now": now,
			})
		}
		batch.Queue(keepDay, pgx.StrictNamedArgs{"provider": d.Provider, "day": d.Day, "lines": len(lines), "next": next, "now": now})
		return tx.SendBatch(ctx, batch).Close() //nolint:wrapcheck // InTx says what it was
	})
	if err != nil {
		return fmt.Errorf("keep the settlement: %w", err)
	}
	return nil
}

const failDay = `
UPDATE payment.settlement_day
   SET next_at = @next, last_error = @last_error
 WHERE provider = @provider AND day = @day`

func (s *Service) failDay(ctx context.Context, d settlementDay, cause error) error {
	_, err := exec(ctx, s.db.Pool, failDay, pgx.StrictNamedArgs{
		"provider": d.Provider, "day": d.Day, "next": s.now().Add(settlementRetry), "last_error": clip(cause.Error(), 500),
	})
	return err
}

const leaseLines = `
UPDATE payment.settlement_line
   SET next_match_at = @lease, attempts = attempts + 1
 WHERE (provider, transaction_id, kind) IN (SELECT provider, transaction_id, kind FROM payment.settlement_line
                                             WHERE next_match_at <= @now
                                             ORDER BY next_match_at
                                             LIMIT @limit
                                               FOR UPDATE SKIP LOCKED)
RETURNING provider, transaction_id, kind, settlement_id, utr, merchant_order_id, amount_minor, fee_minor, tax_minor, net_minor,
          currency, moved_at, settled_at`

func (s *Service) leaseLines(ctx context.Context) ([]settlementLine, error) {
	now := s.now()
	return all[settlementLine](ctx, s.db.Pool, leaseLines, pgx.StrictNamedArgs{"lease": now.Add(matchRetry), "now": now, "limit": matchesAtOnce})
}

const missLine = `
UPDATE payment.settlement_line
   SET state = @state, detail = @detail
 WHERE provider = @provider AND transaction_id = @transaction_id AND kind = @kind AND state <> 'MATCHED'`

// missLine says why a line has no journal; it is looked at again later.
func (s *Service) missLine(ctx context.Context, l settlementLine, state, detail string) error {
	_, err := exec(ctx, s.db.Pool, missLine, pgx.StrictNamedArgs{
		"provider": l.Provider, "transaction_id": l.TransactionID, "kind": l.Kind, "state": state, "detail": detail,
	})
	return err
}

const matchedLine = `
UPDATE payment.settlement_line
   SET state = 'MATCHED', detail = '', payment_id = @payment_id, next_match_at = NULL, matched_at = @now
 WHERE provider = @provider AND transaction_id = @transaction_id AND kind = @kind AND state <> 'MATCHED'`

// What the journal says moved on a payment's clearing account, and what lines
// have been matched with it: a line takes what no other has taken.
const unsettled = `
SELECT coalesce(sum(o.amount_minor) FILTER (WHERE j.kind <> 'settlement' AND (o.amount_minor > 0) = @comes_in), 0) AS booked,
       coalesce((SELECT sum(l.amount_minor) FROM payment.settlement_line l
                  WHERE l.payment_id = @payment_id AND l.state = 'MATCHED' AND l.kind = ANY (@kinds)), 0) AS settled
  FROM payment.journal j
  JOIN payment.posting o ON o.journal_id = j.id
 WHERE j.payment_id = @payment_id AND o.account = @clearing AND o.currency = @currency`

type clearingBalance struct {
	Booked  int64
	Settled int64
}

// matchLine books a line when the journal has the movement that it settles.
func (s *Service) matchLine(ctx context.Context, l settlementLine, paymentID uuid.UUID) error {
	comesIn := l.Kind == string(ledger.MovedIn) || l.Kind == string(ledger.Reinstated)
	kinds := []string{string(ledger.MovedIn), string(ledger.Reinstated)}
	if !comesIn {
		kinds = []string{string(ledger.MovedBack), string(ledger.Charged)}
	}
	var state, detail string
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		now := s.now()
		p, err := s.lockPayment(ctx, tx, paymentID)
		if err != nil {
			return err
		}
		c, err := one[clearingBalance](ctx, tx, unsettled, pgx.StrictNamedArgs{
			"payment_id": paymentID, "clearing": ledger.Clearing(l.Provider), "currency": l.Currency, "comes_in": comesIn, "kinds": kinds,
		})
		if err != nil {
			return err
		}
		open := max(c.Booked, -c.Booked) - c.Settled
		switch {
		case open == 0:
			state, detail = lineMissingHere, "the journal has no such movement"
			return nil
		case open < l.AmountMinor, comesIn && open != l.AmountMinor:
			state, detail = lineAmountDiffers, fmt.Sprintf("the journal has %d", open)
			return nil
		}
		n, err := exec(ctx, tx, matchedLine, pgx.StrictNamedArgs{
			"provider": l.Provider, "transaction_id": l.TransactionID, "kind": l.Kind, "payment_id": paymentID, "now": now,
		})
		if err != nil || n == 0 {
			return err
		}
		state = lineMatched
		j, err := ledger.Settlement(l.Provider, l.TransactionID, l.booked())
		if err != nil {
			return err //nolint:wrapcheck // it says what it books
		}
		if err := s.book(ctx, tx, p, j, now); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditPosted(ctx, p, j, now)) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return fmt.Errorf("match settlement line %s: %w", l.TransactionID, err)
	}
	if state == lineMatched {
		s.outbox.Wake()
		return nil
	}
	if state == "" {
		return nil // another worker was first
	}
	return s.missLine(ctx, l, state, detail)
}
