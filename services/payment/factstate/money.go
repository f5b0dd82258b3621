package factstate

// Money is all that is known of a payment: what the provider says of its order,
// of what went back, and of what was disputed. It only ever learns: Join is
// commutative, associative and idempotent, so facts may come twice, late and in
// any order, and the end is the same. The zero Money knows nothing.
type Money struct {
	order    State
	captured int64
	returns  map[string]Return
}

// Phase is how far something that went back has come. A later phase covers an
// earlier one.
type Phase int

// The phases of a refund, and of a dispute after it.
const (
	RefundPending Phase = iota + 1 // the provider has it
	RefundDone                     // the money went
	RefundFailed                   // it did not, or it came back: Stripe says so even after it was done
	DisputeOpened
	DisputeWon
	DisputeLost // the money is the customer's again
)

// Return is a refund or a dispute, by what the provider says of it.
type Return struct {
	Phase Phase
	Minor int64
}

// gone reports whether the customer has the money.
func (r Return) gone() bool { return r.Phase == RefundDone || r.Phase == DisputeLost }

// OfOrder is what one fact about an order says; capturedMinor counts with
// Captured alone.
func OfOrder(f Fact, capturedMinor int64) Money {
	m := Money{order: Next(Created, f)}
	if f == Captured {
		m.captured = capturedMinor
	}
	return m
}

// OfReturn is what one fact about a refund or a dispute says.
func OfReturn(id string, r Return) Money {
	return Money{returns: map[string]Return{id: r}}
}

// Join is what both know.
func (m Money) Join(o Money) Money {
	all := Money{order: m.order, captured: max(m.captured, o.captured), returns: map[string]Return{}}
	if rank[o.order] > rank[m.order] {
		all.order = o.order
	}
	for _, known := range []map[string]Return{m.returns, o.returns} {
		for id, r := range known {
			have := all.returns[id]
			all.returns[id] = Return{Phase: max(have.Phase, r.Phase), Minor: max(have.Minor, r.Minor)}
		}
	}
	return all
}

// Returned is how much the customer has again, at most what was captured: a
// dispute can be lost after a refund, but the payment cannot be less than
// nothing.
func (m Money) Returned() int64 {
	var sum int64
	for _, r := range m.returns {
		if r.gone() {
			sum = min(sum+r.Minor, m.captured) // bounded each time: it cannot overflow
		}
	}
	return sum
}

// State is what all of it makes of the payment.
func (m Money) State() State {
	if m.captured == 0 {
		return max2(m.order, Created)
	}
	return After(m.captured, m.Returned())
}

// After is the state of a payment of which so much was captured and so much
// went back.
func After(captured, returned int64) State {
	switch {
	case returned == 0:
		return Succeeded
	case returned < captured:
		return PartiallyRefunded
	default:
		return Refunded
	}
}

func max2(a, b State) State {
	if rank[a] >= rank[b] {
		return a
	}
	return b
}
