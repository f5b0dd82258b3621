package e2e_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/internal/api"
)

// put changes something as the administrator.
func (p *person) put(status int, code, path string, b body) api.Answer {
	p.t.Helper()
	b["reason"] = "end-to-end test of roles"
	return p.want(status, code, api.Call{Method: "PUT", URL: path, Token: p.token, Body: b})
}

func (p *person) operate(status int, code, path string, b body) api.Answer {
	p.t.Helper()
	b["reason"] = "end-to-end test of roles"
	return p.want(status, code, api.Call{Method: "POST", URL: path, Token: p.token, Body: b})
}

// fresh gives the superadmin's session a recent sign-in.
func fresh(t *testing.T) *person {
	t.Helper()
	root := signInSuperadmin(t)
	root.take(root.want(200, "", api.Call{Method: "POST", URL: "/auth/step-up", Token: root.token, Body: body{"password": root.password}}))
	superadmin.token, superadmin.refresh = root.token, root.refresh // what others hold goes on, but for the refresh token
	return root
}

// permissionsOf reads what a role gives.
func permissionsOf(t *testing.T, root *person, role string) []string {
	t.Helper()
	a := root.want(200, "", api.Call{Method: "GET", URL: "/admin/roles", Token: root.token})
	for _, r := range a.List("roles") {
		if r["name"] != role {
			continue
		}
		var out []string
		all, _ := r["permissions"].([]any)
		for _, p := range all {
			out = append(out, fmt.Sprint(p))
		}
		return out
	}
	t.Fatalf("no role %s in %s", role, a.Raw)
	return nil
}

// TestRoleChange: a person's roles change, the token is stale at once, and a
// refresh gives the new ones. identity.md row 14
func TestRoleChange(t *testing.T) {
	root, p := fresh(t), join(t)
	a := root.put(200, "", "/admin/users/"+p.id+"/roles", body{"roles": []string{"user", "therapist"}})
	if got := fmt.Sprint(a.Dig("roles")); got != "[therapist user]" {
		t.Errorf("roles %s", got)
	}
	_, took := p.until(atOnce, 401, "TOKEN_STALE", p.me())
	t.Logf("stale after %v", took)
	ses := p.renew()
	if got := fmt.Sprint(ses.Dig("user", "roles")); got != "[therapist user]" {
		t.Errorf("after the refresh: roles %s", got)
	}
	p.want(200, "", p.me())
	root.put(403, "PERMISSION_DENIED", "/admin/users/"+root.id+"/roles", body{"roles": []string{"user"}})
	root.put(403, "PERMISSION_DENIED", "/admin/users/"+p.id+"/roles", body{"roles": []string{"superadmin"}})
	root.put(400, "INVALID_ARGUMENT", "/admin/users/"+p.id+"/roles", body{"roles": []string{"wizard"}})
	p.put(403, "PERMISSION_DENIED", "/admin/users/"+p.id+"/roles", body{"roles": []string{"admin"}})
	root.operate(200, "", "/admin/users/"+p.id+"/unlock", body{})
	root.operate(200, "", "/admin/users/"+p.id+"/revoke-sessions", body{})
	p.until(atOnce, 401, "TOKEN_REVOKED", p.me())
	p.login()
	p.want(200, "", p.me())
}

// TestRoleDefinition: what a role gives changes within a second, and the very
// token of before goes on. identity.md G6
func TestRoleDefinition(t *testing.T) {
	root, p := fresh(t), join(t)
	before := permissionsOf(t, root, "user")
	change := func(permissions []string) api.Call {
		return api.Call{
			Method: "PUT", URL: suite.api + "/admin/roles/user", Token: root.token, Body: body{"permissions": permissions, "reason": "end-to-end test of roles"},
		}
	}
	t.Cleanup(func() {
		if a, err := root.client.Send(contextOf(t), change(before)); err != nil || a.Status != 200 {
			t.Errorf("put the role right again: %v %s", err, a.Raw)
		}
	})
	payments := api.Call{Method: "GET", URL: "/payments", Token: p.token}
	p.want(200, "", payments)
	without := slices.DeleteFunc(slices.Clone(before), func(s string) bool { return s == "payments.read" })
	root.want(200, "", change(without))
	_, took := p.until(atOnce, 403, "PERMISSION_DENIED", payments)
	t.Logf("taken after %v", took)
	p.want(200, "", p.me()) // the same token, nothing stale
	root.want(200, "", change(before))
	_, took = p.until(atOnce, 200, "", payments)
	t.Logf("given after %v", took)
	root.put(400, "INVALID_ARGUMENT", "/admin/roles/user", body{"permissions": []string{"profile.fly"}})
	root.put(403, "PERMISSION_DENIED", "/admin/roles/superadmin", body{"permissions": before})
	root.put(404, "NOT_FOUND", "/admin/roles/wizard", body{"permissions": before})
}

