package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/internal/api"
)

// makeKey makes an API key and gives its id and secret.
func (p *person) makeKey(permissions ...string) (id, secret string) {
	p.t.Helper()
	a := p.want(201, "", api.Call{Method: "POST", URL: "/auth/api-keys", Token: p.token, Body: body{"name": "e2e", "permissions": permissions}})
	if id, secret = a.Str("id"), a.Str("secret"); !strings.HasPrefix(id, "apk_") || !strings.HasPrefix(secret, "mk_live_") {
		p.t.Fatalf("no key: %s", a.Raw)
	}
	return id, secret
}

// TestAPIKey takes a key from its making to its end.
func TestAPIKey(t *testing.T) {
	p := join(t)
	id, key := p.makeKey("profile.read")
	me := api.Call{Method: "GET", URL: "/users/me", Token: key}
	if a := p.want(200, "", me); a.Str("id") != p.id {
		t.Errorf("the key stands for %s, want %s", a.Str("id"), p.id)
	}
	p.want(403, "PERMISSION_DENIED", api.Call{Method: "GET", URL: "/payments", Token: key})
	p.want(403, "PERMISSION_DENIED", api.Call{Method: "PATCH", URL: "/users/me", Token: key, Body: body{"bio": "x"}})
	for _, closed := range []api.Call{
		{Method: "POST", URL: "/auth/api-keys", Token: key, Body: body{"name": "x", "permissions": []string{"profile.read"}}},
		{Method: "DELETE", URL: "/auth/api-keys/" + id, Token: key},
		{Method: "POST", URL: "/auth/logout-all", Token: key},
		{Method: "POST", URL: "/auth/mfa/totp", Token: key},
	} {
		p.want(403, "PERMISSION_DENIED", closed)
	}
	p.want(403, "PERMISSION_DENIED", api.Call{Method: "POST", URL: "/auth/api-keys", Token: p.token, Body: body{"name": "x", "permissions": []string{"users.manage"}}})
	p.want(401, "INVALID_TOKEN", api.Call{Method: "GET", URL: "/users/me", Token: key[:len(key)-1]})

	list := p.want(200, "", api.Call{Method: "GET", URL: "/auth/api-keys", Token: p.token})
	keys, _ := list.Dig("apiKeys").([]any)
	if len(keys) != 1 || strings.Contains(string(list.Raw), "mk_live_") {
		t.Errorf("the list is %s", list.Raw)
	}

	began := time.Now()
	p.want(204, "", api.Call{Method: "DELETE", URL: "/auth/api-keys/" + id, Token: p.token})
	_, took := p.until(atOnce, 401, "TOKEN_REVOKED", me)
	t.Logf("dead %v after the answer, %v after the call", took, time.Since(began))
	p.want(404, "NOT_FOUND", api.Call{Method: "DELETE", URL: "/auth/api-keys/" + id, Token: p.token})
}

// TestAPIKeyFollowsItsOwner: what the owner loses the key loses, and a program
// is never told to refresh.
func TestAPIKeyFollowsItsOwner(t *testing.T) {
	p, db := join(t), database(t)
	_, key := p.makeKey("profile.read", "payments.read")
	payments := api.Call{Method: "GET", URL: "/payments", Token: key}
	p.want(200, "", payments)

	// A role is lost: no path of the API takes one away here, so its rows are
	// taken as auth takes them, with the event that tells the edges.
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var account string
	if err := tx.QueryRow(t.Context(), `SELECT id::text FROM auth.account WHERE email = $1`, p.email).Scan(&account); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`DELETE FROM auth.account_role WHERE account_id = $1::uuid`,
		`UPDATE auth.account SET epoch = epoch + 1 WHERE id = $1::uuid`,
		`INSERT INTO auth.authz_event (kind, key, min_epoch, recorded_at, expires_at)
		 SELECT 'ACCOUNT_STALE', id, epoch, now(), now() + interval '20 minutes' FROM auth.account WHERE id = $1::uuid`,
	} {
		if _, err := tx.Exec(t.Context(), sql, account); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	stale := 0
	took := eventually(t, atOnce, "the key has lost its permission", func() (bool, string) {
		a := p.do(payments)
		if a.Str("code") == "TOKEN_STALE" {
			stale++
		}
		return a.Status == http.StatusForbidden, string(a.Raw)
	})
	t.Logf("lost after %v", took)
	if stale > 0 {
		t.Errorf("a program was told to refresh %d times", stale)
	}

	other := join(t)
	_, key = other.makeKey("profile.read")
	me := api.Call{Method: "GET", URL: "/users/me", Token: key}
	other.want(200, "", me)
	root := signInSuperadmin(t)
	root.act("suspend", other.id)
	_, took = other.until(atOnce, 401, "TOKEN_REVOKED", me)
	t.Logf("suspended after %v", took)
}
