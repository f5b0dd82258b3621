package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// Every public route reaches exactly the RPC its rule was read from.
func TestEveryRouteCallsItsRPC(t *testing.T) {
	h := newHarness(t)
	n := 0
	for _, reg := range registrations() {
		routes, err := contractRoutes(reg.service)
		if err != nil {
			t.Fatal(err)
		}
		for _, rt := range routes {
			path := strings.ReplaceAll(rt.pattern, "{id}", "usr_x")
			found, ok := h.edge.routes.find(path)
			if !ok || found.pick(rt.method) == nil || found.pick(rt.method).rpc != rt.rpc {
				t.Errorf("%s %s: not found as %s", rt.method, path, rt.rpc)
				continue
			}
			r := h.do(rt.method, path, "", bearer(h.token(admin)))
			if r.status >= 500 {
				t.Errorf("%s %s: %d %s", rt.method, path, r.status, r.body)
			}
			n++
		}
	}
	if n < 30 {
		t.Errorf("only %d routes", n)
	}
}

// identity.md rows 56 and 57: no header of a client is metadata of a service.
func TestCallerOfServicesIsTheEdgesWord(t *testing.T) {
	h := newHarness(t)
	hostile := []string{
		"Grpc-Metadata-X-User-Id: evil", "Grpc-Metadata-X-Manas-Caller-Bin: ZXZpbA==", "X-Manas-Caller-Bin: ZXZpbA==",
		"Grpc-Metadata-Grpcgateway-Host: evil", "Grpcgateway-Authorization: evil", "X-User-Id: evil", "X-Client-Ip: 6.6.6.6",
		"X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: evil", "X-Real-Ip: 6.6.6.6", "Forwarded: for=6.6.6.6",
		"Grpc-Metadata-X-Request-Id: evil", "Cookie: sid=evil", "Connection: X-Drop", "X-Drop: evil", "Te: trailers",
		"Authorization-Bin: ZXZpbA==", "Grpc-Metadata-Traceparent: evil", "User-Agent: " + strings.Repeat("u", 400),
		"Accept-Language: ta",
	}
	r := h.do("GET", "/api/v1/plans", "", append(hostile, "Idempotency-Key: k", "X-Request-Id: req-1")...)
	if r.status != 200 {
		t.Fatal(r.body)
	}
	call, _ := h.b.last(subscriptionv1.SubscriptionService_ListPlans_FullMethodName)
	for k, vs := range call.md {
		for _, v := range vs {
			if strings.Contains(v, "evil") || strings.Contains(v, "6.6.6.6") {
				t.Errorf("metadata %s: %q came through", k, v)
			}
		}
		if strings.HasPrefix(k, "grpcgateway-") || k == "cookie" || k == "authorization" {
			t.Errorf("metadata %s came through: %q", k, vs)
		}
	}
	c := call.caller
	if c == nil || c.SignedIn() || c.ClientIP != "127.0.0.1" || len(c.UserAgent) != 256 || c.RequestID != "req-1" || c.Locale != "ta" {
		t.Errorf("got caller %+v", c)
	}
	if got := call.md.Get("idempotency-key"); len(got) != 1 || got[0] != "k" {
		t.Errorf("got idempotency-key %q", got)
	}

	if r := h.do("GET", "/api/v1/users/me", "", bearer(h.token())); r.status != 200 {
		t.Fatal(r.body)
	}
	call, _ = h.b.last(userv1.UserService_GetMe_FullMethodName)
	if call.caller.UserID != h.user || call.caller.SessionID != h.ses || call.caller.Raw != "" {
		t.Errorf("got caller %+v", call.caller)
	}
}

func TestSensitiveRoutesForwardTheBearer(t *testing.T) {
	h := newHarness(t)
	raw := h.token(admin)
	r := h.do("POST", "/api/v1/admin/users/usr_1/suspend", `{"reason":"because of this"}`, bearer(raw))
	if r.status != 200 {
		t.Fatal(r.body)
	}
	call, _ := h.b.last(adminv1.AdminService_SuspendUser_FullMethodName)
	if call.caller.Raw != raw {
		t.Error("bearer not forwarded")
	}
	if req, ok := call.req.(*adminv1.SuspendUserRequest); !ok || req.GetId() != "usr_1" || req.GetReason() != "because of this" {
		t.Errorf("got %v", call.req)
	}
}

