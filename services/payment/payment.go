// Package payment owns money: payments, attempts at a provider, callbacks, and
// the double-entry journal. The price is the catalogue's; what was captured is
// what the provider says when asked.
package payment

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/idem"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/rpc"
)

const (
	schema          = "payment"
	phonepeCode     = "phonepe"
	sandboxCode     = "sandbox"
	defaultProvider = phonepeCode
)

// Config is the payment service's environment.
type Config struct {
	boot.Base
	pg.Config
	PhonePe
	PhonePeV1 PhonePeV1
	Razorpay  Razorpay
	Stripe    Stripe
	Callbacks

	SandboxSecret    string `desc:"signs the sandbox dialect; empty refuses it"    env:"SANDBOX_WEBHOOK_SECRET"     secret:"true"`
	PublicURL        string `desc:"where customers come back to"                   env:"PUBLIC_URL"                 envDefault:"http://localhost:5001"`
	PageTokenSecret  string `desc:"seals page tokens, at least 32 characters"      env:"PAGE_TOKEN_SECRET,required" secret:"true"`
	WebhookSecretKey string `desc:"at least 32 characters; seals the secrets of organizations' endpoints; PAGE_TOKEN_SECRET if empty" env:"WEBHOOK_SECRET_KEY" secret:"true"`
	UserAddr         string `desc:"gRPC address of user, who knows organizations; without it they have no webhooks" env:"USER_ADDR"`
	SubscriptionAddr string `desc:"gRPC address of subscription"                   env:"SUBSCRIPTION_ADDR,required"`
	RefundApproval   int64  `desc:"refunds above so many paise need a second administrator" env:"REFUND_APPROVAL_MINOR"          envDefault:"500000"`
	SettlementURL    string `desc:"where a day's settlement file is, with {provider} and {date} in it; empty has none compared" env:"SETTLEMENT_URL"`
	AuditAddr        string `desc:"gRPC address of audit"                          env:"AUDIT_ADDR,required"`
	AdminAddr        string `desc:"gRPC address of admin, who counts; not told if empty" env:"ADMIN_ADDR"`
}

// PhonePe is the merchant's account at PhonePe.
type PhonePe struct {
	BaseURL         string `desc:"PhonePe's PG; empty is its sandbox, in production its production"    env:"PHONEPE_BASE_URL"`
	OAuthURL        string `desc:"PhonePe's token endpoint; empty goes with the base" env:"PHONEPE_OAUTH_URL"`
	ClientID        string `desc:"client id"                               env:"PHONEPE_CLIENT_ID,required"`
	ClientSecret    string `desc:"client secret"                           env:"PHONEPE_CLIENT_SECRET,required" secret:"true"`
	ClientVersion   string `desc:"client version"                          env:"PHONEPE_CLIENT_VERSION"         envDefault:"1"`
	MerchantID      string `desc:"X-MERCHANT-ID, which partners send"      env:"PHONEPE_MERCHANT_ID"`
	WebhookUsername string `desc:"user of the callbacks; empty refuses them" env:"PHONEPE_WEBHOOK_USERNAME"`
	WebhookPassword string `desc:"password of the callbacks"               env:"PHONEPE_WEBHOOK_PASSWORD"       secret:"true"`
}

// Validate refuses what would fail only when money is at stake.
func (c Config) Validate() error {
	errs := []error{c.validateProviders()}
	if c.WebhookSecretKey != "" && len(c.WebhookSecretKey) < 32 {
		errs = append(errs, errors.New("WEBHOOK_SECRET_KEY: at least 32 characters"))
	}
	if len(c.PageTokenSecret) < 32 {
		errs = append(errs, errors.New("PAGE_TOKEN_SECRET: at least 32 characters"))
	}
	for name, v := range map[string]string{
		"PHONEPE_BASE_URL": c.BaseURL, "PHONEPE_OAUTH_URL": c.OAuthURL, "PUBLIC_URL": c.PublicURL, "SETTLEMENT_URL": c.SettlementURL,
		"PHONEPE_V1_BASE_URL": c.PhonePeV1.BaseURL, "RAZORPAY_BASE_URL": c.Razorpay.BaseURL, "STRIPE_BASE_URL": c.Stripe.BaseURL,
	} {
		if v == "" && name != "PUBLIC_URL" {
			continue
		}
		u, err := url.Parse(v)
		if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || c.Production() && name != "PUBLIC_URL") {
			errs = append(errs, fmt.Errorf("%s: not an address, or not https in production", name))
		}
	}
	return errors.Join(errs...)
}

// endpoints fills in PhonePe's own hosts.
func (c PhonePe) endpoints(production bool) PhonePe {
	if c.BaseURL != "" {
		return c
	}
	c.BaseURL = phonepeSandboxBase
	oauth := phonepeSandboxOAuth
	if production {
		c.BaseURL, oauth = phonepeProductionBase, phonepeProductionAuth
	}
	if c.OAuthURL == "" {
		c.OAuthURL = oauth
	}
	return c
}

