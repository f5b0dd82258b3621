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
