package auth

import (
	"context"
	"crypto/hmac"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"rsc.io/qr"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/auth/totp"
)

const (
	recoveryCodes = 10
	recoveryBytes = 15 // 24 characters of base32, 120 bits: a keyed hash is enough
)

// methodRecovery is a recovery code, as the audit trail calls it.
const methodRecovery = "RECOVERY_CODE"

// verifyMFA finishes a login with a TOTP or recovery code.
func (s *Service) verifyMFA(ctx context.Context, handle, code string, c *token.Caller) (grant, error) {
	id, secret, ok := parseHandle(handle)
	if !ok {
		return grant{}, wrongCode()
	}
	hash := s.handleMAC(id, secret)
	owner, err := s.handleOwner(ctx, id, hash)
	if err != nil {
		return grant{}, err
	}
	// Five tries a handle, but handles are to be had for the password: wrong
	// codes count for the account as well.
	try, err := s.throttle.reserve(ctx, "mfa", owner.String(), c.ClientIP)
	if err != nil {
		return grant{}, err
	}
	ses, acc, refusal, err := s.finishLogin(ctx, owner, id, hash, code, c)
	switch {
	case err != nil:
		try.release(ctx)
		return grant{}, err
	case refusal != nil:
		if err := try.failed(ctx); err != nil {
			return grant{}, err
		}
		return grant{}, refusal
	}
	try.release(ctx)
	s.outbox.Wake()
	return s.grant(ses, acc, s.now())
}

// handleOwner says whose login a live handle belongs to.
func (s *Service) handleOwner(ctx context.Context, id uuid.UUID, hash []byte) (uuid.UUID, error) {
	f, found, err := s.fate(ctx, s.db.Pool, purposeLoginMFA, id, s.now())
	switch {
	case err != nil:
		return uuid.Nil, err
	case !found || f.Used || f.AccountID == nil || !hmac.Equal(f.MAC, hash):
		return uuid.Nil, wrongCode()
	case f.Expired || f.Exhausted:
		return uuid.Nil, f.refusal()
	}
	return *f.AccountID, nil
}

// finishLogin counts a try and, if the code fits, signs in. The refusal is told
// after the commit, so that the try counts.
func (s *Service) finishLogin(ctx context.Context, owner, id uuid.UUID, hash []byte, code string, c *token.Caller) (ses session, acc account, refusal, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		refusal = nil
		now := s.now()
		if err := s.lockAccount(ctx, tx, owner); err != nil { // before the challenge: as a reset does
			return err
		}
		a, live, err := s.countTry(ctx, tx, purposeLoginMFA, id, hash, now)
		if err != nil {
			return err
		}
		if !live || a.AccountID == nil {
			refusal, err = s.whyDead(ctx, tx, purposeLoginMFA, id, now)
			return err
		}
		method, err := s.factorFits(ctx, tx, *a.AccountID, code, now)
		if err != nil {
			return err
		}
		if method == "" {
			refusal = wrongCode()
			return s.record(ctx, tx, c, now, act{
				Action: trail.LoginFailed, Actor: anonymous, Targets: []target{userTarget(*a.AccountID)}, Outcome: denied, Reason: "second factor",
			})
		}
		if err := s.useChallenge(ctx, tx, id, now); err != nil {
			return err
		}
		first, err := s.firstFactor(ctx, tx, id)
		if err != nil {
			return err
		}
		if ses, acc, err = s.signInTx(ctx, tx, *a.AccountID, withSecond(first), c); err != nil {
			return err
		}
		if err := s.recoveryUsed(ctx, tx, acc, method, now); err != nil {
			return err
		}
		return s.record(ctx, tx, c, now, act{
			Action: trail.MFAVerified, Actor: userActor(acc.ID, ses.ID), Targets: []target{userTarget(acc.ID)}, Outcome: success,
			Changes: []change{{Path: "method", After: method}},
		})
	})
	return ses, acc, refusal, err
}

// factorFits uses up a code; method is empty when it does not fit.
func (s *Service) factorFits(ctx context.Context, tx pg.Tx, account uuid.UUID, code string, now time.Time) (method string, err error) {
	code = strings.TrimSpace(code)
	if len(code) > 6 {
		used, err := s.useRecoveryCode(ctx, tx, account, s.recoveryMAC(account, code), now)
		if err != nil || !used {
			return "", err
		}
		return methodRecovery, nil
	}
	f, found, err := s.factor(ctx, tx, account)
	if err != nil || !found || !f.Confirmed {
		return "", err
	}
	secret, err := unseal(s.secrets.totp, f.Secret, totpRow(account))
	if err != nil {
		return "", err
	}
	step, fits := totp.Match(secret, code, now)
	if !fits {
		return "", nil
	}
	if fresh, err := s.takeStep(ctx, tx, account, step); err != nil || !fresh {
		return "", err
	}
	return "TOTP", nil
}

func totpRow(account uuid.UUID) string { return "totp " + account.String() }

// recoveryMAC forgives case, spaces and dashes.
func (s *Service) recoveryMAC(account uuid.UUID, code string) []byte {
	code = strings.NewReplacer(" ", "", "-", "").Replace(strings.ToUpper(code))
	return mac(s.secrets.recovery, account.String(), code)
}

