package subscription

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// tellSubscription sends admin what is counted of a subscription, as it stands
// in tx.
func (s *Service) tellSubscription(ctx context.Context, tx txn, subID uuid.UUID) error {
	if !s.tells {
		return nil
	}
	list, err := s.figures(ctx, tx, &subID, uuid.Nil, 1)
	if err != nil || len(list) == 0 {
		return err
	}
	return s.outbox.Append(ctx, tx, list[0].event())
}

func (f figureRow) event() outbox.Event {
	return outbox.Event{Key: id.Format("sub", f.ID), Destinations: []string{"admin"}, Payload: &adminv1.SubscriptionFigure{
		SubscriptionId: f.ID[:], Version: f.Version, UserId: f.UserID[:], PlanCode: f.PlanCode, Cycle: f.Cycle, State: f.State,
		Currency: f.Currency, YearMinor: f.YearMinor, LiveFrom: stamp(f.LiveFrom), LiveUntil: stamp(f.LiveUntil),
		PayingFrom: stamp(f.PayingFrom), PayingUntil: stamp(f.PayingUntil), TrialAt: stamp(f.TrialAt),
	}}
}

type figureServer struct {
	adminv1.UnimplementedFigureInternalServiceServer
	*Service
}

func (s *figureServer) ListFigures(ctx context.Context, r *adminv1.ListFiguresRequest) (*adminv1.ListFiguresResponse, error) {
	size, after := int(max(r.GetPageSize(), 1)), uuid.Nil
	if t := r.GetPageToken(); t != "" {
		var err error
		if after, err = uuid.Parse(t); err != nil {
			return nil, fail.New(fail.InvalidArgument, "the request is invalid").Field("pageToken", "is not a page token of this list").Wrap(err)
		}
	}
	list, err := s.figures(ctx, s.db.Pool, nil, after, size)
	if err != nil {
		return nil, err
	}
	out := &adminv1.ListFiguresResponse{}
	for _, f := range list {
		ev := f.event()
		payload, err := proto.Marshal(ev.Payload)
		if err != nil {
			return nil, fmt.Errorf("encode a figure: %w", err)
		}
		out.Figures = append(out.Figures, &eventv1.Event{Type: string(ev.Payload.ProtoReflect().Descriptor().FullName()), Key: ev.Key, Payload: payload})
	}
	if len(list) == size {
		out.NextPageToken = list[size-1].ID.String()
	}
	return out, nil
}
