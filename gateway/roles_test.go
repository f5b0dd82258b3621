package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

var seqs atomic.Int64

func stranger() string { return id.Format("usr", uuid.Must(uuid.NewV7())) }

// tell publishes an event on Redis and writes it to auth's table, or only the
// latter.
func (h *harness) tell(ev *authv1.AuthzEvent, push bool) {
	h.t.Helper()
	ev.Seq, ev.ExpiresAt = seqs.Add(1), timestamppb.New(time.Now().Add(time.Hour))
	if ev.Key == nil {
		ev.Key = uuid.Nil[:]
	}
	h.b.revoke(ev)
	if !push {
		return
	}
	b, err := proto.Marshal(ev)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.edge.limiter.redis.Publish(h.t.Context(), h.redis.Prefix+"authz", b).Err(); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) listening() {
	h.t.Helper()
	eventually(h.t, "push channel alive", func() bool { return h.edge.epochs.pushed.Load() > 0 })
}

// define lets auth's table of roles be this.
func (h *harness) define(epoch int64, list ...*authv1.Role) {
	h.b.when(authv1.RoleInternalService_ListRoles_FullMethodName, answer(&authv1.ListRolesResponse{Epoch: epoch, Roles: list}))
}

// quick lets the edge poll often, and not hear Redis when cut.
func quick(cut bool) func(*harness) {
	return func(h *harness) {
		h.tune = func(e *Edge) {
			e.epochs.every = 20 * time.Millisecond
			if cut {
				e.epochs.channel += ":cut"
			}
		}
	}
}

// TestRoleRedefined: the same token means what its role means now, within a
// second, by push or by poll; nobody has to refresh. identity.md G6, row 14
func TestRoleRedefined(t *testing.T) {
	for _, push := range []bool{true, false} {
		t.Run(fmt.Sprintf("push %v", push), func(t *testing.T) {
			h := newHarness(t)
			h.listening()
			raw := bearer(h.token(func(c *token.Claims) {
				admin(c)
				c.Roles = []string{"user", "helper"}
			}))
			others := make([]string, 50)
			for i := range others {
				others[i] = bearer(h.token(func(c *token.Claims) {
					c.Subject, c.SessionID = stranger(), id.Format("ses", uuid.Must(uuid.NewV7()))
				}))
			}
			want(t, h.do("GET", "/api/v1/admin/users", "", raw), 200, "")
			user := &authv1.Role{Name: "user", Permissions: []string{"profile.read", "payments.read"}}
			h.define(3, user, &authv1.Role{Name: "helper", Permissions: []string{"support.read"}, Epoch: 3})
			began := time.Now()
			h.tell(&authv1.AuthzEvent{Kind: authv1.AuthzEvent_ROLES_CHANGED, MinEpoch: 3}, push)
			var r reply
			eventually(t, "the permission is gone", func() bool {
				pause(t.Context(), 5*time.Millisecond) // the limit by account is 200
				r = h.do("GET", "/api/v1/admin/users", "", raw)
				return r.status != 200
			})
			t.Logf("taken after %v", time.Since(began))
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %v", took)
			}
			want(t, r, 403, "PERMISSION_DENIED")
			for _, one := range append(others, raw) { // nobody is signed out, nobody told to refresh
				want(t, h.do("GET", "/api/v1/users/me", "", one), 200, "")
			}
			call, _ := h.b.last(userv1.UserService_GetMe_FullMethodName)
			if !slices.Equal(call.caller.Permissions, []string{"payments.read", "profile.read", "support.read"}) || call.caller.RolesEpoch != 3 {
				t.Errorf("the service sees %+v", call.caller)
			}
			// And given again.
			h.define(4, user, &authv1.Role{Name: "helper", Permissions: []string{"support.read", "users.manage"}, Epoch: 4})
			h.tell(&authv1.AuthzEvent{Kind: authv1.AuthzEvent_ROLES_CHANGED, MinEpoch: 4}, push)
			eventually(t, "the permission is back", func() bool { return h.edge.verifier.RolesEpoch() == 4 })
			want(t, h.do("GET", "/api/v1/admin/users", "", bearer(h.token(func(c *token.Claims) {
				admin(c)
				c.Roles, c.Permissions, c.Subject = []string{"helper"}, []string{}, stranger()
			}))), 200, "")
			pending := h.token(func(c *token.Claims) {
				admin(c)
				c.Roles, c.MFAPending, c.AMR, c.Subject = []string{"helper"}, true, []string{"pwd"}, stranger()
			})
			want(t, h.do("GET", "/api/v1/admin/users", "", bearer(pending)), 403, "MFA_REQUIRED")
		})
	}
}

