package auth

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

func (s *staff) impersonate(ctx context.Context, whom uuid.UUID) (*authv1.ImpersonateAccountResponse, error) {
	return s.roles.ImpersonateAccount(ctx, &authv1.ImpersonateAccountRequest{UserId: whom[:], Reason: because})
}

// TestImpersonationOnlyDownwards walks the refusals. identity.md row 67
func TestImpersonationOnlyDownwards(t *testing.T) {
	s := newStaff(t)
	gone := s.mustSeed(SeedAccount{Email: "gone@example.com", Roles: []string{"user"}})
	s.exec(`UPDATE auth.account SET state = 'SUSPENDED' WHERE id = $1`, gone)
	for _, tt := range []struct {
		name      string
		who, whom uuid.UUID
		want      fail.Kind
	}{
		{"oneself", s.root, s.root, fail.PermissionDenied},
		{"an equal", s.root, s.root2, fail.PermissionDenied},
		{"by support, a superadmin", s.admin, s.root, fail.PermissionDenied},
		{"by support, a user", s.admin, s.asha, fail.PermissionDenied},
		{"by a user", s.asha, s.admin, fail.PermissionDenied},
		{"a suspended one", s.root, gone, fail.AccountSuspended},
		{"nobody", s.root, uuid.New(), fail.NotFound},
	} {
		_, err := s.impersonate(s.by(tt.who), tt.whom)
		wantKind(t, tt.name, err, tt.want)
	}
	if n := s.count(`SELECT count(*) FROM auth.session WHERE impersonator_id IS NOT NULL`); n != 0 {
		t.Errorf("%d sessions were opened", n)
	}
	if acts := s.acts("impersonation.started"); len(acts) != 5 || acts[0].GetOutcome() != auditv1.Event_DENIED {
		t.Errorf("recorded %v", acts)
	}
}

func TestImpersonation(t *testing.T) {
	s := newStaff(t)
	ctx := s.by(s.root)
	r, err := s.impersonate(ctx, s.asha)
	if err != nil {
		t.Fatal(err)
	}
	acting := s.as(r.GetAccessToken())
	c := someone(acting)
	if r.GetExpiresIn() != 900 || c.UserID != s.asha || c.Impersonator != s.root || c.HasSecondFactor() || !c.AuthTime.Equal(time.Unix(0, 0)) ||
		!slices.Equal(c.Roles, []string{"user"}) || !c.Has("profile.read") {
		t.Errorf("got %d s, %+v", r.GetExpiresIn(), c)
	}
	claims, err := s.keys.verifier.Verify(r.GetAccessToken())
	if err != nil || claims.Actor == nil || claims.Actor.Subject != id.Format("usr", s.root) || len(claims.AMR) != 0 {
		t.Errorf("claims %+v, %v", claims, err)
	}
	// Its own session, which nothing renews, though the person's owner sees it.
	x, _, err := s.session(t.Context(), s.db.Pool, c.SessionID)
	if err != nil || x.AccountID != s.asha || !x.ExpiresAt.Equal(s.now().Add(15*time.Minute)) {
		t.Errorf("session %+v, %v", x, err)
	}
	list, err := s.pub.ListSessions(s.as(s.staffSession), &authv1.ListSessionsRequest{})
	if err != nil || list.GetTotalSize() != 2 || list.GetSessions()[0].GetIp() != "" {
		t.Errorf("the owner's list: %v, %v", list, err)
	}
	letters := s.letters()
	if last := letters[len(letters)-1]; last.Template != "impersonated" || last.To != "asha@example.com" {
		t.Errorf("mail: got %+v", last)
	}
	acts := s.acts("impersonation.started")
	if len(acts) != 1 || acts[0].GetReason() != because || len(acts[0].GetTargets()) != 2 {
		t.Errorf("recorded %v", acts)
	}
	// What is done in it is the operator's.
	if _, err := s.pub.Logout(acting, &authv1.LogoutRequest{}); err != nil {
		t.Fatal(err)
	}
	ended := s.acts("session.revoked")
	if last := ended[len(ended)-1]; last.GetActor().GetId() != id.Format("usr", s.asha) || last.GetActor().GetImpersonatorId() != id.Format("usr", s.root) {
		t.Errorf("recorded %v", last)
	}
	if _, err := s.tryRefresh(s.refresh); err != nil {
		t.Errorf("the person's own session: %v", err)
	}
}

