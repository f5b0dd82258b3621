package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/deploy/internal/api"
)

// order is a checkout on its way.
type order struct {
	*person

	payment, merchantOrder, redirect string
	amount                           int64
}

func checkout(token, key string) api.Call {
	return api.Call{
		Method: "POST", URL: "/subscriptions/checkout", Token: token, Header: map[string]string{"Idempotency-Key": key},
		Body: body{"planCode": "premium", "cycle": "MONTHLY"},
	}
}

// buy opens an order for premium.
func (p *person) buy() *order {
	p.t.Helper()
	return p.ordered(p.want(201, "", checkout(p.token, "e2e-"+unique())))
}

// ordered reads what a checkout answered.
func (p *person) ordered(co api.Answer) *order {
	p.t.Helper()
	o := &order{person: p, payment: co.Str("payment", "id"), redirect: co.Str("payment", "redirectUrl")}
	pay := p.get("/payments/" + o.payment)
	o.merchantOrder = pay.Str("merchantOrderId")
	amount, err := strconv.ParseInt(pay.Str("amount", "amountMinor"), 10, 64)
	if err != nil || o.merchantOrder == "" || o.redirect == "" {
		p.t.Fatalf("no order in %s and %s: %v", co.Raw, pay.Raw, err)
	}
	o.amount = amount
	return o
}

// complete is what the customer does at the checkout page.
func (o *order) complete(outcome string) {
	o.t.Helper()
	o.want(200, "", api.Call{Method: "POST", URL: o.redirect + "/complete", Body: body{"outcome": outcome}})
}

func (o *order) state() string {
	o.t.Helper()
	return o.get("/payments/" + o.payment).Str("state")
}

// paid waits until the payment has succeeded.
func (o *order) paid() {
	o.t.Helper()
	eventually(o.t, patience, "payment succeeds", func() (bool, string) { s := o.state(); return s == "SUCCEEDED", s })
}

// entitled waits until the premium feature works.
func (o *order) entitled() {
	o.t.Helper()
	eventually(o.t, patience, "the premium feature works", func() (bool, string) {
		a := o.do(o.consume())
		if a.Str("code") == "TOKEN_STALE" {
			o.renew()
		}
		return a.Status == 200, string(a.Raw)
	})
}

// once checks that money moved once, at the bank and in our books, and bought
// one thing.
func (o *order) once() {
	o.t.Helper()
	o.paid()
	o.entitled()
	captures := 0
	for _, r := range statement(o.t, o.caller) {
		if r.MerchantOrderID == o.merchantOrder {
			captures++
			if r.Kind != "CAPTURE" || r.AmountMinor != o.amount {
				o.t.Errorf("the bank moved %+v, want a capture of %d", r, o.amount)
			}
		}
	}
	if captures != 1 {
		o.t.Errorf("%d captures of %s at the bank, want 1", captures, o.merchantOrder)
	}
	db := database(o.t)
	booked, n := o.booked(db)
	if n != 1 || booked != o.amount {
		o.t.Errorf("%d journals book %d for %s, want 1 of %d", n, booked, o.payment, o.amount)
	}
	if list := o.get("/invoices").List("invoices"); len(list) != 1 {
		o.t.Errorf("%d invoices, want 1: %v", len(list), list)
	}
}

// booked gives what our books say came in for the order, and in how many journals.
func (o *order) booked(db *pgx.Conn) (amount, journals int64) {
	o.t.Helper()
	const query = `
SELECT coalesce(sum(p.amount_minor), 0), count(DISTINCT j.id)
  FROM payment.attempt a
  JOIN payment.journal j ON j.payment_id = a.payment_id
  JOIN payment.posting p ON p.journal_id = j.id AND p.account LIKE 'gateway\_clearing:%'
 WHERE a.merchant_order_id = $1`
	if err := db.QueryRow(o.t.Context(), query, o.merchantOrder).Scan(&amount, &journals); err != nil {
		o.t.Fatal(err)
	}
	return amount, journals
}

// move is a line of the bank's statement.
type move struct {
	ID              string `json:"id"`
	MerchantOrderID string `json:"merchantOrderId"`
	Kind            string `json:"kind"`
	AmountMinor     int64  `json:"amountMinor,string"`
	Currency        string `json:"currency"`
}

func statement(t *testing.T, c *caller) []move {
	t.Helper()
	a := c.want(200, "", api.Call{Method: "GET", URL: suite.creds.Sandbox.URL + "/bank/statement"})
	var out []move
	lines := bufio.NewScanner(bytes.NewReader(a.Raw))
	for lines.Scan() {
		var m move
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			t.Fatalf("statement line %q: %v", lines.Text(), err)
		}
		out = append(out, m)
	}
	return out
}

// booksAgree waits until the bank's statement and our journals say the same of
// every order. All tests but those that lie to us leave it so.
func booksAgree(t *testing.T, c *caller) {
	t.Helper()
	db := database(t)
	eventually(t, patience, "the bank's statement equals the ledger", func() (bool, string) {
		var bank int64
		for _, m := range statement(t, c) {
			if m.Kind == "CAPTURE" {
				bank += m.AmountMinor
			} else {
				bank -= m.AmountMinor
			}
		}
		booked := number(t, db, `SELECT coalesce(sum(amount_minor), 0) FROM payment.posting WHERE account LIKE 'gateway\_clearing:%'`)
		return bank == booked, fmt.Sprintf("%d at the bank, %d booked", bank, booked)
	})
	if n := number(t, db, `SELECT coalesce(sum(amount_minor), 0) FROM payment.posting`); n != 0 {
		t.Errorf("all postings sum to %d, want 0", n)
	}
}

// control has the sandbox misbehave until the test ends.
func control(t *testing.T, c *caller, how body) {
	t.Helper()
	set := func(how body) {
		c.want(200, "", api.Call{Method: "PUT", URL: suite.creds.Sandbox.URL + "/control", Body: how})
	}
	set(how)
	t.Cleanup(func() {
		quiet := api.Call{Method: "PUT", URL: suite.creds.Sandbox.URL + "/control", Body: body{}}
		if _, err := c.client.Send(contextOf(t), quiet); err != nil {
			t.Errorf("calm the sandbox: %v", err)
		}
	})
}
