package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// deletePasskey removes one of the caller's passkeys. With the last second
// factor go the recovery codes, and what sessions have shown of it.
func (s *Service) deletePasskey(ctx context.Context, c *token.Caller, id uuid.UUID) error {
	var news []authzEvent
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		now := s.now()
		if err := s.lockAccount(ctx, tx, c.UserID); err != nil {
			return err
		}
		acc, found, err := s.account(ctx, tx, c.UserID)
		if err != nil || !found {
			return orNoAccount(err)
		}
		if err := mustHoldFactor(acc, c); err != nil {
			return err
		}
		gone, err := s.removePasskey(ctx, tx, acc.ID, id)
		if err != nil {
			return err
		}
		if !gone {
			return noPasskey()
		}
		if news, err = s.afterPasskey(ctx, tx, acc, now); err != nil {
			return err
		}
		if err := s.tell(ctx, tx, acc, "factor_removed", now); err != nil {
			return err
		}
		return s.record(ctx, tx, c, now, act{
			Action: trail.PasskeyRemoved, Actor: userActor(acc.ID, c.SessionID), Targets: []target{userTarget(acc.ID), passkeyTarget(id)}, Outcome: success,
		})
	})
	if err != nil {
		return err
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	return nil
}

func noPasskey() error { return fail.New(fail.NotFound, "there is no such passkey") }

// afterPasskey looks at what is left once a passkey has gone. With the last one
// goes what sessions have shown of it, whether they used it or not: nobody
// knows any more.
func (s *Service) afterPasskey(ctx context.Context, tx pg.Tx, before account, now time.Time) ([]authzEvent, error) {
	left, _, err := s.factorKinds(ctx, tx, before.ID)
	if err != nil || left.Passkey {
		return nil, err
	}
	if !left.Totp {
		if before.NeedsMFA {
			return nil, fail.New(fail.PermissionDenied, "your role must have a second factor")
		}
		if err := s.dropRecoveryCodes(ctx, tx, before.ID); err != nil {
			return nil, err
		}
		if err := s.endCodes(ctx, tx, before.ID, now); err != nil { // a login that waits for this factor
			return nil, err
		}
	}
	if err := s.forgetKeys(ctx, tx, before.ID, !left.Totp); err != nil {
		return nil, err
	}
	epoch, err := s.raiseEpoch(ctx, tx, before.ID, now)
	if err != nil {
		return nil, err
	}
	return s.recordAuthz(ctx, tx, accountStale, epoch, now, before.ID)
}

// factorsOf names what may answer for the second factor of an account.
func (s *Service) factorsOf(ctx context.Context, account uuid.UUID) ([]string, error) {
	has, _, err := s.factorKinds(ctx, s.db.Pool, account)
	if err != nil {
		return nil, err
	}
	var out []string
	if has.Totp {
		out = append(out, "TOTP")
	}
	if has.Recovery {
		out = append(out, "RECOVERY_CODE")
	}
	if has.Passkey {
		out = append(out, "WEBAUTHN")
	}
	return out, nil
}
