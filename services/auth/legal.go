package auth

import (
	"cmp"
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// noLegal is the accepted version of an account that has accepted none: below
// every other, and not the ” of accounts older than the column.
const noLegal = "0"

// legal names versions of the two documents; "" is none of one.
type legal struct{ Terms, Privacy string }

// owed is what an account has yet to accept. Versions are dates, such as
// 2026-01, and compare as text; going back to an older version asks nobody.
func (s *Service) owed(a account) (out legal) {
	if a.AcceptedTerms < s.c.TermsVersion {
		out.Terms = s.c.TermsVersion
	}
	if cmp.Or(a.AcceptedPrivacy, a.AcceptedTerms) < s.c.PrivacyVersion {
		out.Privacy = s.c.PrivacyVersion
	}
	return out
}

// privacyOf is the notice that a registration accepts with the terms, which
// name no version of it: the one in force.
func (s *Service) privacyOf(p person) string {
	if p.AcceptedTerms == "" {
		return noLegal
	}
	return s.c.PrivacyVersion
}

func (s *Service) owesLegal(a account) bool { return s.owed(a) != legal{} }

// acceptLegal notes what the caller accepts; repeated, it changes nothing.
// Tokens out are stale then: the next says that nothing is owed.
func (s *Service) acceptLegal(ctx context.Context, accepted legal, c *token.Caller) error {
	bad := fail.New(fail.InvalidArgument, "the request is invalid")
	if accepted == (legal{}) {
		bad = bad.Field("terms", "name the version of the terms, of the privacy notice or of both")
	}
	if accepted.Terms != "" && accepted.Terms != s.c.TermsVersion {
		bad = bad.Field("terms", "must be the current version, see /legal")
	}
	if accepted.Privacy != "" && accepted.Privacy != s.c.PrivacyVersion {
		bad = bad.Field("privacy", "must be the current version, see /legal")
	}
	if len(bad.Fields) > 0 {
		return bad
	}
	var news []authzEvent
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) (err error) {
		news, err = s.noteLegal(ctx, tx, accepted, c, s.now())
		return err
	})
	if err != nil {
		return err
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	return nil
}

func (s *Service) noteLegal(ctx context.Context, tx pg.Tx, accepted legal, c *token.Caller, now time.Time) ([]authzEvent, error) {
	if err := s.lockAccount(ctx, tx, c.UserID); err != nil {
		return nil, err
	}
	before, found, err := s.account(ctx, tx, c.UserID)
	if err != nil || !found {
		return nil, orNoAccount(err)
	}
	privacy := cmp.Or(before.AcceptedPrivacy, before.AcceptedTerms, noLegal)
	after := legal{Terms: cmp.Or(accepted.Terms, before.AcceptedTerms), Privacy: cmp.Or(accepted.Privacy, privacy)}
	if after == (legal{before.AcceptedTerms, privacy}) {
		return nil, nil
	}
	epoch, err := s.setLegal(ctx, tx, c.UserID, after, now)
	if err != nil {
		return nil, err
	}
	news, err := s.recordAuthz(ctx, tx, accountStale, epoch, now, c.UserID)
	if err != nil {
		return nil, err
	}
	if err := s.outbox.Append(ctx, tx, legalAccepted(c.UserID, accepted, now)); err != nil {
		return nil, err
	}
	return news, s.record(ctx, tx, c, now, act{
		Action: trail.LegalAccepted, Actor: userActor(c.UserID, c.SessionID), Targets: []target{userTarget(c.UserID)}, Outcome: success,
		Changes: changesOf(legal{before.AcceptedTerms, privacy}, after),
	})
}

func changesOf(before, after legal) (out []change) {
	if before.Terms != after.Terms {
		out = append(out, change{Path: "terms", Before: before.Terms, After: after.Terms})
	}
	if before.Privacy != after.Privacy {
		out = append(out, change{Path: "privacy", Before: before.Privacy, After: after.Privacy})
	}
	return out
}

// requiredLegal is what the caller has yet to accept, now rather than when the
// token was made.
func (s *Service) requiredLegal(ctx context.Context, userID uuid.UUID) (legal, error) {
	acc, err := s.getAccount(ctx, userID)
	if err != nil {
		return legal{}, err
	}
	return s.owed(acc), nil
}
