package user

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// inboxClient is the delivery end of another service.
func inboxClient(conn grpc.ClientConnInterface) eventv1.EventInboxServiceClient {
	return outbox.Client(conn)
}

// handlers is what user listens to.
func (s *Service) handlers() map[string]outbox.Handler {
	return map[string]outbox.Handler{
		"manas.auth.v1.AccountActivated":           {Source: "auth", Apply: s.onActivated, After: s.wake},
		"manas.auth.v1.AccountChanged":             {Source: "auth", Apply: s.onChanged},
		"manas.auth.v1.ErasureCancelled":           {Source: "auth", Apply: s.onErasureCancelled},
		"manas.auth.v1.LegalAccepted":              {Source: "auth", Apply: s.onLegal, After: s.wake},
		"manas.subscription.v1.EntitlementChanged": {Source: "subscription", Apply: s.onEntitlement},
	}
}

// wake brings audit what an event made us record.
func (s *Service) wake(context.Context, *eventv1.Event) { s.outbox.Wake() }

func (s *Service) onActivated(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
	m := &authv1.AccountActivated{}
	if err := outbox.Payload(ev, m); err != nil {
		return err
	}
	a, err := fromAccount(m.GetAccount(), 0)
	if err != nil {
		return err
	}
	if err := s.apply(ctx, tx, a); err != nil {
		return err
	}
	return s.registered(ctx, tx, a, m.GetAcceptedTerms(), ev.GetOccurredAt().AsTime())
}

func (s *Service) onChanged(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
	m := &authv1.AccountChanged{}
	if err := outbox.Payload(ev, m); err != nil {
		return err
	}
	a, err := fromAccount(m.GetAccount(), m.GetVersion())
	if err != nil {
		return err
	}
	return s.apply(ctx, tx, a)
}

// fromAccount unpacks what auth says.
func fromAccount(m *authv1.Account, version int64) (account, error) {
	userID, err := uuid.FromBytes(m.GetId())
	if err != nil {
		return account{}, fail.New(fail.InvalidArgument, "the account id is malformed").Wrap(err) // never to be applied
	}
	roles := m.GetRoles()
	if roles == nil {
		roles = []string{}
	}
	locale := m.GetLocale()
	if locale == "" {
		locale = "en"
	}
	return account{
		UserID: userID, Email: m.Email, EmailVerified: m.GetEmailVerified(), Phone: m.Phone, State: m.GetState().String(), Roles: roles, Version: version,
		FirstName: m.GetFirstName(), LastName: m.GetLastName(), Locale: locale, CreatedAt: m.GetCreatedAt().AsTime(),
	}, nil
}
