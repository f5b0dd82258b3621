package auth

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// The person set a password minutes ago and read the mail: one factor. The
// code is no second one, so it does not stand here.
var passwordOnly = []string{"pwd"}

// verify proves the address, makes the account and signs in. A code is good
// once, however many present it at the same time.
func (s *Service) verify(ctx context.Context, id uuid.UUID, code string, c *token.Caller) (grant, error) {
	hash := s.secrets.codeMAC(purposeRegister, id, strings.TrimSpace(code))
	var ses session
	var acc account
	var refusal error // told after the commit: the try counts
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		refusal = nil
		now := s.now()
		a, live, err := s.answerChallenge(ctx, tx, purposeRegister, id, hash, now)
		if err != nil {
			return err
		}
		if !live {
			refusal, err = s.whyDead(ctx, tx, purposeRegister, id, now)
			return err
		}
		if !a.Right || a.RegistrationID == nil {
			refusal = wrongCode()
			return nil
		}
		reg, found, err := s.registration(ctx, tx, *a.RegistrationID, now)
		if err != nil {
			return err
		}
		if !found {
			refusal = wrongCode()
			return nil
		}
		var taken bool
		if acc, taken, err = s.activate(ctx, tx, reg.person(), reg.PHC, []string{roleUser}, c, now); err != nil {
			return err
		}
		if taken {
			refusal = wrongCode()
			return nil
		}
		ses, err = s.openSession(ctx, tx, acc, passwordOnly, c, now)
		return err
	})
	if err != nil {
		return grant{}, err
	}
	if refusal != nil {
		return grant{}, refusal
	}
	s.outbox.Wake()
	return s.grant(ses, acc, s.now())
}

// activate makes an account and tells everyone. Registrations of the address
// have served their purpose, whoever made them.
func (s *Service) activate(ctx context.Context, tx pg.Tx, p person, phc string, roles []string, c *token.Caller, now time.Time) (account, bool, error) {
	acc, taken, err := s.makeAccount(ctx, tx, p, phc, roles, now)
	if err != nil || taken {
		return acc, taken, err
	}
	if err := s.dropRegistrations(ctx, tx, p.Email); err != nil {
		return acc, false, err
	}
	if err := s.releaseRecipient(ctx, tx, p.Email); err != nil {
		return acc, false, err
	}
	if err := s.outbox.Append(ctx, tx, accountActivated(acc, p.AcceptedTerms, now)); err != nil {
		return acc, false, err
	}
	if err := s.tellAccount(ctx, tx, acc.ID); err != nil {
		return acc, false, err
	}
	err = s.record(ctx, tx, c, now, act{
		Action: trail.AccountVerified, Actor: userActor(acc.ID, uuid.Nil), Targets: []target{userTarget(acc.ID)}, Outcome: success,
	})
	return acc, false, err
}

func wrongCode() error { return fail.New(fail.InvalidCode, "the code is not right") }

// whyDead says why a challenge takes no answer.
func (s *Service) whyDead(ctx context.Context, q pg.Querier, purpose string, id uuid.UUID, now time.Time) (refusal, err error) {
	f, found, err := s.fate(ctx, q, purpose, id, now)
	switch {
	case err != nil:
		return nil, err
	case !found || f.Used:
		return wrongCode(), nil
	}
	return f.refusal(), nil
}

func (f fate) refusal() error {
	switch {
	case f.Expired:
		return fail.New(fail.ChallengeExpired, "the code has expired, ask for another")
	case f.Exhausted:
		return fail.New(fail.TooManyAttempts, "too many wrong codes, ask for another").RetryAfter(resendAfter)
	default:
		return wrongCode() // another try took its last chance just now
	}
}
