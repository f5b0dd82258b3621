package subscription

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// actor is who is behind a change.
type actor struct{ kind, id, session, network, impersonator string }

// change is one value before and after; "" and nil are written as absent.
type change struct {
	path          string
	before, after any
}

// actorOf is the person behind the request, or this service itself.
func actorOf(ctx context.Context) actor {
	caller, ok := token.FromContext(ctx)
	if !ok || !caller.SignedIn() {
		return serviceActor(schema)
	}
	return actor{
		kind: "user", id: id.Format("usr", caller.UserID), session: id.Format("ses", caller.SessionID), network: trail.Network(caller.ClientIP),
		impersonator: caller.ImpersonatorID(),
	}
}

// operatorOf is the person behind the request as an operator.
func operatorOf(ctx context.Context) actor {
	by := actorOf(ctx)
	by.kind = "admin"
	return by
}

// serviceActor is a process that acts by itself.
func serviceActor(name string) actor { return actor{kind: "service", id: name} }

// audit is the record of what happened to a subscription.
func audit(ctx context.Context, action trail.Action, by actor, sub subscription, now time.Time, changes ...change) outbox.Event {
	user := id.Format("usr", sub.UserID)
	ev := &auditv1.Event{
		Action:  action.String(),
		Actor:   &auditv1.Event_Actor{Type: by.kind, Id: by.id, SessionId: by.session, ImpersonatorId: by.impersonator},
		Outcome: auditv1.Event_SUCCESS, RequestId: rpc.RequestID(ctx), Source: schema, IpPrefix: by.network,
		Targets: []*auditv1.Event_Target{
			{Type: "subscription", Id: id.Format("sub", sub.ID)}, {Type: "user", Id: user},
		},
	}
	for _, c := range changes {
		ev.Changes = append(ev.Changes, &auditv1.Event_Change{Path: c.path, Before: trail.Value(c.before), After: trail.Value(c.after)})
	}
	return outbox.Event{Key: user, Destinations: []string{"audit"}, Payload: ev, OccurredAt: now}
}

// auditPurchase is the event of something bought once.
func auditPurchase(ctx context.Context, action trail.Action, by actor, pur purchase, now time.Time, changes ...change) outbox.Event {
	e := audit(ctx, action, by, subscription{UserID: pur.UserID}, now, changes...)
	if ev, ok := e.Payload.(*auditv1.Event); ok {
		ev.Targets[0] = &auditv1.Event_Target{Type: "purchase", Id: id.Format("pur", pur.ID)}
	}
	return e
}

// auditBilling is the event of who stands on somebody's invoices.
func auditBilling(ctx context.Context, userID uuid.UUID, old, p billingProfile, now time.Time) outbox.Event {
	e := audit(ctx, trail.BillingProfileChanged, actorOf(ctx), subscription{UserID: userID}, now,
		change{"state", old.State, p.State}, change{"country", old.Country, p.Country}, change{"version", old.Version, p.Version})
	if ev, ok := e.Payload.(*auditv1.Event); ok {
		ev.Targets = ev.GetTargets()[1:]
	}
	return e
}

// auditClock is the event of somebody's hand on a test clock.
func auditClock(ctx context.Context, action trail.Action, c testClock, now time.Time, changes ...change) outbox.Event {
	e := audit(ctx, action, actorOf(ctx), subscription{}, now, changes...)
	if ev, ok := e.Payload.(*auditv1.Event); ok {
		ev.Targets = []*auditv1.Event_Target{{Type: "test_clock", Id: c.ID}}
	}
	e.Key = c.ID
	return e
}

// auditSold is the event of a hand on what is sold.
func auditSold(ctx context.Context, action trail.Action, kind, code, reason string, now time.Time, changes ...change) outbox.Event {
	e := explained(reason, audit(ctx, action, operatorOf(ctx), subscription{}, now, changes...))
	if ev, ok := e.Payload.(*auditv1.Event); ok {
		ev.Targets = []*auditv1.Event_Target{{Type: kind, Id: code}}
	}
	e.Key = kind + " " + code
	return e
}

// explained adds the words of who did it.
func explained(reason string, e outbox.Event) outbox.Event {
	if ev, ok := e.Payload.(*auditv1.Event); ok {
		ev.Reason = reason
	}
	return e
}

// alsoPaid adds the payment that the act was upon.
func alsoPaid(e outbox.Event, paymentID uuid.UUID) outbox.Event {
	return also(e, "payment", "pay", paymentID)
}

// also adds something else the act was upon.
func also(e outbox.Event, kind, prefix string, target uuid.UUID) outbox.Event {
	if ev, ok := e.Payload.(*auditv1.Event); ok {
		ev.Targets = append(ev.Targets, &auditv1.Event_Target{Type: kind, Id: id.Format(prefix, target)})
	}
	return e
}
