package payment

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/payment/factstate"
	"github.com/manas360/platform/services/payment/ledger"
)

// sold is a captured payment in which somebody shares.
func (r *rig) sold(beneficiary uuid.UUID, rule string, taxable, igst int64) payment {
	r.t.Helper()
	in := someOrder()
	in.Purpose, in.ProductCode, in.BeneficiaryID, in.SplitRule = "session", "session", &beneficiary, rule
	in.TaxableMinor, in.IGSTMinor, in.AmountMinor = taxable, igst, taxable+igst
	p := r.open(in)
	_, err := r.applyFact(r.t.Context(), fact{
		Kind: factstate.Captured, MerchantOrderID: p.MerchantOrderID, AmountMinor: p.AmountMinor, Currency: "INR",
	}, origin{by: byProvider})
	if err != nil {
		r.t.Fatal(err)
	}
	return r.read(p.ID)
}

// earns is sold and delivered.
func (r *rig) earns(beneficiary uuid.UUID, taxable int64) payment {
	r.t.Helper()
	p := r.sold(beneficiary, "", taxable, 0)
	if _, _, err := r.releaseEarnings(r.t.Context(), p.ID); err != nil {
		r.t.Fatal(err)
	}
	return p
}

// reverse books what a refund of some of the payee's share does.
func (r *rig) reverse(p payment, minor int64) {
	r.t.Helper()
	j := ledger.Journal{
		ID: uuid.New(), Ref: "test_refund:" + uuid.NewString(), Kind: "refund", Currency: "INR",
		Postings: []ledger.Posting{
			{Account: ledger.Pending(*p.BeneficiaryID), AmountMinor: minor}, {Account: "refunds_in_transit", AmountMinor: -minor},
		},
	}
	tx, err := r.db.Pool.Begin(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	now := r.now()
	if err := errors.Join(r.enter(r.t.Context(), tx, &p.ID, j, now, now), tx.Commit(r.t.Context())); err != nil {
		r.t.Fatal(err)
	}
}

// on is what an account holds; credits above nothing.
func (r *rig) on(account string) int64 {
	r.t.Helper()
	return r.number(`SELECT -coalesce(sum(amount_minor), 0)::bigint FROM payment.posting WHERE account = $1`, account)
}

// available is what somebody may be paid.
func (r *rig) available(beneficiary uuid.UUID) int64 {
	r.t.Helper()
	open, err := r.earned(r.t.Context(), r.db.Pool, beneficiary, "INR")
	if err != nil {
		r.t.Fatal(err)
	}
	return total(open)
}

func (r *rig) sealAll() {
	r.t.Helper()
	for {
		n, err := r.seal(r.t.Context(), 3)
		if err != nil {
			r.t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func (r *rig) verified() verdictOfChain {
	r.t.Helper()
	v, err := r.verify(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

// replayed are the balances by every line there is.
func (r *rig) replayed() map[balanceKey]int64 {
	r.t.Helper()
	rows, err := r.db.Pool.Query(r.t.Context(), `SELECT account, currency, sum(amount_minor)::bigint FROM payment.posting GROUP BY 1, 2`)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	out := map[balanceKey]int64{}
	for rows.Next() {
		var k balanceKey
		var n int64
		if err := rows.Scan(&k.Account, &k.Currency, &n); err != nil {
			r.t.Fatal(err)
		}
		out[k] = n
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return out
}

// refusedAs reports the SQL state of an error.
func refusedAs(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// approve, complete and so on, as the server does them.
var (
	approving  = act{action: trail.PayoutApproved, from: payoutPending, to: payoutProcessing, reason: "checked the sessions"}
	rejecting  = act{action: trail.PayoutRejected, from: payoutPending, to: payoutRejected, reason: "sessions are disputed"}
	completing = act{action: trail.PayoutCompleted, from: payoutProcessing, to: payoutCompleted, reason: "seen on the statement"}
	failing    = act{action: trail.PayoutFailed, from: payoutProcessing, to: payoutFailed, reason: "the account is closed"}
)

func (r *rig) does(ctx context.Context, t *testing.T, payoutID, by uuid.UUID, a act) payout {
	t.Helper()
	a.by = by
	if a.to == payoutCompleted {
		a.bankReference = "UTR" + payoutID.String()
	}
	p, err := r.actOn(ctx, payoutID, a)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
