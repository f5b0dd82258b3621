package factstate_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	. "github.com/manas360/platform/services/payment/factstate"
)

type told struct {
	name string
	what Money
}

// What providers say of one payment of 100.00 in its life.
var life = []told{
	{"opened", OfOrder(Opened, 0)},
	{"declined", OfOrder(Declined, 0)},
	{"captured late", OfOrder(Captured, 10000)},
	{"a part is refunded", OfReturn("r1", Return{RefundDone, 4000})},
	{"another refund is under way", OfReturn("r2", Return{RefundPending, 3000})},
	{"and fails", OfReturn("r2", Return{RefundFailed, 3000})},
	{"a dispute is lost", OfReturn("d1", Return{DisputeLost, 1000})},
}

func permute(n int, visit func([]int)) {
	order := make([]int, 0, n)
	used := make([]bool, n)
	var next func()
	next = func() {
		if len(order) == n {
			visit(order)
			return
		}
		for i := range n {
			if !used[i] {
				used[i] = true
				order = append(order, i)
				next()
				order = order[:len(order)-1]
				used[i] = false
			}
		}
	}
	next()
}

// Seven facts in each of their 5,040 orders, each of them told twice as well at
// any later time, end in one state. money.md M4, B34, B39
func TestEveryOrderConverges(t *testing.T) {
	orders := 0
	permute(len(life), func(order []int) {
		for twice := range order {
			orders++
			var m Money
			for _, i := range order {
				m = m.Join(life[i].what)
			}
			m = m.Join(life[twice].what)
			if m.State() != PartiallyRefunded || m.Returned() != 5000 {
				t.Fatalf("%v, then %d again: %s, %d returned", order, twice, m.State(), m.Returned())
			}
		}
	})
	if orders != 5040*7 {
		t.Errorf("%d orders, want %d", orders, 5040*7)
	}
}

// Any multiset of up to seven facts converges, whatever they are.
func TestAnyFactsConverge(t *testing.T) {
	fact := rapid.Custom(func(t *rapid.T) Money {
		if rapid.Bool().Draw(t, "order") {
			f := rapid.SampledFrom([]Fact{Unknown, Opened, Lapsed, Declined, Captured}).Draw(t, "fact")
			return OfOrder(f, 10000)
		}
		if rapid.Bool().Draw(t, "refund") {
			p := rapid.SampledFrom([]Phase{RefundPending, RefundDone, RefundFailed}).Draw(t, "phase")
			return OfReturn(rapid.SampledFrom([]string{"r1", "r2"}).Draw(t, "id"), Return{p, rapid.Int64Range(1, 10000).Draw(t, "minor")})
		}
		p := rapid.SampledFrom([]Phase{DisputeOpened, DisputeWon, DisputeLost}).Draw(t, "phase")
		return OfReturn("d1", Return{p, rapid.Int64Range(1, 10000).Draw(t, "minor")})
	})
	rapid.Check(t, func(t *rapid.T) {
		facts := rapid.SliceOfN(fact, 1, 7).Draw(t, "facts")
		show := func(m Money) string { return fmt.Sprint(m.State(), m.Returned()) }
		var want Money
		for _, f := range facts {
			want = want.Join(f)
		}
		shuffled := rapid.Permutation(append(facts, facts...)).Draw(t, "shuffled")
		var got Money
		for _, f := range shuffled {
			before := got
			got = got.Join(f)
			if show(got.Join(before)) != show(got) {
				t.Fatal("it forgot what it knew")
			}
		}
		if show(got) != show(want) {
			t.Fatalf("%s, want %s", show(got), show(want))
		}
		half := len(facts) / 2
		var left, right Money
		for _, f := range facts[:half] {
			left = left.Join(f)
		}
		for _, f := range facts[half:] {
			right = right.Join(f)
		}
		if show(right.Join(left)) != show(want) {
			t.Fatal("what two know is not what both know")
		}
		if got.Returned() < 0 || got.Returned() > 10000 {
			t.Fatalf("%d of 10000 went back", got.Returned())
		}
	})
}

func TestMoney(t *testing.T) {
	captured := OfOrder(Captured, 10000)
	for name, tt := range map[string]struct {
		told []Money
		want State
		back int64
	}{
		"nothing":                    {nil, Created, 0},
		"an unknown fact":            {[]Money{OfOrder(Unknown, 0)}, Created, 0},
		"opened":                     {[]Money{OfOrder(Opened, 0)}, Pending, 0},
		"lapsed":                     {[]Money{OfOrder(Lapsed, 0)}, Expired, 0},
		"declined":                   {[]Money{OfOrder(Declined, 10000)}, Failed, 0},
		"captured":                   {[]Money{captured}, Succeeded, 0},
		"failed, then captured":      {[]Money{OfOrder(Declined, 0), captured}, Succeeded, 0},
		"a refund under way":         {[]Money{captured, OfReturn("r", Return{RefundPending, 10000})}, Succeeded, 0},
		"a part back":                {[]Money{captured, OfReturn("r", Return{RefundDone, 9999})}, PartiallyRefunded, 9999},
		"all back":                   {[]Money{captured, OfReturn("r", Return{RefundDone, 10000})}, Refunded, 10000},
		"all back in two":            {[]Money{captured, OfReturn("r", Return{RefundDone, 6000}), OfReturn("s", Return{RefundDone, 4000})}, Refunded, 10000},
		"back, and it came back":     {[]Money{captured, OfReturn("r", Return{RefundDone, 10000}), OfReturn("r", Return{RefundFailed, 10000})}, Succeeded, 0},
		"a refund before its money":  {[]Money{OfReturn("r", Return{RefundDone, 10000})}, Created, 0},
		"a dispute":                  {[]Money{captured, OfReturn("d", Return{DisputeOpened, 10000})}, Succeeded, 0},
		"a dispute won":              {[]Money{captured, OfReturn("d", Return{DisputeOpened, 10000}), OfReturn("d", Return{DisputeWon, 10000})}, Succeeded, 0},
		"a dispute lost":             {[]Money{captured, OfReturn("d", Return{DisputeLost, 10000})}, Refunded, 10000},
		"refunded and disputed, too": {[]Money{captured, OfReturn("r", Return{RefundDone, 10000}), OfReturn("d", Return{DisputeLost, 10000})}, Refunded, 10000},
	} {
		var m Money
		for _, f := range tt.told {
			m = m.Join(f)
		}
		if m.State() != tt.want || m.Returned() != tt.back {
			t.Errorf("%s: %s and %d back, want %s and %d", name, m.State(), m.Returned(), tt.want, tt.back)
		}
	}
}
