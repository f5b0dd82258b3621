package auth

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
)

const kindPasskey = "passkey" // of the throttle's counters

// beginPasskeyLogin asks a browser to sign in. With an address, or the handle of
// a login that owes its second factor, it names passkeys; those of an address
// that has none are made up.
func (s *Service) beginPasskeyLogin(ctx context.Context, email, handle string) (*protocol.CredentialAssertion, error) {
	opts := []webauthn.LoginOption{webauthn.WithUserVerification(protocol.VerificationRequired)}
	switch {
	case handle != "":
		named, err := s.keysOfHandle(ctx, handle)
		if err != nil {
			return nil, err
		}
		opts = append(opts, webauthn.WithAllowedCredentials(named))
	case email != "":
		named, err := s.keysOfAddress(ctx, canonicalEmail(email))
		if err != nil {
			return nil, err
		}
		opts = append(opts, webauthn.WithAllowedCredentials(named))
	}
	options, asked, err := s.party.BeginDiscoverableLogin(opts...)
	if err != nil {
		return nil, fmt.Errorf("begin a login: %w", err)
	}
	return options, s.openCeremony(ctx, ceremonyLogin, nil, asked)
}

func (s *Service) keysOfHandle(ctx context.Context, handle string) ([]protocol.CredentialDescriptor, error) {
	id, secret, ok := parseHandle(handle)
	if !ok {
		return nil, wrongCode()
	}
	f, found, err := s.fate(ctx, s.db.Pool, purposeLoginMFA, id, s.now())
	switch {
	case err != nil:
		return nil, err
	case !found || f.Used || f.AccountID == nil || !hmac.Equal(f.MAC, s.handleMAC(id, secret)):
		return nil, wrongCode()
	case f.Expired || f.Exhausted:
		return nil, f.refusal()
	}
	h, err := s.holderOf(ctx, s.db.Pool, account{ID: *f.AccountID})
	if err != nil {
		return nil, err
	}
	return webauthn.Credentials(h.keys).CredentialDescriptors(), nil
}

func (s *Service) keysOfAddress(ctx context.Context, email string) ([]protocol.CredentialDescriptor, error) {
	acc, _, err := s.accountByEmail(ctx, s.db.Pool, email)
	if err != nil {
		return nil, err
	}
	h, err := s.holderOf(ctx, s.db.Pool, acc) // asked for nobody's, too: the same time
	if err != nil {
		return nil, err
	}
	if len(h.keys) == 0 {
		return s.decoyKeys(email), nil
	}
	named := webauthn.Credentials(h.keys).CredentialDescriptors()
	for i := range named {
		named[i].Transport = nil // a decoy has none
	}
	return named, nil
}

// finishPasskeyLogin signs in with a passkey.
func (s *Service) finishPasskeyLogin(ctx context.Context, answer []byte, c *token.Caller) (grant, error) {
	said, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return grant{}, badCredential(err)
	}
	row, found, err := s.passkeyByCredential(ctx, s.db.Pool, said.RawID)
	if err != nil {
		return grant{}, err
	}
	subject := "unknown"
	if found {
		subject = row.AccountID.String()
	}
	try, err := s.throttle.reserve(ctx, kindPasskey, subject, c.ClientIP)
	if err != nil {
		return grant{}, err
	}
	_, asked, err := s.takeCeremony(ctx, ceremonyLogin, said.Response.CollectedClientData.Challenge)
	if err != nil {
		try.release(ctx)
		return grant{}, err
	}
	key, err := s.judge(ctx, row, found, asked, said)
	if fail.Is(err, fail.InvalidCredentials) {
		s.recordBadPasskey(ctx, row, c)
		if err := try.failed(ctx); err != nil {
			return grant{}, err
		}
		return grant{}, err
	}
	defer try.release(ctx)
	if err != nil {
		return grant{}, err
	}
	return s.signInWithKey(ctx, row, key, c)
}

// judge verifies an answer. A passkey whose counter goes back is refused this
// once and flagged; its next good answer counts: identity.md row 53.
func (s *Service) judge(ctx context.Context, row passkeyRow, found bool, asked webauthn.SessionData, said *protocol.ParsedCredentialAssertionData) (*webauthn.Credential, error) {
	if !found {
		return nil, wrongPasskey(errors.New("unknown credential"))
	}
	k, err := s.openPasskey(row)
	if err != nil {
		return nil, err
	}
	h := holder{account: account{ID: row.AccountID}, keys: []webauthn.Credential{k.Key}}
	var key *webauthn.Credential
	if len(said.Response.UserHandle) == 0 { // a key that was named need not say whose it is
		asked.UserID = h.WebAuthnID()
		if len(asked.AllowedCredentialIDs) == 0 {
			return nil, wrongPasskey(errors.New("no user handle"))
		}
		key, err = s.party.ValidateLogin(h, asked, said)
	} else {
		_, key, err = s.party.ValidatePasskeyLogin(func(_, handle []byte) (webauthn.User, error) {
			if string(handle) != string(row.AccountID[:]) {
				return nil, errors.New("another's user handle")
			}
			return h, nil
		}, asked, said)
	}
	if err != nil {
		return nil, wrongPasskey(err)
	}
	if key.Authenticator.CloneWarning {
		if err := s.flagPasskey(ctx, s.db.Pool, row.ID, s.now()); err != nil {
			return nil, err
		}
		return nil, wrongPasskey(errors.New("the counter went back"))
	}
	return key, nil
}

// recordBadPasskey writes login.failed, as a wrong password does.
func (s *Service) recordBadPasskey(ctx context.Context, row passkeyRow, c *token.Caller) {
	what := act{Action: "login.failed", Actor: anonymous, Outcome: denied, Reason: "passkey"}
	if row.AccountID != uuid.Nil {
		what.Targets = []target{userTarget(row.AccountID)}
	}
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error { return s.record(ctx, tx, c, s.now(), what) })
	if err != nil {
		zerolog.Ctx(ctx).Error().Err(err).Msg("failed login not recorded")
	}
	s.outbox.Wake()
}

func (s *Service) signInWithKey(ctx context.Context, row passkeyRow, key *webauthn.Credential, c *token.Caller) (grant, error) {
	var ses session
	var acc account
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		now := s.now()
		if err := s.lockAccount(ctx, tx, row.AccountID); err != nil {
			return err
		}
		// Gone or moved on meanwhile: another has used this very answer.
		moved, err := s.usePasskey(ctx, tx, row, int64(key.Authenticator.SignCount), key.Flags.BackupState, now)
		if err != nil {
			return err
		}
		if !moved {
			return wrongPasskey(errors.New("used meanwhile"))
		}
		if ses, acc, err = s.signInTx(ctx, tx, row.AccountID, passkeyAlone, c); err != nil {
			return err
		}
		return s.record(ctx, tx, c, now, act{
			Action: "passkey.used", Actor: userActor(acc.ID, ses.ID), Targets: []target{userTarget(acc.ID), passkeyTarget(row.ID)}, Outcome: success,
		})
	})
	if err != nil {
		return grant{}, err
	}
	s.outbox.Wake()
	return s.grant(ses, acc, s.now())
}
