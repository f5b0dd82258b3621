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

const dayForm = "2006-01-02"

// scheduleErasure signs a person out everywhere who wants to be forgotten.
func (s *Service) scheduleErasure(ctx context.Context, tx pg.Tx, id uuid.UUID, due time.Time) ([]authzEvent, error) {
	now := s.now()
	if err := s.lockAccount(ctx, tx, id); err != nil { // before the sessions: as login does
		return nil, err
	}
	acc, found, err := s.account(ctx, tx, id)
	if err != nil || !found {
		return nil, err // forgotten already
	}
	fresh, err := s.setEraseAt(ctx, tx, id, &due)
	if err != nil || !fresh {
		return nil, err
	}
	if _, err := s.endSessions(ctx, tx, id, "erasure scheduled", now); err != nil {
		return nil, err
	}
	if err := s.endKeys(ctx, tx, id, now); err != nil { // or a program would go on in the person's name
		return nil, err
	}
	acting, err := s.endImpersonations(ctx, tx, id, uuid.Nil, uuid.Nil, &token.Caller{}, now)
	if err != nil {
		return nil, err
	}
	epoch, err := s.raiseEpoch(ctx, tx, id, now)
	if err != nil {
		return nil, err
	}
	news, err := s.recordAuthz(ctx, tx, accountRevoked, epoch, now, id)
	if err != nil {
		return nil, err
	}
	news = append(news, acting...)
	m := mail{To: acc.Email, Template: "erasure_scheduled", Locale: acc.Locale, Name: acc.FirstName, Params: map[string]string{"date": due.UTC().Format(dayForm)}}
	return news, s.queueMail(ctx, tx, m, now)
}

// cancelErasure keeps an account whose owner has signed in again.
func (s *Service) cancelErasure(ctx context.Context, tx pg.Tx, acc account, c *token.Caller, now time.Time) error {
	was, err := s.setEraseAt(ctx, tx, acc.ID, nil)
	if err != nil || !was {
		return err
	}
	if err := s.tell(ctx, tx, acc, "erasure_cancelled", now); err != nil {
		return err
	}
	if err := s.outbox.Append(ctx, tx, erasureCancelled(acc.ID, now)); err != nil {
		return err
	}
	return s.record(ctx, tx, c, now, act{
		Action: trail.AccountErasureCancelled, Actor: userActor(acc.ID, uuid.Nil), Targets: []target{userTarget(acc.ID)}, Outcome: success,
	})
}

// erase forgets who an account was. Its id is never used again; its address is
// free for another. Fails with CONFLICT when the person has signed in since.
func (s *Service) erase(ctx context.Context, id uuid.UUID) error {
	var news []authzEvent
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		now := s.now()
		if err := s.lockAccount(ctx, tx, id); err != nil {
			return err
		}
		acc, found, err := s.account(ctx, tx, id)
		if err != nil || !found {
			return err // done before
		}
		due, err := s.eraseAt(ctx, tx, id)
		if err != nil {
			return err
		}
		if due == nil {
			return fail.New(fail.Conflict, "the erasure has been cancelled")
		}
		if due.After(now) { // by our clock; user's is ahead
			return fail.New(fail.Unavailable, "it is not the day yet").RetryAfter(due.Sub(now))
		}
		// To the address that is about to be forgotten: the last there is to say.
		if err := s.tell(ctx, tx, acc, "erasure_done", now); err != nil {
			return err
		}
		if _, err := s.endSessions(ctx, tx, id, "account erased", now); err != nil {
			return err
		}
		if err := s.wipe(ctx, tx, id, now); err != nil {
			return err
		}
		if err := s.tellAccount(ctx, tx, id); err != nil {
			return err
		}
		if news, err = s.recordAuthz(ctx, tx, accountRevoked, acc.Epoch+1, now, id); err != nil {
			return err
		}
		return s.record(ctx, tx, &token.Caller{}, now, act{
			Action: trail.AccountErased, Actor: actor{Type: "service", ID: "auth"}, Targets: []target{userTarget(id)}, Outcome: success,
		})
	})
	if err != nil {
		return err
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	return nil
}
