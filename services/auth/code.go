package auth

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
)

// What a code is for. It stands in the code's hash and in every question about
// it, so that none does for another.
const (
	purposeSignIn = "SIGN_IN"
	purposeReset  = "RESET"
	purposeEmail  = "EMAIL"
	purposePhone  = "PHONE"
)

// recipient is where a code goes: an address, or a number and its country.
type recipient struct{ To, Channel, Country string }

func byMail(address string) recipient { return recipient{To: address, Channel: channelEmail} }

// claim names the recipient's turn. A phone has one for all purposes, since each
// code costs; mail has one for each, so that a reset need not wait for a sign-in.
func (r recipient) claim(purpose string) string {
	if r.Channel == channelEmail {
		return strings.ToLower(purpose) + " " + r.To
	}
	return "phone " + r.To
}

// decision is what becomes of a wish for a code, made in its transaction.
type decision struct {
	Account uuid.UUID // whose code it is; Nil when nobody's
	Real    bool      // else no code will ever fit
	Mail    mail      // without To nothing goes out
	Act     act
}

// sendCode sends a code for a purpose, or pretends to: same rows, same time.
// Fails with RATE_LIMITED within a minute of the last, or beyond a quota.
func (s *Service) sendCode(ctx context.Context, purpose string, to recipient, c *token.Caller,
	decide func(ctx context.Context, tx pg.Tx) (decision, error),
) (oneTime, error) {
	claim, now := to.claim(purpose), s.now()
	if sent, yes, err := s.lastSent(ctx, claim, now.Add(-resendAfter)); err != nil || yes {
		if err != nil {
			return oneTime{}, err
		}
		return oneTime{}, tooSoon(sent.Add(resendAfter).Sub(now))
	}
	if err := s.takeQuota(ctx, quotasOf(claim, to, c.ClientIP)); err != nil {
		return oneTime{}, err
	}
	code, err := newCode(s.rand)
	if err != nil {
		return oneTime{}, err
	}
	var x oneTime
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		now := s.now()
		mine, err := s.claimRecipient(ctx, tx, claim, now.Add(-resendAfter), now)
		if err != nil {
			return err
		}
		if !mine {
			return tooSoon(resendAfter)
		}
		d, err := decide(ctx, tx)
		if err != nil {
			return err
		}
		x, err = s.writeCode(ctx, tx, purpose, to, code, d, now)
		if err != nil {
			return err
		}
		return s.record(ctx, tx, c, now, d.Act)
	})
	if err != nil {
		return oneTime{}, err
	}
	s.outbox.Wake()
	return x, nil
}

func (s *Service) writeCode(ctx context.Context, tx pg.Tx, purpose string, to recipient, code string, d decision, now time.Time) (oneTime, error) {
	x := oneTime{ID: s.ids.New(), Purpose: purpose, Recipient: to.To, Channel: to.Channel, CreatedAt: now, ExpiresAt: now.Add(codeLife)}
	if d.Account != uuid.Nil {
		x.AccountID = &d.Account
	}
	var err error
	if x.MAC, err = randomBytes(s.rand, keyBytes); err != nil {
		return x, err
	}
	if d.Real {
		x.MAC = s.secrets.oneTimeMAC(x, code)
		d.Mail.Code = code
	}
	if err := s.insertCode(ctx, tx, x); err != nil {
		return x, err
	}
	if d.Mail.To == "" { // a decoy is of the same make
		d.Mail.Channel, d.Mail.Code = to.Channel, code
	}
	return x, s.queueMail(ctx, tx, d.Mail, now)
}

func (x secrets) oneTimeMAC(c oneTime, code string) []byte {
	return mac(x.oneTime, c.Purpose, c.ID.String(), c.Recipient, strings.TrimSpace(code))
}

