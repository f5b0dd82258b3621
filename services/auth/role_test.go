package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

const because = "asked by the owner"

// staff are accounts of every level that operators have.
type staff struct {
	*bench

	roles                 *roleServer
	root, root2           uuid.UUID
	admin, director       uuid.UUID
	asha                  uuid.UUID
	staffSession, refresh string // Asha's
	deputy                uuid.UUID
}

func newStaff(t *testing.T) *staff {
	t.Helper()
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	return &staff{
		bench: b, roles: &roleServer{Service: b.Service},
		root:     b.mustSeed(SeedAccount{Email: "root@example.com", Roles: []string{"superadmin"}, TOTPSecret: totpSecret}),
		root2:    b.mustSeed(SeedAccount{Email: "root2@example.com", Roles: []string{"superadmin"}}),
		admin:    b.mustSeed(SeedAccount{Email: "admin@example.com", Roles: []string{"admin"}}),
		director: b.mustSeed(SeedAccount{Email: "director@example.com", Roles: []string{"clinicaldirector"}}),
		asha:     someone(b.as(g.GetAccessToken())).UserID, staffSession: g.GetAccessToken(), refresh: g.GetRefreshToken(),
	}
}

// by is a context of an operator in a live session of his own.
func (s *staff) by(who uuid.UUID) context.Context {
	s.t.Helper()
	sid, now := s.ids.New(), s.now()
	s.exec(`INSERT INTO auth.session (id, account_id, salt, rotated_at, amr, auth_time, created_at, last_seen_at, idle_seconds, idle_until, expires_at)
	        VALUES ($1, $2, '', $3, '{pwd,otp,mfa}', $3, $3, $3, 1800, $4, $4)`, sid, who, now, now.Add(adminIdle))
	return token.NewContext(s.t.Context(), &token.Caller{UserID: who, SessionID: sid, RequestID: "req-1", ClientIP: "203.0.113.7"})
}

func (s *staff) setRoles(who, whom uuid.UUID, roles ...string) error {
	_, err := s.roles.SetAccountRoles(s.by(who), &authv1.SetAccountRolesRequest{UserId: whom[:], Roles: roles, Reason: because})
	return err
}

func (s *staff) redefine(who uuid.UUID, name string, permissions ...string) error {
	_, err := s.roles.UpdateRole(s.by(who), &authv1.UpdateRoleRequest{Name: name, Permissions: permissions, Reason: because})
	return err
}

// acts gives the recorded events of an action.
func (s *staff) acts(action string) (list []*auditv1.Event) {
	for _, ev := range s.audited() {
		if ev.GetAction() == action {
			list = append(list, ev)
		}
	}
	return list
}

// news gives the authz events since the clock last moved.
func (s *staff) news() []*authv1.AuthzEvent {
	s.t.Helper()
	page, err := s.inside.ListAuthzEvents(s.t.Context(), &authv1.ListAuthzEventsRequest{Since: timestamppb.New(s.now())})
	if err != nil {
		s.t.Fatal(err)
	}
	return page.GetEvents()
}

