package sandbox

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestChanceRepeats shows that percentages are kept, and that a seed draws the same again.
func TestChanceRepeats(t *testing.T) {
	draw := func(seed uint64) (all []luck) {
		k := newKnobs(time.Now)
		k.set(Control{DropPercent: 5, DuplicatePercent: 30, ReorderPercent: 20, Seed: seed})
		for range 10_000 {
			all = append(all, k.draw())
		}
		return all
	}
	one := draw(1)
	if diff := cmp.Diff(one, draw(1), cmp.AllowUnexported(luck{})); diff != "" {
		t.Error(diff)
	}
	if slices.Equal(one, draw(2)) {
		t.Error("another seed draws the same")
	}
	var lost, twice, held int
	for _, l := range one {
		for n, hit := range map[*int]bool{&lost: l.lost, &twice: l.twice, &held: l.held} {
			if hit {
				*n++
			}
		}
	}
	for _, c := range []struct {
		name      string
		got, want int
	}{{"lost", lost, 500}, {"twice", twice, 3000}, {"held", held, 2000}} {
		if c.got < c.want*8/10 || c.got > c.want*12/10 {
			t.Errorf("%s: %d of 10000, want about %d", c.name, c.got, c.want)
		}
	}
}

func TestChanceRules(t *testing.T) {
	for _, c := range []struct {
		control string
		want    []string
	}{
		{`{"dropPercent":100}`, nil},
		{`{"duplicatePercent":100}`, []string{"one", "one", "two", "two"}},
		{`{"reorderPercent":100}`, []string{"two", "one"}},
	} {
		t.Run(c.control, func(t *testing.T) {
			w := open(t)
			w.control(c.control)
			w.complete(w.pay("one", 100), "SUCCESS")
			if len(c.want) == 4 { // copies of two orders come in any order
				for range 2 {
					if got := w.next().order; got != "one" {
						t.Errorf("callback for %s, want one", got)
					}
				}
				c.want = c.want[2:]
			}
			w.complete(w.pay("two", 100), "SUCCESS")
			for _, want := range c.want {
				if got := w.next().order; got != want {
					t.Errorf("callback for %s, want %s", got, want)
				}
			}
			w.quiet()
		})
	}
}

func TestLifeIsShort(t *testing.T) {
	w := open(t)
	w.control(`{"lifeMs":24000}`)
	w.pay("left", 100)
	state := func() string {
		_, got := w.call("GET", "/apis/pg-sandbox/checkout/v2/order/left/status", "", "Authorization", "O-Bearer "+w.token)
		return fmt.Sprint(got["state"])
	}
	w.clock.Add(23)
	if s := state(); s != "PENDING" {
		t.Errorf("after 23 s it is %s", s)
	}
	w.clock.Add(2)
	if s := state(); s != "FAILED" {
		t.Errorf("after 25 s it is %s", s)
	}
}
