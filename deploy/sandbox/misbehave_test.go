package sandbox

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v85/webhook"
)

// dialect lets the tests that hold for all go over all.
type dialect struct {
	name   string
	order  func(w *world, ref string, amount int) (page string)
	state  func(w *world, ref, page string) string // as the status call says it
	paid   string                                  // the state of a paid one
	events int                                     // callbacks of one success
	good   func(d delivery) (bool, int64)          // whether the signature is, and the amount it claims
	down   func(w *world) int                      // a status call's answer, when there are none
}

func amountOf(v any, path ...any) int64 {
	n, _ := dig(v, path...).(float64)
	return int64(n)
}

var dialects = []dialect{
	{
		name: phonepe1, paid: "COMPLETED", events: 1,
		order: func(w *world, ref string, amount int) string {
			_, got := w.phonepe1("/pg/v1/pay", pay1(ref, amount))
			return w.pathOf(text(got, "data", "instrumentResponse", "redirectInfo", "url"))
		},
		state: func(w *world, ref, _ string) string {
			_, got := w.phonepe1Status(ref)
			return text(got, "data", "state")
		},
		good: func(d delivery) (bool, int64) {
			var envelope struct{ Response string }
			_ = json.Unmarshal(d.body, &envelope)
			return d.header.Get("X-Verify") == merchant1.verify(envelope.Response), amountOf(base64JSON(envelope.Response), "data", "amount")
		},
		down: func(w *world) int { status, _ := w.phonepe1Status("x"); return status },
	},
	{
		name: razorpay, paid: "paid", events: 3,
		order: func(w *world, ref string, amount int) string {
			_, got := w.razorpay("POST", "/orders", fmt.Sprintf(`{"amount":%d,"currency":"INR","receipt":"%s","unique_receipt":true}`, amount, ref))
			return "/checkout/" + text(got, "id")
		},
		state: func(w *world, _, page string) string {
			_, got := w.razorpay("GET", "/orders/"+strings.TrimPrefix(page, "/checkout/"), "")
			return text(got, "status")
		},
		good: func(d delivery) (bool, int64) {
			return d.header.Get("X-Razorpay-Signature") == merchantR.sign(merchantR.WebhookSecret, string(d.body)), amountOf(d.json(), "payload", "payment", "entity", "amount")
		},
		down: func(w *world) int { status, _ := w.razorpay("GET", "/orders", ""); return status },
	},
	{
		name: stripe, paid: "complete", events: 3,
		order: func(w *world, ref string, amount int) string {
			_, got := w.stripe("POST", "/checkout/sessions", url.Values{
				"mode": {"payment"}, "success_url": {"http://localhost:5001/back"}, "client_reference_id": {ref}, "line_items[0][quantity]": {"1"},
				"line_items[0][price_data][currency]": {"inr"}, "line_items[0][price_data][unit_amount]": {strconv.Itoa(amount)}, "line_items[0][price_data][product_data][name]": {"x"},
			})
			return w.pathOf(text(got, "url"))
		},
		state: func(w *world, _, page string) string {
			_, got := w.stripe("GET", "/checkout/sessions/"+strings.TrimPrefix(page, "/checkout/"), nil)
			return text(got, "status")
		},
		good: func(d delivery) (bool, int64) {
			e, err := webhook.ConstructEventIgnoringTolerance(d.body, d.header.Get("Stripe-Signature"), merchantS.WebhookSecret)
			v := d.json()
			n := amountOf(v, "data", "object", "amount")
			if n == 0 {
				n = amountOf(v, "data", "object", "amount_total")
			}
			return err == nil && e.ID != "", n
		},
		down: func(w *world) int { status, _ := w.stripe("GET", "/events", nil); return status },
	},
}

func base64JSON(s string) map[string]any {
	return delivery{body: decoded(s)}.json()
}

// each runs a test for every dialect that answers in its own way.
func each(t *testing.T, test func(w *world, d dialect)) {
	t.Helper()
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) { test(open(t), d) })
	}
}

