// Package ledger makes double entries. A debit is above zero, a credit below,
// and a journal's postings add up to nothing.
package ledger

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// The chart of accounts. Balances are derived from postings.
const (
	Deferred      = "deferred_revenue"
	CGST          = "gst_cgst_payable"
	SGST          = "gst_sgst_payable"
	IGST          = "gst_igst_payable"
	Rounding      = "rounding"
	clearing      = "gateway_clearing:"
	captureKind   = "capture"
	capturePrefix = captureKind + ":"
)

// Clearing is the account of what a provider owes us until its settlement.
func Clearing(provider string) string { return clearing + provider }

// space makes journal ids from refs, so that a journal has one id wherever it is built.
var space = uuid.MustParse("7f0f7d2e-9a1c-5b7e-8f53-2f6b7d0c3a60")

// Posting is one line.
type Posting struct {
	Account     string
	AmountMinor int64 // debit above zero, credit below; never zero
}

// Journal is one thing that happened, booked.
type Journal struct {
	ID       uuid.UUID // follows from Ref
	Ref      string    // a thing is booked once
	Kind     string
	Currency string
	Postings []Posting
}

// Total is an amount taken apart; all in minor units.
type Total struct {
	AmountMinor, TaxableMinor, CGSTMinor, SGSTMinor, IGSTMinor, RoundOffMinor int64
	Currency                                                                  string
	Split                                                                     Split // of the taxable part
}

// ErrUnbalanced is a journal whose postings do not add up to nothing.
var ErrUnbalanced = errors.New("journal does not balance")

// Capture books money taken from a customer: the provider owes it to us, we owe
// the service and the tax; with a split, its beneficiary's share is pending.
func Capture(provider, merchantOrderID string, t Total) (Journal, error) {
	j := Journal{
		Ref: capturePrefix + merchantOrderID, Kind: captureKind, Currency: t.Currency,
	}
	j.ID = uuid.NewSHA1(space, []byte(j.Ref))
	theirs, ours, err := t.Split.shares(t.TaxableMinor, t.Currency)
	if err != nil {
		return Journal{}, fmt.Errorf("book %s: %w", j.Ref, err)
	}
	j.add(Clearing(provider), t.AmountMinor)
	j.add(Pending(t.Split.Beneficiary), -theirs)
	j.add(Deferred, -ours)
	j.add(CGST, -t.CGSTMinor)
	j.add(SGST, -t.SGSTMinor)
	j.add(IGST, -t.IGSTMinor)
	j.add(Rounding, -t.RoundOffMinor)
	if t.AmountMinor <= 0 || t.TaxableMinor < 0 || t.CGSTMinor < 0 || t.SGSTMinor < 0 || t.IGSTMinor < 0 {
		return Journal{}, fmt.Errorf("book %s: %w: a capture is above zero", j.Ref, ErrUnbalanced)
	}
	if err := j.Check(); err != nil {
		return Journal{}, err
	}
	return j, nil
}

// add leaves out what is nothing.
func (j *Journal) add(account string, amountMinor int64) {
	if amountMinor != 0 {
		j.Postings = append(j.Postings, Posting{Account: account, AmountMinor: amountMinor})
	}
}

// Check fails with ErrUnbalanced; the database refuses such a journal too.
func (j Journal) Check() error {
	var sum int64
	for _, p := range j.Postings {
		if p.AmountMinor == 0 || p.Account == "" {
			return fmt.Errorf("book %s: %w: a posting of nothing", j.Ref, ErrUnbalanced)
		}
		next := sum + p.AmountMinor
		if (sum^next)&(p.AmountMinor^next) < 0 { // both signs differ from the sum's
			return fmt.Errorf("book %s: %w: overflow", j.Ref, ErrUnbalanced)
		}
		sum = next
	}
	if len(j.Postings) < 2 || sum != 0 {
		return fmt.Errorf("book %s: %w: off by %d", j.Ref, ErrUnbalanced, sum)
	}
	return nil
}
