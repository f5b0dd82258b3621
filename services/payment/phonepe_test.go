package payment

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/config"
	"github.com/manas360/platform/services/payment/factstate"
)

// TestEndpoints pins the hosts of PhonePe's own SDK.
func TestEndpoints(t *testing.T) {
	for _, tt := range []struct {
		name       string
		in         PhonePe
		production bool
		want       PhonePe
	}{
		{"sandbox", PhonePe{}, false, PhonePe{
			BaseURL: "https://api-preprod.phonepe.com/apis/pg-sandbox", OAuthURL: "https://api-preprod.phonepe.com/apis/pg-sandbox/v1/oauth/token",
		}},
		{"production", PhonePe{}, true, PhonePe{
			BaseURL: "https://api.phonepe.com/apis/pg", OAuthURL: "https://api.phonepe.com/apis/identity-manager/v1/oauth/token",
		}},
		{"given", PhonePe{BaseURL: "http://x", OAuthURL: "http://y"}, true, PhonePe{BaseURL: "http://x", OAuthURL: "http://y"}},
	} {
		if d := cmp.Diff(tt.want, tt.in.endpoints(tt.production)); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
	if got := newTokenSource(PhonePe{BaseURL: "http://x/"}, nil, nil).url; got != "http://x/v1/oauth/token" {
		t.Errorf("token endpoint %q", got)
	}
}

func TestReadOrder(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       factstate.Fact
		fails      bool
	}{
		{"completed", `{"state":"COMPLETED","amount":29900}`, factstate.Captured, false},
		{"pending", `{"state":"PENDING","amount":29900}`, factstate.Opened, false},
		{"failed", `{"state":"FAILED","amount":29900,"errorCode":"TXN_AUTO_FAILED"}`, factstate.Declined, false},
		{"ran out", `{"state":"FAILED","amount":29900,"errorCode":"ORDER_EXPIRED"}`, factstate.Lapsed, false},
		{"no state", `{"amount":29900}`, factstate.Unknown, false},
		{"an unknown state", `{"state":"SUCCESS","amount":29900}`, factstate.Unknown, false},
		{"lower case", `{"state":"completed","amount":29900}`, factstate.Unknown, false},
		{"only an attempt completed", `{"state":"PENDING","amount":29900,"paymentDetails":[{"state":"COMPLETED"}]}`, factstate.Opened, false},
		{"a list of details that is new", `{"state":"COMPLETED","amount":1,"paymentDetails":[{"newField":{"a":[1]}}],"x":1.5}`, factstate.Captured, false},
		{"empty", `{}`, factstate.Unknown, false},
		{"a float", `{"state":"COMPLETED","amount":299.00}`, factstate.Unknown, true},
		{"not JSON", `<html>`, factstate.Unknown, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := readPhonePeOrder([]byte(tt.body), "P1-1")
			if f.Kind != tt.want || (err != nil) != tt.fails {
				t.Errorf("%s (%v), want %s", f.Kind, err, tt.want)
			}
		})
	}
}

func TestToken(t *testing.T) {
	r := newRig(t)
	c, ok := r.providers["phonepe"].(*phonepe)
	if !ok {
		t.Fatal("another adapter")
	}
	get := func() string {
		t.Helper()
		tok, err := c.tokens.get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { get() })
	}
	wg.Wait()
	if n := r.bank.count("token"); n != 1 {
		t.Errorf("%d fetched by 16 at once, want 1", n)
	}
	r.advance(25 * time.Hour) // past half of 48 h
	r.bank.next("token", http.StatusServiceUnavailable)
	if got := get(); got != "token-1" {
		t.Errorf("renewal failed and %q came, want the old one", got)
	}
	r.advance(renewPause + time.Second)
	if got := get(); got != "token-2" {
		t.Errorf("%q, want a renewed one", got)
	}
	c.tokens.refuse(t.Context(), "token-1") // an old refusal
	if got := get(); got != "token-2" {
		t.Errorf("%q: an old refusal took the new token", got)
	}
	c.tokens.refuse(t.Context(), "token-2")
	if got := get(); got != "token-3" {
		t.Errorf("%q, want another after a refusal", got)
	}
}

// TestBreaker stops calling a provider that is down and comes back to it.
func TestBreaker(t *testing.T) {
	r := newRig(t)
	for range breakerTrips {
		r.bank.next("pay", cutBefore)
	}
	p := r.providers["phonepe"]
	for range breakerTrips {
		if _, err := p.pay(t.Context(), order{MerchantOrderID: "P1-1", AmountMinor: 100, ReturnURL: "http://x"}); err == nil {
			t.Fatal("opened by a dead provider")
		}
	}
	before := r.bank.count("pay")
	if _, err := r.create(t.Context(), someOrder()); err == nil {
		t.Fatal("opened by a dead provider")
	}
	if n := r.bank.count("pay"); n != before {
		t.Errorf("called %d times while the breaker is open", n-before)
	}
	if n := r.number(`SELECT count(*) FROM payment.attempt WHERE state = 'prepared'`); n != 1 {
		t.Error("what was not sent is not prepared")
	}
}