// enrolment is a secret shown once.
type enrolment struct {
	Secret string
	URI    string
	PNG    []byte
}

func factorOn() error { return fail.New(fail.Conflict, "a second factor is on already") }

// createTOTP makes a secret that counts once it is confirmed.
func (s *Service) createTOTP(ctx context.Context, c *token.Caller) (enrolment, error) {
	acc, found, err := s.account(ctx, s.db.Pool, c.UserID)
	if err != nil || !found {
		return enrolment{}, orNoAccount(err)
	}
	kinds, _, err := s.factorKinds(ctx, s.db.Pool, acc.ID)
	if err != nil {
		return enrolment{}, err
	}
	if kinds.Totp {
		return enrolment{}, factorOn()
	}
	if err := mustHoldFactor(acc, c); err != nil {
		return enrolment{}, err
	}
	secret, err := totp.NewSecret(s.rand)
	if err != nil {
		return enrolment{}, fmt.Errorf("make a secret: %w", err)
	}
	written, err := s.putFactor(ctx, s.db.Pool, acc.ID, seal(s.secrets.totp, secret, totpRow(acc.ID)), s.now())
	if err != nil {
		return enrolment{}, err
	}
	if !written {
		return enrolment{}, factorOn()
	}
	e := enrolment{Secret: totp.Encode(secret), URI: totp.URI(issuerName, acc.Email, secret)}
	picture, err := qr.Encode(e.URI, qr.M)
	if err != nil {
		return enrolment{}, fmt.Errorf("draw the code: %w", err)
	}
	e.PNG = picture.PNG()
	return e, nil
}

// confirmTOTP turns the factor on and gives the recovery codes. The session
// that confirms has shown the factor: after the next refresh, which the raised
// epoch asks for, its token says so.
func (s *Service) confirmTOTP(ctx context.Context, code string, c *token.Caller) ([]string, error) {
	f, found, err := s.factor(ctx, s.db.Pool, c.UserID)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, wrongCode()
	case f.Confirmed:
		return nil, factorOn()
	}
	secret, err := unseal(s.secrets.totp, f.Secret, totpRow(c.UserID))
	if err != nil {
		return nil, err
	}
	now := s.now()
	try, err := s.throttle.reserve(ctx, "mfa", c.UserID.String(), c.ClientIP)
	if err != nil {
		return nil, err
	}
	step, fits := totp.Match(secret, strings.TrimSpace(code), now)
	if !fits {
		if err := try.failed(ctx); err != nil {
			return nil, err
		}
		return nil, wrongCode()
	}
	try.release(ctx)
	codes, macs, err := s.newRecoveryCodes(c.UserID)
	if err != nil {
		return nil, err
	}
	var news []authzEvent
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		news, err = s.enrol(ctx, tx, c, f, step, macs, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	return codes, nil
}

func (s *Service) enrol(ctx context.Context, tx pg.Tx, c *token.Caller, f factor, step int64, macs [][]byte, now time.Time) ([]authzEvent, error) {
	if err := s.lockAccount(ctx, tx, c.UserID); err != nil { // before the session: as a reset does
		return nil, err
	}
	acc, found, err := s.account(ctx, tx, c.UserID)
	if err != nil || !found {
		return nil, orNoAccount(err)
	}
	if err := mustHoldFactor(acc, c); err != nil { // one that was turned on since this secret was made
		return nil, err
	}
	on, err := s.confirmFactor(ctx, tx, c.UserID, f.Secret, step, now)
	if err != nil {
		return nil, err
	}
	if !on {
		return nil, fail.New(fail.Conflict, "the second factor has changed meanwhile")
	}
	if err := s.putRecoveryCodes(ctx, tx, c.UserID, macs, now); err != nil {
		return nil, err
	}
	if err := s.raiseAssurance(ctx, tx, c.UserID, c.SessionID, withSecond(c.AMR), now); err != nil {
		return nil, err
	}
	epoch, err := s.raiseEpoch(ctx, tx, c.UserID, now)
	if err != nil {
		return nil, err
	}
	news, err := s.recordAuthz(ctx, tx, accountStale, epoch, now, c.UserID)
	if err != nil {
		return nil, err
	}
	if err := s.tell(ctx, tx, acc, "factor_added", now); err != nil {
		return nil, err
	}
	return news, s.record(ctx, tx, c, now, act{
		Action: trail.MFAEnrolled, Actor: userActor(c.UserID, c.SessionID), Targets: []target{userTarget(c.UserID)}, Outcome: success,
		Changes: []change{{Path: "method", After: "TOTP"}},
	})
}

func (s *Service) newRecoveryCodes(account uuid.UUID) (codes []string, macs [][]byte, err error) {
	for range recoveryCodes {
		b, err := randomBytes(s.rand, recoveryBytes)
		if err != nil {
			return nil, nil, err
		}
		code := base32.StdEncoding.EncodeToString(b)
		codes, macs = append(codes, code), append(macs, s.recoveryMAC(account, code))
	}
	return slices.Clip(codes), macs, nil
}
