package auth

import (
	"context"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
)

const freePlan = "free"

// entitle copies a plan and its features for tokens to come, and makes those
// already out stale.
//
// Except for a new account's Free plan: that event arrives a moment after the
// first session was opened, and would make its token stale at once. The token
// says "free" already; it lacks the few features of that plan, which is less
// than the account may do, never more, until the next refresh.
func (s *Service) entitle(ctx context.Context, tx pg.Tx, e entitlement) ([]authzEvent, error) {
	now := s.now()
	raise := int64(1)
	if e.Plan == freePlan && e.Epoch == 1 {
		raise = 0
	}
	epoch, changed, err := s.setEntitlement(ctx, tx, e, raise, now)
	if err != nil {
		return nil, err
	}
	if !changed {
		_, found, err := s.account(ctx, tx, e.AccountID)
		if err == nil && !found {
			return nil, fail.New(fail.InvalidArgument, "there is no such account")
		}
		return nil, err // an older word than the one we have
	}
	if raise == 0 {
		return nil, nil
	}
	return s.recordAuthz(ctx, tx, accountStale, epoch, now, e.AccountID)
}

// entitledUntil is what a token says of the plan's end. A part of a second is
// cut off: the token must not say more than was paid for.
func (a account) entitledUntil() int64 {
	if a.PlanEndsAt == nil {
		return 0
	}
	return a.PlanEndsAt.Unix()
}
