package ledger

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSettlement(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   Settled
		want []Posting
	}{
		{"a capture less the fee", Settled{MovedIn, 29900, 598, 108, 29194, "INR"}, []Posting{
			{bank, 29194}, {gatewayFees, 598}, {inputCredit, 108}, {"gateway_clearing:phonepe", -29900},
		}},
		{"a refund", Settled{MovedBack, 10000, 0, 0, -10000, "INR"}, []Posting{{bank, -10000}, {"gateway_clearing:phonepe", 10000}}},
		{"a chargeback with its fee", Settled{Charged, 10000, 500, 90, -10590, "INR"}, []Posting{
			{bank, -10590}, {gatewayFees, 500}, {inputCredit, 90}, {"gateway_clearing:phonepe", 10000},
		}},
		{"a dispute won", Settled{Reinstated, 10000, 0, 0, 10000, "INR"}, []Posting{{bank, 10000}, {"gateway_clearing:phonepe", -10000}}},
		{"all of it a fee", Settled{MovedIn, 100, 90, 10, 0, "INR"}, []Posting{
			{gatewayFees, 90}, {inputCredit, 10}, {"gateway_clearing:phonepe", -100},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j, err := Settlement("phonepe", "T1", tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, j.Postings); d != "" {
				t.Error(d)
			}
		})
	}
	for _, in := range []Settled{
		{},
		{MovedIn, 29900, 598, 108, 29195, "INR"}, // a paisa from nowhere
		{MovedIn, -29900, 0, 0, -29900, "INR"},
		{MovedIn, 100, -1, 0, 101, "INR"},
		{MovedBack, 100, 0, 0, 100, "INR"},
		{MovedIn, 0, 5, 0, -5, "INR"}, // of nothing
	} {
		if _, err := Settlement("phonepe", "T1", in); !errors.Is(err, ErrUnbalanced) {
			t.Errorf("%+v: %v", in, err)
		}
	}
	a, _ := Settlement("phonepe", "T1", Settled{MovedIn, 100, 0, 0, 100, "INR"})
	b, _ := Settlement("phonepe", "T1", Settled{MovedBack, 100, 0, 0, -100, "INR"})
	if a.Ref == b.Ref || a.ID == b.ID {
		t.Error("two movements of one transaction are booked under one name")
	}
}
