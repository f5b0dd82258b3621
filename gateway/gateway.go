// Package gateway is the edge: the only process that speaks HTTP to the world.
// It limits, authenticates, checks each method's rule, and transcodes JSON to
// the services' gRPC. It has no database; what it needs to know about tokens it
// holds in memory, fed by auth.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"

	"github.com/manas360/platform/gateway/console"
	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/rdb"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// Config is what the edge reads from its environment.
type Config struct {
	boot.Base
	Redis rdb.Config

	Port           int      `env:"PORT" envDefault:"5001" desc:"public port"`
	BindAddr       string   `env:"BIND_ADDR" desc:"public address; empty for all"`
	AllowedOrigins []string `env:"ALLOWED_ORIGINS" desc:"origins browsers may call from, separated by commas"`
	TrustedProxies []string `env:"TRUSTED_PROXIES" desc:"networks whose X-Forwarded-For is believed"`
	AdminNetworks  []string `env:"ADMIN_NETWORKS" desc:"networks that administrators may come from; empty for all"`
	TokenIssuer    string   `env:"TOKEN_ISSUER" envDefault:"https://auth.manas360.local" desc:"iss of access tokens"`
	TokenAudience  string   `env:"TOKEN_AUDIENCE" envDefault:"manas360-api" desc:"aud of access tokens"`

	AuthAddr         string `env:"AUTH_ADDR,notEmpty" desc:"host:port of auth"`
	UserAddr         string `env:"USER_ADDR,notEmpty" desc:"host:port of user"`
	SubscriptionAddr string `env:"SUBSCRIPTION_ADDR,notEmpty" desc:"host:port of subscription"`
	PaymentAddr      string `env:"PAYMENT_ADDR,notEmpty" desc:"host:port of payment"`
	AuditAddr        string `env:"AUDIT_ADDR,notEmpty" desc:"host:port of audit"`
	AdminAddr        string `env:"ADMIN_ADDR,notEmpty" desc:"host:port of admin"`

	SpoolDir string `env:"SPOOL_DIR" desc:"folder of this process alone for audit events on their way; empty: /var/lib/manas360/edge in production, a folder of the system's temporary one else"`
}

// Validate checks what can be checked without the network.
func (c Config) Validate() error {
	var errs []error
	if err := c.Base.Validate(); err != nil {
		errs = append(errs, err)
	}
	if c.Port < 1 || c.Port > 65535 {
		errs = append(errs, fmt.Errorf("PORT: %d is not a port", c.Port))
	}
	if _, err := parseOrigins(c.AllowedOrigins, c.Production()); err != nil {
		errs = append(errs, err)
	}
	if c.TokenIssuer == "" || c.TokenAudience == "" { // else anybody's tokens would do
		errs = append(errs, errors.New("TOKEN_ISSUER, TOKEN_AUDIENCE: must not be empty"))
	}
	if _, err := parseNetworks("TRUSTED_PROXIES", c.TrustedProxies); err != nil {
		errs = append(errs, err)
	}
	if _, err := parseNetworks("ADMIN_NETWORKS", c.AdminNetworks); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends.
func Run(ctx context.Context, p *boot.Process, c Config) error {
	client := rdb.Open(c.Redis)
	p.OnStop("redis", func(context.Context) error { return client.Close() })
	addresses := map[string]string{
		"auth": c.AuthAddr, "user": c.UserAddr, "subscription": c.SubscriptionAddr,
		"payment": c.PaymentAddr, "audit": c.AuditAddr, "admin": c.AdminAddr,
	}
	conns := map[string]grpc.ClientConnInterface{}
	for _, name := range backends {
		conn, err := rpc.Dial(p, name, addresses[name])
		if err != nil {
			return fmt.Errorf("dial: %w", err)
		}
		conns[name] = conn
	}
	spool, err := OpenSpool(c.spoolDir(), p.Now, p.Log)
	if err != nil {
		return fmt.Errorf("SPOOL_DIR: %w", err)
	}
	p.OnStop("spool", func(context.Context) error { return spool.Close() })
	e, err := New(ctx, Deps{
		Config: c, Spool: spool, Log: p.Log, Now: p.Now, Rand: p.Rand, IDs: p.IDs, Registry: p.Registry,
		Redis: client, Conns: conns, Ready: p.Ready,
	})
	if err != nil {
		return err
	}
	checks := e.Checks()
	for _, name := range append([]string{"keys", "roles", "epochs", "redis"}, backends...) {
		p.Check(name, checks[name])
	}
	for name, work := range e.Workers() {
		p.Go(name, work)
	}
	if err := p.ServeHTTP(ctx, net.JoinHostPort(c.BindAddr, strconv.Itoa(c.Port)), e); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// Deps is what an Edge is made of. Conns has a connection for each of auth,
// user, subscription, payment, audit and admin; Ready names what fails. Without a
// Spool refusals are not recorded.
type Deps struct {
	Config   Config
	Spool    *Spool
	Log      zerolog.Logger
	Now      func() time.Time
	Rand     io.Reader
	IDs      *id.Maker
	Registry prometheus.Registerer
	Redis    *redis.Client
	Conns    map[string]grpc.ClientConnInterface
	Ready    func(ctx context.Context) (failing []string)
}

// Edge is the HTTP handler and its memory.
type Edge struct {
	log        zerolog.Logger
	now        func() time.Time
	rand       io.Reader
	ids        *id.Maker
	production bool
	prefix     string
	conns      map[string]grpc.ClientConnInterface
	payments   paymentv1.PaymentInternalServiceClient
	ready      func(ctx context.Context) []string

	origins   origins
	proxies   networks
	offices   networks // of administrators; none: they may come from anywhere
	messages  messages
	routes    table
	limiter   *limiter
	verifier  *token.Verifier
	keys      *keys
	roles     *roles
	epochs    *epochs
	apiKeys   *apiKeys
	offers    *offers
	quotas    *quotas
	denials   *denials
	durations *prometheus.HistogramVec
	handler   http.Handler
}

// New puts the chain together. It fails when a public method has no rule.
func New(ctx context.Context, d Deps) (*Edge, error) {
	e := &Edge{
		log: d.Log, now: d.Now, rand: d.Rand, ids: d.IDs, production: d.Config.Production(),
		prefix: d.Config.Redis.Prefix, conns: d.Conns, ready: d.Ready,
		limiter:  newLimiter(d.Redis, d.Now),
		verifier: token.NewVerifier(d.Config.TokenIssuer, d.Config.TokenAudience, d.Now),
	}
	var err error
	if e.origins, err = parseOrigins(d.Config.AllowedOrigins, e.production); err != nil {
		return nil, err
	}
	if e.proxies, err = parseNetworks("TRUSTED_PROXIES", d.Config.TrustedProxies); err != nil {
		return nil, err
	}
	if e.offices, err = parseNetworks("ADMIN_NETWORKS", d.Config.AdminNetworks); err != nil {
		return nil, err
	}
	if e.messages, err = parseMessages(); err != nil {
		return nil, err
	}
	for _, step := range []func() error{func() error { return e.transcode(ctx) }, e.webhookRoutes, e.ownRoutes} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("make routes: %w", err)
		}
	}
	auth := authv1.NewAuthInternalServiceClient(d.Conns["auth"])
	e.payments = paymentv1.NewPaymentInternalServiceClient(d.Conns["payment"])
	e.keys = &keys{auth: auth, verifier: e.verifier, log: d.Log, bell: make(chan struct{}, 1)}
	e.roles = newRoles(authv1.NewRoleInternalServiceClient(d.Conns["auth"]), e.verifier, d.Log)
	e.apiKeys = newAPIKeys(auth, d.Now)
	usage := subscriptionv1.NewUsageInternalServiceClient(d.Conns["subscription"])
	e.offers = &offers{usage: usage, log: d.Log}
	e.quotas = newQuotas(e.limiter, usage, e.prefix, d.Now, d.Log)
	e.epochs = newEpochs(auth, d.Redis, e.prefix, d.Now, d.Log)
	e.epochs.onNews = e.news
	if d.Spool != nil {
		e.denials = newDenials(d.Spool, d.IDs, d.Now, d.Log)
	}
	if err := e.measure(d.Registry); err != nil {
		return nil, err
	}
	// Outermost first: id, trace, log and recovery; fixed headers; CORS; the rest.
	e.handler = http.HandlerFunc(e.dispatch)
	pages, err := console.New(console.Options{API: e, Now: d.Now, Rand: e.random(), Secure: e.production})
	if err != nil {
		return nil, fmt.Errorf("make the console: %w", err)
	}
	for _, layer := range slices.Backward([]func(http.Handler) http.Handler{e.observe, e.secure, e.consoleLayer(pages), e.corsLayer}) {
		e.handler = layer(e.handler)
	}
	return e, nil
}

