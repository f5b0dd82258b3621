// Package auth is identity: registrations, accounts, credentials, sessions,
// second factors, roles, signing keys, and the epochs that make a change bite
// at the edge.
package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/redis/go-redis/v9"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/config"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/rdb"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
)

const (
	schema      = "auth"
	issuerName  = "Manas360" // what an authenticator app shows
	leastSecret = 32         // characters
	// hashPatience lets a queue of some 75 hashes form on two cores; a call has
	// ten seconds in all.
	hashPatience = 2500 * time.Millisecond

	leastRotation = time.Hour // below it keys that may still be needed pile up
)

// Config is the auth service's environment.
type Config struct {
	boot.Base
	pg.Config

	Redis     rdb.Config
	SMTP      SMTPConfig
	Providers ProviderConfig

	UserAddr         string `desc:"gRPC address of user"         env:"USER_ADDR,required"`
	SubscriptionAddr string `desc:"gRPC address of subscription" env:"SUBSCRIPTION_ADDR,required"`
	AuditAddr        string `desc:"gRPC address of audit"        env:"AUDIT_ADDR,required"`
	AdminAddr        string `desc:"gRPC address of admin, who counts; not told if empty" env:"ADMIN_ADDR"`

	JWTSecret        string          `desc:"at least 32 characters; seals signing keys, TOTP secrets and mail at rest"    env:"JWT_SECRET,required"         secret:"true"`
	JWTRefreshSecret string          `desc:"at least 32 other characters; keys refresh tokens, codes and recovery codes" env:"JWT_REFRESH_SECRET,required" secret:"true"`
	AccessTTL        config.Duration `desc:"life of an access token"                                                     env:"JWT_EXPIRY"                  envDefault:"15m"`
	RefreshTTL       config.Duration `desc:"life of an unused refresh token"                                             env:"JWT_REFRESH_EXPIRY"          envDefault:"7d"`
	Issuer           string          `desc:"iss of access tokens"                                                        env:"TOKEN_ISSUER"                envDefault:"https://auth.manas360.local"`
	Audience         string          `desc:"aud of access tokens"                                                        env:"TOKEN_AUDIENCE"              envDefault:"manas360-api"`
	TokenAlg         string          `desc:"algorithm of new signing keys: EdDSA or ES256"                               env:"TOKEN_ALG"                   envDefault:"EdDSA"`
	KeyRotation      config.Duration `desc:"age at which a signing key is succeeded; 0 for never"                        env:"KEY_ROTATION"                envDefault:"90d"`
	PageSecret       string          `desc:"at least 32 characters; seals page tokens"                                   env:"PAGE_TOKEN_SECRET,required"  secret:"true"`
	MessagesDir      string          `desc:"where messages are written instead of sent, one file each; never in production" env:"MESSAGES_DIR"`
	PublicURL        string          `desc:"where people reach us; links in mail begin with it, and providers send browsers back there" env:"PUBLIC_URL"`
	WebAuthnRPID     string          `desc:"domain that passkeys belong to"                                                  env:"WEBAUTHN_RP_ID"              envDefault:"localhost"`
	WebAuthnOrigins  []string        `desc:"origins that may use passkeys, separated by commas; PUBLIC_URL when empty"          env:"WEBAUTHN_ORIGINS"`
	TermsVersion     string          `desc:"current terms of service"                                                    env:"TERMS_VERSION"               envDefault:"2026-01"`
	OTPCountries     []string        `desc:"countries whose numbers codes are sent to, ISO 3166"                            env:"OTP_COUNTRIES"               envDefault:"IN"`
	PrivacyVersion   string          `desc:"current privacy notice"                                                      env:"PRIVACY_VERSION"             envDefault:"2026-01"`
	OIDCProviders    string          `desc:"who can be signed in with: JSON list of {name, issuer, clientId, clientSecret, scopes}" env:"OIDC_PROVIDERS" secret:"true"`
}

// Validate refuses secrets too short or equal, and a service that cannot mail.
func (c *Config) Validate() error {
	errs := []error{checkSecrets(c.JWTSecret, c.JWTRefreshSecret)}
	if len(c.PageSecret) < leastSecret {
		errs = append(errs, errors.New("PAGE_TOKEN_SECRET: at least 32 characters"))
	}
	errs = append(errs, c.checkMessages()...)
	if _, err := newRelyingParty(*c); err != nil {
		errs = append(errs, err)
	}
	if c.AccessTTL.Std() < time.Minute || c.RefreshTTL.Std() < c.AccessTTL.Std() {
		errs = append(errs, errors.New("JWT_EXPIRY: at least 1m, and not above JWT_REFRESH_EXPIRY"))
	}
	if c.TokenAlg != "" && c.TokenAlg != jwa.EdDSA.String() && c.TokenAlg != jwa.ES256.String() {
		errs = append(errs, errors.New("TOKEN_ALG: EdDSA or ES256"))
	}
	if c.KeyRotation != 0 && c.KeyRotation.Std() < leastRotation {
		errs = append(errs, fmt.Errorf("KEY_ROTATION: at least %s, or 0", leastRotation))
	}
	return errors.Join(append(errs, c.checkAudience(), c.checkOIDC())...)
}

// checkAudience refuses to start without the two names that keep other
// people's tokens out.
func (c *Config) checkAudience() error {
	if c.Issuer == "" || c.Audience == "" {
		return errors.New("TOKEN_ISSUER, TOKEN_AUDIENCE: must not be empty")
	}
	return nil
}

