package auth

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

func wrongPassword() error { return fail.New(fail.InvalidCredentials, "the password is not right") }

// ownPassword asks a signed-in person for the password again and gives its hash.
// It has a counter of its own: strangers who guess at the front door must not
// lock the owner out of changing the password.
func (s *Service) ownPassword(ctx context.Context, acc account, plain string, c *token.Caller) (phc string, err error) {
	try, err := s.throttle.reserve(ctx, "reauth", acc.ID.String(), c.ClientIP)
	if err != nil {
		return "", err
	}
	which := -1
	if phc, err = s.credential(ctx, s.db.Pool, acc.ID); err == nil {
		which, err = s.hash.Verify(ctx, plain, phc)
	}
	if err != nil {
		try.release(ctx)
		return "", err
	}
	if which == 0 {
		try.release(ctx)
		return phc, nil
	}
	if err := s.recordRefusal(ctx, c, "password asked again"); err != nil {
		zerolog.Ctx(ctx).Error().Err(err).Msg("wrong password not recorded")
	}
	if err := try.failed(ctx); err != nil {
		return "", err
	}
	return "", wrongPassword()
}

func (s *Service) recordRefusal(ctx context.Context, c *token.Caller, reason string) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		return s.record(ctx, tx, c, s.now(), act{
			Action: trail.LoginFailed, Actor: userActor(c.UserID, c.SessionID), Targets: []target{userTarget(c.UserID)}, Outcome: denied, Reason: reason,
		})
	})
	s.outbox.Wake()
	return err
}

// ownCode asks a signed-in person for the second factor and, if the code fits,
// goes on in the transaction that uses it up. Fails with INVALID_CODE.
func (s *Service) ownCode(ctx context.Context, c *token.Caller, code string,
	done func(ctx context.Context, tx pg.Tx, acc account, now time.Time) error,
) error {
	try, err := s.throttle.reserve(ctx, "mfa", c.UserID.String(), c.ClientIP)
	if err != nil {
		return err
	}
	var fits bool
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		now := s.now()
		if err := s.lockAccount(ctx, tx, c.UserID); err != nil {
			return err
		}
		acc, found, err := s.account(ctx, tx, c.UserID)
		if err != nil || !found {
			return orNoAccount(err)
		}
		method, err := s.factorFits(ctx, tx, acc.ID, code, now)
		if err != nil {
			return err
		}
		if fits = method != ""; !fits {
			return s.record(ctx, tx, c, now, act{
				Action: trail.LoginFailed, Actor: userActor(c.UserID, c.SessionID), Targets: []target{userTarget(c.UserID)}, Outcome: denied, Reason: "second factor",
			})
		}
		if err := s.recoveryUsed(ctx, tx, acc, method, now); err != nil {
			return err
		}
		return done(ctx, tx, acc, now)
	})
	if err == nil && !fits {
		s.outbox.Wake()
		if err := try.failed(ctx); err != nil {
			return err
		}
		return wrongCode()
	}
	try.release(ctx)
	s.outbox.Wake()
	return err
}

// recoveryUsed tells an account's owner that a recovery code has gone.
func (s *Service) recoveryUsed(ctx context.Context, tx pg.Tx, acc account, method string, now time.Time) error {
	if method != methodRecovery {
		return nil
	}
	return s.tell(ctx, tx, acc, "recovery_code_used", now)
}

// stepUpPassword makes the caller's session fresh by its password. The session
// keeps the assurance it had: the factor it has shown was shown on this device.
func (s *Service) stepUpPassword(ctx context.Context, c *token.Caller, plain string) (grant, error) {
	acc, err := s.getAccount(ctx, c.UserID)
	if err != nil {
		return grant{}, err
	}
	if _, err := s.ownPassword(ctx, acc, plain, c); err != nil {
		return grant{}, err
	}
	var ses session
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		now := s.now()
		if err := s.lockAccount(ctx, tx, c.UserID); err != nil {
			return err
		}
		acc, ses, err = s.freshen(ctx, tx, c, now, func(held []string) []string { return held })
		return err
	})
	if err != nil {
		return grant{}, err
	}
	s.outbox.Wake()
	return s.grant(ses, acc, s.now())
}

// stepUpCode makes the caller's session fresh by its second factor, and gives
// it the assurance of one.
func (s *Service) stepUpCode(ctx context.Context, c *token.Caller, code string) (grant, error) {
	var ses session
	var acc account
	err := s.ownCode(ctx, c, code, func(ctx context.Context, tx pg.Tx, _ account, now time.Time) (err error) {
		acc, ses, err = s.freshen(ctx, tx, c, now, withSecond)
		return err
	})
	if err != nil {
		return grant{}, err
	}
	return s.grant(ses, acc, s.now())
}

// freshen notes that the person behind a session has just authenticated. Fails
// with TOKEN_REVOKED when the session has ended meanwhile.
func (s *Service) freshen(ctx context.Context, tx pg.Tx, c *token.Caller, now time.Time, assure func(held []string) []string) (account, session, error) {
	acc, found, err := s.account(ctx, tx, c.UserID)
	if err != nil {
		return acc, session{}, err
	}
	x, known, err := s.session(ctx, tx, c.SessionID)
	if err != nil {
		return acc, session{}, err
	}
	if !found || !known || acc.State != stateActive {
		return acc, session{}, ended()
	}
	next, live, err := s.freshenSession(ctx, tx, acc.ID, x.ID, assure(x.AMR), now)
	if err != nil {
		return acc, session{}, err
	}
	if !live {
		return acc, session{}, ended()
	}
	return acc, next, s.record(ctx, tx, c, now, act{
		Action: trail.SessionSteppedUp, Actor: userActor(acc.ID, x.ID), Targets: []target{userTarget(acc.ID), sessionTarget(x.ID)}, Outcome: success,
	})
}

func ended() error { return fail.New(fail.TokenRevoked, "the session has ended, sign in again") }
