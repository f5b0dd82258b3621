package subscription

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/rpc"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// Register puts the service on g. peer names the direct caller of a request.
func (s *Service) Register(g *grpc.Server, peer func(context.Context) string) {
	subscriptionv1.RegisterSubscriptionServiceServer(g, &publicServer{Service: s})
	subscriptionv1.RegisterSubscriptionInternalServiceServer(g, &internalServer{Service: s})
	subscriptionv1.RegisterBillingServiceServer(g, &billingServer{Service: s})
	subscriptionv1.RegisterTestClockServiceServer(g, &clockServer{Service: s})
	subscriptionv1.RegisterReservationServiceServer(g, &reservationServer{Service: s})
	subscriptionv1.RegisterEntitlementInternalServiceServer(g, &entitlementServer{Service: s})
	subscriptionv1.RegisterOperatorInternalServiceServer(g, &operatorServer{Service: s})
	subscriptionv1.RegisterCatalogueInternalServiceServer(g, &catalogueServer{Service: s})
	subscriptionv1.RegisterPurchaseServiceServer(g, &purchaseServer{Service: s})
	subscriptionv1.RegisterPurchaseInternalServiceServer(g, &purchaseInternalServer{Service: s})
	subscriptionv1.RegisterUsageInternalServiceServer(g, &usageServer{Service: s})
	adminv1.RegisterStatusInternalServiceServer(g, outbox.NewStatus(s.db, schema, s.now))
	adminv1.RegisterFigureInternalServiceServer(g, &figureServer{Service: s})
	subscriptionv1.RegisterListingInternalServiceServer(g, &listingServer{Service: s})
	userv1.RegisterPersonalDataInternalServiceServer(g, &personalServer{Service: s})
	s.outbox.RegisterDeadLetters(g, s.db)
	outbox.Register(g, outbox.NewInbox(s.db, schema, s.now, peer, s.handlers()))
}

// inboxClient is the delivery end of another service.
func inboxClient(conn grpc.ClientConnInterface) eventv1.EventInboxServiceClient {
	return outbox.Client(conn)
}

// handlers is what subscription listens to. What an event unlocks reaches auth
// at once, not with the relay's next poll.
func (s *Service) handlers() map[string]outbox.Handler {
	wake := func(context.Context, *eventv1.Event) { s.outbox.Wake() }
	return map[string]outbox.Handler{
		"manas.auth.v1.AccountActivated":       {Source: "auth", Apply: s.onActivated, After: wake},
		"manas.payment.v1.PaymentStateChanged": {Source: "payment", Apply: s.onPayment, After: wake},
		"manas.payment.v1.MandateStateChanged": {Source: "payment", Apply: s.onMandateState, After: wake},

		"manas.user.v1.OrganizationMembershipChanged": {Source: "user", Apply: s.onMembership, After: s.afterMembership},
	}
}

func (s *Service) onMandateState(ctx context.Context, tx txn, ev *eventv1.Event) error {
	ctx = rpc.WithRequestID(ctx, ev.GetRequestId())
	m := &paymentv1.MandateStateChanged{}
	if err := outbox.Payload(ev, m); err != nil {
		return err
	}
	orderID, errOrder := uuid.FromBytes(m.GetRequestId())
	mandateID, errMandate := uuid.FromBytes(m.GetMandateId())
	if errOrder != nil || errMandate != nil {
		return fail.New(fail.InvalidArgument, "an id of the event is malformed")
	}
	by := serviceActor("payment")
	switch m.GetState() {
	case paymentv1.Mandate_ACTIVE:
		return s.onMandate(ctx, tx, orderID, mandateID, true, by)
	case paymentv1.Mandate_PAUSED, paymentv1.Mandate_REVOKED, paymentv1.Mandate_CANCELLED, paymentv1.Mandate_EXPIRED, paymentv1.Mandate_FAILED:
		return s.onMandate(ctx, tx, orderID, mandateID, false, by)
	default:
		return nil
	}
}

func (s *Service) onActivated(ctx context.Context, tx txn, ev *eventv1.Event) error {
	ctx = rpc.WithRequestID(ctx, ev.GetRequestId()) // of the act behind it, not of its delivery
	m := &authv1.AccountActivated{}
	if err := outbox.Payload(ev, m); err != nil {
		return err
	}
	userID, err := uuid.FromBytes(m.GetAccount().GetId())
	if err != nil {
		return fail.New(fail.InvalidArgument, "the account's id is malformed").Wrap(err)
	}
	return s.giveFree(ctx, tx, userID, serviceActor("auth"))
}

func (s *Service) onPayment(ctx context.Context, tx txn, ev *eventv1.Event) error {
	ctx = rpc.WithRequestID(ctx, ev.GetRequestId())
	m := &paymentv1.PaymentStateChanged{}
	if err := outbox.Payload(ev, m); err != nil {
		return err
	}
	c, err := captured(m)
	if err != nil {
		return err
	}
	by := serviceActor("payment")
	pur, err := s.purchase(ctx, tx, c.OrderID)
	if err == nil {
		return s.onPurchasePayment(ctx, tx, pur, m.GetState(), c, by)
	}
	if !errors.Is(err, errNone) {
		return err
	}
	return s.onOrderPayment(ctx, tx, m.GetState(), c, by)
}

// onOrderPayment routes news of an order's payment: of a first one, whose order
// is the subscription itself, or of a charge for another period.
func (s *Service) onOrderPayment(ctx context.Context, tx txn, state paymentv1.Payment_State, c capture, by actor) error {
	ch, err := s.chargeOf(ctx, tx, c.OrderID)
	if err != nil && !errors.Is(err, errNone) {
		return err
	}
	sub, renewal := subscription{ID: c.OrderID}, false
	if err == nil {
		inv, err := s.invoiceByID(ctx, tx, ch.InvoiceID)
		if err != nil {
			return err
		}
		sub.ID, renewal = *inv.SubscriptionID, inv.Kind == ofRenewal
	}
	switch state {
	case paymentv1.Payment_SUCCEEDED:
		if renewal {
			return s.renew(ctx, tx, ch, c, by)
		}
		return s.activate(ctx, tx, c, by)
	case paymentv1.Payment_REFUNDED, paymentv1.Payment_PARTIALLY_REFUNDED:
		sub, err := s.subscription(ctx, tx, sub.ID)
		if errors.Is(err, errNone) {
			return nil
		}
		if err != nil {
			return err
		}
		return s.takeBack(ctx, tx, sub, c, state == paymentv1.Payment_REFUNDED, by)
	case paymentv1.Payment_FAILED, paymentv1.Payment_EXPIRED, paymentv1.Payment_CANCELLED:
		if renewal {
			return s.declineCharge(ctx, tx, c.OrderID, c.PaymentID, by)
		}
		err := s.abandonIn(ctx, tx, c.OrderID, "payment "+state.String(), by)
		if errors.Is(err, errNone) {
			return fail.New(fail.InvalidArgument, "there is no order %s", c.OrderID)
		}
		return err
	default:
		return nil // on its way
	}
}

func (s *Service) onPurchasePayment(ctx context.Context, tx txn, pur purchase, state paymentv1.Payment_State, c capture, by actor) error {
	switch state {
	case paymentv1.Payment_SUCCEEDED:
		return s.deliver(ctx, tx, pur, c, by)
	case paymentv1.Payment_FAILED, paymentv1.Payment_EXPIRED, paymentv1.Payment_CANCELLED:
		return s.lapsePurchase(ctx, tx, pur.ID, by)
	default:
		return nil
	}
}
