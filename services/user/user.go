// Package user owns people: profiles now; organizations, consents and data
// requests grow here. Address, state and roles belong to auth and arrive as
// events.
package user

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/rpc"
)

const schema = "users" // "user" is a reserved word in SQL

// Config is the user service's environment.
type Config struct {
	boot.Base
	pg.Config

	AuthAddr  string `desc:"gRPC address of auth"  env:"AUTH_ADDR,required"`
	AuditAddr string `desc:"gRPC address of audit" env:"AUDIT_ADDR,required"`
}

// Service is the user service. Safe for concurrent use.
type Service struct {
	db     *pg.DB
	outbox *outbox.Outbox
	auth   authPeer
	now    func() time.Time
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
	s := New(db, outbox.New(schema, p.IDs, p.Now), auth, p.Now)
	g, err := rpc.NewServer(rpc.ServerConfig{Process: p})
	if err != nil {
		return fmt.Errorf("make the server: %w", err)
	}
	s.Register(g, rpc.Peer)
	if err := s.outbox.Metrics(p.Registry, db, "audit"); err != nil {
		return fmt.Errorf("register the outbox's metrics: %w", err)
	}
	p.Go("sweep-inbox", s.outbox.SweepInbox(db))
	p.Go("relay-audit", s.outbox.Relay(db, "audit", inboxClient(audit), p.Log))
	return p.ServeGRPC(ctx, g)
}

// New makes the service on an open database and a connection to auth.
func New(db *pg.DB, out *outbox.Outbox, auth grpc.ClientConnInterface, now func() time.Time) *Service {
	return &Service{db: db, outbox: out, auth: newAuthPeer(auth), now: now}
}
