package ledger

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/money"
)

const (
	inTransit      = "refunds_in_transit"
	held           = "disputes_held"
	chargebackLoss = "chargeback_losses"

	// RefundKind is of journals that take a part of a capture back, and of those
	// that undo that: what a payment's next return must leave out.
	RefundKind = "refund"
	// MovedKind is of journals of money that only changed its place.
	MovedKind = "refund_moved"
)

// Source is what a payment's journals say of it so far: its capture, and what
// returns have taken from each of its lines.
type Source struct {
	Provider string
	Currency string
	Capture  []Posting // of the capture's journal, clearing included
	Reversed []Posting // of the journals of RefundKind, all of them
}

// lines is an amount taken from the capture's own lines in their proportion, so
// that whatever the capture was split into goes back the same way. What is
// cumulative is allocated, not each return by itself: any number of returns that
// add up to the capture undo it to the paisa.
func (s Source) lines(amountMinor int64) ([]Posting, error) {
	taken := map[string]int64{} // debits of the capture's credit accounts
	for _, p := range s.Reversed {
		taken[p.Account] += p.AmountMinor
	}
	var whole, before int64
	var weights []int64
	var credits []Posting
	for _, p := range s.Capture {
		switch {
		case p.Account == Clearing(s.Provider):
			whole += p.AmountMinor
		case p.AmountMinor < 0:
			credits, weights = append(credits, p), append(weights, -p.AmountMinor)
			before += taken[p.Account]
		default: // a rounding in the customer's favour
			before += taken[p.Account]
		}
	}
	if amountMinor <= 0 || before+amountMinor > whole {
		return nil, fmt.Errorf("%w: %d of %d, of which %d went back before", ErrUnbalanced, amountMinor, whole, before)
	}
	if before+amountMinor == whole { // all that is left, the rounding too
		var out []Posting
		for _, p := range s.Capture {
			if rest := -p.AmountMinor - taken[p.Account]; p.Account != Clearing(s.Provider) && rest != 0 {
				out = append(out, Posting{Account: p.Account, AmountMinor: rest})
			}
		}
		return out, nil
	}
	parts, err := money.Of(before+amountMinor, s.Currency).Allocate(weights...)
	if err != nil {
		return nil, fmt.Errorf("share a return: %w", err)
	}
	var out []Posting
	for i, p := range credits {
		if part := parts[i].Minor - taken[p.Account]; part != 0 {
			out = append(out, Posting{Account: p.Account, AmountMinor: part})
		}
	}
	return out, nil
}

func (s Source) journal(ref, kind string, postings ...Posting) (Journal, error) {
	j := Journal{Ref: ref, Kind: kind, Currency: s.Currency}
	j.ID = uuid.NewSHA1(space, []byte(j.Ref))
	for _, p := range postings {
		j.add(p.Account, p.AmountMinor)
	}
	if err := j.Check(); err != nil {
		return Journal{}, err
	}
	return j, nil
}

// Refund books money that is on its way back: we owe less service and less tax,
// and the customer instead. name is our name of the refund.
func Refund(s Source, name string, amountMinor int64) (Journal, error) {
	lines, err := s.lines(amountMinor)
	if err != nil {
		return Journal{}, fmt.Errorf("book refund %s: %w", name, err)
	}
	return s.journal("refund:"+name, RefundKind, append(lines, Posting{Account: inTransit, AmountMinor: -amountMinor})...)
}

// RefundDone books that the provider has paid the customer.
func RefundDone(s Source, name string, amountMinor int64) (Journal, error) {
	return s.journal("refund_done:"+name, MovedKind, Posting{Account: inTransit, AmountMinor: amountMinor}, Posting{Account: Clearing(s.Provider), AmountMinor: -amountMinor})
}

// RefundBack books that the provider had paid the customer, and has the money
// again.
func RefundBack(s Source, name string, amountMinor int64) (Journal, error) {
	return s.journal("refund_back:"+name, MovedKind, Posting{Account: Clearing(s.Provider), AmountMinor: amountMinor}, Posting{Account: inTransit, AmountMinor: -amountMinor})
}

// RefundFailed undoes a refund's own journal.
func RefundFailed(s Source, name string, refund []Posting) (Journal, error) {
	back := make([]Posting, 0, len(refund))
	for _, p := range refund {
		back = append(back, Posting{Account: p.Account, AmountMinor: -p.AmountMinor})
	}
	return s.journal("refund_failed:"+name, RefundKind, back...)
}

// DisputeHeld books that the provider holds disputed money back from us.
func DisputeHeld(s Source, name string, amountMinor int64) (Journal, error) {
	return s.journal("dispute_held:"+name, MovedKind, Posting{Account: held, AmountMinor: amountMinor}, Posting{Account: Clearing(s.Provider), AmountMinor: -amountMinor})
}

// DisputeReleased books that what was held is ours again.
func DisputeReleased(s Source, name string, amountMinor int64) (Journal, error) {
	return s.journal("dispute_released:"+name, MovedKind, Posting{Account: Clearing(s.Provider), AmountMinor: amountMinor}, Posting{Account: held, AmountMinor: -amountMinor})
}

// DisputeLost books that disputed money is the customer's again. It comes out
// of what is left of the capture; what is not left, as it went back before, is a
// loss. wasHeld tells whether DisputeHeld was booked.
func DisputeLost(s Source, name string, amountMinor, leftMinor int64, wasHeld bool) (Journal, error) {
	from := Clearing(s.Provider)
	if wasHeld {
		from = held
	}
	taken := min(amountMinor, leftMinor)
	var lines []Posting
	if taken > 0 {
		var err error
		if lines, err = s.lines(taken); err != nil {
			return Journal{}, fmt.Errorf("book dispute %s: %w", name, err)
		}
	}
	lines = append(lines, Posting{Account: chargebackLoss, AmountMinor: amountMinor - taken}, Posting{Account: from, AmountMinor: -amountMinor})
	return s.journal("dispute_lost:"+name, RefundKind, lines...)
}
