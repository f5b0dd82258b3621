package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/rs/zerolog"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"github.com/manas360/platform/pkg/fail"
)

const (
	providerTimeout = 3 * time.Second // of one call; a request has 10 s
	discoveryTries  = 2
	discoveryPause  = 100 * time.Millisecond
	discoveryLife   = time.Hour // then it is asked for again; the old answer serves until there is a new one
	maxProviderBody = 1 << 20
	maxProviders    = 32
)

// providerConfig is one element of OIDC_PROVIDERS.
type providerConfig struct {
	Name         string   `json:"name"`
	Issuer       string   `json:"issuer"`
	ClientID     string   `json:"clientId"`
	ClientSecret string   `json:"clientSecret"`
	Scopes       []string `json:"scopes"`
}

var providerName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// parseProviders reads OIDC_PROVIDERS. A client without an id would take tokens
// made for anybody, so there is no such thing.
func parseProviders(text string) ([]providerConfig, error) {
	if text == "" {
		return nil, nil
	}
	var list []providerConfig
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil || d.More() {
		return nil, errors.New("OIDC_PROVIDERS: not a JSON list of {name, issuer, clientId, clientSecret, scopes}") // the cause may quote a secret
	}
	if len(list) > maxProviders {
		return nil, fmt.Errorf("OIDC_PROVIDERS: more than %d", maxProviders)
	}
	seen := map[string]bool{}
	var errs []error
	for i, p := range list {
		switch {
		case !providerName.MatchString(p.Name) || p.Name == "providers":
			errs = append(errs, fmt.Errorf("OIDC_PROVIDERS: the name of number %d is not of a-z, 0-9 and -", i+1))
		case seen[p.Name]:
			errs = append(errs, fmt.Errorf("OIDC_PROVIDERS: %s stands twice", p.Name))
		case p.ClientID == "":
			errs = append(errs, fmt.Errorf("OIDC_PROVIDERS: %s has no clientId, the audience of its tokens", p.Name))
		case !safeURL(p.Issuer):
			errs = append(errs, fmt.Errorf("OIDC_PROVIDERS: the issuer of %s is not an https address", p.Name))
		}
		seen[p.Name] = true
	}
	return list, errors.Join(errs...)
}

// safeURL reports whether nobody on the way can change what comes from it:
// https, or plain http that does not leave the machine.
func safeURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// idp is somebody to sign in with. What it says of itself is fetched when
// it is first needed, so that its outage is no outage of ours.
type idp struct {
	providerConfig

	redirect string
	now      func() time.Time
	client   *http.Client
	found    atomic.Pointer[discovered]
	looking  singleflight.Group
}

type discovered struct {
	*oidc.Provider

	oauth oauth2.Config
	at    time.Time
}

// identity is who a provider says somebody is.
type identity struct {
	Issuer, Subject      string
	Email                string // canonical; "" when there is none
	EmailVerified        bool
	FirstName, LastName  string
	Locale, ProviderName string
}

func newProviders(list []providerConfig, publicURL string, now func() time.Time) map[string]*idp {
	out := make(map[string]*idp, len(list))
	for _, c := range list {
		out[c.Name] = &idp{
			providerConfig: c, now: now, redirect: publicURL + "/api/v1/auth/oidc/" + c.Name + "/callback",
			client: &http.Client{
				Timeout: providerTimeout, Transport: bounded{http.DefaultTransport},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // an issuer says where it is
			},
		}
	}
	return out
}

// bounded keeps a provider's answers to a size that memory bears.
type bounded struct{ http.RoundTripper }

// RoundTrip cuts the body at maxProviderBody.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err //nolint:wrapcheck // a transport's error is its client's
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxProviderBody), resp.Body}
	return resp, nil
}

// discover gives the provider's endpoints. Whoever asks at the same time waits
// for the same answer.
func (p *idp) discover(ctx context.Context) (*discovered, error) {
	last := p.found.Load()
	if last != nil && p.now().Sub(last.at) < discoveryLife {
		return last, nil
	}
	v, err, _ := p.looking.Do("", func() (any, error) {
		var d *discovered
		var err error
		for i := range discoveryTries {
			if i > 0 {
				rest(ctx, discoveryPause)
			}
			if d, err = p.look(context.WithoutCancel(ctx)); err == nil {
				p.found.Store(d)
				return d, nil
			}
		}
		return nil, err
	})
	switch {
	case err != nil && last != nil:
		zerolog.Ctx(ctx).Warn().Err(err).Str("provider", p.Name).Msg("provider not discovered again")
		return last, nil
	case err != nil:
		return nil, away(err)
	}
	d, _ := v.(*discovered) // nothing else is ever given
	return d, nil
}

