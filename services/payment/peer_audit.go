package payment

import (
	"context"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	"github.com/manas360/platform/services/payment/factstate"
	"github.com/manas360/platform/services/payment/ledger"
)

// record is an audit event of a payment.
func record(ctx context.Context, action trail.Action, by *auditv1.Event_Actor, paymentID, userID uuid.UUID, outcome auditv1.Event_Outcome, now time.Time, changes ...*auditv1.Event_Change) outbox.Event {
	pay := id.Format("pay", paymentID)
	if c, ok := token.FromContext(ctx); ok { // absent when a provider or the clock is behind it
		by.ImpersonatorId = c.ImpersonatorID()
	}
	return outbox.Event{
		Key: pay, Destinations: []string{"audit"}, OccurredAt: now,
		Payload: &auditv1.Event{
			Action: action.String(), Actor: by, Outcome: outcome, Changes: changes, RequestId: requestID(ctx), Source: schema,
			Targets: []*auditv1.Event_Target{{Type: "payment", Id: pay}, {Type: "user", Id: id.Format("usr", userID)}},
		},
	}
}

// actor is who made us learn a fact: the provider, or a user who asked.
func (from origin) actor(provider string) *auditv1.Event_Actor {
	if from.by == byUser {
		return &auditv1.Event_Actor{Type: "user", Id: id.Format("usr", from.userID)}
	}
	if from.by == byClock {
		return &auditv1.Event_Actor{Type: "service", Id: "payment"}
	}
	return &auditv1.Event_Actor{Type: "provider", Id: provider}
}

func auditCreated(ctx context.Context, paymentID uuid.UUID, in newPayment, now time.Time) outbox.Event {
	by := &auditv1.Event_Actor{Type: "user", Id: id.Format("usr", in.UserID)}
	return record(ctx, trail.PaymentCreated, by, paymentID, in.UserID, auditv1.Event_SUCCESS, now,
		text("state", "", string(factstate.Created)), number("amountMinor", in.AmountMinor), text("productCode", "", in.ProductCode))
}

// auditMoved is the event of a state that is not left by time alone.
func auditMoved(ctx context.Context, p payment, before factstate.State, from origin, now time.Time) outbox.Event {
	action, outcome := trail.PaymentFailed, auditv1.Event_FAILURE
	if p.State.Paid() {
		action, outcome = trail.PaymentSucceeded, auditv1.Event_SUCCESS
	}
	changes := []*auditv1.Event_Change{text("state", string(before), string(p.State)), number("capturedMinor", p.CapturedMinor)}
	if p.FailureCode != "" {
		changes = append(changes, text("failureCode", "", p.FailureCode))
	}
	return record(ctx, action, from.actor(p.Provider), p.ID, p.UserID, outcome, now, changes...)
}

func auditPosted(ctx context.Context, p payment, j ledger.Journal, now time.Time) outbox.Event {
	changes := []*auditv1.Event_Change{text("ref", "", j.Ref)}
	for _, line := range j.Postings {
		changes = append(changes, number("posting."+line.Account, line.AmountMinor))
	}
	by := &auditv1.Event_Actor{Type: "service", Id: "payment"}
	return record(ctx, trail.LedgerPosted, by, p.ID, p.UserID, auditv1.Event_SUCCESS, now, changes...)
}

// auditIntegrity tells of an answer or a callback that is not about our order.
func auditIntegrity(ctx context.Context, p payment, mismatch string, claimedMinor int64, from origin, now time.Time) outbox.Event {
	return record(ctx, trail.PaymentIntegrityFailed, from.actor(p.Provider), p.ID, p.UserID, auditv1.Event_FAILURE, now,
		text("mismatch", "", mismatch),
		&auditv1.Event_Change{Path: "amountMinor", Before: strconv.FormatInt(p.AmountMinor, 10), After: strconv.FormatInt(claimedMinor, 10)})
}

// auditRejected tells of a callback nobody signed. It has no order: nothing an
// unsigned body says is written down.
func auditRejected(ctx context.Context, provider string, now time.Time) outbox.Event {
	return outbox.Event{
		Key: "webhook:" + provider, Destinations: []string{"audit"}, OccurredAt: now,
		Payload: &auditv1.Event{
			Action: trail.WebhookRejected.String(), Actor: &auditv1.Event_Actor{Type: "anonymous"}, Outcome: auditv1.Event_DENIED,
			RequestId: requestID(ctx), Source: schema,
			Targets: []*auditv1.Event_Target{{Type: "webhook", Id: provider}},
		},
	}
}

// text is a change of a string, as JSON.
func text(path, before, after string) *auditv1.Event_Change {
	return &auditv1.Event_Change{Path: path, Before: trail.Value(before), After: trail.Value(after)}
}

func number(path string, after int64) *auditv1.Event_Change {
	return &auditv1.Event_Change{Path: path, After: strconv.FormatInt(after, 10)}
}