func (w *world) take(n int) []delivery {
	w.t.Helper()
	all := make([]delivery, 0, n)
	for range n {
		all = append(all, w.delivered())
	}
	return all
}

func TestEveryDialectPaidOnce(t *testing.T) {
	each(t, func(w *world, d dialect) {
		t := w.t
		page := d.order(w, "once", 29900)
		for range 2 {
			if status, got := w.complete(page, "SUCCESS"); status != 200 {
				t.Fatalf("complete: %d %v", status, got)
			}
		}
		for _, c := range w.take(d.events) {
			if ok, amount := d.good(c); !ok || amount != 29900 || c.path != "/api/v1/payments/webhooks/"+d.name {
				t.Errorf("callback to %s: genuine %v, of %d: %s", c.path, ok, amount, c.body)
			}
		}
		if got := d.state(w, "once", page); got != d.paid {
			t.Errorf("state %s, want %s", got, d.paid)
		}
		if status, _ := w.complete(page, "FAILURE"); status != 409 {
			t.Errorf("failure after success: %d, want 409", status)
		}
		rows := w.rows()
		if len(rows) != 1 || rows[0].Provider != d.name || rows[0].MerchantOrderID != "once" || rows[0].AmountMinor != 29900 || rows[0].Kind != "CAPTURE" {
			t.Errorf("statement = %+v", rows)
		}
		w.quiet()
	})
}

func TestEveryDialectLateSuccess(t *testing.T) {
	each(t, func(w *world, d dialect) {
		t := w.t
		page := d.order(w, "late", 10000)
		for _, outcome := range []string{"PENDING", "FAILURE", "SUCCESS"} {
			if status, got := w.complete(page, outcome); status != 200 {
				t.Fatalf("%s: %d %v", outcome, status, got)
			}
		}
		w.eventually("paid", func() bool { return d.state(w, "late", page) == d.paid })
		if rows := w.rows(); len(rows) != 1 {
			t.Errorf("statement = %+v, want one row", rows)
		}
	})
}

func TestEveryDialectMisbehaves(t *testing.T) {
	each(t, func(w *world, d dialect) {
		t := w.t
		w.control(fmt.Sprintf(`{"drop":%d}`, d.events))
		w.complete(d.order(w, "lost", 10000), "SUCCESS")
		w.control(`{"duplicate":2}`)
		w.complete(d.order(w, "thrice", 20000), "SUCCESS")
		seen := map[string]int{}
		for _, c := range w.take(3 * d.events) {
			ok, amount := d.good(c)
			if !ok || amount != 20000 {
				t.Errorf("copy: genuine %v, of %d", ok, amount)
			}
			seen[c.header.Get("X-Razorpay-Event-Id")+string(c.body)]++
		}
		for _, n := range seen {
			if n != 3 {
				t.Errorf("a callback came %d times, want 3 equal ones", n)
			}
		}
		w.control(`{"forge":true}`)
		w.complete(d.order(w, "target", 30000), "SUCCESS")
		forged := 0
		for _, c := range w.take(d.events + 1) {
			ok, amount := d.good(c)
			if !ok {
				forged++
			}
			if ok != (amount == 30000) {
				t.Errorf("genuine %v, of %d", ok, amount)
			}
		}
		if forged != 1 {
			t.Errorf("%d forged, want 1", forged)
		}
		w.control(`{"reorder":true}`)
		w.complete(d.order(w, "held", 40000), "SUCCESS")
		w.complete(d.order(w, "next", 50000), "SUCCESS")
		w.control(`{}`)
		w.take(2 * d.events)
		w.refuse.Store(2)
		page := d.order(w, "again", 60000)
		w.complete(page, "SUCCESS")
		w.take(d.events)
		w.control(`{"failNextCalls":1}`)
		if got := d.down(w); got != 503 {
			t.Errorf("a call that is to fail: %d, want 503", got)
		}
		w.control(`{"statusUnavailable":true}`)
		if got := d.down(w); got != 503 {
			t.Errorf("a status call: %d, want 503", got)
		}
		if d.order(w, "still", 7000) == "/checkout/" {
			t.Error("an order was refused with the status calls")
		}
		w.control(`{}`)
		if got := d.down(w); got == 503 {
			t.Error("still down")
		}
		w.quiet()
	})
}