func (p *idp) look(ctx context.Context) (*discovered, error) {
	o, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discover %s: %w", p.Name, err)
	}
	var says struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := o.Claims(&says); err != nil {
		return nil, fmt.Errorf("read what %s says: %w", p.Name, err)
	}
	at := o.Endpoint()
	at.AuthStyle = oauth2.AuthStyleInHeader // what is meant when nothing is said: OpenID Connect Discovery 3
	if len(says.Methods) > 0 && !slices.Contains(says.Methods, "client_secret_basic") {
		at.AuthStyle = oauth2.AuthStyleInParams
	}
	for _, u := range []string{at.AuthURL, at.TokenURL} {
		if !safeURL(u) {
			return nil, fmt.Errorf("discover %s: an endpoint is not an https address", p.Name)
		}
	}
	scopes := p.Scopes
	if len(scopes) == 0 {
		scopes = []string{"email", "profile"}
	}
	if !slices.Contains(scopes, oidc.ScopeOpenID) {
		scopes = append([]string{oidc.ScopeOpenID}, scopes...)
	}
	return &discovered{Provider: o, at: p.now(), oauth: oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, RedirectURL: p.redirect, Scopes: scopes, Endpoint: at,
	}}, nil
}

// redeem turns a code into who came with it. Only codes asked for with this
// proof are taken by the provider, and only tokens made for this nonce by us.
func (p *idp) redeem(ctx context.Context, code, verifier, nonce string) (identity, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return identity{}, err
	}
	ctx = oidc.ClientContext(ctx, p.client)
	tok, err := d.oauth.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode < http.StatusInternalServerError {
			return identity{}, badSignIn(fmt.Errorf("redeem a code: %s", plain(refused.ErrorCode, 64)))
		}
		return identity{}, away(fmt.Errorf("redeem a code: %w", err))
	}
	raw, ok := tok.Extra("id_token").(string)
	if !ok {
		return identity{}, badSignIn(errors.New("no id_token"))
	}
	idToken, err := d.VerifierContext(ctx, &oidc.Config{ClientID: p.ClientID, Now: p.now}).Verify(ctx, raw)
	if err != nil {
		return identity{}, badSignIn(fmt.Errorf("verify an id_token: %w", err))
	}
	return p.identity(ctx, d, tok, idToken, nonce)
}

// said is what a provider says of a person, in the token or at its door.
type said struct {
	Party         string   `json:"azp"`
	Email         string   `json:"email"`
	EmailVerified flexible `json:"email_verified"`
	GivenName     string   `json:"given_name"`
	FamilyName    string   `json:"family_name"`
	Name          string   `json:"name"`
	Locale        string   `json:"locale"`
}

// flexible is a boolean that some providers write as text.
type flexible bool

// UnmarshalJSON takes true and "true"; all else is false.
func (f *flexible) UnmarshalJSON(b []byte) error {
	*f = string(b) == "true" || string(b) == `"true"`
	return nil
}

func (p *idp) identity(ctx context.Context, d *discovered, tok *oauth2.Token, t *oidc.IDToken, nonce string) (identity, error) {
	var s said
	if err := t.Claims(&s); err != nil {
		return identity{}, badSignIn(fmt.Errorf("read an id_token: %w", err))
	}
	switch {
	case t.Nonce == "" || t.Nonce != nonce:
		return identity{}, badSignIn(errors.New("the nonce is another"))
	case t.Subject == "" || len(t.Subject) > 255:
		return identity{}, badSignIn(errors.New("no subject"))
	case s.Party != "" && s.Party != p.ClientID, s.Party == "" && len(t.Audience) > 1:
		return identity{}, badSignIn(errors.New("the token was made for another party"))
	}
	if t.AccessTokenHash != "" {
		if err := t.VerifyAccessToken(tok.AccessToken); err != nil {
			return identity{}, badSignIn(fmt.Errorf("verify at_hash: %w", err))
		}
	}
	if s.Email == "" && d.UserInfoEndpoint() != "" {
		info, err := d.UserInfo(ctx, oauth2.StaticTokenSource(tok))
		if err != nil {
			return identity{}, away(fmt.Errorf("ask for the user: %w", err))
		}
		if info.Subject != t.Subject {
			return identity{}, badSignIn(errors.New("the user is another than the token's"))
		}
		if err := info.Claims(&s); err != nil {
			return identity{}, badSignIn(fmt.Errorf("read the user: %w", err))
		}
	}
	return identity{
		Issuer: t.Issuer, Subject: t.Subject, Email: canonicalEmail(s.Email), EmailVerified: bool(s.EmailVerified),
		FirstName: s.first(), LastName: plain(s.FamilyName, 100), Locale: s.Locale, ProviderName: p.Name,
	}, nil
}

// first is a given name, or whatever comes nearest.
func (s said) first() string {
	for _, name := range []string{s.GivenName, s.Name} {
		if name = plain(name, 100); name != "" {
			return name
		}
	}
	return ""
}

func badSignIn(cause error) error {
	return fail.New(fail.InvalidArgument, "the sign-in did not succeed, start again").Wrap(cause)
}

func away(cause error) error {
	return fail.New(fail.Unavailable, "the provider cannot be reached just now").RetryAfter(time.Second).Wrap(cause)
}
