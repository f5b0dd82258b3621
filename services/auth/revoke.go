package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// Kinds of authzEvent.
const (
	sessionRevoked = "SESSION_REVOKED"
	accountRevoked = "ACCOUNT_REVOKED"
	accountStale   = "ACCOUNT_STALE"
)

// clockSkew is how much longer than a token an authz event lives.
const clockSkew = time.Minute

// end revokes one session and records what the edges must know.
func (s *Service) end(ctx context.Context, tx pg.Tx, account, sid uuid.UUID, reason string, now time.Time) (bool, []authzEvent, error) {
	ended, err := s.endSession(ctx, tx, account, sid, reason, now)
	if err != nil || !ended {
		return false, nil, err
	}
	news, err := s.recordAuthz(ctx, tx, sessionRevoked, 0, now, sid)
	if err != nil {
		return true, nil, err
	}
	more, err := s.endImpersonations(ctx, tx, account, sid, uuid.Nil, &token.Caller{}, now)
	return true, append(news, more...), err
}

// logout ends one session of the caller. Fails with NOT_FOUND for one that is
// not the caller's, or not live.
func (s *Service) logout(ctx context.Context, c *token.Caller, sid uuid.UUID) error {
	var news []authzEvent
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		var ended bool
		var err error
		now := s.now()
		if ended, news, err = s.end(ctx, tx, c.UserID, sid, "ended by its owner", now); err != nil {
			return err
		}
		if !ended {
			return fail.New(fail.NotFound, "there is no such session")
		}
		return s.record(ctx, tx, c, now, act{
			Action: trail.SessionRevoked, Actor: userActor(c.UserID, c.SessionID), Targets: []target{userTarget(c.UserID), sessionTarget(sid)}, Outcome: success,
		})
	})
	if err != nil {
		return err
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	return nil
}

// logoutAll ends every session of the caller.
func (s *Service) logoutAll(ctx context.Context, c *token.Caller) error {
	var news []authzEvent
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		now := s.now()
		ended, err := s.endSessions(ctx, tx, c.UserID, "ended by its owner", now)
		if err != nil {
			return err
		}
		if news, err = s.recordAuthz(ctx, tx, sessionRevoked, 0, now, ended...); err != nil {
			return err
		}
		more, err := s.endImpersonations(ctx, tx, c.UserID, uuid.Nil, uuid.Nil, c, now)
		if err != nil {
			return err
		}
		news = append(news, more...)
		acts := make([]act, 0, len(ended))
		for _, sid := range ended {
			acts = append(acts, act{
				Action: trail.SessionRevoked, Actor: userActor(c.UserID, c.SessionID), Targets: []target{userTarget(c.UserID), sessionTarget(sid)}, Outcome: success,
			})
		}
		return s.record(ctx, tx, c, now, acts...)
	})
	if err != nil {
		return err
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	return nil
}

// changeState suspends or reactivates an account; repeated, it changes nothing.
// A suspension ends every session and refuses sign-in. The caller must stand
// above the account.
func (s *Service) changeState(ctx context.Context, c *token.Caller, userID uuid.UUID, state, reason string) (acc account, err error) {
	var news []authzEvent
	var refusal error // told after the commit: the attempt is on record
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		news, refusal = nil, nil
		if err := s.lockAccount(ctx, tx, userID); err != nil { // before the sessions: as login does
			return err
		}
		before, found, err := s.account(ctx, tx, userID)
		if err != nil || !found {
			return orNoAccount(err)
		}
		actor, _, err := s.account(ctx, tx, c.UserID)
		if err != nil {
			return err
		}
		now := s.now()
		what := act{
			Action: trail.AccountReactivated, Actor: adminActor(c), Targets: []target{userTarget(userID)}, Outcome: success, Reason: reason,
			Changes: []change{{Path: "state", Before: before.State, After: state}},
		}
		if state == stateSuspended {
			what.Action = trail.AccountSuspended
		}
		if !mayManage(actor, before) {
			refusal = fail.New(fail.PermissionDenied, "you may not change this account")
			what.Outcome, what.Changes = denied, nil
			return s.record(ctx, tx, c, now, what)
		}
		if acc = before; before.State == state {
			return nil
		}
		if err := s.setState(ctx, tx, userID, state, now); err != nil {
			return err
		}
		if acc, _, err = s.account(ctx, tx, userID); err != nil {
			return err
		}
		if state == stateSuspended {
			news, err = s.shutOut(ctx, tx, acc, c, now)
		} else {
			err = s.queueMail(ctx, tx, mail{To: acc.Email, Template: "account_reactivated", Locale: acc.Locale, Name: acc.FirstName}, now)
		}
		if err != nil {
			return err
		}
		if err := s.outbox.Append(ctx, tx, accountChanged(acc, now)); err != nil {
			return err
		}
		return s.record(ctx, tx, c, now, what)
	})
	if err != nil {
		return account{}, err
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	return acc, refusal
}

// shutOut ends the sessions of a suspended account, kills its tokens and tells
// its owner.
func (s *Service) shutOut(ctx context.Context, tx pg.Tx, acc account, c *token.Caller, now time.Time) ([]authzEvent, error) {
	if _, err := s.endSessions(ctx, tx, acc.ID, "account suspended", now); err != nil {
		return nil, err
	}
	news, err := s.recordAuthz(ctx, tx, accountRevoked, acc.Epoch, now, acc.ID)
	if err != nil {
		return nil, err
	}
	more, err := s.endImpersonations(ctx, tx, acc.ID, uuid.Nil, uuid.Nil, c, now)
	if err != nil {
		return nil, err
	}
	return append(news, more...), s.queueMail(ctx, tx, mail{To: acc.Email, Template: "account_suspended", Locale: acc.Locale, Name: acc.FirstName}, now)
}

func orNoAccount(err error) error {
	if err != nil {
		return err
	}
	return fail.New(fail.NotFound, "there is no such account")
}

func (s *Service) getAccount(ctx context.Context, userID uuid.UUID) (account, error) {
	acc, found, err := s.account(ctx, s.db.Pool, userID)
	if err != nil || !found {
		return account{}, orNoAccount(err)
	}
	return acc, nil
}

// sessionName is a session's public id.
func sessionName(sid uuid.UUID) string { return id.Format("ses", sid) }
