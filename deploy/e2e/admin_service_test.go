package e2e_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/internal/api"
)

// look is the superadmin's GET.
func (p *person) look(path string) api.Answer {
	p.t.Helper()
	return p.want(200, "", api.Call{Method: "GET", URL: path, Token: p.token})
}

// figuresByHand counts what the overview tells from the services' own tables.
var figuresByHand = map[string]string{
	"users.total":        `SELECT count(*) FROM auth.account WHERE state <> 'DELETED'`,
	"users.new":          `SELECT count(*) FROM auth.account`,
	"users.active":       `SELECT count(DISTINCT account_id) FROM auth.active_day`,
	"subscriptions.live": `SELECT count(*) FROM subscription.subscription WHERE test_clock_id IS NULL AND state IN ('TRIALING', 'ACTIVE', 'PAST_DUE', 'GRACE', 'PAUSED')`,
	"byPlan.premium":     `SELECT count(*) FROM subscription.subscription WHERE test_clock_id IS NULL AND plan_code = 'premium' AND state IN ('TRIALING', 'ACTIVE', 'PAST_DUE', 'GRACE', 'PAUSED')`,
	"revenue.gross":      `SELECT coalesce(sum(captured_minor), 0) FROM payment.payment`,
	"revenue.refunds":    `SELECT coalesce(sum(refunded_minor), 0) FROM payment.payment`,
	"revenue.tax":        `SELECT coalesce(-sum(amount_minor), 0) FROM payment.posting WHERE account LIKE 'gst\_%'`,
	"revenue.mrr": `SELECT round(coalesce(sum(r.amount_minor * CASE s.cycle WHEN 'MONTHLY' THEN 12 WHEN 'QUARTERLY' THEN 4 WHEN 'YEARLY' THEN 1 ELSE 0 END), 0) / 12.0)::bigint
  FROM subscription.subscription AS s JOIN subscription.price AS r ON r.id = s.price_id
 WHERE s.test_clock_id IS NULL AND s.state IN ('ACTIVE', 'PAST_DUE', 'GRACE')`,
	"payments.succeeded": `SELECT count(*) FROM payment.payment WHERE state IN ('SUCCEEDED', 'PARTIALLY_REFUNDED', 'REFUNDED')`,
	"payments.failed":    `SELECT count(*) FROM payment.payment WHERE state IN ('FAILED', 'EXPIRED', 'CANCELLED')`,
	"payments.pending":   `SELECT count(*) FROM payment.payment WHERE state IN ('CREATED', 'PENDING')`,
}

// TestMetricsAreTheTables buys, fails to buy and gives back, and compares every
// figure of the overview with a count of the services' own tables:
// audit_admin_ops.md B-15. Counted anew they are the same.
func TestMetricsAreTheTables(t *testing.T) {
	paid, lost := join(t).buy(), join(t).buy()
	paid.complete("SUCCESS")
	paid.once()
	lost.complete("FAILURE")
	lost.until("FAILED")
	root := fresh(t)
	root.want(201, "", adminRefund(root.token, paid.payment, "e2e-"+unique(), body{
		"amount": body{"currencyCode": "INR", "amountMinor": "11800"}, "reason": "a part of it, for the numbers",
	}))
	paid.until("PARTIALLY_REFUNDED")
	db := database(t)
	const day = 24 * time.Hour
	path := fmt.Sprintf("/admin/metrics/overview?startDate=%s&endDate=%s", time.Now().Add(-3*day).UTC().Format(time.DateOnly), time.Now().Add(day).UTC().Format(time.DateOnly))
	same := func(when string) {
		eventually(t, patience, when+" the overview is what the tables say", func() (bool, string) {
			a := root.do(api.Call{Method: "GET", URL: path, Token: root.token})
			if a.Status != 200 {
				return false, string(a.Raw)
			}
			for name, query := range figuresByHand {
				if want, got := number(t, db, query), figureOf(a, name); got != want {
					return false, fmt.Sprintf("%s is %d, the tables say %d: %s", name, got, want, a.Raw)
				}
			}
			return true, ""
		})
	}
	same("as told,")
	root.want(202, "", api.Call{Method: "POST", URL: "/admin/metrics/rebuild", Token: root.token, Body: body{"reason": "end-to-end test of a rebuild"}})
	same("counted anew,")
	for _, kind := range []string{"revenue", "users", "subscriptions", "payments"} {
		for _, step := range []string{"DAY", "WEEK", "MONTH"} {
			if a := root.look("/admin/metrics/" + kind + "?granularity=" + step); len(a.List("points")) == 0 {
				t.Errorf("%s by %s: %s", kind, step, a.Raw)
			}
		}
	}
	paid.renew()
	paid.want(403, "PERMISSION_DENIED", api.Call{Method: "GET", URL: path, Token: paid.token})
	root.want(400, "INVALID_ARGUMENT", api.Call{Method: "GET", URL: "/admin/metrics/revenue?startDate=tomorrow", Token: root.token})
}

