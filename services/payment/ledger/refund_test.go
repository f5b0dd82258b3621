package ledger

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func source(t interface{ Fatal(...any) }, total Total) Source {
	j, err := Capture("phonepe", "P1", total)
	if err != nil {
		t.Fatal(err)
	}
	return Source{Provider: "phonepe", Currency: "INR", Capture: j.Postings}
}

var sold = Total{AmountMinor: 29900, TaxableMinor: 25339, CGSTMinor: 2280, SGSTMinor: 2280, RoundOffMinor: 1, Currency: "INR"}

func TestRefund(t *testing.T) {
	s := source(t, sold)
	part, err := Refund(s, "R1", 10000)
	if err != nil {
		t.Fatal(err)
	}
	want := []Posting{{Deferred, 8475}, {CGST, 763}, {SGST, 762}, {inTransit, -10000}}
	if d := cmp.Diff(want, part.Postings); d != "" {
		t.Error(d)
	}
	s.Reversed = part.Postings
	rest, err := Refund(s, "R2", 19900)
	if err != nil {
		t.Fatal(err)
	}
	want = []Posting{{Deferred, 16864}, {CGST, 1517}, {SGST, 1518}, {Rounding, 1}, {inTransit, -19900}}
	if d := cmp.Diff(want, rest.Postings); d != "" {
		t.Error(d)
	}
	s.Reversed = append(s.Reversed, rest.Postings...)
	for _, amount := range []int64{-1, 0, 1} {
		if _, err := Refund(s, "R3", amount); !errors.Is(err, ErrUnbalanced) {
			t.Errorf("%d of nothing left: %v", amount, err)
		}
	}
	failed, err := RefundFailed(s, "R2", rest.Postings)
	if err != nil {
		t.Fatal(err)
	}
	s.Reversed = append(s.Reversed, failed.Postings...)
	again, err := Refund(s, "R4", 19900)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(rest.Postings, again.Postings); d != "" {
		t.Errorf("after a failure it is another refund: %s", d)
	}
}

// Whatever parts a capture is given back in, all of them undo it to the paisa,
// and none takes more from a line than is there. money.md B27, B44
func TestRefundsUndoACapture(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.Int64Range(0, 1<<30)
		total := Total{
			TaxableMinor: part.Draw(t, "taxable") + 1, CGSTMinor: part.Draw(t, "cgst"), SGSTMinor: part.Draw(t, "sgst"),
			IGSTMinor: part.Draw(t, "igst"), RoundOffMinor: rapid.Int64Range(0, 1).Draw(t, "round off"), Currency: "INR",
		}
		if rapid.Bool().Draw(t, "short") {
			total.TaxableMinor, total.RoundOffMinor = total.TaxableMinor+1, -1
		}
		total.AmountMinor = total.TaxableMinor + total.CGSTMinor + total.SGSTMinor + total.IGSTMinor + total.RoundOffMinor
		s := source(t, total)
		left := total.AmountMinor
		for left > 0 {
			amount := rapid.Int64Range(1, left).Draw(t, "amount")
			if rapid.IntRange(0, 3).Draw(t, "all") == 0 {
				amount = left
			}
			j, err := Refund(s, "R", amount)
			if err != nil {
				t.Fatal(err)
			}
			s.Reversed = append(s.Reversed, j.Postings...)
			left -= amount
			if rapid.IntRange(0, 4).Draw(t, "fails") == 0 {
				f, err := RefundFailed(s, "R", j.Postings)
				if err != nil {
					t.Fatal(err)
				}
				s.Reversed = append(s.Reversed, f.Postings...)
				left += amount
			}
		}
		balance := map[string]int64{}
		for _, p := range append(s.Capture, s.Reversed...) {
			balance[p.Account] += p.AmountMinor
		}
		for account, b := range balance {
			switch account {
			case Clearing("phonepe"):
				if b != total.AmountMinor {
					t.Errorf("clearing holds %d", b)
				}
			case inTransit:
				if b != -total.AmountMinor {
					t.Errorf("in transit is %d", b)
				}
			default:
				if b != 0 {
					t.Errorf("%s keeps %d", account, b)
				}
			}
		}
	})
}

func TestMoves(t *testing.T) {
	s := source(t, sold)
	half := s
	half.Reversed = []Posting{{Deferred, 25339}, {CGST, 2280}, {SGST, 2280}, {Rounding, 1}, {inTransit, -29900}}
	for name, tt := range map[string]struct {
		make func() (Journal, error)
		want []Posting
	}{
		"done":           {func() (Journal, error) { return RefundDone(s, "R", 5) }, []Posting{{inTransit, 5}, {"gateway_clearing:phonepe", -5}}},
		"back":           {func() (Journal, error) { return RefundBack(s, "R", 5) }, []Posting{{"gateway_clearing:phonepe", 5}, {inTransit, -5}}},
		"held":           {func() (Journal, error) { return DisputeHeld(s, "D", 5) }, []Posting{{held, 5}, {"gateway_clearing:phonepe", -5}}},
		"released":       {func() (Journal, error) { return DisputeReleased(s, "D", 5) }, []Posting{{"gateway_clearing:phonepe", 5}, {held, -5}}},
		"lost":           {func() (Journal, error) { return DisputeLost(s, "D", 29900, 29900, false) }, []Posting{{Deferred, 25339}, {CGST, 2280}, {SGST, 2280}, {Rounding, 1}, {"gateway_clearing:phonepe", -29900}}},
		"lost, was held": {func() (Journal, error) { return DisputeLost(s, "D", 29900, 29900, true) }, []Posting{{Deferred, 25339}, {CGST, 2280}, {SGST, 2280}, {Rounding, 1}, {held, -29900}}},
		"lost after all": {func() (Journal, error) { return DisputeLost(half, "D", 29900, 0, false) }, []Posting{{chargebackLoss, 29900}, {"gateway_clearing:phonepe", -29900}}},
	} {
		t.Run(name, func(t *testing.T) {
			j, err := tt.make()
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, j.Postings); d != "" {
				t.Error(d)
			}
		})
	}
	for name, nothing := range map[string]func() (Journal, error){
		"done": func() (Journal, error) { return RefundDone(s, "R", 0) },
		"held": func() (Journal, error) { return DisputeHeld(s, "D", 0) },
		"lost": func() (Journal, error) { return DisputeLost(s, "D", 0, 5, false) },
	} {
		if _, err := nothing(); !errors.Is(err, ErrUnbalanced) {
			t.Errorf("%s of nothing: %v", name, err)
		}
	}
}
