package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/manas360/platform/deploy/internal/api"
)

// A Free account's program has a hundred calls a month; the person goes on, and
// sees the number.
func TestAPICallQuota(t *testing.T) {
	const free = 100
	p := join(t)
	_, key := p.makeKey("profile.read")
	me := api.Call{Method: "GET", URL: "/users/me", Token: key}
	for i := range free {
		a := p.want(200, "", me)
		if got, want := a.Header.Get("RateLimit"), fmt.Sprintf(`"api_calls";r=%d;t=`, free-1-i); !strings.Contains(got, want) {
			t.Fatalf("call %d: RateLimit %q, want %s…", i+1, got, want)
		}
	}
	a := p.want(429, "QUOTA_EXCEEDED", me)
	for name, want := range map[string]string{
		"requiredFeature": "api_calls", "currentPlan": "free", "limit": "100", "used": "100", "remaining": "0", "upgradeTo": "basic",
	} {
		if got := a.Str(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if a.Str("resetsAt") == "" || a.Header.Get("Retry-After") == "" {
		t.Errorf("nothing says until when: %s", a.Raw)
	}
	if got := p.want(200, "", api.Call{Method: "GET", URL: "/users/me", Token: p.token}).Header.Get("RateLimit"); strings.Contains(got, "api_calls") {
		t.Errorf("the person is counted: %s", got)
	}
	eventually(t, patience, "the owner sees what is used", func() (bool, string) {
		seen := p.get("/entitlements")
		for _, l := range seen.List("limits") {
			if l["feature"] == "api_calls" {
				return l["used"] == "100" && l["remaining"] == "0", fmt.Sprint(l)
			}
		}
		return false, string(seen.Raw)
	})
}
