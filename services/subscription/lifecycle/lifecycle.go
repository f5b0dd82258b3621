// Package lifecycle decides what becomes of a subscription when something
// happens to it or time passes. It is a table in code: no clock, no database,
// no money of its own. What the service writes, shows and charges follows it.
package lifecycle

import (
	"slices"
	"time"
)

// State of a subscription, as the contract names it.
type State string

// The states. EXPIRED and CANCELLED are final.
const (
	Pending   State = "PENDING"
	Trialing  State = "TRIALING"
	Active    State = "ACTIVE"
	PastDue   State = "PAST_DUE"
	Grace     State = "GRACE"
	Paused    State = "PAUSED"
	Expired   State = "EXPIRED"
	Cancelled State = "CANCELLED"
)

// Live reports whether s holds its user's one place.
func (s State) Live() bool {
	return slices.Contains([]State{Trialing, Active, PastDue, Grace, Paused}, s)
}

// How long an unpaid renewal leaves access, from domain.md 6: the debit and its
// three repeats take up to 48 hours off the bank's peak, a day is for answers
// that are late, then come 48 + 30 hours of grace.
const (
	PastDueFor = 72 * time.Hour
	GraceFor   = 78 * time.Hour
	PauseFor   = 90 * 24 * time.Hour // then it goes on by itself
)

// Subscription is what a decision looks at. A zero time is none: a zero Ends
// never ends.
type Subscription struct {
	State       State
	Ends        time.Time     // end of the running period, or of the trial
	PaidUntil   time.Time     // end of the last period that is paid; Ends or later
	AutoRenew   bool          // there is a mandate to debit
	CancelAtEnd bool          // its user does not want another period
	Declined    bool          // the charge for the next period has failed for good
	UnpaidUntil time.Time     // end of PAST_DUE or GRACE
	PausedUntil time.Time     // when a pause ends by itself
	Banked      time.Duration // paid time that a pause keeps
}

// Fact is what happened.
type Fact string

// Facts of the world are never refused; those that come too late have the
// effects of lateness. Wishes of people are refused where they make no sense.
const (
	Captured    Fact = "captured"     // the first payment arrived
	Lapsed      Fact = "lapsed"       // the first payment will not arrive
	Renewal     Fact = "renewal"      // money for the next period; PaidUntil is given with it
	Declined    Fact = "declined"     // the charge for the next period failed for good
	MandateLost Fact = "mandate lost" // nothing can be debited any more
	Refunded    Fact = "refunded"     // all money of the running period went back
	Superseded  Fact = "superseded"   // another subscription takes its place
	Tick        Fact = "tick"         // time passed

	CancelAtEnd Fact = "cancel at end"
	CancelNow   Fact = "cancel now"
	Keep        Fact = "keep" // takes CancelAtEnd back
	Pause       Fact = "pause"
	Resume      Fact = "resume"
)

// Effect is what the caller has to do with a decision, in its transaction.
type Effect string

// The effects.
const (
	Advance  Effect = "advance"   // the paid period that follows begins
	Grant    Effect = "grant"     // access has changed: write the entitlements
	Free     Effect = "free"      // nothing is left: give Free
	GiveBack Effect = "give back" // return the money that came too late
)

// Next gives the subscription after a fact at an instant, and what has to be
// done. Time is not applied first: a caller does that with a Tick. ok is false
// for a wish that the state does not allow; nothing changes then.
func Next(s Subscription, f Fact, now time.Time) (after Subscription, effects []Effect, ok bool) {
	switch f {
	case Captured:
		if s.State != Pending {
			return s, []Effect{GiveBack}, true
		}
		s.State = Active
		return s, []Effect{Advance, Grant}, true
	case Lapsed:
		if s.State == Pending {
			s.State = Expired
		}
		return s, nil, true
	case Renewal:
		return renewed(s)
	case Declined:
		return declined(s, now), nil, true
	case MandateLost:
		s.AutoRenew = false
		return s, grantIf(s.State == Active), true
	case Refunded:
		return ended(s, Cancelled)
	case Superseded:
		if !s.State.Live() {
			return s, nil, true
		}
		s.State = Cancelled
		return s, nil, true
	case Tick:
		s, effects = tick(s, now)
		return s, effects, true
	default:
		return wish(s, f, now)
	}
}

