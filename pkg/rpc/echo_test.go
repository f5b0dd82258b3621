package rpc_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	"github.com/manas360/platform/pkg/token"
	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

const echo = "manas.echo.v1.EchoService"

func permission(p string) *authzv1.Rule {
	return &authzv1.Rule{Access: &authzv1.Rule_Permission{Permission: p}}
}

// echoRules are the methods of a service that lives in these tests alone. All
// take a DeliverResponse.Result, but Batch, which takes a DeliverRequest.
var echoRules = map[string]*authzv1.Rule{
	"Public":  {Access: &authzv1.Rule_Public{Public: true}},
	"GetIt":   {Access: &authzv1.Rule_Public{Public: true}},
	"Batch":   {Access: &authzv1.Rule_Public{Public: true}},
	"Mine":    {Access: &authzv1.Rule_Authenticated{Authenticated: true}},
	"Read":    permission("thing.read"),
	"Manage":  {Access: &authzv1.Rule_Permission{Permission: "thing.manage"}, Peers: []string{"admin"}},
	"Suspend": {Access: &authzv1.Rule_Permission{Permission: "thing.manage"}, Sensitive: true, ReasonRequired: true},
	"Inner":   {Access: &authzv1.Rule_Internal{Internal: true}, Peers: []string{"auth"}},
	"Nobody":  {Access: &authzv1.Rule_Internal{Internal: true}},
	"Closed":  {Access: &authzv1.Rule_Public{}},
	"Unruled": nil,
}

var registerEcho = sync.OnceValue(func() error {
	service := &descriptorpb.ServiceDescriptorProto{Name: proto.String("EchoService")}
	for name, rule := range echoRules {
		in := ".manas.event.v1.DeliverResponse.Result"
		if name == "Batch" {
			in = ".manas.event.v1.DeliverRequest"
		}
		m := &descriptorpb.MethodDescriptorProto{
			Name: proto.String(name), InputType: proto.String(in),
			OutputType: proto.String(".manas.event.v1.DeliverResponse"),
		}
		if rule != nil {
			options := &descriptorpb.MethodOptions{}
			proto.SetExtension(options, authzv1.E_Rule, rule)
			m.Options = options
		}
		service.Method = append(service.Method, m)
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Syntax: proto.String("proto3"), Name: proto.String("manas/echo/v1/echo.proto"), Package: proto.String("manas.echo.v1"),
		Dependency: []string{"manas/event/v1/event.proto"},
		Service:    []*descriptorpb.ServiceDescriptorProto{service},
	}, protoregistry.GlobalFiles)
	if err != nil {
		return err
	}
	return protoregistry.GlobalFiles.RegisterFile(file)
})

type answer func(ctx context.Context, req proto.Message) error

// startEcho serves every method of EchoService with fn, as the process "audit".
func startEcho(t *testing.T, verifier *token.Verifier, fn answer) (addr string) {
	t.Helper()
	if err := registerEcho(); err != nil {
		t.Fatal(err)
	}
	s, err := rpc.NewServer(rpc.ServerConfig{Process: rpctest.Process(t, "audit"), Verifier: verifier})
	if err != nil {
		t.Fatal(err)
	}
	d := &grpc.ServiceDesc{ServiceName: echo, HandlerType: (*any)(nil)}
	for name := range echoRules {
		d.Methods = append(d.Methods, grpc.MethodDesc{MethodName: name, Handler: handler(name, fn)})
	}
	d.Streams = []grpc.StreamDesc{{
		StreamName: "Stream", ServerStreams: true,
		Handler: func(any, grpc.ServerStream) error { return nil },
	}}
	s.RegisterService(d, struct{}{})
	return rpctest.Serve(t, s)
}

func handler(name string, fn answer) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, chain grpc.UnaryServerInterceptor) (any, error) {
		var req proto.Message = &eventv1.DeliverResponse_Result{}
		if name == "Batch" {
			req = &eventv1.DeliverRequest{}
		}
		if err := decode(req); err != nil {
			return nil, err
		}
		info := &grpc.UnaryServerInfo{Server: srv, FullMethod: "/" + echo + "/" + name}
		return chain(ctx, req, info, func(ctx context.Context, req any) (any, error) {
			m, ok := req.(proto.Message)
			if !ok {
				return nil, errors.New("not a message")
			}
			return &eventv1.DeliverResponse{}, fn(ctx, m)
		})
	}
}

// invoke calls a method of EchoService with a Result that says why.
func invoke(ctx context.Context, conn *grpc.ClientConn, method, why string) error {
	req := &eventv1.DeliverResponse_Result{Reason: why}
	return conn.Invoke(ctx, "/"+echo+"/"+method, req, &eventv1.DeliverResponse{})
}