func TestTrustedProxyNamesTheClient(t *testing.T) {
	h := newHarness(t, func(h *harness) {
		h.conf = func(c *Config) { c.TrustedProxies = []string{"127.0.0.0/8", "10.0.0.0/8"} }
	})
	h.do("GET", "/api/v1/plans", "", "X-Forwarded-For: 1.1.1.1, 9.9.9.9, 10.1.2.3")
	call, _ := h.b.last(subscriptionv1.SubscriptionService_ListPlans_FullMethodName)
	if call.caller.ClientIP != "9.9.9.9" {
		t.Errorf("got %s", call.caller.ClientIP)
	}
}

func TestTokens(t *testing.T) {
	h := newHarness(t)
	past := func(c *token.Claims) { c.Expires = time.Now().Add(-time.Second).Unix() }
	other := func(c *token.Claims) { c.Audience = "another" }
	pending := func(c *token.Claims) { admin(c); c.MFAPending = true }
	passwordOnly := func(c *token.Claims) { admin(c); c.AMR = []string{"pwd"} }
	for _, tt := range []struct {
		name, method, path string
		edit               func(*token.Claims)
		status             int
		code               string
	}{
		{"expired", "GET", "/api/v1/users/me", past, 401, "TOKEN_EXPIRED"},
		{"expired on a public path", "GET", "/api/v1/plans", past, 200, ""},
		{"another audience", "GET", "/api/v1/users/me", other, 401, "INVALID_TOKEN"},
		{"second factor owed", "GET", "/api/v1/users/me", pending, 403, "MFA_REQUIRED"},
		{"second factor owed, enrolment", "GET", "/api/v1/auth/sessions", pending, 200, ""},
		{"second factor missing", "GET", "/api/v1/admin/users", passwordOnly, 403, "MFA_REQUIRED"},
		{"second factor held", "GET", "/api/v1/admin/users", admin, 200, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want(t, h.do(tt.method, tt.path, "", bearer(h.token(tt.edit))), tt.status, tt.code)
		})
	}
}

func TestRevocation(t *testing.T) {
	soon := timestamppb.New(time.Now().Add(time.Hour))
	for _, tt := range []struct {
		name, code string
		event      func(h *harness) *authv1.AuthzEvent
	}{
		{"session ended", "TOKEN_REVOKED", func(h *harness) *authv1.AuthzEvent {
			return &authv1.AuthzEvent{Kind: authv1.AuthzEvent_SESSION_REVOKED, Key: h.ses[:], ExpiresAt: soon}
		}},
		{"account revoked", "TOKEN_REVOKED", func(h *harness) *authv1.AuthzEvent {
			return &authv1.AuthzEvent{Kind: authv1.AuthzEvent_ACCOUNT_REVOKED, Key: h.user[:], MinEpoch: 6, ExpiresAt: soon}
		}},
		{"permissions changed", "TOKEN_STALE", func(h *harness) *authv1.AuthzEvent {
			return &authv1.AuthzEvent{Kind: authv1.AuthzEvent_ACCOUNT_STALE, Key: h.user[:], MinEpoch: 6, ExpiresAt: soon}
		}},
	} {
		for _, way := range []string{"push", "poll"} {
			t.Run(tt.name+" by "+way, func(t *testing.T) {
				h := newHarness(t)
				raw := bearer(h.token())
				want(t, h.do("GET", "/api/v1/users/me", "", raw), 200, "")
				ev := tt.event(h)
				if way == "poll" {
					h.b.revoke(ev)
				} else {
					eventually(t, "push channel alive", func() bool { return h.edge.epochs.pushed.Load() > 0 })
					b, err := proto.Marshal(ev)
					if err != nil {
						t.Fatal(err)
					}
					if err := h.edge.limiter.redis.Publish(t.Context(), h.redis.Prefix+"authz", b).Err(); err != nil {
						t.Fatal(err)
					}
				}
				began := time.Now()
				var r reply
				eventually(t, "token refused", func() bool {
					r = h.do("GET", "/api/v1/users/me", "", raw)
					return r.status != 200
				})
				if took := time.Since(began); took > time.Second {
					t.Errorf("took %s", took)
				}
				want(t, r, 401, tt.code)
				want(t, h.do("GET", "/api/v1/plans", "", raw), 200, "")
				// A newer token of another session is good, except for nothing at all.
				fresh := h.token(func(c *token.Claims) { c.Epoch, c.SessionID = 6, "ses_00000000000000000000000001" })
				want(t, h.do("GET", "/api/v1/users/me", "", bearer(fresh)), 200, "")
			})
		}
	}
}

