package auth

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

func (b *bench) tryKey(access string, edit ...func(*authv1.CreateApiKeyRequest)) (*authv1.ApiKey, error) {
	b.t.Helper()
	r := &authv1.CreateApiKeyRequest{Name: "nightly", Permissions: []string{"profile.read", "payments.read"}}
	for _, e := range edit {
		e(r)
	}
	out, err := (&apiKeyServer{Service: b.Service}).CreateApiKey(b.as(access), r)
	return out.GetApiKey(), err
}

func (b *bench) mustKey(access string, edit ...func(*authv1.CreateApiKeyRequest)) *authv1.ApiKey {
	b.t.Helper()
	k, err := b.tryKey(access, edit...)
	if err != nil {
		b.t.Fatalf("create a key: %v", err)
	}
	return k
}

func (b *bench) exchange(raw string) (*token.Claims, error) {
	b.t.Helper()
	x, err := b.inside.ExchangeApiKey(b.t.Context(), &authv1.ExchangeApiKeyRequest{Key: raw})
	if err != nil {
		return nil, err
	}
	c, err := b.keys.verifier.Verify(x.GetAccessToken())
	if err != nil {
		b.t.Fatalf("the token of a key: %v", err)
	}
	return c, nil
}

func TestAPIKey(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	k := b.mustKey(g.GetAccessToken())
	if !strings.HasPrefix(k.GetSecret(), "mk_live_") || !strings.HasPrefix(k.GetId(), "apk_") || k.GetExpiresAt().AsTime() != b.now().Add(90*24*time.Hour) {
		t.Errorf("key: %v", k)
	}
	c, err := b.exchange(k.GetSecret())
	if err != nil {
		t.Fatal(err)
	}
	keyID, _, _ := token.ParseAPIKey(k.GetSecret())
	want := &token.Claims{
		Issuer: c.Issuer, Audience: c.Audience, ClientID: k.GetId(), Subject: g.GetUser().GetId(), SessionID: id.Format("ses", keyID), JTI: c.JTI,
		IssuedAt: b.now().Unix(), NotBefore: b.now().Unix(), Expires: b.now().Add(5 * time.Minute).Unix(), Roles: []string{},
		Permissions: []string{"payments.read", "profile.read"}, Plan: "free", Features: []string{}, Epoch: 1, AMR: []string{"api_key"},
		AuthTime: b.now().Unix(),
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	b.clock.pass(time.Hour)
	if _, err := b.exchange(k.GetSecret()); err != nil {
		t.Fatal(err)
	}
	list, err := (&apiKeyServer{Service: b.Service}).ListApiKeys(b.as(b.mustLogin("asha@example.com").GetAccessToken()), &authv1.ListApiKeysRequest{})
	if err != nil || list.GetTotalSize() != 1 {
		t.Fatalf("list: %v, %v", list, err)
	}
	got := list.GetApiKeys()[0]
	if got.Secret != nil || got.GetLastUsedAt().AsTime() != b.now().Truncate(24*time.Hour) || got.GetId() != k.GetId() {
		t.Errorf("listed: %v", got)
	}
	if m := b.letters(); m[len(m)-1].Template != "api_key_created" {
		t.Errorf("notice: %+v", m[len(m)-1])
	}
	_, secret, _ := token.ParseAPIKey(k.GetSecret())
	b.noSecretsInEvents(k.GetSecret(), string(secret))
}

func TestAPIKeyRefusals(t *testing.T) {
	b := newBench(t)
	user := b.mustJoin("asha@example.com").GetAccessToken()
	at := func(d time.Duration) func(*authv1.CreateApiKeyRequest) {
		return func(r *authv1.CreateApiKeyRequest) { r.ExpiresAt = timestamppb.New(b.now().Add(d)) }
	}
	perms := func(p ...string) func(*authv1.CreateApiKeyRequest) {
		return func(r *authv1.CreateApiKeyRequest) { r.Permissions = p }
	}
	for _, tt := range []struct {
		name string
		edit func(*authv1.CreateApiKeyRequest)
		want fail.Kind
	}{
		{"not the caller's", perms("profile.read", "users.manage"), fail.PermissionDenied},
		{"unknown", perms("no.such"), fail.PermissionDenied},
		{"past", at(0), fail.InvalidArgument},
		{"more than a year", at(366 * 24 * time.Hour), fail.InvalidArgument},
		{"blank name", func(r *authv1.CreateApiKeyRequest) { r.Name = " \x01" }, fail.InvalidArgument},
	} {
		_, err := b.tryKey(user, tt.edit)
		wantKind(t, tt.name, err, tt.want)
	}
	b.mustKey(user, at(365*24*time.Hour), perms("profile.read", "profile.read"))

	// An administrator may not lend what asks for a second factor.
	b.mustSeed(SeedAccount{Email: "boss@example.com", Roles: []string{"admin"}})
	ses := b.mustLogin("boss@example.com")
	ctx := b.as(ses.GetAccessToken())
	c := *someone(ctx)
	c.Permissions = []string{"users.manage", "profile.read"}
	_, err := (&apiKeyServer{Service: b.Service}).CreateApiKey(token.NewContext(ctx, &c), &authv1.CreateApiKeyRequest{Name: "x", Permissions: []string{"users.manage"}})
	wantKind(t, "administrator's permission", err, fail.PermissionDenied)

	// Twenty live ones, however many ask at once.
	got := together(30, func(int) error { _, err := b.tryKey(user); return err })
	if diff := cmp.Diff(map[string]int{"": 19, "CONFLICT": 11}, got); diff != "" {
		t.Errorf("thirty at once (-want +got):\n%s", diff)
	}
}

// TestDamagedAPIKey cuts a live key at every length and changes each bit: none
// is exchanged, and none but the whole is even looked for. identity.md row 21
func TestDamagedAPIKey(t *testing.T) {
	b := newBench(t)
	raw := b.mustKey(b.mustJoin("asha@example.com").GetAccessToken()).GetSecret()
	for i := range len(raw) {
		if _, err := b.exchange(raw[:i]); !fail.Is(err, fail.InvalidToken) {
			t.Fatalf("cut at %d: %v", i, err)
		}
		for bit := range 8 {
			bad := []byte(raw)
			bad[i] ^= 1 << bit
			if _, err := b.exchange(string(bad)); !fail.Is(err, fail.InvalidToken) {
				t.Fatalf("bit %d of %d: %v", bit, i, err)
			}
		}
	}
	// Genuine in form, with a checksum: another secret, another id.
	keyID, secret, _ := token.ParseAPIKey(raw)
	for i := range secret {
		bad := slices.Clone(secret)
		bad[i] ^= 1
		_, err := b.exchange(token.FormatAPIKey(keyID, bad))
		wantKind(t, "another secret", err, fail.InvalidToken)
	}
	_, err := b.exchange(token.FormatAPIKey(uuid.Must(uuid.NewV7()), secret))
	wantKind(t, "another id", err, fail.InvalidToken)
	if _, err := b.exchange(raw); err != nil {
		t.Errorf("the key itself: %v", err)
	}
}

// TestDeadKeys: whatever is taken away, the key is exchanged for nothing.
// identity.md rows 15 and 20
func TestDeadKeys(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(b *bench, access string, k *authv1.ApiKey)
		want []string // permissions left; nil when the key opens nothing
	}{
		{"nothing happens", func(*bench, string, *authv1.ApiKey) {}, []string{"payments.read", "profile.read"}},
		{"deleted", func(b *bench, access string, k *authv1.ApiKey) {
			if _, err := (&apiKeyServer{Service: b.Service}).DeleteApiKey(b.as(access), &authv1.DeleteApiKeyRequest{Id: k.GetId()}); err != nil {
				b.t.Fatal(err)
			}
		}, nil},
		{"expired", func(b *bench, _ string, _ *authv1.ApiKey) { b.clock.pass(90 * 24 * time.Hour) }, nil},
		{"suspended", func(b *bench, _ string, _ *authv1.ApiKey) { b.exec(`UPDATE auth.account SET state = 'SUSPENDED'`) }, nil},
		{"account deleted", func(b *bench, _ string, _ *authv1.ApiKey) { b.exec(`UPDATE auth.account SET state = 'DELETED'`) }, nil},
		{"role lost", func(b *bench, _ string, _ *authv1.ApiKey) { b.exec(`DELETE FROM auth.account_role`) }, []string{}},
		{"permission lost", func(b *bench, _ string, _ *authv1.ApiKey) {
			b.exec(`DELETE FROM auth.role_permission WHERE permission = 'payments.read'`)
		}, []string{"profile.read"}},
		{"promoted to a role with a second factor", func(b *bench, _ string, _ *authv1.ApiKey) {
			b.exec(`INSERT INTO auth.account_role (account_id, role, granted_at) SELECT id, 'admin', now() FROM auth.account`)
		}, []string{"profile.read"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			access := b.mustJoin("asha@example.com").GetAccessToken()
			k := b.mustKey(access)
			tt.do(b, access, k)
			c, err := b.exchange(k.GetSecret())
			if tt.want == nil {
				wantKind(t, tt.name, err, fail.TokenRevoked)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, c.Permissions); diff != "" || c.MFAPending {
				t.Errorf("permissions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDeleteAPIKey(t *testing.T) {
	b := newBench(t)
	mine := b.mustJoin("asha@example.com").GetAccessToken()
	b.clock.pass(time.Second)
	other := b.mustJoin("ravi@example.com").GetAccessToken()
	k := b.mustKey(mine)
	del := func(access, key string) error {
		_, err := (&apiKeyServer{Service: b.Service}).DeleteApiKey(b.as(access), &authv1.DeleteApiKeyRequest{Id: key})
		return err
	}
	wantKind(t, "another's", del(other, k.GetId()), fail.NotFound)
	wantKind(t, "malformed", del(mine, "apk_x"), fail.NotFound)
	if err := del(mine, k.GetId()); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "again", del(mine, k.GetId()), fail.NotFound)
	keyID, _, _ := token.ParseAPIKey(k.GetSecret())
	if n := b.count(`SELECT count(*) FROM auth.authz_event WHERE kind = 'SESSION_REVOKED' AND key = $1`, keyID); n != 1 {
		t.Errorf("%d events for the edges, want 1", n)
	}
	var acts []string
	for _, ev := range b.audited() {
		if strings.HasPrefix(ev.GetAction(), "api_key.") {
			acts = append(acts, ev.GetAction())
		}
	}
	slices.Sort(acts)
	if diff := cmp.Diff([]string{"api_key.created", "api_key.revoked"}, acts); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}

// TestLastUsedDay is one write a day.
func TestLastUsedDay(t *testing.T) {
	b := newBench(t)
	k := b.mustKey(b.mustJoin("asha@example.com").GetAccessToken())
	var versions []int
	for range 3 {
		for range 3 {
			if _, err := b.exchange(k.GetSecret()); err != nil {
				t.Fatal(err)
			}
		}
		versions = append(versions, b.count(`SELECT (last_used_day - '2026-06-01'::date) FROM auth.api_key`))
		b.clock.pass(24 * time.Hour)
	}
	if diff := cmp.Diff([]int{0, 1, 2}, versions); diff != "" {
		t.Errorf("days (-want +got):\n%s", diff)
	}
}
