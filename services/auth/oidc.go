package auth

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/oauth2"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
)

const flowLife = 10 * time.Minute

// federated is the assurance of another's word, draft-ietf RFC 8176 "fed".
var federated = []string{"fed"}

// departure sends a browser to a provider.
type departure struct {
	URL  string
	Flow string // what the browser must show when it is back
}

// startOIDC opens a sign-in at a provider.
func (s *Service) startOIDC(ctx context.Context, name, returnTo string) (departure, error) {
	p, ok := s.providers[name]
	if !ok {
		return departure{}, noSuchProvider()
	}
	d, err := p.discover(ctx)
	if err != nil {
		return departure{}, err
	}
	now := s.now()
	f := oidcFlow{ID: s.ids.New(), Provider: name, ReturnTo: returnTo, CreatedAt: now, ExpiresAt: now.Add(flowLife)}
	if err := s.insertFlow(ctx, f); err != nil {
		return departure{}, err
	}
	return departure{
		URL: d.oauth.AuthCodeURL(s.flowState(f.ID),
			oidc.Nonce(s.flowSecret("nonce", f.ID)), oauth2.S256ChallengeOption(s.flowSecret("proof", f.ID))),
		Flow: s.flowSecret("browser", f.ID),
	}, nil
}

func noSuchProvider() error {
	return fail.New(fail.InvalidArgument, "there is no such provider").Field("provider", "must be one of /auth/oidc/providers")
}

// flowSecret is what a sign-in is known by to one of its parties. It follows
// from the id, so that nothing of it lies in the database.
func (s *Service) flowSecret(of string, flow uuid.UUID) string {
	return base64.RawURLEncoding.EncodeToString(mac(s.secrets.flows, of, flow.String()))
}

func (s *Service) flowState(flow uuid.UUID) string {
	return strings.TrimPrefix(id.Format("f", flow), "f_") + "." + s.flowSecret("state", flow)
}

// flowOf reads a state of ours.
func (s *Service) flowOf(state string) (uuid.UUID, bool) {
	head, _, _ := strings.Cut(state, ".")
	flow, err := id.Parse("f", "f_"+head)
	if err != nil || !hmac.Equal([]byte(state), []byte(s.flowState(flow))) {
		return uuid.Nil, false
	}
	return flow, true
}

// arrival is what a provider sent a browser back with.
type arrival struct {
	Code, State, Error, Issuer string
	Flow                       string // from the browser itself
}

// finishOIDC signs in whoever comes back from a provider, or demands the second
// factor. The state is used up before anything is asked of the provider: of any
// number of arrivals, one goes on.
func (s *Service) finishOIDC(ctx context.Context, name string, a arrival, c *token.Caller) (r loginResult, returnTo string, err error) {
	p, ok := s.providers[name]
	if !ok {
		return r, "", noSuchProvider()
	}
	flow, ok := s.flowOf(a.State)
	if !ok || !hmac.Equal([]byte(a.Flow), []byte(s.flowSecret("browser", flow))) {
		return r, "", badSignIn(errors.New("the state is none of ours, or another browser's"))
	}
	f, live, err := s.useFlow(ctx, flow, name, s.now())
	if err != nil {
		return r, "", err
	}
	switch {
	case !live:
		return r, "", badSignIn(errors.New("the state has been used, or is too old"))
	case a.Error != "" || a.Code == "":
		return r, "", badSignIn(errors.New("the provider refused"))
	case a.Issuer != "" && a.Issuer != p.Issuer: // RFC 9207: the answer is another provider's
		return r, "", badSignIn(errors.New("the issuer is another"))
	}
	who, err := p.redeem(ctx, a.Code, s.flowSecret("proof", flow), s.flowSecret("nonce", flow))
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Str("provider", name).Msg("sign-in at a provider failed")
		return r, "", err
	}
	acc, err := s.welcome(ctx, who, c)
	if err != nil {
		return r, "", err
	}
	if acc.HasFactor {
		handle, err := s.openHandleAfter(ctx, acc.ID, federated)
		r, err = s.owes(ctx, acc.ID, handle, err)
		return r, f.ReturnTo, err
	}
	r.grant, err = s.signIn(ctx, acc.ID, federated, c)
	return r, f.ReturnTo, err
}

// welcome finds or makes the account of an identity.
func (s *Service) welcome(ctx context.Context, who identity, c *token.Caller) (acc account, err error) {
	var news []authzEvent
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		acc, news, err = s.federate(ctx, tx, who, c, s.now())
		return err
	})
	if err != nil {
		return account{}, err
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	if acc.State != stateActive {
		return account{}, suspended()
	}
	return acc, nil
}

// providerNames are the configured providers in order.
func (s *Service) providerNames() []string {
	names := make([]string, 0, len(s.providers))
	for name := range s.providers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
