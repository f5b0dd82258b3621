package payment

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/trail"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

type endpointServer struct {
	paymentv1.UnimplementedWebhookEndpointServiceServer
	*Service
}

// of is an organization, who asks about it, and who pays for it.
type of struct{ organizationID, by, payerID uuid.UUID }

// administered asks user each time: who was an admin yesterday may be nobody
// today.
func (s *endpointServer) administered(ctx context.Context, organization string) (of, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return of{}, err
	}
	organizationID, err := id.Parse("org", organization)
	if err != nil {
		return of{}, fail.New(fail.NotFound, "there is no such organization").Wrap(err)
	}
	payerID, err := s.organizations.payerFor(ctx, organizationID, caller.UserID)
	return of{organizationID, caller.UserID, payerID}, err
}

func (s *endpointServer) named(ctx context.Context, organization, raw string) (of, uuid.UUID, error) {
	o, err := s.administered(ctx, organization)
	if err != nil {
		return of{}, uuid.Nil, err
	}
	endpointID, err := id.Parse(endpointPrefix, raw)
	if err != nil {
		return of{}, uuid.Nil, fail.New(fail.NotFound, "there is no such endpoint").Wrap(err)
	}
	return o, endpointID, nil
}

func (s *endpointServer) CreateWebhookEndpoint(ctx context.Context, r *paymentv1.CreateWebhookEndpointRequest) (*paymentv1.CreateWebhookEndpointResponse, error) {
	o, err := s.administered(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	if err := s.checkURL(r.GetUrl()); err != nil {
		return nil, err
	}
	secret, err := s.newWebhookSecret()
	if err != nil {
		return nil, err
	}
	e := endpoint{
		ID: s.ids.New(), OrganizationID: o.organizationID, PayerID: o.payerID, URL: r.GetUrl(), Description: r.GetDescription(),
		Events: r.GetEvents(), Enabled: true, CreatedAt: s.now(),
	}
	e.Secret = s.sealer.seal(e.ID, secret)
	if err := s.addEndpoint(ctx, e, o.by); err != nil {
		return nil, err
	}
	m := packEndpoint(e)
	m.Secret = &secret
	return &paymentv1.CreateWebhookEndpointResponse{Endpoint: m}, nil
}

func (s *endpointServer) ListWebhookEndpoints(ctx context.Context, r *paymentv1.ListWebhookEndpointsRequest) (*paymentv1.ListWebhookEndpointsResponse, error) {
	o, err := s.administered(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	list, next, err := paged(s.Service, "endpoints of "+o.organizationID.String(), r.GetPageSize(), r.GetPageToken(),
		func(before uuid.UUID, limit int) ([]endpoint, error) {
			return s.endpoints(ctx, o.organizationID, before, limit)
		},
		func(e endpoint) uuid.UUID { return e.ID })
	if err != nil {
		return nil, err
	}
	out := &paymentv1.ListWebhookEndpointsResponse{NextPageToken: next}
	for _, e := range list {
		out.Endpoints = append(out.Endpoints, packEndpoint(e))
	}
	return out, nil
}

func (s *endpointServer) UpdateWebhookEndpoint(ctx context.Context, r *paymentv1.UpdateWebhookEndpointRequest) (*paymentv1.UpdateWebhookEndpointResponse, error) {
	o, endpointID, err := s.named(ctx, r.GetId(), r.GetEndpointId())
	if err != nil {
		return nil, err
	}
	if r.Url != nil {
		if err := s.checkURL(r.GetUrl()); err != nil {
			return nil, err
		}
	}
	e, err := s.changeEndpoint(ctx, o.organizationID, endpointID, o.by, trail.WebhookEndpointUpdated, func(e *endpoint) {
		e.PayerID = o.payerID
		if r.Url != nil {
			e.URL = r.GetUrl()
		}
		if r.Description != nil {
			e.Description = r.GetDescription()
		}
		if len(r.GetEvents()) > 0 {
			e.Events = r.GetEvents()
		}
		if r.Enabled != nil {
			e.Enabled, e.DisabledReason, e.FailingSince = r.GetEnabled(), "", nil
		}
	})
	if err != nil {
		return nil, err
	}
	return &paymentv1.UpdateWebhookEndpointResponse{Endpoint: packEndpoint(e)}, nil
}

func (s *endpointServer) DeleteWebhookEndpoint(ctx context.Context, r *paymentv1.DeleteWebhookEndpointRequest) (*paymentv1.DeleteWebhookEndpointResponse, error) {
	o, endpointID, err := s.named(ctx, r.GetId(), r.GetEndpointId())
	if err != nil {
		return nil, err
	}
	return &paymentv1.DeleteWebhookEndpointResponse{}, s.removeEndpoint(ctx, o.organizationID, endpointID, o.by)
}

func (s *endpointServer) RotateWebhookSecret(ctx context.Context, r *paymentv1.RotateWebhookSecretRequest) (*paymentv1.RotateWebhookSecretResponse, error) {
	o, endpointID, err := s.named(ctx, r.GetId(), r.GetEndpointId())
	if err != nil {
		return nil, err
	}
	secret, err := s.newWebhookSecret()
	if err != nil {
		return nil, err
	}
	until := s.now().Add(rotationLife)
	e, err := s.changeEndpoint(ctx, o.organizationID, endpointID, o.by, trail.WebhookEndpointSecretRotated, func(e *endpoint) {
		e.PreviousSecret, e.PreviousUntil = e.Secret, &until
		e.Secret = s.sealer.seal(e.ID, secret)
	})
	if err != nil {
		return nil, err
	}
	m := packEndpoint(e)
	m.Secret = &secret
	return &paymentv1.RotateWebhookSecretResponse{Endpoint: m}, nil
}

func (s *endpointServer) TestWebhookEndpoint(ctx context.Context, r *paymentv1.TestWebhookEndpointRequest) (*paymentv1.TestWebhookEndpointResponse, error) {
	o, endpointID, err := s.named(ctx, r.GetId(), r.GetEndpointId())
	if err != nil {
		return nil, err
	}
	e, err := s.endpointOf(ctx, s.db.Pool, o.organizationID, endpointID)
	if err != nil {
		return nil, err
	}
	d, err := s.addTest(ctx, e)
	if err != nil {
		return nil, err
	}
	return &paymentv1.TestWebhookEndpointResponse{Delivery: packDelivery(d)}, nil
}

func (s *endpointServer) ListWebhookDeliveries(ctx context.Context, r *paymentv1.ListWebhookDeliveriesRequest) (*paymentv1.ListWebhookDeliveriesResponse, error) {
	o, endpointID, err := s.named(ctx, r.GetId(), r.GetEndpointId())
	if err != nil {
		return nil, err
	}
	e, err := s.endpointOf(ctx, s.db.Pool, o.organizationID, endpointID)
	if err != nil {
		return nil, err
	}
	list, next, err := paged(s.Service, "deliveries of "+e.ID.String(), r.GetPageSize(), r.GetPageToken(),
		func(before uuid.UUID, limit int) ([]delivery, error) { return s.deliveries(ctx, e.ID, before, limit) },
		func(d delivery) uuid.UUID { return d.ID })
	if err != nil {
		return nil, err
	}
	out := &paymentv1.ListWebhookDeliveriesResponse{NextPageToken: next}
	for _, d := range list {
		out.Deliveries = append(out.Deliveries, packDelivery(d))
	}
	return out, nil
}

func (s *endpointServer) ReplayWebhookDelivery(ctx context.Context, r *paymentv1.ReplayWebhookDeliveryRequest) (*paymentv1.ReplayWebhookDeliveryResponse, error) {
	o, endpointID, err := s.named(ctx, r.GetId(), r.GetEndpointId())
	if err != nil {
		return nil, err
	}
	e, err := s.endpointOf(ctx, s.db.Pool, o.organizationID, endpointID)
	if err != nil {
		return nil, err
	}
	deliveryID, err := id.Parse(deliveryPrefix, r.GetDeliveryId())
	if err != nil {
		return nil, fail.New(fail.NotFound, "there is no such delivery").Wrap(err)
	}
	d, err := s.replay(ctx, e.ID, deliveryID)
	if err != nil {
		return nil, err
	}
	return &paymentv1.ReplayWebhookDeliveryResponse{Delivery: packDelivery(d)}, nil
}

func packEndpoint(e endpoint) *paymentv1.WebhookEndpoint {
	return &paymentv1.WebhookEndpoint{
		Id: id.Format(endpointPrefix, e.ID), Url: e.URL, Description: e.Description, Events: e.Events, Enabled: e.Enabled,
		DisabledReason: optional(e.DisabledReason), FailingSince: stamp(e.FailingSince), CreatedAt: timestamppb.New(e.CreatedAt),
	}
}

func packDelivery(d delivery) *paymentv1.WebhookDelivery {
	return &paymentv1.WebhookDelivery{
		Id: id.Format(deliveryPrefix, d.ID), MessageId: d.MessageID, Event: d.Event,
		State:    paymentv1.WebhookDelivery_State(paymentv1.WebhookDelivery_State_value[d.State]),
		Attempts: int32(d.Attempts), LastStatus: int32(d.LastStatus), LastError: optional(d.LastError), LatencyMs: int32(d.LatencyMs), //nolint:gosec // small
		NextAttemptAt: stamp(d.NextAttemptAt), CreatedAt: timestamppb.New(d.CreatedAt), DeliveredAt: stamp(d.DeliveredAt),
	}
}
