package e2e_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pquerna/otp/totp"

	"github.com/manas360/platform/deploy/internal/api"
)

const (
	premiumFeature = "premium_themed_rooms"
	allowedOrigin  = "http://app.example.com"

	patience = 20 * time.Second // for what has no bound in the contract
	// The contract says "within 1 s"; a machine that runs all tests at once gets twice that.
	slack   = 2
	atOnce  = slack * time.Second
	lookGap = 10 * time.Millisecond
)

type body = map[string]any

var addresses atomic.Int32

// caller is somebody at an address of their own, so that limits by address of
// one test do not meet another's.
type caller struct {
	t      *testing.T
	client *api.Client
	addr   string
}

func newCaller(t *testing.T) *caller {
	t.Helper()
	n := addresses.Add(1)
	addr := fmt.Sprintf("127.36.%d.%d", n/250, n%250+1)
	c := &caller{t: t, addr: addr, client: api.New(addr, time.Now)}
	c.client.Seen = walked.note
	t.Cleanup(c.client.HTTP.CloseIdleConnections)
	return c
}

// do sends a call; a path is one of the API's.
func (c *caller) do(in api.Call) api.Answer {
	c.t.Helper()
	if strings.HasPrefix(in.URL, "/") {
		in.URL = suite.api + in.URL
	}
	a, err := c.client.Send(c.t.Context(), in)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// want is do for a call whose answer is known: a status, and a code if given.
func (c *caller) want(status int, code string, in api.Call) api.Answer {
	c.t.Helper()
	a := c.do(in)
	if a.Status != status || code != "" && a.Str("code") != code {
		c.t.Fatalf("%s %s answered %d %s, want %d %s\n%s", in.Method, in.URL, a.Status, a.Str("code"), status, code, a.Raw)
	}
	return a
}

// eventually repeats look until it is satisfied; look tells what it saw.
func eventually(t *testing.T, limit time.Duration, what string, look func() (ok bool, saw string)) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		ok, saw := look()
		if ok {
			return time.Since(began)
		}
		if err := api.Pause(ctx, lookGap); err != nil {
			t.Fatalf("%s: not after %v; saw %s", what, limit, saw)
		}
	}
}

// until repeats a call until it answers so.
func (c *caller) until(limit time.Duration, status int, code string, in api.Call) (api.Answer, time.Duration) {
	c.t.Helper()
	var a api.Answer
	took := eventually(c.t, limit, fmt.Sprintf("%s %s answers %d %s", in.Method, in.URL, status, code), func() (bool, string) {
		a = c.do(in)
		return a.Status == status && (code == "" || a.Str("code") == code), fmt.Sprintf("%d %s", a.Status, a.Raw)
	})
	return a, took
}

// person is a customer with a session.
type person struct {
	*caller

	email, password    string
	id, token, refresh string
	recovery           []any // codes that stand for the second factor, of staff
}

func unique() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func registration(email, password string) body {
	return body{"email": email, "password": password, "firstName": "Asha", "lastName": "Rao", "acceptedTerms": "2026-01"}
}

// join takes a new customer through registration, and waits for the Free
// subscription that follows by event.
func join(t *testing.T) *person {
	t.Helper()
	p := &person{caller: newCaller(t), email: "e2e-" + unique() + "@example.com", password: "correct horse " + unique()}
	reg := p.want(202, "", api.Call{Method: "POST", URL: "/auth/register", Body: registration(p.email, p.password)})
	ses := p.want(200, "", api.Call{Method: "POST", URL: "/auth/verify", Body: body{"challengeId": reg.Str("challengeId"), "code": p.code()}})
	p.take(ses)
	p.until(patience, 200, "", api.Call{Method: "GET", URL: "/subscriptions/current", Token: p.token})
	return p
}

func (p *person) code() string {
	p.t.Helper()
	code, err := suite.messages.Code(p.t.Context(), p.email)
	if err != nil {
		p.t.Fatal(err)
	}
	return code
}

// take remembers a session.
func (p *person) take(ses api.Answer) {
	p.t.Helper()
	p.token, p.refresh, p.id = ses.Str("accessToken"), ses.Str("refreshToken"), ses.Str("user", "id")
	if p.token == "" || p.refresh == "" || !strings.HasPrefix(p.id, "usr_") {
		p.t.Fatalf("no session: %s", ses.Raw)
	}
}

