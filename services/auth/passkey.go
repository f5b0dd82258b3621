package auth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

const (
	mostPasskeys = 20 // of one account
	localParty   = "localhost"
)

// newRelyingParty is who passkeys are made for. Without origins of its own it
// is where people reach us.
func newRelyingParty(c Config) (*webauthn.WebAuthn, error) {
	id := cmp.Or(c.WebAuthnRPID, localParty)
	origins := slices.Clone(c.WebAuthnOrigins)
	if len(origins) == 0 {
		switch {
		case c.PublicURL != "":
			origins = []string{c.PublicURL}
		case id == localParty:
			origins = []string{"http://localhost:5001"}
		default:
			origins = []string{"https://" + id}
		}
	}
	for i, o := range origins {
		origins[i] = strings.TrimRight(strings.TrimSpace(o), "/")
	}
	party, err := webauthn.New(&webauthn.Config{RPID: id, RPDisplayName: issuerName, RPOrigins: origins})
	if err != nil {
		return nil, fmt.Errorf("WEBAUTHN_RP_ID and WEBAUTHN_ORIGINS: %w", err)
	}
	return party, nil
}

// holder is an account as the library sees one.
type holder struct {
	account account
	keys    []webauthn.Credential
}

// WebAuthnID is the user handle: the account's id, which names nobody.
func (h holder) WebAuthnID() []byte { return h.account.ID[:] }

// WebAuthnName is what the device shows.
func (h holder) WebAuthnName() string { return h.account.Email }

// WebAuthnDisplayName is what the device shows beside it.
func (h holder) WebAuthnDisplayName() string {
	return strings.TrimSpace(h.account.FirstName + " " + h.account.LastName)
}

// WebAuthnCredentials are the account's passkeys.
func (h holder) WebAuthnCredentials() []webauthn.Credential { return h.keys }

// passkey is a row with its record opened.
type passkey struct {
	passkeyRow

	Key webauthn.Credential
}

func passkeyAAD(id uuid.UUID) string { return "passkey " + id.String() }

func (s *Service) openPasskey(row passkeyRow) (passkey, error) {
	text, err := unseal(s.secrets.passkeys, row.Record, passkeyAAD(row.ID))
	if err != nil {
		return passkey{}, err
	}
	k := passkey{passkeyRow: row}
	if err := json.Unmarshal(text, &k.Key); err != nil {
		return passkey{}, fmt.Errorf("decode passkey %s: %w", row.ID, err)
	}
	k.Key.Authenticator.SignCount = uint32(row.SignCount) //nolint:gosec // it was one
	return k, nil
}

// holderOf is an account with all its passkeys.
func (s *Service) holderOf(ctx context.Context, q pg.Querier, acc account) (holder, error) {
	rows, err := s.passkeysOf(ctx, q, acc.ID)
	if err != nil {
		return holder{}, err
	}
	h := holder{account: acc}
	for _, row := range rows {
		k, err := s.openPasskey(row)
		if err != nil {
			return holder{}, err
		}
		h.keys = append(h.keys, k.Key)
	}
	return h, nil
}

// mustHoldFactor refuses to change factors in a session that has not shown the
// one that is on: identity.md row 51.
func mustHoldFactor(acc account, c *token.Caller) error {
	if acc.HasFactor && !c.HasSecondFactor() {
		return fail.New(fail.MFARequired, "show the second factor that is on first")
	}
	return nil
}

// beginPasskey asks the caller's browser for a new passkey.
func (s *Service) beginPasskey(ctx context.Context, c *token.Caller) (question, error) {
	acc, err := s.getAccount(ctx, c.UserID)
	if err != nil {
		return question{}, err
	}
	if err := mustHoldFactor(acc, c); err != nil {
		return question{}, err
	}
	h, err := s.holderOf(ctx, s.db.Pool, acc)
	if err != nil {
		return question{}, err
	}
	if len(h.keys) >= mostPasskeys {
		return question{}, tooManyPasskeys()
	}
	options, asked, err := s.party.BeginRegistration(h,
		webauthn.WithExclusions(webauthn.Credentials(h.keys).CredentialDescriptors()),
		webauthn.WithAuthenticatorSelection(protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(),
			UserVerification: protocol.VerificationRequired,
		}),
		webauthn.WithExtensions(webauthn.WithExtensionCredProps()),
	)
	if err != nil {
		return question{}, fmt.Errorf("begin a registration: %w", err)
	}
	return s.openCeremony(ctx, ceremony{Purpose: ceremonyRegister, AccountID: &acc.ID}, asking{SessionData: *asked}, options)
}

func badCredential(cause error) error {
	return fail.New(fail.InvalidArgument, "the credential is malformed").Field("credential", "must be the JSON of WebAuthn level 3").Wrap(cause)
}

func wrongPasskey(cause error) error {
	var p *protocol.Error
	if errors.As(cause, &p) {
		cause = fmt.Errorf("%w (%s)", cause, p.DevInfo)
	}
	return fail.New(fail.InvalidCredentials, "the passkey does not verify").Wrap(cause)
}