func TestScenarios(t *testing.T) {
	w := open(t)
	d := dialects[1] // Razorpay: it shows the most
	if page := d.order(w, "off", 10100); true {
		w.complete(page, "SUCCESS")
		w.take(3)
		if got := d.state(w, "", page); got != "paid" {
			t.Errorf("without scenarios: %s, want paid", got)
		}
	}
	w.control(`{"scenarios":true,"lateMs":60000}`)
	run := func(ref string, amount int) string {
		page := d.order(w, ref, amount)
		if status, got := w.complete(page, "SUCCESS"); status != 200 {
			t.Fatalf("%s: %d %v", ref, status, got)
		}
		return page
	}
	declined := run("01", 10100)
	if got := w.take(1)[0].json(); got["event"] != "payment.failed" {
		t.Errorf("01: %v, want payment.failed", got["event"])
	}
	waiting, hidden := run("02", 10200), run("03", 10300)
	if got := d.state(w, "", waiting) + d.state(w, "", hidden) + d.state(w, "", declined); got != "attemptedattemptedattempted" {
		t.Errorf("01, 02 and 03 are %s, want all attempted", got)
	}
	if rows := w.rows(); len(rows) != 2 || rows[1].MerchantOrderID != "03" {
		t.Errorf("statement = %+v: 03 is debited, 02 is not", rows)
	}
	lost := run("04", 10400)
	if got := d.state(w, "", lost); got != "paid" {
		t.Errorf("04: %s, want paid and silent", got)
	}
	run("05", 10500)
	if got := len(w.take(9)); got != 9 {
		t.Errorf("05: %d callbacks, want 9", got)
	}
	run("07", 10700)
	for _, c := range w.take(3) {
		if ok, amount := d.good(c); !ok || amount != 10800 {
			t.Errorf("07: genuine %v, of %d; want a good signature under 10800", ok, amount)
		}
	}
	expired := run("08", 10800)
	if got := w.take(1)[0].json(); text(got, "payload", "payment", "entity", "error_reason") != "payment_timed_out" {
		t.Errorf("08: %v", got)
	}
	// Later comes when the bank's clock gets there.
	w.control(`{"scenarios":true,"clock":"` + time.Unix(w.clock.Load(), 0).Add(2*time.Minute).UTC().Format(time.RFC3339) + `"}`)
	for _, page := range []string{waiting, expired, hidden} {
		w.eventually("paid later", func() bool { return d.state(w, "", page) == "paid" })
	}
	// The late one is the payment that had failed, not another.
	_, got := w.razorpay("GET", "/orders/"+strings.TrimPrefix(expired, "/checkout/")+"/payments", "")
	if text(got, "count") != "1" || text(got, "items", 0, "status") != "captured" {
		t.Errorf("08: %v, want one payment, captured", got)
	}
	page := run("09", 10900)
	_, got = w.razorpay("GET", "/orders/"+strings.TrimPrefix(page, "/checkout/")+"/payments", "")
	_, got = w.razorpay("POST", "/payments/"+text(got, "items", 0, "id")+"/refund", `{}`)
	w.eventually("the refund failed", func() bool {
		_, now := w.razorpay("GET", "/refunds/"+text(got, "id"), "")
		return now["status"] == "failed"
	})
	if slices.ContainsFunc(w.rows(), func(r Row) bool { return r.Kind == "REFUND" }) {
		t.Error("09: a failed refund moved money")
	}
	w.mandate("ten", true, 10000, 101000, "TRANSACTION")
	w.eventually("the mandate is revoked", func() bool {
		w.token = w.loginAt(2 * time.Minute)
		_, got := w.call("GET", hosted+"/ten/status", "")
		if got["state"] == "ACTIVE" {
			w.control(`{"scenarios":true,"clock":"` + time.Unix(w.clock.Load(), 0).Add(2*time.Minute).UTC().Format(time.RFC3339) + `"}`)
		}
		return got["state"] == "REVOKED"
	})
}

