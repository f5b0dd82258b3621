package gateway

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/manas360/platform/pkg/fail"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

func TestClientAddress(t *testing.T) {
	p, err := parseNetworks("TRUSTED_PROXIES", []string{"10.0.0.0/8", "192.0.2.7", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, remote, forwarded, want string }{
		{"direct", "1.2.3.4:5", "", "1.2.3.4"},
		{"liar", "1.2.3.4:5", "9.9.9.9", "1.2.3.4"},
		{"one proxy", "10.1.1.1:5", "9.9.9.9", "9.9.9.9"},
		{"liar behind a proxy", "10.1.1.1:5", "8.8.8.8, 9.9.9.9", "9.9.9.9"},
		{"two proxies", "10.1.1.1:5", "9.9.9.9, 192.0.2.7", "9.9.9.9"},
		{"nothing forwarded", "10.1.1.1:5", "", "10.1.1.1"},
		{"nonsense", "10.1.1.1:5", "9.9.9.9, x", "10.1.1.1"},
		{"port and brackets", "10.1.1.1:5", "[2001:db8::1]:443", "2001:db8::1"},
		{"mapped", "[::ffff:10.1.1.1]:5", "9.9.9.9:1234", "9.9.9.9"},
		{"all ours", "10.1.1.1:5", "10.2.2.2, 10.3.3.3", "10.2.2.2"},
	} {
		if got := p.client(tt.remote, []string{tt.forwarded}).String(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	if _, err := parseNetworks("TRUSTED_PROXIES", []string{"nonsense"}); err == nil {
		t.Error("nonsense accepted")
	}
}

func TestOrigins(t *testing.T) {
	for in, good := range map[string][2]bool{ // development, production
		"https://a.example": {true, true}, "http://a.example": {true, false}, "http://localhost:3000": {true, true},
		"*": {false, false}, "null": {false, false}, "https://*.a.example": {false, false}, "https://a.example/": {false, false}, "ftp://a": {false, false},
	} {
		for i, production := range []bool{false, true} {
			if _, err := parseOrigins([]string{in}, production); (err == nil) != good[i] {
				t.Errorf("%s, production %t: got %v", in, production, err)
			}
		}
	}
}

func TestCanonicalPath(t *testing.T) {
	for in, want := range map[string]string{
		"/api/health": "/api/v1/health", "/api/v1/x": "/api/v1/x", "/api/v2/x": "/api/v2/x", "/api/verify": "/api/v1/verify",
		"/api": "/api", "/livez": "/livez", "/api/": "/api/v1/", "/apix/y": "/apix/y",
	} {
		if got := canonicalPath(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestMessagesCoverEveryCode(t *testing.T) {
	m, err := parseMessages()
	if err != nil {
		t.Fatal(err)
	}
	for code := range m {
		if _, ok := fail.ByReason(code); !ok {
			t.Errorf("%s is no code", code)
		}
		for _, l := range locales[1:] {
			if m[code][l] == "" {
				t.Errorf("%s has no %s", code, l)
			}
		}
	}
	if len(m) != 39 {
		t.Errorf("got %d codes, want 39", len(m))
	}
}

func FuzzForwardedFor(f *testing.F) {
	for _, s := range []string{"", "1.2.3.4", "1.2.3.4, 5.6.7.8:9", "[::1]:1,::1%eth0", ",,,", "a"} {
		f.Add(s)
	}
	p := networks{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, s string) {
		if got := p.client("1.1.1.1:1", []string{s}); got.String() != "1.1.1.1" {
			t.Errorf("untrusted peer: got %s", got)
		}
		got := p.client("10.0.0.1:1", []string{s})
		if !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Errorf("%q: got %q", s, got)
		}
	})
}

// The gate never lets a body through that protojson would call deeper or
// differently wrong with anything but an ordinary refusal, and never panics.
func FuzzJSONGate(f *testing.F) {
	for _, s := range []string{`{}`, `{"email":"a"}`, `{"a":"\"[["}`, strings.Repeat("[", 100), `{"email":null}`, `{"email":"\ud800"}`, `nul`, `{"a":{"b":[1,2]}}`} {
		f.Add([]byte(s))
	}
	md := (&authv1.RegisterRequest{}).ProtoReflect().Descriptor()
	f.Fuzz(func(t *testing.T, b []byte) {
		if json.Valid(b) && !tooDeep(b, maxDepth) && depth(b) > maxDepth {
			t.Errorf("%q: depth %d passed", b, depth(b))
		}
		if tooDeep(b, maxDepth) || !json.Valid(b) {
			return
		}
		err := checkBody(b, md)
		var m authv1.RegisterRequest
		if perr := protojson.Unmarshal(b, &m); perr == nil && err != nil && !strings.Contains(string(b), `\u0000`) {
			t.Errorf("%q: protojson takes it, the gate says %v", b, err)
		}
	})
}

// depth by the standard decoder, which knows JSON for certain.
func depth(b []byte) int {
	d := json.NewDecoder(strings.NewReader(string(b)))
	at, deepest := 0, 0
	for {
		tok, err := d.Token()
		if err != nil {
			return deepest
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			at++
			deepest = max(deepest, at)
		case json.Delim('}'), json.Delim(']'):
			at--
		}
	}
}