func TestSensitiveRoutesNeedFreshNews(t *testing.T) {
	now := time.Now()
	e := newEpochs(nil, nil, "", time.Now, zerolog.Nop())
	if err := e.fresh(now); !fail.Is(err, fail.Unavailable) {
		t.Errorf("no news at all: got %v", err)
	}
	e.polled.Store(now.UnixNano())
	if err := e.fresh(now.Add(staleAfter - time.Millisecond)); err != nil {
		t.Errorf("fresh news: %v", err)
	}
	if err := e.fresh(now.Add(time.Minute)); !fail.Is(err, fail.Unavailable) {
		t.Errorf("old news: got %v", err)
	}
	e.pushed.Store(now.Add(time.Minute).UnixNano())
	if err := e.fresh(now.Add(time.Minute)); err != nil {
		t.Errorf("push alive: %v", err)
	}
}

func TestEpochs(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	e := newEpochs(nil, nil, "", func() time.Time { return now }, zerolog.Nop())
	c := &token.Caller{UserID: uuid.New(), SessionID: uuid.New(), Epoch: 5}
	if err := e.check(c); !fail.Is(err, fail.Unavailable) {
		t.Errorf("before the first load: got %v", err)
	}
	e.loaded.Store(true)
	stale := func(epoch int64, until time.Duration) *authv1.AuthzEvent {
		return &authv1.AuthzEvent{Kind: authv1.AuthzEvent_ACCOUNT_STALE, Key: c.UserID[:], MinEpoch: epoch, ExpiresAt: timestamppb.New(now.Add(until))}
	}
	e.apply(stale(9, -time.Second), &authv1.AuthzEvent{Kind: authv1.AuthzEvent_SESSION_REVOKED, Key: []byte("short"), ExpiresAt: timestamppb.New(now.Add(time.Hour))})
	if err := e.check(c); err != nil {
		t.Errorf("expired and malformed events: got %v", err)
	}
	e.apply(stale(6, time.Minute), stale(3, time.Hour)) // an older one repeated
	if err := e.check(c); !fail.Is(err, fail.TokenStale) {
		t.Errorf("got %v", err)
	}
	c.Epoch = 6
	if err := e.check(c); err != nil {
		t.Errorf("refreshed: got %v", err)
	}
	now = now.Add(2 * time.Hour)
	e.sweep()
	if len(e.stale)+len(e.sessions)+len(e.revoked) != 0 {
		t.Error("not swept")
	}
}

func TestMethodWithoutARuleStopsTheStart(t *testing.T) {
	if _, err := contractRoutes(healthpb.File_grpc_health_v1_health_proto.Services().Get(0)); err == nil {
		t.Error("started")
	}
}

func TestIdempotentReplayIsMarked(t *testing.T) {
	h := newHarness(t)
	h.b.when(subscriptionv1.SubscriptionService_Checkout_FullMethodName, func(ctx context.Context, _ proto.Message) (proto.Message, error) {
		err := grpc.SetHeader(ctx, metadata.Pairs("x-idempotency-replayed", "true", "x-internal", "secret"))
		return &subscriptionv1.CheckoutResponse{}, err
	})
	for _, path := range []string{"/api/v1/subscriptions/checkout", "/api/v1/subscriptions/upgrade"} {
		r := h.do("POST", path, `{"planCode":"basic"}`, bearer(h.token()), "Idempotency-Key: k1")
		if r.status != 201 || r.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("got %d %v", r.status, r.header)
		}
		for k := range r.header {
			if strings.HasPrefix(k, "Grpc-") {
				t.Errorf("%s came out", k)
			}
		}
	}
	call, _ := h.b.last(subscriptionv1.SubscriptionService_Checkout_FullMethodName)
	if got := call.md.Get("idempotency-key"); len(got) != 1 || got[0] != "k1" {
		t.Errorf("got %q", got)
	}
}

func TestIfMatchInParts(t *testing.T) {
	h := newHarness(t)
	h.do("PATCH", "/api/v1/users/me", `{"bio":"x"}`, bearer(h.token()), `If-Match: "1"`, `If-Match: "2"`)
	call, _ := h.b.last(userv1.UserService_UpdateMe_FullMethodName)
	if got := call.md.Get("if-match"); len(got) != 1 || got[0] != `"1", "2"` {
		t.Errorf("got %q", got)
	}
}

