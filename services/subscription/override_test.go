package subscription

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// operator is an administrator who may grant.
func operator(ctx context.Context) context.Context {
	return token.NewContext(ctx, &token.Caller{
		UserID: uuid.New(), SessionID: uuid.New(), Permissions: []string{"subscriptions.manage"}, AMR: []string{"pwd", "otp"}, RequestID: "req-9",
	})
}

const because = "the contract with the school says so"

// give grants as an operator.
func (s *stand) give(t *testing.T, r *subscriptionv1.GrantOverrideRequest, userID uuid.UUID) *subscriptionv1.Grant {
	t.Helper()
	r.UserId, r.Reason = userID[:], because
	out, err := s.grants.GrantOverride(operator(t.Context()), r)
	if err != nil {
		t.Fatalf("grant %s: %v", r.GetFeature(), err)
	}
	return out.GetGrant()
}

// news gives what auth was told since the last so many, as "epoch plan features".
func (s *stand) news(t *testing.T) []*subscriptionv1.EntitlementChanged {
	t.Helper()
	return told(t, s, "auth", func() *subscriptionv1.EntitlementChanged { return &subscriptionv1.EntitlementChanged{} })
}

func (s *stand) limitOf(t *testing.T, userID uuid.UUID, feature string) int64 {
	t.Helper()
	for _, l := range s.entitled(t, userID).GetLimits() {
		if l.GetFeature() == feature {
			return l.GetLimit()
		}
	}
	return 0
}

func n(v int64) *int64 { return &v }

func TestOverride(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	g := s.give(t, &subscriptionv1.GrantOverrideRequest{Source: subscriptionv1.Grant_OVERRIDE, Feature: "white_label"}, userID)
	s.give(t, &subscriptionv1.GrantOverrideRequest{Source: subscriptionv1.Grant_ADDON, Feature: "ai_messages", Limit: n(5)}, userID)
	s.give(t, &subscriptionv1.GrantOverrideRequest{Source: subscriptionv1.Grant_REMOVAL, Feature: "api_access"}, userID)
	e := s.entitled(t, userID)
	if !slices.Equal(e.GetFeatures(), []string{"white_label"}) || e.GetEpoch() != 4 || e.GetPlan() != "free" || s.limitOf(t, userID, "ai_messages") != 15 {
		t.Errorf("entitlements = %v", e)
	}
	if _, err := s.use(t, userID, "ai_messages", 15); err != nil {
		t.Errorf("15 messages: %v", err)
	}
	_, err := s.use(t, userID, "ai_messages", 1)
	if e := refused(t, err, fail.QuotaExceeded); e.Meta["limit"] != "15" {
		t.Errorf("the sixteenth: %v", e.Meta)
	}
	_, err = s.use(t, userID, "api_access", 1)
	_ = refused(t, err, fail.FeatureNotAvailable)
	if _, err := s.use(t, userID, "white_label", 1); err != nil {
		t.Errorf("white_label: %v", err)
	}
	// A plan that is bought is folded with them in its own transaction.
	s.buy(t, userID, "premium", subscriptionv1.Price_MONTHLY)
	e = s.entitled(t, userID)
	if slices.Contains(e.GetFeatures(), "api_access") || !slices.Contains(e.GetFeatures(), "white_label") || s.limitOf(t, userID, "ai_messages") != -1 {
		t.Errorf("with premium: %v", e)
	}
	for range 2 {
		r, err := s.grants.RevokeOverride(operator(t.Context()), &subscriptionv1.RevokeOverrideRequest{Id: g.GetId(), Reason: because})
		if err != nil || !r.GetGrant().GetRevokedAt().AsTime().Equal(s.clock.now()) {
			t.Errorf("revoke: %v, %v", r, err)
		}
	}
	if e := s.entitled(t, userID); slices.Contains(e.GetFeatures(), "white_label") {
		t.Errorf("after its revocation: %v", e)
	}
	news := s.news(t)
	if last := news[len(news)-1]; len(news) != 6 || last.GetEpoch() != 6 || last.GetPlan() != "premium" || slices.Contains(last.GetFeatures(), "white_label") {
		t.Errorf("auth was told %d things, last %v", len(news), last)
	}
	var audited []string
	for _, a := range told(t, s, "audit", func() *auditv1.Event { return &auditv1.Event{} }) {
		if a.GetAction() == "entitlement.granted" || a.GetAction() == "entitlement.revoked" {
			audited = append(audited, a.GetAction())
			if a.GetActor().GetType() != "admin" || a.GetReason() != because || a.GetTargets()[0].GetType() != "grant" {
				t.Errorf("audit event = %v", a)
			}
		}
	}
	want := []string{"entitlement.granted", "entitlement.granted", "entitlement.granted", "entitlement.revoked"}
	if diff := cmp.Diff(want, audited); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}

