package auth

import "testing"

func TestParsePhone(t *testing.T) {
	for in, want := range map[string]phone{
		"98765 43210":         {"+919876543210", "IN"},
		"+919876543210":       {"+919876543210", "IN"},
		"0091 98765-43210":    {"+919876543210", "IN"},
		"091-9876543210":      {},
		"௯௮௭௬௫௪௩௨௧௦":          {"+919876543210", "IN"},
		"+1 555 123 4567":     {"+15551234567", ""}, // not in use: a claim, but no code is sent there
		"09876543210":         {"+919876543210", "IN"},
		" +91 (98765) 43210 ": {"+919876543210", "IN"},
		"९८७६५ ४३२१०":         {"+919876543210", "IN"}, // identity.md row 26: one spelling
		"９８７６５４３２１０":          {"+919876543210", "IN"},
		"+44 20 7946 0958":    {"+442079460958", "GB"},
		"+1 202 555 0143":     {"+12025550143", "US"},
		"":                    {},
		"12":                  {},
		"100":                 {},
		"+91987654321":        {},
		"+9198765432101":      {},
		"98765 43210 ext. 7":  {},
		"9876543210;ext=7":    {},
		"1800-FLOWERS":        {},
		"asha@example.com":    {},
		"+999 12345678":       {},
	} {
		got, ok := parsePhone(in)
		if !ok {
			got = phone{}
		}
		if got != want {
			t.Errorf("parsePhone(%q): got %v, want %v", in, got, want)
		}
	}
}

func FuzzParsePhone(f *testing.F) {
	for _, s := range []string{"98765 43210", "+919876543210", "0091 98765-43210", "+1 202 555 0143", "tel:+91;ext=1", "९८७६५ ४३२१०", "++", "+", "\x00", "+ 3 9 0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := parsePhone(s)
		if !ok {
			return
		}
		if !e164.MatchString(p.Number) {
			t.Errorf("parsePhone(%q): got %q", s, p.Number)
		}
		if again, ok := parsePhone(p.Number); !ok || again != p {
			t.Errorf("parsePhone(%q): got %v, and of that %v, %t", s, p, again, ok)
		}
	})
}
