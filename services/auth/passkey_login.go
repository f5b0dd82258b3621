package auth

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

const (
	kindPasskey = "passkey" // of the throttle's counters
	leastNamed  = 3         // passkeys in an answer that names some
)

// beginPasskeyLogin asks a browser to sign in. With an address it names
// passkeys, made up ones among them.
func (s *Service) beginPasskeyLogin(ctx context.Context, email string) (question, error) {
	opts := []webauthn.LoginOption{webauthn.WithUserVerification(protocol.VerificationRequired)}
	if email != "" {
		named, err := s.keysOfAddress(ctx, canonicalEmail(email))
		if err != nil {
			return question{}, err
		}
		opts = append(opts, webauthn.WithAllowedCredentials(named))
	}
	options, asked, err := s.party.BeginDiscoverableLogin(opts...)
	if err != nil {
		return question{}, fmt.Errorf("begin a login: %w", err)
	}
	return s.openCeremony(ctx, ceremony{Purpose: ceremonyLogin}, asking{SessionData: *asked}, options)
}

// keysOfAddress names as many passkeys for an address that has none as for most
// that have some: the same ones each time it is asked for.
func (s *Service) keysOfAddress(ctx context.Context, email string) ([]protocol.CredentialDescriptor, error) {
	acc, _, err := s.accountByEmail(ctx, s.db.Pool, email)
	if err != nil {
		return nil, err
	}
	rows, err := s.passkeysOf(ctx, s.db.Pool, acc.ID) // asked for nobody's, too: the same time
	if err != nil {
		return nil, err
	}
	var ids [][]byte
	for _, row := range rows {
		ids = append(ids, row.CredentialID)
	}
	for i := len(ids); i < leastNamed; i++ {
		ids = append(ids, s.decoyKey(email, i))
	}
	// In an order that does not tell who is who.
	slices.SortFunc(ids, func(a, b []byte) int {
		return bytes.Compare(mac(s.secrets.handles, "passkey order", email, string(a)), mac(s.secrets.handles, "passkey order", email, string(b)))
	})
	named := make([]protocol.CredentialDescriptor, 0, len(ids))
	for _, id := range ids { // without transports, which a decoy has not
		named = append(named, protocol.CredentialDescriptor{Type: protocol.PublicKeyCredentialType, CredentialID: protocol.URLEncodedBase64(id)})
	}
	return named, nil
}

// decoyKey is a passkey nobody has, as long as some that people have.
func (s *Service) decoyKey(email string, i int) []byte {
	id := mac(s.secrets.handles, "passkey decoy", email, strconv.Itoa(i))
	lengths := []int{16, 20, 32, 32}
	return id[:lengths[int(id[len(id)-1])%len(lengths)]]
}

// finishPasskeyLogin signs in with a passkey.
func (s *Service) finishPasskeyLogin(ctx context.Context, a answered, c *token.Caller) (grant, error) {
	said, row, err := s.saidBy(ctx, a)
	if err != nil {
		return grant{}, err
	}
	return s.tryKey(ctx, row, said, c, func() (session, account, error) {
		_, asked, err := s.takeCeremony(ctx, a, ceremonyLogin, false, said.Response.CollectedClientData.Challenge)
		if err != nil {
			return session{}, account{}, err
		}
		if err := s.judge(row, asked.SessionData, said); err != nil {
			s.recordBadPasskey(ctx, row, c)
			return session{}, account{}, err
		}
		var ses session
		var acc account
		var refusal error // told after the commit: the flag stays
		err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
			if err := s.lockAccount(ctx, tx, row.AccountID); err != nil {
				return err
			}
			if refusal, err = s.passKey(ctx, tx, row, said, c); err != nil || refusal != nil {
				return err
			}
			ses, acc, err = s.admitKey(ctx, tx, row, passkeyAlone, c)
			return err
		})
		return ses, acc, errors.Join(err, refusal)
	})
}

// saidBy reads an answer and finds its passkey; row is empty when nobody's is.
func (s *Service) saidBy(ctx context.Context, a answered) (*protocol.ParsedCredentialAssertionData, passkeyRow, error) {
	said, err := protocol.ParseCredentialRequestResponseBytes(a.Credential)
	if err != nil {
		return nil, passkeyRow{}, badCredential(err)
	}
	row, _, err := s.passkeyByCredential(ctx, s.db.Pool, said.RawID)
	return said, row, err
}

