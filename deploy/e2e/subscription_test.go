package e2e_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/internal/api"
)

// plan waits until a person's plan is one, and works with the token they hold.
func (p *person) plan(code string) {
	p.t.Helper()
	eventually(p.t, patience, "the plan is "+code, func() (bool, string) {
		a := p.do(send(p, "GET", "/entitlements", nil))
		if a.Str("code") == "TOKEN_STALE" {
			p.renew()
		}
		return a.Str("plan") == code, string(a.Raw)
	})
}

// A plan is tried, bought, exchanged for a higher one against credit, for a
// lower one at the period's end, paused, resumed and cancelled; and its papers
// are there.
func TestLifeOfASubscription(t *testing.T) {
	p := join(t)
	trial := p.fresh(201, "", "POST", "/subscriptions/trial", body{"planCode": "premium"})
	if trial.Str("state") != "TRIALING" || trial.Str("trialEnd") == "" {
		t.Errorf("trial = %s", trial.Raw)
	}
	p.plan("premium")
	p.fresh(409, "CONFLICT", "POST", "/subscriptions/trial", body{"planCode": "basic"})
	p.fresh(200, "", "PUT", "/billing-profile", body{"name": "Asha Rao", "state": "27", "gstin": "27AAPFU0939F1ZV", "address": "4 Hill Road\nPune"})
	p.fresh(400, "INVALID_ARGUMENT", "PUT", "/billing-profile", body{"name": "Asha Rao", "state": "29", "gstin": "27AAPFU0939F1ZV"})

	o := p.order("/subscriptions/checkout", body{"planCode": "basic", "cycle": "MONTHLY"})
	o.complete("SUCCESS")
	o.paid()
	p.plan("basic")

	preview := p.fresh(200, "", "POST", "/subscriptions/preview", body{"planCode": "premium", "cycle": "MONTHLY"})
	if preview.Str("kind") != "UPGRADE" || preview.Str("credit", "amountMinor") != "49900" || preview.Str("total", "amountMinor") != "100000" ||
		preview.Str("tax", "igst", "amountMinor") != "15254" || preview.Str("tax", "cgst", "amountMinor") != "0" {
		t.Errorf("preview = %s", preview.Raw)
	}
	change := body{"planCode": "premium", "cycle": "MONTHLY", "previewHash": preview.Str("previewHash")}
	o = p.order("/subscriptions/change", change)
	if o.amount != 100000 {
		t.Errorf("charged %d, previewed %s", o.amount, preview.Str("total", "amountMinor"))
	}
	o.complete("SUCCESS")
	o.paid()
	p.plan("premium")

	down := p.fresh(200, "", "POST", "/subscriptions/change", body{"planCode": "basic"})
	if down.Str("subscription", "pendingPlanCode") != "basic" || down.Str("subscription", "planCode") != "premium" {
		t.Errorf("downgrade = %s", down.Raw)
	}
	p.fresh(409, "CONFLICT", "POST", "/subscriptions/change", body{"planCode": "basic"})
	p.fresh(200, "", "POST", "/subscriptions/resume", body{})
	if a := p.fresh(200, "", "POST", "/subscriptions/pause", body{}); a.Str("state") != "PAUSED" {
		t.Errorf("pause = %s", a.Raw)
	}
	p.plan("free")
	if a := p.fresh(200, "", "POST", "/subscriptions/resume", body{}); a.Str("state") != "ACTIVE" {
		t.Errorf("resume = %s", a.Raw)
	}
	p.plan("premium")
	if a := p.fresh(200, "", "POST", "/subscriptions/cancel", body{"atPeriodEnd": true, "reason": "done"}); a.Dig("cancelAtPeriodEnd") != true {
		t.Errorf("cancel = %s", a.Raw)
	}
	p.plan("premium")
	p.papers()
}

// papers fetches each invoice as a paper.
func (p *person) papers() {
	p.t.Helper()
	list := p.get("/invoices").List("invoices")
	if len(list) != 2 {
		p.t.Errorf("%d invoices, want 2: %v", len(list), list)
	}
	for _, inv := range list {
		invID, _ := inv["id"].(string)
		a := p.get("/invoices/" + invID + "/pdf")
		if a.Header.Get("Content-Type") != "application/pdf" || !bytes.HasPrefix(a.Raw, []byte("%PDF-")) || !strings.Contains(a.Header.Get("Cache-Control"), "no-store") {
			p.t.Errorf("%s: %v %q", invID, a.Header, a.Raw[:min(40, len(a.Raw))])
		}
	}
	stranger := join(p.t)
	invID, _ := list[0]["id"].(string)
	stranger.want(404, "NOT_FOUND", send(stranger, "GET", "/invoices/"+invID+"/pdf", nil))
}