// attemptAt is a code given for a challenge.
type attemptAt struct {
	Purpose string
	ID      uuid.UUID
	Code    string
	Owner   uuid.UUID // who must have asked for it; Nil asks for nobody
	Keep    bool      // a right code stays good
	Failure act       // recorded for a wrong one; the target is added
}

// answerCode tries a code and, if it is right, does what it is for in the same
// transaction. A refusal of done's is told after the commit: the code is used.
// Fails with INVALID_CODE, CHALLENGE_EXPIRED, TOO_MANY_ATTEMPTS.
func (s *Service) answerCode(ctx context.Context, a attemptAt, c *token.Caller,
	done func(ctx context.Context, tx pg.Tx, x oneTime, now time.Time) (refusal, err error),
) error {
	x, err := s.openCode(ctx, a)
	if err != nil {
		return err
	}
	// Five tries a code, but codes are to be had for the asking: wrong ones
	// count for the recipient as well, apart from passwords: identity.md row 31.
	try, err := s.throttle.reserve(ctx, "code "+strings.ToLower(a.Purpose), x.Recipient, c.ClientIP)
	if err != nil {
		return err
	}
	var refusal error
	var wrong bool
	hash := s.secrets.oneTimeMAC(x, a.Code)
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		refusal, wrong = nil, false
		now := s.now()
		// Before the code: as everyone does who ends an account's codes.
		if err := s.lockAccount(ctx, tx, x.account()); err != nil {
			return err
		}
		right, live, err := s.tryCode(ctx, tx, a, hash, now)
		switch {
		case err != nil:
			return err
		case !live:
			refusal, err = s.whyCodeDead(ctx, tx, a, now)
			return err
		case !right || x.AccountID == nil:
			refusal, wrong = wrongCode(), true
			what := a.Failure
			what.Actor, what.Outcome = anonymous, denied
			if x.AccountID != nil {
				what.Targets = []target{userTarget(*x.AccountID)}
			}
			return s.record(ctx, tx, c, now, what)
		}
		refusal, err = done(ctx, tx, x, now)
		return err
	})
	if err == nil && wrong {
		if err := try.failed(ctx); err != nil {
			return err
		}
		s.outbox.Wake()
		return refusal
	}
	try.release(ctx)
	if err != nil {
		return err
	}
	s.outbox.Wake()
	return refusal
}

// openCode finds a code that takes answers.
func (s *Service) openCode(ctx context.Context, a attemptAt) (oneTime, error) {
	x, found, err := s.code(ctx, s.db.Pool, a.Purpose, a.ID)
	switch {
	case err != nil:
		return x, err
	case !found || a.Owner != uuid.Nil && x.account() != a.Owner:
		return x, wrongCode()
	}
	return x, x.refusal(s.now())
}

func (s *Service) whyCodeDead(ctx context.Context, tx pg.Tx, a attemptAt, now time.Time) (refusal, err error) {
	x, found, err := s.code(ctx, tx, a.Purpose, a.ID)
	if err != nil || !found {
		return wrongCode(), err
	}
	if refusal = x.refusal(now); refusal == nil {
		refusal = wrongCode() // another try took its last chance just now
	}
	return refusal, nil
}

// refusal says why a code takes no answer, nil when it does.
func (x oneTime) refusal(now time.Time) error {
	f := fate{Expired: !now.Before(x.ExpiresAt), Exhausted: x.Attempts >= x.MaxAttempts}
	switch {
	case x.UsedAt != nil:
		return wrongCode()
	case f.Expired || f.Exhausted:
		return f.refusal()
	}
	return nil
}

// endCodes kills what is still out for an account: codes, and logins that owe
// their second factor.
func (s *Service) endCodes(ctx context.Context, tx pg.Tx, account uuid.UUID, now time.Time) error {
	if err := s.useCodes(ctx, tx, account, now); err != nil {
		return err
	}
	return s.useChallenges(ctx, tx, account, now)
}

func badField(field, why string) error {
	return fail.New(fail.InvalidArgument, "the request is invalid").Field(field, why)
}
