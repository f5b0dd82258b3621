package sandbox

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	hosted = "/apis/pg-sandbox/checkout/v2/subscriptions"
	custom = "/apis/pg-sandbox/subscriptions/v2"
)

// mandate sets one up, on PhonePe's page or on the merchant's, and has the customer agree.
func (w *world) mandate(ref string, onPage bool, amount, limit int, kind string) {
	w.t.Helper()
	terms := fmt.Sprintf(`"merchantSubscriptionId":"%s","authWorkflowType":"%s","amountType":"VARIABLE","maxAmount":%d,"frequency":"MONTHLY"`, ref, kind, limit)
	path, body := "/apis/pg-sandbox/checkout/v2/pay", fmt.Sprintf(`{"merchantOrderId":"setup-%s","amount":%d,"expireAfter":600,
		"paymentFlow":{"type":"SUBSCRIPTION_CHECKOUT_SETUP","merchantUrls":{"redirectUrl":"http://localhost:5001/back"},"subscriptionDetails":{%s,"productType":"UPI_MANDATE"}}}`, ref, amount, terms)
	if !onPage {
		path, body = custom+"/setup", fmt.Sprintf(`{"merchantOrderId":"setup-%s","amount":%d,"expireAt":%d,
			"paymentFlow":{"type":"SUBSCRIPTION_SETUP",%s,"paymentMode":{"type":"UPI_INTENT","targetApp":"com.phonepe.app"}}}`, ref, amount, (w.clock.Load()+600)*1000, terms)
	}
	status, got := w.call("POST", path, body)
	if status != 200 || !onPage && !strings.HasPrefix(text(got, "intentUrl"), "upi://") {
		w.t.Fatalf("setup %s: %d %v", ref, status, got)
	}
	if status, got = w.complete(w.pathOf(text(got, "redirectUrl")), "SUCCESS"); status != 200 {
		w.t.Fatalf("agree %s: %d %v", ref, status, got)
	}
	if got := w.next(); got.event != "subscription.setup.order.completed" {
		w.t.Fatalf("setup callback: %+v", got)
	}
}

func (w *world) notify(base, ref, order string, amount int, more string) (int, map[string]any) {
	kind := "SUBSCRIPTION_REDEMPTION"
	if base == hosted {
		kind = "SUBSCRIPTION_CHECKOUT_REDEMPTION"
	}
	return w.call("POST", base+"/notify", fmt.Sprintf(`{"merchantOrderId":"%s","amount":%d,"paymentFlow":{"type":"%s","merchantSubscriptionId":"%s"%s}}`, order, amount, kind, ref, more))
}

// at sets the bank's clock to so long after the tests' own.
func (w *world) at(d time.Duration) {
	w.t.Helper()
	w.control(`{"clock":"` + time.Unix(w.clock.Load(), 0).Add(d).UTC().Format(time.RFC3339) + `"}`)
	w.token = ""
	w.token = w.loginAt(d)
}

func (w *world) loginAt(d time.Duration) string {
	w.t.Helper()
	start := w.clock.Load()
	status, got := w.call("POST", "/apis/pg-sandbox/v1/oauth/token", "client_id=client&client_version=1&client_secret=secret&grant_type=client_credentials", "Content-Type", "application/x-www-form-urlencoded")
	if status != 200 || text(got, "expires_at") != fmt.Sprint(float64(start+int64(d.Seconds())+3600)) {
		w.t.Fatalf("token at %s: %d %v", d, status, got)
	}
	return text(got, "access_token")
}

