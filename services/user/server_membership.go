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
