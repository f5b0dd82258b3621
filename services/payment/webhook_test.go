package payment

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/services/payment/signature"
)

func hexOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func hmacHeaders(secret string, at time.Time, body string) map[string]string {
	stamp := strconv.FormatInt(at.UnixMilli(), 10)
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(stamp + "." + body))
	return map[string]string{signatureHeader: hex.EncodeToString(m.Sum(nil)), timestampHeader: stamp, idHeader: "evt-1"}
}

func TestSandboxSignature(t *testing.T) {
	now := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	verify := verifySandbox(signature.Secrets{sandboxSecret}, func() time.Time { return now })
	const body = `{"event":"checkout.order.completed"}`
	for _, tt := range []struct {
		name string
		age  time.Duration
		want bool
	}{
		{"now", 0, true},
		{"old enough", 300 * time.Second, true},
		{"too old", 301 * time.Second, false},
		{"from the near future", -300 * time.Second, true},
		{"from the far future", -301 * time.Second, false},
		{"from another century", -290 * 365 * 24 * time.Hour, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := verify(hmacHeaders(sandboxSecret, now.Add(-tt.age), body), []byte(body)); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
	good := hmacHeaders(sandboxSecret, now, body)
	if verify(good, []byte(body+" ")) {
		t.Error("another body was taken")
	}
	if verify(hmacHeaders("another secret", now, body), []byte(body)) {
		t.Error("another secret was taken")
	}
	if verifySandbox(signature.Secrets{""}, func() time.Time { return now })(hmacHeaders("", now, body), []byte(body)) {
		t.Error("no secret was taken")
	}
	for _, name := range []string{signatureHeader, timestampHeader, idHeader} {
		h := hmacHeaders(sandboxSecret, now, body)
		delete(h, name)
		if verify(h, []byte(body)) {
			t.Errorf("taken without %s", name)
		}
	}
	good[signatureHeader] = "sha256=" + good[signatureHeader]
	if !verify(good, []byte(body)) {
		t.Error("the old prefix was refused")
	}
}

// A claim's name follows from what it claims alone. money.md B20, B23
func TestEventKey(t *testing.T) {
	key := func(body []byte) [sha256.Size]byte {
		t.Helper()
		c, err := parsePhonePe(nil, body)
		if err != nil {
			t.Fatal(err)
		}
		return c.Key
	}
	base := key(claims(completed, "P1-1", "COMPLETED", price))
	if key([]byte(strings.Replace(string(claims(completed, "P1-1", "COMPLETED", price)), "DEPRECATED", "OTHER", 1))) != base {
		t.Error("the deprecated type or the time of sending is part of the key")
	}
	for name, other := range map[string][]byte{
		"event":  claims("pg.order.completed", "P1-1", "COMPLETED", price),
		"order":  claims(completed, "P1-2", "COMPLETED", price),
		"state":  claims(completed, "P1-1", "FAILED", price),
		"amount": claims(completed, "P1-1", "COMPLETED", price+1),
	} {
		if key(other) == base {
			t.Errorf("another %s has the same key", name)
		}
	}
}

func TestReceive(t *testing.T) {
	r := newRig(t)
	p := r.open(someOrder())
	good := claims(completed, p.MerchantOrderID, "COMPLETED", price)
	forged := map[string]string{authorizationHeader: hexOf("intruder:guess12345")}
	for _, tt := range []struct {
		name, provider string
		headers        map[string]string
		body           string
		want           fail.Kind
	}{
		{"forged", "phonepe", forged, string(good), fail.InvalidSignature},
		{"unsigned", "phonepe", nil, string(good), fail.InvalidSignature},
		{"forged nonsense", "phonepe", forged, "nonsense", fail.InvalidSignature},
		{"phonepe's header at the sandbox's door", "sandbox", signed(), string(good), fail.InvalidSignature},
		{"unknown provider", "nobody", signed(), string(good), fail.NotFound},
		{"not JSON", "phonepe", signed(), "nonsense", fail.MalformedBody},
		{"empty", "phonepe", signed(), "", fail.MalformedBody},
		{"no payload", "phonepe", signed(), `{"event":"checkout.order.completed"}`, fail.MalformedBody},
		{"no event", "phonepe", signed(), `{"payload":{"merchantOrderId":"P1-1"}}`, fail.MalformedBody},
		{"a float", "phonepe", signed(), `{"event":"checkout.order.completed","payload":{"amount":299.5}}`, fail.MalformedBody},
		{"a zero byte", "phonepe", signed(), `{"event":"a\u0000b","payload":{}}`, fail.MalformedBody},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := r.receive(t.Context(), tt.provider, tt.headers, []byte(tt.body)); !fail.Is(err, tt.want) {
				t.Errorf("%v, want %s", err, tt.want.Reason)
			}
		})
	}
	if n := r.number(`SELECT count(*) FROM payment.webhook_event`); n != 0 {
		t.Errorf("%d refused callbacks kept", n)
	}
	if n := r.audited("webhook.rejected"); n != 4 {
		t.Errorf("%d of webhook.rejected, want 4", n)
	}
	if r.tell(completed, "PUNKNOWN-1", "COMPLETED", price) || !r.tell(completed, "PUNKNOWN-1", "COMPLETED", price) {
		t.Error("an unknown order's callback is new once, then a duplicate")
	}
	if n := r.number(`SELECT count(*) FROM payment.webhook_event WHERE state = 'ORPHAN' AND NOT headers ? 'authorization'`); n != 1 {
		t.Errorf("%d orphans kept without the secret, want 1", n)
	}
	if r.bank.count("status") != 0 {
		t.Error("somebody was asked about a callback that decides nothing")
	}
}

