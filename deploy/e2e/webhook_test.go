package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/deploy/internal/api"
)

// callback is what PhonePe v2 sends, with an authorization.
func callback(authorization string, content any) api.Call {
	return api.Call{Method: "POST", URL: "/payments/webhooks/phonepe", Body: content, Header: map[string]string{"Authorization": authorization}}
}

// signature is PhonePe's: a static value, no proof of the body.
func signature() string {
	u := suite.creds.Sandbox.WebhookSecrets.PhonePe
	sum := sha256.Sum256([]byte(u.Username + ":" + u.Password))
	return hex.EncodeToString(sum[:])
}

func claim(merchantOrder string, amount int64) body {
	return body{"type": "CHECKOUT_ORDER_COMPLETED", "event": "checkout.order.completed", "payload": body{
		"merchantOrderId": merchantOrder, "state": "COMPLETED", "amount": amount,
		"paymentDetails": []body{{"transactionId": "T" + merchantOrder, "state": "COMPLETED", "amount": amount}},
	}}
}

// untouched checks that nobody got anything for the order.
func (o *order) untouched(db *pgx.Conn) {
	o.t.Helper()
	if s := o.state(); s != "PENDING" {
		o.t.Errorf("the payment is %s, want PENDING", s)
	}
	if amount, n := o.booked(db); n != 0 {
		o.t.Errorf("%d journals of %d are booked, want none", n, amount)
	}
	o.want(403, "FEATURE_NOT_AVAILABLE", o.consume())
}

// kept waits until the last callback of an order is dealt with, or tried again.
func (o *order) kept(db *pgx.Conn, state string, attempts int) {
	o.t.Helper()
	eventually(o.t, patience, "the callback is looked into", func() (bool, string) {
		n := number(o.t, db, `SELECT count(*) FROM payment.webhook_event WHERE merchant_order_id = $1 AND state = $2 AND attempts >= $3`, o.merchantOrder, state, attempts)
		return n == 1, fmt.Sprintf("%d callbacks %s", n, state)
	})
}

func TestCallbacksThatLie(t *testing.T) {
	o, db := join(t).buy(), database(t)
	outside := newCaller(t)
	t.Run("forged", func(t *testing.T) {
		for _, auth := range []string{"", "Bearer x", hex.EncodeToString(make([]byte, 32)), signature()[:63], signature() + "0"} {
			outside.want(401, "INVALID_SIGNATURE", callback(auth, claim(o.merchantOrder, o.amount)))
		}
		o.untouched(db)
	})
	t.Run("wrong amount", func(t *testing.T) {
		outside.want(200, "", callback(signature(), claim(o.merchantOrder, o.amount+100)))
		o.kept(db, "INTEGRITY_FAILED", 1)
		o.untouched(db)
	})
	t.Run("paid before it is", func(t *testing.T) {
		outside.want(200, "", callback(signature(), claim(o.merchantOrder, o.amount)))
		o.kept(db, "RECEIVED", 2)
		o.untouched(db)
	})
	t.Run("unknown order", func(t *testing.T) {
		lost := claim("P"+unique(), o.amount)
		if a := outside.want(200, "", callback(signature(), lost)); a.Dig("duplicate") != false {
			t.Errorf("an orphan answered %s", a.Raw)
		}
		if a := outside.want(200, "", callback(signature(), lost)); a.Dig("duplicate") != true {
			t.Errorf("the same orphan answered %s", a.Raw)
		}
	})
	t.Run("garbage", func(t *testing.T) {
		for _, raw := range []string{"", "{", "[]", "null", "{}", `{"event":1}`, `{"event":"checkout.order.completed"}`, "\x00"} {
			outside.want(400, "MALFORMED_BODY", callback(signature(), []byte(raw)))
		}
	})
	t.Run("too large", func(t *testing.T) {
		outside.want(413, "BODY_TOO_LARGE", callback(signature(), make([]byte, 300<<10)))
	})
	t.Run("unknown provider", func(t *testing.T) {
		c := callback(signature(), claim(o.merchantOrder, o.amount))
		c.URL = "/payments/webhooks/paypal"
		outside.want(404, "NOT_FOUND", c)
	})
	o.complete("SUCCESS") // the truth still comes through
	o.once()
}

