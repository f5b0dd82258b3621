package user

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// onEntitlement copies how many people a plan allows.
func (s *Service) onEntitlement(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
	m := &subscriptionv1.EntitlementChanged{}
	if err := outbox.Payload(ev, m); err != nil {
		return err
	}
	userID, err := uuid.FromBytes(m.GetUserId())
	if err != nil {
		return fail.New(fail.InvalidArgument, "the user's id is malformed").Wrap(err)
	}
	l := seatLimit{UserID: userID, Epoch: m.GetEpoch(), Seats: seatsOf(m.GetLimits())}
	if m.GetEndsAt() != nil {
		t := m.GetEndsAt().AsTime()
		l.EndsAt = &t
	}
	return s.putSeats(ctx, tx, l)
}

// onLegal writes what somebody agreed to after registration.
func (s *Service) onLegal(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
	m := &authv1.LegalAccepted{}
	if err := outbox.Payload(ev, m); err != nil {
		return err
	}
	userID, err := uuid.FromBytes(m.GetUserId())
	if err != nil {
		return fail.New(fail.InvalidArgument, "the user's id is malformed").Wrap(err)
	}
	at := ev.GetOccurredAt().AsTime()
	if err := s.consentByEvent(ctx, tx, consent{UserID: userID, Document: "TERMS", Version: m.GetTerms(), Source: fromSignIn, OccurredAt: at}); err != nil {
		return err
	}
	return s.consentByEvent(ctx, tx, consent{UserID: userID, Document: "PRIVACY", Version: m.GetPrivacy(), Source: fromSignIn, OccurredAt: at})
}

// registered writes the consent that an account began with.
func (s *Service) registered(ctx context.Context, tx pg.Tx, a account, terms string, at time.Time) error {
	return s.consentByEvent(ctx, tx, consent{
		UserID: a.UserID, Document: "TERMS", Version: terms, Locale: a.Locale, Source: fromRegistration, OccurredAt: at,
	})
}
