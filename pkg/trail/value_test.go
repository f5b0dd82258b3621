package trail_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/manas360/platform/pkg/trail"
)

func TestValue(t *testing.T) {
	for _, tt := range []struct {
		name string
		v    any
		want string
	}{
		{"none", nil, ""},
		{"empty", "", ""},
		{"text", `a "b"`, `"a \"b\""`},
		{"zero", 0, "0"},
		{"amount", int64(149900), "149900"},
		{"false", false, "false"},
		{"time", time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC), `"2026-11-23T05:00:00Z"`},
		{"list", []string{}, "[]"},
		{"unspeakable", func() {}, ""},
	} {
		if got := trail.Value(tt.v); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestNetwork(t *testing.T) {
	for ip, want := range map[string]string{
		"203.0.113.77": "203.0.113.0/24", "::ffff:203.0.113.77": "203.0.113.0/24", "2001:db8:1:2::3": "2001:db8:1::/48",
		"fe80::1%eth0": "fe80::/48", "": "", "nonsense": "", "203.0.113.77:80": "",
	} {
		if got := trail.Network(ip); got != want {
			t.Errorf("Network(%q) = %q, want %q", ip, got, want)
		}
	}
}

// Whoever asks, no more than a network comes out.
func FuzzNetwork(f *testing.F) {
	f.Add("203.0.113.77")
	f.Add("fe80::1%eth0")
	f.Fuzz(func(t *testing.T, ip string) {
		got := trail.Network(ip)
		if got == "" {
			return
		}
		if p, err := netip.ParsePrefix(got); err != nil || p != p.Masked() || p.Bits() != 24 && p.Bits() != 48 {
			t.Errorf("Network(%q) = %q", ip, got)
		}
	})
}
