package gateway

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/manas360/platform/pkg/rdb"
	"github.com/manas360/platform/pkg/rdbtest"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

func TestCredentialLimit(t *testing.T) {
	h := newHarness(t)
	limited := -1
	for i := range 140 {
		var r reply
		if i%2 == 0 {
			r = h.do("POST", "/api/v1/auth/login", `{"email":"a@b.co","password":"x"}`)
		} else {
			r = h.do("GET", "/api/v1/auth/login", "") // 405 counts as well
		}
		if r.header.Get("RateLimit-Policy") != `"credential";q=100;w=900` {
			t.Fatalf("request %d: got policy %q", i, r.header.Get("RateLimit-Policy"))
		}
		if r.status != 429 {
			continue
		}
		limited = i
		want(t, r, 429, "RATE_LIMITED")
		if n, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || n < 1 || n > 10 {
			t.Errorf("got Retry-After %q", r.header.Get("Retry-After"))
		}
		if r.header.Get("X-RateLimit-Remaining") != "0" || !strings.HasPrefix(r.header.Get("RateLimit"), `"credential";r=0;t=`) {
			t.Errorf("got %v", r.header)
		}
		break
	}
	if limited < 100 || limited > 110 {
		t.Errorf("limited after %d requests, want about 100", limited)
	}
	// Another class of the same address goes on.
	want(t, h.do("GET", "/api/v1/plans", ""), 200, "")
	if _, ok := h.b.last(authv1.AuthService_Login_FullMethodName); !ok {
		t.Error("no login came through")
	}
}

func TestRemainingCountsDown(t *testing.T) {
	h := newHarness(t)
	first := h.do("POST", "/api/v1/auth/register", "")
	second := h.do("POST", "/api/v1/auth/register", "")
	if got := first.header.Get("X-RateLimit-Remaining") + second.header.Get("X-RateLimit-Remaining"); got != "2928" {
		t.Errorf("got %s", got)
	}
}

func TestLimiter(t *testing.T) {
	rule := limitRule{name: "r", limit: 5, period: time.Hour}
	wide := limitRule{name: "wide", limit: 100, period: time.Hour}
	client, prefix := rdbtest.New(t)
	dead := rdb.Open(rdb.Config{Host: "127.0.0.1", Port: 1})
	t.Cleanup(func() { _ = dead.Close() })
	for name, l := range map[string]*limiter{"redis": newLimiter(client, time.Now), "local": newLimiter(dead, time.Now)} {
		t.Run(name, func(t *testing.T) {
			charges := []charge{{rule, prefix + "a"}, {wide, prefix + "w"}}
			for i := range 5 {
				s := l.take(t.Context(), charges)
				if !s.allowed || s.rule.name != "r" || s.remaining != int64(4-i) {
					t.Fatalf("take %d: got %+v", i, s)
				}
			}
			s := l.take(t.Context(), charges)
			if s.allowed || s.retry < 11*time.Minute || s.retry > 12*time.Minute {
				t.Fatalf("got %+v", s)
			}
			if _, ok := l.blocked(charges); !ok {
				t.Error("refusal not remembered")
			}
			// A refusal charges no other rule.
			if s := l.take(t.Context(), charges[1:]); s.remaining != 94 {
				t.Errorf("wide: got %+v", s)
			}
		})
	}
}

func TestRedisOutageKeepsTheCount(t *testing.T) {
	_, prefix := rdbtest.New(t)
	client := rdb.Open(rdbtest.Config(t))
	l := newLimiter(client, time.Now)
	c := []charge{{limitRule{name: "r", limit: 10, period: time.Hour}, prefix + "a"}}
	for range 6 {
		l.take(t.Context(), c)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if s := l.take(t.Context(), c); !s.allowed || s.remaining != 3 {
		t.Errorf("got %+v", s)
	}
}

func TestDeadRedisCostsLittle(t *testing.T) {
	// The worst way to be dead: connections are taken and nothing is ever said.
	var lc net.ListenConfig
	silent, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	addr, ok := silent.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal("not TCP")
	}
	h := newHarness(t, func(h *harness) { h.redis = rdb.Config{Host: "127.0.0.1", Port: addr.Port, Prefix: "x:"} })
	began := time.Now()
	for range 20 {
		want(t, h.do("GET", "/api/v1/users/me", "", bearer(h.token())), 200, "")
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("20 requests took %s", took)
	}
	r := h.do("GET", "/readyz", "")
	if r.status != 503 || !strings.Contains(r.body, `"redis"`) {
		t.Errorf("got %d %s", r.status, r.body)
	}
}

func TestScriptKeepsMicroseconds(t *testing.T) {
	client, prefix := rdbtest.New(t)
	l := newLimiter(client, time.Now)
	c := charge{limitRule{name: "r", limit: 1000, period: time.Second}, prefix + "a"}
	l.take(t.Context(), []charge{c})
	v, err := client.Get(context.WithoutCancel(t.Context()), c.key).Result()
	if err == nil && (len(v) != 16 || strings.ContainsAny(v, ".e")) {
		t.Errorf("stored %q", v)
	}
}

func TestLocalLimiterIsBounded(t *testing.T) {
	l := newLocalLimiter()
	now := time.Now()
	for i := range maxLocalKeys + 1000 {
		l.reserve([]charge{{limitAddress, strconv.Itoa(i)}}, now, false)
		if i%1000 == 0 {
			l.dirty(2000)
		}
	}
	if n := len(l.keys); n > maxLocalKeys {
		t.Errorf("got %d keys", n)
	}
}

func TestLimitKeys(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1": "127.0.0.1", "127.0.0.2": "127.0.0.2", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "2001:db8:1:2::1": "2001:db8:1:2::",
	} {
		if got := limitKey(netip.MustParseAddr(in)); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
