package auth

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// onTherapist applies a verification that came or went.
func (s *Service) onTherapist(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
	m := &userv1.TherapistVerified{}
	if err := outbox.Payload(ev, m); err != nil {
		return err
	}
	userID, err := uuid.FromBytes(m.GetUserId())
	if err != nil {
		return fail.New(fail.InvalidArgument, "the user's id is malformed").Wrap(err)
	}
	news, err := s.verifyTherapist(ctx, tx, userID, m.GetVerified(), ev.GetRequestId())
	if err != nil {
		return err
	}
	s.waiting.put(ev, news)
	return nil
}

// tellTherapist brings the edges and the other services what onTherapist wrote.
func (s *Service) tellTherapist(ctx context.Context, ev *eventv1.Event) {
	s.publish(ctx, s.waiting.take(ev)...)
	s.outbox.Wake()
}
