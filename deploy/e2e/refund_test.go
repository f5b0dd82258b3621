package e2e_test

import (
	"testing"

	"github.com/manas360/platform/deploy/internal/api"
)

func adminRefund(token, paymentID, key string, in body) api.Call {
	return api.Call{Method: "POST", URL: "/admin/payments/" + paymentID + "/refund", Token: token, Header: map[string]string{"Idempotency-Key": key}, Body: in}
}

// back is what the bank gave back of an order.
func (o *order) back() (sum int64) {
	o.t.Helper()
	for _, r := range statement(o.t, o.caller) {
		if r.MerchantOrderID == o.merchantOrder && r.Kind == "REFUND" {
			sum += r.AmountMinor
		}
	}
	return sum
}

func (o *order) until(state string) {
	o.t.Helper()
	eventually(o.t, patience, "the payment is "+state, func() (bool, string) { s := o.state(); return s == state, s })
}

// An administrator gives money back: a part, then the rest; once each, however
// often it is asked for under one key, and what was bought ends with the money.
func TestAdminRefund(t *testing.T) {
	o := join(t).buy()
	o.complete("SUCCESS")
	o.once()
	root := fresh(t)
	why := "the customer asked by mail"
	o.renew()
	o.want(403, "PERMISSION_DENIED", adminRefund(o.token, o.payment, "e2e-"+unique(), body{"reason": why}))
	root.want(400, "INVALID_ARGUMENT", adminRefund(root.token, o.payment, "e2e-"+unique(), body{}))
	part := body{"amount": body{"currencyCode": "INR", "amountMinor": "50000"}, "reason": why}
	key := "e2e-" + unique()
	first := root.want(201, "", adminRefund(root.token, o.payment, key, part))
	if first.Str("paymentId") != o.payment || first.Str("amount", "amountMinor") != "50000" || first.Str("id") == "" || first.Str("reason") != why {
		t.Errorf("refund = %s", first.Raw)
	}
	again := root.want(201, "", adminRefund(root.token, o.payment, key, part))
	if again.Str("id") != first.Str("id") || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("again (replayed %q): %s", again.Header.Get("Idempotency-Replayed"), again.Raw)
	}
	o.until("PARTIALLY_REFUNDED")
	if n := o.back(); n != 50000 {
		t.Errorf("the bank gave %d back", n)
	}
	root.want(409, "REFUND_NOT_ALLOWED", adminRefund(root.token, o.payment, "e2e-"+unique(), body{"amount": body{"currencyCode": "INR", "amountMinor": "99901"}, "reason": why}))
	root.want(201, "", adminRefund(root.token, o.payment, "e2e-"+unique(), body{"reason": why}))
	o.until("REFUNDED")
	if n := o.back(); n != o.amount {
		t.Errorf("the bank gave %d of %d back", n, o.amount)
	}
	root.want(409, "REFUND_NOT_ALLOWED", adminRefund(root.token, o.payment, "e2e-"+unique(), body{"reason": why}))
	root.want(404, "NOT_FOUND", adminRefund(root.token, "pay_00000000000000000000000000", "e2e-"+unique(), body{"reason": why}))
	eventually(t, patience, "premium ends", func() (bool, string) {
		o.renew()
		a := o.do(o.consume())
		return a.Status != 200, string(a.Raw)
	})
	if p := o.get("/payments/" + o.payment); p.Str("refundedAmount", "amountMinor") != "149900" {
		t.Errorf("payment = %s", p.Raw)
	}
	if list := o.get("/payments/" + o.payment + "/refunds").List("refunds"); len(list) != 2 {
		t.Errorf("refunds = %v", list)
	}
	if a := root.want(200, "", api.Call{Method: "GET", URL: "/admin/payments?state=REFUNDED", Token: root.token}); len(a.List("payments")) == 0 {
		t.Errorf("payments = %s", a.Raw)
	}
}

// Above the threshold it waits for another administrator, who is not the one
// who asked.
func TestRefundApproval(t *testing.T) {
	p := join(t)
	a := p.want(201, "", startPayment(p.token, "e2e-"+unique(), body{"purpose": "subscription", "productCode": "enterprise", "cycle": "YEARLY"}))
	o := &order{person: p, payment: a.Str("id"), redirect: a.Str("redirectUrl"), merchantOrder: a.Str("merchantOrderId"), amount: 4999000}
	o.complete("SUCCESS")
	o.paid()
	root, other := fresh(t), withRole(t, "admin")
	why := body{"reason": "the customer asked by mail"}
	asked := root.want(202, "", adminRefund(root.token, o.payment, "e2e-"+unique(), why))
	approval := asked.Str("approvalId")
	if asked.Str("state") != "REQUESTED" || approval == "" {
		t.Fatalf("asked = %s", asked.Raw)
	}
	p.renew()
	decide := func(who *person, how string) api.Call {
		return api.Call{Method: "POST", URL: "/admin/approvals/" + approval + "/" + how, Token: who.token, Body: why}
	}
	root.want(403, "PERMISSION_DENIED", decide(root, "approve"))
	p.want(403, "PERMISSION_DENIED", decide(p, "approve"))
	waiting := other.want(200, "", api.Call{Method: "GET", URL: "/admin/approvals", Token: other.token}).List("approvals")
	if len(waiting) == 0 || waiting[0]["id"] != approval {
		t.Errorf("approvals = %v", waiting)
	}
	if n := o.back(); n != 0 {
		t.Errorf("the bank gave %d back before anybody approved", n)
	}
	if ok := other.want(200, "", decide(other, "approve")); ok.Str("state") != "APPROVED" {
		t.Errorf("approved = %s", ok.Raw)
	}
	other.want(409, "CONFLICT", decide(other, "reject"))
	o.until("REFUNDED")
	if n := o.back(); n != o.amount {
		t.Errorf("the bank gave %d back", n)
	}
}

// A customer gets what the quote said.
func TestRefundByQuote(t *testing.T) {
	o := join(t).buy()
	o.want(409, "REFUND_NOT_ALLOWED", api.Call{Method: "GET", URL: "/payments/" + o.payment + "/refund-quote", Token: o.token})
	o.complete("SUCCESS")
	o.paid()
	q := o.get("/payments/" + o.payment + "/refund-quote")
	if q.Str("amount", "amountMinor") != "149900" || q.Str("policy") != "monthly_two_days" {
		t.Errorf("quote = %s", q.Raw)
	}
	path, wish := "/payments/"+o.payment+"/refund", body{"quoteHash": q.Str("quoteHash"), "reason": "not what I looked for"}
	o.fresh(412, "PRECONDITION_FAILED", "POST", path, body{"quoteHash": "another", "reason": ""})
	o.fresh(201, "", "POST", path, wish)
	stranger := join(t)
	stranger.want(404, "NOT_FOUND", send(stranger, "POST", path, wish))
	o.until("REFUNDED")
	if n := o.back(); n != o.amount {
		t.Errorf("the bank gave %d back", n)
	}
}