// consoleLayer serves the administrators' pages. They call the API as any
// client does, so limits and rules are met there, by each call of a page.
func (e *Edge) consoleLayer(pages http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path+"/", console.Root) {
				next.ServeHTTP(w, r)
				return
			}
			q := requestOf(r.Context())
			q.pattern = console.Root
			if err := e.letIn(q); err != nil {
				e.refusedAt(r.Method, q, err)
				e.problem(w, r, err)
				return
			}
			pages.ServeHTTP(w, r)
		})
	}
}

// ServeHTTP serves one request.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.handler.ServeHTTP(w, r) }

// Workers keep the edge's memory up to date until their context ends.
func (e *Edge) Workers() map[string]func(ctx context.Context) error {
	work := map[string]func(ctx context.Context) error{
		"keys":        e.keys.run,
		"roles":       e.roles.run,
		"epochs-poll": e.epochs.poll,
		"epochs-push": e.epochs.push,
		"limits":      e.limiter.flush,
		"offers":      e.offers.run,
		"usage":       e.quotas.record,
	}
	if e.denials != nil {
		work["spool-write"] = e.denials.write
		work["spool-send"] = e.denials.send(eventv1.NewEventInboxServiceClient(e.conns["audit"]))
	}
	return work
}

// news says that something auth keeps is to be fetched again.
func (e *Edge) news(kind authv1.AuthzEvent_Kind) {
	if kind == authv1.AuthzEvent_ROLES_CHANGED {
		ring(e.roles.bell)
		return
	}
	ring(e.keys.bell)
}

func (e *Edge) measure(r prometheus.Registerer) error {
	e.durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "http_server_request_duration_seconds", Help: "Time to answer, by route.",
		Buckets: []float64{.005, .01, .025, .05, .1, .2, .5, 1, 2.5, 5, 10},
	}, []string{"method", "route", "status"})
	if r == nil {
		return nil
	}
	own := []prometheus.Collector{
		e.durations,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gateway_authz_staleness_seconds", Help: "Since the revocation table was last known complete.",
		}, func() float64 { return e.epochs.staleness(e.now()).Seconds() }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "gateway_limiter_fallbacks_total", Help: "Limits decided without Redis.",
		}, func() float64 { return float64(e.limiter.fallbacks.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "gateway_quota_fallbacks_total", Help: "API calls counted without Redis.",
		}, func() float64 { return float64(e.quotas.fallbacks.Load()) }),
	}
	if e.denials != nil {
		own = append(own, e.denials.metrics()...)
	}
	for _, c := range own {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}
