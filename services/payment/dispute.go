package payment

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
)

// States of a dispute. A later one covers an earlier one; lost is never unlost.
const (
	disputeOpened = "OPENED"
	disputeWon    = "WON"
	disputeLost   = "LOST"
)

var disputeRank = map[string]int{disputeOpened: 1, disputeWon: 2, disputeLost: 3}

// dispute is a customer who went to the bank instead of to us.
type dispute struct {
	ID                uuid.UUID
	PaymentID         uuid.UUID
	Provider          string
	ProviderDisputeID string
	AmountMinor       int64
	State             string
	Held              bool // the provider took the money at its opening
	OpenedAt          time.Time
	ClosedAt          *time.Time
}

// saidOfDispute is what a callback or a settlement says of one.
type saidOfDispute struct {
	PaymentID   uuid.UUID
	Provider    string
	DisputeID   string
	AmountMinor int64
	State       string
	Held        bool
}

// disputeState reads a callback's event and claimed state; empty when it says
// nothing that we act on.
func disputeState(event, claimed string) string {
	word := strings.ToLower(claimed)
	last := event[strings.LastIndexByte(event, '.')+1:]
	switch {
	case last == "lost" || word == "lost":
		return disputeLost
	case last == "won" || word == "won" || word == "warning_closed" || word == "prevented":
		return disputeWon
	case last == "closed":
		return "" // by itself it does not say for whom
	case last == "created" || last == "funds_withdrawn" || last == "opened" || last == "under_review" || last == "action_required" ||
		strings.HasPrefix(word, "needs_response") || word == "open":
		return disputeOpened
	default:
		return ""
	}
}

// onDispute takes a callback about a dispute. Its money is believed only where
// the signature covers the body; PhonePe's does not, so there it sets the flag,
// and the settlement file tells of the money.
func (s *Service) onDispute(ctx context.Context, ev webhookEvent) error {
	p, _, err := s.orderOf(ctx, ev.MerchantOrderID)
	if fail.Is(err, fail.NotFound) {
		return s.orphan(ctx, ev, "the disputed order is not ours")
	}
	if err != nil {
		return err
	}
	state := disputeState(ev.Event, ev.ClaimedState)
	if state == "" || ev.Subject == "" {
		return s.endEvent(ctx, ev, eventProcessed, "")
	}
	if ev.Provider == phonepeCode && state != disputeOpened {
		return s.endEvent(ctx, ev, eventProcessed, "the settlement file will tell")
	}
	amount := p.CapturedMinor
	if ev.ClaimedMinor != nil && *ev.ClaimedMinor > 0 {
		amount = *ev.ClaimedMinor
	}
	if amount > p.CapturedMinor {
		return s.rejectEvent(ctx, ev, p, "disputed amount")
	}
	return s.applyDispute(ctx, saidOfDispute{
		PaymentID: p.ID, Provider: p.Provider, DisputeID: ev.Subject, AmountMinor: amount, State: state,
		Held: p.Provider == stripeCode, // Stripe alone takes the money at once
	}, origin{by: byProvider, event: ev.ID})
}
