package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
)

func TestRedefinedRoles(t *testing.T) {
	table := []token.Role{
		{Name: "user", Permissions: []string{"profile.read", "profile.update"}},
		{Name: "helper", Permissions: []string{"support.read", "users.manage"}, Epoch: 7},
		{Name: "admin", Permissions: []string{"profile.read", "users.manage", "audit.read"}, NeedsMFA: true, Epoch: 8},
	}
	operator := uuid.UUID{9}
	for _, tt := range []struct {
		name    string
		edit    func(*token.Claims)
		want    string // permissions
		pending bool
		epoch   int64
	}{
		{"a role that never changed", func(c *token.Claims) { c.Roles = []string{"user"} }, "old.one", false, 0},
		{"minted since", func(c *token.Claims) { c.Roles, c.RolesEpoch = []string{"user", "helper"}, 7 }, "old.one", false, 7},
		{"minted after our table", func(c *token.Claims) { c.Roles, c.RolesEpoch = []string{"admin"}, 11 }, "old.one", false, 11},
		{"minted before", func(c *token.Claims) { c.Roles, c.RolesEpoch = []string{"user", "helper"}, 6 }, "profile.read profile.update support.read users.manage", false, 8},
		{"two changes back", func(c *token.Claims) { c.Roles = []string{"helper"} }, "support.read users.manage", false, 8},
		{"a role nobody knows", func(c *token.Claims) { c.Roles = []string{"user", "gone"} }, "profile.read profile.update", false, 8},
		{"only roles nobody knows", func(c *token.Claims) { c.Roles = []string{"gone"} }, "", false, 8},
		{"no role", func(c *token.Claims) { c.Roles = []string{} }, "old.one", false, 0},
		{"with a factor", func(c *token.Claims) { c.Roles, c.AMR = []string{"admin"}, []string{"pwd", "otp", "mfa"} }, "audit.read profile.read users.manage", false, 8},
		{"owes its factor", func(c *token.Claims) { c.Roles, c.MFAPending = []string{"admin"}, true }, "profile.read", true, 8},
		{"owes a factor that is newly asked for", func(c *token.Claims) { c.Roles = []string{"admin"} }, "profile.read", true, 8},
		{"a key of its owner's", func(c *token.Claims) {
			c.Roles, c.AMR, c.Permissions = []string{"helper"}, []string{"api_key"}, []string{"support.read", "audit.read"}
		}, "support.read", false, 8},
		{"impersonation", func(c *token.Claims) {
			c.Roles, c.AMR, c.Permissions = []string{"helper", "user"}, []string{}, []string{"profile.read"}
			c.Actor = &token.Actor{Subject: id.Format("usr", operator)}
		}, "profile.read", false, 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := token.NewVerifier(issuer, audience, func() time.Time { return start })
			v.SetRoles(8, table)
			claims := newClaims()
			claims.Permissions = []string{"old.one"}
			tt.edit(&claims)
			before := slices.Clone(claims.Permissions)
			for range 2 { // the second from memory
				c, err := v.Caller(&claims)
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(c.Permissions, " "); got != tt.want || c.MFAPending != tt.pending || c.RolesEpoch != tt.epoch {
					t.Errorf("got %q, pending %v, epoch %d; want %q, %v, %d", got, c.MFAPending, c.RolesEpoch, tt.want, tt.pending, tt.epoch)
				}
			}
			if diff := cmp.Diff(before, claims.Permissions); diff != "" {
				t.Errorf("the shared claims changed (-was +is):\n%s", diff)
			}
		})
	}
}

