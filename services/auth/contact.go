package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// changeEmail sends a code to the address an account wishes for. One that
// somebody has gets another mail, and the same answer.
func (s *Service) changeEmail(ctx context.Context, c *token.Caller, newEmail, plainPassword string) (oneTime, error) {
	acc, err := s.getAccount(ctx, c.UserID)
	if err != nil {
		return oneTime{}, err
	}
	address := canonicalEmail(newEmail)
	if address == "" {
		return oneTime{}, badField("newEmail", "must be an address")
	}
	if address == acc.Email {
		return oneTime{}, badField("newEmail", "is your address already")
	}
	if _, err := s.ownPassword(ctx, acc, plainPassword, c); err != nil {
		return oneTime{}, err
	}
	return s.sendCode(ctx, purposeEmail, byMail(address), c, func(ctx context.Context, tx pg.Tx) (decision, error) {
		d := decision{
			Account: acc.ID,
			Mail:    mail{To: address, Template: "email_change_code", Locale: acc.Locale, Name: acc.FirstName},
			Act: act{
				Action: trail.AccountEmailChangeRequested, Actor: userActor(acc.ID, c.SessionID), Targets: []target{userTarget(acc.ID)}, Outcome: success,
			},
		}
		owner, taken, err := s.accountByEmail(ctx, tx, address)
		if err != nil {
			return d, err
		}
		if d.Real = !taken; taken {
			d.Mail.Template, d.Mail.Locale, d.Mail.Name = "account_exists", owner.Locale, owner.FirstName
			d.Act.Outcome = denied
		}
		return d, nil
	})
}

// verifyEmail makes the new address the account's. What went out to the old one
// is dead, and its reader is told.
func (s *Service) verifyEmail(ctx context.Context, c *token.Caller, id uuid.UUID, code string) error {
	a := attemptAt{Purpose: purposeEmail, ID: id, Code: code, Owner: c.UserID, Failure: act{Action: trail.AccountEmailChanged, Reason: "wrong code"}}
	return s.answerCode(ctx, a, c, func(ctx context.Context, tx pg.Tx, x oneTime, now time.Time) (refusal, err error) {
		before, found, err := s.account(ctx, tx, x.account())
		if err != nil || !found {
			return wrongCode(), err
		}
		taken, err := s.setEmail(ctx, tx, before.ID, x.Recipient, now)
		if err != nil {
			return nil, err
		}
		if taken {
			return wrongCode(), nil
		}
		if err := s.endCodes(ctx, tx, before.ID, now); err != nil {
			return nil, err
		}
		if err := s.dropRegistrations(ctx, tx, x.Recipient); err != nil {
			return nil, err
		}
		if err := s.releaseRecipient(ctx, tx, byMail(x.Recipient).claim(purposeEmail)); err != nil {
			return nil, err
		}
		after, _, err := s.account(ctx, tx, before.ID)
		if err != nil {
			return nil, err
		}
		if err := s.outbox.Append(ctx, tx, accountChanged(after, now)); err != nil {
			return nil, err
		}
		if err := s.tell(ctx, tx, before, "email_changed", now); err != nil {
			return nil, err
		}
		return nil, s.record(ctx, tx, c, now, act{
			Action: trail.AccountEmailChanged, Actor: userActor(before.ID, c.SessionID), Targets: []target{userTarget(before.ID)}, Outcome: success,
		})
	})
}

// changePhone sends a code to the phone an account wishes for. None goes to one
// that another has proved; the answer is the same.
func (s *Service) changePhone(ctx context.Context, c *token.Caller, number string) (oneTime, error) {
	acc, err := s.getAccount(ctx, c.UserID)
	if err != nil {
		return oneTime{}, err
	}
	to, err := s.byPhone(number, channelSMS)
	if err != nil {
		return oneTime{}, err
	}
	return s.sendCode(ctx, purposePhone, to, c, func(ctx context.Context, tx pg.Tx) (decision, error) {
		d := decision{
			Account: acc.ID,
			Mail:    mail{Channel: to.Channel, Template: "phone_code", Locale: acc.Locale, Name: acc.FirstName},
			Act: act{
				Action: trail.AccountPhoneChangeRequested, Actor: userActor(acc.ID, c.SessionID), Targets: []target{userTarget(acc.ID)}, Outcome: denied,
			},
		}
		owner, found, err := s.phoneOwner(ctx, tx, to.To)
		if err != nil || found && owner.Proved && owner.ID != acc.ID {
			return d, err
		}
		d.Real, d.Mail.To, d.Act.Outcome = true, to.To, success
		return d, nil
	})
}

// verifyPhone makes the phone the account's, proved.
func (s *Service) verifyPhone(ctx context.Context, c *token.Caller, id uuid.UUID, code string) error {
	a := attemptAt{Purpose: purposePhone, ID: id, Code: code, Owner: c.UserID, Failure: act{Action: trail.AccountPhoneProved, Reason: "wrong code"}}
	return s.answerCode(ctx, a, c, func(ctx context.Context, tx pg.Tx, x oneTime, now time.Time) (refusal, err error) {
		acc, found, err := s.account(ctx, tx, x.account())
		if err != nil || !found {
			return wrongCode(), err
		}
		if err := s.ownPhone(ctx, tx, acc, x.Recipient, userActor(acc.ID, c.SessionID), c, now); err != nil {
			return nil, err
		}
		if err := s.endCodes(ctx, tx, acc.ID, now); err != nil {
			return nil, err
		}
		to := recipient{To: x.Recipient, Channel: x.Channel}
		return nil, s.releaseRecipient(ctx, tx, to.claim(purposePhone))
	})
}
