package gateway

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// everyRoute runs look for each route of the contract, whatever is added to it.
func everyRoute(t *testing.T, look func(rt *route, path string)) {
	t.Helper()
	variable := regexp.MustCompile(`\{[^}]*\}`)
	n := 0
	for _, reg := range registrations() {
		routes, err := contractRoutes(reg.service)
		if err != nil {
			t.Fatal(err)
		}
		for _, rt := range routes {
			n++
			look(rt, variable.ReplaceAllString(rt.pattern, "usr_x"))
		}
	}
	if n < 30 {
		t.Fatalf("only %d routes", n)
	}
}

// all is a caller who may do everything: what is refused is refused for the
// reason under test.
func all(c *token.Claims) {
	c.Roles, c.AMR = []string{"superadmin"}, []string{"pwd", "otp", "mfa"}
	everyRule(func(rt *route) {
		if p := rt.rule.GetPermission(); p != "" {
			c.Permissions = append(c.Permissions, p)
		}
	})
}

func everyRule(look func(rt *route)) {
	for _, reg := range registrations() {
		routes, err := contractRoutes(reg.service)
		if err != nil {
			return // the tests of the table say so
		}
		for _, rt := range routes {
			look(rt)
		}
	}
}

func shortClaims(c *token.Claims) {
	seen := map[string]bool{}
	short := c.Permissions[:0]
	for _, p := range c.Permissions {
		if !seen[p] {
			seen[p] = true
			short = append(short, p)
		}
	}
	c.Permissions = short
}

// calm keeps the limits out of tests that call everything: each route is called
// from an address of its own, and the account may call as often as it likes.
func calm(h *harness) {
	was := limitAccount
	limitAccount.limit *= 1000
	h.t.Cleanup(func() { limitAccount = was })
	h.conf = func(c *Config) { c.TrustedProxies = []string{"127.0.0.0/8"} }
}

func from(n int) string {
	return fmt.Sprintf("X-Forwarded-For: 10.0.%d.%d", n/200, n%200)
}

// identity.md row 66: whatever changes something by cookie needs the CSRF
// token, and a request with both a cookie and a header is refused.
func TestEveryMutationByCookieNeedsCSRF(t *testing.T) {
	h := newHarness(t, calm)
	raw := h.token(all, shortClaims)
	n := 0
	everyRoute(t, func(rt *route, path string) {
		if rt.public() || rt.method == http.MethodGet {
			return
		}
		n++
		for name, headers := range map[string][]string{
			"no token":    {"Cookie: access_token=" + raw + "; csrf_token=c"},
			"wrong token": {"Cookie: access_token=" + raw + "; csrf_token=c", "X-Csrf-Token: d"},
			"no cookie":   {"Cookie: access_token=" + raw, "X-Csrf-Token: c"},
			"both empty":  {"Cookie: access_token=" + raw + "; csrf_token=", "X-Csrf-Token: "},
		} {
			if r := h.do(rt.method, path, "{}", append(headers, from(n))...); r.status != 403 || r.code() != "CSRF_FAILED" {
				t.Errorf("%s %s, %s: got %d %s", rt.method, path, name, r.status, r.code())
			}
		}
		r := h.do(rt.method, path, "{}", "Cookie: access_token="+raw+"; csrf_token=c", "X-Csrf-Token: c", bearer(raw), from(n))
		if r.status != 400 {
			t.Errorf("%s %s, cookie and header: got %d %s", rt.method, path, r.status, r.code())
		}
	})
}

// identity.md rows 16 and 32: nobody, an ended session, a revoked account and a
// stale token are refused by every method alike.
func TestEveryRouteRefusesDeadTokens(t *testing.T) {
	h := newHarness(t, calm)
	soon := timestamppb.New(time.Now().Add(time.Hour))
	ended := [16]byte{1}
	h.b.revoke(&authv1.AuthzEvent{Kind: authv1.AuthzEvent_SESSION_REVOKED, Key: ended[:], ExpiresAt: soon})
	h.b.revoke(&authv1.AuthzEvent{Kind: authv1.AuthzEvent_ACCOUNT_REVOKED, Key: h.user[:], MinEpoch: 3, ExpiresAt: soon})
	h.b.revoke(&authv1.AuthzEvent{Kind: authv1.AuthzEvent_ACCOUNT_STALE, Key: h.user[:], MinEpoch: 5, ExpiresAt: soon})
	tokens := map[string]string{
		"TOKEN_REVOKED, session": h.token(all, shortClaims, func(c *token.Claims) { c.SessionID = id.Format("ses", uuid.UUID(ended)) }),
		"TOKEN_REVOKED, account": h.token(all, shortClaims, func(c *token.Claims) { c.Epoch = 2 }),
		"TOKEN_STALE":            h.token(all, shortClaims, func(c *token.Claims) { c.Epoch = 4 }),
		"TOKEN_EXPIRED":          h.token(all, shortClaims, func(c *token.Claims) { c.Expires = time.Now().Add(-time.Second).Unix() }),
		"INVALID_TOKEN":          "nonsense",
	}
	eventually(t, "events polled", func() bool {
		return h.do("GET", "/api/v1/users/me", "", bearer(tokens["TOKEN_STALE"])).code() == "TOKEN_STALE"
	})
	n := 0
	everyRoute(t, func(rt *route, path string) {
		if rt.public() {
			return
		}
		n++
		for name, raw := range tokens {
			code, _, _ := strings.Cut(name, ",")
			if r := h.do(rt.method, path, "", bearer(raw), from(n)); r.status != 401 || r.code() != code {
				t.Errorf("%s %s, %s: got %d %s", rt.method, path, name, r.status, r.code())
			}
		}
		if r := h.do(rt.method, path, "", from(n)); r.status != 401 || r.code() != "UNAUTHENTICATED" {
			t.Errorf("%s %s, nobody: got %d %s", rt.method, path, r.status, r.code())
		}
	})
}

