package auth

import (
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/manas360/platform/pkg/fail"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// browser is one client: tabs that share a refresh token, as they share a
// cookie jar.
type browser struct {
	token string
	due   [5]int // second of the round at which a tab tries; -1 when it is done
	dice  *rand.Rand
}

// identity.md G8: tabs refresh at nearly the same time, every fifth answer is
// lost and asked for again, and nobody is ever signed out by mistake.
// MANAS_LONG=1 has ten thousand clients.
func TestClientsAreNeverLoggedOutByMistake(t *testing.T) {
	clients, rounds := 16, 96 // a day of tokens that live 15 minutes
	if os.Getenv("MANAS_LONG") == "1" {
		clients, rounds = 10_000, 8
	}
	b := newBench(t)
	b.mustJoin(ashasMail)
	all := make([]*browser, clients)
	for i := range all {
		all[i] = &browser{token: b.mustLogin(ashasMail).GetRefreshToken(), dice: rand.New(rand.NewPCG(uint64(i), 8))}
	}
	var asked, lost, wrong atomic.Int64
	for range rounds {
		b.clock.pass(b.c.AccessTTL.Std() - time.Minute)
		for _, x := range all {
			for tab := range x.due {
				x.due[tab] = x.dice.IntN(4)
			}
		}
		for second := range 10 { // the grace
			var busy sync.WaitGroup
			gate := make(chan struct{}, 8)
			for _, x := range all {
				gate <- struct{}{}
				busy.Go(func() {
					defer func() { <-gate }()
					x.second(b, second, &asked, &lost, &wrong)
				})
			}
			busy.Wait()
			b.clock.pass(time.Second)
		}
	}
	t.Logf("%d clients of 5 tabs, %d refreshes, %d answers lost, %d refused", clients, asked.Load(), lost.Load(), wrong.Load())
	if wrong.Load() != 0 {
		t.Errorf("%d refreshes were refused", wrong.Load())
	}
	var ended int
	if err := b.db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM auth.session WHERE revoked_at IS NOT NULL`).Scan(&ended); err != nil || ended != 0 {
		t.Errorf("%d sessions ended, %v", ended, err)
	}
}

// second lets the tabs act whose time it is.
func (x *browser) second(b *bench, now int, asked, lost, wrong *atomic.Int64) {
	read := x.token // the tabs of one second read the jar before any of them writes
	for tab, due := range x.due {
		if due != now {
			continue
		}
		asked.Add(1)
		r, err := b.pub.Refresh(b.visitor(), &authv1.RefreshRequest{RefreshToken: &read})
		switch {
		case err != nil:
			wrong.Add(1)
			x.due[tab] = -1
		case x.dice.Float64() < 0.2:
			lost.Add(1)
			x.due[tab] = now + 1 // asked again with what the jar holds then
		default:
			x.token, x.due[tab] = r.GetSession().GetRefreshToken(), -1
		}
	}
}

// identity.md G9: a copied token that comes back after the grace ends the
// session for both, and the owner is told.
func TestTheftEndsTheSession(t *testing.T) {
	b := newBench(t)
	b.mustJoin(ashasMail)
	g := b.mustLogin(ashasMail)
	copied := g.GetRefreshToken()
	next, err := b.pub.Refresh(b.visitor(), &authv1.RefreshRequest{RefreshToken: &copied})
	if err != nil {
		t.Fatal(err)
	}
	b.clock.pass(refreshGrace + time.Second)
	_, err = b.pub.Refresh(from(t.Context(), "198.51.100.66"), &authv1.RefreshRequest{RefreshToken: &copied})
	wantKind(t, "the thief", err, fail.RefreshReused)
	mine := next.GetSession().GetRefreshToken()
	_, err = b.pub.Refresh(b.visitor(), &authv1.RefreshRequest{RefreshToken: &mine})
	wantKind(t, "the owner's", err, fail.InvalidRefreshToken)
	told := 0
	for _, m := range b.letters() {
		if m.Template == "session_reuse" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("the owner was told %d times", told)
	}
}
