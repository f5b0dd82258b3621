package auth

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// States of a signing key. There is always one that signs and one that stands
// by, published long before it is needed.
const (
	keyPending  = "PENDING"
	keyActive   = "ACTIVE"
	keyRetiring = "RETIRING"
	keyDead     = "DEAD"
)

const (
	keysChanged = "KEYS_CHANGED" // kind of authzEvent

	// publishWait is how long a key stands by before it may sign: twice the
	// longest that anyone keeps the key set without asking again.
	publishWait = 2 * 5 * time.Minute // max-age of /.well-known/jwks.json
)

// operator is who moves a key: an account, or a tool at the machine.
type operator struct {
	actor  actor
	caller *token.Caller
}

func find(keys []storedKey, state string) (storedKey, bool) {
	i := slices.IndexFunc(keys, func(k storedKey) bool { return k.State == state })
	if i < 0 {
		return storedKey{}, false
	}
	return keys[i], true
}

// due reports whether a time that is set has come.
func due(t *time.Time, now time.Time) bool { return t != nil && !now.Before(*t) }

// asked reports whether the key that stands by is to sign now: it was asked to,
// or the one that signs is old; and every verifier has it.
func (s *Service) asked(active, pending storedKey, now time.Time) bool {
	if !due(pending.UsableAt, now) {
		return false
	}
	old := s.c.KeyRotation > 0 && active.ActivatedAt != nil && now.Sub(*active.ActivatedAt) >= s.c.KeyRotation.Std()
	return old || due(pending.DueAt, now)
}

// untended reports whether something is to be done about the keys.
func (s *Service) untended(keys []storedKey, now time.Time) bool {
	active, hasActive := find(keys, keyActive)
	pending, hasPending := find(keys, keyPending)
	over := slices.ContainsFunc(keys, func(k storedKey) bool { return k.State == keyRetiring && due(k.VerifyUntil, now) })
	return !hasActive || !hasPending || over || s.asked(active, pending, now)
}

// tendKeys does what is due. Every replica may: each step compares and sets.
func (s *Service) tendKeys(ctx context.Context) error {
	var news []authzEvent
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		news = nil
		now := s.now()
		keys, err := s.lockKeys(ctx, tx)
		if err != nil {
			return err
		}
		changed, err := s.tend(ctx, tx, keys, now)
		if err != nil || !changed {
			return err
		}
		news, err = s.recordAuthz(ctx, tx, keysChanged, 0, now, uuid.Nil)
		return err
	})
	s.publish(ctx, news...)
	s.outbox.Wake()
	return err
}

// tend makes missing keys, lets the one that stands by sign when its time has
// come, and buries those whose last token has ended.
func (s *Service) tend(ctx context.Context, tx pg.Tx, keys []storedKey, now time.Time) (changed bool, err error) {
	active, hasActive := find(keys, keyActive)
	pending, hasPending := find(keys, keyPending)
	if !hasActive {
		made, err := s.firstKeys(ctx, tx, hasPending, now)
		return made && len(keys) > 0, err // the very first are news to nobody
	}
	if hasPending && s.asked(active, pending, now) {
		if err := s.succeed(ctx, tx, active, pending, now); err != nil {
			return false, err
		}
		changed, hasPending = true, false
		self := operator{actor: actor{Type: "service", ID: schema}, caller: &token.Caller{}}
		if err := s.recordKey(ctx, tx, self, trail.SigningKeyRotated, pending.Kid, "its time had come", now, change{"kid", active.Kid, pending.Kid}); err != nil {
			return false, err
		}
	}
	if !hasPending {
		made, err := s.standBy(ctx, tx, now.Add(publishWait), now)
		if err != nil {
			return false, err
		}
		changed = changed || made
	}
	for _, k := range keys {
		if k.State != keyRetiring || !due(k.VerifyUntil, now) {
			continue
		}
		buried, err := s.buryKey(ctx, tx, k.Kid, keyRetiring, now)
		if err != nil {
			return false, err
		}
		changed = changed || buried
	}
	return changed, nil
}

// firstKeys makes a key that signs and, with it, one that stands by: whoever
// knows the one knows the other, so there is nothing to wait for.
func (s *Service) firstKeys(ctx context.Context, tx pg.Tx, hasPending bool, now time.Time) (bool, error) {
	k, err := s.newKey(keyActive)
	if err != nil {
		return false, err
	}
	k.UsableAt, k.ActivatedAt = &now, &now
	made, err := s.insertKey(ctx, tx, k, now)
	if err != nil || !made || hasPending {
		return made, err
	}
	return s.standBy(ctx, tx, now, now)
}

// standBy makes the key that signs next.
func (s *Service) standBy(ctx context.Context, tx pg.Tx, usable, now time.Time) (bool, error) {
	k, err := s.newKey(keyPending)
	if err != nil {
		return false, err
	}
	k.UsableAt = &usable
	return s.insertKey(ctx, tx, k, now)
}

