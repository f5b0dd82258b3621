package lifecycle_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	. "github.com/manas360/platform/services/subscription/lifecycle"
)

var (
	start = time.Date(2027, 1, 31, 18, 30, 0, 0, time.UTC)
	end   = start.Add(28 * 24 * time.Hour)
	next  = end.Add(31 * 24 * time.Hour)
	mid   = start.Add(14 * 24 * time.Hour)
)

var (
	states = []State{Pending, Trialing, Active, PastDue, Grace, Paused, Expired, Cancelled}
	facts  = []Fact{Captured, Lapsed, Renewal, Declined, MandateLost, Refunded, Superseded, Tick, CancelAtEnd, CancelNow, Keep, Pause, Resume}
)

// of is a subscription of a state in the middle of its period.
func of(state State) Subscription {
	s := Subscription{State: state, Ends: end, PaidUntil: end}
	switch state { //nolint:exhaustive // the rest has nothing more
	case PastDue, Grace:
		s.AutoRenew, s.UnpaidUntil = true, end.Add(72*time.Hour)
	case Paused:
		s.Banked, s.PausedUntil = 14*24*time.Hour, mid.Add(PauseFor)
	case Trialing:
		s.PaidUntil = time.Time{}
	}
	return s
}

// Every state meets every fact: what changes, what is to be done, what is
// refused. What is not listed changes nothing and is taken, or, for a wish,
// refused.
func TestEveryStateMeetsEveryFact(t *testing.T) {
	type result struct {
		to      State
		effects []Effect
	}
	free, grant, back := []Effect{Free}, []Effect{Grant}, []Effect{GiveBack}
	want := map[State]map[Fact]result{
		Pending: {Captured: {Active, []Effect{Advance, Grant}}, Lapsed: {Expired, nil}, Renewal: {Pending, back}},
		Trialing: {
			Captured: {Trialing, back}, Renewal: {Trialing, back}, Refunded: {Cancelled, free}, Superseded: {Cancelled, nil},
			CancelAtEnd: {Trialing, nil}, CancelNow: {Cancelled, free},
		},
		Active: {
			Captured: {Active, back}, Renewal: {Active, grant}, Refunded: {Cancelled, free}, Superseded: {Cancelled, nil},
			CancelAtEnd: {Active, nil}, CancelNow: {Cancelled, free}, Pause: {Paused, grant}, MandateLost: {Active, grant},
		},
		PastDue: {
			Captured: {PastDue, back}, Renewal: {Active, []Effect{Advance, Grant}}, Declined: {Grace, nil}, Refunded: {Cancelled, free},
			Superseded: {Cancelled, nil}, CancelAtEnd: {Cancelled, free}, CancelNow: {Cancelled, free},
		},
		Grace: {
			Captured: {Grace, back}, Renewal: {Active, []Effect{Advance, Grant}}, Refunded: {Cancelled, free},
			Superseded: {Cancelled, nil}, CancelAtEnd: {Cancelled, free}, CancelNow: {Cancelled, free},
		},
		Paused: {
			Captured: {Paused, back}, Renewal: {Paused, []Effect{Advance}}, Refunded: {Cancelled, free}, Superseded: {Cancelled, nil},
			CancelNow: {Cancelled, free}, Resume: {Active, grant},
		},
		Expired:   {Captured: {Expired, back}, Renewal: {Expired, back}},
		Cancelled: {Captured: {Cancelled, back}, Renewal: {Cancelled, back}},
	}
	wishes := []Fact{CancelAtEnd, CancelNow, Keep, Pause, Resume}
	for _, state := range states {
		for _, fact := range facts {
			t.Run(string(state)+" "+string(fact), func(t *testing.T) {
				s := of(state)
				if fact == Renewal {
					s.PaidUntil = next
				}
				after, effects, ok := Next(s, fact, mid)
				w, listed := want[state][fact]
				if !listed {
					w = result{state, nil}
				}
				if wantOK := listed || !slices.Contains(wishes, fact); ok != wantOK {
					t.Fatalf("ok = %v, want %v", ok, wantOK)
				}
				if after.State != w.to || !slices.Equal(effects, w.effects) {
					t.Errorf("to %s with %v, want %s with %v", after.State, effects, w.to, w.effects)
				}
				if !ok && after != s {
					t.Errorf("a refused wish changed it: %s", cmp.Diff(s, after))
				}
			})
		}
	}
}

