package e2e_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/manas360/platform/deploy/internal/api"
)

// TestEveryProvider takes the money once: the customer names one, pays on its
// page, and has what was bought. A declined try leaves the page open, or the
// order failed, and nothing is booked.
func TestEveryProvider(t *testing.T) {
	for _, provider := range []string{"phonepe", "phonepe-v1", "razorpay", "stripe"} {
		t.Run(provider, func(t *testing.T) {
			p := join(t)
			key := "e2e-" + unique()
			o := p.ordered(p.want(201, "", checkoutAt(p.token, key, provider)))
			if again := p.want(201, "", checkoutAt(p.token, key, provider)); again.Str("payment", "redirectUrl") != o.redirect {
				t.Errorf("a repeat goes to %s, want %s", again.Str("payment", "redirectUrl"), o.redirect)
			}
			if pay := p.sync(o); pay.Str("provider") != provider || pay.Str("state") != "PENDING" {
				t.Errorf("before the customer pays: %s", pay.Raw)
			}
			back := o.want(200, "", api.Call{Method: "POST", URL: o.redirect + "/complete", Body: body{"outcome": "SUCCESS"}})
			if to, err := url.Parse(back.Str("redirectUrl")); err != nil || to.Query().Get("payment") != o.payment {
				t.Errorf("the customer comes back to %q, want ?payment=%s", back.Str("redirectUrl"), o.payment)
			}
			eventually(t, patience, "a question finds it paid", func() (bool, string) {
				pay := p.sync(o)
				return pay.Str("state") == "SUCCEEDED", string(pay.Raw)
			})
			o.once()
		})
	}
	booksAgree(t, newCaller(t))
}

// TestNoSuchProvider names the field.
func TestNoSuchProvider(t *testing.T) {
	p := join(t)
	a := p.want(400, "INVALID_ARGUMENT", checkoutAt(p.token, "e2e-"+unique(), "paypal"))
	if !strings.Contains(string(a.Raw), "provider") {
		t.Errorf("%s does not name the field", a.Raw)
	}
}

// TestLostAnswers of every provider: the bank opened the order and the line was
// cut. The repeat goes on with the same order.
func TestLostAnswers(t *testing.T) {
	for _, provider := range []string{"razorpay", "stripe"} {
		t.Run(provider, func(t *testing.T) {
			p := join(t)
			key := "e2e-" + unique()
			// More than one, for a call with an idempotency key is repeated once by net/http itself, and the poller asks too.
			control(t, p.caller, body{"loseAnswers": 20})
			p.want(502, "PAYMENT_PROVIDER_UNAVAILABLE", checkoutAt(p.token, key, provider))
			control(t, p.caller, body{})
			first := p.get("/payments").List("payments")
			a, _ := p.until(patience, 201, "", checkoutAt(p.token, key, provider))
			o := p.ordered(a)
			if len(first) != 1 || first[0]["merchantOrderId"] != o.merchantOrder {
				t.Errorf("%v, want the order %s", first, o.merchantOrder)
			}
			o.complete("SUCCESS")
			p.sync(o)
			o.once()
		})
	}
}

func checkoutAt(token, key, provider string) api.Call {
	in := checkout(token, key)
	in.Body = body{"planCode": "premium", "cycle": "MONTHLY", "provider": provider}
	return in
}

// sync asks the provider now.
func (p *person) sync(o *order) api.Answer {
	p.t.Helper()
	return p.want(200, "", api.Call{Method: "POST", URL: "/payments/" + o.payment + "/sync", Token: p.token, Body: body{}})
}
