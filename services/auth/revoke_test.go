package auth

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/config"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pgtest"
	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

func TestSuspend(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	asha := someone(b.as(g.GetAccessToken())).UserID
	admin := b.mustSeed(SeedAccount{Email: "admin@example.com", Roles: []string{"admin"}})
	other := b.mustSeed(SeedAccount{Email: "admin2@example.com", Roles: []string{"admin"}})
	root := b.mustSeed(SeedAccount{Email: "root@example.com", Roles: []string{"superadmin"}})
	as := func(who uuid.UUID) context.Context {
		return token.NewContext(t.Context(), &token.Caller{UserID: who, SessionID: uuid.New(), RequestID: "req-1", ClientIP: "203.0.113.7"})
	}
	suspend := func(who, whom uuid.UUID) error {
		_, err := b.inside.SuspendAccount(as(who), &authv1.SuspendAccountRequest{UserId: whom[:], Reason: "asked by the owner"})
		return err
	}
	for name, pair := range map[string][2]uuid.UUID{
		"oneself": {admin, admin}, "an equal": {admin, other}, "a higher": {admin, root}, "by a user": {asha, admin}, "superadmin self": {root, root},
	} {
		wantKind(t, name, suspend(pair[0], pair[1]), fail.PermissionDenied)
	}
	wantKind(t, "nobody", suspend(admin, uuid.New()), fail.NotFound)
	refused := 0
	for _, ev := range b.audited() {
		if ev.GetAction() == "account.suspended" && ev.GetOutcome() == auditv1.Event_DENIED && ev.GetReason() == "asked by the owner" {
			refused++
		}
	}
	if refused != 5 {
		t.Errorf("%d refused attempts on record, want 5", refused)
	}
	for range 2 { // repeatable
		if err := suspend(admin, asha); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.tryRefresh(g.GetRefreshToken())
	wantKind(t, "refresh", err, fail.InvalidRefreshToken)
	_, err = b.tryLogin("asha@example.com", goodPassword)
	wantKind(t, "login", err, fail.AccountSuspended)
	page, err := b.inside.ListAuthzEvents(t.Context(), &authv1.ListAuthzEventsRequest{Since: timestamppb.New(b.now())})
	if err != nil || len(page.GetEvents()) != 1 {
		t.Fatalf("authz events: %v, %v", page, err)
	}
	if ev := page.GetEvents()[0]; ev.GetKind() != authv1.AuthzEvent_ACCOUNT_REVOKED || uuid.UUID(ev.GetKey()) != asha || ev.GetMinEpoch() != 2 {
		t.Errorf("authz event: %v", ev)
	}
	m := b.letters()
	if m[len(m)-1].Template != "account_suspended" {
		t.Errorf("mail: got %+v", m[len(m)-1])
	}
	if n := b.count(`SELECT count(*) FROM auth.outbox WHERE type = 'manas.auth.v1.AccountChanged' AND destination = 'user'`); n != 1 {
		t.Errorf("AccountChanged: got %d, want 1", n)
	}
	if _, err := b.inside.ReactivateAccount(as(root), &authv1.ReactivateAccountRequest{UserId: asha[:], Reason: "it was a mistake"}); err != nil {
		t.Fatal(err)
	}
	r := b.mustLogin("asha@example.com")
	if c := someone(b.as(r.GetAccessToken())); c.Epoch < 2 {
		t.Errorf("epoch after: got %d", c.Epoch)
	}
}

// TestSuspendAgainstLogins: whatever the order, no session is left.
func TestSuspendAgainstLogins(t *testing.T) {
	b := newBench(t)
	asha := someone(b.as(b.mustJoin("asha@example.com").GetAccessToken())).UserID
	admin := b.mustSeed(SeedAccount{Email: "admin@example.com", Roles: []string{"admin"}})
	together(9, func(i int) error {
		if i == 4 {
			_, err := b.changeState(t.Context(), &token.Caller{UserID: admin}, asha, stateSuspended, "asked by the owner")
			return err
		}
		_, err := b.tryLogin("asha@example.com", goodPassword)
		return err
	})
	if n := b.count(`SELECT count(*) FROM auth.session WHERE account_id = $1 AND revoked_at IS NULL`, asha); n != 0 {
		t.Errorf("%d sessions of a suspended account are live", n)
	}
}

func TestEntitlement(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	asha := someone(b.as(g.GetAccessToken())).UserID
	in := outbox.NewInbox(b.db, schema, b.now, func(context.Context) string { return "subscription" }, b.handlers())
	tell := func(user uuid.UUID, epoch int64, plan string, features ...string) eventv1.DeliverResponse_Result_Outcome {
		t.Helper()
		payload, err := proto.Marshal(&subscriptionv1.EntitlementChanged{UserId: user[:], Epoch: epoch, Plan: plan, Features: features})
		if err != nil {
			t.Fatal(err)
		}
		evID := b.ids.New()
		r, err := in.Deliver(t.Context(), &eventv1.DeliverRequest{Events: []*eventv1.Event{{
			Id: evID[:], Type: "manas.subscription.v1.EntitlementChanged", Payload: payload, OccurredAt: timestamppb.New(b.now()),
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return r.GetResults()[0].GetOutcome()
	}
	check := func(plan string, epoch int64, events int) {
		t.Helper()
		acc, _, err := b.account(t.Context(), b.db.Pool, asha)
		if err != nil || acc.Plan != plan || acc.Epoch != epoch {
			t.Errorf("account: plan %s, epoch %d, %v; want %s, %d", acc.Plan, acc.Epoch, err, plan, epoch)
		}
		if n := b.count(`SELECT count(*) FROM auth.authz_event WHERE kind = 'ACCOUNT_STALE'`); n != events {
			t.Errorf("stale events: got %d, want %d", n, events)
		}
	}
	tell(asha, 1, "free", "api_access")
	check("free", 1, 0) // the session of a minute ago goes on
	tell(asha, 2, "premium", "api_access", "premium_dashboard")
	check("premium", 2, 1)
	tell(asha, 1, "free") // late
	check("premium", 2, 1)
	tell(asha, 3, "free", "api_access")
	check("free", 3, 2)
	if got := tell(uuid.New(), 1, "free"); got != eventv1.DeliverResponse_Result_REJECTED {
		t.Errorf("an account nobody has: got %s", got)
	}
	r, err := b.tryRefresh(g.GetRefreshToken())
	if err != nil || r.GetUser().GetPlan() != "free" || len(r.GetUser().GetFeatures()) != 1 {
		t.Errorf("after a refresh: %v, %v", r.GetUser(), err)
	}
}

func TestListAccounts(t *testing.T) {
	b := newBench(t)
	for _, email := range []string{"asha@example.com", "ravi@example.com", "a_b@example.org"} {
		b.mustSeed(SeedAccount{Email: email, Roles: []string{"user"}})
		b.clock.pass(time.Second)
	}
	b.mustSeed(SeedAccount{Email: "root@example.com", Roles: []string{"superadmin"}})
	for _, tt := range []struct {
		name string
		r    *authv1.ListAccountsRequest
		want string
	}{
		{"all", &authv1.ListAccountsRequest{}, "root@example.com a_b@example.org ravi@example.com asha@example.com"},
		{"oldest first", &authv1.ListAccountsRequest{Sort: "createdAt"}, "asha@example.com ravi@example.com a_b@example.org root@example.com"},
		{"newest first, said", &authv1.ListAccountsRequest{Sort: "-createdAt"}, "root@example.com a_b@example.org ravi@example.com asha@example.com"},
		{"by address", &authv1.ListAccountsRequest{Sort: "email"}, "a_b@example.org asha@example.com ravi@example.com root@example.com"},
		{"by address, backwards", &authv1.ListAccountsRequest{Sort: "-email"}, "root@example.com ravi@example.com asha@example.com a_b@example.org"},
		{"part", &authv1.ListAccountsRequest{Search: "EXAMPLE.com"}, "root@example.com ravi@example.com asha@example.com"},
		{"wildcard taken literally", &authv1.ListAccountsRequest{Search: "a_b"}, "a_b@example.org"},
		{"percent", &authv1.ListAccountsRequest{Search: "%"}, ""},
		{"role", &authv1.ListAccountsRequest{Role: "superadmin"}, "root@example.com"},
		{"state", &authv1.ListAccountsRequest{State: authv1.Account_SUSPENDED}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			tt.r.PageSize = 2
			for {
				page, err := b.inside.ListAccounts(t.Context(), tt.r)
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range page.GetAccounts() {
					got = append(got, a.GetEmail())
				}
				if want := len(strings.Fields(tt.want)); int(page.GetTotalSize()) != want {
					t.Errorf("total: got %d, want %d", page.GetTotalSize(), want)
				}
				if tt.r.PageToken = page.GetNextPageToken(); tt.r.GetPageToken() == "" {
					break
				}
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
	_, err := b.inside.ListAccounts(t.Context(), &authv1.ListAccountsRequest{PageToken: "x"})
	wantKind(t, "a token of ours it is not", err, fail.InvalidArgument)
}

func TestSeedTwice(t *testing.T) {
	c := SeedConfig{DatabaseURL: pgtest.URL(t, schema, migrations.For("auth")), JWTSecret: rand.Text() + rand.Text(), JWTRefreshSecret: rand.Text() + rand.Text()}
	list := []SeedAccount{{Email: "Root@example.com", Password: goodPassword, FirstName: "Root", LastName: "Rao", Roles: []string{"superadmin"}, TOTPSecret: totpSecret}}
	for range 2 {
		if err := Seed(t.Context(), c, list); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConfig(t *testing.T) {
	good := []string{
		"DATABASE_URL=x", "USER_ADDR=x", "SUBSCRIPTION_ADDR=x", "AUDIT_ADDR=x", "MESSAGES_DIR=x", "REDIS_PORT=6390",
		"JWT_SECRET=" + strings.Repeat("a", 32), "JWT_REFRESH_SECRET=" + strings.Repeat("b", 32), "PAGE_TOKEN_SECRET=" + strings.Repeat("c", 32),
	}
	c, err := config.Load[Config](good)
	if err != nil {
		t.Fatal(err)
	}
	if c.Redis.Port != 6390 || c.RefreshTTL.Std() != 7*24*time.Hour || c.AccessTTL.Std() != 15*time.Minute {
		t.Errorf("got %+v", c)
	}
	for name, extra := range map[string]string{
		"short":        "JWT_SECRET=short",
		"equal":        "JWT_REFRESH_SECRET=" + strings.Repeat("a", 32),
		"no transport": "MESSAGES_DIR=",
	} {
		if _, err := config.Load[Config](append(good[:len(good):len(good)], extra)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