func step(t *testing.T, s Subscription, f Fact, at time.Time) (Subscription, []Effect) {
	t.Helper()
	after, effects, ok := Next(s, f, at)
	if !ok {
		t.Fatalf("%s refused in %s", f, s.State)
	}
	return after, effects
}

// What time does, to the nanosecond: money.md B51.
func TestTime(t *testing.T) {
	auto := of(Active)
	auto.AutoRenew = true
	declined := auto
	declined.Declined = true
	leaving := auto
	leaving.CancelAtEnd = true
	paid := of(Active)
	paid.PaidUntil = next
	trial := of(Trialing)
	trialLeft := trial
	trialLeft.CancelAtEnd = true
	lifetime := Subscription{State: Active}
	for name, tt := range map[string]struct {
		s       Subscription
		at      time.Time
		want    State
		effects []Effect
		until   time.Time // access, afterwards
	}{
		"before the end":                    {of(Active), end.Add(-1), Active, nil, end},
		"the end":                           {of(Active), end, Expired, []Effect{Free}, time.Time{}},
		"paid ahead":                        {paid, end, Active, []Effect{Advance}, next},
		"paid ahead, and over":              {paid, next, Expired, []Effect{Advance, Free}, time.Time{}},
		"renews by itself":                  {auto, end, PastDue, nil, end.Add(PastDueFor + GraceFor)},
		"nobody answers":                    {auto, end.Add(PastDueFor), Grace, nil, end.Add(PastDueFor + GraceFor)},
		"nobody answers at all":             {auto, end.Add(PastDueFor + GraceFor), Expired, []Effect{Free}, time.Time{}},
		"the charge had failed":             {declined, end, Grace, nil, end.Add(GraceFor)},
		"the charge had failed, and is out": {declined, end.Add(GraceFor), Expired, []Effect{Free}, time.Time{}},
		"wanted to leave":                   {leaving, end, Cancelled, []Effect{Free}, time.Time{}},
		"a trial":                           {trial, end.Add(-1), Trialing, nil, end},
		"a trial is over":                   {trial, end, Expired, []Effect{Free}, time.Time{}},
		"a trial was cancelled":             {trialLeft, end, Cancelled, []Effect{Free}, time.Time{}},
		"a pause":                           {of(Paused), mid.Add(PauseFor - 1), Paused, nil, time.Time{}},
		"a pause is over":                   {of(Paused), mid.Add(PauseFor), Active, []Effect{Grant}, mid.Add(PauseFor + 14*24*time.Hour)},
		"a pause long over":                 {of(Paused), mid.Add(2 * PauseFor), Expired, []Effect{Grant, Free}, time.Time{}},
		"for life":                          {lifetime, next.AddDate(100, 0, 0), Active, nil, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			after, effects := step(t, tt.s, Tick, tt.at)
			if after.State != tt.want || !slices.Equal(effects, tt.effects) {
				t.Errorf("%s with %v, want %s with %v", after.State, effects, tt.want, tt.effects)
			}
			if until, _ := AccessUntil(after); !until.Equal(tt.until) {
				t.Errorf("access until %v, want %v", until, tt.until)
			}
		})
	}
	if _, forever := AccessUntil(lifetime); !forever {
		t.Error("a lifetime ends")
	}
	if _, forever := AccessUntil(of(Active)); forever {
		t.Error("a month lasts for ever")
	}
	for state, due := range map[State]time.Time{Pending: {}, Active: end, Trialing: end, PastDue: end.Add(72 * time.Hour), Paused: mid.Add(PauseFor), Expired: {}, Cancelled: {}} {
		if got := Due(of(state)); !got.Equal(due) {
			t.Errorf("%s is due at %v, want %v", state, got, due)
		}
	}
}

