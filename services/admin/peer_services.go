package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/token"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
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
	roles        authv1.RoleInternalServiceClient
	user         userv1.UserInternalServiceClient
	subscription subscriptionv1.SubscriptionInternalServiceClient
	catalogue    subscriptionv1.CatalogueInternalServiceClient
	operations   subscriptionv1.OperatorInternalServiceClient
	grants       subscriptionv1.EntitlementInternalServiceClient
	payment      paymentv1.PaymentInternalServiceClient
	findings     paymentv1.FindingInternalServiceClient
	refunds      paymentv1.RefundInternalServiceClient
	webhooks     paymentv1.WebhookEventInternalServiceClient
	ledger       paymentv1.LedgerInternalServiceClient
	listing      subscriptionv1.ListingInternalServiceClient
	figures      map[string]adminv1.FigureInternalServiceClient // by service; those that are counted
	conns        map[string]grpc.ClientConnInterface            // by service; all that can be asked how they are
}

func newPeers(auth, user, subscription, payment grpc.ClientConnInterface) peers {
	return peers{
		auth:         authv1.NewAuthInternalServiceClient(auth),
		roles:        authv1.NewRoleInternalServiceClient(auth),
		user:         userv1.NewUserInternalServiceClient(user),
		subscription: subscriptionv1.NewSubscriptionInternalServiceClient(subscription),
		catalogue:    subscriptionv1.NewCatalogueInternalServiceClient(subscription),
		operations:   subscriptionv1.NewOperatorInternalServiceClient(subscription),
		grants:       subscriptionv1.NewEntitlementInternalServiceClient(subscription),
		payment:      paymentv1.NewPaymentInternalServiceClient(payment),
		findings:     paymentv1.NewFindingInternalServiceClient(payment),
		refunds:      paymentv1.NewRefundInternalServiceClient(payment),
		webhooks:     paymentv1.NewWebhookEventInternalServiceClient(payment),
		ledger:       paymentv1.NewLedgerInternalServiceClient(payment),
		listing:      subscriptionv1.NewListingInternalServiceClient(subscription),
		figures: map[string]adminv1.FigureInternalServiceClient{
			"auth":         adminv1.NewFigureInternalServiceClient(auth),
			"payment":      adminv1.NewFigureInternalServiceClient(payment),
			"subscription": adminv1.NewFigureInternalServiceClient(subscription),
		},
		conns: map[string]grpc.ClientConnInterface{"auth": auth, "user": user, "subscription": subscription, "payment": payment},
	}
}

// inboxClient is the delivery end of another service.
func inboxClient(conn grpc.ClientConnInterface) eventv1.EventInboxServiceClient {
	return outbox.Client(conn)
}

// keepTrust feeds the verifier auth's public keys and roles until ctx ends. An
// error ends it; the process starts it again after a pause, with what it had
// still good.
func (p peers) keepTrust(ctx context.Context, v *token.Verifier) error {
	tick := time.NewTicker(keyInterval)
	defer tick.Stop()
	for {
		if err := p.trust(ctx, v); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// trust asks auth for keys and roles now.
func (p peers) trust(ctx context.Context, v *token.Verifier) error {
	keys, err := p.auth.GetKeys(ctx, &authv1.GetKeysRequest{})
	if err != nil {
		return fmt.Errorf("ask auth for its keys: %w", err)
	}
	set, err := jwk.Parse(keys.GetJwks())
	if err != nil {
		return fmt.Errorf("parse auth's keys: %w", err)
	}
	v.SetKeys(set)
	roles, err := p.roles.ListRoles(ctx, &authv1.ListRolesRequest{})
	if err != nil {
		return fmt.Errorf("ask auth for its roles: %w", err)
	}
	list := make([]token.Role, 0, len(roles.GetRoles()))
	for _, r := range roles.GetRoles() {
		list = append(list, token.Role{Name: r.GetName(), Permissions: r.GetPermissions(), NeedsMFA: r.GetNeedsMfa(), Epoch: r.GetEpoch()})
	}
	v.SetRoles(roles.GetEpoch(), list)
	return nil
}
