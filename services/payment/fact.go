package payment

import (
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/services/payment/factstate"
)

// Where a fact comes from, for the audit.
const (
	byProvider = "provider"
	byUser     = "user"
	byClock    = "clock"
)

// origin says who made us ask, and which callback it settles.
type origin struct {
	by     string
	userID uuid.UUID // with byUser
	event  uuid.UUID // the callback, or zero
}

// applied is what applyFact did.
type applied struct {
	state     factstate.State
	changed   bool // by this very call
	integrity bool // the fact is not about what we asked for; nothing was changed
}

// verdict is what a fact makes of a payment and its attempt.
type verdict struct {
	mismatch string // why the fact is not about what we asked for
	state    factstate.State
	attempt  string // its state after
	capture  bool   // book it
}

// decide compares a fact with what was asked for and ranks it. Only the state
// comes from factstate; money that is not ours to the last paisa moves nothing.
func decide(p payment, a attempt, f fact) verdict {
	v := verdict{state: p.State, attempt: a.State}
	switch {
	case f.Kind == factstate.Unknown:
		return v
	case f.MerchantOrderID != a.MerchantOrderID, f.EchoedOrderID != "" && f.EchoedOrderID != a.MerchantOrderID:
		v.mismatch = "order"
	case f.ProviderOrderID != "" && a.ProviderOrderID != "" && f.ProviderOrderID != a.ProviderOrderID:
		v.mismatch = "provider order"
	case f.Kind == factstate.Captured && f.AmountMinor != p.AmountMinor, f.AmountMinor != 0 && f.AmountMinor != p.AmountMinor:
		v.mismatch = "amount"
	case f.Currency != p.Currency:
		v.mismatch = "currency"
	case f.Kind == factstate.Captured && p.State.Paid() && a.State != attemptSucceeded:
		v.mismatch = "paid twice" // by another attempt before: a person must give it back
	}
	if v.mismatch != "" {
		return v
	}
	v.state = factstate.Next(p.State, f.Kind)
	v.capture = v.state != p.State && v.state.Paid()
	switch f.Kind {
	case factstate.Captured:
		v.attempt = attemptSucceeded
	case factstate.Declined, factstate.Lapsed:
		if a.State != attemptSucceeded {
			v.attempt = attemptFailed
		}
	case factstate.Opened:
		if a.State == attemptSubmitted || a.State == attemptUnknown || a.State == attemptPrepared {
			v.attempt = attemptPending
		}
	default:
	}
	return v
}

// paidAt is the provider's time unless it cannot be.
func paidAt(f fact, created, now time.Time) time.Time {
	if f.PaidAt.IsZero() || f.PaidAt.After(now) || f.PaidAt.Before(created.Add(-time.Hour)) {
		return now
	}
	return f.PaidAt
}

// sent is an attempt as its provider may know it.
func sent(p payment, a attempt) sentOrder {
	return sentOrder{
		MerchantOrderID: a.MerchantOrderID, ProviderOrderID: a.ProviderOrderID, AmountMinor: p.AmountMinor, Currency: p.Currency,
	}
}
