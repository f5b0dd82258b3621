package sandbox

import (
	"crypto/rand"
	"encoding/json"
	"net"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/deploy/internal/judge"
)

// alone is a sandbox whose merchant is another program, at the port that it answers.
func alone(t *testing.T) (base, shopPort string) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(nil)
	base = "http://" + front.Listener.Addr().String()
	s, err := New(t.Context(), Config{
		PublicURL: base, CallbackURL: "http://" + addr, DataDir: t.TempDir(), PhonePe: merchant, PhonePeV1: merchant1, Razorpay: merchantR, Stripe: merchantS,
		Now: time.Now, Rand: rand.Reader, Log: zerolog.Nop(), Step: time.Millisecond, Late: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	front.Config.Handler = s.Handler()
	front.Start()
	t.Cleanup(func() {
		front.Close()
		_ = s.Close()
	})
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	return base, port
}

func judged(t *testing.T, script string, want map[string]any, args ...string) {
	t.Helper()
	out := judge.Node(t, "testdata/judges", script, args...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
		t.Fatalf("%s said %s", script, out)
	}
	// Through JSON, so that numbers compare as it has them.
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	clear(want)
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", script, diff)
	}
}

// money.md row B55: the official Node client of PhonePe, with class-transformer held at 0.4.0.
func TestPhonePesOwnClient(t *testing.T) {
	base, port := alone(t)
	judged(t, "phonepe.mjs", map[string]any{
		"pay":           map[string]any{"state": "PENDING", "page": true},
		"reused":        []any{417, "INVALID_TRANSACTION_ID"},
		"pending":       "PENDING",
		"status":        map[string]any{"state": "COMPLETED", "amount": 49900, "orderId": true, "rail": "UPI"},
		"transaction":   "COMPLETED",
		"unknown":       []any{404, "INVALID_MERCHANT_ORDER_ID"},
		"refund":        map[string]any{"state": "PENDING", "amount": 10000},
		"sdkOrder":      map[string]any{"state": "PENDING", "token": true},
		"callbacks":     []any{"checkout.order.completed COMPLETED 49900", "pg.refund.accepted CONFIRMED 10000", "pg.refund.completed COMPLETED 10000"},
		"wrongPassword": "Invalid Callback",
	}, base, port)
}

// money.md row B54: Razorpay's own client sees our errors by status and code, not as success.
func TestRazorpaysOwnClient(t *testing.T) {
	base, port := alone(t)
	judged(t, "razorpay.mjs", map[string]any{
		"order":        []any{"created", 49900, "P-1", "premium", true},
		"failed":       "FAILED",
		"attempted":    "attempted",
		"handback":     true,
		"paid":         "paid",
		"byReceipt":    1,
		"payments":     []any{"captured", "failed"},
		"payment":      []any{"captured", true, 1178, 180, true},
		"refund":       []any{"pending", 10000, "R-1"},
		"tooMuch":      []any{400, "BAD_REQUEST_ERROR", "The total refund amount is greater than the refund payment amount"},
		"ofPayment":    1,
		"partial":      "partial",
		"authorized":   "authorized",
		"wrongCapture": []any{400, "BAD_REQUEST_ERROR", "Capture amount must be equal to the amount authorized"},
		"captured":     "captured",
		"link":         true,
		"recon":        []any{"payment 48722 0 P-1", "refund 0 10000 P-1", "payment 4882 0 ", "payment 7518 0 L-1"},
		"unknown":      []any{400, "BAD_REQUEST_ERROR", "The id provided does not exist"},
		"tooLittle":    []any{400, "BAD_REQUEST_ERROR", "Order amount less than minimum amount allowed"},
		"wrongKey":     []any{401, "BAD_REQUEST_ERROR", "Authentication failed"},
		"callbacks": []any{
			"order.paid", "order.paid", "order.paid", "payment.authorized", "payment.authorized", "payment.authorized", "payment.captured", "payment.captured", "payment.captured",
			"payment.failed", "payment_link.paid", "refund.created", "refund.processed",
		},
		"signed": true, "otherSecret": false, "ids": 13,
	}, base, port, merchantR.KeyID, merchantR.KeySecret, merchantR.WebhookSecret)
}
