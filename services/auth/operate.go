package auth

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// upon is an operator and the account below him, both locked.
type upon struct {
	Actor, Before account
	Now           time.Time
}

// effect is what an operator's act came to.
type effect struct {
	After   account
	Changes []change
	News    []authzEvent
	Targets []target // beside the account
	Nothing bool     // all was as wished already: nothing to record
}

// operate runs an operator's act upon an account below his own, and records
// it. The token has been checked; here the table decides, so that rights lost
// meanwhile are not used. What do refuses with PERMISSION_DENIED, before it has
// written anything, is on record as well.
func (s *Service) operate(ctx context.Context, c *token.Caller, userID uuid.UUID, permission string, what act,
	do func(ctx context.Context, tx pg.Tx, u upon) (effect, error),
) (account, error) {
	var done effect
	var refusal error // told after the commit: the attempt is on record
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		done, refusal = effect{}, nil
		u, err := s.meet(ctx, tx, c, userID)
		if err != nil {
			return err
		}
		record := what
		record.Actor, record.Targets, record.Outcome = adminActor(c), []target{userTarget(userID)}, success
		if slices.Contains(u.Actor.Permissions, permission) && mayManage(u.Actor, u.Before) {
			done, err = do(ctx, tx, u)
		} else {
			err = fail.New(fail.PermissionDenied, "you may not change this account")
		}
		switch {
		case fail.Is(err, fail.PermissionDenied):
			refusal, done = err, effect{}
			record.Outcome = denied
			return s.record(ctx, tx, c, u.Now, record)
		case err != nil || done.Nothing:
			return err
		}
		record.Changes, record.Targets = done.Changes, append(record.Targets, done.Targets...)
		return s.record(ctx, tx, c, u.Now, record)
	})
	if err != nil {
		return account{}, err
	}
	s.publish(ctx, done.News...)
	s.outbox.Wake()
	return done.After, refusal
}

// meet locks and reads the operator and whom it is about.
func (s *Service) meet(ctx context.Context, tx pg.Tx, c *token.Caller, userID uuid.UUID) (upon, error) {
	u := upon{Now: s.now()}
	if err := s.lockAccounts(ctx, tx, c.UserID, userID); err != nil {
		return u, err
	}
	var found bool
	var err error
	if u.Before, found, err = s.account(ctx, tx, userID); err != nil || !found {
		return u, orNoAccount(err)
	}
	u.Actor, _, err = s.account(ctx, tx, c.UserID)
	return u, err
}

// endAll signs an account out everywhere.
func (s *Service) endAll(ctx context.Context, c *token.Caller, userID uuid.UUID, reason string) (account, error) {
	return s.operate(ctx, c, userID, "users.manage", act{Action: trail.AccountSessionsRevoked, Reason: reason},
		func(ctx context.Context, tx pg.Tx, u upon) (effect, error) {
			ended, err := s.endSessions(ctx, tx, userID, "ended by an operator", u.Now)
			if err != nil {
				return effect{}, err
			}
			news, err := s.recordAuthz(ctx, tx, sessionRevoked, 0, u.Now, ended...)
			if err != nil {
				return effect{}, err
			}
			more, err := s.endImpersonations(ctx, tx, userID, uuid.Nil, uuid.Nil, c, u.Now)
			return effect{After: u.Before, News: append(news, more...), Changes: []change{{Path: "sessions", Before: count(len(ended)), After: "0"}}}, err
		})
}

// unlock forgets the failed attempts that keep an account's owner out. What was
// recorded has happened: the counters go after the commit, and a failure is told.
func (s *Service) unlock(ctx context.Context, c *token.Caller, userID uuid.UUID, reason string) (account, error) {
	acc, err := s.operate(ctx, c, userID, "users.manage", act{Action: trail.AccountUnlocked, Reason: reason},
		func(_ context.Context, _ pg.Tx, u upon) (effect, error) { return effect{After: u.Before}, nil })
	if err != nil {
		return account{}, err
	}
	return acc, s.forgetFailures(ctx, acc)
}
