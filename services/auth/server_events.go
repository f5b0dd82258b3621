package auth

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// handlers is what auth listens to.
func (s *Service) handlers() map[string]outbox.Handler {
	return map[string]outbox.Handler{
		"manas.user.v1.ErasureScheduled": {
			Source: "user",
			Apply:  s.onErasure,
			After:  func(ctx context.Context, ev *eventv1.Event) { s.publish(ctx, s.waiting.take(ev)...) },
		},
		"manas.subscription.v1.EntitlementChanged": {
			Source: "subscription",
			Apply:  s.onEntitlement,
			After:  func(ctx context.Context, ev *eventv1.Event) { s.publish(ctx, s.waiting.take(ev)...) },
		},
		"manas.auth.v1.NoticeRequested":   {Sources: []string{"user", "subscription", "payment", "admin"}, Apply: s.onNotice},
		"manas.user.v1.TherapistVerified": {Source: "user", Apply: s.onTherapist, After: s.tellTherapist},
	}
}

func (s *Service) onEntitlement(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
	m := &subscriptionv1.EntitlementChanged{}
	if err := outbox.Payload(ev, m); err != nil {
		return err
	}
	userID, err := uuid.FromBytes(m.GetUserId())
	if err != nil {
		return fail.New(fail.InvalidArgument, "the user's id is malformed").Wrap(err)
	}
	features := m.GetFeatures()
	if features == nil {
		features = []string{}
	}
	e := entitlement{AccountID: userID, Epoch: m.GetEpoch(), Plan: m.GetPlan(), Features: features}
	if m.GetEndsAt() != nil {
		ends := m.GetEndsAt().AsTime()
		e.EndsAt = &ends
	}
	if calls, told := m.GetLimits()["api_calls"]; told {
		e.APICalls = &calls
	}
	news, err := s.entitle(ctx, tx, e)
	if err != nil {
		return err
	}
	s.waiting.put(ev, news)
	return nil
}

func (s *Service) onNotice(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
	m := &authv1.NoticeRequested{}
	if err := outbox.Payload(ev, m); err != nil {
		return err
	}
	n := notice{Email: m.GetEmail(), Template: m.GetTemplate(), Locale: m.GetLocale(), Params: m.GetParams()}
	if raw := m.GetUserId(); len(raw) > 0 {
		var err error
		if n.UserID, err = uuid.FromBytes(raw); err != nil {
			return fail.New(fail.InvalidArgument, "the user's id is malformed").Wrap(err)
		}
	}
	return s.notify(ctx, tx, n)
}