func TestSetRoles(t *testing.T) {
	s := newStaff(t)
	for _, tt := range []struct {
		name      string
		who, whom uuid.UUID
		roles     []string
		want      fail.Kind
	}{
		{"oneself", s.root, s.root, []string{"user"}, fail.PermissionDenied},
		{"an equal", s.root, s.root2, []string{"user"}, fail.PermissionDenied},
		{"one's own level", s.root, s.asha, []string{"user", "superadmin"}, fail.PermissionDenied},
		{"without the permission", s.admin, s.asha, []string{"therapist"}, fail.PermissionDenied},
		{"by a user", s.asha, s.admin, []string{"user"}, fail.PermissionDenied},
		{"a role nobody knows", s.root, s.asha, []string{"user", "wizard"}, fail.InvalidArgument},
		{"a name that is hostile", s.root, s.asha, []string{"a'; DROP TABLE auth.role; --"}, fail.InvalidArgument},
		{"nobody", s.root, uuid.New(), []string{"user"}, fail.NotFound},
	} {
		wantKind(t, tt.name, s.setRoles(tt.who, tt.whom, tt.roles...), tt.want)
	}
	denied := 0
	for _, ev := range s.acts("account.roles_changed") {
		if ev.GetOutcome() != auditv1.Event_DENIED || ev.GetReason() != because {
			t.Errorf("recorded %v", ev)
		}
		denied++
	}
	if denied != 5 {
		t.Errorf("%d refusals on record, want 5", denied)
	}
	s.clock.pass(time.Second)
	for range 2 { // the second changes nothing
		if err := s.setRoles(s.root, s.asha, "admin", "user"); err != nil {
			t.Fatal(err)
		}
	}
	acts := s.acts("account.roles_changed")
	last := acts[len(acts)-1]
	if len(acts) != 6 || last.GetOutcome() != auditv1.Event_SUCCESS || last.GetActor().GetType() != "admin" ||
		last.GetChanges()[0].GetBefore() != `"user"` || last.GetChanges()[0].GetAfter() != `"admin user"` {
		t.Errorf("%d on record, the last %v", len(acts), last)
	}
	if news := s.news(); len(news) != 1 || news[0].GetKind() != authv1.AuthzEvent_ACCOUNT_STALE || news[0].GetMinEpoch() != 2 {
		t.Errorf("authz events %v", news)
	}
	if n := s.count(`SELECT count(*) FROM auth.outbox WHERE type = 'manas.auth.v1.AccountChanged' AND destination = 'user'`); n != 1 {
		t.Errorf("AccountChanged: got %d, want 1", n)
	}
	letters := s.letters()
	if letters[len(letters)-1].Template != "roles_changed" {
		t.Errorf("mail: got %+v", letters[len(letters)-1])
	}
	g, err := s.tryRefresh(s.refresh)
	if err != nil {
		t.Fatal(err)
	}
	// The new administrator owes a factor, and no session outlives an
	// administrator's.
	c := someone(s.as(g.GetAccessToken()))
	if !slices.Equal(c.Roles, []string{"admin", "user"}) || !c.MFAPending || c.Has("users.manage") || !c.Has("profile.read") {
		t.Errorf("after the refresh: %+v", c)
	}
	if g.GetRefreshExpiresIn() > int32(adminIdle/time.Second) {
		t.Errorf("idles %d s", g.GetRefreshExpiresIn())
	}
}

// TestPrivilegeOrder draws who acts upon whom: what is allowed is never upwards,
// sideways or upon oneself, and superadmins are neither made nor lost.
// identity.md row 67
func TestPrivilegeOrder(t *testing.T) {
	known := []role{{Name: "user", Level: 10}, {Name: "therapist", Level: 20}, {Name: "clinicaldirector", Level: 80}, {Name: "admin", Level: 90}, {Name: "superadmin", Level: 100}}
	one := rapid.Custom(func(t *rapid.T) account {
		a := account{ID: uuid.UUID{byte(rapid.IntRange(1, 3).Draw(t, "id"))}, State: rapid.SampledFrom([]string{stateActive, stateSuspended}).Draw(t, "state")}
		for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(known)-1), 1, 3, rapid.ID).Draw(t, "roles") {
			a.Roles, a.Level = append(a.Roles, known[i].Name), max(a.Level, known[i].Level)
		}
		if rapid.Bool().Draw(t, "may") {
			a.Permissions = []string{manageRoles, mayImpersonate}
		}
		return a
	})
	rapid.Check(t, func(t *rapid.T) {
		actor, target := one.Draw(t, "actor"), one.Draw(t, "target")
		if mayManage(actor, target) && (actor.ID == target.ID || actor.Level <= target.Level || actor.State != stateActive) {
			t.Fatalf("%+v may act upon %+v", actor, target)
		}
		if mayManage(actor, target) && slices.Contains(target.Roles, roleSuperadmin) {
			t.Fatal("a superadmin was acted upon")
		}
		given := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"user", "therapist", "clinicaldirector", "admin", "superadmin"}), 1, 3, rapid.ID).Draw(t, "given")
		if mayGrant(actor, known, given) != nil {
			return
		}
		for _, r := range known {
			if slices.Contains(given, r.Name) && r.Level >= actor.Level {
				t.Fatalf("level %d gave %s", actor.Level, r.Name)
			}
		}
		if mayRedefine(actor, given[0], []string{"a.b"}) == nil {
			t.Fatal("a permission the actor does not hold was given")
		}
		if mayRedefine(actor, given[0], nil) == nil && !slices.Contains(actor.Roles, roleSuperadmin) {
			t.Fatal("redefined by one who is no superadmin")
		}
	})
}