// An answer is about our order, or about nothing. money.md B36
func TestDecide(t *testing.T) {
	good := fact{Kind: factstate.Captured, MerchantOrderID: "P1-1", EchoedOrderID: "P1-1", ProviderOrderID: "OMO1", AmountMinor: price, Currency: "INR"}
	p := payment{State: factstate.Pending, AmountMinor: price, Currency: "INR"}
	a := attempt{MerchantOrderID: "P1-1", ProviderOrderID: "OMO1", State: attemptPending}
	for _, tt := range []struct {
		name   string
		change func(p *payment, a *attempt, f *fact)
		want   string
	}{
		{"ours", func(*payment, *attempt, *fact) {}, ""},
		{"another order", func(_ *payment, _ *attempt, f *fact) { f.EchoedOrderID = "P2-1" }, "order"},
		{"another of theirs", func(_ *payment, _ *attempt, f *fact) { f.ProviderOrderID = "OMO2" }, "provider order"},
		{"more", func(_ *payment, _ *attempt, f *fact) { f.AmountMinor++ }, "amount"},
		{"no amount", func(_ *payment, _ *attempt, f *fact) { f.AmountMinor = 0 }, "amount"},
		{"a failure of another amount", func(_ *payment, _ *attempt, f *fact) { f.Kind, f.AmountMinor = factstate.Declined, 1 }, "amount"},
		{"another currency", func(_ *payment, _ *attempt, f *fact) { f.Currency = "USD" }, "currency"},
		{"paid by another attempt", func(p *payment, _ *attempt, _ *fact) { p.State = factstate.Succeeded }, "paid twice"},
		{"paid by this attempt", func(p *payment, a *attempt, _ *fact) { p.State, a.State = factstate.Succeeded, attemptSucceeded }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, a, f := p, a, good
			tt.change(&p, &a, &f)
			v := decide(p, a, f)
			if v.mismatch != tt.want {
				t.Errorf("mismatch %q, want %q", v.mismatch, tt.want)
			}
			if v.mismatch != "" && (v.capture || v.state != p.State || v.attempt != a.State) {
				t.Errorf("it moved something: %+v", v)
			}
		})
	}
}

func TestNextPoll(t *testing.T) {
	for _, tt := range []struct {
		age, want time.Duration
	}{
		{0, 22 * time.Second},
		{22 * time.Second, 3 * time.Second},
		{53 * time.Second, 6 * time.Second},
		{113 * time.Second, 10 * time.Second},
		{173 * time.Second, 30 * time.Second},
		{233 * time.Second, time.Minute},
		{20 * time.Minute, time.Minute},
		{22 * time.Minute, 5 * time.Minute},
		{40 * time.Minute, 15 * time.Minute},
		{2 * time.Hour, time.Hour},
		{12 * time.Hour, 6 * time.Hour},
	} {
		if got, again := nextPoll(tt.age); got != tt.want || !again {
			t.Errorf("at %s: %s %v, want %s", tt.age, got, again, tt.want)
		}
	}
	if _, again := nextPoll(72 * time.Hour); again {
		t.Error("polled for ever")
	}
}

// TestUndecidedForDays hands a payment to a person and fails nothing.
func TestUndecidedForDays(t *testing.T) {
	r := newRig(t)
	p := r.open(someOrder())
	r.advance(pollingEnds + time.Hour)
	if n, err := r.pollBatch(t.Context()); n != 1 || err != nil {
		t.Fatalf("polled %d, %v", n, err)
	}
	if n := r.number(`SELECT count(*) FROM payment.payment WHERE needs_review AND state = 'PENDING'`); n != 1 {
		t.Errorf("%d to review, want 1: %s", n, r.read(p.ID).State)
	}
	if n, err := r.pollBatch(t.Context()); n != 0 || err != nil {
		t.Errorf("polled %d more, %v", n, err)
	}
}

func TestConfig(t *testing.T) {
	environ := []string{
		"DATABASE_URL=postgres://x", "PAGE_TOKEN_SECRET=" + strings.Repeat("x", 32), "SUBSCRIPTION_ADDR=a:1", "AUDIT_ADDR=a:2",
		"PHONEPE_CLIENT_ID=C", "PHONEPE_CLIENT_SECRET=S",
	}
	c, err := config.Load[Config](environ)
	if err != nil || c.PublicURL != "http://localhost:5001" || c.ClientVersion != "1" {
		t.Fatalf("%+v %v", c, err)
	}
	if _, err := config.Load[Config](append(environ, "NODE_ENV=production", "PHONEPE_BASE_URL=http://x")); err == nil {
		t.Error("plain http to the provider in production")
	}
	if _, err := config.Load[Config](append(environ, "PAGE_TOKEN_SECRET=short")); err == nil {
		t.Error("a short secret was taken")
	}
	if _, ok := New(Config{Base: boot.Base{NodeEnv: "production"}, PageTokenSecret: "x"}, nil, nil, time.Now).dialects["sandbox"]; ok {
		t.Error("the sandbox's dialect is spoken in production")
	}
}
