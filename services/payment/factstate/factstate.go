// Package factstate decides what a provider's fact makes of a payment. States
// are ranked and a fact only ever lifts them, so facts may come twice, late and
// in any order: the end is the same.
package factstate

// State of a payment, as the contract names it.
type State string

// The states, lowest rank first.
const (
	Created           State = "CREATED"
	Pending           State = "PENDING"
	Cancelled         State = "CANCELLED"
	Expired           State = "EXPIRED"
	Failed            State = "FAILED"
	Succeeded         State = "SUCCEEDED"
	PartiallyRefunded State = "PARTIALLY_REFUNDED"
	Refunded          State = "REFUNDED"
)

// Fact is what a provider says of an order, or what time proves.
type Fact int

// The facts. The zero Fact is Unknown: an answer without a state we know means
// nothing, least of all success.
const (
	Unknown  Fact = iota
	Opened        // the order exists and waits for the customer
	Lapsed        // its time ran out
	Declined      // the provider says it failed
	Captured      // the money moved
)

// String names the fact for logs.
func (f Fact) String() string {
	switch f {
	case Opened:
		return "opened"
	case Lapsed:
		return "lapsed"
	case Declined:
		return "declined"
	case Captured:
		return "captured"
	default:
		return "unknown"
	}
}

var rank = map[State]int{
	Created: 1, Pending: 2, Cancelled: 3, Expired: 4, Failed: 5, Succeeded: 6, PartiallyRefunded: 7, Refunded: 8,
}

// Next gives the state after f. Captured money is never forgotten; a capture
// after a failure is taken, as banks do such things. An unknown state stays.
func Next(s State, f Fact) State {
	if rank[s] == 0 {
		return s
	}
	to := s
	switch f {
	case Opened:
		to = Pending
	case Lapsed:
		to = Expired
	case Declined:
		to = Failed
	case Captured:
		to = Succeeded
	default:
	}
	if rank[to] > rank[s] {
		return to
	}
	return s
}

// Open reports whether the customer may still pay.
func (s State) Open() bool { return s == Created || s == Pending }

// Paid reports whether the money came, whatever became of it later.
func (s State) Paid() bool { return rank[s] >= rank[Succeeded] }
