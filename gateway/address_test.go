package gateway

import "testing"

// Administrators are let in from their networks alone; everybody else's calls
// do not mind.
func TestAdminNetworks(t *testing.T) {
	h := newHarness(t, func(h *harness) {
		h.conf = func(c *Config) {
			c.TrustedProxies, c.AdminNetworks = []string{"127.0.0.0/8"}, []string{"10.1.0.0/16", "2001:db8::/32"}
		}
	})
	staff := "Authorization: Bearer " + h.token(admin)
	for from, want := range map[string]bool{"10.1.2.3": true, "2001:db8::1": true, "10.2.0.1": false, "2001:db9::1": false} {
		for _, path := range []string{"/api/v1/admin/users", "/api/v1/audit/events", "/console/sign-in"} {
			r := h.do("GET", path, "", staff, "X-Forwarded-For: "+from)
			if refused := r.status == 403 && r.json["code"] == "PERMISSION_DENIED" && r.json["detail"] == "administrators are not let in from this address"; refused == want {
				t.Errorf("%s from %s: %d %s", path, from, r.status, r.body)
			}
		}
		if r := h.do("GET", "/api/v1/plans", "", "X-Forwarded-For: "+from); r.status == 403 {
			t.Errorf("plans from %s: %s", from, r.body)
		}
	}
	if err := (Config{AdminNetworks: []string{"10.1.0.0/99"}}).Validate(); err == nil {
		t.Error("a network that is none was taken")
	}
}
