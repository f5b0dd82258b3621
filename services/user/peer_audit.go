package user

import (
	"time"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// profileUpdated is the event of a changed profile. It names the fields and
// keeps their values to itself: names and words about a person are personal.
func profileUpdated(caller *token.Caller, paths []string, now time.Time) outbox.Event {
	user := id.Format("usr", caller.UserID)
	ev := &auditv1.Event{
		Action: trail.ProfileUpdated.String(),
		Actor: &auditv1.Event_Actor{
			Type: "user", Id: user, SessionId: id.Format("ses", caller.SessionID), ImpersonatorId: caller.ImpersonatorID(),
		},
		Targets:   []*auditv1.Event_Target{{Type: "user", Id: user}},
		Outcome:   auditv1.Event_SUCCESS,
		RequestId: caller.RequestID,
	}
	for _, p := range paths {
		ev.Changes = append(ev.Changes, &auditv1.Event_Change{Path: p})
	}
	return outbox.Event{Key: user, Destinations: []string{"audit"}, Payload: ev, OccurredAt: now}
}