func TestUpdateRole(t *testing.T) {
	s := newStaff(t)
	s.exec(`INSERT INTO auth.permission (name) VALUES ('secret.keep')`) // nobody holds it
	for _, tt := range []struct {
		name  string
		who   uuid.UUID
		role  string
		perms string
		want  fail.Kind
	}{
		{"the superadmin's own", s.root, "superadmin", "profile.read", fail.PermissionDenied},
		{"by an administrator", s.admin, "user", "profile.read", fail.PermissionDenied},
		{"what he does not hold", s.root, "user", "profile.read secret.keep", fail.PermissionDenied},
		{"a permission nobody knows", s.root, "user", "profile.read profile.fly", fail.InvalidArgument},
		{"a role nobody knows", s.root, "wizard", "profile.read", fail.NotFound},
	} {
		wantKind(t, tt.name, s.redefine(tt.who, tt.role, strings.Fields(tt.perms)...), tt.want)
	}
	if n := len(s.acts("role.changed")); n != 3 {
		t.Errorf("%d refusals on record, want 3", n)
	}
	s.clock.pass(time.Second)
	list, err := s.roles.ListRoles(t.Context(), &authv1.ListRolesRequest{CountUsers: true})
	if err != nil || list.GetEpoch() != 0 || list.GetRoles()[0].GetName() != "superadmin" || list.GetRoles()[0].GetUsers() != 2 {
		t.Fatalf("roles: %v, %v", list, err)
	}
	for range 2 { // the second changes nothing
		if err := s.redefine(s.root, "user", "profile.read", "dashboard.read", "reports.read", "profile.read"); err != nil {
			t.Fatal(err)
		}
	}
	if news := s.news(); len(news) != 1 || news[0].GetKind() != authv1.AuthzEvent_ROLES_CHANGED || news[0].GetMinEpoch() != 1 || len(news[0].GetKey()) != 16 {
		t.Errorf("authz events %v", news)
	}
	if err := s.redefine(s.root, "therapist", "profile.read"); err != nil {
		t.Fatal(err)
	}
	list, err = s.roles.ListRoles(t.Context(), &authv1.ListRolesRequest{})
	if err != nil || list.GetEpoch() != 2 {
		t.Fatalf("roles: %v, %v", list, err)
	}
	for _, r := range list.GetRoles() {
		if r.GetName() == "user" && (r.GetEpoch() != 1 || strings.Join(r.GetPermissions(), " ") != "dashboard.read profile.read reports.read" || r.Users != nil) {
			t.Errorf("got %v", r)
		}
	}
	acts := s.acts("role.changed")
	ev := acts[3]
	if len(acts) != 5 || ev.GetTargets()[0].GetId() != "user" || ev.GetChanges()[0].GetAfter() != `"dashboard.read profile.read reports.read"` || ev.GetReason() != because {
		t.Errorf("%d on record, one %v", len(acts), ev)
	}
	// The token of before is good, and means what the role means now.
	claims, err := s.keys.verifier.Verify(s.staffSession)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.keys.verifier.Caller(claims); err != nil || !c.Has("reports.read") || c.Has("payments.read") || c.RolesEpoch != 2 {
		t.Errorf("the old token: %+v, %v", c, err)
	}
	g, err := s.tryRefresh(s.refresh)
	if err != nil {
		t.Fatal(err)
	}
	if c := someone(s.as(g.GetAccessToken())); c.RolesEpoch != 2 || !c.Has("reports.read") {
		t.Errorf("a new token: %+v", c)
	}
}