func TestSandboxDialect(t *testing.T) {
	r := newRig(t)
	p := r.open(someOrder())
	r.work()
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	body := `{"merchantTransactionId":"` + p.MerchantOrderID + `","status":"success"}`
	if _, err := r.receive(t.Context(), "sandbox", hmacHeaders(sandboxSecret, r.clock(), body), []byte(body)); err != nil {
		t.Fatal(err)
	}
	r.until("it is confirmed by the provider", func() bool { return r.read(p.ID).State.Paid() })
	r.settledOnce(p.ID)
}

// TestStatusDownWhenCalledBack keeps trying until the provider answers.
func TestStatusDownWhenCalledBack(t *testing.T) {
	r := newRig(t)
	p := r.open(someOrder())
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	r.bank.next("status", http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusInternalServerError)
	r.work()
	r.tell(completed, p.MerchantOrderID, "COMPLETED", price)
	r.until("the fourth call succeeds", func() bool { return r.read(p.ID).State.Paid() })
	r.settledOnce(p.ID)
	if n := r.number(`SELECT attempts FROM payment.webhook_event`); n != 4 {
		t.Errorf("%d attempts, want 4", n)
	}
}

// TestClaimAloneIsNothing has a signed callback claim what the provider denies.
func TestClaimAloneIsNothing(t *testing.T) {
	r := newRig(t)
	p := r.open(someOrder())
	r.work()
	r.tell(completed, p.MerchantOrderID, "COMPLETED", price)
	r.until("it has been asked about", func() bool { return r.bank.count("status") >= 2 })
	if got := r.read(p.ID); got.State.Paid() || got.RedirectURL == "" {
		t.Errorf("a callback made it %s", got.State)
	}
	r.tell("pg.refund.completed", p.MerchantOrderID, "COMPLETED", 100)
	r.until("what nobody handles yet is kept", func() bool {
		return r.number(`SELECT count(*) FROM payment.webhook_event WHERE state = 'ORPHAN'`) == 1
	})
}

func TestBudget(t *testing.T) {
	var b budget
	now := time.Unix(1_800_000_000, 0)
	taken := 0
	for range 10 * rejectedPerMinute {
		if b.take(now) {
			taken++
		}
	}
	if taken != rejectedPerMinute || !b.take(now.Add(time.Minute)) {
		t.Errorf("%d in a minute, want %d; and again in the next", taken, rejectedPerMinute)
	}
}
