// Package user owns people: profiles, preferences, consents, organizations and
// therapists. Address, state and roles belong to auth and arrive as
// events.
package user

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/config"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/rpc"
)

const schema = "users" // "user" is a reserved word in SQL

// Config is the user service's environment.
type Config struct {
	boot.Base
	pg.Config

	AuthAddr         string          `desc:"gRPC address of auth"                                                    env:"AUTH_ADDR,required"`
	AuditAddr        string          `desc:"gRPC address of audit"                                                   env:"AUDIT_ADDR,required"`
	SubscriptionAddr string          `desc:"gRPC address of subscription, for archives, erasure and who is in an organization; left out if empty" env:"SUBSCRIPTION_ADDR"`
	PaymentAddr      string          `desc:"gRPC address of payment, for archives and erasure; left out of them if empty"      env:"PAYMENT_ADDR"`
	DataSecret       string          `desc:"at least 32 characters; seals the keys of people's archives; PAGE_TOKEN_SECRET if empty" env:"DATA_KEY_SECRET" secret:"true"`
	ErasureDelay     config.Duration `desc:"how long a person may think again before being forgotten"                        env:"ERASURE_DELAY" envDefault:"30d"`

	PageSecret string `desc:"at least 32 characters; seals page tokens; each process its own if empty" env:"PAGE_TOKEN_SECRET"  secret:"true"`
}

const leastSecret = 32 // characters

// Validate refuses a page secret that can be guessed.
func (c *Config) Validate() error {
	if c.PageSecret != "" && len(c.PageSecret) < leastSecret {
		return errors.New("PAGE_TOKEN_SECRET: at least 32 characters")
	}
	if c.DataSecret != "" && len(c.DataSecret) < leastSecret {
		return errors.New("DATA_KEY_SECRET: at least 32 characters")
	}
	if c.Production() && c.ErasureDelay.Std() < 24*time.Hour {
		return errors.New("ERASURE_DELAY: at least a day in production")
	}
	return nil
}

// Service is the user service. Safe for concurrent use.
type Service struct {
	db     *pg.DB
	outbox *outbox.Outbox
	auth   authPeer
	pages  *page.Sealer
	ids    *id.Maker
	rand   io.Reader
	now    func() time.Time

	tellsRoster bool // whether subscription hears of memberships

	people       map[string]personPeer // who holds something about people, by service
	dataKey      []byte                // of the keys of people's archives
	erasureDelay time.Duration
	dataBell     chan struct{}
}

// ringData tells the worker of data requests that there is something to do.
func (s *Service) ringData() {
	select {
	case s.dataBell <- struct{}{}:
	default: // it is ringing already
	}
}

// Run serves until ctx ends.
func Run(ctx context.Context, p *boot.Process, c Config) error {
	db, err := pg.Attach(ctx, p, c.Config)
	if err != nil {
		return err
	}

	auth, err := rpc.Dial(p, "auth", c.AuthAddr)
	if err != nil {
		return fmt.Errorf("dial auth: %w", err)
	}
	audit, err := rpc.Dial(p, "audit", c.AuditAddr)
	if err != nil {
		return fmt.Errorf("dial audit: %w", err)
	}
	secret := c.PageSecret
	if secret == "" { // tokens then live as long as the process
		if secret, err = randomSecret(p.Rand); err != nil {
			return err
		}
	}
	people := map[string]grpc.ClientConnInterface{"auth": auth, "audit": audit}
	for name, addr := range map[string]string{"subscription": c.SubscriptionAddr, "payment": c.PaymentAddr} {
		if addr == "" {
			continue
		}
		if people[name], err = rpc.Dial(p, name, addr); err != nil {
			return fmt.Errorf("dial %s: %w", name, err)
		}
	}
	data := c.DataSecret
	if data == "" {
		data = secret
	}
	key, err := deriveKey(data, "manas360 data key")
	if err != nil {
		return err
	}
	s := New(Parts{
		People: people, DataKey: key, ErasureDelay: c.ErasureDelay.Std(), TellRoster: c.SubscriptionAddr != "",

		DB: db, Outbox: outbox.New(schema, p.IDs, p.Now), Auth: auth, Pages: page.NewSealer(secret), IDs: p.IDs, Rand: p.Rand, Now: p.Now,
	})
	g, err := rpc.NewServer(rpc.ServerConfig{Process: p})
	if err != nil {
		return fmt.Errorf("make the server: %w", err)
	}
	s.Register(g, rpc.Peer)
	told := []string{"audit", "auth"}
	if s.tellsRoster {
		told = append(told, "subscription")
		p.Go("tell-rosters", s.tellRosters)
	}
	if err := s.outbox.Metrics(p.Registry, db, told...); err != nil {
		return fmt.Errorf("register the outbox's metrics: %w", err)
	}
	p.Go("data-requests", s.workRequests)
	p.Go("sweep-inbox", s.outbox.SweepInbox(db))
	for _, to := range told {
		p.Go("relay-"+to, s.outbox.Relay(db, to, inboxClient(people[to]), p.Log))
	}
	return p.ServeGRPC(ctx, g)
}

func randomSecret(rand io.Reader) (string, error) {
	b := make([]byte, leastSecret)
	if _, err := io.ReadFull(rand, b); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// Parts is what a Service is made of.
type Parts struct {
	DB     *pg.DB
	Outbox *outbox.Outbox
	Auth   grpc.ClientConnInterface
	Pages  *page.Sealer
	IDs    *id.Maker
	Rand   io.Reader
	Now    func() time.Time

	People       map[string]grpc.ClientConnInterface // services that hold something about people
	DataKey      []byte                              // 32 bytes
	ErasureDelay time.Duration                       // 30 days when zero
	TellRoster   bool                                // whether subscription hears who is in an organization
}

// New makes the service on an open database and a connection to auth.
func New(p Parts) *Service {
	s := &Service{
		tellsRoster: p.TellRoster, people: map[string]personPeer{}, dataKey: p.DataKey, erasureDelay: p.ErasureDelay, dataBell: make(chan struct{}, 1),
		db: p.DB, outbox: p.Outbox, auth: newAuthPeer(p.Auth), pages: p.Pages, ids: p.IDs, rand: p.Rand, now: p.Now,
	}
	if s.erasureDelay == 0 {
		s.erasureDelay = erasureDelay
	}
	for name, conn := range p.People {
		s.people[name] = newPersonPeer(conn)
	}
	return s
}