// TestImpersonationEnds with whatever ends the operator's right or session.
func TestImpersonationEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		end   func(s *staff, operator context.Context) error
		alive bool
	}{
		{"the operator signs out", func(s *staff, op context.Context) error {
			_, err := s.pub.Logout(op, &authv1.LogoutRequest{})
			return err
		}, false},
		{"of another session of his", func(s *staff, _ context.Context) error {
			_, err := s.pub.Logout(s.by(s.deputy), &authv1.LogoutRequest{})
			return err
		}, true},
		{"everywhere", func(s *staff, _ context.Context) error {
			_, err := s.pub.LogoutAll(s.by(s.deputy), &authv1.LogoutAllRequest{})
			return err
		}, false},
		{"the operator is suspended", func(s *staff, _ context.Context) error {
			_, err := s.inside.SuspendAccount(s.by(s.root), &authv1.SuspendAccountRequest{UserId: s.deputy[:], Reason: because})
			return err
		}, false},
		{"he is signed out by another", func(s *staff, _ context.Context) error {
			_, err := s.roles.RevokeAccountSessions(s.by(s.root), &authv1.RevokeAccountSessionsRequest{UserId: s.deputy[:], Reason: because})
			return err
		}, false},
		{"he loses the role", func(s *staff, _ context.Context) error { return s.setRoles(s.root, s.deputy, "therapist") }, false},
		{"the role loses the permission", func(s *staff, _ context.Context) error { return s.redefine(s.root, "admin", "users.manage") }, false},
		{"the role loses another", func(s *staff, _ context.Context) error { return s.redefine(s.root, "admin", mayImpersonate) }, true},
		{"the person signs out everywhere", func(s *staff, _ context.Context) error {
			_, err := s.pub.LogoutAll(s.as(s.staffSession), &authv1.LogoutAllRequest{})
			return err
		}, false},
		{"the person is suspended", func(s *staff, _ context.Context) error {
			_, err := s.inside.SuspendAccount(s.by(s.root), &authv1.SuspendAccountRequest{UserId: s.asha[:], Reason: because})
			return err
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStaff(t)
			s.deputy = s.mustSeed(SeedAccount{Email: "deputy@example.com", Roles: []string{"admin"}})
			if err := s.redefine(s.root, "admin", mayImpersonate, "users.manage"); err != nil {
				t.Fatal(err)
			}
			op := s.by(s.deputy)
			r, err := s.impersonate(op, s.asha)
			if err != nil {
				t.Fatal(err)
			}
			sid := someone(s.as(r.GetAccessToken())).SessionID
			s.clock.pass(time.Second)
			if err := tt.end(s, op); err != nil {
				t.Fatal(err)
			}
			x, _, err := s.session(t.Context(), s.db.Pool, sid)
			if err != nil || (x.RevokedAt == nil) != tt.alive {
				t.Fatalf("session %+v, %v", x, err)
			}
			told := slices.ContainsFunc(s.news(), func(ev *authv1.AuthzEvent) bool {
				return ev.GetKind() == authv1.AuthzEvent_SESSION_REVOKED && uuid.UUID(ev.GetKey()) == sid ||
					ev.GetKind() == authv1.AuthzEvent_ACCOUNT_REVOKED && uuid.UUID(ev.GetKey()) == s.asha
			})
			if told == tt.alive {
				t.Errorf("the edges were told: %v", told)
			}
		})
	}
}

// TestImpersonationNeedsALiveSession: whoever has just signed out opens nothing
// with the token he still has. identity.md row 20
func TestImpersonationNeedsALiveSession(t *testing.T) {
	s := newStaff(t)
	op := s.by(s.root)
	if _, err := s.pub.Logout(op, &authv1.LogoutRequest{}); err != nil {
		t.Fatal(err)
	}
	_, err := s.impersonate(op, s.asha)
	wantKind(t, "after signing out", err, fail.TokenRevoked)
}

// TestImpersonationAgainstLogout: whatever the order, none is left.
func TestImpersonationAgainstLogout(t *testing.T) {
	s := newStaff(t)
	op := s.by(s.root)
	together(8, func(i int) error {
		if i == 4 {
			_, err := s.pub.Logout(op, &authv1.LogoutRequest{})
			return err
		}
		_, err := s.impersonate(op, s.asha)
		return err
	})
	if n := s.count(`SELECT count(*) FROM auth.session WHERE impersonator_id IS NOT NULL AND revoked_at IS NULL`); n != 0 {
		t.Errorf("%d impersonations outlived the operator's session", n)
	}
}

// TestImpersonatedStaffOweTheirFactor: what only its owner can show stays owed.
func TestImpersonatedStaffOweTheirFactor(t *testing.T) {
	s := newStaff(t)
	r, err := s.impersonate(s.by(s.root), s.admin)
	if err != nil {
		t.Fatal(err)
	}
	c := someone(s.as(r.GetAccessToken()))
	if !c.MFAPending || c.Has("users.manage") {
		t.Errorf("got %+v", c)
	}
}

// TestImpersonationIsKeptOut tries every rule of auth's own contract that
// touches credentials with such a caller.
func TestImpersonationIsKeptOut(t *testing.T) {
	c := &token.Caller{UserID: uuid.UUID{1}, SessionID: uuid.UUID{2}, Impersonator: uuid.UUID{3}, AMR: []string{"pwd", "otp"}, AuthTime: time.Now()}
	for _, m := range []string{
		authv1.AuthService_LogoutAll_FullMethodName, authv1.AuthService_RevokeSession_FullMethodName, authv1.AuthService_CreateTotp_FullMethodName,
		authv1.AuthService_ConfirmTotp_FullMethodName, authv1.CredentialService_ChangePassword_FullMethodName, authv1.CredentialService_StepUp_FullMethodName,
		authv1.CredentialService_DisableTotp_FullMethodName, authv1.CredentialService_RenewRecoveryCodes_FullMethodName,
		authv1.CredentialService_ChangeEmail_FullMethodName, authv1.CredentialService_VerifyPhone_FullMethodName,
		authv1.RoleInternalService_ImpersonateAccount_FullMethodName, authv1.RoleInternalService_SetAccountRoles_FullMethodName,
	} {
		rule, ok := rpc.Rule(m)
		if !ok {
			t.Fatalf("%s: no rule", m)
		}
		wantKind(t, m, rpc.Allow(rule, c, time.Now()), fail.PermissionDenied)
	}
	rule, _ := rpc.Rule(authv1.AuthService_Logout_FullMethodName)
	if err := rpc.Allow(rule, c, time.Now()); err != nil {
		t.Errorf("logout: %v", err)
	}
}
