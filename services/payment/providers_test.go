package payment

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/config"
	"github.com/manas360/platform/services/payment/factstate"
)

const (
	anOrder  = "PAAAAAAAAAAAAAAAAAAAAAAAAAA-1"
	aRefund  = "RAAAAAAAAAAAAAAAAAAAAAAAAAA-1"
	aReturn  = "http://localhost:5001/?payment=pay_1"
	aSession = "cs_test_1"
	aLink    = "plink_1"
)

var began = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func dear() order {
	return order{MerchantOrderID: anOrder, AmountMinor: price, ReturnURL: aReturn, UserID: "usr_1", PaymentID: "pay_1", CreatedAt: began}
}

func dearRefund(providerOrder string) sentRefund {
	return sentRefund{MerchantRefundID: aRefund, AmountMinor: 9900, Order: sentOrder{
		MerchantOrderID: anOrder, ProviderOrderID: providerOrder, AmountMinor: price, Currency: "INR",
	}}
}

// scripted is a provider that answers by a script, "METHOD /path" to what it
// says, and remembers what it was asked.
type scripted struct {
	*httptest.Server

	judge func(r *http.Request, body string) // of what is asked; set before the first call

	mu      sync.Mutex // guards all below
	answers map[string][]spoken
	asked   []heard
}

type spoken struct {
	status int
	body   string
}

type heard struct {
	line   string // method and path
	query  string
	body   string
	header http.Header
}

func script(t *testing.T, answers map[string][]spoken) *scripted {
	t.Helper()
	f := &scripted{answers: answers}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		body, _ := io.ReadAll(r.Body) // what is missing of it fails the test
		line := r.Method + " " + r.URL.Path
		f.asked = append(f.asked, heard{line, r.URL.RawQuery, string(body), r.Header})
		if f.judge != nil {
			f.judge(r, string(body))
		}
		list := f.answers[line]
		if len(list) == 0 {
			t.Errorf("asked %s, which is not in the script", line)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		if len(list) > 1 { // the last one stays
			f.answers[line] = list[1:]
		}
		if list[0].status == 0 {
			panic(http.ErrAbortHandler) // the connection is cut
		}
		w.WriteHeader(list[0].status)
		_, _ = io.WriteString(w, list[0].body) // the client has gone
	}))
	t.Cleanup(f.Close)
	return f
}

// last is the latest of a call.
func (f *scripted) last(t *testing.T, line string) heard {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.asked) - 1; i >= 0; i-- {
		if f.asked[i].line == line {
			return f.asked[i]
		}
	}
	t.Fatalf("%s was not asked", line)
	return heard{}
}

func (f *scripted) count(line string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.asked {
		if h.line == line {
			n++
		}
	}
	return n
}

func clock() time.Time { return began.Add(time.Minute) }

func (f *scripted) phonepe1() *phonepe1 {
	return newPhonePe1(PhonePeV1{BaseURL: f.URL + "/apis/hermes", MerchantID: "M1", SaltKey: "salt", SaltIndex: 1}, "http://localhost:5001", clock, newMetrics().calls)
}

func (f *scripted) razorpay() *razorpay {
	return newRazorpay(Razorpay{BaseURL: f.URL, KeyID: "rzp_test_1", KeySecret: "secret"}, clock, newMetrics().calls)
}

func (f *scripted) stripe() *stripeCheckout {
	return newStripe(Stripe{BaseURL: f.URL, APIKey: "sk_test_1"}, clock, newMetrics().calls)
}

// verdicts of a call that would change something.
const (
	fine        = "fine"
	no          = "refused"
	duplicate   = "duplicate"
	unsent      = "not sent"
	unknown     = "nobody knows"
	noSuchOrder = "no such order"
)

func verdictOf(err error) string {
	var refused *refusedError
	switch {
	case err == nil:
		return fine
	case errors.Is(err, errNotSent):
		return unsent
	case errors.Is(err, errDuplicate):
		return duplicate
	case errors.Is(err, errNoOrder):
		return noSuchOrder
	case errors.As(err, &refused):
		return no
	default:
		return unknown
	}
}

