package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Up runs the whole stack until ctx ends or a child dies. ready is called once everything answers.
func (s *Stack) Up(ctx context.Context, ready func()) (err error) {
	began := s.Now()
	if err := s.claimDir(); err != nil {
		return err
	}
	held, err := takeLock(s.path("lock"))
	if errors.Is(err, errLocked) {
		return s.runsAlready()
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.free()) }()
	if err := s.checkPorts(ctx); err != nil {
		return err
	}
	if err := writePID(s.path("dev.pid"), s.Port); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(s.path("dev.pid"))) }()
	s.kids = newNursery(s.path("logs"))
	defer s.stopAll()
	p, err := s.prepare(ctx)
	if err != nil {
		return stopped(ctx, err)
	}
	if err := s.open(ctx, p); err != nil {
		return stopped(ctx, err)
	}
	s.plan = p
	s.banner(began)
	ready()
	return s.watch(ctx)
}

// stopped is nil when the person ended the start, whatever that broke.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func (s *Stack) runsAlready() error {
	if p, alive, err := readPID(s.path("dev.pid")); err == nil && alive {
		return problem("this stack runs already (process %d, http://localhost:%d): `make down` stops it, MANAS_DATA_DIR starts another", p.PID, p.Port)
	}
	return problem("%s is in use by another stack that starts or stops just now: try again, or set MANAS_DATA_DIR", s.DataDir)
}

func (s *Stack) checkPorts(ctx context.Context) error {
	err := errors.Join(checkPort(ctx, "PORT", s.Port), checkPort(ctx, "SANDBOX_PORT", s.SandboxPort))
	if s.RedisHost == "" && s.RedisPort != 0 {
		err = errors.Join(err, checkPort(ctx, "REDIS_PORT", s.RedisPort))
	}
	return err
}

// prepare does at the same time what does not wait for one another: the build, PostgreSQL, Redis, certificates.
func (s *Stack) prepare(ctx context.Context) (*plan, error) {
	sec, err := loadSecrets(s.DataDir, s.Rand)
	if err != nil {
		return nil, err
	}
	if s.DatabaseURL != "" {
		if sec, err = sec.sharedPasswords(s.DatabaseURL); err != nil {
			return nil, err
		}
	}
	s.sec = sec
	if err := sec.writeCredentials(s.DataDir, s.SandboxPort); err != nil {
		return nil, err
	}
	// apt and npm show their own progress and share a lock, so that what installs comes before what waits.
	p := &plan{}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	errs := make([]error, 3)
	each := func(i int, work func() error) {
		group.Go(func() {
			if errs[i] = work(); errs[i] != nil {
				cancel() // the others' results are of no use then
			}
		})
	}
	each(0, func() error { return s.build(ctx) })
	each(1, func() (err error) {
		if p.pg, err = s.startPostgres(ctx, false); err != nil {
			return err
		}
		if p.redis, err = s.startRedis(ctx); err != nil {
			return err
		}
		if err := s.Migrate(ctx, p.pg.adminURL, s.sec.RolePassword); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		return nil
	})
	each(2, func() error {
		return writeCertificates(s.path("tls"), s.Now(), s.Rand, append([]string{"gateway", "manasctl"}, Services...))
	})
	group.Wait()
	return p, worst(errs)
}

// worst prefers a cause to the cancellations that it brought about.
func worst(errs []error) error {
	var last error
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		if err != nil {
			last = err
		}
	}
	return last
}

// open starts the processes while the demo accounts are made.
func (s *Stack) open(ctx context.Context, p *plan) (err error) {
	if p.at, err = s.choosePorts(ctx); err != nil {
		return err
	}
	if err := s.startProcesses(ctx, p); err != nil {
		return err
	}
	if err := s.writePorts(p.at, p.pg, p.redis); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	seeded := make(chan error, 1)
	go func() {
		err := s.seed(ctx, p)
		if err != nil {
			stop(err) // no need to wait for the others then
		}
		seeded <- err
	}()
	err = s.waitReady(ctx, p)
	if err != nil {
		stop(err)
	}
	return worst([]error{err, <-seeded})
}

func (s *Stack) seed(ctx context.Context, p *plan) error {
	dsn, err := roleURL(p.pg.adminURL, "auth", s.sec.RolePassword["auth"])
	if err != nil {
		return err
	}
	access, refresh := s.jwtSecrets()
	if err := s.Seed(ctx, dsn, access, refresh, s.sec.accounts()); err != nil {
		return fmt.Errorf("make the demo accounts: %w", err)
	}
	return nil
}

func (s *Stack) banner(began time.Time) {
	s.say(`
ready in %.1f s
  API        %s/api/v1
  docs       %s/docs
  console    %s/console/
  sandbox    http://%s  (PUT /control, GET /bank/statement)
  accounts   %s
  messages   %s
  logs       %s
`, s.Now().Sub(began).Seconds(), s.url(), s.url(), s.url(), local(s.SandboxPort), s.short("credentials.json"), s.short("messages"), s.short("logs"))
}

// short is a path as a person in the repository would type it.
func (s *Stack) short(name string) string {
	if rel, ok := strings.CutPrefix(s.path(name), s.Root+string(os.PathSeparator)); ok {
		return rel
	}
	return s.path(name)
}

// watch waits for the end: asked for, or a child's death, which ends all the others.
func (s *Stack) watch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			s.say("stopping")
			return nil
		case c := <-s.kids.died:
			if !s.Tolerant {
				return died(c)
			}
			s.say("%v", died(c))
		}
	}
}