func (c *Config) checkOIDC() error {
	list, err := parseProviders(c.OIDCProviders)
	if len(list) > 0 && !safeURL(c.PublicURL) {
		err = errors.Join(err, errors.New("PUBLIC_URL: must be an https address when there are OIDC_PROVIDERS"))
	}
	return err
}

func checkSecrets(access, refresh string) error {
	var errs []error
	if len(access) < leastSecret {
		errs = append(errs, errors.New("JWT_SECRET: at least 32 characters"))
	}
	if len(refresh) < leastSecret {
		errs = append(errs, errors.New("JWT_REFRESH_SECRET: at least 32 characters"))
	}
	if access == refresh {
		errs = append(errs, errors.New("JWT_REFRESH_SECRET: must differ from JWT_SECRET"))
	}
	return errors.Join(errs...)
}

// Service is the auth service. Safe for concurrent use.
type Service struct {
	c        Config
	db       *pg.DB
	redis    *redis.Client
	outbox   *outbox.Outbox
	ids      *id.Maker
	now      func() time.Time
	rand     io.Reader
	pages    *page.Sealer
	secrets  secrets
	keys     *keyring
	hash     *hasher
	throttle *throttle
	waiting  pendingPublish
	counted  bool // admin hears of accounts and who is here
	party    *webauthn.WebAuthn

	scribe     scribe
	jobs       jobs
	transports map[string]transport // by channel
	posted     posted
	drain      time.Duration // for what is on its way at the end
	rest       func(ctx context.Context, d time.Duration)
	providers  map[string]*idp // to sign in with, by name; never changed
}

// Deps is what New takes from outside.
type Deps struct {
	DB    *pg.DB
	Redis *redis.Client
	IDs   *id.Maker
	Now   func() time.Time
	Rand  io.Reader
}

// Run serves until ctx ends.
func Run(ctx context.Context, p *boot.Process, c Config) error {
	db, err := pg.Attach(ctx, p, c.Config)
	if err != nil {
		return err
	}
	cache := rdb.Open(c.Redis)
	p.OnStop("redis", func(context.Context) error { return cache.Close() })

	s := New(c, Deps{DB: db, Redis: cache, IDs: p.IDs, Now: p.Now, Rand: p.Rand})
	if err := prepareTransports(s.transports); err != nil {
		return err
	}
	p.Check("redis", func(ctx context.Context) error { return cache.Ping(ctx).Err() })
	p.Check("signing key", s.keys.check)

	g, err := rpc.NewServer(rpc.ServerConfig{Process: p, Verifier: s.keys.verifier})
	if err != nil {
		return fmt.Errorf("make the server: %w", err)
	}
	s.Register(g, rpc.Peer)
	told := []struct{ service, addr string }{
		{"user", c.UserAddr}, {"subscription", c.SubscriptionAddr}, {"audit", c.AuditAddr},
	}
	if s.counted {
		told = append(told, struct{ service, addr string }{"admin", c.AdminAddr})
	}
	for _, to := range told {
		conn, err := rpc.Dial(p, to.service, to.addr)
		if err != nil {
			return fmt.Errorf("dial %s: %w", to.service, err)
		}
		p.Go("relay-"+to.service, s.outbox.Relay(db, to.service, inboxClient(conn), p.Log))
	}
	if err := s.outbox.Metrics(p.Registry, db, "user", "subscription", "audit", "admin"); err != nil {
		return fmt.Errorf("register the outbox's metrics: %w", err)
	}
	if err := s.messageMetrics(p.Registry); err != nil {
		return err
	}
	p.Go("keys", s.watchKeys)
	p.Go("messages", s.runJobs)
	p.Go("roles", s.watchRoles)
	p.Go("sweep", s.sweep)
	return p.ServeGRPC(ctx, g)
}

// New makes the service. It signs nothing until its keys are loaded, which a
// worker of Run does.
func New(c Config, d Deps) *Service {
	s := &Service{
		c:       c,
		db:      d.DB,
		redis:   d.Redis,
		outbox:  outbox.New(schema, d.IDs, d.Now),
		ids:     d.IDs,
		now:     d.Now,
		rand:    d.Rand,
		pages:   page.NewSealer(c.PageSecret),
		secrets: newSecrets(c.JWTSecret, c.JWTRefreshSecret),
		counted: c.AdminAddr != "",
		hash:    newHasher(hashPatience, d.Now, d.Rand),

		scribe:     scribe{public: c.PublicURL},
		jobs:       newJobs(d.DB),
		transports: newTransports(c, d.Now),
		posted:     newPosted(),
		drain:      jobDrain,
	}
	s.rest = rest
	s.party, _ = newRelyingParty(c) // Validate has made one of the same
	s.keys = &keyring{verifier: token.NewVerifier(c.Issuer, c.Audience, d.Now)}
	list, _ := parseProviders(c.OIDCProviders) // Validate has refused what is wrong with it
	s.providers = newProviders(list, strings.TrimSuffix(c.PublicURL, "/"), d.Now)
	s.keys.verifier.OnMiss(s.loadTrust)
	s.throttle = &throttle{redis: d.Redis, prefix: c.Redis.Prefix + "auth:throttle:", key: s.secrets.throttle, now: d.Now, ids: d.IDs}
	return s
}