// outages are answers that say nothing, whoever gives them: money.md B54.
var outages = []spoken{
	{0, ""},
	{http.StatusOK, "<html>welcome to the hotel's network</html>"},
	{http.StatusOK, ""},
	{http.StatusOK, "{}"},
	{http.StatusOK, "null"},
	{http.StatusOK, "[]"},
	{http.StatusOK, strings.Repeat(" ", maxAnswerBytes) + "{}"},
	{http.StatusNoContent, ""},
	{http.StatusFound, ""},
	{http.StatusForbidden, "<html>blocked</html>"},
	{http.StatusNotFound, "<html>no such page</html>"},
	{http.StatusBadRequest, ""},
	{http.StatusTooManyRequests, "slow down"},
	{http.StatusRequestTimeout, `{"code":"BAD_REQUEST","error":{"code":"BAD_REQUEST_ERROR","type":"invalid_request_error"}}`},
	{http.StatusConflict, `{"code":"BAD_REQUEST","error":{"code":"BAD_REQUEST_ERROR","type":"idempotency_error"}}`},
	{http.StatusInternalServerError, `{"code":"BAD_REQUEST","error":{"code":"BAD_REQUEST_ERROR","type":"invalid_request_error","internal_error_code":"BAD_REQUEST_ERROR"}}`},
	{http.StatusServiceUnavailable, `{"code":"BAD_REQUEST","error":{"code":"BAD_REQUEST_ERROR","type":"invalid_request_error"}}`},
	{http.StatusBadGateway, "<html>bad gateway</html>"},
	{http.StatusGatewayTimeout, ""},
}

// TestHosts pins the hosts: money.md O12.
func TestHosts(t *testing.T) {
	for _, tt := range []struct {
		name, got, want string
	}{
		{"phonepe-v1 sandbox", PhonePeV1{}.endpoints(false).BaseURL, "https://api-preprod.phonepe.com/apis/pg-sandbox"},
		{"phonepe-v1 production", PhonePeV1{}.endpoints(true).BaseURL, "https://api.phonepe.com/apis/hermes"},
		{"phonepe-v1 given", PhonePeV1{BaseURL: "http://x"}.endpoints(true).BaseURL, "http://x"},
		{"razorpay", Razorpay{}.endpoints().BaseURL + razorpayLinks, "https://api.razorpay.com/v1/payment_links"},
		{"razorpay given", Razorpay{BaseURL: "http://x"}.endpoints().BaseURL, "http://x"},
		{"stripe", Stripe{}.endpoints().BaseURL, "https://api.stripe.com"},
		{"stripe given", Stripe{BaseURL: "http://x"}.endpoints().BaseURL, "http://x"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, tt.got, tt.want)
		}
	}
}

// TestOffered: a provider without keys is not there, and half an account is a mistake.
func TestOffered(t *testing.T) {
	environ := []string{
		"DATABASE_URL=postgres://x", "PAGE_TOKEN_SECRET=" + strings.Repeat("x", 32), "SUBSCRIPTION_ADDR=a:1", "AUDIT_ADDR=a:2",
		"PHONEPE_CLIENT_ID=C", "PHONEPE_CLIENT_SECRET=S",
	}
	for _, tt := range []struct {
		name  string
		more  []string
		want  []string // nil is a refusal
		count int
	}{
		{"none", nil, []string{"phonepe"}, 1},
		{"all", []string{"PHONEPE_V1_MERCHANT_ID=M", "PHONEPE_V1_SALT_KEY=S", "RAZORPAY_KEY_ID=K", "RAZORPAY_KEY_SECRET=S", "STRIPE_API_KEY=K"}, []string{"phonepe", "phonepe-v1", "razorpay", "stripe"}, 4},
		{"one", []string{"STRIPE_API_KEY=K"}, []string{"phonepe", "stripe"}, 2},
		{"half of v1", []string{"PHONEPE_V1_MERCHANT_ID=M"}, nil, 0},
		{"half of Razorpay", []string{"RAZORPAY_KEY_SECRET=S"}, nil, 0},
		{"no address", []string{"RAZORPAY_BASE_URL=razorpay"}, nil, 0},
		{"plain http in production", []string{"NODE_ENV=production", "PHONEPE_V1_BASE_URL=http://x"}, nil, 0},
		{"a path that Stripe's client drops", []string{"STRIPE_BASE_URL=http://x/stripe"}, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := config.Load[Config](append(append([]string(nil), environ...), tt.more...))
			if (err == nil) != (tt.want != nil) {
				t.Fatalf("loaded with %v", err)
			}
			if tt.want == nil {
				return
			}
			got := c.offered(time.Now, newMetrics())
			if len(got) != tt.count {
				t.Errorf("%d are offered, want %d", len(got), tt.count)
			}
			for _, code := range tt.want {
				if got[code] == nil {
					t.Errorf("%s is not offered", code)
				}
			}
		})
	}
}