// succeed lets one key sign in another's place. The old one's tokens stay good:
// for their life, and for as long as another replica may sign with it.
func (s *Service) succeed(ctx context.Context, tx pg.Tx, active, pending storedKey, now time.Time) error {
	retired, err := s.retireKey(ctx, tx, active.Kid, now.Add(s.c.AccessTTL.Std()+keyTimeout+clockSkew))
	if err != nil {
		return err
	}
	activated, err := s.activateKey(ctx, tx, pending.Kid, now)
	if err == nil && (!retired || !activated) {
		err = fail.New(fail.Conflict, "the signing keys have changed meanwhile")
	}
	return err
}

// rotateKey lets the key that stands by sign: now, or when it may.
func (s *Service) rotateKey(ctx context.Context, by operator, reason string) (storedKey, error) {
	var kid string
	err := s.moveKeys(ctx, func(ctx context.Context, tx pg.Tx, keys []storedKey, now time.Time) error {
		active, hasActive := find(keys, keyActive)
		pending, hasPending := find(keys, keyPending)
		if !hasActive || !hasPending {
			return fail.New(fail.Unavailable, "signing keys are being made").RetryAfter(time.Second)
		}
		kid = pending.Kid
		if !due(pending.UsableAt, now) {
			due := now.Add(publishWait)
			if pending.UsableAt != nil {
				due = *pending.UsableAt
			}
			if err := s.askKey(ctx, tx, kid, due); err != nil {
				return err
			}
			return s.recordKey(ctx, tx, by, trail.SigningKeyRotationRequested, kid, reason, now)
		}
		if err := s.succeed(ctx, tx, active, pending, now); err != nil {
			return err
		}
		if _, err := s.standBy(ctx, tx, now.Add(publishWait), now); err != nil {
			return err
		}
		return s.recordKey(ctx, tx, by, trail.SigningKeyRotated, kid, reason, now, change{"kid", active.Kid, kid})
	})
	if err != nil {
		return storedKey{}, err
	}
	return s.keyNamed(ctx, kid)
}

// killKey makes every token of a key invalid now. If that one signed, the one
// that stands by does from now on, and gives the key that signs.
func (s *Service) killKey(ctx context.Context, by operator, kid, reason string) (storedKey, error) {
	var signs string
	err := s.moveKeys(ctx, func(ctx context.Context, tx pg.Tx, keys []storedKey, now time.Time) error {
		i := slices.IndexFunc(keys, func(k storedKey) bool { return k.Kid == kid })
		if i < 0 {
			return fail.New(fail.NotFound, "there is no such key, or it is dead already")
		}
		if _, err := s.buryKey(ctx, tx, kid, keys[i].State, now); err != nil {
			return err
		}
		if err := s.replace(ctx, tx, slices.Delete(keys, i, i+1), now); err != nil {
			return err
		}
		left, err := s.lockKeys(ctx, tx)
		if err != nil {
			return err
		}
		active, _ := find(left, keyActive)
		signs = active.Kid
		return s.recordKey(ctx, tx, by, trail.SigningKeyKilled, kid, reason, now, change{"kid", kid, signs})
	})
	if err != nil {
		return storedKey{}, err
	}
	return s.keyNamed(ctx, signs)
}

// replace fills the places that a killed key has left. In an emergency the key
// that stands by signs even if somebody may not have it yet.
func (s *Service) replace(ctx context.Context, tx pg.Tx, keys []storedKey, now time.Time) error {
	_, hasActive := find(keys, keyActive)
	pending, hasPending := find(keys, keyPending)
	switch {
	case !hasActive && hasPending:
		if _, err := s.activateKey(ctx, tx, pending.Kid, now); err != nil {
			return err
		}
		hasPending = false
	case !hasActive:
		_, err := s.firstKeys(ctx, tx, false, now)
		return err
	}
	if hasPending {
		return nil
	}
	_, err := s.standBy(ctx, tx, now.Add(publishWait), now)
	return err
}

// moveKeys runs an operator's act on the locked keys and tells everybody.
func (s *Service) moveKeys(ctx context.Context, do func(ctx context.Context, tx pg.Tx, keys []storedKey, now time.Time) error) error {
	var news []authzEvent
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		news = nil
		now := s.now()
		keys, err := s.lockKeys(ctx, tx)
		if err != nil {
			return err
		}
		if err := do(ctx, tx, keys, now); err != nil {
			return err
		}
		news, err = s.recordAuthz(ctx, tx, keysChanged, 0, now, uuid.Nil)
		return err
	})
	if err != nil {
		return err
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	return s.loadKeys(ctx)
}

func (s *Service) recordKey(ctx context.Context, tx pg.Tx, by operator, action trail.Action, kid, reason string, now time.Time, changes ...change) error {
	return s.record(ctx, tx, by.caller, now, act{
		Action: action, Actor: by.actor, Targets: []target{{"signing_key", kid}}, Outcome: success, Reason: reason, Changes: changes,
	})
}

const deadShown = 30 * 24 * time.Hour // of keys that have died

func (s *Service) keyNamed(ctx context.Context, kid string) (storedKey, error) {
	list, err := s.allKeys(ctx, s.now().Add(-deadShown))
	if err != nil {
		return storedKey{}, err
	}
	i := slices.IndexFunc(list, func(k storedKey) bool { return k.Kid == kid })
	if i < 0 {
		return storedKey{}, fail.New(fail.NotFound, "there is no such key")
	}
	return list[i], nil
}