// wish is what a person asks for.
func wish(s Subscription, f Fact, now time.Time) (Subscription, []Effect, bool) {
	unpaid := s.State == PastDue || s.State == Grace
	switch {
	case f == CancelNow && s.State.Live(), f == CancelAtEnd && unpaid: // whose period is over already
		return ended(s, Cancelled)
	case f == CancelAtEnd && (s.State == Active || s.State == Trialing) && !s.Ends.IsZero():
		s.CancelAtEnd = true
		return s, grantIf(s.AutoRenew), true
	case f == Keep && s.CancelAtEnd && s.State.Live():
		s.CancelAtEnd = false
		return s, grantIf(s.AutoRenew), true
	case f == Pause && s.State == Active && s.PaidUntil.After(now):
		s.State, s.Banked, s.PausedUntil = Paused, s.PaidUntil.Sub(now), now.Add(PauseFor)
		return s, []Effect{Grant}, true
	case f == Resume && s.State == Paused:
		return resumed(s, now), []Effect{Grant}, true
	default:
		return s, nil, false
	}
}

// renewed takes money for another period, of which the caller has put the end
// into PaidUntil.
func renewed(s Subscription) (Subscription, []Effect, bool) {
	s.Declined = false
	switch s.State {
	case Active: // it begins when the running one is over
		return s, []Effect{Grant}, true
	case PastDue, Grace:
		s.State, s.Ends, s.UnpaidUntil = Active, s.PaidUntil, time.Time{}
		return s, []Effect{Advance, Grant}, true
	case Paused:
		s.Banked += s.PaidUntil.Sub(s.Ends)
		s.Ends = s.PaidUntil
		return s, []Effect{Advance}, true
	default:
		return s, []Effect{GiveBack}, true
	}
}

func declined(s Subscription, now time.Time) Subscription {
	switch s.State { //nolint:exhaustive // nothing else waits for that money
	case Active:
		s.Declined = true
	case PastDue:
		s.State, s.UnpaidUntil = Grace, now.Add(GraceFor)
	}
	return s
}

func ended(s Subscription, to State) (Subscription, []Effect, bool) {
	if !s.State.Live() {
		return s, nil, true
	}
	s.State = to
	return s, []Effect{Free}, true
}

func resumed(s Subscription, now time.Time) Subscription {
	s.State, s.Ends, s.PaidUntil = Active, now.Add(s.Banked), now.Add(s.Banked)
	s.Banked, s.PausedUntil = 0, time.Time{}
	return s
}

// tick applies all that an instant has made due, in the order in which it
// became so: a job that slept for a year decides as one that never slept.
func tick(s Subscription, now time.Time) (Subscription, []Effect) {
	var effects []Effect
	for {
		at := Due(s)
		if at.IsZero() || now.Before(at) {
			return s, effects
		}
		var more []Effect
		s, more = turn(s, at)
		effects = append(effects, more...)
	}
}

// Due gives the instant at which time alone changes s; zero is never.
func Due(s Subscription) time.Time {
	switch s.State {
	case Trialing, Active:
		return s.Ends
	case PastDue, Grace:
		return s.UnpaidUntil
	case Paused:
		return s.PausedUntil
	default:
		return time.Time{}
	}
}

// turn is what happens at that instant.
func turn(s Subscription, at time.Time) (Subscription, []Effect) {
	switch {
	case s.State == Paused:
		return resumed(s, at), []Effect{Grant}
	case s.State == PastDue:
		s.State, s.UnpaidUntil = Grace, at.Add(GraceFor)
		return s, nil
	case s.State == Active && s.PaidUntil.After(s.Ends):
		s.Ends = s.PaidUntil
		return s, []Effect{Advance}
	case s.State != Grace && s.CancelAtEnd:
		s.State = Cancelled
		return s, []Effect{Free}
	case s.State == Active && s.AutoRenew && s.Declined:
		s.State, s.UnpaidUntil = Grace, at.Add(GraceFor)
		return s, nil
	case s.State == Active && s.AutoRenew:
		s.State, s.UnpaidUntil = PastDue, at.Add(PastDueFor)
		return s, nil
	default:
		s.State = Expired
		return s, []Effect{Free}
	}
}

// AccessUntil gives the end of what s lets its user do, if nothing else
// happens; forever means that it has none. Both zero is no access at all. It is
// a bound that holds without any job: an unpaid renewal stays inside it.
func AccessUntil(s Subscription) (end time.Time, forever bool) {
	switch s.State {
	case Trialing:
		return s.Ends, false
	case Active:
		switch {
		case s.Ends.IsZero():
			return time.Time{}, true
		case !s.AutoRenew || s.CancelAtEnd:
			return s.PaidUntil, false
		case s.Declined:
			return s.PaidUntil.Add(GraceFor), false
		default:
			return s.PaidUntil.Add(PastDueFor + GraceFor), false
		}
	case PastDue:
		return s.UnpaidUntil.Add(GraceFor), false
	case Grace:
		return s.UnpaidUntil, false
	default:
		return time.Time{}, false
	}
}

func grantIf(changed bool) []Effect {
	if changed {
		return []Effect{Grant}
	}
	return nil
}
