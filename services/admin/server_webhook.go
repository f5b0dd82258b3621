package admin

import (
	"context"

	"github.com/manas360/platform/pkg/trail"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

// webhookServer shows callbacks that were kept. payment keeps them.
type webhookServer struct {
	adminv1.UnimplementedAdminWebhookServiceServer
	*server
}

func (s *webhookServer) ListWebhookEvents(ctx context.Context, r *adminv1.ListWebhookEventsRequest) (*adminv1.ListWebhookEventsResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.peers.webhooks.ListWebhookEvents(ctx, &paymentv1.ListWebhookEventsRequest{
		PageSize: r.GetPageSize(), PageToken: r.GetPageToken(), State: r.GetState(), Provider: r.GetProvider(),
	})
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, listed(caller, trail.AdminWebhookEventsListed, len(list.GetWebhookEvents()), s.now())); err != nil {
		return nil, err
	}
	return &adminv1.ListWebhookEventsResponse{WebhookEvents: list.GetWebhookEvents(), NextPageToken: list.GetNextPageToken()}, nil
}

func (s *webhookServer) RetryWebhookEvent(ctx context.Context, r *adminv1.RetryWebhookEventRequest) (*adminv1.RetryWebhookEventResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.webhooks.RetryWebhookEvent(ctx, &paymentv1.RetryWebhookEventRequest{Id: r.GetId(), Reason: r.GetReason()})
	if err != nil {
		return nil, err
	}
	return &adminv1.RetryWebhookEventResponse{WebhookEvent: out.GetWebhookEvent()}, nil
}