// TestRolesTogether: definitions follow one another, each with an epoch of its
// own, and nobody mints a token that is newer than its permissions.
func TestRolesTogether(t *testing.T) {
	s := newStaff(t)
	ctx := s.by(s.root)
	got := together(16, func(i int) error {
		if i%2 == 0 {
			perms := []string{"profile.read"}
			if i%4 == 0 {
				perms = append(perms, "reports.read")
			}
			_, err := s.roles.UpdateRole(ctx, &authv1.UpdateRoleRequest{Name: []string{"user", "therapist"}[i/4%2], Permissions: perms, Reason: because})
			return err
		}
		acc, _, err := s.account(t.Context(), s.db.Pool, s.asha)
		if err != nil {
			return err
		}
		for _, r := range []string{"user"} {
			n := s.count(`SELECT count(*) FROM auth.role WHERE name = $1 AND epoch <= $2 AND NOT $3::text[] @> ARRAY['profile.read']`, r, acc.RolesEpoch, acc.Permissions)
			if n != 0 {
				return fmt.Errorf("epoch %d with %v", acc.RolesEpoch, acc.Permissions)
			}
		}
		return nil
	})
	if diff := cmp.Diff(map[string]int{"": 16}, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	changed := s.count(`SELECT count(*) FROM auth.authz_event WHERE kind = 'ROLES_CHANGED'`)
	if n := s.count(`SELECT count(DISTINCT min_epoch) FROM auth.authz_event WHERE kind = 'ROLES_CHANGED'`); n != changed || changed == 0 {
		t.Errorf("%d epochs for %d changes", n, changed)
	}
}

// TestOperatorsUponEachOther: locks are taken in one order.
func TestOperatorsUponEachOther(t *testing.T) {
	s := newStaff(t)
	ctxs := []context.Context{s.by(s.root), s.by(s.root2)}
	ids := []uuid.UUID{s.root, s.root2}
	got := together(16, func(i int) error {
		_, err := s.roles.RevokeAccountSessions(ctxs[i%2], &authv1.RevokeAccountSessionsRequest{UserId: ids[(i+1)%2][:], Reason: because})
		return err
	})
	if diff := cmp.Diff(map[string]int{"PERMISSION_DENIED": 16}, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

func TestUnlock(t *testing.T) {
	s := newStaff(t)
	for range 10 {
		_, err := s.tryLogin("asha@example.com", "wrong")
		wantKind(t, "failure", err, fail.InvalidCredentials)
	}
	_, err := s.tryLogin("asha@example.com", goodPassword)
	wantKind(t, "locked", err, fail.TooManyAttempts)
	unlock := func(who, whom uuid.UUID) error {
		_, err := s.roles.UnlockAccount(s.by(who), &authv1.UnlockAccountRequest{UserId: whom[:], Reason: because})
		return err
	}
	wantKind(t, "by an equal", unlock(s.root, s.root2), fail.PermissionDenied)
	wantKind(t, "without the permission", unlock(s.director, s.asha), fail.PermissionDenied)
	if err := unlock(s.admin, s.asha); err != nil {
		t.Fatal(err)
	}
	s.mustLogin("asha@example.com")
	if acts := s.acts("account.unlocked"); len(acts) != 3 || acts[2].GetOutcome() != auditv1.Event_SUCCESS || acts[2].GetReason() != because {
		t.Errorf("recorded %v", acts)
	}
}

func TestRevokeAccountSessions(t *testing.T) {
	s := newStaff(t)
	second := s.mustLogin("asha@example.com")
	s.clock.pass(time.Second)
	if _, err := s.roles.RevokeAccountSessions(s.by(s.admin), &authv1.RevokeAccountSessionsRequest{UserId: s.asha[:], Reason: because}); err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{s.refresh, second.GetRefreshToken()} {
		_, err := s.tryRefresh(raw)
		wantKind(t, "refresh", err, fail.InvalidRefreshToken)
	}
	if news := s.news(); len(news) != 2 || news[0].GetKind() != authv1.AuthzEvent_SESSION_REVOKED {
		t.Errorf("authz events %v", news)
	}
	if acts := s.acts("account.sessions_revoked"); len(acts) != 1 || acts[0].GetChanges()[0].GetBefore() != `"2"` {
		t.Errorf("recorded %v", acts)
	}
	s.mustLogin("asha@example.com") // the account itself is untouched
}

// TestLostRightsAreNotUsed: an operator whose role went while his request was
// under way is refused by the table. identity.md row 14
func TestLostRightsAreNotUsed(t *testing.T) {
	s := newStaff(t)
	ctx := s.by(s.admin)
	if err := s.setRoles(s.root, s.admin, "therapist"); err != nil {
		t.Fatal(err)
	}
	_, err := s.roles.RevokeAccountSessions(ctx, &authv1.RevokeAccountSessionsRequest{UserId: s.asha[:], Reason: because})
	wantKind(t, "with a token of before", err, fail.PermissionDenied)
	_, err = s.inside.SuspendAccount(ctx, &authv1.SuspendAccountRequest{UserId: s.director[:], Reason: because})
	wantKind(t, "suspend a higher one", err, fail.PermissionDenied)
}
