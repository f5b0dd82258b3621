package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/rdb"
	"github.com/manas360/platform/pkg/rdbtest"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// backend plays every service of the suite as real servers behind mTLS.
type backend struct {
	mu     sync.Mutex
	calls  []received
	on     map[string]func(ctx context.Context, req proto.Message) (proto.Message, error)
	parts  map[string]func(ss grpc.ServerStream) error // of methods that stream
	events []*authv1.AuthzEvent
	jwks   []byte
}

type received struct {
	method string
	md     metadata.MD
	caller *token.Caller
	req    proto.Message
}

func (b *backend) handle(ctx context.Context, method string, req, resp proto.Message) (proto.Message, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	caller, _ := token.FromContext(ctx)
	b.mu.Lock()
	b.calls = append(b.calls, received{method, md, caller, req})
	on := b.on[method]
	b.mu.Unlock()
	if on != nil {
		return on(ctx, req)
	}
	return resp, nil
}

func (b *backend) when(method string, do func(ctx context.Context, req proto.Message) (proto.Message, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on[method] = do
}

func answer(m proto.Message) func(context.Context, proto.Message) (proto.Message, error) {
	return func(context.Context, proto.Message) (proto.Message, error) { return proto.Clone(m), nil }
}

func refuse(err error) func(context.Context, proto.Message) (proto.Message, error) {
	return func(context.Context, proto.Message) (proto.Message, error) { return nil, err }
}

// last gives the latest call of a method.
func (b *backend) last(method string) (received, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.calls) - 1; i >= 0; i-- {
		if b.calls[i].method == method {
			return b.calls[i], true
		}
	}
	return received{}, false
}

// revoke adds to auth's table of authz events.
func (b *backend) revoke(ev *authv1.AuthzEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, ev)
}

func (b *backend) serve(tb testing.TB, name string) string {
	tb.Helper()
	p := rpctest.Process(tb, name)
	p.Health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	verifier := token.NewVerifier(issuer, audience, time.Now)
	set, err := jwk.Parse(b.jwks)
	if err != nil {
		tb.Fatal(err)
	}
	verifier.SetKeys(set)
	s, err := rpc.NewServer(rpc.ServerConfig{Process: p, Verifier: verifier})
	if err != nil {
		tb.Fatal(err)
	}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if string(f.Package()) != "manas."+name+".v1" && (name != "audit" || f.Path() != "manas/event/v1/event.proto") {
			return true
		}
		for i := range f.Services().Len() {
			s.RegisterService(b.describe(tb, f.Services().Get(i)), nil)
		}
		return true
	})
	return rpctest.Serve(tb, s)
}

func (b *backend) describe(tb testing.TB, s protoreflect.ServiceDescriptor) *grpc.ServiceDesc {
	tb.Helper()
	desc := &grpc.ServiceDesc{ServiceName: string(s.FullName()), HandlerType: (*any)(nil)}
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		full := "/" + string(s.FullName()) + "/" + string(m.Name())
		in, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
		if err != nil {
			tb.Fatal(err)
		}
		out, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
		if err != nil {
			tb.Fatal(err)
		}
		if m.IsStreamingServer() {
			desc.Streams = append(desc.Streams, grpc.StreamDesc{
				StreamName: string(m.Name()), ServerStreams: true,
				Handler: func(_ any, ss grpc.ServerStream) error {
					req := in.New().Interface()
					if err := ss.RecvMsg(req); err != nil {
						return err
					}
					reply, err := b.handle(ss.Context(), full, req, out.New().Interface())
					b.mu.Lock()
					parts := b.parts[full]
					b.mu.Unlock()
					switch {
					case err != nil:
						return err
					case parts != nil:
						return parts(ss)
					default:
						return ss.SendMsg(reply)
					}
				},
			})
			continue
		}
		desc.Methods = append(desc.Methods, grpc.MethodDesc{
			MethodName: string(m.Name()),
			Handler: func(_ any, ctx context.Context, dec func(any) error, chain grpc.UnaryServerInterceptor) (any, error) {
				req := in.New().Interface()
				if err := dec(req); err != nil {
					return nil, err
				}
				return chain(ctx, req, &grpc.UnaryServerInfo{FullMethod: full}, func(ctx context.Context, _ any) (any, error) {
					return b.handle(ctx, full, req, out.New().Interface())
				})
			},
		})
	}
	return desc
}

const (
	issuer   = "https://auth.test"
	audience = "api-test"
)

// harness is an edge with everything around it.
type harness struct {
	t     testing.TB
	b     *backend
	edge  *Edge
	url   string
	key   jwk.Key
	down  map[string]bool // backends to leave out
	redis rdb.Config
	conf  func(*Config)
	spool *Spool
	tune  func(*Edge) // before its workers run
	user  uuid.UUID
	ses   uuid.UUID
}

