package admin

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// userRead is the event of an operator's look at one person.
func userRead(caller *token.Caller, userID uuid.UUID, now time.Time) outbox.Event {
	return looked(caller, trail.AdminUserRead, &auditv1.Event_Target{Type: "user", Id: id.Format("usr", userID)}, nil, now)
}

// usersListed is the event of an operator's look at many.
func usersListed(caller *token.Caller, n int, now time.Time) outbox.Event {
	return looked(caller, trail.AdminUsersListed, nil, []*auditv1.Event_Change{{Path: "count", After: strconv.Itoa(n)}}, now)
}

// listed is the event of an operator's look at a list.
func listed(caller *token.Caller, what trail.Action, n int, now time.Time) outbox.Event {
	return looked(caller, what, nil, []*auditv1.Event_Change{{Path: "count", After: strconv.Itoa(n)}}, now)
}

// payoutsListed is the event of an operator's look at payouts.
func payoutsListed(caller *token.Caller, n int, now time.Time) outbox.Event {
	return looked(caller, trail.AdminPayoutsListed, nil, []*auditv1.Event_Change{{Path: "count", After: strconv.Itoa(n)}}, now)
}

// rolesListed is the event of an operator's look at what roles give.
func rolesListed(caller *token.Caller, now time.Time) outbox.Event {
	return looked(caller, trail.AdminRolesListed, nil, nil, now)
}

// metricsRead is the event of an operator's look at numbers.
func metricsRead(caller *token.Caller, what string, now time.Time) outbox.Event {
	return looked(caller, trail.AdminMetricsRead, &auditv1.Event_Target{Type: "metrics", Id: what}, nil, now)
}

// metricsRebuild is the event of numbers that are counted anew.
func metricsRebuild(caller *token.Caller, reason string, now time.Time) outbox.Event {
	return acted(caller, trail.AdminMetricsRebuilt, &auditv1.Event_Target{Type: "metrics", Id: "all"}, reason, nil, now)
}

// approvalMoved is the event of an act that waits for a second operator.
func approvalMoved(caller *token.Caller, what trail.Action, a approval, before, reason string, now time.Time) outbox.Event {
	return acted(caller, what, &auditv1.Event_Target{Type: "approval", Id: id.Format(approvalPrefix, a.ID)}, reason, []*auditv1.Event_Change{
		{Path: "state", Before: strconv.Quote(before), After: strconv.Quote(a.State)},
		{Path: "kind", After: strconv.Quote(a.Kind)},
		{Path: "payloadHash", After: strconv.Quote(hex.EncodeToString(a.RequestHash))},
	}, now)
}

// acted is the event of what an operator changed here.
func acted(caller *token.Caller, action trail.Action, t *auditv1.Event_Target, reason string, changes []*auditv1.Event_Change, now time.Time) outbox.Event {
	ev := looked(caller, action, t, changes, now)
	if m, ok := ev.Payload.(*auditv1.Event); ok {
		m.Reason = reason
	}
	return ev
}

func looked(caller *token.Caller, action trail.Action, t *auditv1.Event_Target, changes []*auditv1.Event_Change, now time.Time) outbox.Event {
	operator := id.Format("usr", caller.UserID)
	ev := &auditv1.Event{
		Action:  action.String(),
		Actor:   &auditv1.Event_Actor{Type: "admin", Id: operator, SessionId: id.Format("ses", caller.SessionID), ImpersonatorId: caller.ImpersonatorID()},
		Outcome: auditv1.Event_SUCCESS, RequestId: caller.RequestID, Changes: changes,
	}
	if t != nil {
		ev.Targets = append(ev.Targets, t)
	}
	return outbox.Event{Key: operator, Destinations: []string{"audit"}, Payload: ev, OccurredAt: now}
}