// TestLimitedNeverGrows: whatever a role becomes, a token that held a part of
// its roles' permissions keeps a part of what it held. identity.md row 67
func TestLimitedNeverGrows(t *testing.T) {
	names := []string{"a.x", "b.x", "c.x", "profile.read", "d.x"}
	some := rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID)
	rapid.Check(t, func(t *rapid.T) {
		v := token.NewVerifier(issuer, audience, func() time.Time { return start })
		v.SetRoles(5, []token.Role{
			{Name: "r", Permissions: some.Draw(t, "r"), Epoch: 5, NeedsMFA: rapid.Bool().Draw(t, "mfa")},
			{Name: "s", Permissions: some.Draw(t, "s")},
		})
		claims := newClaims()
		claims.Roles, claims.Permissions = []string{"r", "s"}, some.Draw(t, "held")
		claims.AMR, claims.Actor = []string{}, &token.Actor{Subject: id.Format("usr", uuid.UUID{9})}
		c, err := v.Caller(&claims)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range c.Permissions {
			if !slices.Contains(claims.Permissions, p) {
				t.Fatalf("gained %s", p)
			}
		}
	})
}

// TestHundredThousandCallers: one redefinition changes what every holder may do
// without a single token minted anew. identity.md G6
func TestHundredThousandCallers(t *testing.T) {
	v := token.NewVerifier(issuer, audience, func() time.Time { return start })
	v.SetRoles(0, []token.Role{{Name: "user", Permissions: []string{"profile.read"}}})
	list := make([]*token.Claims, 100_000)
	for i := range list {
		c := newClaims()
		c.Subject = id.Format("usr", uuid.UUID{1, byte(i >> 16), byte(i >> 8), byte(i)})
		list[i] = &c
	}
	began := time.Now()
	v.SetRoles(1, []token.Role{{Name: "user", Permissions: []string{"profile.read", "reports.read"}, Epoch: 1}})
	for _, claims := range list {
		if c, err := v.Caller(claims); err != nil || !c.Has("reports.read") {
			t.Fatalf("%s: %v, %v", claims.Subject, c, err)
		}
	}
	took := time.Since(began)
	t.Logf("100,000 callers in %v", took)
	if took > time.Second {
		t.Errorf("took %v, want at most 1 s", took)
	}
}

func TestOlderRolesAreIgnored(t *testing.T) {
	v := token.NewVerifier(issuer, audience, func() time.Time { return start })
	v.SetRoles(3, []token.Role{{Name: "user", Permissions: []string{"b.x"}, Epoch: 3}})
	v.SetRoles(2, []token.Role{{Name: "user", Permissions: []string{"a.x"}, Epoch: 2}})
	claims := newClaims()
	if c, err := v.Caller(&claims); err != nil || !c.Has("b.x") || v.RolesEpoch() != 3 {
		t.Errorf("got %v, %v at epoch %d", c, err, v.RolesEpoch())
	}
}

func TestActor(t *testing.T) {
	c := &clock{at: start}
	v, key := newVerifier(t, c)
	operator := uuid.UUID{7}
	claims := newClaims()
	claims.Actor, claims.RolesEpoch = &token.Actor{Subject: id.Format("usr", operator)}, 12
	got, err := v.Verify(sign(t, claims, key))
	if err != nil {
		t.Fatal(err)
	}
	caller, err := v.Caller(got)
	if err != nil || caller.Impersonator != operator || caller.RolesEpoch != 12 || caller.ImpersonatorID() != id.Format("usr", operator) {
		t.Fatalf("got %+v, %v", caller, err)
	}
	sent, err := token.Unmarshal(caller.Marshal())
	if diff := cmp.Diff(caller, sent); err != nil || diff != "" {
		t.Errorf("over the wire: %v (-want +got):\n%s", err, diff)
	}
	for _, sub := range []string{"", "usr_x", id.Format("ses", operator), id.Format("usr", operator) + " "} {
		claims.Actor = &token.Actor{Subject: sub}
		if got, err := v.Verify(sign(t, claims, key)); err == nil {
			if _, err := v.Caller(got); reason(got, err) != "INVALID_TOKEN" {
				t.Errorf("actor %q: got %v", sub, err)
			}
		}
	}
	claims.Actor = nil
	raw := sign(t, claims, key)
	if strings.Contains(decoded(t, raw), `"act"`) {
		t.Error("an empty act is written out")
	}
	claims.RolesEpoch = 0
	if strings.Contains(decoded(t, sign(t, claims, key)), `"re"`) {
		t.Error("a zero re is written out")
	}
	forged := strings.Replace(decoded(t, raw), `"re":12`, `"act":{"sub":"usr_1","sub":"usr_2"},"re":12`, 1)
	if _, err := v.Verify(forge(`{"alg":"EdDSA","kid":"key_1","typ":"at+jwt"}`, forged, seeded("key_1"))); err == nil {
		t.Error("a claim given twice is taken")
	}
}