// tryKey counts an attempt. Nobody guesses a signature: what is counted is the
// noise of one address on one account, or whoever knows the name of a passkey
// could lock its owner out.
func (s *Service) tryKey(ctx context.Context, row passkeyRow, said *protocol.ParsedCredentialAssertionData, c *token.Caller,
	try func() (session, account, error),
) (grant, error) {
	subject := row.AccountID.String()
	if row.AccountID == uuid.Nil {
		subject = hex.EncodeToString(said.RawID)
	}
	turn, err := s.throttle.reserve(ctx, kindPasskey, subject+" "+addressBlock(c.ClientIP), c.ClientIP)
	if err != nil {
		return grant{}, err
	}
	ses, acc, err := try()
	if fail.Is(err, fail.InvalidCredentials) {
		s.outbox.Wake()
		if err := turn.failed(ctx); err != nil {
			return grant{}, err
		}
		return grant{}, err
	}
	turn.release(ctx)
	if err != nil {
		return grant{}, err
	}
	s.outbox.Wake()
	return s.grant(ses, acc, s.now())
}

// judge verifies an answer. The counter is the database's to judge.
func (s *Service) judge(row passkeyRow, asked webauthn.SessionData, said *protocol.ParsedCredentialAssertionData) error {
	if row.AccountID == uuid.Nil {
		return wrongPasskey(errors.New("unknown credential"))
	}
	k, err := s.openPasskey(row)
	if err != nil {
		return err
	}
	named := asked.AllowedCredentialIDs
	if len(named) > 0 && !slices.ContainsFunc(named, func(id []byte) bool { return bytes.Equal(id, said.RawID) }) {
		return wrongPasskey(errors.New("not one of those named"))
	}
	if len(named) == 0 && len(said.Response.UserHandle) == 0 { // a key that was named need not say whose it is
		return wrongPasskey(errors.New("no user handle"))
	}
	h := holder{account: account{ID: row.AccountID}, keys: []webauthn.Credential{k.Key}}
	asked.AllowedCredentialIDs = nil // the library wants the holder to have all of them
	asked.UserID = h.WebAuthnID()
	if _, err := s.party.ValidateLogin(h, asked, said); err != nil {
		return wrongPasskey(err)
	}
	return nil
}

// passKey moves the counter of a passkey whose answer verified. One that goes
// back is refused this once and flagged; the next good answer counts:
// identity.md row 53.
func (s *Service) passKey(ctx context.Context, tx pg.Tx, row passkeyRow, said *protocol.ParsedCredentialAssertionData, c *token.Caller) (refusal, err error) {
	now := s.now()
	_, found, err := s.account(ctx, tx, row.AccountID)
	if err != nil {
		return nil, err
	}
	data := said.Response.AuthenticatorData
	var moved bool
	if found {
		if moved, err = s.usePasskey(ctx, tx, row.ID, int64(data.Counter), data.Flags.HasBackupState(), now); err != nil {
			return nil, err
		}
	}
	switch {
	case moved:
		return nil, nil
	case !found:
		refusal = wrongPasskey(errors.New("the account is gone"))
	default:
		refusal = wrongPasskey(errors.New("the counter went back, or the passkey is gone"))
		if err := s.flagPasskey(ctx, tx, row.ID, now); err != nil {
			return nil, err
		}
	}
	return refusal, s.record(ctx, tx, c, now, badPasskey(row))
}

// admitKey opens the session and says what opened it.
func (s *Service) admitKey(ctx context.Context, tx pg.Tx, row passkeyRow, amr []string, c *token.Caller) (session, account, error) {
	ses, acc, err := s.signInTx(ctx, tx, row.AccountID, amr, c)
	if err != nil {
		return ses, acc, err
	}
	return ses, acc, s.record(ctx, tx, c, s.now(), act{
		Action: trail.PasskeyUsed, Actor: userActor(acc.ID, ses.ID), Targets: []target{userTarget(acc.ID), passkeyTarget(row.ID)}, Outcome: success,
	})
}

func badPasskey(row passkeyRow) act {
	what := act{Action: trail.LoginFailed, Actor: anonymous, Outcome: denied, Reason: "passkey"}
	if row.AccountID != uuid.Nil {
		what.Targets = []target{userTarget(row.AccountID), passkeyTarget(row.ID)}
	}
	return what
}

// recordBadPasskey writes login.failed, as a wrong password does.
func (s *Service) recordBadPasskey(ctx context.Context, row passkeyRow, c *token.Caller) {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error { return s.record(ctx, tx, c, s.now(), badPasskey(row)) })
	if err != nil {
		zerolog.Ctx(ctx).Error().Err(err).Msg("failed login not recorded")
	}
}
