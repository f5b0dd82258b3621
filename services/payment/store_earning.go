package payment

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/services/payment/factstate"
	"github.com/manas360/platform/services/payment/ledger"
)

const defaultSplit = "session"

const selectSplit = `SELECT payee_bps FROM payment.split_rule WHERE code = @code`

func (s *Service) payeeBPS(ctx context.Context, q pg.Querier, rule string) (bps int64, err error) {
	err = q.QueryRow(ctx, selectSplit, pgx.StrictNamedArgs{"code": rule}).Scan(&bps)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, fail.New(fail.InvalidArgument, "the request is invalid").Field("splitRule", "is not a rule we know")
	}
	if err != nil {
		return 0, pg.Err(fmt.Errorf("read split rule: %w", err))
	}
	return bps, nil
}

// checkSplit names the rule of who shares in a payment without saying how far.
func (s *Service) checkSplit(ctx context.Context, in *newPayment) error {
	if in.BeneficiaryID == nil {
		if in.SplitRule != "" {
			return fail.New(fail.InvalidArgument, "the request is invalid").Field("splitRule", "is nobody's")
		}
		return nil
	}
	if *in.BeneficiaryID == in.UserID {
		return fail.New(fail.InvalidArgument, "the request is invalid").Field("beneficiaryUserId", "is who pays")
	}
	if in.SplitRule == "" {
		in.SplitRule = defaultSplit
	}
	_, err := s.payeeBPS(ctx, s.db.Pool, in.SplitRule)
	return err
}

// split is who shares in a payment, and how far.
func (s *Service) split(ctx context.Context, tx pgx.Tx, p payment) (ledger.Split, error) {
	if p.BeneficiaryID == nil {
		return ledger.Split{}, nil
	}
	bps, err := s.payeeBPS(ctx, tx, p.SplitRule)
	return ledger.Split{Beneficiary: *p.BeneficiaryID, PayeeBPS: bps}, err
}

const selectReleased = `
SELECT o.amount_minor
  FROM payment.journal j
  JOIN payment.posting o ON o.journal_id = j.id AND o.amount_minor > 0
 WHERE j.payment_id = @payment_id AND j.kind = 'release'`

const selectPending = `
SELECT -coalesce(sum(o.amount_minor), 0)::bigint
  FROM payment.journal j
  JOIN payment.posting o ON o.journal_id = j.id
 WHERE j.payment_id = @payment_id AND o.account = @account AND o.currency = @currency`

const insertPayee = `
INSERT INTO payment.payee (user_id, created_at)
VALUES (@user_id, @now)
    ON CONFLICT (user_id) DO NOTHING`

// releaseEarnings books, once, that a payment's service was delivered: what is
// left of its beneficiary's share is the beneficiary's. What is given back from
// then on lowers what may be paid out.
func (s *Service) releaseEarnings(ctx context.Context, paymentID uuid.UUID) (amount int64, currency string, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		p, err := s.lockPayment(ctx, tx, paymentID)
		if err != nil {
			return err
		}
		currency = p.Currency
		if p.BeneficiaryID == nil {
			return fail.New(fail.Conflict, "nobody shares in the payment")
		}
		err = tx.QueryRow(ctx, selectReleased, pgx.StrictNamedArgs{"payment_id": p.ID}).Scan(&amount)
		if err == nil || !errors.Is(err, pgx.ErrNoRows) {
			return err //nolint:wrapcheck // InTx says what it was; without one it was released before
		}
		if !p.State.Paid() || p.State == factstate.Refunded {
			return fail.New(fail.Conflict, "the payment is not paid, or was given back")
		}
		if p.Disputed {
			return fail.New(fail.Conflict, "the payment is disputed")
		}
		err = tx.QueryRow(ctx, selectPending, pgx.StrictNamedArgs{
			"payment_id": p.ID, "account": ledger.Pending(*p.BeneficiaryID), "currency": p.Currency,
		}).Scan(&amount)
		if err != nil {
			return err //nolint:wrapcheck // InTx says what it was
		}
		if amount <= 0 {
			return fail.New(fail.Conflict, "nothing of the share is left")
		}
		now := s.now()
		if _, err := exec(ctx, tx, insertPayee, pgx.StrictNamedArgs{"user_id": *p.BeneficiaryID, "now": now}); err != nil {
			return err
		}
		j, err := ledger.Release(p.ID, *p.BeneficiaryID, amount, p.Currency)
		if err != nil {
			return err //nolint:wrapcheck // it says what it books
		}
		if err := s.enter(ctx, tx, &p.ID, j, now, now); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditReleased(ctx, p, amount, now), auditPosted(ctx, p, j, now)) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return 0, "", fmt.Errorf("release the earnings of payment %s: %w", paymentID, err)
	}
	s.outbox.Wake()
	return amount, currency, nil
}
