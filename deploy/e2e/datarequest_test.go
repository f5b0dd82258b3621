package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/internal/api"
)

// A person's archive holds a section of every service that knows people, and
// no secret of any.
func TestExport(t *testing.T) {
	p, other := join(t), join(t)
	order := p.buy()
	order.complete("SUCCESS")
	order.entitled()
	eventually(t, patience, "the token tells of the new plan", func() (bool, string) {
		p.renew()
		plan, _ := claimsOf(t, p.token, "plan").(string)
		return plan != "free", plan
	})
	asked := p.want(202, "", api.Call{Method: "POST", URL: "/users/me/export", Token: p.token})
	again := p.want(202, "", api.Call{Method: "POST", URL: "/users/me/export", Token: p.token})
	if asked.Str("id") == "" || asked.Str("kind") != "EXPORT" || (again.Str("id") != asked.Str("id") && again.Str("state") == "PENDING") {
		t.Fatalf("asked %s, again %s", asked.Raw, again.Raw)
	}
	var ready api.Answer
	took := eventually(t, time.Minute, "the archive is ready", func() (bool, string) {
		ready = p.want(200, "", api.Call{Method: "GET", URL: "/users/me/data-requests/" + asked.Str("id"), Token: p.token})
		return ready.Str("state") == "READY", string(ready.Raw)
	})
	t.Logf("ready after %v, %d bytes", took, len(ready.Raw))
	for _, section := range []string{"auth", "user", "subscription", "payment", "audit"} {
		if _, ok := ready.Dig("archive", section).(map[string]any); !ok {
			t.Errorf("no section of %s", section)
		}
	}
	text := string(ready.Raw)
	if !strings.Contains(text, p.email) || strings.Contains(text, other.email) {
		t.Error("the archive is not the person's, or another's as well")
	}
	for _, secret := range []string{"argon2", "$2a$", p.password, p.token, p.refresh, "\"salt\"", "\"mac\"", "\"phc\"", "\"secret\""} {
		if strings.Contains(text, secret) {
			t.Errorf("the archive holds %.20q", secret)
		}
	}
	other.want(404, "NOT_FOUND", api.Call{Method: "GET", URL: "/users/me/data-requests/" + asked.Str("id"), Token: other.token})
	list := p.want(200, "", api.Call{Method: "GET", URL: "/users/me/data-requests", Token: p.token})
	if n, ok := list.Dig("dataRequests").([]any); !ok || len(n) == 0 {
		t.Errorf("listed %s", list.Raw)
	}
}

// Whoever wants to be forgotten is signed out at once, may think again for
// thirty days, and is then gone: the address is free for another.
func TestErasure(t *testing.T) {
	p := join(t)
	first := p.want(202, "", api.Call{Method: "DELETE", URL: "/users/me", Token: p.token})
	if first.Str("kind") != "ERASURE" || first.Str("state") != "SCHEDULED" || first.Str("dueAt") == "" {
		t.Fatalf("got %s", first.Raw)
	}
	_, took := p.until(atOnce, 401, "TOKEN_REVOKED", p.me())
	t.Logf("signed out after %v", took)
	p.want(401, "", refresh(p.refresh))
	p.login()
	p.until(patience, 200, "", p.me())
	eventually(t, patience, "signing in cancels it", func() (bool, string) {
		a := p.want(200, "", api.Call{Method: "GET", URL: "/users/me/data-requests/" + first.Str("id"), Token: p.token})
		return a.Str("state") == "CANCELLED", string(a.Raw)
	})

	p.want(202, "", api.Call{Method: "DELETE", URL: "/users/me", Token: p.token})
	p.until(atOnce, 401, "TOKEN_REVOKED", p.me())
	db := database(t)
	for _, sql := range []string{
		`UPDATE auth.account SET erase_at = now() - interval '1 minute' WHERE email = $1`,
		`UPDATE users.data_request SET due_at = now() - interval '1 minute', next_try_at = now() FROM users.profile AS p
          WHERE p.user_id = data_request.user_id AND p.email = $1 AND data_request.state = 'SCHEDULED'`,
	} {
		if _, err := db.Exec(t.Context(), sql, p.email); err != nil {
			t.Fatal(err)
		}
	}
	took = eventually(t, time.Minute, "everything is erased", func() (bool, string) {
		n := number(t, db, `SELECT count(*) FROM auth.account WHERE email = $1`, p.email) + number(t, db, `SELECT count(*) FROM users.profile WHERE email = $1`, p.email)
		return n == 0, "rows left"
	})
	t.Logf("erased after %v", took)
	p.want(401, "INVALID_CREDENTIALS", api.Call{Method: "POST", URL: "/auth/login", Body: body{"email": p.email, "password": p.password}})
	if a := signInSuperadmin(t).do(api.Call{Method: "GET", URL: "/users/" + p.id, Token: signInSuperadmin(t).token}); a.Status != 404 {
		t.Errorf("the profile is still there: %s", a.Raw)
	}
	next := &person{caller: newCaller(t), email: p.email, password: "another horse " + unique()}
	reg := next.want(202, "", api.Call{Method: "POST", URL: "/auth/register", Body: registration(next.email, next.password)})
	next.take(next.want(200, "", api.Call{Method: "POST", URL: "/auth/verify", Body: body{"challengeId": reg.Str("challengeId"), "code": next.code()}}))
	if next.id == p.id {
		t.Error("an id was given again")
	}
}

// People see what happened to their account, and nobody else in it.
func TestSecurityActivity(t *testing.T) {
	p, admin := join(t), signInSuperadmin(t)
	admin.act("suspend", p.id)
	admin.act("reactivate", p.id)
	p.login()
	var list api.Answer
	eventually(t, patience, "the log has come", func() (bool, string) {
		list = p.want(200, "", api.Call{Method: "GET", URL: "/users/me/security-activity?pageSize=50", Token: p.token})
		text := string(list.Raw)
		return strings.Contains(text, "account.suspended") && strings.Contains(text, "session.opened"), text
	})
	text := string(list.Raw)
	if strings.Contains(text, admin.id) || strings.Contains(text, "end-to-end test") {
		t.Errorf("it names the staff or repeats their words: %s", text)
	}
	page := p.want(200, "", api.Call{Method: "GET", URL: "/users/me/security-activity?pageSize=1", Token: p.token})
	if page.Str("nextPageToken") == "" {
		t.Errorf("one of several has no next page: %s", page.Raw)
	}
}
