package payment

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manas360/platform/services/payment/factstate"
)

const (
	rpLinks    = "POST /v1/payment_links"
	rpFind     = "GET /v1/payment_links"
	rpLink     = "GET /v1/payment_links/" + aLink
	rpPayments = "GET /v1/orders/order_1/payments"
	rpCapture  = "POST /v1/payments/pay_1/capture"
	rpPayment  = "GET /v1/payments/pay_1"
	rpRefund   = "POST /v1/payments/pay_1/refund"
	rpRefunds  = "GET /v1/payments/pay_1/refunds"
	rpBad      = `{"error":{"code":"BAD_REQUEST_ERROR","description":"no","source":"business","step":"payment_initiation","reason":"input_validation_failed","metadata":{}}}`

	openLink     = `{"id":"` + aLink + `","entity":"payment_link","reference_id":"` + anOrder + `","order_id":"order_1","amount":29900,"amount_paid":0,"currency":"INR","status":"created","short_url":"https://rzp.io/i/1","expire_by":1795429260,"payments":[],"notes":[]}`
	paidPayments = `{"entity":"collection","count":1,"items":[{"id":"pay_1","entity":"payment","amount":29900,"currency":"INR","status":"captured","order_id":"order_1","method":"upi","captured":true,"amount_refunded":0,"fee":598,"error_code":null,"error_reason":null,"created_at":1795428060}]}`
	aRefundBody  = `{"id":"rfnd_1","entity":"refund","amount":9900,"currency":"INR","payment_id":"pay_1","notes":{"merchantRefundId":"` + aRefund + `"},"receipt":"` + aRefund + `","status":"processed"}`
)

var paidLink = strings.Replace(openLink, `"created"`, `"paid"`, 1)

func TestRazorpayPay(t *testing.T) {
	f := script(t, map[string][]spoken{rpLinks: {{200, openLink}}})
	o, err := f.razorpay().pay(t.Context(), dear())
	if err != nil || o.ProviderOrderID != aLink || o.RedirectURL != "https://rzp.io/i/1" {
		t.Fatalf("%+v, %v", o, err)
	}
	h := f.last(t, rpLinks)
	const want = `{"amount":29900,"currency":"INR","accept_partial":false,"reference_id":"` + anOrder + `","description":"Manas360","expire_by":1795429260,` +
		`"callback_url":"http://localhost:5001/?payment=pay_1","callback_method":"get","notes":{"merchantOrderId":"` + anOrder + `","paymentId":"pay_1"}}`
	if d := cmp.Diff(want, h.body); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
	if h.header.Get("Authorization") != "Basic cnpwX3Rlc3RfMTpzZWNyZXQ=" {
		t.Errorf("Authorization %q", h.header.Get("Authorization"))
	}
}

// TestRazorpayPayAgain: a repeat after a lost answer gives the same link, also
// its page. money.md B18, B24, B54.
func TestRazorpayPayAgain(t *testing.T) {
	list := func(links ...string) spoken {
		return spoken{200, `{"payment_links":[` + strings.Join(links, ",") + `]}`}
	}
	for _, tt := range []struct {
		name        string
		pay, found  spoken
		want, there string
	}{
		{"known and open", spoken{400, rpBad}, list(openLink), fine, "https://rzp.io/i/1"},
		{"known and paid", spoken{400, rpBad}, list(paidLink), duplicate, ""},
		{"known with another amount", spoken{400, rpBad}, list(strings.Replace(openLink, "29900", "100", 1)), unknown, ""},
		{"not known", spoken{400, rpBad}, list(), no, ""},
		{"no list", spoken{400, rpBad}, spoken{200, `{}`}, unknown, ""},
		{"another's in the list", spoken{400, rpBad}, list(strings.Replace(openLink, anOrder, "P9-1", 1)), unknown, ""},
		{"two in the list", spoken{400, rpBad}, list(openLink, openLink), unknown, ""},
		{"nobody knows", spoken{400, rpBad}, spoken{500, rpBad}, unknown, ""},
		{"a proxy's 404", spoken{400, rpBad}, spoken{404, rpBad}, unknown, ""},
		{"wrong keys", spoken{401, rpBad}, list(), unsent, ""},
		{"too often", spoken{429, rpBad}, list(), unsent, ""},
		{"another amount", spoken{200, strings.Replace(openLink, "29900", "100", 1)}, list(), unknown, ""},
		{"another currency", spoken{200, strings.Replace(openLink, "INR", "USD", 1)}, list(), unknown, ""},
		{"another order", spoken{200, strings.Replace(openLink, anOrder, "P9-1", 1)}, list(), unknown, ""},
		{"nowhere to pay", spoken{200, strings.Replace(openLink, "https://rzp.io/i/1", "javascript:x", 1)}, list(), unknown, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := script(t, map[string][]spoken{rpLinks: {tt.pay}, rpFind: {tt.found}})
			o, err := f.razorpay().pay(t.Context(), dear())
			if verdictOf(err) != tt.want || o.RedirectURL != tt.there {
				t.Errorf("%s (%v) %s, want %s", verdictOf(err), err, o.RedirectURL, tt.want)
			}
		})
	}
}

