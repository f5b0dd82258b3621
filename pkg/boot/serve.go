package boot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/manas360/platform/pkg/config"
)

const inFlight = 20 * time.Second // for requests already begun, then they are cut

// ServeGRPC serves s on GRPC_ADDR and the operators' endpoints on OPS_ADDR until
// ctx ends, then drains. The credentials are already in s.
func (p *Process) ServeGRPC(ctx context.Context, s *grpc.Server) error {
	if p.Base.GRPCAddr == "" {
		return &config.Error{Problems: []string{"GRPC_ADDR: required, but not set"}}
	}
	l, err := listen(ctx, p.Base.GRPCAddr)
	if err != nil {
		return err
	}
	return p.serve(ctx, served{
		name:  "grpc",
		addr:  l.Addr(),
		serve: func() error { return s.Serve(l) },
		drain: func(ctx context.Context) error {
			ended := make(chan struct{})
			go func() {
				s.GracefulStop()
				close(ended)
			}()
			select {
			case <-ended:
				return nil
			case <-ctx.Done():
				s.Stop()
				return errors.New("requests cut off")
			}
		},
	})
}

// ServeHTTP serves h on addr like ServeGRPC. Requests carry the process's log in
// their context.
func (p *Process) ServeHTTP(ctx context.Context, addr string, h http.Handler) error {
	l, err := listen(ctx, addr)
	if err != nil {
		return err
	}
	s := httpServer(h)
	requests, cut := context.WithCancel(context.WithoutCancel(p.context(ctx)))
	defer cut()
	s.BaseContext = func(net.Listener) context.Context { return requests }
	return p.serve(ctx, served{
		name:  "http",
		addr:  l.Addr(),
		serve: func() error { return s.Serve(l) },
		drain: func(ctx context.Context) error {
			s.SetKeepAlivesEnabled(false)
			if err := s.Shutdown(ctx); err != nil {
				cut()
				return errors.Join(errors.New("requests cut off"), s.Close())
			}
			return nil
		},
	})
}

// served is a server as the drain sees it.
type served struct {
	name  string
	addr  net.Addr
	serve func() error                    // blocks
	drain func(ctx context.Context) error // ends serve, gently while ctx lasts
}

func (p *Process) serve(ctx context.Context, s served) error {
	opsFailed, closeOps, err := p.serveOps(ctx)
	if err != nil {
		return errors.Join(err, s.drain(ctx))
	}
	// The operators' endpoints stay until the very end of the drain.
	p.OnStop("ops", closeOps)
	p.Go("health", p.mirrorHealth)

	failed := make(chan error, 1)
	go func() { failed <- s.serve() }()
	p.Log.Info().Str("addr", s.addr.String()).Str("server", s.name).Msg("serving")

	var cause error
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", s.name, err)
	case err := <-opsFailed:
		cause = fmt.Errorf("serve ops: %w", err)
	case <-ctx.Done():
	}

	p.draining.Store(true)
	p.Health.Shutdown()
	// Time for balancers to see it and send work elsewhere.
	timer := time.NewTimer(p.Base.drainDelay())
	defer timer.Stop()
	select {
	case <-timer.C:
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", s.name, err)
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), inFlight)
	defer cancel()
	if err := s.drain(limited); err != nil {
		p.Log.Warn().Err(err).Str("server", s.name).Msg("drain incomplete")
	}
	return cause
}

// serveOps starts the operators' endpoints, if there is an address for them.
func (p *Process) serveOps(ctx context.Context) (failed <-chan error, stop func(context.Context) error, err error) {
	if p.Base.OpsAddr == "" {
		return nil, func(context.Context) error { return nil }, nil
	}
	l, err := listen(ctx, p.Base.OpsAddr)
	if err != nil {
		return nil, nil, err
	}
	s := httpServer(p.opsHandler())
	ended := make(chan error, 1)
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			ended <- err
		}
	}()
	p.Log.Info().Str("addr", l.Addr().String()).Str("server", "ops").Msg("serving")
	return ended, func(context.Context) error { return s.Close() }, nil
}

// mirrorHealth keeps grpc.health.v1 at what readiness says.
func (p *Process) mirrorHealth(ctx context.Context) error {
	tick := time.NewTicker(checkFresh)
	defer tick.Stop()
	for {
		status := healthpb.HealthCheckResponse_SERVING
		if len(p.Ready(ctx)) > 0 {
			status = healthpb.HealthCheckResponse_NOT_SERVING
		}
		p.Health.SetServingStatus("", status) // no effect once Shutdown was called
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// httpServer has limits against slow and swollen requests; a handler with a
// longer answer sets its own write deadline.
func httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      35 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    64 << 10, // the edge answers a problem above 32 KiB itself
	}
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	return l, nil
}
