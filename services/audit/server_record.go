package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// detail is one fact of such an event.
type detail struct {
	Path  string
	Value any
}

// recordCaller records what the caller of ctx does; nobody is refused. There is
// no outbox here: a look at the log is an event of the log before it is
// answered, and what cannot be recorded is not shown (audit_admin_ops.md A-31).
func (s *Service) recordCaller(ctx context.Context, action trail.Action, of target, details ...detail) error {
	c, ok := token.FromContext(ctx)
	if !ok || !c.SignedIn() {
		return fail.New(fail.Unauthenticated, "sign in first")
	}
	who := &auditv1.Event_Actor{Type: "admin", Id: id.Format("usr", c.UserID), ImpersonatorId: c.ImpersonatorID()}
	if c.SessionID != uuid.Nil {
		who.SessionId = id.Format("ses", c.SessionID)
	}
	return s.record(ctx, &auditv1.Event{Action: action.String(), Actor: who, Outcome: auditv1.Event_SUCCESS, RequestId: c.RequestID}, of, details)
}

// recordOwn records what the service does by itself.
func (s *Service) recordOwn(ctx context.Context, action trail.Action, ended bool, of target, details ...detail) error {
	outcome := auditv1.Event_SUCCESS
	if !ended {
		outcome = auditv1.Event_FAILURE
	}
	return s.record(ctx, &auditv1.Event{Action: action.String(), Actor: &auditv1.Event_Actor{Type: "service", Id: "audit"}, Outcome: outcome}, of, details)
}

// record appends ev and comes back when it is in the log.
func (s *Service) record(ctx context.Context, ev *auditv1.Event, of target, details []detail) error {
	for _, d := range details {
		text, err := json.Marshal(d.Value)
		if err != nil {
			return fmt.Errorf("encode %s of %s: %w", d.Path, ev.GetAction(), err)
		}
		ev.Changes = append(ev.Changes, &auditv1.Event_Change{Path: d.Path, After: string(text)})
	}
	if of != (target{}) {
		ev.Targets = []*auditv1.Event_Target{{Type: of.Type, Id: of.ID}}
	}
	payload, err := proto.Marshal(ev)
	if err != nil {
		return fmt.Errorf("encode %s: %w", ev.GetAction(), err)
	}
	eventID, now := s.ids.New(), s.now()
	e, m, refusal := unpack(&eventv1.Event{
		Id: eventID[:], Type: "manas.audit.v1.Event", Payload: payload, OccurredAt: timestamppb.New(now),
	}, "audit", now)
	if refusal != "" {
		return fmt.Errorf("record %s: %s", ev.GetAction(), refusal)
	}
	if _, err := s.append(ctx, []entry{e}, func(e *entry) error { return seal(e, m) }); err != nil {
		return fmt.Errorf("record %s: %w", ev.GetAction(), err)
	}
	return nil
}

// ours is the shape of what the suite makes itself: ids, actions, types.
var ours = regexp.MustCompile(`^(?:[a-z]{2,8}_[0-9a-hjkmnp-tv-z]{26}|[a-z][a-z_]*(?:\.[a-z_]*)+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)

// masked keeps what the suite made and hides what a person typed: a filter may
// hold an address by mistake, and the log forgets nothing.
func masked(s string) string {
	if ours.MatchString(s) {
		return s
	}
	return "***"
}

// details names the filters of a search.
func (f filter) details() []detail {
	var out []detail
	for _, d := range []struct{ path, value string }{
		{"actorId", f.ActorID}, {"action", f.Action}, {"resourceId", f.ResourceID}, {"requestId", f.RequestID},
	} {
		if d.value != "" {
			out = append(out, detail{"filter." + d.path, masked(d.value)})
		}
	}
	if f.ResourceType != "" {
		kind := f.ResourceType
		if !plainWord.MatchString(kind) {
			kind = "***"
		}
		out = append(out, detail{"filter.resourceType", kind})
	}
	if f.Outcome != "" {
		out = append(out, detail{"filter.outcome", f.Outcome})
	}
	if !f.Start.IsZero() {
		out = append(out, detail{"filter.startTime", f.Start.Format(time.RFC3339Nano)})
	}
	if !f.End.IsZero() {
		out = append(out, detail{"filter.endTime", f.End.Format(time.RFC3339Nano)})
	}
	return out
}

var plainWord = regexp.MustCompile(`^[a-z][a-z_]{0,31}$`)