func TestOverrideRefusals(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(s.clock.now().Add(d)) }
	for name, r := range map[string]*subscriptionv1.GrantOverrideRequest{
		"no such feature":       {Source: subscriptionv1.Grant_OVERRIDE, Feature: "time_travel"},
		"no limit":              {Source: subscriptionv1.Grant_ADDON, Feature: "ai_messages"},
		"a limit of a boolean":  {Source: subscriptionv1.Grant_OVERRIDE, Feature: "api_access", Limit: n(1)},
		"a limit of a removal":  {Source: subscriptionv1.Grant_REMOVAL, Feature: "ai_messages", Limit: n(1)},
		"no source":             {Feature: "api_access"},
		"from yesterday":        {Source: subscriptionv1.Grant_OVERRIDE, Feature: "api_access", ValidFrom: at(-time.Hour)},
		"an end at the start":   {Source: subscriptionv1.Grant_OVERRIDE, Feature: "api_access", ValidUntil: at(0)},
		"an end before a start": {Source: subscriptionv1.Grant_OVERRIDE, Feature: "api_access", ValidFrom: at(time.Hour), ValidUntil: at(time.Minute)},
	} {
		r.UserId, r.Reason = userID[:], because
		if _, err := s.grants.GrantOverride(operator(t.Context()), r); !fail.Is(err, fail.InvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ok := &subscriptionv1.GrantOverrideRequest{UserId: userID[:], Source: subscriptionv1.Grant_OVERRIDE, Feature: "api_access"}
	_, err := s.grants.GrantOverride(operator(t.Context()), ok)
	_ = refused(t, err, fail.InvalidArgument) // says no reason
	ok.Reason = because
	_, err = s.grants.GrantOverride(as(t.Context(), userID), ok)
	_ = refused(t, err, fail.PermissionDenied)
	_, err = s.grants.RevokeOverride(operator(t.Context()), &subscriptionv1.RevokeOverrideRequest{Id: "egr_00000000000000000000000000", Reason: because})
	_ = refused(t, err, fail.NotFound)
	for range maxGrants {
		s.give(t, &subscriptionv1.GrantOverrideRequest{Source: subscriptionv1.Grant_OVERRIDE, Feature: "api_access"}, userID)
	}
	_, err = s.grants.GrantOverride(operator(t.Context()), ok)
	_ = refused(t, err, fail.Conflict)

	var got int
	for tok := ""; ; {
		r, err := s.grants.ListOverrides(operator(t.Context()), &subscriptionv1.ListOverridesRequest{UserId: userID[:], PageSize: 30, PageToken: tok})
		if err != nil {
			t.Fatal(err)
		}
		if r.GetTotalSize() != maxGrants {
			t.Errorf("total %d", r.GetTotalSize())
		}
		got += len(r.GetGrants())
		if tok = r.GetNextPageToken(); tok == "" {
			break
		}
	}
	if got != maxGrants {
		t.Errorf("listed %d", got)
	}
}

// TestGrantBoundaries begins and ends grants by themselves: reads are right at
// the instant, and auth is told by the worker (money.md B51).
func TestGrantBoundaries(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	start, end := s.clock.now().Add(time.Hour), s.clock.now().Add(2*time.Hour)
	s.give(t, &subscriptionv1.GrantOverrideRequest{
		Source: subscriptionv1.Grant_OVERRIDE, Feature: "white_label", ValidFrom: timestamppb.New(start), ValidUntil: timestamppb.New(end),
	}, userID)
	told := len(s.news(t))
	for _, step := range []struct {
		name   string
		at     time.Time
		in     bool
		sweeps bool // whether the worker comes before the read
		more   int
	}{
		{"a nanosecond before the start", start.Add(-1), false, true, 0},
		{"start", start, true, false, 1},
		{"after the start", start.Add(1), true, true, 0},
		{"a nanosecond before the end", end.Add(-1), true, true, 0},
		{"end", end, false, true, 1},
		{"after the end", end.Add(1), false, true, 0},
	} {
		s.clock.move(step.at.Sub(s.clock.now()))
		if step.sweeps {
			if err := s.refoldDue(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.use(t, userID, "white_label", 1); (err == nil) != step.in {
			t.Errorf("%s: %v", step.name, err)
		}
		if got := slices.Contains(s.entitled(t, userID).GetFeatures(), "white_label"); got != step.in {
			t.Errorf("%s: listed %t", step.name, got)
		}
		news := s.news(t)
		if len(news)-told != step.more || slices.Contains(news[len(news)-1].GetFeatures(), "white_label") != step.in && step.more > 0 {
			t.Errorf("%s: auth was told %v", step.name, news[told:])
		}
		told = len(news)
	}
}

// TestGrantOutlivesThePlan is not answered 402 before the sweeper comes.
func TestGrantOutlivesThePlan(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.buy(t, userID, "premium", subscriptionv1.Price_MONTHLY)
	s.give(t, &subscriptionv1.GrantOverrideRequest{Source: subscriptionv1.Grant_ADDON, Feature: "white_label"}, userID)
	s.clock.move(32 * 24 * time.Hour)
	if _, err := s.use(t, userID, "white_label", 1); err != nil {
		t.Errorf("white_label: %v", err)
	}
	_, err := s.use(t, userID, "premium_themed_rooms", 1)
	if e := refused(t, err, fail.FeatureNotAvailable); e.Meta["currentPlan"] != "none" {
		t.Errorf("premium_themed_rooms: %v", e.Meta)
	}
	if e := s.entitled(t, userID); e.GetPlan() != "none" || !slices.Equal(e.GetFeatures(), []string{"white_label"}) {
		t.Errorf("entitlements = %v", e)
	}
	if err := s.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := s.entitled(t, userID); e.GetPlan() != "free" || !slices.Equal(e.GetFeatures(), []string{"api_access", "white_label"}) || e.GetEndsAt() != nil {
		t.Errorf("after the sweeper: %v", e)
	}
}

// TestSetsOfBefore reads sets as a program without grants writes them, and goes
// over to the fold when there is something to fold.
func TestSetsOfBefore(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.buy(t, userID, "premium", subscriptionv1.Price_MONTHLY)
	want := s.entitled(t, userID)
	old := func() {
		for _, sql := range []string{
			`UPDATE subscription.entitlement_set SET limits = NULL, plan_ends_at = NULL, folded_epoch = NULL WHERE $1 = user_id`, // before the migration
			`UPDATE subscription.entitlement_set SET epoch = epoch + 1, limits = '[]' WHERE $1 = user_id`,                        // since then
		} {
			if _, err := s.db.Pool.Exec(t.Context(), sql, userID); err != nil {
				t.Fatal(err)
			}
			got := s.entitled(t, userID)
			got.Epoch = want.GetEpoch()
			if diff := cmp.Diff(want.String(), got.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", sql, diff)
			}
		}
	}
	old()
	s.give(t, &subscriptionv1.GrantOverrideRequest{Source: subscriptionv1.Grant_OVERRIDE, Feature: "white_label"}, userID)
	if e := s.entitled(t, userID); !slices.Contains(e.GetFeatures(), "white_label") || len(e.GetLimits()) != len(want.GetLimits()) {
		t.Errorf("with a grant: %v", e)
	}
	s.clock.move(32 * 24 * time.Hour)
	if _, err := s.db.Pool.Exec(t.Context(), `UPDATE subscription.entitlement_set SET folded_epoch = NULL WHERE $1 = user_id`, userID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.use(t, userID, "white_label", 1); err != nil {
		t.Errorf("white_label after the plan: %v", err)
	}
}