// A bound on access holds before the end is reached, whatever renews.
func TestAccessUntil(t *testing.T) {
	auto := of(Active)
	auto.AutoRenew = true
	if until, _ := AccessUntil(auto); !until.Equal(end.Add(PastDueFor + GraceFor)) {
		t.Errorf("renews by itself: %v", until)
	}
	auto.Declined = true
	if until, _ := AccessUntil(auto); !until.Equal(end.Add(GraceFor)) {
		t.Errorf("declined: %v", until)
	}
	auto.CancelAtEnd = true
	if until, _ := AccessUntil(auto); !until.Equal(end) {
		t.Errorf("leaving: %v", until)
	}
}

func TestCancelAndKeep(t *testing.T) {
	s, _ := step(t, of(Active), CancelAtEnd, mid)
	if !s.CancelAtEnd {
		t.Fatal("not noted")
	}
	s, effects := step(t, s, Keep, mid)
	if s.CancelAtEnd || effects != nil {
		t.Errorf("kept: %+v %v", s, effects)
	}
	auto := of(Active)
	auto.AutoRenew = true
	auto, effects = step(t, auto, CancelAtEnd, mid)
	if !slices.Equal(effects, []Effect{Grant}) { // it no longer reaches past its period
		t.Errorf("effects = %v", effects)
	}
	if _, effects = step(t, auto, Keep, mid); !slices.Equal(effects, []Effect{Grant}) {
		t.Errorf("effects = %v", effects)
	}
	if _, _, ok := Next(Subscription{State: Active}, CancelAtEnd, mid); ok {
		t.Error("what never ends has no end to cancel at")
	}
	if _, _, ok := Next(of(Active), Pause, end); ok {
		t.Error("there is nothing left to pause")
	}
	over := of(Cancelled)
	over.CancelAtEnd = true
	if _, _, ok := Next(over, Keep, mid); ok {
		t.Error("what has ended is kept")
	}
}

// A pause keeps the remaining time to the nanosecond.
func TestPauseKeepsTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := of(Active)
		if rapid.Bool().Draw(t, "paid ahead") {
			s.PaidUntil = next
		}
		at := start
		for s.State == Active && len(s.State) > 0 {
			at = at.Add(time.Duration(rapid.Int64Range(1, int64(20*24*time.Hour)).Draw(t, "used")))
			left := s.PaidUntil.Sub(at)
			paused, _, ok := Next(s, Pause, at)
			if !ok {
				if left > 0 {
					t.Fatalf("refused with %v left", left)
				}
				return
			}
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(PauseFor)-1).Draw(t, "paused")))
			back, _, ok := Next(paused, Resume, at)
			if !ok || back.PaidUntil.Sub(at) != left || !back.Ends.Equal(back.PaidUntil) || back.Banked != 0 || !back.PausedUntil.IsZero() {
				t.Fatalf("%v left before, after: %+v", left, back)
			}
			s = back
		}
	})
}

func TestRenewalWhilePausedIsBanked(t *testing.T) {
	s := of(Paused)
	s.PaidUntil = next
	s, _ = step(t, s, Renewal, mid)
	if want := 14*24*time.Hour + next.Sub(end); s.Banked != want || !s.Ends.Equal(next) {
		t.Errorf("banked %v until %v, want %v", s.Banked, s.Ends, want)
	}
}

