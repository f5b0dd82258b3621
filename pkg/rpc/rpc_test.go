package rpc_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/config"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	"github.com/manas360/platform/pkg/token"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

func fine(context.Context, proto.Message) error { return nil }

func caller(permissions ...string) *token.Caller {
	return &token.Caller{
		UserID: uuid.UUID{1}, SessionID: uuid.UUID{2}, Permissions: permissions,
		AMR: []string{"pwd", "otp"}, AuthTime: time.Now().UTC(), Raw: "raw",
	}
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := fail.As(err); ok {
		return e.Kind.Reason
	}
	return "not a fail.Error: " + err.Error()
}

func TestWhoMayCall(t *testing.T) {
	addr := startEcho(t, nil, fine)
	conns := map[string]*grpc.ClientConn{}
	for _, name := range []string{"gateway", "admin", "auth", "user"} {
		conns[name] = rpctest.Dial(t, name, "audit", addr)
	}
	reader, manager := caller("thing.read"), caller("thing.manage")
	pending := caller("thing.read")
	pending.MFAPending = true
	for _, tt := range []struct {
		peer, method string
		caller       *token.Caller
		want         string // reason, empty for success
	}{
		{"gateway", "Public", nil, ""},
		{"gateway", "Public", &token.Caller{ClientIP: "127.0.0.1"}, ""},
		{"user", "Public", nil, "PERMISSION_DENIED"},
		{"gateway", "Mine", nil, "UNAUTHENTICATED"},
		{"gateway", "Mine", &token.Caller{ClientIP: "127.0.0.1"}, "UNAUTHENTICATED"},
		{"gateway", "Mine", reader, ""},
		{"gateway", "Mine", pending, "MFA_REQUIRED"},
		{"gateway", "Read", reader, ""},
		{"gateway", "Read", manager, "PERMISSION_DENIED"},
		{"admin", "Read", reader, "PERMISSION_DENIED"},
		{"gateway", "Manage", manager, ""},
		{"admin", "Manage", manager, ""},
		{"admin", "Manage", nil, "UNAUTHENTICATED"},
		{"user", "Manage", manager, "PERMISSION_DENIED"},
		{"auth", "Inner", nil, ""},
		{"gateway", "Inner", manager, "PERMISSION_DENIED"},
		{"user", "Inner", nil, "PERMISSION_DENIED"},
		{"gateway", "Nobody", nil, "PERMISSION_DENIED"},
		{"gateway", "Closed", manager, "PERMISSION_DENIED"},
		{"gateway", "Unruled", manager, "PERMISSION_DENIED"},
		{"gateway", "Suspend", manager, "INTERNAL"}, // served without a verifier
	} {
		t.Run(tt.peer+" "+tt.method, func(t *testing.T) {
			ctx := t.Context()
			if tt.caller != nil {
				ctx = token.NewContext(ctx, tt.caller)
			}
			if got := reason(invoke(ctx, conns[tt.peer], tt.method, "because it must be")); got != tt.want {
				t.Errorf("%s calls %s: got %q, want %q", tt.peer, tt.method, got, tt.want)
			}
		})
	}
}

func TestWhatTravels(t *testing.T) {
	var got *token.Caller
	var id, peer string
	var left time.Duration
	addr := startEcho(t, nil, func(ctx context.Context, _ proto.Message) error {
		got, _ = token.FromContext(ctx)
		id, peer = rpc.RequestID(ctx), rpc.Peer(ctx)
		if at, ok := ctx.Deadline(); ok {
			left = time.Until(at)
		}
		return nil
	})
	conn := rpctest.Dial(t, "gateway", "audit", addr)
	sent := caller("thing.read")
	ctx := rpc.WithRequestID(token.NewContext(t.Context(), sent), "req-1")
	if err := invoke(ctx, conn, "Mine", ""); err != nil {
		t.Fatal(err)
	}
	want := *sent
	want.Raw = "" // not a sensitive method
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("caller (-want +got):\n%s", diff)
	}
	if id != "req-1" || peer != "gateway" {
		t.Errorf("request id and peer: got %q, %q", id, peer)
	}
	if left <= 0 || left > 5*time.Second {
		t.Errorf("time left without a deadline: got %s, want at most 5s", left)
	}
	if sent.Raw != "raw" {
		t.Error("the caller in the context was changed")
	}
	if err := invoke(rpc.WithRequestID(ctx, "evil\x01"), conn, "Mine", ""); err == nil && id == "evil\x01" {
		t.Error("a malformed request id was taken")
	}
	if err := invoke(t.Context(), conn, "Public", ""); err != nil || !rpc.ValidRequestID(id) || got != nil {
		t.Errorf("without caller: got %v, request id %q, caller %v", err, id, got)
	}
}

func TestErrorsOverTheWire(t *testing.T) {
	var err error
	var calls atomic.Int32
	addr := startEcho(t, nil, func(context.Context, proto.Message) error {
		calls.Add(1)
		if err == nil {
			panic("a bug")
		}
		return err
	})
	conn := rpctest.Dial(t, "gateway", "audit", addr)
	for _, tt := range []struct {
		method string
		err    error
		want   string
		calls  int32
	}{
		{"Public", fmt.Errorf("open: %w", fail.New(fail.QuotaExceeded, "enough")), "QUOTA_EXCEEDED", 1},
		{"Public", errors.New("pg: password of user 42"), "INTERNAL", 1},
		{"Public", nil, "INTERNAL", 1},
		{"Public", fail.New(fail.Unavailable, "database is down"), "UNAVAILABLE", 1}, // it may have acted: not again
		{"GetIt", fail.New(fail.Unavailable, "database is down"), "UNAVAILABLE", 3},
		{"Public", fail.New(fail.PaymentProviderUnavailable, "down"), "PAYMENT_PROVIDER_UNAVAILABLE", 1},
		{"Public", context.DeadlineExceeded, "DEADLINE_EXCEEDED", 1},
	} {
		err = tt.err
		calls.Store(0)
		got := invoke(t.Context(), conn, tt.method, "")
		if reason(got) != tt.want || calls.Load() != tt.calls {
			t.Errorf("%v: got %q after %d calls, want %q after %d", tt.err, reason(got), calls.Load(), tt.want, tt.calls)
		}
		if strings.Contains(fmt.Sprint(got), "password") || strings.Contains(fmt.Sprint(got), "bug") {
			t.Errorf("internal text crossed: %v", got)
		}
	}
}

