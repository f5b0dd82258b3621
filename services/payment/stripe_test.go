package payment

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manas360/platform/services/payment/factstate"
)

const (
	stSessions = "POST /v1/checkout/sessions"
	stSession  = "GET /v1/checkout/sessions/" + aSession
	stRefund   = "POST /v1/refunds"
	stRefunds  = "GET /v1/refunds"

	openSession = `{"id":"` + aSession + `","object":"checkout.session","amount_total":29900,"currency":"inr","client_reference_id":"` + anOrder + `","expires_at":1795431600,"payment_intent":null,"payment_status":"unpaid","status":"open","url":"https://checkout.stripe.com/c/1"}`
	paidSession = `{"id":"` + aSession + `","object":"checkout.session","amount_total":29900,"currency":"inr","client_reference_id":"` + anOrder + `","payment_intent":{"id":"pi_1","object":"payment_intent","amount":29900,"amount_received":29900,"currency":"inr","status":"succeeded","metadata":{"merchantOrderId":"` + anOrder + `"},"latest_charge":{"id":"ch_1","object":"charge","created":1795428060,"payment_method_details":{"type":"card"}}},"payment_status":"paid","status":"complete","url":null}`
	stRefunded  = `{"id":"re_1","object":"refund","amount":9900,"currency":"inr","payment_intent":"pi_1","metadata":{"merchantRefundId":"` + aRefund + `"},"status":"succeeded"}`
)

func stError(kind, code string) string {
	return `{"error":{"type":"` + kind + `","code":"` + code + `","message":"no"}}`
}

// TestStripePay: all parameters follow from the order, for the key replays only those.
func TestStripePay(t *testing.T) {
	f := script(t, map[string][]spoken{stSessions: {{200, openSession}}})
	c := f.stripe()
	var before string
	for range 2 {
		o, err := c.pay(t.Context(), dear())
		if err != nil || o.ProviderOrderID != aSession || o.RedirectURL != "https://checkout.stripe.com/c/1" {
			t.Fatalf("%+v, %v", o, err)
		}
		h := f.last(t, stSessions)
		if h.header.Get("Idempotency-Key") != anOrder || h.header.Get("Authorization") != "Bearer sk_test_1" || h.header.Get("Stripe-Version") == "" {
			t.Errorf("headers %v", h.header)
		}
		if before != "" && h.body != before {
			t.Error("a repeat sends something else")
		}
		before = h.body
		got, err := url.ParseQuery(h.body)
		if err != nil {
			t.Fatal(err)
		}
		want := url.Values{
			"mode": {"payment"}, "client_reference_id": {anOrder}, "success_url": {aReturn}, "cancel_url": {aReturn}, "expires_at": {"1795431600"},
			"metadata[merchantOrderId]": {anOrder}, "metadata[paymentId]": {"pay_1"},
			"payment_intent_data[metadata][merchantOrderId]": {anOrder}, "payment_intent_data[metadata][paymentId]": {"pay_1"},
			"line_items[0][quantity]": {"1"}, "line_items[0][price_data][currency]": {"inr"}, "line_items[0][price_data][unit_amount]": {"29900"},
			"line_items[0][price_data][product_data][name]": {"Manas360"},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("request (-want +got):\n%s", d)
		}
	}
}

// TestStripeRefusals: money.md B54. Stripe's client may not repeat on its own,
// and no error of a server is a no.
func TestStripeRefusals(t *testing.T) {
	for _, tt := range []struct {
		name string
		says spoken
		want string
	}{
		{"a wrong parameter", spoken{400, stError("invalid_request_error", "amount_too_small")}, no},
		{"without a code", spoken{400, `{"error":{"type":"invalid_request_error","message":"no"}}`}, no},
		{"not allowed", spoken{403, stError("invalid_request_error", "")}, no},
		{"a card's", spoken{402, stError("card_error", "card_declined")}, no},
		{"wrong keys", spoken{401, stError("invalid_request_error", "")}, unsent},
		{"too often", spoken{429, stError("invalid_request_error", "rate_limit")}, unsent},
		{"still running", spoken{409, stError("idempotency_error", "idempotency_key_in_use")}, unknown},
		{"the key with other parameters", spoken{400, stError("idempotency_error", "")}, unknown},
		{"a server's", spoken{500, stError("api_error", "")}, unknown},
		{"an error without one", spoken{400, `{"error":null}`}, unknown},
		{"another amount", spoken{200, strings.Replace(openSession, "29900", "100", 1)}, unknown},
		{"another currency", spoken{200, strings.Replace(openSession, `"inr"`, `"usd"`, 1)}, unknown},
		{"another order", spoken{200, strings.Replace(openSession, anOrder, "P9-1", 1)}, unknown},
		{"nowhere to pay", spoken{200, strings.Replace(openSession, "https://checkout.stripe.com/c/1", "", 1)}, unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := script(t, map[string][]spoken{stSessions: {tt.says}})
			if _, err := f.stripe().pay(t.Context(), dear()); verdictOf(err) != tt.want {
				t.Errorf("%s (%v), want %s", verdictOf(err), err, tt.want)
			}
			if n := f.count(stSessions); n != 1 {
				t.Errorf("sent %d times, want once", n)
			}
		})
	}
}