func TestCallbacksAgain(t *testing.T) {
	o, db := join(t).buy(), database(t)
	o.complete("SUCCESS")
	o.once()
	journals := number(t, db, `SELECT count(*) FROM payment.journal`)
	sub := o.get("/subscriptions/current")
	outside := newCaller(t)
	var raw []byte
	err := db.QueryRow(t.Context(), `SELECT body FROM payment.webhook_event WHERE merchant_order_id = $1`, o.merchantOrder).Scan(&raw)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if a := outside.want(200, "", callback(signature(), raw)); a.Dig("duplicate") != true {
			t.Errorf("the same callback answered %s", a.Raw)
		}
	}
	failed := claim(o.merchantOrder, o.amount) // other words, the same order, and a step back
	failed["event"] = "checkout.order.failed"
	outside.want(200, "", callback(signature(), failed))
	eventually(t, patience, "the late callback is dealt with", func() (bool, string) {
		n := number(t, db, `SELECT count(*) FROM payment.webhook_event WHERE merchant_order_id = $1 AND state = 'PROCESSED'`, o.merchantOrder)
		return n == 2, fmt.Sprintf("%d of 2", n)
	})
	o.once()
	if n := number(t, db, `SELECT count(*) FROM payment.journal`); n != journals {
		t.Errorf("%d journals, %d before", n, journals)
	}
	if again := o.get("/subscriptions/current"); again.Str("id") != sub.Str("id") || again.Str("currentPeriodEnd") != sub.Str("currentPeriodEnd") {
		t.Errorf("the subscription was %s, is %s", sub.Raw, again.Raw)
	}
}

// TestProviderMisbehaves has every order paid once, however it is told.
func TestProviderMisbehaves(t *testing.T) {
	t.Run("drops the callback", func(t *testing.T) {
		o := join(t).buy()
		control(t, o.caller, body{"drop": 1})
		o.complete("SUCCESS")
		sync := api.Call{Method: "POST", URL: "/payments/" + o.payment + "/sync", Token: o.token}
		if a := o.want(200, "", sync); a.Str("state") != "SUCCEEDED" {
			t.Errorf("sync answered %s", a.Raw)
		}
		o.once()
	})
	t.Run("repeats it", func(t *testing.T) {
		o := join(t).buy()
		control(t, o.caller, body{"duplicate": 6})
		o.complete("SUCCESS")
		o.once()
	})
	t.Run("forges beside it", func(t *testing.T) {
		o := join(t).buy()
		control(t, o.caller, body{"forge": true})
		o.complete("SUCCESS")
		o.once()
	})
	t.Run("delays it", func(t *testing.T) {
		o := join(t).buy()
		control(t, o.caller, body{"delayMs": 300, "duplicate": 2})
		o.complete("SUCCESS")
		o.once()
	})
	t.Run("tells of the failure after the success", func(t *testing.T) {
		o := join(t).buy()
		control(t, o.caller, body{"reorder": true})
		o.complete("FAILURE") // held back
		o.complete("SUCCESS") // goes first
		o.once()
	})
	t.Run("tells two customers' news the wrong way round", func(t *testing.T) {
		a, b := join(t).buy(), join(t).buy()
		control(t, a.caller, body{"reorder": true})
		a.complete("SUCCESS")
		b.complete("SUCCESS")
		a.once()
		b.once()
	})
	t.Run("does not answer about the status", func(t *testing.T) {
		o := join(t).buy()
		control(t, o.caller, body{"statusUnavailable": true})
		o.complete("SUCCESS")
		o.kept(database(t), "RECEIVED", 1)
		o.want(502, "PAYMENT_PROVIDER_UNAVAILABLE", api.Call{Method: "POST", URL: "/payments/" + o.payment + "/sync", Token: o.token})
		o.untouched(database(t))
		control(t, o.caller, body{})
		o.once()
	})
	t.Run("refuses the payment", func(t *testing.T) {
		o := join(t).buy()
		o.complete("FAILURE")
		eventually(t, patience, "the payment fails", func() (bool, string) { s := o.state(); return s == "FAILED", s })
		o.want(403, "FEATURE_NOT_AVAILABLE", o.consume())
		next := o.buy() // another try, paid
		next.complete("SUCCESS")
		next.once()
	})
	booksAgree(t, newCaller(t))
}

// TestProviderDown leaves nothing half done: the same key goes on later.
func TestProviderDown(t *testing.T) {
	p := join(t)
	control(t, p.caller, body{"failNextCalls": 100_000})
	key := "e2e-" + unique()
	a := p.want(502, "PAYMENT_PROVIDER_UNAVAILABLE", checkout(p.token, key))
	if a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("Content-Type %q", a.Header.Get("Content-Type"))
	}
	p.want(200, "", p.me())
	p.want(403, "FEATURE_NOT_AVAILABLE", p.consume())
	control(t, p.caller, body{})
	co, _ := p.until(patience, 201, "", checkout(p.token, key))
	o := p.ordered(co)
	if n := p.get("/payments").Dig("totalSize"); n != float64(1) {
		t.Errorf("%v payments, want 1", n)
	}
	o.complete("SUCCESS")
	o.once()
}
