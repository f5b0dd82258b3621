package auth

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/auth/password"
)

const aloneRunes = 15 // of a staff password with no second factor beside it: identity.md 6.6

// forgot mails a code to reset a password with, if the address is an account's
// proved one.
func (s *Service) forgot(ctx context.Context, email string, c *token.Caller) (oneTime, error) {
	address := canonicalEmail(email)
	if address == "" {
		return oneTime{}, badField("email", "must be an address")
	}
	return s.sendCode(ctx, purposeReset, byMail(address), c, func(ctx context.Context, tx pg.Tx) (decision, error) {
		d := decision{Mail: mail{Template: "reset_password"}, Act: act{Action: trail.PasswordResetRequested, Actor: anonymous, Outcome: denied}}
		acc, found, err := s.accountByEmail(ctx, tx, address)
		if err != nil || !found || acc.EmailVerifiedAt == nil {
			return d, err
		}
		d.Account, d.Real = acc.ID, true
		d.Mail.To, d.Mail.Locale, d.Mail.Name = address, acc.Locale, acc.FirstName
		d.Act.Targets, d.Act.Outcome = []target{userTarget(acc.ID)}, success
		return d, nil
	})
}

// reset sets a new password with a mailed code and ends every session. It opens
// none and leaves the second factor alone.
//
// The code is tried before it is used: a password too weak for the account, or
// a machine too busy to hash it, leaves it good. What is weak for anyone is told
// before the code is looked at, so it tells nothing of the code.
func (s *Service) reset(ctx context.Context, id uuid.UUID, code, newPassword string, c *token.Caller) error {
	if err := weak(password.Weak(newPassword)); err != nil {
		return err
	}
	a := attemptAt{Purpose: purposeReset, ID: id, Code: code, Keep: true, Failure: act{Action: trail.PasswordReset, Reason: "wrong code"}}
	err := s.answerCode(ctx, a, c, func(ctx context.Context, tx pg.Tx, x oneTime, _ time.Time) (refusal, err error) {
		acc, found, err := s.account(ctx, tx, x.account())
		if err != nil || !found {
			return wrongCode(), err
		}
		return acc.weak(newPassword), nil
	})
	if err != nil {
		return err
	}
	phc, err := s.hash.Hash(ctx, newPassword)
	if err != nil {
		return err
	}
	var news []authzEvent
	a.Keep = false
	err = s.answerCode(ctx, a, c, func(ctx context.Context, tx pg.Tx, x oneTime, now time.Time) (refusal, err error) {
		acc, found, err := s.account(ctx, tx, x.account())
		if err != nil || !found {
			return wrongCode(), err
		}
		news, err = s.resetTx(ctx, tx, acc, phc, c, now)
		return nil, err
	})
	if err != nil {
		return err
	}
	s.publish(ctx, news...)
	return nil
}

func (s *Service) resetTx(ctx context.Context, tx pg.Tx, acc account, phc string, c *token.Caller, now time.Time) ([]authzEvent, error) {
	if err := s.putPHC(ctx, tx, acc.ID, phc, now); err != nil {
		return nil, err
	}
	ended, err := s.endSessions(ctx, tx, acc.ID, "password reset", now)
	if err != nil {
		return nil, err
	}
	news, err := s.recordAuthz(ctx, tx, sessionRevoked, 0, now, ended...)
	if err != nil {
		return nil, err
	}
	more, err := s.endImpersonations(ctx, tx, acc.ID, uuid.Nil, uuid.Nil, c, now)
	if err != nil {
		return nil, err
	}
	news = append(news, more...)
	if err := s.endCodes(ctx, tx, acc.ID, now); err != nil {
		return nil, err
	}
	if err := s.releaseRecipient(ctx, tx, byMail(acc.Email).claim(purposeReset)); err != nil {
		return nil, err
	}
	if err := s.tell(ctx, tx, acc, "password_reset", now); err != nil {
		return nil, err
	}
	return news, s.record(ctx, tx, c, now, act{Action: trail.PasswordReset, Actor: anonymous, Targets: []target{userTarget(acc.ID)}, Outcome: success})
}

// changePassword sets a new password and ends the caller's other sessions.
func (s *Service) changePassword(ctx context.Context, c *token.Caller, current, newPassword string) error {
	acc, err := s.getAccount(ctx, c.UserID)
	if err != nil {
		return err
	}
	if err := acc.weak(newPassword); err != nil {
		return err
	}
	old, err := s.ownPassword(ctx, acc, current, c)
	if err != nil {
		return err
	}
	phc, err := s.hash.Hash(ctx, newPassword)
	if err != nil {
		return err
	}
	var news []authzEvent
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		news, err = s.changePasswordTx(ctx, tx, acc, old, phc, c)
		return err
	})
	if err != nil {
		return err
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	return nil
}

func (s *Service) changePasswordTx(ctx context.Context, tx pg.Tx, acc account, old, phc string, c *token.Caller) ([]authzEvent, error) {
	now := s.now()
	if err := s.lockAccount(ctx, tx, acc.ID); err != nil {
		return nil, err
	}
	swapped, err := s.swapPHC(ctx, tx, acc.ID, old, phc, now)
	if err != nil {
		return nil, err
	}
	if !swapped {
		return nil, wrongPassword() // another change came first
	}
	ended, err := s.endOtherSessions(ctx, tx, acc.ID, c.SessionID, "password changed", now)
	if err != nil {
		return nil, err
	}
	news, err := s.recordAuthz(ctx, tx, sessionRevoked, 0, now, ended...)
	if err != nil {
		return nil, err
	}
	more, err := s.endImpersonations(ctx, tx, acc.ID, uuid.Nil, c.SessionID, c, now)
	if err != nil {
		return nil, err
	}
	news = append(news, more...)
	if err := s.endCodes(ctx, tx, acc.ID, now); err != nil {
		return nil, err
	}
	if err := s.tell(ctx, tx, acc, "password_changed", now); err != nil {
		return nil, err
	}
	return news, s.record(ctx, tx, c, now, act{
		Action: trail.PasswordChanged, Actor: userActor(acc.ID, c.SessionID), Targets: []target{userTarget(acc.ID)}, Outcome: success,
	})
}

// tell mails an account's owner what has been done to it.
func (s *Service) tell(ctx context.Context, tx pg.Tx, acc account, template string, now time.Time) error {
	return s.queueMail(ctx, tx, mail{To: acc.Email, Template: template, Locale: acc.Locale, Name: acc.FirstName}, now)
}

// weak says why a password will not do for this account, nil if it will.
func (a account) weak(plain string) error {
	name, _, _ := strings.Cut(a.Email, "@")
	why := password.Weak(plain, a.Email, name, a.FirstName+a.LastName, a.FirstName+" "+a.LastName)
	if why == "" && a.NeedsMFA && !a.HasFactor && utf8.RuneCountInString(plain) < aloneRunes {
		why = "must have at least 15 characters until a second factor is on"
	}
	return weak(why)
}

func weak(why string) error {
	if why == "" {
		return nil
	}
	return fail.New(fail.WeakPassword, "the password %s", why).Field("newPassword", why)
}
