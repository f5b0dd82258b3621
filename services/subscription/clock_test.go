package subscription

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// asOperator gives ctx a superadmin who has shown a second factor.
func asOperator(ctx context.Context, at time.Time) context.Context {
	return token.NewContext(ctx, &token.Caller{
		UserID: uuid.New(), SessionID: uuid.New(), RequestID: "req-1", Roles: []string{"superadmin"}, AMR: []string{"pwd", "otp", "mfa"},
		AuthTime: at, Permissions: []string{"settings.manage", "profile.read"},
	})
}

// A subscription under a test clock lives in its time, and only there.
func TestTestClock(t *testing.T) {
	s := newStand(t)
	clocks := subscriptionv1.NewTestClockServiceClient(s.gateway)
	op := asOperator(t.Context(), s.clock.now())
	frozen := time.Date(2024, 1, 31, 6, 0, 0, 0, time.UTC)
	made, err := clocks.CreateTestClock(op, &subscriptionv1.CreateTestClockRequest{FrozenAt: timestamppb.New(frozen)})
	if err != nil {
		t.Fatal(err)
	}
	clk := made.GetTestClock()
	userID := s.member(t)
	o, err := s.public.Checkout(as(t.Context(), userID), &subscriptionv1.CheckoutRequest{PlanCode: "premium", Cycle: monthly, TestClockId: &clk.Id})
	if err != nil {
		t.Fatal(err)
	}
	s.settleUp(t, userID, o.GetPayment(), succeeded)
	sub := s.current(t, userID)
	if !sub.GetCurrentPeriodStart().AsTime().Equal(frozen) || !sub.GetCurrentPeriodEnd().AsTime().Equal(time.Date(2024, 2, 29, 6, 0, 0, 0, time.UTC)) || sub.GetTestClockId() != clk.GetId() {
		t.Errorf("subscription = %v", sub)
	}
	s.sweepNow(t) // real time is years later, and does not matter
	if e := s.entitled(t, userID); e.GetPlan() != "premium" {
		t.Errorf("entitlements = %v", e)
	}
	changed := told(t, s, "auth", func() *subscriptionv1.EntitlementChanged { return &subscriptionv1.EntitlementChanged{} })
	if last := changed[len(changed)-1]; last.GetEndsAt() != nil {
		t.Errorf("auth was told of virtual time: %v", last)
	}
	advance := func(to time.Time) (*subscriptionv1.AdvanceTestClockResponse, error) {
		return clocks.AdvanceTestClock(op, &subscriptionv1.AdvanceTestClockRequest{Id: clk.GetId(), To: timestamppb.New(to)})
	}
	_, err = advance(frozen)
	_ = refused(t, err, fail.InvalidArgument)
	_, err = advance(frozen.AddDate(6, 0, 0))
	_ = refused(t, err, fail.InvalidArgument)
	if _, err := advance(time.Date(2024, 2, 20, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	renewal := s.order(t, userID, "premium", monthly)
	s.settleUp(t, userID, renewal.GetPayment(), succeeded)
	r, err := advance(time.Date(2024, 3, 15, 0, 0, 0, 0, time.UTC))
	if err != nil || r.GetTestClock().GetStatus() != subscriptionv1.TestClock_READY || !r.GetTestClock().GetFrozenAt().AsTime().Equal(time.Date(2024, 3, 15, 0, 0, 0, 0, time.UTC)) {
		t.Fatalf("advance = %v, %v", r, err)
	}
	sub = s.current(t, userID)
	if !sub.GetCurrentPeriodStart().AsTime().Equal(time.Date(2024, 2, 29, 6, 0, 0, 0, time.UTC)) || !sub.GetCurrentPeriodEnd().AsTime().Equal(time.Date(2024, 3, 31, 6, 0, 0, 0, time.UTC)) {
		t.Errorf("second period = %v", sub)
	}
	if _, err := advance(time.Date(2024, 3, 31, 6, 0, 0, 0, time.UTC)); err != nil { // to the instant
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"free CANCELLED", "premium EXPIRED", "free ACTIVE"}, s.states(t, userID)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"receipt", "receipt", "subscription_expiring", "subscription_expiring", "subscription_expiring", "subscription_expired"},
		s.notices(t, userID)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	turns := texts(t, s.db, `SELECT to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' ' || to_state FROM subscription.subscription_event AS e
	  JOIN subscription.subscription AS s ON s.id = e.subscription_id WHERE s.plan_code = 'premium' ORDER BY e.seq DESC LIMIT 2`)
	if diff := cmp.Diff([]string{"2024-03-31 06:00:00 EXPIRED", "2024-02-29 06:00:00 ACTIVE"}, turns); diff != "" {
		t.Errorf("each at its own instant (-want +got):\n%s", diff)
	}
	_, err = clocks.GetTestClock(op, &subscriptionv1.GetTestClockRequest{Id: "clk_none"})
	_ = refused(t, err, fail.NotFound)
	none := "clk_none"
	_, err = s.public.Checkout(as(t.Context(), s.member(t)), &subscriptionv1.CheckoutRequest{PlanCode: "premium", Cycle: monthly, TestClockId: &none})
	_ = refused(t, err, fail.InvalidArgument)
	if l, err := clocks.ListTestClocks(op, &subscriptionv1.ListTestClocksRequest{}); err != nil || len(l.GetTestClocks()) != 1 {
		t.Errorf("list = %v, %v", l, err)
	}
	s.testClocks = false // as in production
	_, err = clocks.CreateTestClock(op, &subscriptionv1.CreateTestClockRequest{FrozenAt: timestamppb.New(frozen)})
	_ = refused(t, err, fail.NotFound)
}