func TestProblems(t *testing.T) {
	h := newHarness(t)
	method := userv1.UserService_GetMe_FullMethodName
	for _, tt := range []struct {
		name   string
		err    error
		status int
		code   string
		retry  string
	}{
		{"plain", io.ErrUnexpectedEOF, 500, "INTERNAL", ""},
		{"status", status.Error(codes.Unknown, "pq: secret"), 500, "INTERNAL", ""},
		{"quota", fail.New(fail.QuotaExceeded, "used up").With("resetsAt", "2026-01-01T00:00:00Z").With("code", "evil").With("bad key", "x"), 429, "QUOTA_EXCEEDED", ""},
		{"feature", fail.New(fail.FeatureNotAvailable, "not in plan").With("upgradeTo", "premium"), 403, "FEATURE_NOT_AVAILABLE", ""},
		{"gone", fail.New(fail.ChallengeExpired, "expired"), 410, "CHALLENGE_EXPIRED", ""},
		{"precondition", fail.New(fail.PreconditionFailed, "changed"), 412, "PRECONDITION_FAILED", ""},
		{"retry", fail.New(fail.TooManyAttempts, "wait").RetryAfter(1500 * time.Millisecond), 429, "TOO_MANY_ATTEMPTS", "2"},
		{"provider", fail.New(fail.PaymentProviderUnavailable, "down"), 502, "PAYMENT_PROVIDER_UNAVAILABLE", ""},
		{"down", fail.New(fail.Unavailable, "down"), 503, "UNAVAILABLE", "1"},
		{"late", context.DeadlineExceeded, 504, "DEADLINE_EXCEEDED", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.b.when(method, refuse(tt.err))
			r := h.do("GET", "/api/v1/users/me", "", bearer(h.token()), "X-Request-Id: r1")
			want(t, r, tt.status, tt.code)
			for _, k := range []string{"type", "title", "status", "detail", "code", "requestId", "errors"} {
				if _, ok := r.json[k]; !ok {
					t.Errorf("no %s in %s", k, r.body)
				}
			}
			if r.json["requestId"] != "r1" || r.header.Get("Content-Type") != "application/problem+json" || r.header.Get("Retry-After") != tt.retry {
				t.Errorf("got %v %v", r.header, r.body)
			}
			if strings.Contains(r.body, "pq:") || strings.Contains(r.body, "unexpected EOF") || strings.Contains(r.body, "bad key") {
				t.Errorf("leak: %s", r.body)
			}
			if tt.name == "feature" && r.json["upgradeTo"] != "premium" {
				t.Errorf("got %s", r.body)
			}
		})
	}
}