// TestRazorpayFacts: money.md B29, a link and the payments tried on it.
func TestRazorpayFacts(t *testing.T) {
	p := func(status string) razorpayPayment {
		return razorpayPayment{ID: "pay_1", Amount: price, Currency: "INR", Status: status, Captured: status == "captured", Method: "upi", ErrorReason: map[string]string{"failed": "payment_timed_out"}[status], CreatedAt: 1795428060}
	}
	refunded := p("refunded")
	refunded.Captured = true
	less := p("captured")
	less.Amount = 100
	long := clock().Add(orderLife + expiryMargin + time.Second)
	for _, tt := range []struct {
		name   string
		status string
		now    time.Time
		tries  []razorpayPayment
		want   factstate.Fact
		amount int64
		waits  bool
	}{
		{"open", "created", clock(), nil, factstate.Opened, price, false},
		{"failed, and can be tried again", "created", clock(), []razorpayPayment{p("failed")}, factstate.Opened, price, false},
		{"failed and over", "created", long, []razorpayPayment{p("failed")}, factstate.Declined, price, false},
		{"over", "created", long, nil, factstate.Lapsed, price, false},
		{"over, with one on its way", "created", long, []razorpayPayment{p("created"), p("failed")}, factstate.Opened, price, false},
		{"expired", "expired", clock(), nil, factstate.Lapsed, price, false},
		{"expired, with one on its way", "expired", clock(), []razorpayPayment{p("created")}, factstate.Opened, price, false},
		{"cancelled", "cancelled", clock(), nil, factstate.Declined, price, false},
		{"captured", "paid", clock(), []razorpayPayment{p("captured"), p("failed")}, factstate.Captured, price, false},
		{"captured after it expired", "expired", long, []razorpayPayment{p("captured")}, factstate.Captured, price, false},
		{"given back since", "paid", clock(), []razorpayPayment{refunded}, factstate.Captured, price, false},
		{"given back uncaptured", "expired", long, []razorpayPayment{p("refunded")}, factstate.Lapsed, price, false},
		{"captured twice", "paid", clock(), []razorpayPayment{p("captured"), p("captured")}, factstate.Captured, 2 * price, false},
		{"less captured", "paid", clock(), []razorpayPayment{less}, factstate.Captured, 100, false},
		{"authorized", "created", clock(), []razorpayPayment{p("authorized")}, factstate.Opened, price, true},
		{"authorized late", "expired", long, []razorpayPayment{p("authorized"), p("failed")}, factstate.Opened, price, true},
		{"authorized beside a captured one", "paid", clock(), []razorpayPayment{p("authorized"), p("captured")}, factstate.Captured, price, false},
		{"paid, and no payment says so", "paid", clock(), nil, factstate.Unknown, price, false},
		{"paid, and one on its way", "paid", clock(), []razorpayPayment{p("created")}, factstate.Unknown, price, false},
		{"a word that is new", "settled", clock(), nil, factstate.Unknown, price, false},
		{"no status", "", clock(), nil, factstate.Unknown, price, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := razorpayLink{ID: aLink, ReferenceID: anOrder, Amount: price, Currency: "INR", Status: tt.status, ExpireBy: clock().Add(orderLife).Unix()}
			f, authorized := l.fact(anOrder, tt.tries, tt.now)
			if f.Kind != tt.want || f.AmountMinor != tt.amount || (authorized != nil) != tt.waits {
				t.Errorf("%+v %v, want %s of %d", f, authorized, tt.want, tt.amount)
			}
			if f.Kind == factstate.Captured && (f.FailureCode != "" || f.Method != "upi" || f.PaidAt.IsZero()) {
				t.Errorf("captured: %+v", f)
			}
		})
	}
}

