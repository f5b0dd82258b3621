package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// act is something worth recording. Never an address, a code or a token.
type act struct {
	Action  trail.Action
	Actor   actor
	Targets []target
	Outcome outcome
	Reason  string
	Changes []change
}

type (
	actor   struct{ Type, ID, Session string }
	target  struct{ Type, ID string }
	change  struct{ Path, Before, After string }
	outcome = auditv1.Event_Outcome
)

const (
	success = auditv1.Event_SUCCESS
	denied  = auditv1.Event_DENIED
)

var anonymous = actor{Type: "anonymous"}

func userActor(user, session uuid.UUID) actor {
	a := actor{Type: "user", ID: id.Format("usr", user)}
	if session != uuid.Nil {
		a.Session = sessionName(session)
	}
	return a
}

func adminActor(c *token.Caller) actor {
	a := userActor(c.UserID, c.SessionID)
	a.Type = "admin"
	return a
}

func userTarget(user uuid.UUID) target   { return target{"user", id.Format("usr", user)} }
func sessionTarget(ses uuid.UUID) target { return target{"session", sessionName(ses)} }

// record writes acts to the outbox in the transaction of what was done.
func (s *Service) record(ctx context.Context, tx pg.Tx, c *token.Caller, now time.Time, acts ...act) error {
	events := make([]outbox.Event, 0, len(acts))
	for _, a := range acts {
		events = append(events, auditEvent(a, c, now))
	}
	return s.outbox.Append(ctx, tx, events...)
}

func auditEvent(a act, c *token.Caller, now time.Time) outbox.Event {
	ev := &auditv1.Event{
		Action:    a.Action.String(),
		Actor:     &auditv1.Event_Actor{Type: a.Actor.Type, Id: a.Actor.ID, SessionId: a.Actor.Session, ImpersonatorId: c.ImpersonatorID()},
		Outcome:   a.Outcome,
		RequestId: c.RequestID,
		Reason:    a.Reason,
		IpPrefix:  trail.Network(c.ClientIP),
	}
	key := a.Action.String() // of acts that are nobody's, so that they hold up no one
	for i, t := range a.Targets {
		if i == 0 {
			key = t.ID
		}
		ev.Targets = append(ev.Targets, &auditv1.Event_Target{Type: t.Type, Id: t.ID})
	}
	for _, ch := range a.Changes {
		ev.Changes = append(ev.Changes, &auditv1.Event_Change{Path: ch.Path, Before: trail.Value(ch.Before), After: trail.Value(ch.After)})
	}
	return outbox.Event{Key: key, Destinations: []string{"audit"}, Payload: ev, OccurredAt: now}
}