// figureOf reads a number of the overview, money in paise.
func figureOf(a api.Answer, name string) int64 {
	var group, field string
	for i := range name {
		if name[i] == '.' {
			group, field = name[:i], name[i+1:]
		}
	}
	v := a.Dig(group, field)
	switch group {
	case "revenue":
		v = a.Dig(group, field, "amountMinor")
	case "byPlan":
		v = a.Dig("subscriptions", "byPlan", field)
	}
	var n int64
	_, _ = fmt.Sscan(fmt.Sprint(v), &n) // what is no number is 0, and not what the tables say
	return n
}

// TestAdminSubscriptions finds a subscription by its owner's address.
func TestAdminSubscriptions(t *testing.T) {
	o := join(t).buy()
	o.complete("SUCCESS")
	o.once()
	root := fresh(t)
	a := root.look("/admin/subscriptions?search=" + url.QueryEscape(o.email) + "&state=ACTIVE&plan=premium")
	if list := a.List("subscriptions"); len(list) != 1 {
		t.Errorf("found %s", a.Raw)
	}
	first := root.look("/admin/subscriptions?pageSize=1")
	token := first.Str("nextPageToken")
	if len(first.List("subscriptions")) != 1 || token == "" {
		t.Fatalf("first page: %s", first.Raw)
	}
	root.want(400, "INVALID_ARGUMENT", api.Call{Method: "GET", URL: "/admin/subscriptions?state=ACTIVE&pageToken=" + token, Token: root.token})
	root.want(400, "INVALID_ARGUMENT", api.Call{Method: "GET", URL: "/admin/subscriptions?pageToken=x" + token, Token: root.token})
	if a := root.look("/admin/subscriptions?search=nobody@example.com"); len(a.List("subscriptions")) != 0 {
		t.Errorf("of nobody: %s", a.Raw)
	}
}

// TestSystemWithADeadService shows it as DOWN; the page stands.
func TestSystemWithADeadService(t *testing.T) {
	root := fresh(t)
	states := func() map[string]string {
		out := map[string]string{}
		for _, s := range root.look("/admin/system").List("services") {
			out[fmt.Sprint(s["name"])] = fmt.Sprint(s["state"])
		}
		return out
	}
	eventually(t, patience, "all is up", func() (bool, string) {
		got := states()
		for _, name := range []string{"auth", "user", "subscription", "payment", "audit", "admin"} {
			if got[name] != "UP" {
				return false, fmt.Sprint(got)
			}
		}
		return true, ""
	})
	up := down(t, "payment")
	began := time.Now()
	if got := states(); got["payment"] != "DOWN" || got["auth"] != "UP" || time.Since(began) > 5*time.Second {
		t.Errorf("without payment, after %s: %v", time.Since(began), got)
	}
	up()
}

// One administrator asks that two people be suspended, another approves: it
// happens once, to both, and never by the word of one.
func TestBulkSuspension(t *testing.T) {
	first, second := join(t), join(t)
	root, other := fresh(t), withRole(t, "admin")
	ask := func(who *person, in body) api.Call {
		return api.Call{Method: "POST", URL: "/admin/users/bulk", Token: who.token, Body: in}
	}
	why := "both wrote from one stolen card"
	root.want(400, "INVALID_ARGUMENT", ask(root, body{"act": "SUSPEND", "userIds": []string{}, "reason": why}))
	root.want(400, "INVALID_ARGUMENT", ask(root, body{"act": "SUSPEND", "userIds": []string{first.id, first.id}, "reason": why}))
	root.want(403, "PERMISSION_DENIED", ask(root, body{"act": "SUSPEND", "userIds": []string{first.id, root.id}, "reason": why}))
	asked := root.want(202, "", ask(root, body{"act": "SUSPEND", "userIds": []string{first.id, second.id}, "reason": why}))
	decide := func(who *person) api.Call {
		return api.Call{Method: "POST", URL: "/admin/approvals/" + asked.Str("id") + "/approve", Token: who.token, Body: body{"reason": "I looked at both accounts"}}
	}
	root.want(403, "PERMISSION_DENIED", decide(root))
	first.want(200, "", first.me())
	done := other.want(200, "", decide(other))
	if done.Str("state") != "APPROVED" || len(done.List("results")) != 2 {
		t.Errorf("approved = %s", done.Raw)
	}
	other.want(409, "CONFLICT", decide(other))
	for _, p := range []*person{first, second} {
		p.until(patience, 401, "TOKEN_REVOKED", p.me())
	}
}

// Nothing of the suite was refused for good; asking is recorded.
func TestNoDeadLetters(t *testing.T) {
	root := fresh(t)
	for _, service := range []string{"auth", "user", "subscription", "payment", "admin"} {
		if a := root.look("/admin/dead-letters?service=" + service); a.Dig("totalSize") != "0" {
			t.Errorf("%s: %s", service, a.Raw)
		}
	}
	root.want(400, "INVALID_ARGUMENT", api.Call{Method: "GET", URL: "/admin/dead-letters?service=audit", Token: root.token})
	root.want(404, "NOT_FOUND", api.Call{
		Method: "POST", URL: "/admin/dead-letters/auth/audit/evt_00000000000000000000000001/requeue", Token: root.token, Body: body{"reason": "it is not there at all"},
	})
}