// TestRazorpayCaptures what is authorized, also late, and only what we asked for: money.md B29.
func TestRazorpayCaptures(t *testing.T) {
	authorized := strings.NewReplacer(`"captured","order_id"`, `"authorized","order_id"`, `"captured":true`, `"captured":false`).Replace(paidPayments)
	one := func(list string) string {
		var l struct{ Items []json.RawMessage }
		if err := json.Unmarshal([]byte(list), &l); err != nil {
			t.Fatal(err)
		}
		return string(l.Items[0])
	}
	expired := strings.Replace(openLink, `"created"`, `"expired"`, 1)
	for _, tt := range []struct {
		name           string
		payments       string
		capture, again spoken
		want           string
		kind           factstate.Fact
		captures       int
	}{
		{"authorized", authorized, spoken{200, one(paidPayments)}, spoken{}, fine, factstate.Captured, 1},
		{"captured a moment ago", authorized, spoken{400, rpBad}, spoken{200, one(paidPayments)}, fine, factstate.Captured, 1},
		{"refused", authorized, spoken{400, rpBad}, spoken{200, one(authorized)}, unknown, factstate.Unknown, 1},
		{"nobody knows", authorized, spoken{500, rpBad}, spoken{}, unknown, factstate.Unknown, 1},
		{"of another amount", strings.Replace(authorized, "29900", "100", 1), spoken{}, spoken{}, fine, factstate.Opened, 0},
		{"of another currency", strings.Replace(authorized, "INR", "USD", 1), spoken{}, spoken{}, fine, factstate.Opened, 0},
		{"of another order", strings.Replace(authorized, "order_1", "order_2", 1), spoken{}, spoken{}, unknown, factstate.Unknown, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := script(t, map[string][]spoken{rpLink: {{200, expired}}, rpPayments: {{200, tt.payments}}, rpCapture: {tt.capture}, rpPayment: {tt.again}})
			got, err := f.razorpay().status(t.Context(), sentOrder{MerchantOrderID: anOrder, ProviderOrderID: aLink, AmountMinor: price, Currency: "INR"})
			if verdictOf(err) != tt.want || err == nil && got.Kind != tt.kind {
				t.Errorf("%+v, %s (%v), want %s %s", got, verdictOf(err), err, tt.want, tt.kind)
			}
			if n := f.count(rpCapture); n != tt.captures {
				t.Errorf("%d captures, want %d", n, tt.captures)
			}
			if tt.captures > 0 && f.last(t, rpCapture).body != `{"amount":29900,"currency":"INR"}` {
				t.Errorf("captured %s", f.last(t, rpCapture).body)
			}
		})
	}
}