// TestStripeFacts takes the money's word from the intent and compares nothing itself.
func TestStripeFacts(t *testing.T) {
	with := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(paidSession) }
	for _, tt := range []struct {
		name, body string
		want       factstate.Fact
		echoed     string
		amount     int64
	}{
		{"open", openSession, factstate.Opened, anOrder, price},
		{"expired", strings.Replace(openSession, `"open"`, `"expired"`, 1), factstate.Lapsed, anOrder, price},
		{"paid", paidSession, factstate.Captured, anOrder, price},
		{"less received", with(`"amount_received":29900`, `"amount_received":100`), factstate.Captured, anOrder, 100},
		{"the intent of another order", with(`"metadata":{"merchantOrderId":"`+anOrder, `"metadata":{"merchantOrderId":"P9-1`), factstate.Captured, "P9-1", price},
		{"another order", with(`"client_reference_id":"`+anOrder, `"client_reference_id":"P9-1`), factstate.Captured, "P9-1", price},
		{"paid, and the intent is not", with(`"succeeded"`, `"processing"`), factstate.Unknown, anOrder, price},
		{"paid, and no intent", strings.Replace(openSession, `"unpaid","status":"open"`, `"paid","status":"complete"`, 1), factstate.Unknown, anOrder, price},
		{"on its way", with(`"succeeded"`, `"processing"`, `"paid"`, `"unpaid"`), factstate.Opened, anOrder, price},
		{"failed on its way", with(`"succeeded"`, `"requires_payment_method"`, `"paid"`, `"unpaid"`), factstate.Declined, anOrder, price},
		{"declined, and can be tried again", with(`"succeeded"`, `"requires_payment_method"`, `"paid"`, `"unpaid"`, `"complete"`, `"open"`), factstate.Opened, anOrder, price},
		{"cancelled", with(`"succeeded"`, `"canceled"`, `"paid"`, `"unpaid"`), factstate.Declined, anOrder, price},
		{"a word that is new", with(`"succeeded"`, `"dreaming"`, `"paid"`, `"unpaid"`), factstate.Unknown, anOrder, price},
		{"nothing to pay", with(`"paid"`, `"no_payment_required"`), factstate.Unknown, anOrder, price},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := script(t, map[string][]spoken{stSession: {{200, tt.body}}})
			got, err := f.stripe().status(t.Context(), sentOrder{MerchantOrderID: anOrder, ProviderOrderID: aSession, AmountMinor: price, Currency: "INR"})
			if err != nil || got.Kind != tt.want || got.EchoedOrderID != tt.echoed || got.AmountMinor != tt.amount || got.Currency != "INR" || got.MerchantOrderID != anOrder {
				t.Errorf("%+v (%v), want %s of %d for %s", got, err, tt.want, tt.amount, tt.echoed)
			}
			if got.Kind == factstate.Captured && (got.Method != "card" || got.PaidAt.IsZero()) {
				t.Errorf("captured: %+v", got)
			}
		})
	}
	f := script(t, map[string][]spoken{stSession: {{404, stError("invalid_request_error", "resource_missing")}}})
	for _, id := range []string{"", aSession} {
		if _, err := f.stripe().status(t.Context(), sentOrder{MerchantOrderID: anOrder, ProviderOrderID: id}); verdictOf(err) != noSuchOrder {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestStripeRefund: money.md B24, B30. One key for one refund, looked for before it is sent.
func TestStripeRefund(t *testing.T) {
	list := func(of string) spoken { return spoken{200, `{"object":"list","has_more":false,"data":[` + of + `]}`} }
	for _, tt := range []struct {
		name            string
		refunds, refund spoken
		want            string
		kind            refundKind
		sent            int
	}{
		{"sent", list(""), spoken{200, stRefunded}, fine, refundDone, 1},
		{"pending", list(""), spoken{200, strings.Replace(stRefunded, "succeeded", "pending", 1)}, fine, refundPending, 1},
		{"waits for the customer", list(""), spoken{200, strings.Replace(stRefunded, "succeeded", "requires_action", 1)}, fine, refundPending, 1},
		{"failed", list(""), spoken{200, strings.Replace(stRefunded, "succeeded", "failed", 1)}, fine, refundFailed, 1},
		{"cancelled", list(""), spoken{200, strings.Replace(stRefunded, "succeeded", "canceled", 1)}, fine, refundFailed, 1},
		{"a new word", list(""), spoken{200, strings.Replace(stRefunded, "succeeded", "done", 1)}, fine, refundUnknown, 1},
		{"there already", list(stRefunded), spoken{}, fine, refundDone, 0},
		{"another is there", list(strings.Replace(stRefunded, aRefund, "R9-1", 1)), spoken{200, stRefunded}, fine, refundDone, 1},
		{"nobody knows whether it is there", spoken{500, ""}, spoken{}, unsent, 0, 0},
		{"refused", list(""), spoken{400, stError("invalid_request_error", "charge_already_refunded")}, no, 0, 1},
		{"still running", list(""), spoken{409, stError("idempotency_error", "idempotency_key_in_use")}, unknown, 0, 1},
		{"of another payment", list(""), spoken{200, strings.Replace(stRefunded, "pi_1", "pi_2", 1)}, unknown, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := script(t, map[string][]spoken{stSession: {{200, paidSession}}, stRefunds: {tt.refunds}, stRefund: {tt.refund}})
			got, err := f.stripe().refund(t.Context(), dearRefund(aSession))
			if verdictOf(err) != tt.want || err == nil && (got.Kind != tt.kind || got.AmountMinor != 9900 || got.EchoedRefundID != aRefund || got.Currency != "INR") {
				t.Errorf("%+v, %s (%v), want %s", got, verdictOf(err), err, tt.want)
			}
			if n := f.count(stRefund); n != tt.sent {
				t.Fatalf("sent %d times, want %d", n, tt.sent)
			}
			if tt.sent > 0 && f.last(t, stRefund).header.Get("Idempotency-Key") != aRefund {
				t.Errorf("key %q", f.last(t, stRefund).header.Get("Idempotency-Key"))
			}
		})
	}
}
