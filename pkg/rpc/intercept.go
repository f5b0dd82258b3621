package rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/telemetry"
	"github.com/manas360/platform/pkg/token"
)

// observer is the outermost interceptor: it fills the context, survives panics,
// turns errors into statuses, and counts and logs each call once.
type observer struct {
	process   *boot.Process
	durations *prometheus.HistogramVec
}

func (o *observer) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	began := o.process.Now()
	ctx, err := o.enter(ctx)
	var resp any
	if err == nil {
		var cancel context.CancelFunc
		ctx, cancel = withDeadline(ctx, defaultDeadline)
		defer cancel()
		resp, err = recovered(ctx, req, next)
	}
	// A driver's own error for an ended context tells less than the context.
	if _, ours := fail.As(err); err != nil && !ours && ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	s := fail.ToStatus(err)
	o.leave(ctx, info.FullMethod, o.process.Now().Sub(began), s, err)
	if err != nil {
		return nil, s.Err()
	}
	return resp, nil
}

// enter reads who calls and for which request, and makes the request's log.
func (o *observer) enter(ctx context.Context) (context.Context, error) {
	var bad error
	if v, ok := incoming(ctx, token.MetadataKey); ok {
		caller, err := token.Unmarshal([]byte(v))
		if err != nil {
			bad = fail.New(fail.Unauthenticated, "unreadable caller").Wrap(err)
		} else {
			ctx = token.NewContext(ctx, caller)
		}
	}
	id, _ := incoming(ctx, requestIDKey)
	if caller, ok := token.FromContext(ctx); ok && id == "" {
		id = caller.RequestID
	}
	if !ValidRequestID(id) {
		id = o.process.IDs.New().String()
	}
	ctx = WithRequestID(ctx, id)
	log := o.process.Log.With().Str("request_id", id).Str("trace_id", telemetry.TraceID(ctx)).Logger()
	return log.WithContext(ctx), bad
}

func (o *observer) leave(ctx context.Context, method string, took time.Duration, s *status.Status, err error) {
	o.durations.WithLabelValues(method, s.Code().String()).Observe(took.Seconds())
	level := zerolog.DebugLevel
	switch s.Code() {
	case codes.Internal, codes.Unknown:
		level = zerolog.ErrorLevel
	case codes.Unavailable, codes.DeadlineExceeded:
		level = zerolog.WarnLevel
	default:
	}
	zerolog.Ctx(ctx).WithLevel(level).Err(err).Func(func(e *zerolog.Event) {
		if r, ok := errors.AsType[*panicked](err); ok {
			e.Bytes("stack", r.stack)
		}
	}).Str("method", method).Str("peer", Peer(ctx)).Stringer("code", s.Code()).Dur("took", took).Msg("call")
}

// withDeadline gives ctx a deadline if its client forgot one.
func withDeadline(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

func recovered(ctx context.Context, req any, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if r := recover(); r != nil {
			resp, err = nil, &panicked{value: r, stack: debug.Stack()}
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("ended before it began: %w", err)
	}
	return next(ctx, req)
}

func (g *guard) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if !exempt(info.FullMethod) {
		var err error
		if ctx, err = g.check(ctx, info.FullMethod); err != nil {
			return nil, err
		}
	}
	return next(ctx, req)
}

// exempt are grpc's own services, open to every process with a certificate.
// Reflection is registered in development only.
func exempt(method string) bool {
	return strings.HasPrefix(method, "/grpc.health.v1.Health/") || strings.HasPrefix(method, "/grpc.reflection.")
}