func TestRefundFails(t *testing.T) {
	w := open(t)
	w.complete(w.pay("rf", 1000), "SUCCESS")
	w.next()
	w.control(`{"failRefunds":1}`)
	body := `{"merchantRefundId":"rf-1","originalMerchantOrderId":"rf","amount":1000}`
	if status, got := w.call("POST", "/apis/pg-sandbox/payments/v2/refund", body); status != 200 {
		t.Fatalf("refund: %d %v", status, got)
	}
	w.eventually("it fails", func() bool {
		_, got := w.call("GET", "/apis/pg-sandbox/payments/v2/refund/rf-1/status", "")
		return got["state"] == "FAILED" && got["errorCode"] != nil
	})
	if rows := w.rows(); len(rows) != 1 {
		t.Errorf("statement = %+v, want the capture alone", rows)
	}
	// money.md 4.2: PhonePe promises no cap on the sum; two whole refunds are both paid.
	for _, id := range []string{"rf-2", "rf-3"} {
		w.call("POST", "/apis/pg-sandbox/payments/v2/refund", strings.Replace(body, "rf-1", id, 1))
	}
	w.eventually("both are paid", func() bool { return len(w.rows()) == 3 })
	if status, _ := w.call("POST", "/apis/pg-sandbox/payments/v2/refund", strings.Replace(strings.Replace(body, "rf-1", "rf-4", 1), ":1000", ":1001", 1)); status != 400 {
		t.Errorf("one refund over the order: %d, want 400", status)
	}
}

func TestDisputesAndSettlement(t *testing.T) {
	each(t, func(w *world, d dialect) {
		t := w.t
		w.complete(d.order(w, "won", 10000), "SUCCESS")
		w.complete(d.order(w, "lost", 20000), "SUCCESS")
		w.take(2 * d.events)
		raise := func(ref string, amount int, outcome string, want int) {
			t.Helper()
			body := fmt.Sprintf(`{"provider":"%s","merchantOrderId":"%s","amountMinor":"%d","outcome":"%s"}`, d.name, ref, amount, outcome)
			if status, got := w.call("POST", "/bank/dispute", body); status != want {
				t.Errorf("%s %s: %d %v, want %d", ref, outcome, status, got, want)
			}
		}
		raise("won", 10001, "OPENED", 409)
		raise("none", 1, "OPENED", 404)
		raise("won", 10000, "PERHAPS", 400)
		raise("won", 10000, "OPENED", 200)
		raise("won", 10000, "OPENED", 409)
		raise("won", 10000, "WON", 200)
		raise("lost", 5000, "LOST", 200)
		raise("lost", 5000, "LOST", 409)
		calls := map[string]int{phonepe1: 0, razorpay: 4, stripe: 7}[d.name]
		for _, c := range w.take(calls) {
			if ok, amount := d.good(c); !ok || amount == 0 {
				t.Errorf("dispute callback: genuine %v: %s", ok, c.body)
			}
		}
		var net int64
		for _, r := range w.rows() {
			switch r.Kind {
			case "CHARGEBACK":
				net -= r.AmountMinor
			case "CHARGEBACK_REVERSED":
				net += r.AmountMinor
			}
		}
		if net != -5000 {
			t.Errorf("disputes moved %d, want -5000", net)
		}
		status, got := w.call("GET", "/bank/settlement?date=2025-10-09&provider="+d.name, "")
		var sum, rows int64
		for _, line := range strings.Split(strings.TrimSpace(text(got, "text")), "\n") {
			var l settled
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			sum, rows = sum+l.NetMinor, rows+1
		}
		// 2 % of 100 and 200 rupees, and 18 % on that: 236 and 472 paise are kept.
		if want := int64(30000 - 5000 - 236 - 472); status != 200 || sum != want || rows < 3 {
			t.Errorf("settlement: %d, %d lines, sum %d, want %d", status, rows, sum, want)
		}
		if _, got := w.call("GET", "/bank/settlement?date=2025-10-10", ""); strings.TrimSpace(text(got, "text")) != "" {
			t.Errorf("the next day: %v, want nothing", got)
		}
		if status, _ := w.call("GET", "/bank/settlement?date=today", ""); status != 400 {
			t.Errorf("no date: %d, want 400", status)
		}
	})
}

