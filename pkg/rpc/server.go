package rpc

import (
	"errors"
	"fmt"
	"time"

	"buf.build/go/protovalidate"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/token"
)

const (
	maxMessageBytes  = 1 << 20
	maxHeaderBytes   = 32 << 10 // a caller with its bearer is some 4 KiB
	maxStreams       = 250
	defaultDeadline  = 10 * time.Second
	connectionAge    = time.Minute // so that new replicas get their share
	connectionGrace  = 20 * time.Second
	handshakeTimeout = 5 * time.Second
)

// ServerConfig is what NewServer needs. Verifier is nil unless the service has
// sensitive methods. Idempotency is nil unless it has idempotent ones. Grace is
// how long an old connection still serves what was begun on it, 20 s at least:
// StreamDeadline where answers are streamed.
type ServerConfig struct {
	Process     *boot.Process
	Verifier    *token.Verifier
	Idempotency interface {
		Interceptor() grpc.UnaryServerInterceptor
	}
	Grace time.Duration
}

// NewServer makes a server for mTLS clients that runs, for every call: recovery
// and the log line, a deadline, the method's rule (none means refused),
// validation, idempotency; and that turns errors into statuses. Health is
// registered, and reflection in development.
func NewServer(c ServerConfig) (*grpc.Server, error) {
	if c.Process == nil {
		return nil, errors.New("make grpc server: no process")
	}
	identity, err := LoadTLS(c.Process.Base)
	if err != nil {
		return nil, fmt.Errorf("make grpc server: %w", err)
	}
	validator, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("make validator: %w", err)
	}
	observed, err := durations(c.Process.Registry)
	if err != nil {
		return nil, err
	}
	outer := &observer{process: c.Process, durations: observed}
	guard := &guard{process: c.Process, verifier: c.Verifier}
	valid := validation{validator}
	chain := []grpc.UnaryServerInterceptor{outer.unary, guard.unary, valid.unary}
	if c.Idempotency != nil {
		chain = append(chain, c.Idempotency.Interceptor())
	}
	s := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(identity.Server())),
		grpc.ChainUnaryInterceptor(chain...),
		grpc.ChainStreamInterceptor(outer.stream, guard.stream, valid.stream),
		grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithFilter(filters.Not(filters.HealthCheck())))),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{ // grpc adds 10 % jitter to the age itself
			MaxConnectionAge: connectionAge, MaxConnectionAgeGrace: max(connectionGrace, c.Grace),
			Time: 30 * time.Second, Timeout: 10 * time.Second,
		}),
	)
	healthpb.RegisterHealthServer(s, c.Process.Health)
	if c.Process.Base.NodeEnv == "development" {
		reflection.Register(s)
	}
	return s, nil
}

// durations registers the histogram once per process, however many servers it has.
func durations(r *prometheus.Registry) (*prometheus.HistogramVec, error) {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "rpc_server_duration_seconds",
		Help:    "Time taken to answer a call.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"method", "code"})
	err := r.Register(h)
	var twice prometheus.AlreadyRegisteredError
	if errors.As(err, &twice) {
		if old, ok := twice.ExistingCollector.(*prometheus.HistogramVec); ok {
			return old, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return h, nil
}