func TestValidation(t *testing.T) {
	addr := startEcho(t, nil, fine)
	conn := rpctest.Dial(t, "gateway", "audit", addr)
	req := &eventv1.DeliverRequest{Events: []*eventv1.Event{{Id: []byte{1}, Type: "x"}}}
	err := conn.Invoke(t.Context(), "/"+echo+"/Batch", req, &eventv1.DeliverResponse{})
	e, ok := fail.As(err)
	if !ok || !fail.Is(err, fail.InvalidArgument) {
		t.Fatalf("got %v, want INVALID_ARGUMENT", err)
	}
	var got []string
	for _, f := range e.Fields {
		if f.Message == "" {
			t.Errorf("no message for %s", f.Field)
		}
		got = append(got, f.Field)
	}
	if diff := cmp.Diff([]string{"events[0].id", "events[0].occurredAt"}, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestSensitive(t *testing.T) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwk.FromRaw(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Set(jwk.KeyIDKey, "k"); err != nil {
		t.Fatal(err)
	}
	verifier := token.NewVerifier("iss", "aud", time.Now)
	addr := startEcho(t, verifier, fine)
	conn := rpctest.Dial(t, "gateway", "audit", addr)
	sign := func(user uuid.UUID, life time.Duration) string {
		raw, err := token.Sign(token.Claims{
			Issuer: "iss", Audience: "aud", Subject: id.Format("usr", user), SessionID: id.Format("ses", user),
			Expires: time.Now().Add(life).Unix(), Permissions: []string{"thing.manage"}, AMR: []string{"pwd"},
		}, key)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	call := func(raw, why string) string {
		c := caller("thing.manage")
		c.Raw = raw
		return reason(invoke(token.NewContext(t.Context(), c), conn, "Suspend", why))
	}
	mine := sign(uuid.UUID{1}, time.Minute)
	if got := call(mine, "because it must be"); got != "UNAVAILABLE" {
		t.Errorf("before there are keys: got %q", got)
	}
	set := jwk.NewSet()
	if err := set.AddKey(key); err != nil {
		t.Fatal(err)
	}
	verifier.SetKeys(set)
	for _, tt := range []struct{ name, raw, why, want string }{
		{"own token", mine, "because it must be", ""},
		{"none", "", "because it must be", "INVALID_TOKEN"},
		{"somebody else's", sign(uuid.UUID{9}, time.Minute), "because it must be", "INVALID_TOKEN"},
		{"expired", sign(uuid.UUID{1}, -time.Minute), "because it must be", "TOKEN_EXPIRED"},
		{"no reason", mine, "because        ", "INVALID_ARGUMENT"},
	} {
		if got := call(tt.raw, tt.why); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestOnlyOurProcessesConnect(t *testing.T) {
	addr := startEcho(t, nil, fine)
	if got := reason(invoke(t.Context(), rpctest.Dial(t, "gateway", "payment", addr), "Public", "")); got != "UNAVAILABLE" {
		t.Errorf("another service answers: got %q, want UNAVAILABLE", got)
	}
	anonymous, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = anonymous.Close() }()
	if err := invoke(t.Context(), anonymous, "Public", ""); err == nil {
		t.Error("a client without certificate was served")
	}
	if _, err := healthpb.NewHealthClient(anonymous).Check(t.Context(), &healthpb.HealthCheckRequest{}); err == nil {
		t.Error("health answers without certificate")
	}
}

func TestHealthAndStreams(t *testing.T) {
	addr := startEcho(t, nil, fine)
	conn := rpctest.Dial(t, "user", "audit", addr)
	got, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || got.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health before serving: got %s, %v", got.GetStatus(), err)
	}
	s, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/"+echo+"/Stream")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(&eventv1.DeliverResponse{}); reason(fail.FromError(err)) != "PERMISSION_DENIED" {
		t.Errorf("stream: got %v, want PERMISSION_DENIED", err)
	}
}

func TestNewServerNamesMissingFiles(t *testing.T) {
	p := rpctest.Process(t, "audit")
	p.Base.TLSKeyFile, p.Base.TLSCAFile = "", ""
	_, err := rpc.NewServer(rpc.ServerConfig{Process: p})
	bad, ok := errors.AsType[*config.Error](err)
	if !ok || len(bad.Problems) != 2 {
		t.Errorf("got %v, want two problems", err)
	}
}

func TestContractHasRules(t *testing.T) {
	r, ok := rpc.Rule(eventv1.EventInboxService_Deliver_FullMethodName)
	if !ok || !r.GetInternal() || len(r.GetPeers()) == 0 {
		t.Errorf("rule of Deliver: got %v, %v", r, ok)
	}
	for _, m := range []string{"", "/", "Deliver", "/manas.event.v1.EventInboxService/Nope", "/manas.event.v1.Event/id", "/a b/c"} {
		if r, ok := rpc.Rule(m); ok {
			t.Errorf("rule of %q: got %v", m, r)
		}
	}
}
