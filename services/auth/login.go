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
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/auth/password"
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

	Handle  string   // not empty: the factor is owed
	Factors []string // what may answer for it
}

// login checks a password. Every refusal before the password is known to be
// right is the same, and takes as long: no account, wrong password, no admin,
// too many attempts.
func (s *Service) login(ctx context.Context, email, plainPassword string, d door, c *token.Caller) (loginResult, error) {
	began := s.now()
	r, err := s.tryLogin(ctx, canonicalEmail(email), plainPassword, d, c)
	if err != nil {
		s.onBeat(ctx, began)
	}
	return r, err
}

func (s *Service) tryLogin(ctx context.Context, email, plainPassword string, d door, c *token.Caller) (loginResult, error) {
	acc, known, err := s.accountByEmail(ctx, s.db.Pool, email)
	if err != nil {
		return loginResult{}, err
	}
	ctx, try, err := s.reserveLogin(ctx, acc, email, c)
	if err != nil {
		return loginResult{}, err
	}
	shown, err := s.checkPassword(ctx, acc, known, email, plainPassword)
	if err != nil {
		try.release(ctx)
		return loginResult{}, err
	}
	if shown.Owner && d == adminDoor && !acc.isAdmin() {
		shown = proof{}
	}
	switch {
	case shown.Owner:
		// Given back when the session stands: of any number of logins at once ten
		// hold a connection.
		defer try.release(ctx)
		return s.admitOwner(ctx, acc, shown.PHC, plainPassword, c)
	case shown.Registration && d == frontDoor:
		try.release(ctx)
		return loginResult{}, fail.New(fail.EmailNotVerified, "the e-mail has not been verified yet")
	}
	if err := try.failed(ctx); err != nil {
		return loginResult{}, err
	}
	if err := s.recordFailure(ctx, acc, try.locked, c); err != nil {
		zerolog.Ctx(ctx).Error().Err(err).Msg("failed login not recorded")
	}
	return loginResult{}, wrongCredentials()
}

func wrongCredentials() error {
	return fail.New(fail.InvalidCredentials, "the e-mail or the password is not right")
}

// reserveLogin counts the attempt, before anything is hashed: at the device if
// the account knows it, else at account and address. An unknown address has a
// counter like any account.
func (s *Service) reserveLogin(ctx context.Context, acc account, email string, c *token.Caller) (context.Context, *attempt, error) {
	device, known, err := s.knownDevice(ctx, acc.ID, c)
	if err != nil {
		return ctx, nil, err
	}
	subject := email
	if acc.ID != uuid.Nil {
		subject = acc.ID.String() // however it is spelled, and after the address has changed
	}
	if known {
		try, err := s.throttle.reserveOn(ctx, kindLogin, subject, device)
		return fromKnownDevice(ctx), try, err
	}
	try, err := s.throttle.reserve(ctx, kindLogin, subject, c.ClientIP)
	return ctx, try, err
}

const kindLogin = "login" // of the throttle's counters

// proof is what a password has shown.
type proof struct {
	Owner        bool   // it is the account's
	PHC          string // the hash it fits
	Registration bool   // it is that of a registration which waits for its code
}

// checkPassword finds whose password it is. It hashes as often for an unknown
// address as for a known one, whoever has tried to register it.
func (s *Service) checkPassword(ctx context.Context, acc account, known bool, email, plainPassword string) (proof, error) {
	phc, err := s.credential(ctx, s.db.Pool, acc.ID)
	if err != nil {
		return proof{}, err
	}
	if !known {
		phc = ""
	}
	hashes := []string{phc}
	reg, pending, err := s.lastRegistration(ctx, email, s.now())
	if err != nil {
		return proof{}, err
	}
	if pending {
		hashes = append(hashes, reg.PHC)
	}
	which, err := s.hash.Verify(ctx, plainPassword, hashes...)
	return proof{Owner: which == 0, PHC: phc, Registration: which == 1}, err
}

// admitOwner goes on for whoever has shown the right password.
func (s *Service) admitOwner(ctx context.Context, acc account, phc, plainPassword string, c *token.Caller) (loginResult, error) {
	if acc.State != stateActive {
		return loginResult{}, suspended()
	}
	if password.Outdated(phc) {
		phc = s.renewHash(ctx, acc.ID, phc, plainPassword)
	}
	if acc.HasFactor {
		handle, err := s.openHandle(ctx, acc.ID)
		return s.owes(ctx, acc.ID, handle, err)
	}
	var ses session
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		if err := s.lockAccount(ctx, tx, acc.ID); err != nil {
			return err
		}
		// A password changed while this one was hashed opens nothing any more.
		now, err := s.credential(ctx, tx, acc.ID)
		if err != nil {
			return err
		}
		if now != phc {
			return wrongCredentials()
		}
		ses, acc, err = s.signInTx(ctx, tx, acc.ID, passwordOnly, c)
		return err
	})
	if err != nil {
		return loginResult{}, err
	}
	s.outbox.Wake()
	g, err := s.grant(ses, acc, s.now())
	return loginResult{grant: g}, err
}

// owes demands the second factor.
func (s *Service) owes(ctx context.Context, account uuid.UUID, handle string, err error) (loginResult, error) {
	if err != nil {
		return loginResult{}, err
	}
	factors, err := s.factorsOf(ctx, account)
	return loginResult{Handle: handle, Factors: factors}, err
}

// renewHash stores a password of an older kind as one of today's, unless it has
// been changed meanwhile. Gives the hash that is stored now. That it fails is
// no reason to refuse: the next login tries again.
func (s *Service) renewHash(ctx context.Context, id uuid.UUID, old, plainPassword string) string {
	phc, err := s.hash.Hash(ctx, plainPassword)
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("old password hash not renewed")
		return old
	}
	var renewed bool
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		renewed, err = s.swapPHC(ctx, tx, id, old, phc, s.now())
		return err
	})
	if err != nil || !renewed {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("old password hash not renewed")
		return old
	}
	return phc
}

func suspended() error { return fail.New(fail.AccountSuspended, "the account is suspended") }

// recordFailure writes login.failed; the target is the account, if there is one.
// The owner of an account that has just been locked is told.
func (s *Service) recordFailure(ctx context.Context, acc account, locked bool, c *token.Caller) error {
	what := act{Action: trail.LoginFailed, Actor: anonymous, Outcome: denied}
	if acc.ID != uuid.Nil {
		what.Targets = []target{userTarget(acc.ID)}
	}
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		now := s.now()
		if err := s.record(ctx, tx, c, now, what); err != nil || !locked || acc.ID == uuid.Nil {
			return err
		}
		if err := s.tell(ctx, tx, acc, "account_locked", now); err != nil {
			return err
		}
		return s.record(ctx, tx, c, now, act{Action: trail.AuthLocked, Actor: anonymous, Targets: what.Targets, Outcome: denied})
	})
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
	if err := s.cancelErasure(ctx, tx, acc, c, now); err != nil {
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
