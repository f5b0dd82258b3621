package subscription

import (
	"strconv"
	"time"

	"github.com/google/uuid"
)

// States, as the contract names them.
const (
	pendingState   = "PENDING"
	activeState    = "ACTIVE"
	expiredState   = "EXPIRED"
	cancelledState = "CANCELLED"
)

// subscription is one user's hold on a plan, with the price it was bought at.
type subscription struct {
	ID                 uuid.UUID
	UserID             uuid.UUID
	State              string
	PlanCode           string
	PlanVersion        int32
	Cycle              string
	PriceID            uuid.UUID
	TotalMinor         int64 // what the customer pays, tax included
	Anchor             *time.Time
	CurrentPeriodStart *time.Time
	CurrentPeriodEnd   *time.Time // nil: never ends
	TrialEnd           *time.Time
	CancelAtPeriodEnd  bool
	PendingPlanCode    *string
	AutoRenew          bool
	TestClockID        *string
	PaymentID          *uuid.UUID
	DueAt              *time.Time
	Version            int64
	CreatedAt          time.Time

	PlanName    string
	Tier        int32
	Currency    string
	AmountMinor int64
	TaxMode     string
	TaxCategory string
	SACCode     string
}

// etag is the strong validator of a subscription.
func (s subscription) etag() string { return strconv.Quote(strconv.FormatInt(s.Version, 10)) }

// ended reports whether the paid time is over, whether or not the sweeper has
// been here.
func (s subscription) ended(now time.Time) bool {
	return s.CurrentPeriodEnd != nil && !now.Before(*s.CurrentPeriodEnd)
}

// paid reports whether money is asked for it.
func (s subscription) paid() bool { return s.TotalMinor > 0 }

func (s subscription) price() price {
	return price{
		ID: s.PriceID, PlanCode: s.PlanCode, Cycle: s.Cycle, Currency: s.Currency, AmountMinor: s.AmountMinor,
		TaxMode: s.TaxMode, TaxCategory: s.TaxCategory, SACCode: s.SACCode,
	}
}