// finishPasskey keeps a new passkey. codes are recovery codes when it is the
// account's first second factor.
func (s *Service) finishPasskey(ctx context.Context, a answered, name string, c *token.Caller) (row passkeyRow, codes []string, err error) {
	said, err := protocol.ParseCredentialCreationResponseBytes(a.Credential)
	if err != nil {
		return row, nil, badCredential(err)
	}
	x, asked, err := s.takeCeremony(ctx, a, ceremonyRegister, true, said.Response.CollectedClientData.Challenge)
	if err != nil {
		return row, nil, err
	}
	if x.AccountID == nil || *x.AccountID != c.UserID {
		return row, nil, wrongPasskey(errors.New("another account's ceremony"))
	}
	acc, err := s.getAccount(ctx, c.UserID)
	if err != nil {
		return row, nil, err
	}
	key, err := s.party.CreateCredential(holder{account: acc}, asked.SessionData, said)
	if err != nil {
		return row, nil, wrongPasskey(err)
	}
	if row, err = s.newPasskey(acc.ID, key, name); err != nil {
		return row, nil, err
	}
	codes, macs, err := s.newRecoveryCodes(acc.ID)
	if err != nil {
		return row, nil, err
	}
	var news []authzEvent
	var first bool
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		news, first, err = s.addPasskey(ctx, tx, row, macs, c)
		return err
	})
	if err != nil {
		return row, nil, err
	}
	if !first {
		codes = nil
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	return row, codes, nil
}

func tooManyPasskeys() error {
	return fail.New(fail.Conflict, "there are %d passkeys already, remove one first", mostPasskeys)
}

func (s *Service) newPasskey(account uuid.UUID, key *webauthn.Credential, name string) (passkeyRow, error) {
	row := passkeyRow{
		ID: s.ids.New(), AccountID: account, CredentialID: key.ID, SignCount: int64(key.Authenticator.SignCount),
		Name: plain(name, 300), BackedUp: key.Flags.BackupState, CreatedAt: s.now(), Transports: []string{},
	}
	if row.Name == "" {
		row.Name = "Passkey"
	}
	for _, t := range key.Transport[:min(len(key.Transport), 8)] {
		row.Transports = append(row.Transports, plain(string(t), 32))
	}
	text, err := json.Marshal(key)
	if err != nil {
		return row, fmt.Errorf("encode a passkey: %w", err)
	}
	row.Record = seal(s.secrets.passkeys, text, passkeyAAD(row.ID))
	return row, nil
}

// addPasskey writes the passkey. If it is the first second factor the session
// that made it has shown it, as with an authenticator's first code.
func (s *Service) addPasskey(ctx context.Context, tx pg.Tx, row passkeyRow, macs [][]byte, c *token.Caller) (news []authzEvent, first bool, err error) {
	now := s.now()
	if err := s.lockAccount(ctx, tx, c.UserID); err != nil { // before the session: as a reset does
		return nil, false, err
	}
	acc, found, err := s.account(ctx, tx, c.UserID)
	if err != nil || !found {
		return nil, false, orNoAccount(err)
	}
	if err := mustHoldFactor(acc, c); err != nil {
		return nil, false, err
	}
	held, err := s.passkeysOf(ctx, tx, acc.ID)
	if err != nil {
		return nil, false, err
	}
	if len(held) >= mostPasskeys {
		return nil, false, tooManyPasskeys()
	}
	fresh, err := s.insertPasskey(ctx, tx, row)
	if err != nil {
		return nil, false, err
	}
	if !fresh {
		return nil, false, fail.New(fail.Conflict, "this passkey is registered already")
	}
	first = !acc.HasFactor
	if first {
		if err := s.putRecoveryCodes(ctx, tx, acc.ID, macs, now); err != nil {
			return nil, false, err
		}
		if err := s.raiseAssurance(ctx, tx, acc.ID, c.SessionID, withKey(c.AMR), now); err != nil {
			return nil, false, err
		}
		epoch, err := s.raiseEpoch(ctx, tx, acc.ID, now)
		if err != nil {
			return nil, false, err
		}
		if news, err = s.recordAuthz(ctx, tx, accountStale, epoch, now, acc.ID); err != nil {
			return nil, false, err
		}
	}
	if err := s.tell(ctx, tx, acc, "factor_added", now); err != nil {
		return nil, false, err
	}
	return news, first, s.record(ctx, tx, c, now, act{
		Action: trail.PasskeyRegistered, Actor: userActor(acc.ID, c.SessionID), Outcome: success,
		Targets: []target{userTarget(acc.ID), passkeyTarget(row.ID)},
	})
}

// passkeyAlone is the assurance of a passkey that its holder has unlocked.
var passkeyAlone = []string{"hwk", "user", "mfa"}

// withKey is the assurance of a session that has shown a passkey beside what it
// had shown before.
func withKey(shown []string) []string {
	out := slices.Clone(shown)
	for _, m := range passkeyAlone {
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}
