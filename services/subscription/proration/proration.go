// Package proration shares a price over the time it was paid for. Integers
// only, in minor units and whole seconds; no clock, no database.
package proration

import (
	"math/big"
	"time"
)

// Span is the whole of a paid period, never what a change left of it: shares
// measured from a clamped start charge a part as if it were the whole.
type Span struct {
	Start, End time.Time // half-open
}

// Seconds gives the length.
func (s Span) Seconds() int64 { return int64(s.End.Sub(s.Start) / time.Second) }

// Remaining gives the seconds that are left at an instant, none after the end
// and all before the start.
func (s Span) Remaining(at time.Time) int64 {
	return min(s.Seconds(), max(0, s.Seconds()-int64(at.Sub(s.Start)/time.Second)))
}

// Part gives the share of price that falls on [from, to) of the span. Shares
// are differences of running sums, so however a period is cut, its parts add up
// to the price exactly. What lies outside the span weighs nothing; so does
// everything in a span without length.
func (s Span) Part(price int64, from, to time.Time) int64 {
	if s.Seconds() <= 0 || !from.Before(to) {
		return 0
	}
	return s.until(price, to) - s.until(price, from)
}

// until gives the share of price used up at an instant, rounded down.
func (s Span) until(price int64, at time.Time) int64 {
	used := big.NewInt(s.Seconds() - s.Remaining(at))
	used.Mul(used, big.NewInt(price)).Div(used, big.NewInt(s.Seconds()))
	return used.Int64() // at most price
}

// Credit gives what a customer who leaves the span at an instant gets back of
// what was paid for it: the unused part, rounded in the customer's favour by
// less than one unit, less what was given back before. Never negative.
func (s Span) Credit(paid, givenBack int64, at time.Time) int64 {
	return max(0, s.Part(paid, at, s.End)-max(0, givenBack))
}
