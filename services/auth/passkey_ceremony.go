package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
)

// Purposes of a ceremony. The login of one with an account is the second factor
// of a login under way.
const (
	ceremonyRegister = "REGISTER"
	ceremonyLogin    = "LOGIN"

	ceremonyLife   = 5 * time.Minute
	ceremonyPrefix = "cer"
)

// question is what an authenticator is asked.
type question struct {
	Ceremony uuid.UUID
	Options  any // {"publicKey": …} as JSON
}

// answered is what it says. Ceremony may be left out: the challenge inside
// names it as well.
type answered struct {
	Ceremony   string
	Credential []byte // JSON of WebAuthn level 3
}

// asking is what the answer will be judged by.
type asking struct {
	webauthn.SessionData

	Handle uuid.UUID `json:"handle"` // of the login that owes its second factor
}

func ceremonyAAD(id uuid.UUID) string { return "ceremony " + id.String() }

// openCeremony keeps what the answer will be judged by.
func (s *Service) openCeremony(ctx context.Context, x ceremony, asked asking, options any) (question, error) {
	text, err := json.Marshal(asked)
	if err != nil {
		return question{}, fmt.Errorf("encode a ceremony: %w", err)
	}
	now := s.now()
	x.ID, x.CreatedAt, x.ExpiresAt = s.ids.New(), now, now.Add(ceremonyLife)
	x.Challenge = s.ceremonyMAC(asked.Challenge)
	x.Session = seal(s.secrets.passkeys, text, ceremonyAAD(x.ID))
	return question{Ceremony: x.ID, Options: options}, s.insertCeremony(ctx, s.db.Pool, x)
}

func (s *Service) ceremonyMAC(challenge string) []byte {
	return mac(s.secrets.handles, "passkey", challenge)
}

// takeCeremony uses up the ceremony that an answer belongs to, right or wrong:
// of any number of answers at once one is judged. owned: it is an account's.
// Fails with CHALLENGE_EXPIRED, also for a ceremony of another purpose.
func (s *Service) takeCeremony(ctx context.Context, a answered, purpose string, owned bool, challenge string) (ceremony, asking, error) {
	var x ceremony
	var asked asking
	var live bool
	var err error
	if a.Ceremony == "" {
		x, live, err = s.useCeremony(ctx, s.db.Pool, purpose, owned, s.ceremonyMAC(challenge), s.now())
	} else if named, bad := id.Parse(ceremonyPrefix, a.Ceremony); bad == nil {
		x, live, err = s.useNamedCeremony(ctx, s.db.Pool, purpose, owned, named, s.now())
	}
	if err != nil {
		return x, asked, err
	}
	if !live {
		return x, asked, fail.New(fail.ChallengeExpired, "this has been answered or has expired, begin again")
	}
	text, err := unseal(s.secrets.passkeys, x.Session, ceremonyAAD(x.ID))
	if err != nil {
		return x, asked, err
	}
	if err := json.Unmarshal(text, &asked); err != nil {
		return x, asked, fmt.Errorf("decode a ceremony: %w", err)
	}
	return x, asked, nil
}
