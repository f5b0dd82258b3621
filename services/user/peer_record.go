package user

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// act is something worth recording. Never an address, a token or words of a
// person.
type act struct {
	Action  trail.Action
	Admin   bool     // the actor used an operator's right
	Service string   // the actor when it is no person
	Targets []target // the first one's id is the event's key
	Denied  bool
	Reason  string
	Changes []change
}

type (
	target struct{ Type, ID string }
	change struct{ Path, Before, After string }
)

func userTarget(u uuid.UUID) target       { return target{"user", id.Format("usr", u)} }
func orgTarget(u uuid.UUID) target        { return target{"organization", id.Format("org", u)} }
func invitationTarget(u uuid.UUID) target { return target{"invitation", id.Format("inv", u)} }

// record writes acts to the outbox in the transaction of what was done. caller
// is nil for what no request did.
func (s *Service) record(ctx context.Context, tx pg.Tx, caller *token.Caller, acts ...act) error {
	if caller == nil {
		caller = &token.Caller{}
	}
	events := make([]outbox.Event, 0, len(acts))
	for _, a := range acts {
		ev := &auditv1.Event{
			Action: a.Action.String(), Actor: actorOf(a, caller), Outcome: auditv1.Event_SUCCESS, Reason: a.Reason,
			RequestId: caller.RequestID, IpPrefix: trail.Network(caller.ClientIP),
		}
		if a.Denied {
			ev.Outcome = auditv1.Event_DENIED
		}
		key := id.Format("usr", caller.UserID) // of a look at many
		for i, t := range a.Targets {
			if i == 0 {
				key = t.ID
			}
			ev.Targets = append(ev.Targets, &auditv1.Event_Target{Type: t.Type, Id: t.ID})
		}
		for _, c := range a.Changes {
			ev.Changes = append(ev.Changes, &auditv1.Event_Change{Path: c.Path, Before: trail.Value(c.Before), After: trail.Value(c.After)})
		}
		events = append(events, outbox.Event{Key: key, Destinations: []string{"audit"}, Payload: ev, OccurredAt: s.now()})
	}
	return s.outbox.Append(ctx, tx, events...)
}

func actorOf(a act, caller *token.Caller) *auditv1.Event_Actor {
	if a.Service != "" {
		return &auditv1.Event_Actor{Type: "service", Id: a.Service}
	}
	out := &auditv1.Event_Actor{Type: "user", Id: id.Format("usr", caller.UserID), SessionId: id.Format("ses", caller.SessionID), ImpersonatorId: caller.ImpersonatorID()}
	if a.Admin {
		out.Type = "admin"
	}
	return out
}
