package money

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

// The bank's kinds, and how a journal of each names what it books.
const (
	captured       = "CAPTURE"
	refunded       = "REFUND"
	capturePrefix  = "capture:"
	captureJournal = "capture"
)

const mostWrong = 40 // are told; one is enough to fail

func (rep *Report) wrong(format string, args ...any) {
	if len(rep.Wrong) < mostWrong {
		rep.Wrong = append(rep.Wrong, fmt.Sprintf(format, args...))
	}
}

// audit compares the bank's statement with the ledger, movement by movement.
func (r *run) audit(ctx context.Context, rep *Report) error {
	rows, err := r.bank.statement(ctx)
	if err != nil {
		return err
	}
	b, err := r.books(ctx)
	if err != nil {
		return err
	}
	for _, what := range slices.Sorted(maps.Keys(b.counts)) {
		if n := b.counts[what]; n != 0 {
			rep.wrong("%s: %d", what, n)
		}
	}
	compare(rep, rows, b.clearing)
	r.payEach(rep, rows, b.payments)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.suicide {
		rep.wrong("ended by itself: %s", s)
	}
	r.tally.mu.Lock()
	defer r.tally.mu.Unlock()
	for _, s := range r.tally.odd {
		rep.wrong("%s", s)
	}
	return nil
}

// compare wants one capture journal for one CAPTURE, one journal of a refund
// for one REFUND, and the same sums.
func compare(rep *Report, rows []movement, clearing []entry) {
	bank := map[string][]movement{} // captures by order
	var refundsAtBank, refundsInBooks []int64
	for _, m := range rows {
		switch m.Kind {
		case captured:
			bank[m.MerchantOrderID] = append(bank[m.MerchantOrderID], m)
			rep.Captured, rep.AtBank = rep.Captured+1, rep.AtBank+m.AmountMinor
		case refunded:
			refundsAtBank = append(refundsAtBank, m.AmountMinor)
			rep.Refunded, rep.AtBank = rep.Refunded+1, rep.AtBank-m.AmountMinor
		default:
			rep.wrong("the statement has a %s nobody asked for", m.Kind)
		}
	}
	booked := map[string]int{}
	for _, e := range clearing {
		rep.InLedger += e.Minor
		if e.Kind != captureJournal {
			refundsInBooks = append(refundsInBooks, -e.Minor)
			continue
		}
		order := strings.TrimPrefix(e.Ref, capturePrefix)
		booked[order]++
		if at := bank[order]; len(at) != 1 || at[0].AmountMinor != e.Minor {
			rep.wrong("%s is booked with %d, the statement has %v", order, e.Minor, at)
		}
	}
	for order, at := range bank {
		if len(at) != 1 || booked[order] != 1 {
			rep.wrong("%s was captured %d times and booked %d times", order, len(at), booked[order])
		}
	}
	slices.Sort(refundsAtBank)
	slices.Sort(refundsInBooks)
	if !slices.Equal(refundsAtBank, refundsInBooks) {
		rep.wrong("refunds at the bank (%d) and in the books (%d) differ", len(refundsAtBank), len(refundsInBooks))
	}
	if rep.AtBank != rep.InLedger {
		rep.wrong("the bank has %d, the ledger %d", rep.AtBank, rep.InLedger)
	}
}

// payEach wants every payment to agree with the bank, with its customer, and
// with what subscription was told.
func (r *run) payEach(rep *Report, rows []movement, payments []paid) {
	net, had := map[string]int64{}, map[string]int64{}
	for _, m := range rows {
		if m.Kind == captured {
			had[m.MerchantOrderID] += m.AmountMinor
			net[m.MerchantOrderID] += m.AmountMinor
		} else {
			net[m.MerchantOrderID] -= m.AmountMinor
		}
	}
	rep.States = map[string]int{}
	for _, p := range payments {
		rep.States[p.State]++
		var took, kept int64
		for _, o := range p.Orders {
			took, kept = took+had[o], kept+net[o]
		}
		if p.Captured != took || p.ClearingMinor != kept || p.Captured-p.Refunded != kept {
			rep.wrong("%s %s: captured %d refunded %d clearing %d, the bank took %d and kept %d",
				p.Request, p.State, p.Captured, p.Refunded, p.ClearingMinor, took, kept)
		}
		r.tally.mu.Lock()
		if r.tally.success[p.Request] && took == 0 {
			rep.wrong("%s was told that its money moved, and it did not", p.Request)
		}
		r.tally.mu.Unlock()
		told := r.inbox.states(p.Request)
		paidFor := 0
		for _, s := range told {
			if s == paymentv1.Payment_SUCCEEDED {
				paidFor++
			}
		}
		if took > 0 && paidFor != 1 || took == 0 && (paidFor != 0 || len(told) != 1) {
			rep.wrong("%s is %s, and subscription was told %v", p.Request, p.State, told)
		}
	}
	if len(payments) != r.Payments {
		rep.wrong("%d payments are there, %d were asked for", len(payments), r.Payments)
	}
}