// TestNothingPassesWithoutRoles: until it knows what roles give, the edge does
// not know what tokens are worth. An auth of before has no roles to tell of.
func TestNothingPassesWithoutRoles(t *testing.T) {
	v := token.NewVerifier(issuer, audience, time.Now)
	for _, tt := range []struct {
		name   string
		err    error
		loaded bool
	}{
		{"auth is away", status.Error(codes.Unavailable, "away"), false},
		{"auth is older", status.Error(codes.Unimplemented, "unknown method"), true},
	} {
		r := newRoles(refusing{err: tt.err}, v, zerolog.Nop())
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := r.run(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		if r.loaded.Load() != tt.loaded {
			t.Errorf("%s: loaded %v", tt.name, r.loaded.Load())
		}
	}
	h := newHarness(t)
	h.edge.roles.loaded.Store(false)
	want(t, h.do("GET", "/api/v1/users/me", "", bearer(h.token())), 503, "UNAVAILABLE")
	want(t, h.do("GET", "/api/v1/plans", "", bearer(h.token())), 200, "")
}

type refusing struct {
	authv1.RoleInternalServiceClient

	err error
}

func (r refusing) ListRoles(context.Context, *authv1.ListRolesRequest, ...grpc.CallOption) (*authv1.ListRolesResponse, error) {
	return nil, r.err
}

// TestRoleRemovalReachesEveryEdge: from the event to the last request that any of
// three edges allowed. identity.md row 14
func TestRoleRemovalReachesEveryEdge(t *testing.T) {
	first := newHarness(t)
	edges := []*harness{first}
	for range 2 {
		edges = append(edges, newHarness(t, func(h *harness) { h.redis, h.key = first.redis, first.key }))
	}
	for _, h := range edges {
		h.listening()
	}
	const rounds = 100
	took := make([]time.Duration, rounds)
	for i := range took {
		user := uuid.Must(uuid.NewV7()) // of its own: polls repeat the event after the next round has begun
		first.user, first.ses = user, uuid.Must(uuid.NewV7())
		raw := bearer(first.token())
		for _, h := range edges {
			want(t, h.do("GET", "/api/v1/users/me", "", raw), 200, "")
		}
		began := time.Now()
		first.tell(&authv1.AuthzEvent{Kind: authv1.AuthzEvent_ACCOUNT_STALE, Key: user[:], MinEpoch: 6}, true)
		for _, h := range edges {
			eventually(t, "token stale", func() bool { return h.do("GET", "/api/v1/users/me", "", raw).code() == "TOKEN_STALE" })
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	t.Logf("p50 %v, p99 %v, longest %v", took[rounds/2], took[rounds*99/100-1], took[rounds-1])
	if p99 := took[rounds*99/100-1]; p99 > 250*time.Millisecond {
		t.Errorf("p99 %v, want at most 250ms", p99)
	}
	if took[rounds-1] > 2*time.Second {
		t.Errorf("longest %v, want at most 2s", took[rounds-1])
	}
}

// signer is auth's side of rotation: what it publishes, and signs with.
type signer struct {
	h    *harness
	mu   sync.Mutex
	keys []jwk.Key // the last one signs
}

func newSigningKey(tb testing.TB, kid string) jwk.Key {
	tb.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	key, err := jwk.FromRaw(private)
	if err != nil {
		tb.Fatal(err)
	}
	if err := key.Set(jwk.KeyIDKey, kid); err != nil {
		tb.Fatal(err)
	}
	return key
}

// publish answers GetKeys with these.
func (s *signer) publish(keys ...jwk.Key) {
	s.h.t.Helper()
	set := jwk.NewSet()
	for _, k := range keys {
		public, err := k.PublicKey()
		if err != nil {
			s.h.t.Fatal(err)
		}
		if err := set.AddKey(public); err != nil {
			s.h.t.Fatal(err)
		}
	}
	raw, err := json.Marshal(set)
	if err != nil {
		s.h.t.Fatal(err)
	}
	s.h.b.when(authv1.AuthInternalService_GetKeys_FullMethodName, answer(&authv1.GetKeysResponse{Jwks: raw}))
}

func (s *signer) sign() string {
	s.mu.Lock()
	s.h.key = s.keys[len(s.keys)-1]
	defer s.mu.Unlock()
	return s.h.token()
}

// TestHundredRotations: a key is published with the next one's turn still to
// come, signs, retires; callers with old and new tokens meet no refusal, whether
// the news is pushed or only polled. identity.md row 62
func TestHundredRotations(t *testing.T) {
	for name, cut := range map[string]bool{"push": false, "push channel cut": true} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, quick(cut))
			s := &signer{h: h, keys: []jwk.Key{h.key}}
			standby := newSigningKey(t, "key_standby")
			s.publish(h.key, standby)
			h.tell(&authv1.AuthzEvent{Kind: authv1.AuthzEvent_KEYS_CHANGED}, !cut)
			knows := func(kid string) func() bool {
				return func() bool { return jsonHas(h.edge.keys.jwks(), kid) }
			}
			eventually(t, "the first standby is known", knows("key_standby"))
			ctx, stop := context.WithCancel(t.Context())
			var load sync.WaitGroup
			var calls, refused atomic.Int64
			var rounds [2]atomic.Int64
			for w := range rounds {
				load.Go(func() {
					var held []string
					for ; ctx.Err() == nil; rounds[w].Add(1) {
						if held = append(held, s.sign()); len(held) > 3 { // a client keeps a token for a while
							held = held[1:]
						}
						for _, raw := range held {
							if _, err := h.edge.verifier.Verify(raw); err != nil {
								refused.Add(1)
							}
							calls.Add(1)
						}
						if r := h.do(http.MethodGet, "/api/v1/users/me", "", bearer(held[0])); r.status != 200 && r.status != 429 {
							refused.Add(1)
						}
					}
				})
			}
			for i := range 100 {
				next := newSigningKey(t, fmt.Sprintf("key_%d", i))
				s.mu.Lock()
				s.keys = append(s.keys, standby) // known for long: it signs at once
				live := append(slices.Clone(s.keys[max(0, len(s.keys)-3):]), next)
				s.mu.Unlock()
				s.publish(live...)
				h.tell(&authv1.AuthzEvent{Kind: authv1.AuthzEvent_KEYS_CHANGED}, !cut)
				eventually(t, "the next standby is known", knows(next.KeyID()))
				standby = next
				for w := range rounds { // until nobody holds a token of a key that goes next
					from := rounds[w].Load()
					eventually(t, "load goes on", func() bool { return rounds[w].Load() > from+4 })
				}
			}
			stop()
			load.Wait()
			t.Logf("%d tokens looked at, %d refused", calls.Load(), refused.Load())
			if refused.Load() != 0 || calls.Load() < 100 {
				t.Errorf("%d of %d refused", refused.Load(), calls.Load())
			}
		})
	}
}

