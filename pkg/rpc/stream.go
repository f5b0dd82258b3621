package rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
)

// stream lets health's Watch and reflection through as they are. Of ours there
// are only streams between processes: rule, recovery and log as for a call.
func (o *observer) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	began, method := o.process.Now(), info.FullMethod
	ctx, err := o.enter(ss.Context())
	defer func() {
		if r := recover(); r != nil {
			err = &panicked{value: r, stack: debug.Stack()}
		}
		if _, died := errors.AsType[*panicked](err); exempt(method) && !died {
			return
		}
		s := fail.ToStatus(err)
		o.leave(ctx, method, o.process.Now().Sub(began), s, err)
		err = s.Err()
	}()
	if err != nil {
		return err
	}
	return next(srv, &observed{ServerStream: ss, ctx: ctx})
}

// observed is a stream with the call's context.
type observed struct {
	grpc.ServerStream

	ctx context.Context //nolint:containedctx // grpc asks the stream for it
}

// Context gives the call's context.
func (s *observed) Context() context.Context { return s.ctx }

// stream checks the rule once. A person's call is never a stream: its rule could
// not be asked again when the person's rights end.
func (g *guard) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if !exempt(info.FullMethod) {
		rule, ok := Rule(info.FullMethod)
		if !ok || !rule.GetInternal() {
			return denied()
		}
		if _, err := g.check(ss.Context(), info.FullMethod); err != nil {
			return err
		}
	}
	return next(srv, ss)
}

// stream validates each message as it comes.
func (v validation) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if exempt(info.FullMethod) {
		return next(srv, ss)
	}
	return next(srv, &validated{ServerStream: ss, v: v, method: info.FullMethod})
}

type validated struct {
	grpc.ServerStream

	v      validation
	method string
}

// RecvMsg fails for a message that breaks a bound.
func (s *validated) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err //nolint:wrapcheck // io.EOF is told from others by identity
	}
	p, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("validate %s: message is a %T", s.method, m)
	}
	err := s.v.check(p, s.method)
	if err != nil {
		zerolog.Ctx(s.Context()).Debug().Err(err).Str("method", s.method).Msg("message refused")
	}
	return err
}