func newHarness(tb testing.TB, set ...func(*harness)) *harness {
	tb.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	key, err := jwk.FromRaw(private)
	if err != nil {
		tb.Fatal(err)
	}
	if err := key.Set(jwk.KeyIDKey, "k1"); err != nil {
		tb.Fatal(err)
	}
	h := &harness{
		t: tb, key: key, down: map[string]bool{}, redis: rdbtest.Config(tb), conf: func(*Config) {},
		user: uuid.Must(uuid.NewV7()), ses: uuid.Must(uuid.NewV7()),
	}
	for _, s := range set {
		s(h)
	}
	h.b = &backend{on: map[string]func(context.Context, proto.Message) (proto.Message, error){}, jwks: publicSet(tb, h.key)}
	h.b.when(authv1.AuthInternalService_GetKeys_FullMethodName, answer(&authv1.GetKeysResponse{Jwks: h.b.jwks}))
	h.b.when(authv1.AuthInternalService_ListAuthzEvents_FullMethodName, func(context.Context, proto.Message) (proto.Message, error) {
		h.b.mu.Lock()
		defer h.b.mu.Unlock()
		return &authv1.ListAuthzEventsResponse{Events: h.b.events, Now: timestamppb.Now()}, nil
	})
	h.start()
	return h
}

func publicSet(tb testing.TB, key jwk.Key) []byte {
	tb.Helper()
	public, err := key.PublicKey()
	if err != nil {
		tb.Fatal(err)
	}
	set := jwk.NewSet()
	if err := set.AddKey(public); err != nil {
		tb.Fatal(err)
	}
	raw, err := json.Marshal(set)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func (h *harness) start() {
	t := h.t
	t.Helper()
	p := rpctest.Process(t, "gateway")
	conns := map[string]grpc.ClientConnInterface{}
	for _, name := range backends {
		addr := "127.0.0.1:1" // nobody listens there
		if !h.down[name] {
			addr = h.b.serve(t, name)
		}
		conn, err := rpc.Dial(p, name, addr)
		if err != nil {
			t.Fatal(err)
		}
		conns[name] = conn
	}
	client := rdb.Open(h.redis)
	t.Cleanup(func() { _ = client.Close() })
	c := Config{
		Base: p.Base, Redis: h.redis, TokenIssuer: issuer, TokenAudience: audience,
		AllowedOrigins: []string{"https://app.example.com", "http://localhost:3000"},
	}
	h.conf(&c)
	var err error
	h.edge, err = New(t.Context(), Deps{
		Config: c, Spool: h.spool, Log: zerolog.Nop(), Now: time.Now, Rand: rand.Reader, IDs: id.NewMaker(time.Now, rand.Reader),
		Registry: p.Registry, Redis: client, Conns: conns, Ready: p.Ready,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, check := range h.edge.Checks() {
		p.Check(name, check)
	}
	if h.tune != nil {
		h.tune(h.edge)
	}
	for name, work := range h.edge.Workers() {
		p.Go(name, work)
	}
	srv := httptest.NewUnstartedServer(h.edge)
	srv.Config.MaxHeaderBytes = 2 * maxHeaderBytes
	srv.Start()
	t.Cleanup(srv.Close)
	h.url = srv.URL
	if !h.down["auth"] {
		eventually(t, "keys, roles and epochs loaded", func() bool {
			return h.edge.keys.loaded() && h.edge.roles.loaded.Load() && h.edge.epochs.loaded.Load()
		})
	}
}

// token signs one for the harness's user, changed by edit.
func (h *harness) token(edit ...func(*token.Claims)) string {
	h.t.Helper()
	now := time.Now()
	c := token.Claims{
		Issuer: issuer, Audience: audience, Subject: id.Format("usr", h.user), SessionID: id.Format("ses", h.ses),
		JTI: uuid.NewString(), IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: now.Add(15 * time.Minute).Unix(),
		Roles: []string{"user"}, Permissions: []string{"profile.read", "profile.update", "payments.read"},
		Plan: "free", Features: []string{}, Epoch: 5, AMR: []string{"pwd"}, AuthTime: now.Unix(),
	}
	for _, e := range edit {
		e(&c)
	}
	raw, err := token.Sign(c, h.key)
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}

func admin(c *token.Claims) {
	c.Roles, c.AMR = []string{"admin"}, []string{"pwd", "otp"}
	c.Permissions = append(c.Permissions, "users.manage", "audit.read")
}

type reply struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

func (r reply) code() string {
	s, _ := r.json["code"].(string)
	return s
}

// do sends one request: headers are "Name: value" strings.
func (h *harness) do(method, path, body string, headers ...string) reply {
	h.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
		headers = append([]string{"Content-Type: application/json"}, headers...)
	}
	return h.send(method, path, in, headers...)
}

func (h *harness) send(method, path string, body io.Reader, headers ...string) reply {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.url+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Content-Type" && seen[name] {
			r.Header.Del(name)
		}
		seen[name] = true
		r.Header.Add(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close() //nolint:errcheck // a test's answer
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	out := reply{status: resp.StatusCode, header: resp.Header, body: string(b)}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") && len(b) > 0 && method != http.MethodHead {
		if err := json.Unmarshal(b, &out.json); err != nil {
			h.t.Fatalf("%s %s: answer is not JSON: %v: %s", method, path, err, b)
		}
	}
	return out
}

func bearer(raw string) string { return "Authorization: Bearer " + raw }

func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	limit := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-limit:
			tb.Fatalf("never: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func want(tb testing.TB, r reply, status int, code string) {
	tb.Helper()
	if r.status != status || r.code() != code {
		tb.Fatalf("got %d %q, want %d %q: %s", r.status, r.code(), status, code, r.body)
	}
}
