package payment

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/fail"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// organizationPeer is what payment asks of user.
type organizationPeer struct {
	client userv1.MembershipInternalServiceClient // nil: not configured
}

func newOrganizationPeer(conn grpc.ClientConnInterface) organizationPeer {
	return organizationPeer{client: userv1.NewMembershipInternalServiceClient(conn)}
}

// payerFor gives who pays for an organization, to one who may administer it. To
// everybody else there is no such organization.
func (p organizationPeer) payerFor(ctx context.Context, organizationID, userID uuid.UUID) (uuid.UUID, error) {
	if p.client == nil {
		return uuid.Nil, fail.New(fail.Unavailable, "organizations cannot be asked about")
	}
	r, err := p.client.GetMembership(ctx, &userv1.GetMembershipRequest{OrganizationId: organizationID[:], UserId: userID[:]})
	if err != nil {
		return uuid.Nil, fmt.Errorf("ask about the organization: %w", fail.FromError(err))
	}
	if r.GetRole() != "OWNER" && r.GetRole() != "ADMIN" {
		return uuid.Nil, fail.New(fail.NotFound, "there is no such organization")
	}
	payer, err := uuid.FromBytes(r.GetPayerId())
	if err != nil {
		return uuid.Nil, fmt.Errorf("payer of the organization: %w", err)
	}
	return payer, nil
}