func TestAutopay(t *testing.T) {
	for _, base := range []string{hosted, custom} {
		t.Run(base, func(t *testing.T) {
			w := open(t)
			w.mandate("s1", base == hosted, 30000, 50000, "TRANSACTION")
			if _, got := w.call("GET", base+"/s1/status", ""); got["state"] != "ACTIVE" || text(got, "maxAmount") != "50000" {
				t.Errorf("status: %v", got)
			}
			if status, got := w.notify(base, "s1", "d1", 50001, ""); status != 400 {
				t.Errorf("notice of more than agreed: %d %v", status, got)
			}
			status, got := w.notify(base, "s1", "d1", 29900, `,"redemptionRetryStrategy":"STANDARD","autoDebit":false`)
			if status != 200 || got["state"] != "NOTIFICATION_IN_PROGRESS" {
				t.Fatalf("notify: %d %v", status, got)
			}
			if got := w.next(); got.event != "subscription.notification.completed" || got.state != "NOTIFIED" {
				t.Errorf("notice callback: %+v", got)
			}
			redeem := `{"merchantOrderId":"d1"}`
			w.at(24*time.Hour - time.Minute)
			if status, got := w.call("POST", base+"/redeem", redeem); status != 400 || got["code"] != "REDEMPTION_TOO_EARLY" {
				t.Errorf("a minute too early: %d %v", status, got)
			}
			w.at(24*time.Hour + time.Minute)
			if status, got := w.call("POST", base+"/redeem", redeem); status != 200 || got["state"] != "PENDING" || got["transactionId"] == nil {
				t.Fatalf("redeem: %d %v", status, got)
			}
			events := map[string]bool{w.next().event: true, w.next().event: true}
			if !events["subscription.redemption.transaction.completed"] || !events["subscription.redemption.order.completed"] {
				t.Errorf("redemption callbacks: %v", events)
			}
			path := custom + "/order/d1/status?details=true"
			if base == hosted {
				path = "/apis/pg-sandbox/checkout/v2/order/d1/status"
			}
			if _, got := w.call("GET", path, ""); got["state"] != "COMPLETED" || text(got, "paymentFlow", "merchantSubscriptionId") != "s1" {
				t.Errorf("order: %v", got)
			}
			if status, got := w.call("POST", base+"/redeem", redeem); status != 400 {
				t.Errorf("redeemed twice: %d %v", status, got)
			}
			rows := w.rows()
			if len(rows) != 2 || rows[0].AmountMinor != 30000 || rows[1].AmountMinor != 29900 || rows[1].MerchantOrderID != "d1" {
				t.Errorf("statement = %+v", rows)
			}
			want := map[string]int{hosted: 204, custom: 200}[base]
			for _, act := range []string{"pause", "unpause", "cancel"} {
				if status, got := w.call("POST", base+"/s1/"+act, ""); status != want {
					t.Errorf("%s: %d %v, want %d", act, status, got, want)
				}
				if got := w.next(); !strings.HasPrefix(got.event, "subscription.") || got.order != "" {
					t.Errorf("%s: callback %+v", act, got)
				}
			}
			if status, got := w.notify(base, "s1", "d2", 29900, ""); status != 400 || got["code"] != "INVALID_SUBSCRIPTION_STATE" {
				t.Errorf("notice on a cancelled one: %d %v", status, got)
			}
			if status, _ := w.call("GET", base+"/none/status", ""); status != 404 {
				t.Errorf("unknown: %d, want 404", status)
			}
		})
	}
}

func TestAutopayByItself(t *testing.T) {
	w := open(t)
	w.mandate("s2", true, 200, 50000, "PENNY_DROP")
	rows := w.rows()
	if len(rows) != 2 || rows[0].AmountMinor != 200 || rows[1].Kind != "REFUND" || rows[1].AmountMinor != 200 {
		t.Errorf("a penny drop = %+v, want it given back", rows)
	}
	w.notify(hosted, "s2", "a1", 10000, `,"autoDebit":true`)
	w.next()
	if status, _ := w.call("POST", hosted+"/redeem", `{"merchantOrderId":"a1"}`); status != 400 {
		t.Errorf("redeem of one that debits by itself: %d, want 400", status)
	}
	w.at(25 * time.Hour)
	w.eventually("a debit by itself", func() bool { return len(w.rows()) == 3 })
}

