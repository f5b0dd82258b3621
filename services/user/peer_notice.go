package user

import (
	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// invited asks auth, who keeps the transport and knows where links lead, to
// mail an invitation. The token
// lies in the outbox until the mail is on its way, and nowhere else.
func (s *Service) invited(i invitation, organization, tok string) outbox.Event {
	return outbox.Event{
		Key: id.Format("inv", i.ID), Destinations: []string{"auth"}, OccurredAt: s.now(),
		Payload: &authv1.NoticeRequested{
			Email: i.Email, Template: "invitation", Locale: i.Locale,
			Params: map[string]string{
				"detail": organization, "link": "/invitations#token=" + tok, "date": i.ExpiresAt.UTC().Format("2006-01-02 15:04 UTC"),
			},
		},
	}
}

// therapistVerified has auth give or take the role. All of one person carry one
// key, so they arrive in order.
func (s *Service) therapistVerified(userID uuid.UUID, verified bool, version int64) outbox.Event {
	return outbox.Event{
		Key: id.Format("usr", userID), Destinations: []string{"auth"}, OccurredAt: s.now(),
		Payload: &userv1.TherapistVerified{UserId: userID[:], Verified: verified, Version: version},
	}
}
