package auth

import (
	"context"
	"encoding/base64"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
)

const (
	handlePrefix = "mfa_"
	handleBytes  = 32
	handleLife   = 5 * time.Minute
)

// door is which login was asked for.
type door int

const (
	frontDoor door = iota
	adminDoor      // for administrators; to everyone else every password is wrong
)

// loginResult is a session, or a handle for the second factor.
type loginResult struct {
	grant

	Handle string // not empty: the factor is owed
}

// login checks a password. Every refusal before the password is known to be
// right is the same, and takes as long: no account, wrong password, no admin.
func (s *Service) login(ctx context.Context, email, plainPassword string, d door, c *token.Caller) (loginResult, error) {
	email = canonicalEmail(email)
	try, err := s.throttle.reserve(ctx, "login", email, c.ClientIP)
	if err != nil {
		return loginResult{}, err
	}
	acc, right, err := s.checkPassword(ctx, email, plainPassword, d)
	switch {
	case err == nil && !right:
		if err := s.recordFailure(ctx, acc, c); err != nil {
			zerolog.Ctx(ctx).Error().Err(err).Msg("failed login not recorded")
		}
		if err := try.failed(ctx); err != nil {
			return loginResult{}, err
		}
		return loginResult{}, fail.New(fail.InvalidCredentials, "the e-mail or the password is not right")
	case err != nil:
		try.release(ctx)
		return loginResult{}, err
	}
	try.release(ctx)
	if acc.HasFactor {
		if acc.State != stateActive {
			return loginResult{}, suspended()
		}
		handle, err := s.openHandle(ctx, acc.ID)
		return loginResult{Handle: handle}, err
	}
	g, err := s.signIn(ctx, acc.ID, passwordOnly, c)
	return loginResult{grant: g}, err
}

// checkPassword finds whose password it is. A right one for an address that
// waits for its code is EMAIL_NOT_VERIFIED.
func (s *Service) checkPassword(ctx context.Context, email, plainPassword string, d door) (account, bool, error) {
	acc, known, err := s.accountByEmail(ctx, s.db.Pool, email)
	if err != nil {
		return acc, false, err
	}
	var phc string
	var pending bool
	if known {
		phc, err = s.credential(ctx, s.db.Pool, acc.ID)
	} else {
		var reg registration
		reg, pending, err = s.lastRegistration(ctx, email, s.now())
		phc = reg.PHC
	}
	if err != nil {
		return acc, false, err
	}
	right, err := s.hash.Verify(ctx, plainPassword, phc)
	if err != nil || !right || (d == adminDoor && !acc.isAdmin()) {
		return acc, false, err
	}
	if pending {
		return acc, false, fail.New(fail.EmailNotVerified, "the e-mail has not been verified yet")
	}
	return acc, true, nil
}

func suspended() error { return fail.New(fail.AccountSuspended, "the account is suspended") }

// recordFailure writes login.failed; the target is the account, if there is one.
func (s *Service) recordFailure(ctx context.Context, acc account, c *token.Caller) error {
	what := act{Action: "login.failed", Actor: anonymous, Outcome: denied}
	if acc.ID != uuid.Nil {
		what.Targets = []target{userTarget(acc.ID)}
	}
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error { return s.record(ctx, tx, c, s.now(), what) })
	s.outbox.Wake()
	return err
}

// signIn opens a session for an account that has shown all it must.
func (s *Service) signIn(ctx context.Context, account uuid.UUID, amr []string, c *token.Caller) (g grant, err error) {
	var ses session
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		ses, g.Account, err = s.signInTx(ctx, tx, account, amr, c)
		return err
	})
	if err != nil {
		return grant{}, err
	}
	s.outbox.Wake()
	return s.grant(ses, g.Account, s.now())
}

func (s *Service) signInTx(ctx context.Context, tx pg.Tx, id uuid.UUID, amr []string, c *token.Caller) (session, account, error) {
	now := s.now()
	active, err := s.noteLogin(ctx, tx, id, now)
	if err != nil {
		return session{}, account{}, err
	}
	if !active {
		return session{}, account{}, suspended()
	}
	acc, _, err := s.account(ctx, tx, id)
	if err != nil {
		return session{}, account{}, err
	}
	ses, err := s.openSession(ctx, tx, acc, amr, c, now)
	return ses, acc, err
}

// openHandle gives what a login that owes its second factor goes on with.
func (s *Service) openHandle(ctx context.Context, account uuid.UUID) (string, error) {
	secret, err := randomBytes(s.rand, handleBytes)
	if err != nil {
		return "", err
	}
	now := s.now()
	ch := challenge{ID: s.ids.New(), Purpose: purposeLoginMFA, AccountID: &account, CreatedAt: now, ExpiresAt: now.Add(handleLife)}
	ch.MAC = s.handleMAC(ch.ID, secret)
	if err := s.insertChallenge(ctx, s.db.Pool, ch); err != nil {
		return "", err
	}
	return handlePrefix + base64.RawURLEncoding.EncodeToString(append(ch.ID[:], secret...)), nil
}

func (s *Service) handleMAC(id uuid.UUID, secret []byte) []byte {
	return mac(s.secrets.handles, id.String(), string(secret))
}

func parseHandle(handle string) (id uuid.UUID, secret []byte, ok bool) {
	text, ok := strings.CutPrefix(handle, handlePrefix)
	if !ok {
		return id, nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(id)+handleBytes {
		return id, nil, false
	}
	copy(id[:], b)
	return id, b[len(id):], true
}
