package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// sold is the catalogue as the edge gets it, by tier and code.
func sold() *subscriptionv1.GetOffersResponse {
	offer := func(code string, upgrade bool, calls int64, features ...string) *subscriptionv1.GetOffersResponse_Offer {
		return &subscriptionv1.GetOffersResponse_Offer{Code: code, Upgrade: upgrade, Features: features, Limits: map[string]int64{"api_calls": calls, "users": 1}}
	}
	return &subscriptionv1.GetOffersResponse{Offers: []*subscriptionv1.GetOffersResponse_Offer{
		offer("free", true, 100, "api_access"), offer("track_single", false, 0), offer("basic", true, 10_000, "api_access", "data_export"),
		offer("lifetime", false, 100_000, "api_access", "data_export", "webhook_support"),
		offer("premium", true, 100_000, "api_access", "data_export", "webhook_support"), offer("enterprise", true, -1, "api_access", "data_export", "webhook_support"),
	}}
}

// newPlanRig is an edge whose one key has a token of the claims that edit makes.
func newPlanRig(tb testing.TB, edit func(*token.Claims), set ...func(*harness)) *keyRig {
	tb.Helper()
	set = append(set, func(h *harness) {
		h.tune = func(*Edge) { h.b.when(subscriptionv1.UsageInternalService_GetOffers_FullMethodName, answer(sold())) }
	})
	k := &keyRig{harness: newHarness(tb, set...), key: token.FormatAPIKey([16]byte{1}, make([]byte, token.APIKeySecretBytes))}
	k.b.when(authv1.AuthInternalService_ExchangeApiKey_FullMethodName, func(context.Context, proto.Message) (proto.Message, error) {
		until := time.Now().Add(5 * time.Minute)
		return &authv1.ExchangeApiKeyResponse{ExpiresAt: timestamppb.New(until), AccessToken: k.token(func(c *token.Claims) {
			c.SessionID, c.AMR, c.Expires = id.Format("ses", k.ses), []string{token.APIKey}, until.Unix()
			c.Permissions, c.Features = []string{"profile.read"}, []string{"api_access"}
			edit(c)
		})}, nil
	})
	book := &register{used: map[string]int64{}}
	k.b.when(subscriptionv1.UsageInternalService_RecordUsage_FullMethodName, func(ctx context.Context, m proto.Message) (proto.Message, error) {
		r, _ := m.(*subscriptionv1.RecordUsageRequest)
		return book.RecordUsage(ctx, r)
	})
	k.b.when(userv1.UserService_GetMe_FullMethodName, answer(&userv1.GetMeResponse{}))
	eventually(tb, "the offers were fetched", func() bool { return len(k.edge.offers.all()) > 0 })
	k.edge.limiter.budget = 10 * time.Second // a loaded machine is no outage
	return k
}

func allows(n int64) func(*token.Claims) {
	return func(c *token.Claims) { c.Plan, c.APICalls = "basic", &n }
}

func TestQuotaOverHTTP(t *testing.T) {
	k := newPlanRig(t, allows(3))
	start, end := month(time.Now())
	policy := fmt.Sprintf(`"account";q=600;w=60, "api_calls";q=3;w=%d`, int64(end.Sub(start)/time.Second))
	for i := range 3 {
		r := k.me(k.key)
		want(t, r, 200, "")
		var left, reset int64
		if got := r.header.Get("RateLimit-Policy"); got != policy {
			t.Errorf("policy %q, want %q", got, policy)
		}
		got := r.header.Get("RateLimit")
		if _, err := fmt.Sscanf(got[strings.Index(got, ", ")+2:], `"api_calls";r=%d;t=%d`, &left, &reset); err != nil || left != int64(2-i) || reset > int64(time.Until(end)/time.Second)+2 {
			t.Errorf("call %d: RateLimit %q: %v", i, got, err)
		}
	}
	// What the edge refuses does not count, nor what needs no key, nor the person.
	want(t, k.do("POST", "/api/v1/legal/accept", "{}", bearer(k.key)), 403, "PERMISSION_DENIED")
	want(t, k.do("GET", "/api/v1/users/me?%zz", "", bearer(k.key)), 400, "INVALID_ARGUMENT")
	if r := k.do("GET", "/api/v1/plans", "", bearer(k.key)); r.status != 200 || r.header.Get("RateLimit-Policy") != `"account";q=600;w=60` {
		t.Errorf("plans: %d %v", r.status, r.header)
	}
	if r := k.me(k.token()); r.status != 200 || r.header.Get("RateLimit-Policy") != `"account";q=600;w=60` {
		t.Errorf("the owner: %d %v", r.status, r.header)
	}
	r := k.me(k.key)
	want(t, r, 429, "QUOTA_EXCEEDED")
	for name, value := range map[string]any{
		"requiredFeature": apiCalls, "currentPlan": "basic", "limit": "3", "used": "3", "remaining": "0",
		"resetsAt": end.UTC().Format(time.RFC3339), "upgradeTo": "free",
	} {
		if r.json[name] != value {
			t.Errorf("%s = %v, want %v", name, r.json[name], value)
		}
	}
	wait, err := strconv.ParseInt(r.header.Get("Retry-After"), 10, 64)
	if over := time.Until(end)/time.Second + 1 - time.Duration(wait); err != nil || over < -2 || over > 2 {
		t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
	}
	if got := r.header.Get("RateLimit"); got == "" || r.header.Get("RateLimit-Policy") != policy {
		t.Errorf("refused with %v", r.header)
	}
	if n, err := k.edge.limiter.redis.Get(t.Context(), k.edge.quotas.counter(k.user).key).Int64(); err != nil || n != 3 {
		t.Errorf("%d counted, %v", n, err)
	}
}