func TestAutopayRevokedAndRetried(t *testing.T) {
	w := open(t)
	w.mandate("s3", true, 10000, 50000, "TRANSACTION")
	w.notify(hosted, "s3", "r1", 10000, `,"redemptionRetryStrategy":"CUSTOM"`)
	w.next()
	w.at(25 * time.Hour)
	now := time.Unix(w.clock.Load(), 0).Add(25 * time.Hour)
	w.control(`{"failDebits":1,"clock":"` + now.UTC().Format(time.RFC3339) + `"}`)
	if status, got := w.call("POST", hosted+"/redeem", `{"merchantOrderId":"r1"}`); status != 200 {
		t.Fatalf("first try: %d %v", status, got)
	}
	if got := w.next(); got.event != "subscription.redemption.transaction.failed" {
		t.Errorf("callback %+v", got)
	}
	// The tests' clock stands at 14:23 IST; so does the bank's a day later, and three hours after that is the peak.
	w.at(27 * time.Hour)
	if status, got := w.call("POST", hosted+"/redeem", `{"merchantOrderId":"r1"}`); status != 400 || got["code"] != "PEAK_HOURS" {
		t.Errorf("again in the peak: %d %v", status, got)
	}
	w.at(26 * time.Hour)
	if status, got := w.call("POST", hosted+"/redeem", `{"merchantOrderId":"r1"}`); status != 200 {
		t.Errorf("again outside of it: %d %v", status, got)
	}
	w.next()
	w.next()
	w.call("POST", "/bank/mandate", `{"merchantSubscriptionId":"s3","action":"REVOKE"}`)
	if _, got := w.call("GET", hosted+"/s3/status", ""); got["state"] != "REVOKED" {
		t.Errorf("status: %v", got)
	}
	if status, _ := w.call("POST", hosted+"/s3/pause", ""); status != 400 {
		t.Errorf("pause of a revoked one: %d, want 400", status)
	}
}

func TestPeak(t *testing.T) {
	for clock, want := range map[string]bool{"09:59": false, "10:00": true, "13:00": true, "13:01": false, "16:59": false, "17:00": true, "21:30": true, "21:31": false} {
		at, err := time.ParseInLocation("2006-01-02 15:04", "2026-05-05 "+clock, ist)
		if err != nil {
			t.Fatal(err)
		}
		if got := peak(at); got != want {
			t.Errorf("%s: %v, want %v", clock, got, want)
		}
	}
}

func TestMandateRefusals(t *testing.T) {
	w := open(t)
	good := phonepeMandate{MerchantSubscriptionID: "s", AuthWorkflowType: "TRANSACTION", AmountType: "FIXED", MaxAmount: 10000, Frequency: "MONTHLY"}
	now := time.Unix(w.clock.Load(), 0)
	for name, change := range map[string]func(m *phonepeMandate, amount *int64){
		"penny drop of another amount": func(m *phonepeMandate, _ *int64) { m.AuthWorkflowType = "PENNY_DROP" },
		"over the law":                 func(m *phonepeMandate, _ *int64) { m.MaxAmount = 1_500_001 },
		"more than agreed":             func(_ *phonepeMandate, a *int64) { *a = 10001 },
		"no frequency":                 func(m *phonepeMandate, _ *int64) { m.Frequency = "SOMETIMES" },
		"no type":                      func(m *phonepeMandate, _ *int64) { m.AmountType = "" },
		"over before it starts":        func(m *phonepeMandate, _ *int64) { m.ExpireAt = 1 },
		"no id":                        func(m *phonepeMandate, _ *int64) { m.MerchantSubscriptionID = "a b" },
	} {
		m, amount := good, int64(10000)
		change(&m, &amount)
		if m.check(amount, now) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := good.check(10000, now); err != nil {
		t.Errorf("a good one: %v", err)
	}
}
