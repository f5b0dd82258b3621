package e2e_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/manas360/platform/deploy/internal/api"
)

func startPayment(token, key string, in body) api.Call {
	return api.Call{Method: "POST", URL: "/payments", Token: token, Header: map[string]string{"Idempotency-Key": key}, Body: in}
}

// A person buys a track: the price is the catalogue's, a repeat under one key
// is one payment, and the money gives the track and its invoice.
func TestPurchase(t *testing.T) {
	p := join(t)
	in := body{"purpose": "product", "productCode": "track_single", "metadata": body{"screen": "premium_hub"}}
	key := "e2e-" + unique()
	a := p.want(201, "", startPayment(p.token, key, in))
	if a.Str("state") != "PENDING" || a.Str("amount", "amountMinor") != "3000" || a.Str("metadata", "screen") != "premium_hub" ||
		a.Str("refundedAmount", "amountMinor") != "0" || a.Str("provider") != "phonepe" || a.Str("merchantOrderId") == "" || a.Str("redirectUrl") == "" {
		t.Errorf("payment = %s", a.Raw)
	}
	again := p.want(201, "", startPayment(p.token, key, in))
	if again.Header.Get("Idempotency-Replayed") != "true" || string(again.Raw) != string(a.Raw) {
		t.Errorf("again: %s", again.Raw)
	}
	other := maps.Clone(in)
	other["provider"] = "phonepe"
	p.want(409, "IDEMPOTENCY_KEY_REUSED", startPayment(p.token, key, other))
	// Without the key, or under another, it is the same open payment.
	if same := p.want(201, "", startPayment(p.token, "e2e-"+unique(), in)); same.Str("id") != a.Str("id") {
		t.Errorf("another payment of the same thing: %s", same.Raw)
	}
	p.want(200, "", api.Call{Method: "POST", URL: a.Str("redirectUrl") + "/complete", Body: body{"outcome": "SUCCESS"}})
	eventually(t, patience, "the track is bought", func() (bool, string) {
		list := p.get("/purchases")
		return len(list.List("purchases")) == 1 && strings.Contains(string(list.Raw), `"PAID"`), string(list.Raw)
	})
	invoices := p.get("/invoices")
	if invoices.Dig("totalSize") != float64(1) || !strings.Contains(string(invoices.Raw), `"3000"`) {
		t.Errorf("invoices = %s", invoices.Raw)
	}
	if got := p.get("/payments/" + a.Str("id")); got.Str("state") != "SUCCEEDED" || got.Str("paidAt") == "" {
		t.Errorf("payment = %s", got.Raw)
	}
	if next := p.want(201, "", startPayment(p.token, "e2e-"+unique(), in)); next.Str("id") == a.Str("id") {
		t.Error("a paid payment was opened again")
	}
}

// A plan is paid for by POST /payments as well, and a client says neither what
// it costs nor who gets the money.
func TestPaymentOfAPlan(t *testing.T) {
	p := join(t)
	in := body{"purpose": "subscription", "productCode": "premium", "cycle": "MONTHLY"}
	for field, v := range map[string]any{
		"amount": body{"currencyCode": "INR", "amountMinor": "100"}, "price": 1, "status": "SUCCEEDED", "state": "SUCCEEDED", "beneficiaryId": "usr_1",
		"userId": "usr_1", "currency": "USD",
	} {
		bad := maps.Clone(in)
		bad[field] = v
		if a := p.do(startPayment(p.token, "e2e-"+unique(), bad)); a.Status != 400 {
			t.Errorf("%s was taken: %d %s", field, a.Status, a.Raw)
		}
	}
	for name, bad := range map[string]body{
		"no purpose":           {"productCode": "premium", "cycle": "MONTHLY"},
		"no product":           {"purpose": "subscription"},
		"a cycle that is none": {"purpose": "subscription", "productCode": "premium", "cycle": "HOURLY"},
		"a cycle not sold":     {"purpose": "subscription", "productCode": "premium", "cycle": "LIFETIME"},
		"a plan as a product":  {"purpose": "product", "productCode": "premium", "cycle": "MONTHLY"},
		"provider":             {"purpose": "subscription", "productCode": "premium", "cycle": "MONTHLY", "provider": "barter"},
	} {
		if a := p.do(startPayment(p.token, "e2e-"+unique(), bad)); a.Status != 400 || a.Str("code") != "INVALID_ARGUMENT" {
			t.Errorf("%s: %d %s", name, a.Status, a.Raw)
		}
	}
	p.want(404, "NOT_FOUND", startPayment(p.token, "e2e-"+unique(), body{"purpose": "product", "productCode": "gold"}))
	a := p.want(201, "", startPayment(p.token, "e2e-"+unique(), in))
	o := &order{person: p, payment: a.Str("id"), redirect: a.Str("redirectUrl"), merchantOrder: a.Str("merchantOrderId"), amount: 149900}
	o.complete("SUCCESS")
	o.once()
	p.renew() // the plan it bought makes older tokens stale
	p.want(409, "CONFLICT", startPayment(p.token, "e2e-"+unique(), in))
}