// Every rule is kept at the edge: the permission, the second factor, the recent
// sign-in, and the narrow way of a session that owes its factor.
func TestEveryRuleIsKept(t *testing.T) {
	h := newHarness(t, calm)
	n := 0
	everyRoute(t, func(rt *route, path string) {
		if rt.public() {
			return
		}
		n++
		refused := func(why, code string, edit ...func(*token.Claims)) {
			t.Helper()
			raw := h.token(append([]func(*token.Claims){all, shortClaims}, edit...)...)
			if r := h.do(rt.method, path, "", bearer(raw), from(n)); r.status != 403 || r.code() != code {
				t.Errorf("%s %s, %s: got %d %s", rt.method, path, why, r.status, r.code())
			}
		}
		if p := rt.rule.GetPermission(); p != "" {
			refused("without "+p, "PERMISSION_DENIED", func(c *token.Claims) {
				var rest []string
				for _, have := range c.Permissions {
					if have != p {
						rest = append(rest, have, have+".x", p+"s")
					}
				}
				c.Permissions = rest[:min(len(rest), 20)]
			})
		}
		if rt.rule.GetMfa() {
			refused("without a factor", "MFA_REQUIRED", func(c *token.Claims) { c.AMR = []string{"pwd"} })
		}
		if s := rt.rule.GetStepUpSeconds(); s > 0 {
			refused("signed in long ago", "STEP_UP_REQUIRED", func(c *token.Claims) { c.AuthTime -= int64(s) + 5 })
		}
		if !rt.rule.GetEnrolment() {
			refused("factor owed", "MFA_REQUIRED", func(c *token.Claims) { c.MFAPending, c.AMR = true, []string{"pwd"} })
		}
	})
}

// identity.md row 65: near misses of an allowed origin get nothing.
func TestOriginsNearby(t *testing.T) {
	h := newHarness(t, calm)
	for i, origin := range []string{
		"https://app.example.com.evil.com", "https://evilapp.example.com", "https://app.example.com:8443", "http://app.example.com",
		"https://app.example.co", "https://app.example.comm", "https://appexample.com", "https://app.example.com/", "https://app.example.com/path",
		"https://app.example.com@evil.com", "https://evil.com#app.example.com", "https://evil.com?app.example.com", "https://app.example.com%00.evil.com",
		"https://app.example.com.", "https://.app.example.com", "https://APP.example.com.evil.com", "https://app.example.com,https://evil.com",
		"https://app.example.com https://evil.com", "null", "*", "https://*", "https://*.example.com", "https://example.com", "https://a.app.example.com",
		"file://", "https://", "//app.example.com", "app.example.com", "https:app.example.com", "https:/app.example.com", "https:///app.example.com",
		"ws://app.example.com", "wss://app.example.com", "https://app-example.com", "https://app.example.com\\.evil.com", "https://xn--app-example.com",
		"https://арр.example.com", "https://app.example.com:443", "https://app.example.com:0", "https://app.example.com:443:443",
		"https://127.0.0.1", "http://localhost:3001", "http://localhost", "http://localhost:30000", "http://localhost.evil.com:3000",
		"http://127.0.0.1:3000", "https://localhost:3000", "http://LOCALHOST:3000.evil.com", "http://localhost:3000/", "chrome-extension://abc",
	} {
		r := h.do("OPTIONS", "/api/v1/users/me", "", "Origin: "+origin, "Access-Control-Request-Method: GET", from(i))
		if r.status != 403 || r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: pre-flight %d, allowed %q", origin, r.status, r.header.Get("Access-Control-Allow-Origin"))
		}
		r = h.do("GET", "/api/v1/plans", "", "Origin: "+origin, from(i))
		if r.header.Get("Access-Control-Allow-Origin") != "" || r.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", origin, r.header)
		}
	}
}
