package audit

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

const maxExported = 1000 // of a person's latest events

// ListSecurityActivity lists the caller's own events.
func (s *publicServer) ListSecurityActivity(ctx context.Context, r *auditv1.ListSecurityActivityRequest) (*auditv1.ListSecurityActivityResponse, error) {
	c, ok := token.FromContext(ctx)
	if !ok || !c.SignedIn() {
		return nil, fail.New(fail.Unauthenticated, "sign in first")
	}
	me := id.Format("usr", c.UserID)
	query := "security activity\x00" + me
	var cur *cursor
	if r.GetPageToken() != "" {
		cur = &cursor{}
		if err := s.pages.Open(query, r.GetPageToken(), cur); err != nil {
			return nil, err
		}
	}
	size := page.Size(r.GetPageSize())
	list, err := s.about(ctx, me, cur, size+1)
	if err != nil {
		return nil, err
	}
	out := &auditv1.ListSecurityActivityResponse{}
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		out.NextPageToken = s.pages.Seal(query, cursor{OccurredAt: last.OccurredAt, Seq: last.Seq})
	}
	for _, row := range list {
		ev, err := unpackStored(row.Canonical)
		if err != nil {
			return nil, err
		}
		out.Events = append(out.Events, ownView(ev, me))
	}
	return out, nil
}

// ownView is an event as the person it is about may see it: nobody else is
// named, and what the staff wrote stays with the staff.
func ownView(ev *auditv1.Event, me string) *auditv1.Event {
	if a := ev.GetActor(); a.GetId() != me {
		ev.Actor = &auditv1.Event_Actor{Type: a.GetType()}
		ev.Reason, ev.Changes, ev.IpPrefix = "", nil, ""
	} else if a.GetImpersonatorId() != "" {
		a.ImpersonatorId = ""
		a.Type = "admin"
	}
	targets := ev.GetTargets()[:0]
	for _, t := range ev.GetTargets() {
		if t.GetType() != "user" || t.GetId() == me {
			targets = append(targets, t)
		}
	}
	ev.Targets = targets
	return ev
}

type personalServer struct {
	userv1.UnimplementedPersonalDataInternalServiceServer
	*Service
}

func (s *personalServer) GetPersonalData(ctx context.Context, r *userv1.GetPersonalDataRequest) (*userv1.GetPersonalDataResponse, error) {
	userID, err := uuid.FromBytes(r.GetUserId())
	if err != nil {
		return nil, fail.New(fail.InvalidArgument, "the user's id is malformed").Wrap(err)
	}
	me := id.Format("usr", userID)
	list, err := s.about(ctx, me, nil, maxExported)
	if err != nil {
		return nil, err
	}
	events := make([]json.RawMessage, 0, len(list))
	for _, row := range list {
		ev, err := unpackStored(row.Canonical)
		if err != nil {
			return nil, err
		}
		text, err := protojson.Marshal(ownView(ev, me))
		if err != nil {
			return nil, fmt.Errorf("encode an event: %w", err)
		}
		events = append(events, text)
	}
	text, err := json.Marshal(map[string]any{"events": events, "truncated": len(events) == maxExported})
	if err != nil {
		return nil, fmt.Errorf("encode the events: %w", err)
	}
	return &userv1.GetPersonalDataResponse{Json: text}, nil
}

// ErasePersonalData has nothing to do: events name people by ids alone, and
// whose they were is known nowhere once the account is gone. The log must stay
// as it is to be believed.
func (s *personalServer) ErasePersonalData(context.Context, *userv1.ErasePersonalDataRequest) (*userv1.ErasePersonalDataResponse, error) {
	return &userv1.ErasePersonalDataResponse{}, nil
}
