package e2e_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/dev/stack"
	"github.com/manas360/platform/deploy/internal/api"
)

// The file's name has these tests run last: each takes a part of the suite away,
// and waits until all is well again.

// TestRedisDown closes the doors that need counting, and no other.
func TestRedisDown(t *testing.T) {
	p, leaver, victim, admin, before := join(t), join(t), join(t), signInSuperadmin(t), pids()
	up := down(t, "redis")
	login := api.Call{Method: "POST", URL: "/auth/login", Body: body{"email": p.email, "password": p.password}}
	p.want(503, "UNAVAILABLE", login)
	p.want(200, "", p.me())
	p.want(200, "", api.Call{Method: "GET", URL: "/plans"})
	p.get("/subscriptions/current")
	unready(t, p.caller, "redis")
	p.want(503, "UNAVAILABLE", login)
	p.renew()
	// The push is gone; the poll brings the news, twice a second.
	leaver.want(204, "", api.Call{Method: "POST", URL: "/auth/logout", Token: leaver.token})
	_, took := leaver.until(atOnce, 401, "TOKEN_REVOKED", leaver.me())
	t.Logf("without Redis a logout bites after %v", took)
	admin.act("suspend", victim.id)
	_, took = victim.until(atOnce, 401, "TOKEN_REVOKED", victim.me())
	t.Logf("without Redis a suspension bites after %v", took)
	up()
	allWell(t)
	p.until(patience, 200, "", login)
	join(t) // and everything else
	lived(t, before)
}

// TestPostgresDown is told at once, and mended without a restart.
func TestPostgresDown(t *testing.T) {
	p, before := join(t), pids()
	up := down(t, "postgres")
	for _, in := range []api.Call{
		p.me(),
		{Method: "POST", URL: "/auth/login", Body: body{"email": p.email, "password": p.password}},
		refresh(p.refresh),
		checkout(p.token, "e2e-"+unique()),
		callback(signature(), claim("P"+unique(), 100)),
	} {
		a := p.want(503, "UNAVAILABLE", in)
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s: 503 without Retry-After", in.Method, in.URL)
		}
		t.Logf("%s %s answered 503 after %v", in.Method, in.URL, a.Took)
	}
	unready(t, p.caller, stack.Services...)
	p.want(200, "", api.Call{Method: "GET", URL: suite.root + "/livez"})
	p.want(200, "", api.Call{Method: "GET", URL: suite.root + "/.well-known/jwks.json"})
	up()
	allWell(t)
	p.until(patience, 200, "", p.me())
	p.renew()
	o := join(t).buy()
	o.complete("SUCCESS")
	o.once()
	lived(t, before)
}

// TestPeerDown: who is away is told quickly, who is not works on.
func TestPeerDown(t *testing.T) {
	p := join(t)
	up := down(t, "user")
	for range 3 {
		a := p.want(503, "UNAVAILABLE", p.me())
		if a.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		t.Logf("answered after %v", a.Took)
	}
	const crowd = 64
	began := time.Now()
	var group sync.WaitGroup
	for range crowd {
		group.Go(func() {
			in := p.me()
			in.URL = suite.api + in.URL
			if a, err := p.client.Send(t.Context(), in); err != nil || a.Status != 503 && a.Status != 429 {
				t.Errorf("in a crowd: %d %s %v", a.Status, a.Raw, err)
			}
		})
	}
	group.Wait()
	t.Logf("%d at once answered after %v", crowd, time.Since(began))
	for _, path := range []string{"/subscriptions/current", "/entitlements", "/payments", "/plans", "/auth/sessions"} {
		p.get(path)
	}
	unready(t, p.caller, "user")
	up()
	allWell(t)
	p.until(patience, 200, "", p.me())
}

// TestAccountMadeWhileOthersAreAway waits in the outbox for them.
func TestAccountMadeWhileOthersAreAway(t *testing.T) {
	p := &person{caller: newCaller(t), email: "e2e-" + unique() + "@example.com", password: "correct horse " + unique()}
	var up []func()
	for _, name := range []string{"user", "subscription", "audit"} {
		up = append(up, down(t, name))
	}
	reg := p.want(202, "", api.Call{Method: "POST", URL: "/auth/register", Body: registration(p.email, p.password)})
	p.take(p.want(200, "", answer(reg.Str("challengeId"), p.code())))
	for _, back := range up {
		back()
	}
	allWell(t)
	sub, _ := p.until(patience, 200, "", api.Call{Method: "GET", URL: "/subscriptions/current", Token: p.token})
	if sub.Str("planCode") != "free" {
		t.Errorf("the subscription is %s", sub.Raw)
	}
	p.until(patience, 200, "", p.me())
	admin := signInSuperadmin(t)
	eventually(t, patience, "the audit log catches up", func() (bool, string) {
		a := admin.do(api.Call{Method: "GET", URL: "/audit/events?action=account.verified&resourceId=" + p.id, Token: admin.token})
		return len(a.List("events")) == 1, string(a.Raw)
	})
}

// TestKilledWhilePaying takes services away with SIGKILL around a payment:
// nothing is lost, nothing happens twice.
func TestKilledWhilePaying(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, after []string // killed before or after the customer pays
	}{
		{"subscription before", []string{"subscription"}, nil},
		{"subscription after", nil, []string{"subscription"}},
		{"payment after", nil, []string{"payment"}},
		{"auth after", nil, []string{"auth"}},
		{"gateway after", nil, []string{"gateway"}},
		{"payment and subscription after", nil, []string{"payment", "subscription"}},
		{"audit after", nil, []string{"audit"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := join(t).buy()
			for _, name := range tt.before {
				kill(t, name)
			}
			o.complete("SUCCESS")
			for _, name := range tt.after {
				kill(t, name)
			}
			allWell(t)
			o.client.HTTP.CloseIdleConnections()
			o.once()
		})
	}
	booksAgree(t, newCaller(t))
}

// TestDrain: a service asked to end does so well.
func TestDrain(t *testing.T) {
	p := join(t)
	for _, name := range append(slices.Clone(stack.Services), "gateway") {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), partLimit)
			defer cancel()
			if err := suite.StopPart(ctx, name); err != nil {
				t.Errorf("SIGTERM ended %s with %v, want exit status 0", name, err)
			}
			start(t, name)
		})
	}
	allWell(t)
	p.client.HTTP.CloseIdleConnections()
	p.until(patience, 200, "", p.me())
}

// TestRequestsUnderWayAreAnswered while the service they need is asked to end
// and comes back: each gets an answer, and none is an internal error.
func TestRequestsUnderWayAreAnswered(t *testing.T) {
	p := join(t)
	ctx, cancel := context.WithCancel(t.Context())
	answers := map[int]int{}
	var mu sync.Mutex // guards answers
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				in := p.me()
				in.URL = suite.api + in.URL
				a, err := p.client.Send(t.Context(), in)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				answers[a.Status]++
				mu.Unlock()
				if api.Pause(ctx, 5*lookGap) != nil { // below the limit of requests a minute
					return
				}
			}
		})
	}
	up := down(t, "user")
	up()
	allWell(t)
	cancel()
	group.Wait()
	t.Logf("answers by status: %v", answers)
	for status, n := range answers {
		if status != 200 && status != 503 && status != 429 {
			t.Errorf("%d answers of %s", n, strconv.Itoa(status))
		}
	}
}
