package rpc_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	"github.com/manas360/platform/pkg/token"
)

// TestSensitiveCallerIsTheTokens: a peer's word adds nothing to what the token
// says, and a role redefined since counts by this process's own table.
func TestSensitiveCallerIsTheTokens(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwk.FromRaw(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Set(jwk.KeyIDKey, "k"); err != nil {
		t.Fatal(err)
	}
	set := jwk.NewSet()
	if err := set.AddKey(key); err != nil {
		t.Fatal(err)
	}
	user, session, operator := uuid.UUID{1}, uuid.UUID{2}, uuid.UUID{9}
	mint := func(edit func(*token.Claims)) string {
		c := token.Claims{
			Issuer: "iss", Audience: "aud", Subject: id.Format("usr", user), SessionID: id.Format("ses", session),
			Expires: time.Now().Add(time.Minute).Unix(), Roles: []string{"helper"}, Permissions: []string{"thing.manage"}, AMR: []string{"pwd"},
		}
		edit(&c)
		raw, err := token.Sign(c, key)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	plain := func(*token.Claims) {}
	without := func(c *token.Claims) { c.Permissions = []string{} }
	table := func(epoch int64, permissions ...string) func(v *token.Verifier) {
		return func(v *token.Verifier) {
			v.SetRoles(epoch, []token.Role{{Name: "helper", Permissions: permissions, Epoch: epoch}})
		}
	}
	for _, tt := range []struct {
		name  string
		edit  func(*token.Claims)
		peer  func(*token.Caller) // what the peer says
		have  func(*token.Verifier)
		fetch func(*token.Verifier) error // nil: the process has no source
		want  string
	}{
		{"as the token says", plain, nil, nil, nil, ""},
		{"a permission made up", without, nil, nil, nil, "PERMISSION_DENIED"},
		{"a factor made up", func(c *token.Claims) { c.MFAPending = true }, nil, nil, nil, "MFA_REQUIRED"},
		{"an operator left out", func(c *token.Claims) { c.Actor = &token.Actor{Subject: id.Format("usr", operator)} }, nil, nil, nil, "PERMISSION_DENIED"},
		{"given since, the table knows", without, func(c *token.Caller) { c.RolesEpoch = 4 }, table(4, "thing.manage"), nil, ""},
		{"given since, the table is asked for", without, func(c *token.Caller) { c.RolesEpoch = 4 }, nil, func(v *token.Verifier) error { table(4, "thing.manage")(v); return nil }, ""},
		{"given since, no source", without, func(c *token.Caller) { c.RolesEpoch = 4 }, nil, nil, ""},
		{"given since, the source is away", without, func(c *token.Caller) { c.RolesEpoch = 4 }, nil, func(*token.Verifier) error { return errors.New("away") }, "UNAVAILABLE"},
		{"given since, says the peer alone", without, func(c *token.Caller) { c.RolesEpoch = 1 << 40 }, nil, func(v *token.Verifier) error { table(4, "thing.read")(v); return nil }, "UNAVAILABLE"},
		{"taken since", plain, nil, table(4, "thing.read"), nil, "PERMISSION_DENIED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := token.NewVerifier("iss", "aud", time.Now)
			v.SetKeys(set)
			if tt.have != nil {
				tt.have(v)
			}
			if tt.fetch != nil {
				v.OnMiss(func(context.Context) error { return tt.fetch(v) })
			}
			var seen *token.Caller
			addr := startEcho(t, v, func(ctx context.Context, _ proto.Message) error { seen, _ = token.FromContext(ctx); return nil })
			c := caller("thing.manage")
			c.Raw, c.ClientIP = mint(tt.edit), "203.0.113.7"
			if tt.peer != nil {
				tt.peer(c)
			}
			if got := reason(invoke(token.NewContext(t.Context(), c), rpctest.Dial(t, "gateway", "audit", addr), "Suspend", "because it must be")); got != tt.want {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			if tt.want == "" && (seen.SessionID != session || !slices.Equal(seen.AMR, []string{"pwd"}) || seen.ClientIP != "203.0.113.7" || seen.Raw != c.Raw) {
				t.Errorf("the handler saw %+v", seen)
			}
		})
	}
}
