package e2e_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/dev/stack"
	"github.com/manas360/platform/deploy/internal/api"
)

// TestOldPaths are answered as the old front end calls them.
func TestOldPaths(t *testing.T) {
	p := join(t)
	health := p.want(200, "", api.Call{Method: "GET", URL: suite.root + "/api/health"})
	if health.Str("status") != "ok" || strings.Count(strings.TrimSpace(string(health.Raw)), "\n") != 0 {
		t.Errorf("GET /api/health = %s", health.Raw)
	}
	p.want(200, "", api.Call{Method: "GET", URL: suite.root + "/api/users/me", Token: p.token})
	p.want(200, "", api.Call{Method: "POST", URL: suite.root + "/api/auth/login", Body: body{"email": p.email, "password": p.password}})
	p.want(200, "", api.Call{Method: "GET", URL: "/subscriptions/plans"})
	p.want(401, "INVALID_CREDENTIALS", api.Call{Method: "POST", URL: "/auth/admin-login", Body: body{"email": p.email, "password": p.password}})
	p.want(401, "INVALID_SIGNATURE", api.Call{Method: "POST", URL: "/payments/webhook", Body: body{}})
	up := checkout(p.token, "e2e-"+unique())
	up.URL = "/subscriptions/upgrade"
	p.ordered(p.want(201, "", up))
}

// TestDocuments are public and whole.
func TestDocuments(t *testing.T) {
	c := newCaller(t)
	keys := c.want(200, "", api.Call{Method: "GET", URL: suite.root + "/.well-known/jwks.json"}).List("keys")
	if len(keys) == 0 {
		t.Fatal("no keys")
	}
	for _, k := range keys {
		if k["kid"] == "" || k["d"] != nil {
			t.Errorf("key %v", k)
		}
	}
	doc := c.want(200, "", api.Call{Method: "GET", URL: suite.root + "/openapi.json"})
	paths, _ := doc.Dig("paths").(map[string]any)
	for _, want := range []string{"/api/v1/auth/register", "/api/v1/subscriptions/checkout", "/api/v1/admin/users/{id}/suspend"} {
		if paths[want] == nil {
			t.Errorf("/openapi.json lacks %s", want)
		}
	}
	page := c.want(200, "", api.Call{Method: "GET", URL: suite.root + "/docs"})
	if !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") || !strings.Contains(string(page.Raw), "/subscriptions/checkout") {
		t.Errorf("/docs is %s of %d bytes", page.Header.Get("Content-Type"), len(page.Raw))
	}
	for _, outside := range []string{`src="http`, `href="http`, `src="//`, "@import"} {
		if strings.Contains(string(page.Raw), outside) {
			t.Errorf("/docs needs something from outside: %s", outside)
		}
	}
	c.want(200, "", api.Call{Method: "GET", URL: suite.root + "/livez"})
	c.until(patience, 200, "", api.Call{Method: "GET", URL: suite.root + "/readyz"})
}

// TestEveryProcessHasItsOwnDoor answers operators on a port of its own.
func TestEveryProcessHasItsOwnDoor(t *testing.T) {
	c := newCaller(t)
	for _, name := range append([]string{"gateway"}, stack.Services...) {
		at := "http://127.0.0.1:" + strconv.Itoa(suite.Endpoint(name).Ops)
		c.want(200, "", api.Call{Method: "GET", URL: at + "/livez"})
		c.until(patience, 200, "", api.Call{Method: "GET", URL: at + "/readyz"})
		if m := c.want(200, "", api.Call{Method: "GET", URL: at + "/metrics"}); !strings.Contains(string(m.Raw), "go_goroutines") {
			t.Errorf("%s has no metrics", name)
		}
	}
}

// TestServicesRefuseStrangers: between processes nothing goes without a certificate of the suite.
func TestServicesRefuseStrangers(t *testing.T) {
	for _, name := range stack.Services {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(suite.Endpoint(name).GRPC))
		for _, certs := range [][]tls.Certificate{nil, {selfSigned(t)}} {
			d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: certs}}
			conn, err := d.DialContext(t.Context(), "tcp", addr)
			if err == nil { // TLS 1.3: the server's refusal comes with the first read
				_ = conn.SetDeadline(time.Now().Add(patience))
				_, err = conn.Read(make([]byte, 1))
				_ = conn.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "remote error") {
				t.Errorf("%s with %d foreign certificates: %v, want a refusal", name, len(certs), err)
			}
		}
	}
}

// TestEachServiceHasItsOwnRole connects as itself, never as the owner of the
// database. That a role reads its own schema only is tested in migrations.
func TestEachServiceHasItsOwnRole(t *testing.T) {
	join(t).buy() // all have a reason to be connected
	db := database(t)
	rows, err := db.Query(t.Context(), `
SELECT DISTINCT a.usename, r.rolsuper
  FROM pg_stat_activity a JOIN pg_roles r ON r.rolname = a.usename
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	seen := map[string]bool{}
	for rows.Next() {
		var role string
		var super bool
		if err := rows.Scan(&role, &super); err != nil {
			t.Fatal(err)
		}
		if seen[role] = true; super {
			t.Errorf("somebody is connected as the superuser %s", role)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, name := range stack.Services {
		if !seen["manas_"+name] {
			t.Errorf("nobody is connected as manas_%s: %s", name, fmt.Sprint(seen))
		}
	}
}
