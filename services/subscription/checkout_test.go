package subscription

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

func TestCheckout(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	o := s.order(t, userID, "premium", subscriptionv1.Price_MONTHLY)
	if o.GetSubscription().GetState() != subscriptionv1.Subscription_PENDING || o.GetPayment().GetRedirectUrl() == "" ||
		o.GetPayment().GetAmount().GetAmountMinor() != 149900 || o.GetPayment().GetState() != "PENDING" {
		t.Errorf("checkout = %v", o)
	}
	subID, err := id.Parse("sub", o.GetSubscription().GetId())
	if err != nil {
		t.Fatal(err)
	}
	want := &paymentv1.CreatePaymentRequest{
		RequestId: subID[:], UserId: userID[:], Purpose: "subscription", ProductCode: "premium", Provider: "phonepe", Cycle: "MONTHLY",
		Amount: &typev1.Money{CurrencyCode: "INR", AmountMinor: 149900},
		Tax:    &typev1.TaxBreakdown{TaxableMinor: 127034, CgstMinor: 11433, SgstMinor: 11433},
	}
	if diff := cmp.Diff(want, s.money.requests[0], protocmp.Transform()); diff != "" {
		t.Errorf("asked payment (-want +got):\n%s", diff)
	}
	// Nothing is live before the money.
	if e := s.entitled(t, userID); e.GetPlan() != "free" || e.GetEpoch() != 1 {
		t.Errorf("entitlements = %v", e)
	}
	again := s.order(t, userID, "premium", subscriptionv1.Price_MONTHLY)
	if again.GetSubscription().GetId() != o.GetSubscription().GetId() || again.GetPayment().GetId() != o.GetPayment().GetId() {
		t.Errorf("a second checkout made another order: %v", again)
	}
	if diff := cmp.Diff([]string{"free ACTIVE", "premium PENDING"}, s.states(t, userID)); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
}

func TestCheckoutRefusals(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	for _, tt := range []struct {
		name, plan string
		cycle      subscriptionv1.Price_Cycle
		want       fail.Kind
		field      string
	}{
		{"unknown plan", "gold", subscriptionv1.Price_MONTHLY, fail.NotFound, ""},
		{"cycle not sold", "premium", subscriptionv1.Price_LIFETIME, fail.InvalidArgument, "cycle"},
		{"cycle left out of two", "premium", subscriptionv1.Price_CYCLE_UNSPECIFIED, fail.InvalidArgument, "cycle"},
		{"free", "free", subscriptionv1.Price_MONTHLY, fail.InvalidArgument, "planCode"},
		{"one-time product", "track_single", subscriptionv1.Price_CYCLE_UNSPECIFIED, fail.InvalidArgument, "planCode"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.public.Checkout(as(t.Context(), userID), &subscriptionv1.CheckoutRequest{PlanCode: tt.plan, Cycle: tt.cycle})
			e := refused(t, err, tt.want)
			if tt.field != "" && (len(e.Fields) != 1 || e.Fields[0].Field != tt.field) {
				t.Errorf("fields = %v, want %s", e.Fields, tt.field)
			}
		})
	}
	if n := len(s.states(t, userID)); n != 1 {
		t.Errorf("%d subscriptions after refusals", n)
	}

	s.buy(t, userID, "premium", subscriptionv1.Price_MONTHLY)
	for _, lower := range []string{"premium", "basic", "premium_monthly"} {
		_, err := s.public.Checkout(as(t.Context(), userID), &subscriptionv1.CheckoutRequest{PlanCode: lower, Cycle: subscriptionv1.Price_MONTHLY})
		_ = refused(t, err, fail.Conflict)
	}
	s.order(t, userID, "enterprise", subscriptionv1.Price_YEARLY)
}