func jsonHas(document []byte, kid string) bool {
	var set struct {
		Keys []struct {
			Kid string `json:"kid"`
		} `json:"keys"`
	}
	if json.Unmarshal(document, &set) != nil {
		return false
	}
	for _, k := range set.Keys {
		if k.Kid == kid {
			return true
		}
	}
	return false
}

// TestKilledKey: its tokens are invalid within two seconds with the push channel
// cut, and those of the key that signs instead are good. identity.md row 62
func TestKilledKey(t *testing.T) {
	for name, cut := range map[string]bool{"push": false, "push channel cut": true} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, func(h *harness) {
				if cut {
					h.tune = func(e *Edge) { e.epochs.channel += ":cut" }
				}
			})
			if !cut {
				h.listening()
			}
			old := bearer(h.token())
			want(t, h.do("GET", "/api/v1/users/me", "", old), 200, "")
			next := newSigningKey(t, "key_next")
			(&signer{h: h}).publish(next)
			began := time.Now()
			h.tell(&authv1.AuthzEvent{Kind: authv1.AuthzEvent_KEYS_CHANGED}, !cut)
			var r reply
			eventually(t, "the token is refused", func() bool {
				r = h.do("GET", "/api/v1/users/me", "", old)
				return r.status != 200
			})
			took := time.Since(began)
			t.Logf("after %v", took)
			want(t, r, 401, "INVALID_TOKEN")
			if took > 2*time.Second {
				t.Errorf("took %v, want at most 2s", took)
			}
			h.key = next
			want(t, h.do("GET", "/api/v1/users/me", "", bearer(h.token())), 200, "")
		})
	}
}

