package auth

import (
	"context"
	"time"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// disableTOTP turns the authenticator off. Tokens that still tell of it are
// stale at once.
func (s *Service) disableTOTP(ctx context.Context, c *token.Caller, plainPassword, code string) error {
	acc, err := s.getAccount(ctx, c.UserID)
	if err != nil {
		return err
	}
	if acc.NeedsMFA {
		return fail.New(fail.PermissionDenied, "your role must have a second factor")
	}
	if _, err := s.ownPassword(ctx, acc, plainPassword, c); err != nil {
		return err
	}
	var news []authzEvent
	err = s.ownCode(ctx, c, code, func(ctx context.Context, tx pg.Tx, acc account, now time.Time) error {
		if acc.NeedsMFA { // a role given just now
			return fail.New(fail.PermissionDenied, "your role must have a second factor")
		}
		news, err = s.dropFactor(ctx, tx, acc, c, now)
		return err
	})
	if err != nil {
		return err
	}
	s.publish(ctx, news...)
	return nil
}

func (s *Service) dropFactor(ctx context.Context, tx pg.Tx, acc account, c *token.Caller, now time.Time) ([]authzEvent, error) {
	if err := s.deleteFactor(ctx, tx, acc.ID); err != nil {
		return nil, err
	}
	after, _, err := s.account(ctx, tx, acc.ID)
	if err != nil {
		return nil, err
	}
	if !after.HasFactor { // that was the last
		if err := s.dropRecoveryCodes(ctx, tx, acc.ID); err != nil {
			return nil, err
		}
	}
	if err := s.lowerAssurance(ctx, tx, acc.ID); err != nil {
		return nil, err
	}
	if err := s.endCodes(ctx, tx, acc.ID, now); err != nil { // a login that waits for this factor
		return nil, err
	}
	epoch, err := s.raiseEpoch(ctx, tx, acc.ID, now)
	if err != nil {
		return nil, err
	}
	news, err := s.recordAuthz(ctx, tx, accountStale, epoch, now, acc.ID)
	if err != nil {
		return nil, err
	}
	if err := s.tell(ctx, tx, acc, "factor_removed", now); err != nil {
		return nil, err
	}
	return news, s.record(ctx, tx, c, now, act{
		Action: trail.MFARemoved, Actor: userActor(acc.ID, c.SessionID), Targets: []target{userTarget(acc.ID)}, Outcome: success,
		Changes: []change{{Path: "method", Before: "TOTP"}},
	})
}

// renewRecoveryCodes gives ten new ways back in; the old ones are dead.
func (s *Service) renewRecoveryCodes(ctx context.Context, c *token.Caller) ([]string, error) {
	codes, macs, err := s.newRecoveryCodes(c.UserID)
	if err != nil {
		return nil, err
	}
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		now := s.now()
		if err := s.lockAccount(ctx, tx, c.UserID); err != nil {
			return err
		}
		acc, found, err := s.account(ctx, tx, c.UserID)
		switch {
		case err != nil || !found:
			return orNoAccount(err)
		case !acc.HasFactor:
			return fail.New(fail.Conflict, "no second factor is on")
		}
		if err := s.putRecoveryCodes(ctx, tx, acc.ID, macs, now); err != nil {
			return err
		}
		if err := s.tell(ctx, tx, acc, "recovery_codes_renewed", now); err != nil {
			return err
		}
		return s.record(ctx, tx, c, now, act{
			Action: trail.MFARecoveryCodesRenewed, Actor: userActor(acc.ID, c.SessionID), Targets: []target{userTarget(acc.ID)}, Outcome: success,
		})
	})
	if err != nil {
		return nil, err
	}
	s.outbox.Wake()
	return codes, nil
}