func TestDeadPeerAnswersFast(t *testing.T) {
	h := newHarness(t, func(h *harness) { h.down["subscription"] = true })
	began := time.Now()
	for range 5 {
		r := h.do("GET", "/api/v1/plans", "")
		want(t, r, 503, "UNAVAILABLE")
		if r.header.Get("Retry-After") != "1" || strings.Contains(r.body, "127.0.0.1") {
			t.Errorf("got %v %s", r.header, r.body)
		}
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
	r := h.do("GET", "/readyz", "")
	if r.status != 503 || !strings.Contains(r.body, `"failing":["subscription"]`) {
		t.Errorf("got %d %s", r.status, r.body)
	}
}

func TestPanicIsAProblem(t *testing.T) {
	h := newHarness(t)
	if err := h.edge.routes.add(&route{
		method: "GET", pattern: "/boom", rule: publicRule,
		serve: func(http.ResponseWriter, *http.Request, map[string]string) { panic("secret") },
	}); err != nil {
		t.Fatal(err)
	}
	r := h.do("GET", "/boom", "")
	want(t, r, 500, "INTERNAL")
	if strings.Contains(r.body, "secret") {
		t.Error(r.body)
	}
}

func TestChunkedBodyOverTheLimit(t *testing.T) {
	h := newHarness(t)
	body := io.MultiReader(strings.NewReader(`{"email":"`), strings.NewReader(strings.Repeat("a", 70<<10)), strings.NewReader(`"}`))
	want(t, h.send("POST", "/api/v1/auth/login", body, "Content-Type: application/json"), 413, "BODY_TOO_LARGE")
}

func TestHugeBodyIsRefusedUnread(t *testing.T) {
	h := newHarness(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/api/v1/auth/login", zeroes{})
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 200 << 20
	r.Header.Set("Content-Type", "application/json")
	began := time.Now()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		defer resp.Body.Close() //nolint:errcheck // a test's answer
		if resp.StatusCode != 413 {
			t.Errorf("got %d", resp.StatusCode)
		}
	} // else the server hung up on us in the middle of it, which is as good
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %s", took)
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { return len(p), nil }

func TestCookieMode(t *testing.T) {
	h := newHarness(t)
	grant := &authv1.SessionGrant{
		AccessToken: proto.String("AAA"), TokenType: "Bearer", ExpiresIn: 900,
		RefreshToken: proto.String("RRR"), RefreshExpiresIn: 604800, User: &authv1.SessionUser{Id: "usr_1"},
	}
	login := &authv1.LoginAnswer{
		AccessToken: proto.String("AAA"), ExpiresIn: proto.Int32(900),
		RefreshToken: proto.String("RRR"), RefreshExpiresIn: proto.Int32(604800),
	}
	h.b.when(authv1.AuthService_Verify_FullMethodName, answer(&authv1.VerifyResponse{Session: grant}))
	h.b.when(authv1.AuthService_VerifyMfa_FullMethodName, answer(&authv1.VerifyMfaResponse{Session: grant}))
	h.b.when(authv1.AuthService_Refresh_FullMethodName, answer(&authv1.RefreshResponse{Session: grant}))
	h.b.when(authv1.AuthService_Login_FullMethodName, answer(&authv1.LoginResponse{Answer: login}))
	h.b.when(authv1.AuthService_AdminLogin_FullMethodName, answer(&authv1.AdminLoginResponse{Answer: login}))
	for path, body := range map[string]string{
		"/auth/verify":      `{"challengeId":"chl_1","code":"123456"}`,
		"/auth/mfa/verify":  `{"mfaToken":"m","code":"123456"}`,
		"/auth/refresh":     `{"refreshToken":"r"}`,
		"/auth/login":       `{"email":"a@b.co","password":"x"}`,
		"/auth/admin-login": `{"email":"a@b.co","password":"x"}`,
	} {
		t.Run(path, func(t *testing.T) {
			r := h.do("POST", "/api/v1"+path, body)
			if r.json["accessToken"] != "AAA" || r.json["refreshToken"] != "RRR" || r.header.Get("Set-Cookie") != "" {
				t.Fatalf("without cookies: got %s %v", r.body, r.header)
			}
			r = h.do("POST", "/api/v1"+path, body, "X-Session-Mode: cookie")
			if r.status != 200 || strings.Contains(r.body, "AAA") || strings.Contains(r.body, "RRR") || r.json["csrfToken"] == nil {
				t.Fatalf("got %s", r.body)
			}
			csrfToken, _ := r.json["csrfToken"].(string)
			got := strings.Join(r.header.Values("Set-Cookie"), "\n")
			wantCookies := "access_token=AAA; Path=/api; Max-Age=900; HttpOnly; SameSite=Strict\n" +
				"refresh_token=RRR; Path=/api/v1/auth; Max-Age=604800; HttpOnly; SameSite=Strict\n" +
				"csrf_token=" + csrfToken + "; Path=/; Max-Age=604800; SameSite=Strict"
			if got != wantCookies || len(csrfToken) < 40 {
				t.Errorf("got %s\nwant %s", got, wantCookies)
			}
		})
	}
	t.Run("refresh by cookie", func(t *testing.T) {
		r := h.do("POST", "/api/v1/auth/refresh", "", "Cookie: refresh_token=from-cookie; csrf_token=c", "X-CSRF-Token: c")
		if r.status != 200 || strings.Contains(r.body, "AAA") || len(r.header.Values("Set-Cookie")) != 3 {
			t.Fatalf("got %d %s", r.status, r.body)
		}
		call, _ := h.b.last(authv1.AuthService_Refresh_FullMethodName)
		if req, ok := call.req.(*authv1.RefreshRequest); !ok || req.GetRefreshToken() != "from-cookie" {
			t.Errorf("got %v", call.req)
		}
	})
	t.Run("second factor owed", func(t *testing.T) {
		h.b.when(authv1.AuthService_Login_FullMethodName, answer(&authv1.LoginResponse{Answer: &authv1.LoginAnswer{
			MfaRequired: proto.Bool(true), MfaToken: proto.String("m"), Factors: []string{"TOTP"},
		}}))
		r := h.do("POST", "/api/v1/auth/login", `{"email":"a@b.co","password":"x"}`, "X-Session-Mode: cookie")
		if r.json["mfaToken"] != "m" || r.header.Get("Set-Cookie") != "" {
			t.Errorf("got %s %v", r.body, r.header)
		}
	})
}

func TestCookiesAreSecureInProduction(t *testing.T) {
	h := newHarness(t, func(h *harness) {
		h.conf = func(c *Config) { c.NodeEnv, c.AllowedOrigins = "production", []string{"https://app.example.com"} }
	})
	h.b.when(authv1.AuthService_Login_FullMethodName, answer(&authv1.LoginResponse{Answer: &authv1.LoginAnswer{AccessToken: proto.String("A")}}))
	r := h.do("POST", "/api/v1/auth/login", `{"email":"a@b.co","password":"x"}`, "X-Session-Mode: cookie")
	for _, c := range r.header.Values("Set-Cookie") {
		if !strings.Contains(c, "; Secure") {
			t.Errorf("got %s", c)
		}
	}
	if r.header.Get("Strict-Transport-Security") == "" {
		t.Error("no HSTS")
	}
}

func TestWebhooks(t *testing.T) {
	h := newHarness(t)
	const method = paymentv1.PaymentInternalService_ReceiveEvent_FullMethodName
	raw := "\x00\xff {not json \r\n"
	send := func(path string, body []byte, headers ...string) reply {
		return h.send("POST", path, bytes.NewReader(body), headers...)
	}
	r := send("/api/v1/payments/webhooks/razorpay", []byte(raw), "Content-Type: text/weird", "Content-Encoding: identity",
		"X-Razorpay-Signature: s", "X-Razorpay-Event-Id: e", "Authorization: SHA256 abc", "X-Verify: v###1", "Cookie: a=b", "X-Other: o")
	want(t, r, 200, "")
	if strings.TrimSpace(r.body) != `{"received":true,"duplicate":false}` {
		t.Errorf("got %s", r.body)
	}
	call, _ := h.b.last(method)
	req, ok := call.req.(*paymentv1.ReceiveEventRequest)
	if !ok || string(req.GetBody()) != raw || req.GetProvider() != "razorpay" {
		t.Fatalf("got %v", call.req)
	}
	for k, v := range map[string]string{"x-razorpay-signature": "s", "x-razorpay-event-id": "e", "authorization": "SHA256 abc", "x-verify": "v###1", "cookie": "", "x-other": ""} {
		if req.GetHeaders()[k] != v {
			t.Errorf("header %s: got %q, want %q", k, req.GetHeaders()[k], v)
		}
	}

	h.b.when(method, answer(&paymentv1.ReceiveEventResponse{Duplicate: true}))
	if r := send("/api/v1/payments/webhook", make([]byte, maxWebhookBody)); r.status != 200 || r.json["duplicate"] != true {
		t.Errorf("got %d %s", r.status, r.body)
	}
	call, _ = h.b.last(method)
	if req, ok := call.req.(*paymentv1.ReceiveEventRequest); !ok || req.GetProvider() != "phonepe" || len(req.GetBody()) != maxWebhookBody {
		t.Error("alias is not phonepe, or body cut")
	}
	want(t, send("/api/v1/payments/webhook", make([]byte, maxWebhookBody+1)), 413, "BODY_TOO_LARGE")
	h.b.when(method, refuse(fail.New(fail.NotFound, "no such provider")))
	want(t, send("/api/v1/payments/webhooks/nobody", []byte("{}")), 404, "NOT_FOUND")
	h.b.when(method, refuse(fail.New(fail.MalformedBody, "not understood")))
	want(t, send("/api/v1/payments/webhooks/stripe", []byte("{}")), 400, "MALFORMED_BODY")

	h.b.when(method, refuse(fail.New(fail.InvalidSignature, "bad signature")))
	for i := range int(limitBadWebhook.limit) {
		if r := send("/api/v1/payments/webhooks/stripe", []byte("{}")); r.status != 401 || r.code() != "INVALID_SIGNATURE" {
			t.Fatalf("bad signature %d: got %d %s", i, r.status, r.body)
		}
	}
	limited := 0
	for range 10 {
		if r := send("/api/v1/payments/webhooks/stripe", []byte("{}")); r.status == 429 && r.header.Get("Retry-After") != "" {
			limited++
		}
	}
	if limited < 5 {
		t.Errorf("only %d of 10 limited", limited)
	}
}
