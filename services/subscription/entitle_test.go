package subscription

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

func TestFreeByEventOnce(t *testing.T) {
	s := newStand(t)
	userID := uuid.New()
	ev := activated(t, userID)
	for i, want := range []eventv1.DeliverResponse_Result_Outcome{
		eventv1.DeliverResponse_Result_APPLIED, eventv1.DeliverResponse_Result_DUPLICATE,
	} {
		if got := deliver(t, s.auth, ev); got != want {
			t.Errorf("delivery %d: %s, want %s", i+1, got, want)
		}
	}
	// The same fact under another id changes nothing either.
	deliver(t, s.auth, activated(t, userID))
	if diff := cmp.Diff([]string{"free ACTIVE"}, s.states(t, userID)); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
	e := s.entitled(t, userID)
	if e.GetPlan() != "free" || e.GetEpoch() != 1 || e.GetEndsAt() != nil {
		t.Errorf("entitlements = %v", e)
	}
	changed := told(t, s, "auth", func() *subscriptionv1.EntitlementChanged { return &subscriptionv1.EntitlementChanged{} })
	if len(changed) != 1 || changed[0].GetPlan() != "free" || changed[0].GetEpoch() != 1 || !cmp.Equal(changed[0].GetFeatures(), []string{"api_access"}) {
		t.Errorf("told auth %v", changed)
	}
	if diff := cmp.Diff([]string{"subscription.created", "entitlement.changed"}, s.actions(t)); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	for _, a := range told(t, s, "audit", func() *auditv1.Event { return &auditv1.Event{} }) {
		if a.GetRequestId() != "req-2" || a.GetActor().GetId() != "auth" || a.GetSource() != "subscription" {
			t.Errorf("audit event = %v", a)
		}
	}
	if got := deliver(t, s.payment, activated(t, uuid.New())); got != eventv1.DeliverResponse_Result_REJECTED {
		t.Errorf("AccountActivated from payment: %s", got)
	}
}

// TestEntitlementTellsLimits sends the plan's numbers to everyone who listens.
func TestEntitlementTellsLimits(t *testing.T) {
	s := newStand(t)
	s.listeners = []string{"auth", "user"}
	deliver(t, s.auth, activated(t, uuid.New()))
	for _, to := range s.listeners {
		changed := told(t, s, to, func() *subscriptionv1.EntitlementChanged { return &subscriptionv1.EntitlementChanged{} })
		if len(changed) != 1 || changed[0].GetLimits()["users"] != 1 {
			t.Errorf("told %s %v", to, changed)
		}
	}
}

func TestFreeWhenTheEventIsLate(t *testing.T) {
	s := newStand(t)
	userID := uuid.New()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := s.public.GetEntitlements(as(t.Context(), userID), &subscriptionv1.GetEntitlementsRequest{}); err != nil {
				t.Errorf("entitlements: %v", err)
			}
			if _, err := s.public.GetCurrentSubscription(as(t.Context(), userID), &subscriptionv1.GetCurrentSubscriptionRequest{}); err != nil {
				t.Errorf("current: %v", err)
			}
		})
	}
	all.Wait()
	deliver(t, s.auth, activated(t, userID))
	if diff := cmp.Diff([]string{"free ACTIVE"}, s.states(t, userID)); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
	a := told(t, s, "audit", func() *auditv1.Event { return &auditv1.Event{} })[0]
	if a.GetActor().GetType() != "user" || a.GetIpPrefix() != "203.0.113.0/24" || a.GetRequestId() != "req-1" {
		t.Errorf("audit event = %v", a)
	}
}

func TestGetUserSubscriptionMakesNothing(t *testing.T) {
	s := newStand(t)
	admin := token.NewContext(t.Context(), &token.Caller{
		UserID: uuid.New(), SessionID: uuid.New(), Permissions: []string{"users.manage"}, AMR: []string{"pwd", "otp"},
	})
	userID := uuid.New()
	r, err := s.admin.GetUserSubscription(admin, &subscriptionv1.GetUserSubscriptionRequest{UserId: userID[:]})
	if err != nil {
		t.Fatal(err)
	}
	if r.GetSubscription() != nil || r.GetEntitlements().GetPlan() != "none" || len(s.states(t, userID)) != 0 {
		t.Errorf("unknown user: %v", r)
	}
	userID = s.member(t)
	r, err = s.admin.GetUserSubscription(admin, &subscriptionv1.GetUserSubscriptionRequest{UserId: userID[:]})
	if err != nil || r.GetSubscription().GetPlanCode() != "free" || r.GetEntitlements().GetPlan() != "free" {
		t.Errorf("member: %v, %v", r, err)
	}
	_, err = s.admin.GetUserSubscription(as(t.Context(), userID), &subscriptionv1.GetUserSubscriptionRequest{UserId: userID[:]})
	_ = refused(t, err, fail.PermissionDenied)
}
