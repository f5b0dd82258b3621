package auth

import (
	"context"
	"strings"
	"time"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/auth/password"
)

const (
	purposeRegister = "REGISTER"
	purposeLoginMFA = "LOGIN_MFA"

	maxAttempts      = 5
	codeLife         = 10 * time.Minute
	resendAfter      = time.Minute
	registrationLife = 7 * 24 * time.Hour
)

// register opens a registration and mails a code. For an address that has an
// account everything is the same but the mail: the challenge it answers with
// can never succeed.
func (s *Service) register(ctx context.Context, p person, plainPassword string, c *token.Caller) (challenge, error) {
	began := s.now()
	ch, err := s.tryRegister(ctx, p, plainPassword, c)
	if err == nil {
		s.onBeat(ctx, began)
	}
	return ch, err
}

func (s *Service) tryRegister(ctx context.Context, p person, plainPassword string, c *token.Caller) (challenge, error) {
	p, err := s.checkPerson(p, plainPassword)
	if err != nil {
		return challenge{}, err
	}
	now := s.now()
	if sent, yes, err := s.lastSent(ctx, p.Email, now.Add(-resendAfter)); err != nil || yes {
		if err != nil {
			return challenge{}, err
		}
		return challenge{}, tooSoon(sent.Add(resendAfter).Sub(now))
	}
	phc, err := s.hash.Hash(ctx, plainPassword)
	if err != nil {
		return challenge{}, err
	}
	code, err := newCode(s.rand)
	if err != nil {
		return challenge{}, err
	}
	var ch challenge
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		ch, err = s.openRegistration(ctx, tx, p, phc, code, c)
		return err
	})
	if err != nil {
		return challenge{}, err
	}
	s.outbox.Wake()
	return ch, nil
}

func tooSoon(wait time.Duration) error {
	return fail.New(fail.RateLimited, "a code has just been sent, wait a moment").RetryAfter(wait)
}

// checkPerson brings a registration into its stored form.
func (s *Service) checkPerson(p person, plainPassword string) (person, error) {
	bad := fail.New(fail.InvalidArgument, "the request is invalid")
	p.Email = canonicalEmail(p.Email)
	p.FirstName, p.LastName = plain(p.FirstName, 400), plain(p.LastName, 400)
	if p.Phone != nil {
		number, ok := parsePhone(*p.Phone)
		if !ok {
			bad = bad.Field("phone", "must be a phone number, such as +919876543210")
		}
		p.Phone = &number.Number
	}
	if p.Email == "" {
		bad = bad.Field("email", "must be an address")
	}
	if p.FirstName == "" {
		bad = bad.Field("firstName", "must not be empty")
	}
	if p.LastName == "" {
		bad = bad.Field("lastName", "must not be empty")
	}
	if p.AcceptedTerms != s.c.TermsVersion {
		bad = bad.Field("acceptedTerms", "must be the current version, see /legal")
	}
	if p.Locale == "" {
		p.Locale = "en"
	}
	if len(bad.Fields) > 0 {
		return p, bad
	}
	name, _, _ := strings.Cut(p.Email, "@")
	if why := password.Weak(plainPassword, p.Email, name, p.FirstName+p.LastName, p.FirstName+" "+p.LastName); why != "" {
		return p, fail.New(fail.WeakPassword, "the password %s", why).Field("password", why)
	}
	return p, nil
}

func (s *Service) openRegistration(ctx context.Context, tx pg.Tx, p person, phc, code string, c *token.Caller) (challenge, error) {
	now := s.now()
	ch := challenge{ID: s.ids.New(), Purpose: purposeRegister, CreatedAt: now, ExpiresAt: now.Add(codeLife)}
	mine, err := s.claimRecipient(ctx, tx, p.Email, now.Add(-resendAfter), now)
	if err != nil {
		return ch, err
	}
	if !mine {
		return ch, tooSoon(resendAfter)
	}
	owner, known, err := s.accountByEmail(ctx, tx, p.Email)
	if err != nil {
		return ch, err
	}
	m := mail{To: p.Email, Template: "verify_email", Locale: p.Locale, Name: p.FirstName, Code: code}
	what := act{Action: trail.RegistrationOpened, Actor: anonymous, Outcome: success}
	if known {
		// No code has this hash: the owner is told, the visitor learns nothing.
		never, err := randomBytes(s.rand, keyBytes)
		if err != nil {
			return ch, err
		}
		ch.MAC = never
		// Kept all the same, though no code leads to it: else whoever signs in with
		// the password of this registration would learn that it was in vain.
		if err := s.insertRegistration(ctx, tx, s.ids.New(), p, phc, now); err != nil {
			return ch, err
		}
		m = mail{To: p.Email, Template: "account_exists", Locale: owner.Locale, Name: owner.FirstName}
		what.Targets, what.Outcome = []target{userTarget(owner.ID)}, denied
	} else {
		id := s.ids.New()
		if err := s.insertRegistration(ctx, tx, id, p, phc, now); err != nil {
			return ch, err
		}
		ch.RegistrationID, ch.MAC = &id, s.secrets.codeMAC(purposeRegister, ch.ID, code)
	}
	if err := s.insertChallenge(ctx, tx, ch); err != nil {
		return ch, err
	}
	if err := s.queueMail(ctx, tx, m, now); err != nil {
		return ch, err
	}
	return ch, s.record(ctx, tx, c, now, what)
}
