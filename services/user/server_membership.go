package user

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

type membershipServer struct {
	userv1.UnimplementedMembershipInternalServiceServer
	*Service
}

func (s *membershipServer) GetMembership(ctx context.Context, r *userv1.GetMembershipRequest) (*userv1.GetMembershipResponse, error) {
	orgID, errOrg := uuid.FromBytes(r.GetOrganizationId())
	userID, errUser := uuid.FromBytes(r.GetUserId())
	if errOrg != nil || errUser != nil {
		return nil, fail.New(fail.InvalidArgument, "an id is malformed")
	}
	m, found, err := s.membership(ctx, orgID, userID)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, noOrg()
	}
	return &userv1.GetMembershipResponse{Role: m.Role, PayerId: m.PayerID[:]}, nil
}

func (s *membershipServer) CountSeats(ctx context.Context, r *userv1.CountSeatsRequest) (*userv1.CountSeatsResponse, error) {
	payer, err := uuid.FromBytes(r.GetPayerId())
	if err != nil {
		return nil, fail.New(fail.InvalidArgument, "the payer's id is malformed")
	}
	used, err := s.seatsUsed(ctx, s.db.Pool, payer, s.now())
	if err != nil {
		return nil, err
	}
	return &userv1.CountSeatsResponse{Used: used}, nil
}
