package payment

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	"github.com/manas360/platform/services/payment/ledger"
)

// auditReleased tells that a payment's service was delivered.
func auditReleased(ctx context.Context, p payment, amountMinor int64, now time.Time) outbox.Event {
	by := &auditv1.Event_Actor{Type: "service", Id: "payment"}
	return record(ctx, trail.PaymentEarningsReleased, by, p.ID, p.UserID, auditv1.Event_SUCCESS, now,
		text("beneficiaryId", "", id.Format("usr", *p.BeneficiaryID)), number("amountMinor", amountMinor))
}

// auditPayout tells what an administrator did with a payout, and why.
func auditPayout(ctx context.Context, action trail.Action, p payout, before payoutState, by uuid.UUID, reason string, now time.Time) outbox.Event {
	actor := &auditv1.Event_Actor{Type: "admin", Id: id.Format("usr", by)}
	if c, ok := token.FromContext(ctx); ok {
		actor.ImpersonatorId = c.ImpersonatorID()
	}
	changes := []*auditv1.Event_Change{text("state", string(before), string(p.State)), number("amountMinor", p.AmountMinor)}
	if p.BankReference != "" {
		changes = append(changes, text("bankReference", "", p.BankReference))
	}
	return payoutEvent(ctx, action, p, actor, reason, now, changes...)
}

// auditPayoutPosted tells what a payout's journal booked.
func auditPayoutPosted(ctx context.Context, p payout, j ledger.Journal, now time.Time) outbox.Event {
	changes := []*auditv1.Event_Change{text("ref", "", j.Ref)}
	for _, line := range j.Postings {
		changes = append(changes, number("posting."+line.Account, line.AmountMinor))
	}
	return payoutEvent(ctx, trail.LedgerPosted, p, &auditv1.Event_Actor{Type: "service", Id: "payment"}, "", now, changes...)
}

func payoutEvent(ctx context.Context, action trail.Action, p payout, by *auditv1.Event_Actor, reason string, now time.Time, changes ...*auditv1.Event_Change) outbox.Event {
	name := id.Format(payoutPrefix, p.ID)
	return outbox.Event{
		Key: name, Destinations: []string{"audit"}, OccurredAt: now,
		Payload: &auditv1.Event{
			Action: action.String(), Actor: by, Outcome: auditv1.Event_SUCCESS, Changes: changes, RequestId: requestID(ctx), Source: schema, Reason: reason,
			Targets: []*auditv1.Event_Target{{Type: "payout", Id: name}, {Type: "user", Id: id.Format("usr", p.BeneficiaryID)}},
		},
	}
}

// auditSealed leaves the head of the chain where this service cannot reach it.
func auditSealed(ctx context.Context, seq int64, hash string, now time.Time) outbox.Event {
	return outbox.Event{
		Key: "ledger", Destinations: []string{"audit"}, OccurredAt: now,
		Payload: &auditv1.Event{
			Action: trail.LedgerSealed.String(), Actor: &auditv1.Event_Actor{Type: "service", Id: "payment"}, Outcome: auditv1.Event_SUCCESS,
			RequestId: requestID(ctx), Source: schema, Changes: []*auditv1.Event_Change{number("seq", seq), text("hash", "", hash)},
			Targets: []*auditv1.Event_Target{{Type: "ledger", Id: "journal"}},
		},
	}
}