// TestNotOffered: who asks for a provider without keys is told the field.
func TestNotOffered(t *testing.T) {
	s := New(Config{Base: boot.Base{NodeEnv: "production"}, PageTokenSecret: "x"}, nil, nil, time.Now)
	in := someOrder()
	in.Provider = stripeCode
	if err := s.check(in); err == nil || !strings.Contains(err.Error(), "invalid") {
		t.Errorf("%v, want a refusal", err)
	}
}

// TestOutagesRefuseNothing: money.md B54. Whatever a server, a proxy or a cut
// line says, no payment and no refund is refused, and none is taken for done.
func TestOutagesRefuseNothing(t *testing.T) {
	for _, out := range outages {
		v1 := script(t, map[string][]spoken{"POST /apis/hermes/pg/v1/pay": {out}, "POST /apis/hermes/pg/v1/refund": {out}})
		rp := script(t, map[string][]spoken{
			"POST /v1/payment_links": {out}, "GET /v1/payment_links/" + aLink: {{200, paidLink}}, "GET /v1/orders/order_1/payments": {{200, paidPayments}},
			"GET /v1/payments/pay_1/refunds": {{200, `{"items":[]}`}}, "POST /v1/payments/pay_1/refund": {out},
		})
		st := script(t, map[string][]spoken{
			"POST /v1/checkout/sessions": {out}, "GET /v1/checkout/sessions/" + aSession: {{200, paidSession}},
			"GET /v1/refunds": {{200, `{"object":"list","data":[]}`}}, "POST /v1/refunds": {out},
		})
		for _, tt := range []struct {
			name     string
			p        provider
			id       string
			sentinel *scripted
		}{
			{"phonepe-v1", v1.phonepe1(), "", v1}, {"razorpay", rp.razorpay(), aLink, rp}, {"stripe", st.stripe(), aSession, st},
		} {
			if _, err := tt.p.pay(t.Context(), dear()); verdictOf(err) != unknown {
				t.Errorf("%s: pay answered %d %.40q: %s (%v)", tt.name, out.status, out.body, verdictOf(err), err)
			}
			f, err := tt.p.refund(t.Context(), dearRefund(tt.id))
			if got := verdictOf(err); got != unknown && (got != fine || f.Kind != refundUnknown) {
				t.Errorf("%s: refund answered %d %.40q: %s %v (%v)", tt.name, out.status, out.body, got, f.Kind, err)
			}
		}
	}
}