// TestRazorpayRefund: one key and one receipt for one refund, looked for before
// it is sent. money.md B24, B30.
func TestRazorpayRefund(t *testing.T) {
	none := spoken{200, `{"items":[]}`}
	base := func(refunds, refund spoken) map[string][]spoken {
		return map[string][]spoken{rpLink: {{200, paidLink}}, rpPayments: {{200, paidPayments}}, rpRefunds: {refunds}, rpRefund: {refund}}
	}
	noted := strings.Replace(aRefundBody, `"receipt":"`+aRefund+`"`, `"receipt":null`, 1)
	for _, tt := range []struct {
		name            string
		refunds, refund spoken
		want            string
		kind            refundKind
		sent            int
	}{
		{"sent", none, spoken{200, aRefundBody}, fine, refundDone, 1},
		{"pending", none, spoken{200, strings.Replace(aRefundBody, "processed", "pending", 1)}, fine, refundPending, 1},
		{"failed", none, spoken{200, strings.Replace(aRefundBody, "processed", "failed", 1)}, fine, refundFailed, 1},
		{"a new word", none, spoken{200, strings.Replace(aRefundBody, "processed", "done", 1)}, fine, refundUnknown, 1},
		{"there already", spoken{200, `{"items":[` + aRefundBody + `]}`}, spoken{}, fine, refundDone, 0},
		{"there already, by its note", spoken{200, `{"items":[` + noted + `]}`}, spoken{}, fine, refundDone, 0},
		{"another is there", spoken{200, `{"items":[` + strings.ReplaceAll(aRefundBody, aRefund, "R9-1") + `]}`}, spoken{200, aRefundBody}, fine, refundDone, 1},
		{"nobody knows whether it is there", spoken{500, ""}, spoken{}, unsent, 0, 0},
		{"refused", none, spoken{400, rpBad}, no, 0, 1},
		{"with another body", none, spoken{400, `{"error":{"code":"BAD_REQUEST_ERROR","description":"Different request body for the same idempotency key."}}`}, duplicate, 0, 1},
		{"the receipt was used", none, spoken{400, `{"error":{"code":"BAD_REQUEST_ERROR","description":"used","field":"receipt"}}`}, duplicate, 0, 1},
		{"still running", none, spoken{409, rpBad}, unknown, 0, 1},
		{"of another payment", none, spoken{200, strings.Replace(aRefundBody, "pay_1", "pay_2", 1)}, unknown, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := script(t, base(tt.refunds, tt.refund))
			got, err := f.razorpay().refund(t.Context(), dearRefund(aLink))
			if verdictOf(err) != tt.want || err == nil && (got.Kind != tt.kind || got.AmountMinor != 9900 || got.EchoedRefundID != aRefund || got.Currency != "INR") {
				t.Errorf("%+v, %s (%v), want %s", got, verdictOf(err), err, tt.want)
			}
			if n := f.count(rpRefund); n != tt.sent {
				t.Fatalf("sent %d times, want %d", n, tt.sent)
			}
			if tt.sent == 0 {
				return
			}
			h := f.last(t, rpRefund)
			const want = `{"amount":9900,"notes":{"merchantOrderId":"` + anOrder + `","merchantRefundId":"` + aRefund + `"},"receipt":"` + aRefund + `","speed":"normal"}`
			if d := cmp.Diff([]string{want, aRefund}, []string{h.body, h.header.Get("X-Refund-Idempotency")}); d != "" {
				t.Errorf("request (-want +got):\n%s", d)
			}
		})
	}
	if got := refundKey("R1-1"); got != "R1-1______" {
		t.Errorf("a short key is %q", got)
	}
}

// TestRazorpayRefundLost finds a refund whose answer was lost: money.md B30.
func TestRazorpayRefundLost(t *testing.T) {
	other := strings.ReplaceAll(aRefundBody, aRefund, "R9-1")
	full := `{"items":[` + strings.TrimSuffix(strings.Repeat(other+",", razorpayPage), ",") + `]}`
	for _, tt := range []struct {
		name    string
		refunds []spoken
		want    string
	}{
		{"on the second page", []spoken{{200, full}, {200, `{"items":[` + aRefundBody + `]}`}}, fine},
		{"nowhere", []spoken{{200, full}, {200, `{"items":[]}`}}, noSuchOrder},
		{"no list", []spoken{{200, `{}`}}, unknown},
		{"without end", []spoken{{200, full}}, unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := script(t, map[string][]spoken{rpLink: {{200, paidLink}}, rpPayments: {{200, paidPayments}}, rpRefunds: tt.refunds})
			if _, err := f.razorpay().refundStatus(t.Context(), dearRefund(aLink)); verdictOf(err) != tt.want {
				t.Errorf("%s (%v), want %s", verdictOf(err), err, tt.want)
			}
		})
	}
}
