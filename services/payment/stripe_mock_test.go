package payment

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stripeMockVersion is the newest of Stripe's own mock, a server that checks
// requests against Stripe's published description of its API.
const stripeMockVersion = "v0.203.0"

// stripeMock builds the mock once on a machine, starts it, and gives its address.
// It is a program like node: no dependency of ours.
func stripeMock(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	bin := filepath.Join(cache, "manas360-judges", "stripe-mock-"+stripeMockVersion)
	program := filepath.Join(bin, "stripe-mock")
	if _, err := os.Stat(program); err != nil {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		build := osexec.CommandContext(ctx, "go", "install", "github.com/stripe/stripe-mock@"+stripeMockVersion)
		build.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=", "GOWORK=off")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build stripe-mock: %v\n%s", err, out)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := osexec.CommandContext(t.Context(), program, "-http-addr", addr)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means that it has gone
		_ = cmd.Wait()
	})
	said := make([]byte, 0, 4096)
	for !strings.Contains(string(said), "Listening for HTTP") {
		part := make([]byte, 1024)
		n, err := out.Read(part)
		said = append(said, part[:n]...)
		if err != nil {
			t.Fatalf("stripe-mock ended: %s", said)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // until it ends
	return "http://" + addr
}

// TestStripesOwnMock: every request that we make of Stripe passes Stripe's own
// description of its API.
func TestStripesOwnMock(t *testing.T) {
	mock := stripeMock(t)
	asked := map[string]int{}
	judge := func(method, uri, body string, header http.Header) int {
		req, err := http.NewRequestWithContext(t.Context(), method, mock+uri, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0
		}
		req.Header = header.Clone()
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return 0
		}
		defer func() { _ = res.Body.Close() }()
		said, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Logf("%s %s %s: %d %s %v", method, uri, body, res.StatusCode, said, err)
		}
		return res.StatusCode
	}
	f := script(t, map[string][]spoken{
		stSessions: {{200, openSession}}, stSession: {{200, paidSession}}, stRefund: {{200, stRefunded}},
		stRefunds:              {{200, `{"object":"list","data":[]}`}, {200, `{"object":"list","data":[` + stRefunded + `]}`}},
		"GET /v1/refunds/re_1": {{200, stRefunded}},
	})
	f.judge = func(r *http.Request, body string) {
		asked[r.Method+" "+r.URL.Path]++
		if status := judge(r.Method, r.URL.RequestURI(), body, r.Header); status != http.StatusOK {
			t.Errorf("%s %s is refused with %d", r.Method, r.URL.Path, status)
		}
	}
	c := f.stripe()
	if _, err := c.pay(t.Context(), dear()); err != nil {
		t.Error(err)
	}
	sent := sentOrder{MerchantOrderID: anOrder, ProviderOrderID: aSession, AmountMinor: price, Currency: "INR"}
	if _, err := c.status(t.Context(), sent); err != nil {
		t.Error(err)
	}
	r := dearRefund(aSession)
	if _, err := c.refund(t.Context(), r); err != nil {
		t.Error(err)
	}
	for _, r.ProviderRefundID = range []string{"", "re_1"} {
		if _, err := c.refundStatus(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	for _, line := range []string{stSessions, stSession, stRefund, stRefunds, "GET /v1/refunds/re_1"} {
		if asked[line] == 0 {
			t.Errorf("%s was not judged", line)
		}
	}
	form := http.Header{"Authorization": {"Bearer sk_test_1"}, "Content-Type": {"application/x-www-form-urlencoded"}}
	for _, wrong := range []string{"mode=payment&no_such_parameter=1", "mode=payment&expires_at=soon"} {
		if status := judge(http.MethodPost, "/v1/checkout/sessions", wrong, form); status != http.StatusBadRequest {
			t.Errorf("the judge lets %q pass with %d", wrong, status)
		}
	}
}
