package gateway

import (
	"context"
	"encoding/hex"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// keyRig is an edge whose auth knows one key.
type keyRig struct {
	*harness

	key   string
	keyID uuid.UUID
	asked atomic.Int64
	epoch atomic.Int64
	dead  atomic.Pointer[fail.Kind]
}

// newKeyRig makes one; exchanges wait until each hold is closed.
func newKeyRig(tb testing.TB, hold ...chan struct{}) *keyRig {
	tb.Helper()
	k := &keyRig{harness: newHarness(tb), keyID: uuid.Must(uuid.NewV7())}
	k.epoch.Store(5)
	k.key = token.FormatAPIKey(k.keyID, make([]byte, token.APIKeySecretBytes))
	k.b.when(authv1.AuthInternalService_ExchangeApiKey_FullMethodName, func(_ context.Context, m proto.Message) (proto.Message, error) {
		k.asked.Add(1)
		for _, h := range hold {
			<-h
		}
		if kind := k.dead.Load(); kind != nil {
			return nil, fail.New(*kind, "no")
		}
		if r, ok := m.(*authv1.ExchangeApiKeyRequest); !ok || r.GetKey() != k.key {
			return nil, fail.New(fail.InvalidToken, "the key is not valid")
		}
		until := time.Now().Add(5 * time.Minute)
		return &authv1.ExchangeApiKeyResponse{ExpiresAt: timestamppb.New(until), AccessToken: k.token(func(c *token.Claims) {
			c.SessionID, c.AMR, c.Epoch, c.Expires = id.Format("ses", k.keyID), []string{token.APIKey}, k.epoch.Load(), until.Unix()
			c.Permissions = []string{"profile.read"}
		})}, nil
	})
	k.b.when(userv1.UserService_GetMe_FullMethodName, answer(&userv1.GetMeResponse{}))
	return k
}

func (k *keyRig) me(key string) reply { return k.do("GET", "/api/v1/users/me", "", bearer(key)) }

// TestKeyIsExchangedOnce: a hundred first requests at once ask auth once, and
// later ones nobody.
func TestKeyIsExchangedOnce(t *testing.T) {
	hold := make(chan struct{}) // closed to let exchanges through
	k := newKeyRig(t, hold)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if r := k.me(k.key); r.status != 200 {
				t.Errorf("got %d %s", r.status, r.body)
			}
		})
	}
	eventually(t, "the exchange began", func() bool { return k.asked.Load() > 0 })
	close(hold)
	wg.Wait()
	for range 10 {
		want(t, k.me(k.key), 200, "")
	}
	if n := k.asked.Load(); n != 1 {
		t.Errorf("auth was asked %d times, want once", n)
	}
	got, _ := k.b.last(userv1.UserService_GetMe_FullMethodName)
	if got.caller.SessionID != k.keyID || !got.caller.ByAPIKey() || got.caller.UserID != k.user {
		t.Errorf("caller: %+v", got.caller)
	}
	for name, values := range got.md {
		if strings.Contains(strings.Join(values, " "), "mk_live_") {
			t.Errorf("the key travels on in %s", name)
		}
	}
}

// TestKeyIsClosedOut: what asks for a person, a factor or a recent sign-in
// refuses a key, and the key is taken from the header alone.
func TestKeyIsClosedOut(t *testing.T) {
	k := newKeyRig(t)
	for _, call := range [][2]string{
		{"POST", "/api/v1/auth/api-keys"},
		{"GET", "/api/v1/auth/api-keys"},
		{"DELETE", "/api/v1/auth/api-keys/apk_x"},
		{"POST", "/api/v1/auth/logout-all"},
		{"POST", "/api/v1/auth/mfa/totp"},
		{"GET", "/api/v1/auth/sessions"},
		{"POST", "/api/v1/legal/accept"},
		{"GET", "/api/v1/admin/users"},
		{"PATCH", "/api/v1/users/me"},
	} {
		body := ""
		if call[0] != "GET" && call[0] != "DELETE" {
			body = "{}"
		}
		want(t, k.do(call[0], call[1], body, bearer(k.key)), 403, "PERMISSION_DENIED")
	}
	want(t, k.do("GET", "/api/v1/users/me", "", "Cookie: access_token="+k.key), 401, "INVALID_TOKEN")
	want(t, k.do("GET", "/api/v1/plans", "", bearer(k.key+"x")), 200, "") // no key is needed there
}

// TestDamagedKeyAsksNobody: a wrong checksum is refused at the edge.
// identity.md row 21
func TestDamagedKeyAsksNobody(t *testing.T) {
	k := newKeyRig(t)
	for _, bad := range []string{"mk_live_", k.key[:len(k.key)-1], k.key + "0", strings.Replace(k.key, "_0", "_1", 1), strings.ToUpper(k.key)} {
		want(t, k.me(bad), 401, "INVALID_TOKEN")
	}
	if n := k.asked.Load(); n != 0 {
		t.Errorf("auth was asked %d times", n)
	}
}

