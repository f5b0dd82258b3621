package ledger

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCapture(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   Total
		want []Posting
	}{
		{"igst", Total{AmountMinor: 29900, TaxableMinor: 25339, IGSTMinor: 4561, Currency: "INR"}, []Posting{
			{"gateway_clearing:phonepe", 29900}, {Deferred, -25339}, {IGST, -4561},
		}},
		{"cgst and sgst with a paisa over", Total{AmountMinor: 29900, TaxableMinor: 25339, CGSTMinor: 2280, SGSTMinor: 2280, RoundOffMinor: 1, Currency: "INR"}, []Posting{
			{"gateway_clearing:phonepe", 29900}, {Deferred, -25339}, {CGST, -2280}, {SGST, -2280}, {Rounding, -1},
		}},
		{"a paisa short", Total{AmountMinor: 99, TaxableMinor: 100, RoundOffMinor: -1, Currency: "INR"}, []Posting{
			{"gateway_clearing:phonepe", 99}, {Deferred, -100}, {Rounding, 1},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j, err := Capture("phonepe", "PX-1", tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, j.Postings); d != "" {
				t.Error(d)
			}
			again, err := Capture("phonepe", "PX-1", tt.in)
			if err != nil || again.ID != j.ID {
				t.Errorf("built again it is %v (%v), want %v", again.ID, err, j.ID)
			}
		})
	}
}

func TestUnbalanced(t *testing.T) {
	for _, in := range []Total{
		{},
		{AmountMinor: 100},
		{TaxableMinor: 1, RoundOffMinor: -1}, // of nothing
		{AmountMinor: 100, TaxableMinor: 99},
		{AmountMinor: -100, TaxableMinor: -100},
		{AmountMinor: 100, TaxableMinor: 200, CGSTMinor: -100},
		{AmountMinor: math.MaxInt64, TaxableMinor: math.MaxInt64, CGSTMinor: math.MaxInt64, SGSTMinor: 2},
	} {
		if j, err := Capture("phonepe", "PX-1", in); !errors.Is(err, ErrUnbalanced) {
			t.Errorf("%+v was booked as %v (%v)", in, j.Postings, err)
		}
	}
}

func TestBalanced(t *testing.T) {
	part := rapid.Int64Range(0, 1<<40)
	rapid.Check(t, func(t *rapid.T) {
		in := Total{
			TaxableMinor: part.Draw(t, "taxable"), CGSTMinor: part.Draw(t, "cgst"), SGSTMinor: part.Draw(t, "sgst"),
			IGSTMinor: part.Draw(t, "igst"), RoundOffMinor: rapid.Int64Range(-1, 1).Draw(t, "round off"), Currency: "INR",
		}
		in.AmountMinor = in.TaxableMinor + in.CGSTMinor + in.SGSTMinor + in.IGSTMinor + in.RoundOffMinor
		j, err := Capture("phonepe", "PX-1", in)
		if in.AmountMinor <= 0 {
			if err == nil {
				t.Fatal("nothing was booked")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		for _, p := range j.Postings {
			sum += p.AmountMinor
			if p.AmountMinor == 0 {
				t.Errorf("a line of nothing for %s", p.Account)
			}
		}
		if sum != 0 || j.Postings[0].AmountMinor != in.AmountMinor {
			t.Errorf("sum %d, first %v of %+v", sum, j.Postings[0], in)
		}
		off := in
		off.TaxableMinor += rapid.SampledFrom([]int64{-7, -1, 1, 13}).Draw(t, "off")
		if _, err := Capture("phonepe", "PX-1", off); err == nil {
			t.Errorf("%+v was booked", off)
		}
	})
}
