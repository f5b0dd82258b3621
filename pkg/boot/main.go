// Package boot runs a process: configuration, logging, telemetry, readiness,
// serving, and an orderly end.
//
// The end, on SIGTERM or SIGINT: readiness false and gRPC health NOT_SERVING;
// still serving for DRAIN_DELAY; no new work and in-flight work to its end;
// workers cancelled and awaited; closers, last first; traces flushed. All of it
// takes at most 45 s; a second signal ends the process at once.
package boot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/config"
	"github.com/manas360/platform/pkg/telemetry"
)

const (
	exitOK     = 0
	exitFailed = 1
	exitConfig = 2

	drainCap = 45 * time.Second
)

// Main is the whole of a process's func main. C embeds Base. run opens what it
// needs, registers checks, workers and closers, and ends in ServeGRPC or
// ServeHTTP; its ctx ends with the first signal. Main never returns: the exit
// code is 0 after an orderly end, 2 for a bad configuration, else 1. With the
// argument -config it prints the environment it reads, with -health it asks the
// process running beside it whether it is ready.
func Main[C any](name string, run func(ctx context.Context, p *Process, c C) error) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	os.Exit(start(name, world{
		args:    os.Args[1:],
		environ: os.Environ(),
		stdout:  os.Stdout,
		stderr:  os.Stderr,
		signals: signals,
		now:     time.Now, //nolint:forbidigo // the one place a process takes its clock from
		exit:    os.Exit,
	}, run))
}

// world is what Main takes from the operating system.
type world struct {
	args, environ  []string
	stdout, stderr io.Writer
	signals        <-chan os.Signal
	now            func() time.Time
	exit           func(code int)
}

func start[C any](name string, w world, run func(context.Context, *Process, C) error) int {
	if len(w.args) > 0 {
		return w.aside(name, config.Describe[C])
	}
	c, err := config.Load[C](w.environ)
	if err != nil {
		return badConfig(w.stderr, name, err)
	}
	var base Base
	if b, ok := any(c).(interface{ base() Base }); ok {
		base = b.base()
	}
	log := newLog(w.stdout, name, base)

	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // the root all others come from
	defer cancel()
	flush, err := telemetry.Setup(ctx, telemetry.Config{
		Service: name, Endpoint: base.OTLPEndpoint, SampleAll: !base.Production(), Log: log,
	})
	if err != nil {
		log.Error().Err(err).Msg("telemetry not set up")
		return exitFailed
	}
	p := NewProcess(ctx, name, base, log, w.now, rand.Reader)
	p.OnStop("telemetry", flush) // registered first, so stopped last

	running, stop := context.WithCancel(ctx)
	defer stop()
	go w.watch(ctx, log, stop)

	err = run(p.context(running), p, c)
	early := running.Err() == nil
	end, done := context.WithTimeout(ctx, drainCap)
	defer done()
	stopErr := p.Stop(end)

	var bad *config.Error
	switch {
	case errors.As(err, &bad):
		return badConfig(w.stderr, name, bad)
	case err != nil && (early || !errors.Is(err, context.Canceled)):
		log.Error().Err(err).Msg("process failed")
		return exitFailed
	case stopErr != nil:
		log.Error().Err(stopErr).Msg("process did not end cleanly")
		return exitFailed
	}
	log.Info().Msg("process ended")
	return exitOK
}

// aside does what an argument asks for instead of running.
func (w world) aside(name string, describe func(io.Writer) error) int {
	switch w.args[0] {
	case "-config", "--config":
		if err := describe(w.stdout); err != nil {
			return exitFailed
		}
		return exitOK
	case "-health", "--health":
		base, err := config.Load[Base](w.environ)
		if err != nil {
			return badConfig(w.stderr, name, err)
		}
		return probe(context.Background(), base.OpsAddr, w.stdout) //nolint:forbidigo // nothing runs that it could come from
	}
	complain(w.stderr, name, "unknown argument "+w.args[0]+"; there are -config and -health")
	return exitConfig
}

// watch stops on the first signal and exits on the second, or when the orderly
// end takes too long.
func (w world) watch(ctx context.Context, log zerolog.Logger, stop func()) {
	select {
	case s := <-w.signals:
		log.Info().Stringer("signal", s).Msg("draining")
		stop()
	case <-ctx.Done():
		return
	}
	select {
	case <-w.signals:
		log.Warn().Msg("second signal, ending now")
	case <-time.After(drainCap):
		log.Error().Msg("drain took too long, ending now")
	case <-ctx.Done():
		return
	}
	w.exit(exitFailed)
}

func newLog(w io.Writer, name string, b Base) zerolog.Logger {
	level, err := zerolog.ParseLevel(b.LogLevel)
	if err != nil || level == zerolog.NoLevel {
		level = zerolog.InfoLevel
	}
	zerolog.TimeFieldFormat = time.RFC3339Nano
	c := zerolog.New(w).Level(level).With().Timestamp().Str("service", name)
	if b.InternalIP != "" {
		c = c.Str("host", b.InternalIP)
	}
	return c.Logger()
}

func badConfig(stderr io.Writer, name string, err error) int {
	var bad *config.Error
	if !errors.As(err, &bad) {
		complain(stderr, name, err.Error())
		return exitConfig
	}
	for _, line := range bad.Problems {
		complain(stderr, name, line)
	}
	return exitConfig
}

// complain writes one plain line: whoever fixes a configuration has no log
// viewer at hand. Nothing can be done when stderr is gone.
func complain(stderr io.Writer, name, line string) {
	_, _ = fmt.Fprintf(stderr, "%s: %s\n", name, line)
}