func (p *person) login() {
	p.t.Helper()
	p.take(p.want(200, "", api.Call{Method: "POST", URL: "/auth/login", Body: body{"email": p.email, "password": p.password}}))
}

// renew refreshes the session.
func (p *person) renew() api.Answer {
	p.t.Helper()
	a := p.want(200, "", api.Call{Method: "POST", URL: "/auth/refresh", Body: body{"refreshToken": p.refresh}})
	p.take(a)
	return a
}

// get asks with the person's token, as a client does: a stale one is renewed
// once. A change of plan works before the news of it makes old tokens stale.
func (p *person) get(path string) api.Answer {
	p.t.Helper()
	if a := p.do(api.Call{Method: "GET", URL: path, Token: p.token}); a.Str("code") != "TOKEN_STALE" {
		if a.Status != 200 {
			p.t.Fatalf("GET %s answered %d, want 200: %s", path, a.Status, a.Raw)
		}
		return a
	}
	p.renew()
	return p.want(200, "", api.Call{Method: "GET", URL: path, Token: p.token})
}

func (p *person) me() api.Call { return api.Call{Method: "GET", URL: "/users/me", Token: p.token} }

func (p *person) consume() api.Call {
	return api.Call{Method: "POST", URL: "/entitlements/consume", Token: p.token, Body: body{"feature": premiumFeature}}
}

var superadmin struct {
	once    sync.Once
	token   string
	refresh string
	mfa     api.Answer
}

// signInSuperadmin does so once: a code of the authenticator is good once, and
// the next comes 30 s later. Each test talks from its own address.
func signInSuperadmin(t *testing.T) *person {
	t.Helper()
	p := &person{caller: newCaller(t), email: suite.creds.Superadmin.Email, password: suite.creds.Superadmin.Password}
	superadmin.once.Do(func() {
		first := p.want(200, "", api.Call{Method: "POST", URL: "/auth/login", Body: body{"email": p.email, "password": p.password}})
		if first.Dig("mfaRequired") != true || first.Str("mfaToken") == "" || first.Str("accessToken") != "" {
			t.Fatalf("the password alone gave %s", first.Raw)
		}
		code, err := totp.GenerateCode(suite.creds.Superadmin.TOTPSecret, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		superadmin.mfa = p.want(200, "", api.Call{Method: "POST", URL: "/auth/mfa/verify", Body: body{"mfaToken": first.Str("mfaToken"), "code": code}})
		superadmin.token, superadmin.refresh = superadmin.mfa.Str("accessToken"), superadmin.mfa.Str("refreshToken")
	})
	if superadmin.token == "" {
		t.Fatal("the superadmin could not sign in")
	}
	p.token, p.refresh, p.id = superadmin.token, superadmin.refresh, superadmin.mfa.Str("user", "id")
	return p
}

// act does something to a user as the administrator.
func (p *person) act(what, userID string) {
	p.t.Helper()
	p.want(200, "", api.Call{
		Method: "POST", URL: "/admin/users/" + userID + "/" + what, Token: p.token, Body: body{"reason": "end-to-end test " + what},
	})
}

// claims reads a token without checking it.
func claims(t *testing.T, token string) (header, payload body) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	for i, into := range []*body{&header, &payload} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, payload
}

// database is the administrator's connection: tests look behind the API with it.
func database(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), suite.AdminURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) }) // nothing is left to lose
	return conn
}

// number asks the database for one number.
func number(t *testing.T, db *pgx.Conn, query string, args ...any) (n int64) {
	t.Helper()
	if err := db.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// contextOf is for clean-ups: a test's own context has ended then.
func contextOf(t *testing.T) context.Context {
	t.Helper()
	return context.WithoutCancel(t.Context())
}

func claimsOf(t *testing.T, token, name string) any {
	t.Helper()
	_, payload := claims(t, token)
	return payload[name]
}

// integer reads a 64-bit number as JSON carries it.
func integer(t *testing.T, v any) int64 {
	t.Helper()
	s, _ := v.(string)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatalf("%v is no integer in a string", v)
	}
	return n
}
