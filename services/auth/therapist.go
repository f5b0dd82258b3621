package auth

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

const roleTherapist = "therapist"

// verifyTherapist gives or takes the role therapist on user's word, makes the
// account's tokens stale, and tells those who keep a copy of its roles. What
// stands already changes nothing.
func (s *Service) verifyTherapist(ctx context.Context, tx pg.Tx, userID uuid.UUID, verified bool, requestID string) ([]authzEvent, error) {
	if err := s.lockAccount(ctx, tx, userID); err != nil {
		return nil, err
	}
	now := s.now()
	_, found, err := s.account(ctx, tx, userID)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fail.New(fail.InvalidArgument, "there is no such account")
	}
	changed, err := s.setRole(ctx, tx, userID, roleTherapist, verified, now)
	if err != nil || !changed {
		return nil, err
	}
	if err := s.raiseRoles(ctx, tx, userID, now); err != nil {
		return nil, err
	}
	acc, _, err := s.account(ctx, tx, userID)
	if err != nil {
		return nil, err
	}
	news, err := s.recordAuthz(ctx, tx, accountStale, acc.Epoch, now, userID)
	if err != nil {
		return nil, err
	}
	if err := s.outbox.Append(ctx, tx, accountChanged(acc, now)); err != nil {
		return nil, err
	}
	what := act{
		Action: trail.RoleGranted, Actor: actor{Type: "service", ID: "user"}, Targets: []target{userTarget(userID)}, Outcome: success,
		Changes: []change{{Path: "roles", After: roleTherapist}},
	}
	if !verified {
		what.Action, what.Changes = trail.RoleRevoked, []change{{Path: "roles", Before: roleTherapist}}
	}
	return news, s.record(ctx, tx, &token.Caller{RequestID: requestID}, now, what)
}
