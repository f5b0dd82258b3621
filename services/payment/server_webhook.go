package payment

import (
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

type webhookServer struct {
	paymentv1.UnimplementedWebhookEventInternalServiceServer
	*Service
}

// ListWebhookEvents implements the contract's method.
func (s *webhookServer) ListWebhookEvents(ctx context.Context, r *paymentv1.ListWebhookEventsRequest) (*paymentv1.ListWebhookEventsResponse, error) {
	q := keptQuery{Provider: r.GetProvider(), Limit: page.Size(r.GetPageSize()) + 1}
	if r.GetState() != paymentv1.WebhookEvent_STATE_UNSPECIFIED {
		q.State = r.GetState().String()
	}
	query := "webhook events " + q.State + " of " + q.Provider
	if r.GetPageToken() != "" {
		var from cursor
		if err := s.pages.Open(query, r.GetPageToken(), &from); err != nil {
			return nil, err //nolint:wrapcheck // already what the caller must see
		}
		q.Before = &from.ID
	}
	list, err := s.keptEvents(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &paymentv1.ListWebhookEventsResponse{}
	if len(list) == q.Limit {
		list = list[:q.Limit-1]
		out.NextPageToken = s.pages.Seal(query, cursor{ID: list[len(list)-1].ID})
	}
	for _, k := range list {
		out.WebhookEvents = append(out.WebhookEvents, k.pack())
	}
	return out, nil
}

// RetryWebhookEvent implements the contract's method.
func (s *webhookServer) RetryWebhookEvent(ctx context.Context, r *paymentv1.RetryWebhookEventRequest) (*paymentv1.RetryWebhookEventResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	eventID, err := id.Parse("evt", r.GetId())
	if err != nil {
		return nil, fail.New(fail.NotFound, "there is no such callback").Wrap(err)
	}
	k, err := s.retryKept(ctx, eventID, caller.UserID, r.GetReason())
	if errors.Is(err, errNoEvent) {
		return nil, fail.New(fail.NotFound, "there is no such callback").Wrap(err)
	}
	if err != nil {
		return nil, err
	}
	return &paymentv1.RetryWebhookEventResponse{WebhookEvent: k.pack()}, nil
}

func (k kept) pack() *paymentv1.WebhookEvent {
	m := &paymentv1.WebhookEvent{
		Id: id.Format("evt", k.ID), Provider: k.Provider, Event: k.Event, ProviderEventId: k.ProviderEventID, Topic: k.Topic,
		Subject: k.Subject, MerchantOrderId: k.MerchantOrderID, State: paymentv1.WebhookEvent_State(paymentv1.WebhookEvent_State_value[k.State]),
		ClaimedState: k.ClaimedState, Attempts: int32(k.Attempts), LastError: k.LastError, //nolint:gosec // some forty at most
		ReceivedAt: timestamppb.New(k.ReceivedAt), RequestId: k.RequestID,
	}
	if k.ClaimedMinor != nil {
		m.ClaimedAmount = &typev1.Money{CurrencyCode: k.ClaimedCurrency, AmountMinor: *k.ClaimedMinor}
	}
	if k.ProcessedAt != nil {
		m.ProcessedAt = timestamppb.New(*k.ProcessedAt)
	}
	return m
}