// What a token does not say, or says no more, has a number all the same.
func TestCallLimit(t *testing.T) {
	k := newPlanRig(t, allows(1))
	n := func(n int64) *int64 { return &n }
	now := time.Now()
	past, later := now.Add(-time.Second), now.Add(time.Hour)
	for name, tt := range map[string]struct {
		caller token.Caller
		want   int64
	}{
		"the token":        {token.Caller{Plan: "basic", APICalls: n(7)}, 7},
		"not ended":        {token.Caller{Plan: "basic", APICalls: n(700), EntitledUntil: later}, 700},
		"none at all":      {token.Caller{Plan: "basic", APICalls: n(0)}, 0},
		"unlimited":        {token.Caller{Plan: "enterprise", APICalls: n(-1)}, -1},
		"an old token":     {token.Caller{Plan: "premium"}, 100_000},
		"of no plan known": {token.Caller{Plan: "forgotten"}, -1},
		"ended":            {token.Caller{Plan: "premium", APICalls: n(100_000), EntitledUntil: past}, 100},
		"ended, unlimited": {token.Caller{Plan: "enterprise", APICalls: n(-1), EntitledUntil: past}, 100},
		"ended, smaller":   {token.Caller{Plan: "basic", APICalls: n(7), EntitledUntil: past}, 7},
	} {
		if got := k.edge.callLimit(&tt.caller); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
	k.edge.offers.list.Store(nil)
	if got := k.edge.callLimit(&token.Caller{Plan: "free"}); got != -1 {
		t.Errorf("before anything is known: %d", got)
	}
}

// Unlimited calls are counted, and say nothing of it.
func TestUnlimitedCallsAreCounted(t *testing.T) {
	k := newPlanRig(t, allows(-1))
	for range 3 {
		if r := k.me(k.key); r.status != 200 || r.header.Get("RateLimit-Policy") != `"account";q=600;w=60` {
			t.Errorf("got %d %v", r.status, r.header)
		}
	}
	if n := k.edge.limiter.redis.Get(t.Context(), k.edge.quotas.counter(k.user).key).Val(); n != "3" {
		t.Errorf("%s counted, want 3", n)
	}
}

// With Redis away programs are served, and to the limit.
func TestQuotaOverHTTPWithoutRedis(t *testing.T) {
	k := newPlanRig(t, allows(4), func(h *harness) { h.redis.Host, h.redis.Port = "127.0.0.1", 1 })
	for range 4 {
		want(t, k.me(k.key), 200, "")
	}
	want(t, k.me(k.key), 429, "QUOTA_EXCEEDED")
	if k.edge.quotas.fallbacks.Load() != 5 {
		t.Errorf("%d fallbacks", k.edge.quotas.fallbacks.Load())
	}
}

const keysPath = "/api/v1/auth/api-keys"

// The plan's feature is decided from the token, Redis or no Redis.
func TestFeatureGate(t *testing.T) {
	for name, set := range map[string]func(*harness){
		"redis": func(*harness) {},
		"none":  func(h *harness) { h.redis.Host, h.redis.Port = "127.0.0.1", 1 },
	} {
		t.Run(name, func(t *testing.T) {
			k := newPlanRig(t, allows(1), set)
			k.b.when(authv1.ApiKeyService_CreateApiKey_FullMethodName, answer(&authv1.CreateApiKeyResponse{ApiKey: &authv1.ApiKey{Id: "apk_1"}}))
			try := func(edit func(*token.Claims)) reply {
				return k.do("POST", keysPath, `{"name":"k","permissions":["profile.read"]}`, bearer(k.token(edit)))
			}
			now := time.Now().Unix()
			want(t, try(func(c *token.Claims) { c.Features = []string{"api_access"} }), 201, "")
			want(t, try(func(c *token.Claims) { c.Features, c.EntitledUntil = []string{"api_access"}, now+60 }), 201, "")
			want(t, try(func(*token.Claims) {}), 201, "") // the first token of a Free account
			r := try(func(c *token.Claims) { c.Plan, c.Features = "odd", []string{"white_label"} })
			want(t, r, 403, "FEATURE_NOT_AVAILABLE")
			if r.json["requiredFeature"] != "api_access" || r.json["currentPlan"] != "odd" || r.json["upgradeTo"] != "free" {
				t.Errorf("refused with %v", r.json)
			}
			want(t, try(func(c *token.Claims) { c.Plan = "premium" }), 403, "FEATURE_NOT_AVAILABLE")
			r = try(func(c *token.Claims) {
				c.Plan, c.Features, c.EntitledUntil = "premium", []string{"api_access"}, now
			})
			want(t, r, 402, "SUBSCRIPTION_REQUIRED")
			if r.json["requiredFeature"] != "api_access" || r.json["currentPlan"] != "none" || r.json["upgradeTo"] != "free" {
				t.Errorf("refused with %v", r.json)
			}
			want(t, k.do("GET", keysPath, "", bearer(k.token(func(c *token.Claims) { c.EntitledUntil = now }))), 200, "")
			k.edge.offers.list.Store(nil)
			r = try(func(c *token.Claims) { c.Plan, c.Features = "odd", []string{"white_label"} })
			if want(t, r, 403, "FEATURE_NOT_AVAILABLE"); r.json["upgradeTo"] != nil {
				t.Errorf("upgradeTo %v of nothing known", r.json["upgradeTo"])
			}
		})
	}
}

// A product is not what one moves up to, and who has a feature is told of the
// lowest plan that has it.
func TestUpgrade(t *testing.T) {
	k := newPlanRig(t, allows(1))
	for _, tt := range []struct {
		feature string
		limit   int64
		want    any
	}{
		{"api_access", 0, "free"},
		{"data_export", 0, "basic"},
		{"webhook_support", 0, "premium"},
		{"time_travel", 0, nil},
		{"api_calls", 99, "free"},
		{"api_calls", 100, "basic"},
		{"api_calls", 10_000, "premium"},
		{"api_calls", 100_000, "enterprise"},
	} {
		rt := &route{method: http.MethodGet, rule: &authzv1.Rule{Feature: tt.feature}}
		p := asProblem(k.edge.offers.name(asProblem(k.edge.entitled(rt, &token.Caller{Plan: "x"})), tt.feature, tt.limit))
		if got := p.Meta["upgradeTo"]; tt.want == nil && got != "" || tt.want != nil && got != tt.want {
			t.Errorf("%s beyond %d: %q, want %v", tt.feature, tt.limit, got, tt.want)
		}
	}
}

func TestOffersAreFetched(t *testing.T) {
	k := newPlanRig(t, allows(1))
	k.edge.offers.list.Store(nil)
	if err := k.edge.offers.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, ok := k.edge.offers.limit("basic", apiCalls); !ok || n != 10_000 {
		t.Errorf("basic: %d, %v", n, ok)
	}
}

// BenchmarkFeature is what a route's feature costs: no round trip.
func BenchmarkFeature(b *testing.B) {
	k := newPlanRig(b, allows(1))
	count := &trips{}
	k.edge.limiter.redis.AddHook(count)
	rt := &route{method: http.MethodPost, rule: &authzv1.Rule{Feature: "white_label"}}
	var features []string
	for i := range 20 {
		features = append(features, fmt.Sprintf("feature_%d", i))
	}
	c := &token.Caller{Plan: "enterprise", Features: append(features, "white_label"), EntitledUntil: time.Now().Add(time.Hour)}
	k.b.mu.Lock()
	before := len(k.b.calls)
	k.b.mu.Unlock()
	for b.Loop() {
		if err := k.edge.entitled(rt, c); err != nil {
			b.Fatal(err)
		}
	}
	if n := count.all.Load(); n != 0 {
		b.Errorf("%d round trips", n)
	}
	k.b.mu.Lock()
	defer k.b.mu.Unlock()
	for _, call := range k.b.calls[before:] {
		if call.method != authv1.AuthInternalService_ListAuthzEvents_FullMethodName { // the poll goes on
			b.Errorf("asked %s", call.method)
		}
	}
}
