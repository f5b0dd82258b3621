package subscription

import (
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// entitlementChanged makes auth's tokens follow the new set, and user's seats.
func (s *Service) entitlementChanged(userID uuid.UUID, e entitlements, limits map[string]int64, now time.Time) outbox.Event {
	if e.ClockAt != nil { // nobody else lives by that clock: only its moves end anything
		e.EndsAt = nil
	}
	return outbox.Event{
		Key: id.Format("usr", userID), Destinations: s.listeners, OccurredAt: now,
		Payload: &subscriptionv1.EntitlementChanged{
			UserId: userID[:], Epoch: e.Epoch, Plan: e.plan(now), Features: e.Features, EndsAt: stamp(e.EndsAt), Limits: limits,
		},
	}
}

// stamp leaves out a time that is not set.
func stamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}

// notice asks auth, who alone knows addresses, to write to a user.
func (s *Service) notice(userID uuid.UUID, template string, params map[string]string) outbox.Event {
	return outbox.Event{
		Key: id.Format("usr", userID), Destinations: []string{"auth"}, OccurredAt: s.now(),
		Payload: &authv1.NoticeRequested{UserId: userID[:], Template: template, Params: params},
	}
}
