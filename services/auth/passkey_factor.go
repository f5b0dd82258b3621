package auth

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// beginPasskeyFactor asks for a passkey as the second factor of a login.
func (s *Service) beginPasskeyFactor(ctx context.Context, handle string) (question, error) {
	id, secret, ok := parseHandle(handle)
	if !ok {
		return question{}, wrongCode()
	}
	owner, err := s.handleOwner(ctx, id, s.handleMAC(id, secret))
	if err != nil {
		return question{}, err
	}
	h, err := s.holderOf(ctx, s.db.Pool, account{ID: owner})
	if err != nil {
		return question{}, err
	}
	if len(h.keys) == 0 {
		return question{}, fail.New(fail.Conflict, "there is no passkey, answer with a code")
	}
	options, asked, err := s.party.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired),
		webauthn.WithAllowedCredentials(webauthn.Credentials(h.keys).CredentialDescriptors()))
	if err != nil {
		return question{}, fmt.Errorf("begin a second factor: %w", err)
	}
	return s.openCeremony(ctx, ceremony{Purpose: ceremonyLogin, AccountID: &owner}, asking{SessionData: *asked, Handle: id}, options)
}

// finishPasskeyFactor finishes a login with a passkey. As with a code, five
// wrong answers end the login, and a right one uses it up.
func (s *Service) finishPasskeyFactor(ctx context.Context, handle string, a answered, c *token.Caller) (grant, error) {
	id, secret, ok := parseHandle(handle)
	if !ok {
		return grant{}, wrongCode()
	}
	hash := s.handleMAC(id, secret)
	owner, err := s.handleOwner(ctx, id, hash)
	if err != nil {
		return grant{}, err
	}
	said, row, err := s.saidBy(ctx, a)
	if err != nil {
		return grant{}, err
	}
	return s.tryKey(ctx, row, said, c, func() (session, account, error) {
		x, asked, err := s.takeCeremony(ctx, a, ceremonyLogin, true, said.Response.CollectedClientData.Challenge)
		if err != nil {
			return session{}, account{}, err
		}
		var wrong error
		switch {
		case asked.Handle != id || x.AccountID == nil || *x.AccountID != owner:
			wrong = wrongPasskey(errors.New("another login's ceremony"))
		case row.AccountID != owner:
			wrong = wrongPasskey(errors.New("another account's passkey"))
		default:
			wrong = s.judge(row, asked.SessionData, said)
		}
		if wrong != nil && !fail.Is(wrong, fail.InvalidCredentials) {
			return session{}, account{}, wrong
		}
		return s.finishLoginByKey(ctx, owner, id, hash, row, said, wrong, c)
	})
}

// finishLoginByKey counts a try and, unless the answer is wrong, signs in. The
// refusal is told after the commit, so that the try counts.
func (s *Service) finishLoginByKey(ctx context.Context, owner, id uuid.UUID, hash []byte, row passkeyRow,
	said *protocol.ParsedCredentialAssertionData, wrong error, c *token.Caller,
) (ses session, acc account, err error) {
	var refusal error
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		refusal = nil
		now := s.now()
		if err := s.lockAccount(ctx, tx, owner); err != nil { // before the challenge: as a reset does
			return err
		}
		_, live, err := s.countTry(ctx, tx, purposeLoginMFA, id, hash, now)
		if err != nil {
			return err
		}
		if !live {
			refusal, err = s.whyDead(ctx, tx, purposeLoginMFA, id, now)
			return err
		}
		if wrong != nil {
			refusal = wrong
			return s.record(ctx, tx, c, now, act{
				Action: trail.LoginFailed, Actor: anonymous, Targets: []target{userTarget(owner)}, Outcome: denied, Reason: "second factor",
			})
		}
		if refusal, err = s.passKey(ctx, tx, row, said, c); err != nil || refusal != nil {
			return err
		}
		if err := s.useChallenge(ctx, tx, id, now); err != nil {
			return err
		}
		first, err := s.firstFactor(ctx, tx, id)
		if err != nil {
			return err
		}
		if ses, acc, err = s.admitKey(ctx, tx, row, withKey(first), c); err != nil {
			return err
		}
		return s.record(ctx, tx, c, now, act{
			Action: trail.MFAVerified, Actor: userActor(acc.ID, ses.ID), Targets: []target{userTarget(acc.ID)}, Outcome: success,
			Changes: []change{{Path: "method", After: "WEBAUTHN"}},
		})
	})
	return ses, acc, errors.Join(err, refusal)
}