// money.md 4.3: the vectors of Razorpay's own tests.
func TestRazorpayVectors(t *testing.T) {
	for signed, want := range map[string]string{
		"order_IEIaMR65cu6nz3|pay_IH4NVgf4Dreq1l":               "0d4e745a1838664ad6c9c9902212a32d627d68e917290b0ad5f08ff4561bc50f",
		"pay_IDZNwZZFtnjyym|sub_ID6MOhgkcoHj9I":                 "601f383334975c714c91a7d97dd723eb56520318355863dcf3821c0d07a17693",
		"plink_IH3cNucfVEgV68|TSsd1989|paid|pay_IH3d0ara9bSsjQ": "07ae18789e35093e51d0a491eb9922646f3f82773547e5b0f67ee3f2d3bf7d5b",
	} {
		if got := merchantR.sign("EnLs21M47BllR3X8PSFtjtbd", signed); got != want {
			t.Errorf("%s: %s, want %s", signed, got, want)
		}
	}
}

func TestRazorpayIdempotency(t *testing.T) {
	w := open(t)
	body := `{"amount":10000,"currency":"INR","receipt":"same","unique_receipt":true}`
	_, first := w.razorpay("POST", "/orders", body)
	if _, again := w.razorpay("POST", "/orders", body); again["id"] != first["id"] {
		t.Errorf("the same receipt made %v and %v", first["id"], again["id"])
	}
	if status, _ := w.razorpay("POST", "/orders", strings.Replace(body, "10000", "10001", 1)); status != 400 {
		t.Errorf("the same receipt with another amount: %d, want 400", status)
	}
	_, got := w.complete("/checkout/"+text(first, "id"), "SUCCESS")
	payment := text(got, "handback", "razorpay_payment_id")
	w.take(3)
	refund := func(body, key string) (int, map[string]any) {
		return w.razorpay("POST", "/payments/"+payment+"/refund", body, "X-Refund-Idempotency", key)
	}
	_, one := refund(`{"amount":4000}`, "key-000001")
	if _, two := refund(`{"amount":4000}`, "key-000001"); two["id"] != one["id"] {
		t.Errorf("the same key made %v and %v", one["id"], two["id"])
	}
	if status, _ := refund(`{"amount":4001}`, "key-000001"); status != 400 {
		t.Errorf("the same key with another body: %d, want 400", status)
	}
	if status, _ := refund(`{"amount":4000}`, "short"); status != 400 {
		t.Errorf("a short key: %d, want 400", status)
	}
	if status, got := refund(`{}`, "key-000002"); status != 200 || got["amount"] != float64(6000) {
		t.Errorf("the rest: %d %v, want 6000", status, got)
	}
	if status, _ := refund(`{"amount":100}`, "key-000003"); status != 400 {
		t.Errorf("more than all: %d, want 400", status)
	}
}

