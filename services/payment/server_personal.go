package payment

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

type personalServer struct {
	userv1.UnimplementedPersonalDataInternalServiceServer
	*Service
}

func (s *personalServer) GetPersonalData(ctx context.Context, r *userv1.GetPersonalDataRequest) (*userv1.GetPersonalDataResponse, error) {
	userID, err := personOf(r.GetUserId())
	if err != nil {
		return nil, err
	}
	text, err := s.personalData(ctx, userID)
	return &userv1.GetPersonalDataResponse{Json: text}, err
}

// ErasePersonalData ends a person's consents to be debited. Payments and
// journals stay: they name a person by id alone, and the law has us keep them
// for eight years.
func (s *personalServer) ErasePersonalData(ctx context.Context, r *userv1.ErasePersonalDataRequest) (*userv1.ErasePersonalDataResponse, error) {
	userID, err := personOf(r.GetUserId())
	if err != nil {
		return nil, err
	}
	if err := s.endMandates(ctx, userID, actorOf{"service", "user"}); err != nil {
		return nil, err
	}
	return &userv1.ErasePersonalDataResponse{}, nil
}

func personOf(b []byte) (uuid.UUID, error) {
	u, err := uuid.FromBytes(b)
	if err != nil {
		return uuid.Nil, fail.New(fail.InvalidArgument, "the user's id is malformed").Wrap(err)
	}
	return u, nil
}
