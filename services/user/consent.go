package user

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// Where a consent comes from.
const (
	fromSettings     = "SETTINGS"
	fromRegistration = "REGISTRATION"
	fromSignIn       = "SIGN_IN"
)

const maxDocumentVersion = 64 // as the table has it

// consent is one word about one document.
type consent struct {
	ID         uuid.UUID
	UserID     uuid.UUID
	Document   string
	Version    string
	Granted    bool
	Locale     string
	Source     string
	IPPrefix   string
	OccurredAt time.Time
}

func (c consent) at() cursor { return cursor{Time: c.OccurredAt, ID: c.ID} }

// consentAct is the audit's view of it.
func consentAct(c consent, service string) act {
	a := act{
		Action: trail.ConsentGiven, Service: service, Targets: []target{userTarget(c.UserID)},
		Changes: []change{{Path: c.Document, After: c.Version}},
	}
	if !c.Granted {
		a.Action, a.Changes = trail.ConsentWithdrawn, []change{{Path: c.Document, Before: c.Version}}
	}
	return a
}

// consentTo writes what the caller says about a document.
func (s *Service) consentTo(ctx context.Context, caller *token.Caller, c consent) (consent, error) {
	p, err := s.read(ctx, caller.UserID)
	if err != nil {
		return consent{}, err
	}
	c.ID, c.UserID, c.Source, c.IPPrefix, c.OccurredAt = s.ids.New(), caller.UserID, fromSettings, trail.Network(caller.ClientIP), s.now()
	if c.Locale == "" {
		c.Locale = p.Locale
	}
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		if err := s.insertConsent(ctx, tx, c); err != nil {
			return err
		}
		return s.record(ctx, tx, caller, consentAct(c, ""))
	})
	if err != nil {
		return consent{}, err
	}
	s.outbox.Wake()
	return c, nil
}

// consentByEvent writes what a person agreed to at auth. An empty version was
// not asked for.
func (s *Service) consentByEvent(ctx context.Context, tx pg.Tx, c consent) error {
	if c.Version == "" {
		return nil
	}
	if len(c.Version) > maxDocumentVersion {
		return fail.New(fail.InvalidArgument, "a document's version of %d bytes", len(c.Version))
	}
	c.ID, c.Granted = s.ids.New(), true
	if c.Locale == "" {
		p, err := s.profile(ctx, tx, c.UserID)
		if err != nil && !errors.Is(err, errNoProfile) {
			return err
		}
		c.Locale = cmp.Or(p.Locale, "en")
	}
	if err := s.insertConsent(ctx, tx, c); err != nil {
		return err
	}
	return s.record(ctx, tx, nil, consentAct(c, "auth"))
}