// An idempotency key, an event and a plan outlive the process.
func TestRestartGoesOn(t *testing.T) {
	w := open(t)
	w.control(`{"refundStepMs":600000}`)
	form := url.Values{"amount": {"5000"}, "currency": {"inr"}, "confirm": {"true"}, "payment_method": {"pm_card_visa"}}
	_, first := w.stripe("POST", "/payment_intents", form, "Idempotency-Key", "kept")
	w.complete(w.pay("kept", 500), "SUCCESS")
	w.call("POST", "/apis/pg-sandbox/payments/v2/refund", `{"merchantRefundId":"kept-1","originalMerchantOrderId":"kept","amount":500}`)
	w.httpURL.Close()
	if err := w.server.Close(); err != nil {
		t.Fatal(err)
	}
	w.clock.Add(1200) // the time that it was down counts
	w.start("http://127.0.0.1:9")
	w.eventually("the refund is paid", func() bool {
		_, got := w.call("GET", "/apis/pg-sandbox/payments/v2/refund/kept-1/status", "")
		return got["state"] == "COMPLETED"
	})
	if _, again := w.stripe("POST", "/payment_intents", form, "Idempotency-Key", "kept"); again["id"] != first["id"] {
		t.Errorf("the key is forgotten: %v and %v", first["id"], again["id"])
	}
	if _, got := w.stripe("GET", "/events", url.Values{"type": {"payment_intent.succeeded"}}); count(got) != 1 {
		t.Errorf("events = %v, want one", got)
	}
}

// A journal of before the other dialects is read as it was.
func TestOldJournal(t *testing.T) {
	w := &world{t: t, dir: t.TempDir(), got: make(chan received, 1), raw: make(chan delivery, 1)}
	w.clock.Store(1_760_000_000)
	old := `{"order":{"id":"OMO1","provider":"phonepe","merchantOrderId":"m1","amount":500,"state":"COMPLETED","expireAt":"2025-10-09T10:00:00Z","attempts":[{"transactionId":"OM1","state":"COMPLETED","at":"2025-10-09T09:00:00Z"}]},"row":{"id":"OM1","provider":"phonepe","merchantOrderId":"m1","kind":"CAPTURE","amountMinor":"500","currency":"INR","at":"2025-10-09T09:00:00Z"}}
{"refund":{"id":"OMR1","merchantRefundId":"r1","merchantOrderId":"m1","amount":100,"state":"COMPLETED","transactionId":"OM2","at":"2025-10-09T09:01:00Z"}}
`
	if err := os.WriteFile(filepath.Join(w.dir, "journal.ndjson"), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start("http://127.0.0.1:9")
	if _, got := w.call("GET", "/apis/pg-sandbox/checkout/v2/order/m1/status", ""); got["state"] != "COMPLETED" {
		t.Errorf("order: %v", got)
	}
	if _, got := w.call("GET", "/apis/pg-sandbox/payments/v2/refund/r1/status", ""); got["state"] != "COMPLETED" {
		t.Errorf("refund: %v", got)
	}
	want := []Row{{ID: "OM1", Provider: "phonepe", MerchantOrderID: "m1", Kind: "CAPTURE", AmountMinor: 500, Currency: "INR", At: time.Date(2025, 10, 9, 9, 0, 0, 0, time.UTC)}}
	if diff := cmp.Diff(want, w.rows()); diff != "" {
		t.Errorf("statement (-want +got):\n%s", diff)
	}
}

func TestPageHandsBack(t *testing.T) {
	w := open(t)
	_, got := w.razorpay("POST", "/orders", `{"amount":10000,"currency":"INR","receipt":"p"}`)
	id := text(got, "id")
	form := url.Values{"key_id": {merchantR.KeyID}, "order_id": {id}, "callback_url": {"http://shop.test:1/done"}}
	status, got := w.call("POST", "/razorpay/v1/checkout/embedded", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	if status != 200 || !strings.Contains(text(got, "text"), `value="SUCCESS"`) {
		t.Fatalf("embedded: %d %v", status, got)
	}
	w.complete("/checkout/"+id, "SUCCESS")
	_, got = w.call("GET", "/checkout/"+id, "")
	html := text(got, "text")
	for _, want := range []string{`action="http://shop.test:1/done"`, `name="razorpay_signature"`, `name="razorpay_order_id" value="` + id + `"`} {
		if !strings.Contains(html, want) {
			t.Errorf("page lacks %s", want)
		}
	}
	if csp := text(got, "csp"); !strings.Contains(csp, "form-action 'self' http://shop.test:1;") {
		t.Errorf("policy = %s", csp)
	}
	w.take(3)
}
