package auth

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// codeOnly is the assurance of a code that came by mail or SMS: one factor.
var codeOnly = []string{"otp"}

// withSecond is the assurance of a session that has shown a code of its second
// factor beside what it had shown before.
func withSecond(shown []string) []string {
	out := slices.Clone(shown)
	for _, m := range []string{"otp", "mfa"} {
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// otpRecipient reads where a sign-in code is to go.
func (s *Service) otpRecipient(number, email *string, channel string) (recipient, error) {
	switch {
	case (number == nil) == (email == nil):
		return recipient{}, badField("phone", "give either a phone or an email")
	case email != nil:
		address := canonicalEmail(*email)
		if address == "" {
			return recipient{}, badField("email", "must be an address")
		}
		if channel != "" && channel != channelEmail {
			return recipient{}, badField("channel", "must be EMAIL for an email")
		}
		return byMail(address), nil
	}
	if channel == "" {
		channel = channelSMS
	}
	if channel == channelEmail {
		return recipient{}, badField("channel", "must be SMS or WHATSAPP for a phone")
	}
	return s.byPhone(*number, channel)
}

// byPhone reads a number that codes may be sent to.
func (s *Service) byPhone(number, channel string) (recipient, error) {
	p, ok := parsePhone(number)
	if !ok {
		return recipient{}, badPhone()
	}
	if !s.c.serves(p.Country) {
		return recipient{}, badField("phone", "codes are not sent to numbers of this country")
	}
	return recipient{To: p.Number, Channel: channel, Country: p.Country}, nil
}

func badPhone() error { return badField("phone", "must be a phone number, such as +919876543210") }

// sendOTP sends a sign-in code, if the recipient means an account.
func (s *Service) sendOTP(ctx context.Context, to recipient, c *token.Caller) (oneTime, error) {
	return s.sendCode(ctx, purposeSignIn, to, c, func(ctx context.Context, tx pg.Tx) (decision, error) {
		d := decision{Mail: mail{Template: "login_code"}, Act: act{Action: trail.OtpRequested, Actor: anonymous, Outcome: denied}}
		acc, found, err := s.otpAccount(ctx, tx, to.To, to.Channel)
		if err != nil || !found {
			return d, err
		}
		d.Account, d.Real = acc.ID, true
		d.Mail.To, d.Mail.Channel, d.Mail.Locale, d.Mail.Name = to.To, to.Channel, acc.Locale, acc.FirstName
		d.Act.Targets, d.Act.Outcome = []target{userTarget(acc.ID)}, success
		return d, nil
	})
}

// otpAccount is who signs in with a code to an address or a number: the account
// that has proved it, or for a number the only one that claims it.
func (s *Service) otpAccount(ctx context.Context, q pg.Querier, to, channel string) (account, bool, error) {
	if channel == channelEmail {
		acc, found, err := s.accountByEmail(ctx, q, to)
		return acc, found && acc.EmailVerifiedAt != nil, err
	}
	claim, _, err := s.phoneOwner(ctx, q, to)
	if err != nil {
		return account{}, false, err
	}
	return s.account(ctx, q, claim.ID) // asked also when there is none: the same time
}

// verifyOTP signs in with a code, or demands the second factor. ACCOUNT_SUSPENDED
// is told only to whoever has the code.
func (s *Service) verifyOTP(ctx context.Context, id uuid.UUID, code string, c *token.Caller) (loginResult, error) {
	var ses session
	var acc account
	a := attemptAt{Purpose: purposeSignIn, ID: id, Code: code, Failure: act{Action: trail.LoginFailed, Reason: "one-time code"}}
	err := s.answerCode(ctx, a, c, func(ctx context.Context, tx pg.Tx, x oneTime, now time.Time) (refusal, err error) {
		ses = session{}
		var found bool
		if acc, found, err = s.otpAccount(ctx, tx, x.Recipient, x.Channel); err != nil {
			return nil, err
		}
		if !found || acc.ID != x.account() {
			return wrongCode(), nil // it has become another's meanwhile
		}
		if acc.State != stateActive {
			return suspended(), nil
		}
		if err := s.codeArrived(ctx, tx, acc, x, c, now); err != nil || acc.HasFactor {
			return nil, err
		}
		ses, acc, err = s.signInTx(ctx, tx, acc.ID, codeOnly, c)
		return nil, err
	})
	if err != nil {
		return loginResult{}, err
	}
	if acc.HasFactor {
		handle, err := s.openHandleAfter(ctx, acc.ID, codeOnly)
		return s.owes(ctx, acc.ID, handle, err)
	}
	g, err := s.grant(ses, acc, s.now())
	return loginResult{grant: g}, err
}

// codeArrived frees the recipient's turn and, if a phone was only claimed so
// far, proves it. The owner is told: the claim may have been a stranger's.
func (s *Service) codeArrived(ctx context.Context, tx pg.Tx, acc account, x oneTime, c *token.Caller, now time.Time) error {
	to := recipient{To: x.Recipient, Channel: x.Channel}
	if err := s.releaseRecipient(ctx, tx, to.claim(x.Purpose)); err != nil || x.Channel == channelEmail {
		return err
	}
	claim, _, err := s.phoneOwner(ctx, tx, x.Recipient)
	if err != nil || claim.Proved {
		return err
	}
	return s.ownPhone(ctx, tx, acc, x.Recipient, userActor(acc.ID, uuid.Nil), c, now)
}

// openHandleAfter is openHandle for a login that has shown something else than a
// password.
func (s *Service) openHandleAfter(ctx context.Context, account uuid.UUID, amr []string) (string, error) {
	handle, err := s.openHandle(ctx, account)
	if err != nil {
		return "", err
	}
	id, _, _ := parseHandle(handle) // our own
	return handle, s.noteFirstFactor(ctx, id, amr)
}

// ownPhone makes a phone an account's proved one and tells everyone.
func (s *Service) ownPhone(ctx context.Context, tx pg.Tx, acc account, number string, who actor, c *token.Caller, now time.Time) error {
	taken, err := s.provePhone(ctx, tx, acc.ID, number, now)
	if err != nil {
		return err
	}
	if taken {
		return wrongCode()
	}
	after, _, err := s.account(ctx, tx, acc.ID)
	if err != nil {
		return err
	}
	if err := s.outbox.Append(ctx, tx, accountChanged(after, now)); err != nil {
		return err
	}
	if err := s.queueMail(ctx, tx, mail{To: acc.Email, Template: "phone_changed", Locale: acc.Locale, Name: acc.FirstName}, now); err != nil {
		return err
	}
	return s.record(ctx, tx, c, now, act{Action: trail.AccountPhoneProved, Actor: who, Targets: []target{userTarget(acc.ID)}, Outcome: success})
}
