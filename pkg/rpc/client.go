package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
)

const callDeadline = 5 * time.Second

// Not waitForReady: a peer that is down is told at once, and the breaker or the
// user decides. The throttle stops retries when one in ten calls fails.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [{
    "name": %s,
    "retryPolicy": {
      "maxAttempts": 3,
      "initialBackoff": "0.01s",
      "maxBackoff": "0.1s",
      "backoffMultiplier": 3,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }],
  "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1}
}`

// readOnly are the verbs whose repetition changes nothing. Every other call is
// sent again only by gRPC itself, when it is certain that it never left.
var readOnly = []string{"Get", "List", "BatchGet"}

// retries is the service config with a retry policy for the suite's reads that
// are linked into this process.
func retries() string {
	type name struct {
		Service string `json:"service"`
		Method  string `json:"method"`
	}
	names := []name{}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				m := f.Services().Get(i).Methods().Get(j)
				reads := slices.ContainsFunc(readOnly, func(verb string) bool { return strings.HasPrefix(string(m.Name()), verb) })
				if reads && proto.HasExtension(m.Options(), authzv1.E_Rule) {
					names = append(names, name{Service: string(m.Parent().FullName()), Method: string(m.Name())})
				}
			}
		}
		return true
	})
	list, err := json.Marshal(names)
	if err != nil || len(names) == 0 { // strings always encode
		return `{"loadBalancingConfig": [{"round_robin": {}}]}`
	}
	return fmt.Sprintf(serviceConfig, list)
}

// Dial makes a connection to the service at target, host:port. It connects when
// first used, so it does not fail because the peer is down. Calls over it carry
// the caller, the request id and the trace of their context, end after 5 s
// unless the context says otherwise, and fail with fail.Error. Whoever answers
// must hold the service's certificate.
func Dial(p *boot.Process, service, target string) (*grpc.ClientConn, error) {
	identity, err := LoadTLS(p.Base)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", service, err)
	}
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(credentials.NewTLS(identity.Client(service))),
		grpc.WithDefaultServiceConfig(retries()),
		grpc.WithDisableServiceConfig(), // never one from DNS
		grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler()),
		grpc.WithChainUnaryInterceptor(call),
		grpc.WithChainStreamInterceptor(openStream),
	)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", service, err)
	}
	p.OnStop("connection to "+service, func(context.Context) error { return conn.Close() })
	return conn, nil
}

func call(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	ctx, cancel := withDeadline(ctx, callDeadline)
	defer cancel()
	return fail.FromError(invoke(outgoing(ctx, method), method, req, reply, conn, opts...))
}

// outgoing gives ctx what every call carries.
func outgoing(ctx context.Context, method string) context.Context {
	out, _ := metadata.FromOutgoingContext(ctx)
	out = out.Copy() // Set below: each of ours exactly once
	id := RequestID(ctx)
	if caller, ok := token.FromContext(ctx); ok {
		if id == "" {
			id = caller.RequestID
		}
		if rule, known := Rule(method); caller.Raw != "" && (!known || !rule.GetSensitive()) {
			bare := *caller
			bare.Raw = "" // a token goes only where it is verified
			caller = &bare
		}
		out.Set(token.MetadataKey, string(caller.Marshal()))
	}
	if id != "" {
		out.Set(requestIDKey, id)
	}
	return metadata.NewOutgoingContext(ctx, out)
}