// TestUnknownKeysAskOnce: of any number of tokens of keys nobody knows, one asks
// in 30 s; a key that was there to be found costs nothing.
// identity.md row 63
func TestUnknownKeysAskOnce(t *testing.T) {
	c := &clock{at: start}
	v, _ := newVerifier(t, c)
	late := newKey(t, "key_2")
	asked := 0
	known := []jwk.Key{newKey(t, "key_1")}
	v.OnMiss(func(context.Context) error {
		asked++
		v.SetKeys(publicSet(t, known...))
		return nil
	})
	for i := range 10_000 {
		raw := b64(fmt.Sprintf(`{"alg":"EdDSA","kid":"key_x%d","typ":"at+jwt"}`, i)) + ".e30.e30"
		if _, err := v.VerifyForwarded(t.Context(), raw); reason(nil, err) != "INVALID_TOKEN" {
			t.Fatalf("got %v", err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
	c.at = c.at.Add(30 * time.Second)
	known = append(known, late)
	for range 3 {
		if _, err := v.VerifyForwarded(t.Context(), sign(t, newClaims(), late)); err != nil {
			t.Fatalf("a new key: %v", err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times, want twice", asked)
	}
	if _, err := v.VerifyForwarded(t.Context(), ""); reason(nil, err) != "INVALID_TOKEN" {
		t.Errorf("no token: got %v", err)
	}
}

func TestReachRoles(t *testing.T) {
	c := &clock{at: start}
	v, _ := newVerifier(t, c)
	if !v.ReachRoles(t.Context(), 0) || v.ReachRoles(t.Context(), 1) || v.HasSource() {
		t.Error("without a source: epoch 0 is reached, 1 is not")
	}
	asked, fails := 0, false
	v.OnMiss(func(context.Context) error {
		asked++
		if fails {
			return errors.New("auth is away")
		}
		v.SetRoles(4, nil)
		return nil
	})
	if !v.ReachRoles(t.Context(), 4) || !v.ReachRoles(t.Context(), 3) || asked != 1 {
		t.Errorf("asked %d times for what is there", asked)
	}
	for range 100 { // a peer that makes epochs up
		if v.ReachRoles(t.Context(), 1<<40) {
			t.Error("reached what there is not")
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times, want twice", asked)
	}
	fails = true
	c.at = c.at.Add(time.Minute)
	if v.ReachRoles(t.Context(), 5) {
		t.Error("reached while auth was away")
	}
}

// decoded is the payload of a token.
func decoded(t *testing.T, raw string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestBothAlgorithms: a set may hold keys of both; a token chooses neither.
// identity.md row 54
func TestBothAlgorithms(t *testing.T) {
	c := &clock{at: start}
	ed := newKey(t, "key_1")
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	es, err := jwk.FromRaw(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := es.Set(jwk.KeyIDKey, "key_2"); err != nil {
		t.Fatal(err)
	}
	v := token.NewVerifier(issuer, audience, c.now)
	v.SetKeys(publicSet(t, ed, es))
	for _, key := range []jwk.Key{ed, es} {
		if _, err := v.Verify(sign(t, newClaims(), key)); err != nil {
			t.Errorf("%s: %v", key.KeyID(), err)
		}
	}
	body := decoded(t, sign(t, newClaims(), ed))
	for _, header := range []string{`{"alg":"ES256","kid":"key_1","typ":"at+jwt"}`, `{"alg":"EdDSA","kid":"key_2","typ":"at+jwt"}`} {
		if got := reason(v.Verify(forge(header, body, seeded("key_1")))); got != "INVALID_TOKEN" {
			t.Errorf("%s: got %q", header, got)
		}
	}
}
