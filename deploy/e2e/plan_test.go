package e2e_test

import (
	"slices"
	"testing"

	"github.com/manas360/platform/deploy/internal/api"
)

// What is sold changes by a new version, and at once; operators pause, resume,
// grant and cancel what somebody has.
func TestCatalogueAndOperators(t *testing.T) {
	root, p := fresh(t), join(t)
	shelf := p.want(200, "", api.Call{Method: "GET", URL: "/plans?pageSize=100"})
	code := "e2e_" + unique()[:8]
	rupees := func(minor string) []body {
		return []body{{
			"cycle": "MONTHLY", "amount": body{"currencyCode": "INR", "amountMinor": minor}, "taxMode": "INCLUSIVE",
			"taxCategory": "STANDARD_18", "sacCode": "999312",
		}}
	}
	sold := func(minor string) body {
		return body{
			"kind": "PLAN", "name": "Evening class", "description": "For the end-to-end test.", "tier": 20, "prices": rupees(minor),
			"features": []body{{"code": "data_export", "kind": "BOOLEAN"}, {"code": "ai_messages", "kind": "METERED", "limit": "25", "period": "DAY"}},
		}
	}
	made := root.put(200, "", "/admin/plans/"+code, sold("29900"))
	if made.Dig("version") != 1.0 || made.Str("etag") == "" {
		t.Errorf("published %s", made.Raw)
	}
	eventually(t, patience, "the new plan is on the price list", func() (bool, string) {
		a := p.want(200, "", api.Call{Method: "GET", URL: "/plans?pageSize=100"})
		return slices.ContainsFunc(a.List("plans"), func(m map[string]any) bool { return m["code"] == code }) &&
			a.Header.Get("ETag") != shelf.Header.Get("ETag"), string(a.Raw)
	})
	o := p.order("/subscriptions/checkout", body{"planCode": code, "cycle": "MONTHLY"})
	if o.amount != 29900 {
		t.Errorf("charged %d", o.amount)
	}
	o.complete("SUCCESS")
	o.paid()
	p.plan(code)

	dearer := sold("39900")
	dearer["reason"] = "end-to-end test of prices"
	change := api.Call{Method: "PUT", URL: "/admin/plans/" + code, Token: root.token, Body: dearer, Header: map[string]string{"If-Match": `"9"`}}
	root.want(412, "PRECONDITION_FAILED", change)
	change.Header = map[string]string{"If-Match": made.Str("etag")}
	if a := root.want(200, "", change); a.Dig("version") != 2.0 {
		t.Errorf("the second version = %s", a.Raw)
	}
	root.put(400, "INVALID_ARGUMENT", "/admin/plans/"+code, sold("-1"))
	versions := root.want(200, "", api.Call{Method: "GET", URL: "/admin/plans/" + code + "/versions", Token: root.token})
	if versions.Dig("totalSize") != 2.0 {
		t.Errorf("versions = %s", versions.Raw)
	}
	mine := p.fresh(200, "", "GET", "/subscriptions/current", nil)
	if mine.Str("price", "amount", "amountMinor") != "29900" { // who has bought keeps the price
		t.Errorf("current = %s", mine.Raw)
	}

	path := "/admin/subscriptions/" + mine.Str("id")
	if a := root.operate(200, "", path+"/pause", body{}); a.Str("state") != "PAUSED" {
		t.Errorf("pause = %s", a.Raw)
	}
	p.plan("free")
	if a := root.operate(200, "", path+"/resume", body{}); a.Str("state") != "ACTIVE" {
		t.Errorf("resume = %s", a.Raw)
	}
	p.plan(code)
	grant := root.operate(201, "", path+"/grant", body{"feature": "ai_messages", "limit": "-1"})
	if grant.Str("userId") != p.id {
		t.Errorf("grant = %s", grant.Raw)
	}
	eventually(t, patience, "the grant is there", func() (bool, string) {
		a := p.fresh(200, "", "GET", "/entitlements", nil)
		return slices.ContainsFunc(a.List("limits"), func(m map[string]any) bool { return m["feature"] == "ai_messages" && m["limit"] == "-1" }), string(a.Raw)
	})
	if a := root.want(200, "", api.Call{Method: "GET", URL: "/admin/users/" + p.id + "/grants", Token: root.token}); a.Dig("totalSize") != 1.0 {
		t.Errorf("grants = %s", a.Raw)
	}
	if a := root.operate(200, "", "/admin/grants/"+grant.Str("id")+"/revoke", body{}); a.Str("revokedAt") == "" {
		t.Errorf("revoked = %s", a.Raw)
	}
	if a := root.operate(200, "", path+"/cancel", body{"atPeriodEnd": false}); a.Str("state") != "CANCELLED" {
		t.Errorf("cancel = %s", a.Raw)
	}
	p.plan("free")
	root.operate(409, "CONFLICT", path+"/pause", body{})
	root.operate(404, "NOT_FOUND", "/admin/subscriptions/sub_nobody/pause", body{})
	root.want(400, "INVALID_ARGUMENT", api.Call{Method: "POST", URL: path + "/pause", Token: root.token, Body: body{"reason": "short"}})

	coupon := "E2E" + unique()[:6]
	if a := root.operate(201, "", "/admin/coupons", body{"code": coupon, "percentOff": 50}); a.Dig("percentOff") != 50.0 {
		t.Errorf("coupon = %s", a.Raw)
	}
	half := p.fresh(200, "", "POST", "/subscriptions/preview", body{"planCode": "basic", "cycle": "MONTHLY", "couponCode": coupon})
	if half.Str("total", "amountMinor") != "24950" {
		t.Errorf("half price = %s", half.Raw)
	}
	root.operate(200, "", "/admin/coupons/"+coupon+"/end", body{})
	p.fresh(400, "INVALID_ARGUMENT", "POST", "/subscriptions/preview", body{"planCode": "basic", "cycle": "MONTHLY", "couponCode": coupon})
	made = root.put(200, "", "/admin/plans/"+code, func() body { b := sold("39900"); b["retired"] = true; return b }())
	if made.Dig("retired") != true {
		t.Errorf("retired = %s", made.Raw)
	}
}
