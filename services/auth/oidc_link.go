package auth

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// federate gives the account of an identity. A known identity is its account's
// for good, whatever its address is by now; an unknown one is joined by address
// only when both sides have proved it.
func (s *Service) federate(ctx context.Context, tx pg.Tx, who identity, c *token.Caller, now time.Time) (account, []authzEvent, error) {
	acc, known, err := s.accountByIdentity(ctx, tx, who)
	if err != nil || known {
		return acc, nil, err
	}
	if who.Email == "" || !who.EmailVerified {
		return account{}, nil, fail.New(fail.InvalidArgument, "the provider has not verified your e-mail address")
	}
	acc, news, err := s.addressee(ctx, tx, who, c, now)
	if err != nil || acc.State != stateActive { // nothing is joined to a suspended account
		return acc, nil, err
	}
	linked, err := s.insertIdentity(ctx, tx, who, acc.ID, now)
	if err != nil {
		return acc, nil, err
	}
	if !linked {
		// Two arrivals at once, or an address that the provider has given to
		// somebody else since.
		other, known, err := s.accountByIdentity(ctx, tx, who)
		if err == nil && (!known || other.ID != acc.ID) {
			err = fail.New(fail.InvalidArgument, "another identity of this provider is linked to the account")
		}
		return other, news, err
	}
	m := mail{To: acc.Email, Template: "oidc_linked", Locale: acc.Locale, Name: acc.FirstName, Params: map[string]string{"detail": who.ProviderName}}
	if err := s.queueMail(ctx, tx, m, now); err != nil {
		return acc, nil, err
	}
	return acc, news, s.record(ctx, tx, c, now, act{
		Action: trail.OIDCLinked, Actor: userActor(acc.ID, uuid.Nil), Targets: []target{userTarget(acc.ID)}, Outcome: success,
		Changes: []change{{Path: "provider", After: who.ProviderName}},
	})
}

// addressee is the account of a proved address: the one there is, cleared of
// whoever never proved it, or a new one.
func (s *Service) addressee(ctx context.Context, tx pg.Tx, who identity, c *token.Caller, now time.Time) (account, []authzEvent, error) {
	acc, found, err := s.lockedByEmail(ctx, tx, who.Email)
	if err != nil {
		return acc, nil, err
	}
	if !found {
		var taken bool
		if acc, taken, err = s.activate(ctx, tx, who.person(), "", []string{roleUser}, c, now); err != nil || !taken {
			return acc, nil, err
		}
		if acc, found, err = s.lockedByEmail(ctx, tx, who.Email); err != nil {
			return acc, nil, err
		}
		if !found { // a deleted account keeps its address
			return acc, nil, fail.New(fail.InvalidArgument, "this address cannot be used")
		}
	}
	if acc.EmailVerifiedAt != nil || acc.State != stateActive {
		return acc, nil, nil
	}
	return s.reclaim(ctx, tx, acc, c, now)
}

// lockedByEmail reads an account after its row is locked, so that what is
// decided about it still holds at the commit.
func (s *Service) lockedByEmail(ctx context.Context, tx pg.Tx, email string) (account, bool, error) {
	acc, found, err := s.accountByEmail(ctx, tx, email)
	if err != nil || !found {
		return acc, false, err
	}
	if err := s.lockAccount(ctx, tx, acc.ID); err != nil {
		return acc, false, err
	}
	return s.accountByEmail(ctx, tx, email)
}

// reclaim gives an account whose address was never proved to whoever proves it
// now. All that the one before put there is gone: password, factors, sessions and
// what he opened from them, keys, identities, phone and his word about the terms.
func (s *Service) reclaim(ctx context.Context, tx pg.Tx, acc account, c *token.Caller, now time.Time) (account, []authzEvent, error) {
	if _, err := s.endSessions(ctx, tx, acc.ID, "the address was proved by another", now); err != nil {
		return acc, nil, err
	}
	if err := s.strip(ctx, tx, acc.ID, now); err != nil {
		return acc, nil, err
	}
	acc, _, err := s.account(ctx, tx, acc.ID)
	if err != nil {
		return acc, nil, err
	}
	news, err := s.recordAuthz(ctx, tx, accountRevoked, acc.Epoch, now, acc.ID)
	if err != nil {
		return acc, nil, err
	}
	more, err := s.endImpersonations(ctx, tx, acc.ID, uuid.Nil, uuid.Nil, c, now)
	if err != nil {
		return acc, nil, err
	}
	news = append(news, more...)
	if err := s.outbox.Append(ctx, tx, accountChanged(acc, now)); err != nil {
		return acc, nil, err
	}
	return acc, news, s.record(ctx, tx, c, now, act{
		Action: trail.AccountReclaimed, Actor: userActor(acc.ID, uuid.Nil), Targets: []target{userTarget(acc.ID)}, Outcome: success,
	})
}

// person is a registration by a provider's word. Terms are owed: nobody has
// shown them yet.
func (who identity) person() person {
	first := who.FirstName
	if first == "" {
		first, _, _ = strings.Cut(who.Email, "@")
		first = plain(first, 100)
	}
	locale, _, _ := strings.Cut(strings.ToLower(who.Locale), "-")
	if !slices.Contains([]string{"en", "hi", "kn", "ta", "te"}, locale) {
		locale = "en"
	}
	return person{Email: who.Email, FirstName: first, LastName: who.LastName, Locale: locale}
}