// TestUnknownKeys are remembered for a moment, and their address is stopped
// when they are many; a good key from there goes on.
func TestUnknownKeys(t *testing.T) {
	k := newKeyRig(t)
	want(t, k.me(k.key), 200, "")
	stranger := func(n byte) string {
		return token.FormatAPIKey(k.keyID, append(make([]byte, token.APIKeySecretBytes-1), n+1))
	}
	for range 5 {
		want(t, k.me(stranger(0)), 401, "INVALID_TOKEN")
	}
	if n := k.asked.Load(); n != 2 {
		t.Errorf("auth was asked %d times, want 2", n)
	}
	var r reply
	for n := range 70 {
		if r = k.me(stranger(byte(n))); r.status == 429 {
			break
		}
	}
	want(t, r, 429, "RATE_LIMITED")
	before := k.asked.Load()
	r = k.me(stranger(200))
	want(t, r, 429, "RATE_LIMITED")
	if k.asked.Load() != before || r.header.Get("Retry-After") == "" {
		t.Errorf("a stopped address still reaches auth, Retry-After %q", r.header.Get("Retry-After"))
	}
	want(t, k.me(k.key), 200, "")
}

// TestKeyFollowsItsOwner: a change of permissions is never the program's
// concern, an end of the key or the account is at once.
func TestKeyFollowsItsOwner(t *testing.T) {
	k := newKeyRig(t)
	want(t, k.me(k.key), 200, "")
	event := func(kind authv1.AuthzEvent_Kind, key uuid.UUID, epoch int64) {
		k.edge.epochs.apply(&authv1.AuthzEvent{Kind: kind, Key: key[:], MinEpoch: epoch, ExpiresAt: timestamppb.New(time.Now().Add(time.Hour))})
	}
	k.epoch.Store(6)
	event(authv1.AuthzEvent_ACCOUNT_STALE, k.user, 6)
	want(t, k.me(k.key), 200, "")
	if n := k.asked.Load(); n != 2 {
		t.Errorf("auth was asked %d times, want 2", n)
	}
	// Auth is behind: the program waits, it is not told to refresh.
	event(authv1.AuthzEvent_ACCOUNT_STALE, k.user, 7)
	want(t, k.me(k.key), 503, "UNAVAILABLE")
	k.epoch.Store(7)
	want(t, k.me(k.key), 200, "")

	k.dead.Store(&fail.TokenRevoked)
	event(authv1.AuthzEvent_SESSION_REVOKED, k.keyID, 0)
	before := k.asked.Load()
	for range 5 {
		want(t, k.me(k.key), 401, "TOKEN_REVOKED")
	}
	if n := k.asked.Load() - before; n != 1 {
		t.Errorf("auth was asked %d times about a dead key, want once", n)
	}
}

// TestKeysSurviveAuth: known keys work while auth is away, others wait.
func TestKeysSurviveAuth(t *testing.T) {
	k := newKeyRig(t)
	want(t, k.me(k.key), 200, "")
	k.dead.Store(&fail.Unavailable)
	want(t, k.me(k.key), 200, "")
	want(t, k.me(token.FormatAPIKey(uuid.New(), make([]byte, token.APIKeySecretBytes))), 503, "UNAVAILABLE")
}

func TestKeyMemoryIsBounded(t *testing.T) {
	k := newAPIKeys(nil, time.Now)
	for i := range maxKeys + 500 {
		var sum keySum
		sum[0], sum[1], sum[2] = byte(i), byte(i>>8), byte(i>>16)
		k.keep(sum, keyToken{raw: hex.EncodeToString(sum[:2]), until: time.Now().Add(time.Hour)})
		k.refuse(sum, fail.New(fail.InvalidToken, "no"))
	}
	if len(k.good) > maxKeys || len(k.refused) > maxKeys {
		t.Errorf("%d and %d remembered, want at most %d", len(k.good), len(k.refused), maxKeys)
	}
}

// BenchmarkKnownKey is what a key costs beside a token: no round trip.
func BenchmarkKnownKey(b *testing.B) {
	k := newKeyRig(b)
	if r := k.me(k.key); r.status != 200 {
		b.Fatal(r.body)
	}
	asked := k.asked.Load()
	for b.Loop() {
		q := &request{raw: k.key}
		k.edge.identifyKey(b.Context(), q)
		if q.tokenErr != nil {
			b.Fatal(q.tokenErr)
		}
	}
	if k.asked.Load() != asked {
		b.Error("auth was asked")
	}
}
