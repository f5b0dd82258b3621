package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
)

// StreamDeadline is the longest a stream may take in all.
const StreamDeadline = 10 * time.Minute

// stream is unary for answers of many messages. It lets health's Watch and
// reflection through. A client streams only from process to process, without a
// deadline: a person's right could not be asked again when it ends.
func (o *observer) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	if exempt(info.FullMethod) {
		defer func() {
			if r := recover(); r != nil {
				o.process.Log.Error().Any("panic", r).Bytes("stack", debug.Stack()).Msg("stream panicked")
				err = fail.ToStatus(fail.New(fail.Internal, "panic")).Err()
			}
		}()
		return next(srv, ss)
	}
	if rule, ok := Rule(info.FullMethod); info.IsClientStream && (!ok || !rule.GetInternal()) {
		return status.Error(codes.PermissionDenied, "permission denied")
	}
	began := o.process.Now()
	ctx, err := o.enter(ss.Context())
	if err == nil {
		if !info.IsClientStream {
			var cancel context.CancelFunc
			ctx, cancel = withDeadline(ctx, StreamDeadline)
			defer cancel()
		}
		_, err = recovered(ctx, nil, func(ctx context.Context, _ any) (any, error) {
			return nil, next(srv, &inContext{ServerStream: ss, ctx: ctx})
		})
	}
	if _, ours := fail.As(err); err != nil && !ours && ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	s := fail.ToStatus(err)
	o.leave(ctx, info.FullMethod, o.process.Now().Sub(began), s, err)
	if err != nil {
		return s.Err()
	}
	return nil
}

// inContext is a stream with another context.
type inContext struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // that is what it is for
}

// Context implements grpc.ServerStream.
func (s *inContext) Context() context.Context { return s.ctx }

func (g *guard) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if exempt(info.FullMethod) {
		return next(srv, ss)
	}
	ctx, err := g.check(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return next(srv, &inContext{ServerStream: ss, ctx: ctx})
}

func (v validation) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if exempt(info.FullMethod) {
		return next(srv, ss)
	}
	return next(srv, &validated{ServerStream: ss, validation: v, method: info.FullMethod})
}

// validated checks what it receives.
type validated struct {
	grpc.ServerStream
	validation

	method string
}

// RecvMsg implements grpc.ServerStream.
func (s *validated) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err //nolint:wrapcheck // io.EOF and statuses are read as they are
	}
	req, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("validate %s: request is a %T", s.method, m)
	}
	return s.check(req, s.method)
}

// openStream is call for answers of many messages. They end with the context:
// there is no deadline but its own and the server's. Who streams as well reads
// statuses as they are.
func openStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(outgoing(ctx, method), desc, conn, method, opts...)
	if desc.ClientStreams {
		return s, err
	}
	if err != nil {
		return nil, fail.FromError(err)
	}
	return &received{ClientStream: s}, nil
}

type received struct{ grpc.ClientStream }

// RecvMsg implements grpc.ClientStream. Its errors are fail.Errors, but io.EOF.
func (s *received) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil || errors.Is(err, io.EOF) {
		return err //nolint:wrapcheck // io.EOF is read as it is
	}
	return fail.FromError(err)
}
