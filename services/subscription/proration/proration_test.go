package proration_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/manas360/platform/services/subscription/proration"
)

func day(n int) time.Time { return time.Date(2027, 4, 1+n, 0, 0, 0, 0, time.UTC) }

func TestCredit(t *testing.T) {
	april := proration.Span{Start: day(0), End: day(30)}
	for name, tt := range map[string]struct {
		paid, back int64
		at         time.Time
		want       int64
	}{
		"at once":                    {29900, 0, day(0), 29900},
		"before it began":            {29900, 0, day(-3), 29900},
		"half way":                   {29900, 0, day(15), 14950},
		"one third, in their favour": {100, 0, day(10), 67},
		"the last second":            {2592000, 0, day(30).Add(-time.Second), 1},
		"half a second is not over":  {2592000, 0, day(30).Add(-500 * time.Millisecond), 1},
		"at the end":                 {29900, 0, day(30), 0},
		"after it":                   {29900, 0, day(99), 0},
		"some was given back":        {29900, 10000, day(15), 4950},
		"all was given back":         {29900, 29900, day(1), 0},
		"a refund is no debt":        {29900, -5, day(15), 14950},
		"nothing was paid":           {0, 0, day(3), 0},
		"the largest":                {1 << 62, 0, day(15), 1 << 61},
	} {
		t.Run(name, func(t *testing.T) {
			if got := april.Credit(tt.paid, tt.back, tt.at); got != tt.want {
				t.Errorf("Credit(%d, %d, %v) = %d, want %d", tt.paid, tt.back, tt.at, got, tt.want)
			}
		})
	}
}

func TestSpan(t *testing.T) {
	s := proration.Span{Start: day(0), End: day(2)}
	if s.Seconds() != 172800 {
		t.Errorf("Seconds = %d", s.Seconds())
	}
	for at, want := range map[time.Time]int64{day(-1): 172800, day(0): 172800, day(1): 86400, day(2): 0, day(3): 0} {
		if got := s.Remaining(at); got != want {
			t.Errorf("Remaining(%v) = %d, want %d", at, got, want)
		}
	}
	none := proration.Span{Start: day(1), End: day(1)}
	if got := none.Part(100, day(0), day(2)); got != 0 {
		t.Errorf("a span without length is worth %d", got)
	}
	if got := s.Part(100, day(1), day(1)); got != 0 {
		t.Errorf("no time is worth %d", got)
	}
	if got := s.Part(100, day(2), day(0)); got != 0 {
		t.Errorf("time that runs backwards is worth %d", got)
	}
}

// However a period is cut, its parts add up to its price: money.md B7.
func TestPartsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.Int64Range(1, 400*86400).Draw(t, "seconds")
		s := proration.Span{Start: day(0), End: day(0).Add(time.Duration(length) * time.Second)}
		price := rapid.Int64Range(0, 1<<40).Draw(t, "price")
		cuts := rapid.SliceOfN(rapid.Int64Range(0, length), 0, 8).Draw(t, "cuts")
		cuts = append(cuts, 0, length)
		// in order
		for i := range cuts {
			for j := i + 1; j < len(cuts); j++ {
				if cuts[j] < cuts[i] {
					cuts[i], cuts[j] = cuts[j], cuts[i]
				}
			}
		}
		var sum int64
		for i := 1; i < len(cuts); i++ {
			part := s.Part(price, s.Start.Add(time.Duration(cuts[i-1])*time.Second), s.Start.Add(time.Duration(cuts[i])*time.Second))
			if part < 0 {
				t.Fatalf("part %d is %d", i, part)
			}
			sum += part
		}
		if sum != price {
			t.Fatalf("parts add up to %d, want %d", sum, price)
		}
		at := s.Start.Add(time.Duration(cuts[len(cuts)/2]) * time.Second)
		if used, left := s.Part(price, s.Start, at), s.Credit(price, 0, at); used+left != price {
			t.Fatalf("used %d and left %d of %d", used, left, price)
		}
	})
}

// Leaving later never gives more back.
func TestCreditFalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := proration.Span{Start: day(0), End: day(rapid.IntRange(1, 366).Draw(t, "days"))}
		paid := rapid.Int64Range(0, 1<<40).Draw(t, "paid")
		a := rapid.Int64Range(-10, s.Seconds()+10).Draw(t, "a")
		b := a + rapid.Int64Range(0, 86400).Draw(t, "later")
		back := rapid.Int64Range(0, paid).Draw(t, "back")
		early := s.Credit(paid, back, s.Start.Add(time.Duration(a)*time.Second))
		late := s.Credit(paid, back, s.Start.Add(time.Duration(b)*time.Second))
		if late > early || early+back > max(paid, back) {
			t.Fatalf("early %d, late %d of %d with %d back", early, late, paid, back)
		}
	})
}
