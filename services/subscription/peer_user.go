package subscription

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/manas360/platform/pkg/fail"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// userPeer is what subscription asks of user.
type userPeer struct {
	client userv1.MembershipInternalServiceClient // nil: nobody keeps organizations
}

func newUserPeer(conn grpc.ClientConnInterface) userPeer {
	if conn == nil {
		return userPeer{}
	}
	return userPeer{client: userv1.NewMembershipInternalServiceClient(conn)}
}

// used gives how many seats of a payer's plan are in use. A user of before, who
// does not count them, has no say.
func (p userPeer) used(ctx context.Context, payer uuid.UUID) (int64, error) {
	if p.client == nil {
		return 0, nil
	}
	r, err := p.client.CountSeats(ctx, &userv1.CountSeatsRequest{PayerId: payer[:]})
	if status.Code(err) == codes.Unimplemented {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count the seats of %s: %w", payer, fail.FromError(err))
	}
	return r.GetUsed(), nil
}
