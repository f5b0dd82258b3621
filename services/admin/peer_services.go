package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// keyInterval is how old the key set may be; auth publishes a key well before
// it signs with it.
const keyInterval = time.Minute

// peers are the services admin asks.
type peers struct {
	auth         authv1.AuthInternalServiceClient
	user         userv1.UserInternalServiceClient
	subscription subscriptionv1.SubscriptionInternalServiceClient
	payment      paymentv1.PaymentInternalServiceClient
}

func newPeers(auth, user, subscription, payment grpc.ClientConnInterface) peers {
	return peers{
		auth:         authv1.NewAuthInternalServiceClient(auth),
		user:         userv1.NewUserInternalServiceClient(user),
		subscription: subscriptionv1.NewSubscriptionInternalServiceClient(subscription),
		payment:      paymentv1.NewPaymentInternalServiceClient(payment),
	}
}

// inboxClient is the delivery end of another service.
func inboxClient(conn grpc.ClientConnInterface) eventv1.EventInboxServiceClient {
	return eventv1.NewEventInboxServiceClient(conn)
}

// keepKeys feeds the verifier auth's public keys until ctx ends. An error ends
// it; the process starts it again after a pause, with the old keys still good.
func (p peers) keepKeys(ctx context.Context, v *token.Verifier) error {
	tick := time.NewTicker(keyInterval)
	defer tick.Stop()
	for {
		r, err := p.auth.GetKeys(ctx, &authv1.GetKeysRequest{})
		if err != nil {
			return fmt.Errorf("ask auth for its keys: %w", err)
		}
		set, err := jwk.Parse(r.GetJwks())
		if err != nil {
			return fmt.Errorf("parse auth's keys: %w", err)
		}
		v.SetKeys(set)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
