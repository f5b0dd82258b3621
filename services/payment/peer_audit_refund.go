package payment

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	"github.com/manas360/platform/services/payment/factstate"
)

const (
	refundPrefix  = "rfd"
	disputePrefix = "dsp"
)

// operator is who asked: an administrator, the customer, or the suite itself.
func operator(p payment, by uuid.UUID) *auditv1.Event_Actor {
	switch by {
	case uuid.Nil:
		return &auditv1.Event_Actor{Type: "service", Id: "payment"}
	case p.UserID:
		return &auditv1.Event_Actor{Type: "user", Id: id.Format("usr", by)}
	default:
		return &auditv1.Event_Actor{Type: "admin", Id: id.Format("usr", by)}
	}
}

// auditRefund is the event of a refund asked for, approved or rejected.
func auditRefund(ctx context.Context, action trail.Action, p payment, r refund, by uuid.UUID, now time.Time) outbox.Event {
	e := record(ctx, action, operator(p, by), p.ID, p.UserID, auditv1.Event_SUCCESS, now,
		text("refund.state", "", r.State), number("refund.amountMinor", r.AmountMinor), text("refund.origin", "", r.Origin))
	reason := r.Reason
	if r.DecisionReason != "" {
		reason = r.DecisionReason
	}
	return aboutRefund(e, r, reason)
}

// auditRefundMoved is the event of money that went back, or did not.
func auditRefundMoved(ctx context.Context, action trail.Action, p payment, r refund, refundWas string, paymentWas factstate.State, from origin, now time.Time) outbox.Event {
	outcome := auditv1.Event_SUCCESS
	if r.State == refundDead {
		outcome = auditv1.Event_FAILURE
	}
	changes := []*auditv1.Event_Change{
		text("refund.state", refundWas, r.State), number("refund.amountMinor", r.AmountMinor), number("refundedMinor", p.RefundedMinor),
	}
	if paymentWas != p.State {
		changes = append(changes, text("state", string(paymentWas), string(p.State)))
	}
	if r.FailureCode != "" {
		changes = append(changes, text("refund.failureCode", "", r.FailureCode))
	}
	return aboutRefund(record(ctx, action, from.actor(p.Provider), p.ID, p.UserID, outcome, now, changes...), r, "")
}

func aboutRefund(e outbox.Event, r refund, reason string) outbox.Event {
	if ev, ok := e.Payload.(*auditv1.Event); ok {
		ev.Reason = reason
		ev.Targets = append(ev.Targets, &auditv1.Event_Target{Type: "refund", Id: id.Format(refundPrefix, r.ID)})
	}
	return e
}

// auditDispute is the event of a dispute opened or closed at the bank.
func auditDispute(ctx context.Context, action trail.Action, p payment, d dispute, was string, from origin, now time.Time) outbox.Event {
	e := record(ctx, action, from.actor(p.Provider), p.ID, p.UserID, auditv1.Event_SUCCESS, now,
		text("dispute.state", was, d.State), number("dispute.amountMinor", d.AmountMinor))
	if ev, ok := e.Payload.(*auditv1.Event); ok {
		ev.Targets = append(ev.Targets, &auditv1.Event_Target{Type: "dispute", Id: id.Format(disputePrefix, d.ID)})
	}
	return e
}