// TestImpersonation: who acts for a person is marked, kept out of what matters,
// and gone when the operator signs out of it. identity.md row 67
func TestImpersonation(t *testing.T) {
	root, p := fresh(t), join(t)
	a := root.operate(200, "", "/admin/users/"+p.id+"/impersonate", body{})
	if a.Dig("expiresIn") != 900.0 || a.Str("user", "id") != p.id || a.Str("refreshToken") != "" {
		t.Errorf("got %s", a.Raw)
	}
	token := a.Str("accessToken")
	_, payload := claims(t, token)
	if act, _ := payload["act"].(body); payload["sub"] != p.id || act["sub"] != root.id {
		t.Errorf("claims %v", payload)
	}
	acting := &person{caller: newCaller(t), token: token, id: p.id}
	if got := acting.want(200, "", acting.me()).Str("id"); got != p.id {
		t.Errorf("acts for %s, want %s", got, p.id)
	}
	acting.want(200, "", api.Call{Method: "PATCH", URL: "/users/me", Token: token, Body: body{"displayName": "Asha, with help"}})
	for _, in := range []api.Call{
		{Method: "POST", URL: "/subscriptions/checkout", Body: body{"planCode": "premium", "cycle": "MONTHLY"}, Header: map[string]string{"Idempotency-Key": unique()}},
		{Method: "POST", URL: "/auth/password/change", Body: body{"currentPassword": p.password, "newPassword": "another horse " + unique()}},
		{Method: "POST", URL: "/auth/mfa/totp"},
		{Method: "POST", URL: "/auth/api-keys", Body: body{"name": "k", "permissions": []string{"profile.read"}}},
		{Method: "POST", URL: "/auth/logout-all"},
		{Method: "POST", URL: "/auth/step-up", Body: body{"password": p.password}},
	} {
		in.Token = token
		acting.want(403, "PERMISSION_DENIED", in)
	}
	eventually(t, patience, "the person is told", func() (bool, string) {
		list, err := suite.messages.To(p.email)
		return err == nil && slices.ContainsFunc(list, func(m api.Message) bool { return m.Template == "impersonated" }), fmt.Sprint(list, err)
	})
	for _, action := range []string{"profile.updated", "impersonation.started"} {
		eventually(t, patience, action+" is on record", func() (bool, string) {
			a := root.do(api.Call{Method: "GET", URL: "/audit/events?action=" + action + "&resourceId=" + p.id, Token: root.token})
			for _, ev := range a.List("events") {
				actor, _ := ev["actor"].(body)
				if action == "profile.updated" && actor["id"] == p.id && actor["impersonatorId"] == root.id {
					return true, ""
				}
				if action == "impersonation.started" && actor["id"] == root.id && ev["reason"] != "" {
					return true, ""
				}
			}
			return false, string(a.Raw)
		})
	}
	p.operate(403, "PERMISSION_DENIED", "/admin/users/"+root.id+"/impersonate", body{})
	acting.want(204, "", api.Call{Method: "POST", URL: "/auth/logout", Token: token})
	acting.until(atOnce, 401, "TOKEN_REVOKED", acting.me())
	p.want(200, "", p.me()) // the person's own session goes on
}

// manasctl runs the tool on the suite's own folder.
func manasctl(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	args = append([]string{"-data", suite.DataDir, "-operator", "e2e"}, args...)
	out, err := exec.CommandContext(ctx, filepath.Join(suite.Root, ".bin", "manasctl"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("manasctl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// kidOf is the key that signed a token.
func kidOf(t *testing.T, token string) string {
	t.Helper()
	header, _ := claims(t, token)
	kid, _ := header["kid"].(string)
	return kid
}

// signing reads the kid of the key in a state from the tool's table.
func signing(t *testing.T, table, state string) string {
	t.Helper()
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 3 && f[2] == state {
			return f[0]
		}
	}
	t.Fatalf("no key is %s in\n%s", state, table)
	return ""
}

// TestSigningKeys rotates and kills from the machine: old tokens stay good
// through a rotation, and are dead within two seconds of a kill.
// identity.md row 62
func TestSigningKeys(t *testing.T) {
	p := join(t)
	old, kid := p.token, kidOf(t, p.token)
	if got := signing(t, manasctl(t, "keys", "list"), "ACTIVE"); got != kid {
		t.Fatalf("%s signs, the tool says %s", kid, got)
	}
	table := manasctl(t, "keys", "rotate", "-reason", "end-to-end test of keys")
	next := signing(t, table, "ACTIVE")
	p.renew()
	if got := kidOf(t, p.token); got != next || got == kid {
		t.Errorf("signed by %s, want %s", got, next)
	}
	for range 20 { // both, whatever the edge has heard so far
		p.want(200, "", p.me())
		p.want(200, "", api.Call{Method: "GET", URL: "/users/me", Token: old})
	}
	began := time.Now()
	manasctl(t, "keys", "kill", kid, "-reason", "end-to-end test of keys")
	p.until(2*time.Second, 401, "INVALID_TOKEN", api.Call{Method: "GET", URL: "/users/me", Token: old})
	t.Logf("dead %v after the command began", time.Since(began))
	p.want(200, "", p.me())
	// In an emergency the key that signs goes too; whoever refreshes goes on.
	manasctl(t, "keys", "kill", next, "-reason", "end-to-end test of keys")
	p.until(2*time.Second, 401, "INVALID_TOKEN", p.me())
	p.renew()
	p.until(2*time.Second, 200, "", p.me())
	if superadmin.token != "" { // the others' as well
		root := &person{caller: newCaller(t), refresh: superadmin.refresh}
		root.renew()
		superadmin.token, superadmin.refresh = root.token, root.refresh
	}
	root := fresh(t)
	eventually(t, patience, "the kill is on record", func() (bool, string) {
		a := root.do(api.Call{Method: "GET", URL: "/audit/events?action=signing_key.killed&resourceId=" + kid, Token: root.token})
		list := a.List("events")
		if len(list) == 0 {
			return false, string(a.Raw)
		}
		actor, _ := list[0]["actor"].(body)
		return actor["id"] == "manasctl/e2e", string(a.Raw)
	})
}
