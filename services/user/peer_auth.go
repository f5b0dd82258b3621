package user

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// authPeer is what user asks of auth.
type authPeer struct {
	client authv1.AuthInternalServiceClient
}

func newAuthPeer(conn grpc.ClientConnInterface) authPeer {
	return authPeer{client: authv1.NewAuthInternalServiceClient(conn)}
}

// account answers one account; NOT_FOUND when auth does not know it.
func (a authPeer) account(ctx context.Context, userID uuid.UUID) (account, error) {
	r, err := a.client.GetAccount(ctx, &authv1.GetAccountRequest{UserId: userID[:]})
	if err != nil {
		return account{}, fmt.Errorf("ask auth for account %s: %w", userID, err)
	}
	return fromAccount(r.GetAccount(), 0)
}
