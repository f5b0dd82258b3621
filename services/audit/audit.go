// Package audit keeps the record of what was done: one ordered log, written by
// one sequencer, that nothing in the service can change or remove.
package audit

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
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

	DataDir        string `desc:"folder of the last signed checkpoint; each replica's own, and kept" env:"AUDIT_DATA_DIR" envDefault:".data/audit"`
	LogOrigin      string `desc:"name of the log in its checkpoints and its key" env:"AUDIT_LOG_ORIGIN" envDefault:"manas360.local/audit"`
	LogKeyFile     string `desc:"signing key of the log; log.key in the data folder when empty, made at the first start outside of production" env:"AUDIT_LOG_KEY_FILE"`
	WitnessURL     string `desc:"where a C2SP tlog-witness answers; none when empty" env:"WITNESS_URL"`
	PublicKeyFile  string `desc:"where the log's public key is written outside of production; beside the key when empty" env:"AUDIT_PUBLIC_KEY_FILE"`
	WitnessKeyFile string `desc:"public key of the witness" env:"WITNESS_PUBLIC_KEY_FILE" envDefault:".data/witness/witness.key.pub"`
	VerifyRate     int    `desc:"events a second the rolling verifier reads again; 0 for none" env:"AUDIT_VERIFY_RATE" envDefault:"5000"`
}

func (c Config) keyFile() string {
	return cmp.Or(c.LogKeyFile, filepath.Join(c.DataDir, "log.key"))
}

func (c Config) publicKeyFile() string { return cmp.Or(c.PublicKeyFile, c.keyFile()+".pub") }

// Service is the audit service. Safe for concurrent use.
type Service struct {
	db      *pg.DB
	pages   *page.Sealer
	ids     *id.Maker
	jobs    jobs
	now     func() time.Time
	signer  *signer
	witness *cosigner // nil without one
	health  *health
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
	if err := s.guard(p, c); err != nil {
		return err
	}
	return p.ServeGRPC(ctx, g)
}

// New makes the service on an open database. secret seals page tokens.
func New(db *pg.DB, secret string, now func() time.Time) *Service {
	return &Service{
		db: db, pages: page.NewSealer(secret), ids: id.NewMaker(now, rand.Reader), jobs: newJobs(db), now: now,
		signer: newSigner(), health: newHealth(now),
	}
}

// guard starts what keeps the log whole: the tree, the signer, the witness's
// client, the verifier.
func (s *Service) guard(p *boot.Process, c Config) error {
	if err := s.health.register(p.Registry); err != nil {
		return err
	}
	p.Go("tree", s.catchUp)
	// Without its key a service still takes events; what it cannot do shows.
	if err := s.signer.enable(c, !p.Base.Production(), p.Rand); err != nil {
		p.Log.Error().Err(err).Msg("audit log is not signed")
		s.health.refuse(err.Error())
	} else {
		p.Go("signer", s.keepSigning)
		if s.witness = newWitness(c); s.witness != nil {
			p.Go("witness", s.keepWitnessed)
		}
	}
	if c.VerifyRate > 0 {
		p.Go("verifier", func(ctx context.Context) error { return s.keepVerifying(ctx, c.VerifyRate, verifyEvery) })
	}
	return nil
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
