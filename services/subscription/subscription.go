// Package subscription owns what is sold and who holds it: the catalogue,
// subscriptions, entitlements and invoices. Money itself is payment's.
package subscription

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/idem"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/services/subscription/period"
)

const schema = "subscription"

// Config is the subscription service's environment.
type Config struct {
	boot.Base
	pg.Config
	Supplier

	PageTokenSecret string `desc:"seals page tokens, at least 32 characters" env:"PAGE_TOKEN_SECRET,required" secret:"true"`
	AuthAddr        string `desc:"gRPC address of auth"                      env:"AUTH_ADDR,required"`
	PaymentAddr     string `desc:"gRPC address of payment"                   env:"PAYMENT_ADDR,required"`
	AuditAddr       string `desc:"gRPC address of audit"                     env:"AUDIT_ADDR,required"`
	AdminAddr       string `desc:"gRPC address of admin, who counts; not told if empty" env:"ADMIN_ADDR"`
	UserAddr        string `desc:"gRPC address of user, who counts seats by the plan; not told if empty" env:"USER_ADDR"`
}

// Supplier is who stands on the invoices.
type Supplier struct {
	State   string `desc:"GST state code of the supplier"       env:"SUPPLIER_STATE"  envDefault:"29"`
	GSTIN   string `desc:"GSTIN of the supplier; empty in development" env:"SUPPLIER_GSTIN"`
	Prefix  string `desc:"series of the invoice numbers, 1 to 3 characters" env:"INVOICE_PREFIX" envDefault:"INV"`
	Name    string `desc:"legal name of the supplier" env:"SUPPLIER_NAME" envDefault:"Manas360"`
	Address string `desc:"registered address, lines parted by |" env:"SUPPLIER_ADDRESS"`
}

var (
	stateForm  = regexp.MustCompile(`^[0-9]{2}$`)
	prefixForm = regexp.MustCompile(`^[A-Z0-9]{1,3}$`) // 3 leave a number of 16 characters, the legal most
	gstinForm  = regexp.MustCompile(`^[0-9]{2}[A-Z]{5}[0-9]{4}[A-Z][0-9A-Z]Z[0-9A-Z]$`)
)

// Validate refuses what no invoice may carry.
func (c Supplier) Validate() error {
	var errs []error
	if !stateForm.MatchString(c.State) {
		errs = append(errs, errors.New("SUPPLIER_STATE: must be two digits"))
	}
	if !prefixForm.MatchString(c.Prefix) {
		errs = append(errs, errors.New("INVOICE_PREFIX: must be 1 to 3 capitals or digits"))
	}
	if c.GSTIN != "" && !gstinForm.MatchString(c.GSTIN) {
		errs = append(errs, errors.New("SUPPLIER_GSTIN: is not a GSTIN"))
	}
	if c.Prefix == creditSeries {
		errs = append(errs, errors.New("INVOICE_PREFIX: "+creditSeries+" is the series of credit notes"))
	}
	return errors.Join(errs...)
}

// Validate refuses a page secret that can be guessed.
func (c Config) Validate() error {
	if len(c.PageTokenSecret) < 32 {
		return errors.New("PAGE_TOKEN_SECRET: must have at least 32 characters")
	}
	return nil
}

// Service is the subscription service. Safe for concurrent use.
type Service struct {
	db        *pg.DB
	outbox    *outbox.Outbox
	payment   paymentPeer
	seats     userPeer
	catalog   *catalog
	listeners []string // who is told of new entitlements
	pages     *page.Sealer
	supplier  Supplier
	zone      *time.Location
	ids       *id.Maker
	now       func() time.Time

	tells      bool // admin hears of every subscription
	testClocks bool // outside production
}

// Parts is what a Service is made of.
type Parts struct {
	DB        *pg.DB
	Outbox    *outbox.Outbox
	Payment   grpc.ClientConnInterface
	User      grpc.ClientConnInterface // counts seats; nil where there are no organizations
	Pages     *page.Sealer
	Supplier  Supplier
	Listeners []string // who is told of new entitlements; auth alone if empty
	IDs       *id.Maker
	Now       func() time.Time

	TestClocks bool // let subscriptions live in virtual time; never in production
}

// New makes the service on an open database and a connection to payment.
func New(p Parts) (*Service, error) {
	zone, err := time.LoadLocation(period.Zone)
	if err != nil {
		return nil, fmt.Errorf("load the zone of periods: %w", err)
	}
	s := &Service{
		db: p.DB, outbox: p.Outbox, payment: newPaymentPeer(p.Payment), seats: newUserPeer(p.User), pages: p.Pages,
		supplier: p.Supplier, zone: zone, ids: p.IDs, now: p.Now, listeners: p.Listeners,
		testClocks: p.TestClocks,
	}
	if len(s.listeners) == 0 {
		s.listeners = []string{"auth"}
	}
	s.catalog = &catalog{load: s.loadPlans, now: p.Now}
	return s, nil
}

// Run serves until ctx ends.
func Run(ctx context.Context, p *boot.Process, c Config) error {
	db, err := pg.Attach(ctx, p, c.Config)
	if err != nil {
		return err
	}

	peers := map[string]string{"auth": c.AuthAddr, "payment": c.PaymentAddr, "audit": c.AuditAddr}
	listeners := []string{"auth"}
	if c.UserAddr != "" {
		peers["user"], listeners = c.UserAddr, append(listeners, "user")
	}
	if c.AdminAddr != "" {
		peers["admin"] = c.AdminAddr
	}
	conns := map[string]grpc.ClientConnInterface{}
	for name, addr := range peers {
		if conns[name], err = rpc.Dial(p, name, addr); err != nil {
			return fmt.Errorf("dial %s: %w", name, err)
		}
	}
	s, err := New(Parts{
		DB: db, Outbox: outbox.New(schema, p.IDs, p.Now), Payment: conns["payment"], User: conns["user"],
		Pages: page.NewSealer(c.PageTokenSecret), Supplier: c.Supplier, Listeners: listeners, IDs: p.IDs, Now: p.Now,
		TestClocks: !c.Production(),
	})
	if err != nil {
		return err
	}
	keys := idem.NewStore(db, schema, p.Now)
	g, err := rpc.NewServer(rpc.ServerConfig{Process: p, Idempotency: keys})
	if err != nil {
		return fmt.Errorf("make the server: %w", err)
	}
	s.Register(g, rpc.Peer)
	told := append(slices.Clone(listeners), "audit", "payment")
	if s.tells = c.AdminAddr != ""; s.tells {
		told = append(told, "admin")
	}
	if err := s.outbox.Metrics(p.Registry, db, told...); err != nil {
		return fmt.Errorf("register the outbox's metrics: %w", err)
	}
	for _, to := range told {
		p.Go("relay-"+to, s.outbox.Relay(db, to, inboxClient(conns[to]), p.Log))
	}
	p.Go("sweep-inbox", s.outbox.SweepInbox(db))
	p.Go("sweep", s.sweepForever)
	p.Go("refold", s.refoldForever)
	p.Go("sweep-keys", keys.Sweep)
	return p.ServeGRPC(ctx, g)
}
