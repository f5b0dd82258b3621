package user

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// personPeer is what user asks of every service that knows people.
type personPeer struct {
	client userv1.PersonalDataInternalServiceClient
}

func newPersonPeer(conn grpc.ClientConnInterface) personPeer {
	return personPeer{client: userv1.NewPersonalDataInternalServiceClient(conn)}
}

func (p personPeer) personalData(ctx context.Context, person uuid.UUID) ([]byte, error) {
	r, err := p.client.GetPersonalData(ctx, &userv1.GetPersonalDataRequest{UserId: person[:]})
	if err != nil {
		return nil, fmt.Errorf("ask for a person's data: %w", err)
	}
	return r.GetJson(), nil
}

func (p personPeer) erase(ctx context.Context, person uuid.UUID) error {
	if _, err := p.client.ErasePersonalData(ctx, &userv1.ErasePersonalDataRequest{UserId: person[:]}); err != nil {
		return fmt.Errorf("have a person erased: %w", err)
	}
	return nil
}

// requestOpened tells audit of a wish, and auth of one to be forgotten.
func requestOpened(c *token.Caller, r dataRequest, now time.Time) []outbox.Event {
	action := trail.UserExportRequested
	if r.Kind == kindErasure {
		action = trail.UserErasureScheduled
	}
	person := id.Format("usr", r.UserID)
	out := []outbox.Event{aboutRequest(action, &auditv1.Event_Actor{Type: "user", Id: person, SessionId: id.Format("ses", c.SessionID), ImpersonatorId: c.ImpersonatorID()}, r, c.RequestID, now)}
	if r.Kind == kindErasure {
		out = append(out, outbox.Event{
			Key: person, Destinations: []string{"auth"}, OccurredAt: now,
			Payload: &userv1.ErasureScheduled{UserId: r.UserID[:], RequestId: r.ID[:], DueAt: timestamppb.New(*r.DueAt)},
		})
	}
	return out
}

func aboutRequest(action trail.Action, who *auditv1.Event_Actor, r dataRequest, requestID string, now time.Time) outbox.Event {
	person := id.Format("usr", r.UserID)
	return outbox.Event{
		Key: person, Destinations: []string{"audit"}, OccurredAt: now,
		Payload: &auditv1.Event{
			Action: action.String(), Actor: who, Outcome: auditv1.Event_SUCCESS, RequestId: requestID,
			Targets: []*auditv1.Event_Target{{Type: "user", Id: person}, {Type: "data_request", Id: id.Format(dataPrefix, r.ID)}},
		},
	}
}

func itself() *auditv1.Event_Actor { return &auditv1.Event_Actor{Type: "service", Id: "user"} }

func notice(r dataRequest, template string, params map[string]string, now time.Time) outbox.Event {
	return outbox.Event{
		Key: id.Format("usr", r.UserID), Destinations: []string{"auth"}, OccurredAt: now,
		Payload: &authv1.NoticeRequested{UserId: r.UserID[:], Template: template, Params: params},
	}
}

func exportReady(r dataRequest, now time.Time) []outbox.Event {
	return []outbox.Event{
		aboutRequest(trail.UserExportReady, itself(), r, "", now),
		notice(r, "export_ready", map[string]string{"date": now.Add(exportLife).UTC().Format(time.DateOnly)}, now),
	}
}

func erasureNear(r dataRequest, now time.Time) []outbox.Event {
	return []outbox.Event{notice(r, "erasure_scheduled", map[string]string{"date": r.DueAt.UTC().Format(time.DateOnly)}, now)}
}

func erasureDone(r dataRequest, now time.Time) []outbox.Event {
	return []outbox.Event{aboutRequest(trail.UserErased, itself(), r, "", now)}
}
