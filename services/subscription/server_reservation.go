package subscription

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

type reservationServer struct {
	subscriptionv1.UnimplementedReservationServiceServer
	*Service
}

func (s *reservationServer) CreateReservation(ctx context.Context, r *subscriptionv1.CreateReservationRequest) (*subscriptionv1.CreateReservationResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	ttl := reservedFor
	if r.TtlSeconds != nil {
		ttl = time.Duration(r.GetTtlSeconds()) * time.Second
	}
	rsv, l, err := s.reserve(ctx, caller.UserID, r.GetFeature(), r.GetAmount(), ttl)
	if err != nil {
		return nil, err
	}
	m := packReservation(rsv)
	m.Limit = packLimit(l)
	return &subscriptionv1.CreateReservationResponse{Reservation: m}, nil
}

func (s *reservationServer) CommitReservation(ctx context.Context, r *subscriptionv1.CommitReservationRequest) (*subscriptionv1.CommitReservationResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	rsvID, err := reservationID(r.GetId())
	if err != nil {
		return nil, err
	}
	rsv, err := s.commit(ctx, caller.UserID, rsvID, r.Amount)
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.CommitReservationResponse{Reservation: packReservation(rsv)}, nil
}

func (s *reservationServer) ReleaseReservation(ctx context.Context, r *subscriptionv1.ReleaseReservationRequest) (*subscriptionv1.ReleaseReservationResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	rsvID, err := reservationID(r.GetId())
	if err != nil {
		return nil, err
	}
	rsv, err := s.release(ctx, caller.UserID, rsvID)
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.ReleaseReservationResponse{Reservation: packReservation(rsv)}, nil
}

// reservationID reads an id; a malformed one names nothing.
func reservationID(text string) (uuid.UUID, error) {
	u, err := id.Parse("rsv", text)
	if err != nil {
		return u, fail.New(fail.NotFound, "there is no such reservation")
	}
	return u, nil
}

func packReservation(r reservation) *subscriptionv1.Reservation {
	m := &subscriptionv1.Reservation{
		Id: id.Format("rsv", r.ID), Feature: r.Feature, Amount: r.Amount, ExpiresAt: timestamppb.New(r.ExpiresAt),
		State: subscriptionv1.Reservation_State(subscriptionv1.Reservation_State_value[r.State]),
	}
	if r.Used != nil {
		m.Amount = *r.Used
	}
	return m
}