// A year passes in a second, under a clock that only an operator moves.
func TestClockOfOnesOwn(t *testing.T) {
	root := fresh(t)
	clock := root.want(201, "", send(root, "POST", "/test-clocks", body{"frozenAt": "2027-01-31T06:00:00Z"}))
	p := join(t)
	p.want(403, "PERMISSION_DENIED", send(p, "POST", "/test-clocks", body{"frozenAt": "2027-01-31T06:00:00Z"}))
	o := p.order("/subscriptions/checkout", body{"planCode": "premium", "cycle": "MONTHLY", "testClockId": clock.Str("id")})
	o.complete("SUCCESS")
	o.paid()
	p.plan("premium")
	cur := p.get("/subscriptions/current")
	if cur.Str("currentPeriodStart") != "2027-01-31T06:00:00Z" || cur.Str("currentPeriodEnd") != "2027-02-28T06:00:00Z" || cur.Str("testClockId") != clock.Str("id") {
		t.Errorf("current = %s", cur.Raw)
	}
	advance := func(to string, status int, code string) api.Answer {
		t.Helper()
		return root.want(status, code, send(root, "POST", "/test-clocks/"+clock.Str("id")+"/advance", body{"to": to}))
	}
	advance("2027-01-01T00:00:00Z", 400, "INVALID_ARGUMENT")
	advance("2027-02-27T00:00:00Z", 200, "")
	renewal := p.order("/subscriptions/checkout", body{"planCode": "premium", "cycle": "MONTHLY"})
	renewal.complete("SUCCESS")
	renewal.paid()
	eventually(t, patience, "the next period is paid", func() (bool, string) {
		a := p.get("/subscriptions/current")
		return a.Str("paidUntil") == "2027-03-31T06:00:00Z", string(a.Raw)
	})
	if a := advance("2027-03-10T00:00:00Z", 200, ""); a.Str("status") != "READY" || a.Str("frozenAt") != "2027-03-10T00:00:00Z" {
		t.Errorf("advance = %s", a.Raw)
	}
	if a := p.get("/subscriptions/current"); a.Str("currentPeriodEnd") != "2027-03-31T06:00:00Z" {
		t.Errorf("current = %s", a.Raw)
	}
	advance("2027-04-01T00:00:00Z", 200, "")
	p.plan("free")
	if list := p.get("/subscriptions").List("subscriptions"); list[1]["state"] != "EXPIRED" {
		t.Errorf("history = %v", list)
	}
	began := time.Now()
	eventually(t, patience, "a letter about the end", func() (bool, string) {
		all, err := suite.messages.To(p.email)
		if err != nil || len(all) == 0 {
			return false, "none"
		}
		return all[0].Template == "subscription_expired", all[0].Template
	})
	t.Logf("the letter took %v", time.Since(began))
}

// order posts something that opens a payment.
func (p *person) order(path string, b body) *order {
	p.t.Helper()
	co := p.do(api.Call{Method: "POST", URL: path, Token: p.token, Body: b, Header: map[string]string{"Idempotency-Key": "e2e-" + unique()}})
	if co.Str("code") == "TOKEN_STALE" {
		p.renew()
		co = p.do(api.Call{Method: "POST", URL: path, Token: p.token, Body: b, Header: map[string]string{"Idempotency-Key": "e2e-" + unique()}})
	}
	if co.Status != 200 && co.Status != 201 {
		p.t.Fatalf("%s answered %d %s", path, co.Status, co.Raw)
	}
	return p.ordered(co)
}

// A subscription that renews by itself has a mandate at the bank; cancelling it
// ends the mandate.
func TestMandateOfASubscription(t *testing.T) {
	p := join(t)
	p.fresh(400, "INVALID_ARGUMENT", "POST", "/subscriptions/checkout", body{"planCode": "enterprise", "cycle": "YEARLY", "autoRenew": true})
	o := p.order("/subscriptions/checkout", body{"planCode": "premium", "cycle": "MONTHLY", "autoRenew": true})
	o.complete("SUCCESS")
	o.paid()
	eventually(t, patience, "it renews by itself", func() (bool, string) {
		a := p.do(send(p, "GET", "/subscriptions/current", nil))
		if a.Str("code") == "TOKEN_STALE" {
			p.renew()
		}
		return a.Dig("autoRenew") == true && a.Str("planCode") == "premium", string(a.Raw)
	})
	state := func() string {
		list := p.get("/mandates").List("mandates")
		if len(list) != 1 {
			t.Fatalf("mandates = %v", list)
		}
		s, _ := list[0]["state"].(string)
		return s
	}
	if s := state(); s != "ACTIVE" {
		t.Errorf("the mandate is %s", s)
	}
	p.fresh(200, "", "POST", "/subscriptions/cancel", body{"atPeriodEnd": true})
	eventually(t, patience, "the mandate ends", func() (bool, string) { s := state(); return s == "CANCELLED" || s == "REVOKED", s })
	p.plan("premium") // what is paid stays
}