// TestOutagesKnowNothing: money.md B57. A question whose answer is no answer
// leaves everything as it is; no proxy's 404 makes an order unknown.
func TestOutagesKnowNothing(t *testing.T) {
	for _, out := range outages {
		v1 := script(t, map[string][]spoken{"GET /apis/hermes/pg/v1/status/M1/" + anOrder: {out}, "GET /apis/hermes/pg/v1/status/M1/" + aRefund: {out}})
		rp := script(t, map[string][]spoken{"GET /v1/payment_links": {out}, "GET /v1/payment_links/" + aLink: {out}, "GET /v1/refunds/rfnd_1": {out}})
		st := script(t, map[string][]spoken{"GET /v1/checkout/sessions/" + aSession: {out}, "GET /v1/refunds/re_1": {out}})
		for _, tt := range []struct {
			name     string
			p        provider
			ids      []string
			refundID string
		}{
			{"phonepe-v1", v1.phonepe1(), []string{""}, ""}, {"razorpay", rp.razorpay(), []string{"", aLink}, "rfnd_1"}, {"stripe", st.stripe(), []string{aSession}, "re_1"},
		} {
			for _, id := range tt.ids {
				f, err := tt.p.status(t.Context(), sentOrder{MerchantOrderID: anOrder, ProviderOrderID: id, AmountMinor: price, Currency: "INR"})
				if got := verdictOf(err); got != unknown && (got != fine || f.Kind != factstate.Unknown) {
					t.Errorf("%s: status answered %d %.40q: %s %v (%v)", tt.name, out.status, out.body, got, f.Kind, err)
				}
			}
			r := dearRefund(tt.ids[len(tt.ids)-1])
			r.ProviderRefundID = tt.refundID
			f, err := tt.p.refundStatus(t.Context(), r)
			if got := verdictOf(err); got != unknown && (got != fine || f.Kind != refundUnknown) {
				t.Errorf("%s: refund status answered %d %.40q: %s %v (%v)", tt.name, out.status, out.body, got, f.Kind, err)
			}
		}
	}
}

// TestDeadProviders: what never left is known not to have left, the breaker
// opens, and each provider is counted by its name.
func TestDeadProviders(t *testing.T) {
	m := newMetrics()
	gone := script(t, nil)
	gone.Close()
	for code, p := range map[string]provider{
		phonepe1Code: newPhonePe1(PhonePeV1{BaseURL: gone.URL, MerchantID: "M1", SaltKey: "s"}, "http://x", clock, m.calls),
		razorpayCode: newRazorpay(Razorpay{BaseURL: gone.URL, KeyID: "k", KeySecret: "s"}, clock, m.calls),
		stripeCode:   newStripe(Stripe{BaseURL: gone.URL, APIKey: "k"}, clock, m.calls),
	} {
		for range breakerTrips + 5 {
			if _, err := p.pay(t.Context(), dear()); verdictOf(err) != unsent {
				t.Fatalf("%s: %s (%v), want %s", code, verdictOf(err), err, unsent)
			}
		}
		if _, err := p.refund(t.Context(), dearRefund("x")); verdictOf(err) != unsent {
			t.Errorf("%s: refund %s (%v), want %s", code, verdictOf(err), err, unsent)
		}
		if n := testutil.ToFloat64(m.calls.WithLabelValues(code, "error")); n != breakerTrips {
			t.Errorf("%s: counted %v calls, want %d and then the breaker", code, n, breakerTrips)
		}
	}
}

// TestPhonePe1Vector is the status call of PhonePe's own documentation.
func TestPhonePe1Vector(t *testing.T) {
	f := script(t, map[string][]spoken{"GET /pg/v1/status/PGTESTPAYUAT/MT7850590068188104": {{200, `{"code":"PAYMENT_PENDING","data":{"state":"PENDING"}}`}}})
	c := newPhonePe1(PhonePeV1{BaseURL: f.URL + "/", MerchantID: "PGTESTPAYUAT", SaltKey: "099eb0cd-02cf-4e2a-8aca-3e6c6aff0399", SaltIndex: 1}, "http://x", clock, newMetrics().calls)
	if _, err := c.status(t.Context(), sentOrder{MerchantOrderID: "MT7850590068188104"}); err != nil {
		t.Fatal(err)
	}
	h := f.last(t, "GET /pg/v1/status/PGTESTPAYUAT/MT7850590068188104").header
	want := []string{"95c6d60f014b7190aa417083aca2489bb5b0a729d0421c17dea19f5913e6d741###1", "PGTESTPAYUAT"}
	if d := cmp.Diff(want, []string{h.Get("X-Verify"), h.Get("X-Merchant-Id")}); d != "" {
		t.Error(d)
	}
}