func TestDunning(t *testing.T) {
	s := of(Active)
	s.AutoRenew = true
	s, _ = step(t, s, Declined, mid)
	if !s.Declined || s.State != Active {
		t.Fatalf("declined early: %+v", s)
	}
	paid := s
	paid.PaidUntil = next
	if paid, _ = step(t, paid, Renewal, mid); paid.Declined {
		t.Error("paid, and still declined")
	}
	s, _ = step(t, of(PastDue), Declined, end.Add(time.Hour))
	if s.State != Grace || !s.UnpaidUntil.Equal(end.Add(time.Hour+GraceFor)) {
		t.Errorf("declined late: %+v", s)
	}
	s.PaidUntil = next
	s, _ = step(t, s, Renewal, end.Add(2*time.Hour))
	if s.State != Active || !s.Ends.Equal(next) || !s.UnpaidUntil.IsZero() { // the anchor is kept: no day is given away or lost
		t.Errorf("paid in grace: %+v", s)
	}
	lost, _ := step(t, of(PastDue), MandateLost, end)
	if lost.AutoRenew || lost.State != PastDue {
		t.Errorf("mandate lost: %+v", lost)
	}
}

// anySubscription draws one that the service could have written.
func anySubscription(t *rapid.T) Subscription {
	s := of(rapid.SampledFrom(states).Draw(t, "state"))
	s.AutoRenew = s.AutoRenew || rapid.Bool().Draw(t, "auto")
	s.CancelAtEnd = rapid.Bool().Draw(t, "leaving")
	s.Declined = rapid.Bool().Draw(t, "declined")
	if s.State == Active && rapid.Bool().Draw(t, "ahead") {
		s.PaidUntil = next
	}
	return s
}

func anyTime(t *rapid.T, label string) time.Time {
	edges := []time.Time{start, mid, end, next, end.Add(PastDueFor), end.Add(GraceFor), end.Add(PastDueFor + GraceFor), mid.Add(PauseFor)}
	at := rapid.SampledFrom(edges).Draw(t, label)
	return at.Add(time.Duration(rapid.SampledFrom([]int64{-1, 0, 1, int64(time.Hour), int64(200 * 24 * time.Hour)}).Draw(t, label+" off")))
}

// A job that slept decides as one that did not: money.md B9. And the bound that
// was given for access is kept by whatever time does.
func TestTimeInSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySubscription(t)
		a, b := anyTime(t, "a"), anyTime(t, "b")
		if b.Before(a) {
			a, b = b, a
		}
		first, e1, _ := Next(s, Tick, a)
		second, e2, _ := Next(first, Tick, b)
		whole, e, _ := Next(s, Tick, b)
		if second != whole || !slices.Equal(append(e1, e2...), e) {
			t.Fatalf("in steps %+v, at once %+v", second, whole)
		}
		again, none, _ := Next(whole, Tick, b)
		if again != whole || none != nil {
			t.Fatalf("the same instant again: %v", none)
		}
		bound, _ := AccessUntil(s)
		after, _ := AccessUntil(whole)
		if s.State != Paused && !bound.IsZero() && !b.Before(bound) && b.Before(after) {
			t.Fatalf("access at %v, promised to end at %v", b, bound)
		}
	})
}

// Whatever happens in whatever order, what has ended stays ended, and money for
// it goes back.
func TestFinalIsFinal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, at := anySubscription(t), start
		for range rapid.IntRange(1, 30).Draw(t, "facts") {
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(10*24*time.Hour)).Draw(t, "passes")))
			f := rapid.SampledFrom(facts).Draw(t, "fact")
			before := s
			if f == Renewal && s.State.Live() && !s.Ends.IsZero() {
				s.PaidUntil = s.Ends.Add(30 * 24 * time.Hour)
			}
			after, effects, _ := Next(s, f, at)
			if !before.State.Live() && before.State != Pending {
				if after.State != before.State {
					t.Fatalf("%s became %s by %s", before.State, after.State, f)
				}
				if (f == Renewal || f == Captured) != slices.Equal(effects, []Effect{GiveBack}) {
					t.Fatalf("%s in %s has effects %v", f, before.State, effects)
				}
			}
			if slices.Contains(effects, Free) == after.State.Live() && slices.Contains(effects, Free) {
				t.Fatalf("%s gives Free to %s", f, after.State)
			}
			s = after
		}
	})
}
