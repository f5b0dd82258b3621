package auth

import (
	"bytes"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// TestRefreshTogether: identity.md row 1. Thirty-two tabs get one successor.
func TestRefreshTogether(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	var mu sync.Mutex
	next := map[string]int{}
	got := together(32, func(int) error {
		r, err := b.tryRefresh(g.GetRefreshToken())
		mu.Lock()
		defer mu.Unlock()
		next[r.GetRefreshToken()]++
		return err
	})
	if diff := cmp.Diff(map[string]int{"": 32}, got); diff != "" || len(next) != 1 {
		t.Errorf("%d successors; outcomes (-want +got):\n%s", len(next), diff)
	}
	b.clock.pass(10 * time.Second) // still inside the grace
	if _, err := b.tryRefresh(g.GetRefreshToken()); err != nil {
		t.Errorf("at the end of the grace: %v", err)
	}
}

// TestReuseAtOneInstant: the clock stands, and the token before the last is old
// all the same. identity.md row 3
func TestReuseAtOneInstant(t *testing.T) {
	b := newBench(t)
	first := b.mustJoin("asha@example.com")
	next := first.GetRefreshToken()
	for range 2 {
		r, err := b.tryRefresh(next)
		if err != nil {
			t.Fatal(err)
		}
		next = r.GetRefreshToken()
	}
	_, err := b.tryRefresh(first.GetRefreshToken())
	wantKind(t, "two behind", err, fail.RefreshReused)
	_, err = b.tryRefresh(next)
	wantKind(t, "the current one then", err, fail.InvalidRefreshToken)
}

// TestLifeIsToldWhole: minting takes a moment, which the client is not charged.
func TestLifeIsToldWhole(t *testing.T) {
	b := newBench(t)
	x := session{ID: uuid.New(), Counter: 1, IdleUntil: b.now().Add(7 * 24 * time.Hour)}
	g, err := b.grant(x, account{}, b.now().Add(9*time.Millisecond))
	if err != nil || seconds(g.RefreshTTL) != 604800 {
		t.Errorf("got %s, %v", g.RefreshTTL, err)
	}
}

// TestReuse ends the session when an old token comes back.
func TestReuse(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	next, err := b.tryRefresh(g.GetRefreshToken())
	if err != nil {
		t.Fatal(err)
	}
	b.clock.pass(11 * time.Second)
	got := together(8, func(int) error {
		_, err := b.tryRefresh(g.GetRefreshToken())
		return err
	})
	if got["REFRESH_REUSED"] < 1 || got[""] != 0 {
		t.Errorf("old token: got %v", got)
	}
	_, err = b.tryRefresh(next.GetRefreshToken())
	wantKind(t, "current token after reuse", err, fail.InvalidRefreshToken)
	m := b.letters()
	if m[len(m)-1].Template != "session_reuse" || len(m) != 2 {
		t.Errorf("mail: got %+v", m)
	}
	if n := b.count(`SELECT count(*) FROM auth.authz_event WHERE kind = 'SESSION_REVOKED'`); n != 1 {
		t.Errorf("authz events: got %d, want 1", n)
	}
	b.mustLogin("asha@example.com") // the account itself is untouched
}

// TestDamagedRefresh flips every bit and cuts at every length: refused, and the
// session goes on.
func TestDamagedRefresh(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	raw := strings.TrimPrefix(g.GetRefreshToken(), refreshPrefix)
	body, err := base64.RawURLEncoding.DecodeString(raw)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(body) * 8 {
		bad := bytes.Clone(body)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := b.tryRefresh(refreshPrefix + base64.RawURLEncoding.EncodeToString(bad)); !fail.Is(err, fail.InvalidRefreshToken) {
			t.Fatalf("bit %d: got %v", i, err)
		}
	}
	for i := range len(g.GetRefreshToken()) {
		if _, err := b.tryRefresh(g.GetRefreshToken()[:i]); !fail.Is(err, fail.InvalidRefreshToken) {
			t.Fatalf("cut at %d: got %v", i, err)
		}
	}
	// A genuine token that is ahead cannot be; one forged for it is refused.
	x, _, err := b.session(t.Context(), b.db.Pool, someone(b.as(g.GetAccessToken())).SessionID)
	if err != nil {
		t.Fatal(err)
	}
	x.Counter += 5
	_, err = b.tryRefresh(b.refreshText(x))
	wantKind(t, "counter ahead", err, fail.InvalidRefreshToken)
	if _, err := b.tryRefresh(g.GetRefreshToken()); err != nil {
		t.Errorf("the session was touched: %v", err)
	}
}

func TestSessionEnds(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	for range 4 { // used every six days it lives 30 days, not more
		b.clock.pass(6 * 24 * time.Hour)
		var err error
		if g, err = b.tryRefresh(g.GetRefreshToken()); err != nil {
			t.Fatal(err)
		}
	}
	b.clock.pass(6 * 24 * time.Hour)
	_, err := b.tryRefresh(g.GetRefreshToken())
	wantKind(t, "after 30 days", err, fail.InvalidRefreshToken)

	idle := b.mustLogin("asha@example.com")
	b.clock.pass(7 * 24 * time.Hour)
	_, err = b.tryRefresh(idle.GetRefreshToken())
	wantKind(t, "after 7 idle days", err, fail.InvalidRefreshToken)
}

func TestLogout(t *testing.T) {
	b := newBench(t)
	channel := b.redis.Subscribe(t.Context(), b.c.Redis.Prefix+authzChannel)
	t.Cleanup(func() { _ = channel.Close() })
	if _, err := channel.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	one, two := b.mustJoin("asha@example.com"), b.mustLogin("asha@example.com")
	three := b.mustLogin("asha@example.com")
	other := b.mustJoin("ravi@example.com")
	ctx := b.as(one.GetAccessToken())
	list, err := b.pub.ListSessions(ctx, &authv1.ListSessionsRequest{PageSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	if list.GetTotalSize() != 3 || len(list.GetSessions()) != 2 || list.GetNextPageToken() == "" {
		t.Fatalf("first page: %v", list)
	}
	rest, err := b.pub.ListSessions(ctx, &authv1.ListSessionsRequest{PageSize: 2, PageToken: list.GetNextPageToken()})
	if err != nil || len(rest.GetSessions()) != 1 || !rest.GetSessions()[0].GetCurrent() || rest.GetSessions()[0].GetIp() != "203.0.113.7" {
		t.Errorf("second page: %v, %v", rest, err)
	}
	foreign := id.Format("ses", someone(b.as(other.GetAccessToken())).SessionID)
	_, err = b.pub.RevokeSession(ctx, &authv1.RevokeSessionRequest{Id: foreign})
	wantKind(t, "another's session", err, fail.NotFound)

	second := someone(b.as(two.GetAccessToken())).SessionID
	if _, err := b.pub.RevokeSession(ctx, &authv1.RevokeSessionRequest{Id: id.Format("ses", second)}); err != nil {
		t.Fatal(err)
	}
	m, err := channel.ReceiveMessage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ev := &authv1.AuthzEvent{}
	if err := proto.Unmarshal([]byte(m.Payload), ev); err != nil || ev.GetKind() != authv1.AuthzEvent_SESSION_REVOKED || uuid.UUID(ev.GetKey()) != second {
		t.Errorf("published %v, %v", ev, err)
	}
	for range 2 { // repeatable
		if _, err := b.pub.Logout(ctx, &authv1.LogoutRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.pub.LogoutAll(b.as(three.GetAccessToken()), &authv1.LogoutAllRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{one.GetRefreshToken(), two.GetRefreshToken(), three.GetRefreshToken()} {
		_, err := b.tryRefresh(raw)
		wantKind(t, "refresh after logout", err, fail.InvalidRefreshToken)
	}
	if _, err := b.tryRefresh(other.GetRefreshToken()); err != nil {
		t.Errorf("another's session: %v", err)
	}
	page, err := b.inside.ListAuthzEvents(t.Context(), &authv1.ListAuthzEventsRequest{PageSize: 2})
	if err != nil || len(page.GetEvents()) != 2 || page.GetNextPageToken() == "" {
		t.Fatalf("authz events: %v, %v", page, err)
	}
	page, err = b.inside.ListAuthzEvents(t.Context(), &authv1.ListAuthzEventsRequest{PageSize: 2, PageToken: page.GetNextPageToken()})
	if err != nil || len(page.GetEvents()) != 1 || page.GetNextPageToken() != "" {
		t.Errorf("last page of authz events: %v, %v", page, err)
	}
	b.clock.pass(17 * time.Minute)
	if page, err := b.inside.ListAuthzEvents(t.Context(), &authv1.ListAuthzEventsRequest{}); err != nil || len(page.GetEvents()) != 0 {
		t.Errorf("expired authz events: %v, %v", page, err)
	}
}

// TestLogoutFails: a revocation the database refuses is told as failed, and the
// session is listed and lives on. identity.md row 19
func TestLogoutFails(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	ctx := b.as(g.GetAccessToken())
	sid := id.Format("ses", someone(ctx).SessionID)
	b.exec(`CREATE FUNCTION auth.broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'disk full'; END $$`)
	for _, table := range []string{"session", "authz_event"} {
		b.exec(`CREATE TRIGGER broken BEFORE INSERT OR UPDATE ON auth.` + table + ` FOR EACH ROW EXECUTE FUNCTION auth.broken()`)
		for name, call := range map[string]func() error{
			"logout":        func() error { _, err := b.pub.Logout(ctx, &authv1.LogoutRequest{}); return err },
			"logout of all": func() error { _, err := b.pub.LogoutAll(ctx, &authv1.LogoutAllRequest{}); return err },
			"revoke":        func() error { _, err := b.pub.RevokeSession(ctx, &authv1.RevokeSessionRequest{Id: sid}); return err },
		} {
			if err := call(); err == nil || fail.Is(err, fail.NotFound) {
				t.Errorf("%s without %s: got %v", name, table, err)
			}
		}
		b.exec(`DROP TRIGGER broken ON auth.` + table)
	}
	list, err := b.pub.ListSessions(ctx, &authv1.ListSessionsRequest{})
	if err != nil || list.GetTotalSize() != 1 {
		t.Errorf("listed %v, %v", list, err)
	}
	if n := b.count(`SELECT count(*) FROM auth.authz_event`); n != 0 {
		t.Errorf("%d events for the edges", n)
	}
	if _, err := b.tryRefresh(g.GetRefreshToken()); err != nil {
		t.Errorf("the session: %v", err)
	}
}

func TestLargestToken(t *testing.T) {
	b := newBench(t)
	admin := b.mustSeed(SeedAccount{Email: "root@example.com", Roles: []string{"superadmin", "admin", "complianceofficer", "financemanager", "clinicaldirector", "therapist", "user"}})
	acc, _, err := b.account(t.Context(), b.db.Pool, admin)
	if err != nil {
		t.Fatal(err)
	}
	acc.Plan, acc.Epoch = "enterprise", 1<<40
	acc.Features = strings.Split("api_access data_export priority_support webhook_support premium_dashboard advanced_reporting team_collaboration premium_themed_rooms sso_oauth phone_support 24_7_support audit_logs ip_whitelisting custom_branding custom_domains unlimited_storage unlimited_users white_label", " ")
	g, err := b.grant(session{ID: b.ids.New(), AMR: withSecond(passwordOnly), AuthTime: b.now(), Counter: 1 << 40}, acc, b.now())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d permissions", len(g.Access), len(g.InForce))
	if _, err := b.keys.verifier.Verify(g.Access); err != nil {
		t.Errorf("token of %d bytes: %v", len(g.Access), err)
	}
}

// TestKeysAreSealed: the key survives a restart and opens under no other secret.
func TestKeysAreSealed(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	again := New(b.c, Deps{DB: b.db, Redis: b.redis, IDs: b.ids, Now: b.now, Rand: b.rand})
	if err := again.loadKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := again.keys.verifier.Verify(g.GetAccessToken()); err != nil {
		t.Errorf("token of before the restart: %v", err)
	}
	if _, err := b.tryRefresh(g.GetRefreshToken()); err != nil {
		t.Error(err)
	}
	r, err := b.inside.GetKeys(t.Context(), &authv1.GetKeysRequest{})
	if err != nil || strings.Contains(string(r.GetJwks()), `"d"`) || !strings.Contains(string(r.GetJwks()), `"kid"`) {
		t.Errorf("key set: %s, %v", r.GetJwks(), err)
	}
	c := b.c
	c.JWTSecret = "another access secret, 32 characters"
	other := New(c, Deps{DB: b.db, Redis: b.redis, IDs: b.ids, Now: b.now, Rand: b.rand})
	if err := other.loadKeys(t.Context()); err == nil {
		t.Error("the key opens under another secret")
	}
	if _, err := other.keys.sign(token.Claims{}); !fail.Is(err, fail.Unavailable) {
		t.Errorf("signing without a key: %v", err)
	}
	b.exec(`UPDATE auth.signing_key SET kid = 'key_x' WHERE state = 'ACTIVE'`) // its private half moved to another name
	if err := again.loadKeys(t.Context()); err == nil {
		t.Error("the key opens under another kid")
	}
}

func FuzzParseRefresh(f *testing.F) {
	f.Add("rt_" + base64.RawURLEncoding.EncodeToString(make([]byte, refreshBytes)))
	f.Add("rt_")
	f.Add("")
	f.Fuzz(func(t *testing.T, raw string) {
		got, ok := parseRefresh(raw)
		if !ok {
			return
		}
		if again := refreshPrefix + base64.RawURLEncoding.EncodeToString(append(got.head(), got.Tag[:]...)); got.Counter < 1 || again != raw {
			t.Errorf("parseRefresh(%q): got %+v, which is written %q", raw, got, again)
		}
	})
}