func TestCheckoutWhileTheProviderIsDown(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.money.set(func(f *fakePayment) { f.down = true })
	_, err := s.public.Checkout(as(t.Context(), userID), &subscriptionv1.CheckoutRequest{PlanCode: "basic", Cycle: subscriptionv1.Price_YEARLY})
	_ = refused(t, err, fail.PaymentProviderUnavailable)
	if cur, err := s.public.GetCurrentSubscription(as(t.Context(), userID), &subscriptionv1.GetCurrentSubscriptionRequest{}); err != nil || cur.GetSubscription().GetPlanCode() != "free" {
		t.Errorf("current = %v, %v", cur, err)
	}
	s.money.set(func(f *fakePayment) { f.down = false })
	s.order(t, userID, "basic", subscriptionv1.Price_YEARLY)
	if diff := cmp.Diff([]string{"free ACTIVE", "basic PENDING"}, s.states(t, userID)); diff != "" {
		t.Errorf("the order was not taken up again (-want +got):\n%s", diff)
	}
}

func TestCheckoutAfterAFailedPayment(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	first := s.order(t, userID, "basic", subscriptionv1.Price_MONTHLY)
	// The failure is known to payment, its event still under way.
	s.money.set(func(f *fakePayment) {
		for _, p := range f.payments {
			p.State = paymentv1.Payment_FAILED
		}
	})
	second := s.order(t, userID, "basic", subscriptionv1.Price_MONTHLY)
	if first.GetSubscription().GetId() == second.GetSubscription().GetId() {
		t.Error("a dead order was offered again")
	}
	if got := deliver(t, s.payment, s.paid(t, userID, first, paymentv1.Payment_FAILED)); got != eventv1.DeliverResponse_Result_APPLIED {
		t.Errorf("the late failure: %s", got)
	}
	deliver(t, s.payment, s.paid(t, userID, second, paymentv1.Payment_EXPIRED))
	if diff := cmp.Diff([]string{"free ACTIVE", "basic EXPIRED", "basic EXPIRED"}, s.states(t, userID)); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
}

// A key is its owner's, and replays the answer. money.md B49
func TestCheckoutReplaysByIdempotencyKey(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	with := func() context.Context {
		return metadata.AppendToOutgoingContext(as(t.Context(), userID), "idempotency-key", "k-1")
	}
	var ids []string
	for range 2 {
		r, err := s.public.Checkout(with(), &subscriptionv1.CheckoutRequest{PlanCode: "basic", Cycle: subscriptionv1.Price_MONTHLY})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.GetSubscription().GetId())
	}
	if ids[0] != ids[1] || len(s.money.requests) != 1 {
		t.Errorf("%v by %d calls to payment", ids, len(s.money.requests))
	}
	_, err := s.public.Checkout(with(), &subscriptionv1.CheckoutRequest{PlanCode: "premium", Cycle: subscriptionv1.Price_MONTHLY})
	_ = refused(t, err, fail.IdempotencyKeyReused)
}

func TestSweepEndsUnpaidOrders(t *testing.T) {
	s := newStand(t)
	asked, silent := s.member(t), s.member(t)
	s.order(t, asked, "basic", subscriptionv1.Price_MONTHLY)
	s.money.set(func(f *fakePayment) { f.down = true })
	_, err := s.public.Checkout(as(t.Context(), silent), &subscriptionv1.CheckoutRequest{PlanCode: "basic", Cycle: subscriptionv1.Price_MONTHLY})
	_ = refused(t, err, fail.PaymentProviderUnavailable)

	step := func(name string, d time.Duration, wantAsked, wantSilent string) {
		t.Helper()
		s.clock.move(d)
		if err := s.sweep(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for userID, want := range map[uuid.UUID]string{asked: wantAsked, silent: wantSilent} {
			if got := s.states(t, userID)[1]; got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	}
	step("within the day", openFor-time.Second, "basic PENDING", "basic PENDING")
	step("after it, payment not answering", time.Second, "basic PENDING", "basic PENDING") // it may have opened one and lost the answer
	s.money.set(func(f *fakePayment) { f.down = false })
	step("payment undecided", askSoon, "basic PENDING", "basic EXPIRED")
	s.money.set(func(f *fakePayment) {
		for _, p := range f.payments {
			p.State = paymentv1.Payment_EXPIRED
		}
	})
	step("payment expired", askAgain, "basic EXPIRED", "basic EXPIRED")
}
