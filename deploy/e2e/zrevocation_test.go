package e2e_test

import (
	"bufio"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/internal/api"
)

// identity.md G5: how soon a logout is refused at the edge, over many.
func TestRevocationTakesNoTime(t *testing.T) {
	p := join(t)
	var took []time.Duration
	for range 40 {
		p.login()
		p.want(204, "", api.Call{Method: "POST", URL: "/auth/logout", Token: p.token})
		_, d := p.until(atOnce, 401, "TOKEN_REVOKED", p.me())
		took = append(took, d)
	}
	slices.Sort(took)
	t.Logf("a logout bites after p50 %v, p95 %v, largest %v", took[len(took)/2], took[len(took)*95/100], took[len(took)-1])
}

// identity.md G22 and row 15: what is revoked stays so when Redis is emptied
// and every process that knew of it has died.
func TestRevocationOutlivesEveryProcess(t *testing.T) {
	leaver, victim, p, admin := join(t), join(t), join(t), signInSuperadmin(t)
	leaver.want(204, "", api.Call{Method: "POST", URL: "/auth/logout", Token: leaver.token})
	admin.act("suspend", victim.id)
	leaver.until(atOnce, 401, "TOKEN_REVOKED", leaver.me())
	victim.until(atOnce, 401, "TOKEN_REVOKED", victim.me())

	refused := func(when string) {
		t.Helper()
		for _, who := range []*person{leaver, victim} {
			if a := who.do(who.me()); a.Status != 401 || a.Str("code") != "TOKEN_REVOKED" {
				t.Errorf("%s: a dead token was answered %d %s", when, a.Status, a.Str("code"))
			}
			if a := who.do(refresh(who.refresh)); a.Status != 401 {
				t.Errorf("%s: a dead refresh token was answered %d %s", when, a.Status, a.Str("code"))
			}
		}
	}
	flushRedis(t)
	refused("Redis emptied")
	for _, name := range []string{"auth", "gateway"} {
		kill(t, name)
		allWell(t)
		refused(name + " killed")
	}
	flushRedis(t)
	refused("Redis emptied again")
	p.want(200, "", p.me())
}

func flushRedis(t *testing.T) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", suite.RedisAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's connection
	if _, err := conn.Write([]byte("FLUSHALL\r\n")); err != nil {
		t.Fatal(err)
	}
	if said, err := bufio.NewReader(conn).ReadString('\n'); err != nil || said != "+OK\r\n" {
		t.Fatalf("Redis said %q, %v", said, err)
	}
}
