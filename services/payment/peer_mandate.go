package payment

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	"github.com/manas360/platform/services/payment/factstate"
)

// mandateChanged tells subscription where a mandate stands.
func mandateChanged(m mandate, now time.Time) outbox.Event {
	return outbox.Event{
		Key: id.Format("mdt", m.ID), Destinations: []string{"subscription"}, OccurredAt: now,
		Payload: &paymentv1.MandateStateChanged{
			MandateId: m.ID[:], RequestId: m.RequestID[:], UserId: m.UserID[:], State: packMandateState(m.State), Version: m.Version,
		},
	}
}

func packMandateState(s mandateState) paymentv1.Mandate_State {
	return paymentv1.Mandate_State(paymentv1.Mandate_State_value[string(s)])
}

// recordMandate is an audit event of a mandate.
func recordMandate(ctx context.Context, action trail.Action, by *auditv1.Event_Actor, m mandate, outcome auditv1.Event_Outcome, now time.Time, changes ...*auditv1.Event_Change) outbox.Event {
	ev := record(ctx, action, by, m.ID, m.UserID, outcome, now, changes...)
	ev.Key = id.Format("mdt", m.ID)
	if a, ok := ev.Payload.(*auditv1.Event); ok {
		a.Targets[0] = &auditv1.Event_Target{Type: "mandate", Id: ev.Key}
	}
	return ev
}

func auditMandateCreated(ctx context.Context, m mandate, now time.Time) outbox.Event {
	by := &auditv1.Event_Actor{Type: "user", Id: id.Format("usr", m.UserID)}
	return recordMandate(ctx, trail.PaymentMandateCreated, by, m, auditv1.Event_SUCCESS, now,
		text("state", "", string(m.State)), number("maxMinor", m.MaxMinor))
}

// mandateActions name where a mandate may move to.
var mandateActions = map[mandateState]trail.Action{
	mandateActive: trail.PaymentMandateActive, mandatePaused: trail.PaymentMandatePaused, mandateRevoked: trail.PaymentMandateRevoked,
	mandateCancelled: trail.PaymentMandateCancelled, mandateExpired: trail.PaymentMandateExpired, mandateFailed: trail.PaymentMandateFailed,
}

func auditMandateMoved(ctx context.Context, m mandate, before mandateState, from origin, now time.Time) outbox.Event {
	outcome := auditv1.Event_SUCCESS
	if m.State == mandateFailed {
		outcome = auditv1.Event_FAILURE
	}
	return recordMandate(ctx, mandateActions[m.State], from.actor(m.Provider), m, outcome, now,
		text("state", string(before), string(m.State)))
}

func auditCancelRequested(ctx context.Context, m mandate, by actorOf, now time.Time) outbox.Event {
	return recordMandate(ctx, trail.PaymentMandateCancelRequested, &auditv1.Event_Actor{Type: by.kind, Id: by.id}, m, auditv1.Event_SUCCESS, now,
		text("state", "", string(m.State)))
}

// auditDebitCreated is the creation of a payment that nobody but its schedule asked for.
func auditDebitCreated(ctx context.Context, paymentID uuid.UUID, in newDebit, now time.Time) outbox.Event {
	by := &auditv1.Event_Actor{Type: "service", Id: "subscription"}
	return record(ctx, trail.PaymentCreated, by, paymentID, in.UserID, auditv1.Event_SUCCESS, now,
		text("state", "", string(factstate.Created)), number("amountMinor", in.AmountMinor), text("productCode", "", in.ProductCode),
		text("mandate", "", id.Format("mdt", in.MandateID)))
}

func auditDebitNotified(ctx context.Context, p payment, d debit, now time.Time) outbox.Event {
	return record(ctx, trail.PaymentDebitNotified, origin{by: byProvider}.actor(p.Provider), p.ID, p.UserID, auditv1.Event_SUCCESS, now,
		text("merchantOrderId", "", d.MerchantOrderID), number("amountMinor", p.AmountMinor))
}

func auditDebitEnded(ctx context.Context, p payment, from origin, now time.Time) outbox.Event {
	action, outcome := trail.PaymentDebitFailed, auditv1.Event_FAILURE
	if p.State.Paid() {
		action, outcome = trail.PaymentDebitSucceeded, auditv1.Event_SUCCESS
	}
	return record(ctx, action, from.actor(p.Provider), p.ID, p.UserID, outcome, now,
		number("amountMinor", p.AmountMinor), text("failureCode", "", p.FailureCode))
}
