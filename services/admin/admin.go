// Package admin is what operators do. It owns no business data: it asks the
// service that does, with the operator's own identity, and keeps a record of
// every look and act.
package admin

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
)

const schema = "admin"

// Config is the admin service's environment.
type Config struct {
	boot.Base
	pg.Config

	AuthAddr         string `desc:"gRPC address of auth"         env:"AUTH_ADDR,required"`
	UserAddr         string `desc:"gRPC address of user"         env:"USER_ADDR,required"`
	SubscriptionAddr string `desc:"gRPC address of subscription" env:"SUBSCRIPTION_ADDR,required"`
	PaymentAddr      string `desc:"gRPC address of payment"      env:"PAYMENT_ADDR,required"`
	AuditAddr        string `desc:"gRPC address of audit"        env:"AUDIT_ADDR,required"`
	TokenIssuer      string `desc:"iss of access tokens"         env:"TOKEN_ISSUER"               envDefault:"https://auth.manas360.local"`
	TokenAudience    string `desc:"aud of access tokens"         env:"TOKEN_AUDIENCE"             envDefault:"manas360-api"`
}

// Service is the admin service. Safe for concurrent use.
type Service struct {
	db     *pg.DB
	outbox *outbox.Outbox
	peers  peers
	now    func() time.Time
	ids    *id.Maker
	recall chan struct{} // wakes recounting
}

// Run serves until ctx ends.
func Run(ctx context.Context, p *boot.Process, c Config) error {
	db, err := pg.Attach(ctx, p, c.Config)
	if err != nil {
		return err
	}

	conns := map[string]*grpc.ClientConn{}
	for name, addr := range map[string]string{
		"auth": c.AuthAddr, "user": c.UserAddr, "subscription": c.SubscriptionAddr, "payment": c.PaymentAddr, "audit": c.AuditAddr,
	} {
		if conns[name], err = rpc.Dial(p, name, addr); err != nil {
			return fmt.Errorf("dial %s: %w", name, err)
		}
	}
	verifier := token.NewVerifier(c.TokenIssuer, c.TokenAudience, p.Now)
	s := New(db, outbox.New(schema, p.IDs, p.Now), newPeers(conns["auth"], conns["user"], conns["subscription"], conns["payment"]), p.IDs, p.Now)
	g, err := rpc.NewServer(rpc.ServerConfig{Process: p, Verifier: verifier})
	if err != nil {
		return fmt.Errorf("make the server: %w", err)
	}
	s.peers.conns["audit"] = conns["audit"]
	s.Register(g, rpc.Peer)
	verifier.OnMiss(func(ctx context.Context) error { return s.peers.trust(ctx, verifier) })
	p.Go("trust", func(ctx context.Context) error { return s.peers.keepTrust(ctx, verifier) })
	if err := s.outbox.Metrics(p.Registry, db, "audit"); err != nil {
		return fmt.Errorf("register the outbox's metrics: %w", err)
	}
	p.Go("recount", s.recounting)
	p.Go("sweep-inbox", s.outbox.SweepInbox(db))
	p.Go("relay-audit", s.outbox.Relay(db, "audit", inboxClient(conns["audit"]), p.Log))
	return p.ServeGRPC(ctx, g)
}

// New makes the service on an open database and its peers.
func New(db *pg.DB, out *outbox.Outbox, p peers, ids *id.Maker, now func() time.Time) *Service {
	return &Service{db: db, outbox: out, peers: p, ids: ids, now: now, recall: make(chan struct{}, 1)}
}
