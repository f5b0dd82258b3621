package subscription

import (
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/services/subscription/lifecycle"
)

// States, as the contract names them.
const (
	pendingState   = "PENDING"
	trialingState  = "TRIALING"
	activeState    = "ACTIVE"
	pausedState    = "PAUSED"
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
	AnchorNo           int // the period that starts at Anchor
	AnchorZone         string
	PeriodNo           int
	CurrentPeriodStart *time.Time
	CurrentPeriodEnd   *time.Time // nil: never ends
	PaidUntil          *time.Time // end of the last paid period; nil: CurrentPeriodEnd
	Declined           bool
	UnpaidUntil        *time.Time
	PausedUntil        *time.Time
	BankedUs           int64 // microseconds
	TrialEnd           *time.Time
	CancelAtPeriodEnd  bool
	CancelledAt        *time.Time
	CancelReason       string
	PendingPlanCode    *string
	PendingPlanVersion *int32
	PendingPriceID     *uuid.UUID
	AutoRenew          bool
	TestClockID        *string
	ClockAt            *time.Time // what its test clock shows
	PaymentID          *uuid.UUID
	MandateID          *uuid.UUID // once it can be debited
	WantsRenewal       bool       // ordered with a mandate
	ChargeStep         int        // of the period after the paid ones
	Replaces           *uuid.UUID // whose unused time it was credited
	CouponCode         *string
	Noticed            int
	Provider           string
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

// at is the time the subscription lives in.
func (s subscription) at(wall time.Time) time.Time {
	if s.ClockAt != nil {
		return *s.ClockAt
	}
	return wall
}

// ended reports whether nothing is left of it, whether or not the sweeper has
// been here.
func (s subscription) ended(now time.Time) bool {
	after, _, _ := lifecycle.Next(s.life(), lifecycle.Tick, s.at(now))
	return !after.State.Live() && s.State != pendingState
}

// shown is the subscription as time alone has made it, whether or not the
// sweeper has been here.
func (s subscription) shown(now time.Time) subscription {
	if s.State == pendingState {
		return s
	}
	after, _, _ := lifecycle.Next(s.life(), lifecycle.Tick, s.at(now))
	return s.with(after)
}

// settled reports whether time has nothing to change in it: what the row says is
// so, and no other set of entitlements is waiting to be written.
func (s subscription) settled(now time.Time) bool {
	at := s.at(now)
	return (s.DueAt == nil || at.Before(*s.DueAt)) && (s.CurrentPeriodEnd == nil || at.Before(*s.CurrentPeriodEnd))
}

// paid reports whether it is more than Free.
func (s subscription) paid() bool { return s.PlanCode != freePlan }

func (s subscription) price() price {
	return price{
		ID: s.PriceID, PlanCode: s.PlanCode, Cycle: s.Cycle, Currency: s.Currency, AmountMinor: s.AmountMinor,
		TaxMode: s.TaxMode, TaxCategory: s.TaxCategory, SACCode: s.SACCode,
	}
}

// life is what decisions look at.
func (s subscription) life() lifecycle.Subscription {
	l := lifecycle.Subscription{
		State: lifecycle.State(s.State), Ends: deref(s.CurrentPeriodEnd), PaidUntil: deref(s.PaidUntil), AutoRenew: s.AutoRenew,
		CancelAtEnd: s.CancelAtPeriodEnd, Declined: s.Declined, UnpaidUntil: deref(s.UnpaidUntil), PausedUntil: deref(s.PausedUntil),
		Banked: time.Duration(s.BankedUs) * time.Microsecond,
	}
	if s.State == trialingState {
		l.Ends = deref(s.TrialEnd)
	} else if l.PaidUntil.IsZero() {
		l.PaidUntil = l.Ends
	}
	return l
}

// with is the subscription after a decision.
func (s subscription) with(l lifecycle.Subscription) subscription {
	s.State, s.AutoRenew, s.CancelAtPeriodEnd, s.Declined = string(l.State), l.AutoRenew, l.CancelAtEnd, l.Declined
	if l.State != trialingState {
		s.CurrentPeriodEnd, s.PaidUntil = ref(l.Ends), ref(l.PaidUntil)
	}
	s.UnpaidUntil, s.PausedUntil, s.BankedUs = ref(l.UnpaidUntil), ref(l.PausedUntil), l.Banked.Microseconds()
	return s
}

// months gives how long its periods are; 0 never ends.
func (s subscription) months() int { return months(s.Cycle) }

func deref(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func ref(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