// TestRandomKidsFetchNothing: strangers cannot make the edge ask auth.
// identity.md row 63
func TestRandomKidsFetchNothing(t *testing.T) {
	h := newHarness(t)
	var asked atomic.Int64
	set := h.b.jwks
	h.b.when(authv1.AuthInternalService_GetKeys_FullMethodName, func(context.Context, proto.Message) (proto.Message, error) {
		asked.Add(1)
		return &authv1.GetKeysResponse{Jwks: set}, nil
	})
	for i := range 10_000 {
		header := fmt.Sprintf(`{"alg":"EdDSA","kid":"key_%d","typ":"at+jwt"}`, i)
		raw := base64.RawURLEncoding.EncodeToString([]byte(header)) + ".e30.c2ln"
		if _, err := h.edge.verifier.Verify(raw); err == nil {
			t.Fatal("accepted")
		}
		if i%1000 == 0 {
			want(t, h.do("GET", "/api/v1/users/me", "", bearer(raw)), 401, "INVALID_TOKEN")
		}
	}
	if n := asked.Load(); n > 1 {
		t.Errorf("auth was asked %d times", n)
	}
}

// TestImpersonationAtTheEdge: services see who acts, and what is closed stays so.
// identity.md row 67
func TestImpersonationAtTheEdge(t *testing.T) {
	h := newHarness(t)
	operator := uuid.Must(uuid.NewV7())
	raw := bearer(h.token(func(c *token.Claims) {
		admin(c) // as if the person were one, with a factor
		c.Actor = &token.Actor{Subject: id.Format("usr", operator)}
	}))
	want(t, h.do("GET", "/api/v1/users/me", "", raw), 200, "")
	call, _ := h.b.last(userv1.UserService_GetMe_FullMethodName)
	if call.caller.Impersonator != operator || call.caller.UserID != h.user {
		t.Errorf("the service sees %+v", call.caller)
	}
	for _, reg := range registrations() {
		routes, err := contractRoutes(reg.service)
		if err != nil {
			t.Fatal(err)
		}
		for _, rt := range routes {
			if rt.rule.GetNoImpersonation() {
				r := h.do(rt.method, rt.pattern, "", raw)
				if r.status != 429 && (r.status != 403 || r.code() != "PERMISSION_DENIED") {
					t.Errorf("%s %s: %d %s", rt.method, rt.pattern, r.status, r.code())
				}
			}
		}
	}
	want(t, h.do("POST", "/api/v1/auth/logout", "", raw), 204, "")
}

// TestKeysFollowRoles: the token of an API key is exchanged anew when a role was
// redefined, and when its signing key was killed: once, not with each request.
func TestKeysFollowRoles(t *testing.T) {
	k := newKeyRig(t)
	me := func() reply { return k.do("GET", "/api/v1/users/me", "", bearer(k.key)) }
	open := func(epoch int64, permissions ...string) {
		k.b.when(authv1.AuthInternalService_ExchangeApiKey_FullMethodName, func(context.Context, proto.Message) (proto.Message, error) {
			k.asked.Add(1)
			until := time.Now().Add(5 * time.Minute)
			return &authv1.ExchangeApiKeyResponse{ExpiresAt: timestamppb.New(until), AccessToken: k.token(func(c *token.Claims) {
				c.SessionID, c.AMR, c.Expires, c.RolesEpoch = id.Format("ses", k.keyID), []string{token.APIKey}, until.Unix(), epoch
				c.Permissions, c.Roles = permissions, []string{}
			})}, nil
		})
	}
	open(0, "profile.read")
	want(t, me(), 200, "")
	k.define(7, &authv1.Role{Name: "user", Permissions: []string{}, Epoch: 7})
	open(7)
	k.tell(&authv1.AuthzEvent{Kind: authv1.AuthzEvent_ROLES_CHANGED, MinEpoch: 7}, true)
	eventually(t, "the table is known", func() bool { return k.edge.verifier.RolesEpoch() == 7 })
	for range 3 {
		want(t, me(), 403, "PERMISSION_DENIED")
	}
	if n := k.asked.Load(); n != 2 {
		t.Errorf("auth was asked %d times, want twice", n)
	}
	next := newSigningKey(t, "key_next")
	(&signer{h: k.harness}).publish(next)
	k.harness.key = next
	k.tell(&authv1.AuthzEvent{Kind: authv1.AuthzEvent_KEYS_CHANGED}, true)
	eventually(t, "the new key is known", func() bool { return jsonHas(k.edge.keys.jwks(), "key_next") })
	for range 3 {
		want(t, me(), 403, "PERMISSION_DENIED")
	}
	if n := k.asked.Load(); n != 3 {
		t.Errorf("auth was asked %d times, want three times", n)
	}
}
