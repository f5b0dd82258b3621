package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

type personalServer struct {
	userv1.UnimplementedPersonalDataInternalServiceServer
	*Service
}

func (s *personalServer) GetPersonalData(ctx context.Context, r *userv1.GetPersonalDataRequest) (*userv1.GetPersonalDataResponse, error) {
	userID, err := parseUser(r.GetUserId())
	if err != nil {
		return nil, err
	}
	text, err := s.personalData(ctx, userID)
	return &userv1.GetPersonalDataResponse{Json: text}, err
}

func (s *personalServer) ErasePersonalData(ctx context.Context, r *userv1.ErasePersonalDataRequest) (*userv1.ErasePersonalDataResponse, error) {
	userID, err := parseUser(r.GetUserId())
	if err != nil {
		return nil, err
	}
	return &userv1.ErasePersonalDataResponse{}, s.erase(ctx, userID)
}

func (s *Service) onErasure(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
	m := &userv1.ErasureScheduled{}
	if err := outbox.Payload(ev, m); err != nil {
		return err
	}
	userID, err := uuid.FromBytes(m.GetUserId())
	if err != nil || !m.GetDueAt().IsValid() {
		return fail.New(fail.InvalidArgument, "the event is malformed").Wrap(err)
	}
	news, err := s.scheduleErasure(ctx, tx, userID, m.GetDueAt().AsTime())
	if err != nil {
		return err
	}
	s.waiting.put(ev, news)
	return nil
}

func erasureCancelled(account uuid.UUID, now time.Time) outbox.Event {
	return outbox.Event{
		Key: id.Format("usr", account), Destinations: []string{"user"}, OccurredAt: now,
		Payload: &authv1.ErasureCancelled{UserId: account[:]},
	}
}
