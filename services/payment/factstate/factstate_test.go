package factstate

import (
	"testing"

	"pgregory.net/rapid"
)

var (
	facts  = []Fact{Unknown, Opened, Lapsed, Declined, Captured}
	states = []State{Created, Pending, Cancelled, Expired, Failed, Succeeded, PartiallyRefunded, Refunded}
)

// meaning is what a set of facts comes to, said without order.
func meaning(seq []Fact) State {
	has := map[Fact]bool{}
	for _, f := range seq {
		has[f] = true
	}
	switch {
	case has[Captured]:
		return Succeeded
	case has[Declined]:
		return Failed
	case has[Lapsed]:
		return Expired
	case has[Opened]:
		return Pending
	default:
		return Created
	}
}

// TestEveryOrder walks each sequence of up to six facts: every order and every
// number of repetitions of every set.
func TestEveryOrder(t *testing.T) {
	var walk func(s State, seq []Fact)
	n := 0
	walk = func(s State, seq []Fact) {
		n++
		if want := meaning(seq); s != want {
			t.Fatalf("after %v: %s, want %s", seq, s, want)
		}
		if len(seq) == 6 {
			return
		}
		for _, f := range facts {
			walk(Next(s, f), append(seq[:len(seq):len(seq)], f))
		}
	}
	walk(Created, nil)
	if want := 19531; n != want { // 5^0 + … + 5^6
		t.Errorf("walked %d sequences, want %d", n, want)
	}
}

func TestNeverBack(t *testing.T) {
	for _, s := range states {
		for _, f := range facts {
			to := Next(s, f)
			if rank[to] < rank[s] {
				t.Errorf("%s fell to %s by %s", s, to, f)
			}
			if s.Paid() && !to.Paid() {
				t.Errorf("%s forgot its money by %s", s, f)
			}
			if f == Unknown && to != s {
				t.Errorf("%s moved to %s by an answer that says nothing", s, to)
			}
		}
	}
	if got := Next("SOMETHING", Captured); got != "SOMETHING" {
		t.Errorf("a state we do not know became %s", got)
	}
	if got := Next(Failed, Captured); got != Succeeded {
		t.Errorf("late money was dropped: %s", got)
	}
}

func TestShuffled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.SampledFrom(states).Draw(t, "from")
		seq := rapid.SliceOfN(rapid.SampledFrom(facts), 0, 20).Draw(t, "facts")
		again := rapid.Permutation(append(seq, seq...)).Draw(t, "again")
		a, b := from, from
		for _, f := range seq {
			a = Next(a, f)
		}
		for _, f := range again {
			b = Next(b, f)
		}
		if a != b {
			t.Fatalf("%v from %s gives %s, shuffled and doubled %s", seq, from, a, b)
		}
	})
}