// Service is the payment service. Safe for concurrent use.
type Service struct {
	db        *pg.DB
	outbox    *outbox.Outbox
	ids       *id.Maker
	now       func() time.Time
	pages     *page.Sealer
	publicURL string
	providers map[string]provider
	dialects  map[string]dialect // by the last part of their address
	metrics   metrics
	refusals  budget
	received  chan struct{} // wakes the worker that understands callbacks

	settlements map[string]settler
	expected    time.Time // the day whose settlements have rows; only reconcile knows it
	nextLook    time.Time // likewise
	shop        shopPeer  // knows what things cost

	organizations  organizationPeer
	sealer         sealer
	rand           io.Reader
	outgoingClient *http.Client
	checkURL       func(string) error // of an organization's endpoint

	approvalAbove int64 // paise; a larger refund needs two administrators
	counted       bool  // admin hears of payments and journals

	sweeps    sweepMetrics
	nextSweep time.Time // only sweep knows it
	nextFull  time.Time // likewise

	seals      sealMetrics
	sealEvery  int64     // journals between balances kept
	nextVerify time.Time // only verifying knows it
}

type metrics struct {
	callbacks *prometheus.CounterVec
	calls     *prometheus.CounterVec
	settled   *prometheus.CounterVec
	integrity prometheus.Counter
}

func newMetrics() metrics {
	return metrics{
		callbacks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payment_callbacks_total", Help: "Callbacks by provider and what was done with them.",
		}, []string{"provider", "outcome"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payment_provider_calls_total", Help: "HTTP calls to a provider by class of the answer.",
		}, []string{"provider", "class"}),
		settled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payment_settled_total", Help: "Payments that reached a terminal state.",
		}, []string{"state"}),
		integrity: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "payment_integrity_failures_total", Help: "Answers and callbacks that are not about what we asked for.",
		}),
	}
}

// Run serves until ctx ends.
func Run(ctx context.Context, p *boot.Process, c Config) error {
	db, err := pg.Attach(ctx, p, c.Config)
	if err != nil {
		return err
	}

	subscription, err := rpc.Dial(p, "subscription", c.SubscriptionAddr)
	if err != nil {
		return fmt.Errorf("dial subscription: %w", err)
	}
	audit, err := rpc.Dial(p, "audit", c.AuditAddr)
	if err != nil {
		return fmt.Errorf("dial audit: %w", err)
	}
	s := New(c, db, p.IDs, p.Now)
	s.shop = newShopPeer(subscription)
	if c.UserAddr != "" {
		user, err := rpc.Dial(p, "user", c.UserAddr)
		if err != nil {
			return fmt.Errorf("dial user: %w", err)
		}
		s.organizations = newOrganizationPeer(user)
	}
	for _, m := range []prometheus.Collector{s.metrics.callbacks, s.metrics.calls, s.metrics.settled, s.metrics.integrity, s.sweeps.violations, s.sweeps.finished, s.seals.age, s.seals.waiting, s.seals.broken} {
		if err := p.Registry.Register(m); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	keys := idem.NewStore(db, schema, p.Now)
	g, err := rpc.NewServer(rpc.ServerConfig{Process: p, Idempotency: keys})
	if err != nil {
		return fmt.Errorf("make the server: %w", err)
	}
	s.Register(g)
	if err := s.tellAdmin(p, c.AdminAddr); err != nil {
		return err
	}
	if err := s.outbox.Metrics(p.Registry, db, "subscription", "audit", "admin"); err != nil {
		return fmt.Errorf("register the outbox's metrics: %w", err)
	}
	p.Go("relay-subscription", s.outbox.Relay(db, "subscription", inboxClient(subscription), p.Log))
	p.Go("relay-audit", s.outbox.Relay(db, "audit", inboxClient(audit), p.Log))
	p.Go("confirm", s.confirm)
	p.Go("poll", s.poll)
	p.Go("refunds", s.refunds)
	p.Go("outgoing", s.outgoing)
	p.Go("sweep-inbox", s.outbox.SweepInbox(db))
	p.Go("sweep-keys", keys.Sweep)
	p.Go("reconcile", s.reconcile)
	p.Go("sweep", s.sweep)
	p.Go("look", s.look)
	p.Go("seal", s.sealing)
	p.Go("verify", s.verifying)
	p.Go("mandates", s.mandates)
	return p.ServeGRPC(ctx, g)
}

// New makes the service on an open database. Its workers, confirm, poll and look, are
// started by Run.
func New(c Config, db *pg.DB, ids *id.Maker, now func() time.Time) *Service {
	m := newMetrics()
	s := &Service{
		db: db, outbox: outbox.New(schema, ids, now), ids: ids, now: now, pages: page.NewSealer(c.PageTokenSecret),
		publicURL: strings.TrimSuffix(c.PublicURL, "/"), metrics: m, received: make(chan struct{}, 1),
		providers: c.offered(now, m), dialects: c.dialects(now),
	}
	s.approvalAbove = c.RefundApproval
	s.counted = c.AdminAddr != ""
	s.outgoingClient, s.checkURL, s.rand = newOutgoingClient(public), checkAddress, rand.Reader
	s.sealer = newSealer(cmp.Or(c.WebhookSecretKey, c.PageTokenSecret))
	s.sweeps = newSweepMetrics()
	s.seals, s.sealEvery = newSealMetrics(), sealBalances
	s.settlements = s.settlers(c.SettlementURL, &http.Client{Timeout: settlementLimit})
	return s
}
