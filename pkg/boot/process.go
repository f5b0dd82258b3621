package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/telemetry"
)

// Process is one running process and what it hands to its parts.
type Process struct {
	Name     string
	Base     Base
	Log      zerolog.Logger
	Now      func() time.Time
	Rand     io.Reader
	IDs      *id.Maker
	Registry *prometheus.Registry // served at /metrics
	Health   *health.Server       // grpc.health.v1; mirrors readiness while serving

	draining atomic.Bool
	spawn    func(work func(ctx context.Context)) // runs a worker under the workers' context
	cancel   context.CancelFunc                   // ends the workers

	mu      sync.Mutex // guards checks and closers
	checks  []*check
	closers []closer
	workers sync.WaitGroup
}

type closer struct {
	name string
	stop func(ctx context.Context) error
}

// NewProcess makes a process without Main, for tests and tools. Workers run
// until Stop or until ctx ends.
func NewProcess(ctx context.Context, name string, base Base, log zerolog.Logger, now func() time.Time, rand io.Reader) *Process {
	p := &Process{
		Name:     name,
		Base:     base,
		Log:      log,
		Now:      now,
		Rand:     rand,
		IDs:      id.NewMaker(now, rand),
		Registry: telemetry.NewRegistry(),
		Health:   health.NewServer(),
	}
	p.Health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	workers, cancel := context.WithCancel(p.context(ctx))
	p.cancel = cancel
	p.spawn = func(work func(context.Context)) {
		p.workers.Go(func() { work(workers) })
	}
	return p
}

// context gives ctx the process's log.
func (p *Process) context(ctx context.Context) context.Context {
	return p.Log.WithContext(ctx)
}

const (
	firstPause = 100 * time.Millisecond
	longPause  = 10 * time.Second
	longRun    = time.Minute // a worker that lasted this long starts over with firstPause
)

// Go runs work until the drain, after the last request has ended. Work that
// fails or panics starts again after a growing pause; work that returns nil is
// done.
func (p *Process) Go(name string, work func(ctx context.Context) error) {
	p.spawn(func(ctx context.Context) {
		log := p.Log.With().Str("worker", name).Logger()
		ctx = log.WithContext(ctx)
		pause := firstPause
		for {
			began := p.Now()
			err := safely(ctx, work)
			if err == nil || ctx.Err() != nil {
				return
			}
			if p.Now().Sub(began) > longRun {
				pause = firstPause
			}
			log.Error().Err(err).Dur("pause", pause).Msg("worker failed, starting again")
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, longPause)
		}
	})
}

func safely(ctx context.Context, work func(ctx context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return work(ctx)
}

// OnStop registers what closes after the workers; the last registered goes first.
func (p *Process) OnStop(name string, stop func(ctx context.Context) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closers = append(p.closers, closer{name: name, stop: stop})
}

// Stop ends the workers, waits for them, and runs the closers, last first. The
// error names everything that did not end in time. Main calls it; so does a
// test that made its own process.
func (p *Process) Stop(ctx context.Context) error {
	p.draining.Store(true)
	p.Health.Shutdown()
	p.cancel()
	var errs []error
	ended := make(chan struct{})
	go func() {
		p.workers.Wait()
		close(ended)
	}()
	// Leave some of the time to the closers when a worker hangs.
	wait, done := context.WithTimeout(ctx, 15*time.Second)
	defer done()
	select {
	case <-ended:
	case <-wait.Done():
		errs = append(errs, errors.New("workers still running"))
	}
	p.mu.Lock()
	closers := p.closers
	p.closers = nil
	p.mu.Unlock()
	for i := len(closers) - 1; i >= 0; i-- {
		one, finished := context.WithTimeout(ctx, 5*time.Second)
		if err := closers[i].stop(one); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", closers[i].name, err))
		}
		finished()
	}
	return errors.Join(errs...)
}
