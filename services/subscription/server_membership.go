package subscription

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

func (s *Service) onMembership(ctx context.Context, tx txn, ev *eventv1.Event) error {
	m, err := membershipOf(ev)
	if err != nil {
		return err
	}
	return s.join(ctx, tx, m)
}

// afterMembership folds at once what else the worker would fold soon.
func (s *Service) afterMembership(ctx context.Context, ev *eventv1.Event) {
	m, err := membershipOf(ev)
	if err != nil {
		return
	}
	if err := s.refold(ctx, m.UserID); err != nil && ctx.Err() == nil {
		zerolog.Ctx(ctx).Warn().Err(err).Stringer("user_id", m.UserID).Msg("entitlements not folded again yet")
	}
}

func membershipOf(ev *eventv1.Event) (membership, error) {
	m := &userv1.OrganizationMembershipChanged{}
	if err := outbox.Payload(ev, m); err != nil {
		return membership{}, err
	}
	orgID, errOrg := uuid.FromBytes(m.GetOrganizationId())
	payerID, errPayer := uuid.FromBytes(m.GetPayerId())
	userID, errUser := uuid.FromBytes(m.GetUserId())
	if err := errors.Join(errOrg, errPayer, errUser); err != nil {
		return membership{}, fail.New(fail.InvalidArgument, "an id is malformed").Wrap(err)
	}
	return membership{OrganizationID: orgID, PayerID: payerID, UserID: userID, Member: m.GetMember(), Version: m.GetVersion()}, nil
}
