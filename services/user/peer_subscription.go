package user

import (
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// membershipChanged is the event of somebody's place in an organization.
func membershipChanged(orgID, payer, userID uuid.UUID, member bool, version int64, now time.Time) outbox.Event {
	return outbox.Event{
		Key: id.Format("org", orgID), Destinations: []string{"subscription"}, OccurredAt: now,
		Payload: &userv1.OrganizationMembershipChanged{
			OrganizationId: orgID[:], PayerId: payer[:], UserId: userID[:], Member: member, Version: version,
		},
	}
}
