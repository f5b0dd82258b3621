package e2e_test

import (
	"sync"
	"testing"

	"github.com/manas360/platform/deploy/internal/api"
)

func TestCheckoutIsIdempotent(t *testing.T) {
	p := join(t)
	key := "e2e-" + unique()
	first := p.want(201, "", checkout(p.token, key))
	again := p.want(201, "", checkout(p.token, key))
	if first.Header.Get("Idempotency-Replayed") != "" || again.Header.Get("Idempotency-Replayed") != "true" || string(first.Raw) != string(again.Raw) {
		t.Errorf("first %s\nagain (replayed %q) %s", first.Raw, again.Header.Get("Idempotency-Replayed"), again.Raw)
	}
	another := checkout(p.token, key)
	another.Body = body{"planCode": "basic", "cycle": "MONTHLY"}
	p.want(409, "IDEMPOTENCY_KEY_REUSED", another)
	join(t).want(201, "", checkout(join(t).token, key)) // a key is its owner's only
	if n := p.get("/payments").Dig("totalSize"); n != float64(1) {
		t.Errorf("%v payments, want 1", n)
	}
	o := p.ordered(first)
	o.complete("SUCCESS")
	o.once()
	if replay := p.want(201, "", checkout(p.token, key)); string(replay.Raw) != string(first.Raw) {
		t.Errorf("after paying the same key answers %s", replay.Raw)
	}
	o.once()
}

// TestCheckoutsAtOnce under one key open one payment; each answer is that one,
// or says that it is on its way.
func TestCheckoutsAtOnce(t *testing.T) {
	p := join(t)
	key := "e2e-" + unique()
	answers := make([]api.Answer, 12)
	var group sync.WaitGroup
	for i := range answers {
		group.Go(func() {
			in := checkout(p.token, key)
			in.URL = suite.api + in.URL
			a, err := p.client.Send(t.Context(), in)
			if err != nil {
				t.Error(err)
			}
			answers[i] = a
		})
	}
	group.Wait()
	seen := map[string]bool{}
	for _, a := range answers {
		switch {
		case a.Status == 201:
			seen[a.Str("payment", "id")] = true
		case a.Status != 409 || a.Str("code") != "IDEMPOTENCY_IN_PROGRESS":
			t.Errorf("answered %d: %s", a.Status, a.Raw)
		}
	}
	if len(seen) != 1 {
		t.Errorf("payments %v, want one", seen)
	}
	if n := p.get("/payments").Dig("totalSize"); n != float64(1) {
		t.Errorf("%v payments, want 1", n)
	}
	o := p.ordered(p.want(201, "", checkout(p.token, key)))
	o.complete("SUCCESS")
	o.once()
}

// TestOrdersAtOnce under keys of their own, all paid: money that came in is
// booked, and there is one live subscription.
func TestOrdersAtOnce(t *testing.T) {
	p := join(t)
	answers := make([]api.Answer, 4)
	var group sync.WaitGroup
	for i := range answers {
		group.Go(func() {
			in := checkout(p.token, "e2e-"+unique())
			in.URL = suite.api + in.URL
			a, err := p.client.Send(t.Context(), in)
			if err != nil {
				t.Error(err)
			}
			answers[i] = a
		})
	}
	group.Wait()
	var last *order
	for _, a := range answers {
		if a.Status == 409 {
			continue // one at a time is an answer
		}
		if a.Status != 201 {
			t.Fatalf("answered %d: %s", a.Status, a.Raw)
		}
		last = p.ordered(a)
		last.complete("SUCCESS")
	}
	last.paid()
	last.entitled()
	live := 0
	for _, s := range p.get("/subscriptions").List("subscriptions") {
		if s["state"] == "ACTIVE" {
			live++
		}
	}
	if live != 1 {
		t.Errorf("%d live subscriptions, want 1", live)
	}
	booksAgree(t, p.caller)
}
