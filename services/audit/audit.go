// Package audit keeps the record of what was done: one ordered log, written by
// one sequencer, that nothing in the service can change or remove.
package audit

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/rpc"
)

// partitionMonths are made ahead, so that an outage of the job for a quarter
// of a year loses no event its place.
const partitionMonths = 4

// Config is the audit service's environment.
type Config struct {
	boot.Base
	pg.Config

	PageSecret string `desc:"seals page tokens; at least 32 characters" env:"PAGE_TOKEN_SECRET,required" secret:"true"`
}

// Service is the audit service. Safe for concurrent use.
type Service struct {
	db    *pg.DB
	pages *page.Sealer
	ids   *id.Maker
	jobs  jobs
	now   func() time.Time
}

// Run serves until ctx ends.
func Run(ctx context.Context, p *boot.Process, c Config) error {
	db, err := pg.Attach(ctx, p, c.Config)
	if err != nil {
		return err
	}

	s := New(db, c.PageSecret, p.Now)
	g, err := rpc.NewServer(rpc.ServerConfig{Process: p, Grace: rpc.StreamDeadline})
	if err != nil {
		return fmt.Errorf("make the server: %w", err)
	}
	s.Register(g, rpc.Peer)
	p.Go("partitions", s.keepPartitions)
	p.Go("exports", s.keepExports)
	p.Go("jobs", func(ctx context.Context) error { return s.runJobs(ctx, newEncoder) })
	return p.ServeGRPC(ctx, g)
}

// New makes the service on an open database. secret seals page tokens.
func New(db *pg.DB, secret string, now func() time.Time) *Service {
	return &Service{db: db, pages: page.NewSealer(secret), ids: id.NewMaker(now, rand.Reader), jobs: newJobs(db), now: now}
}

// keepPartitions makes the coming months' partitions now and every hour.
func (s *Service) keepPartitions(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := s.ensurePartitions(ctx, s.now(), partitionMonths); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
