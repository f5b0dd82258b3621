package subscription

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// fakeMandates is payment's other face, as subscription sees it.
type fakeMandates struct {
	paymentv1.UnimplementedMandateInternalServiceServer
	*fakePayment

	debits []*paymentv1.ScheduleDebitRequest
	ended  int
	refuse error
}

func (f *fakeMandates) SetUpMandate(ctx context.Context, r *paymentv1.SetUpMandateRequest) (*paymentv1.SetUpMandateResponse, error) {
	p, err := f.CreatePayment(ctx, &paymentv1.CreatePaymentRequest{RequestId: r.GetRequestId(), Amount: r.GetAmount(), Tax: r.GetTax()})
	if err != nil {
		return nil, err
	}
	mandateID := uuid.NewSHA1(uuid.UUID(r.GetRequestId()), nil)
	return &paymentv1.SetUpMandateResponse{MandateId: mandateID[:], Payment: p.GetPayment()}, nil
}

func (f *fakeMandates) ScheduleDebit(ctx context.Context, r *paymentv1.ScheduleDebitRequest) (*paymentv1.ScheduleDebitResponse, error) {
	if f.refuse != nil {
		return nil, f.refuse
	}
	p, err := f.CreatePayment(ctx, &paymentv1.CreatePaymentRequest{RequestId: r.GetRequestId(), Amount: r.GetAmount(), Tax: r.GetTax()})
	if err != nil {
		return nil, err
	}
	f.set(func(*fakePayment) { f.debits = append(f.debits, proto.CloneOf(r)) })
	return &paymentv1.ScheduleDebitResponse{Payment: p.GetPayment(), Cycle: 1}, nil
}

func (f *fakeMandates) EndMandate(context.Context, *paymentv1.EndMandateRequest) (*paymentv1.EndMandateResponse, error) {
	f.set(func(*fakePayment) { f.ended++ })
	return &paymentv1.EndMandateResponse{}, nil
}

// renewing makes a user whose premium renews by itself.
func (s *stand) renewing(t *testing.T) (userID uuid.UUID, order *subscriptionv1.CheckoutResponse) {
	t.Helper()
	userID = s.member(t)
	o, err := s.public.Checkout(as(t.Context(), userID), &subscriptionv1.CheckoutRequest{PlanCode: "premium", Cycle: monthly, AutoRenew: true})
	if err != nil {
		t.Fatal(err)
	}
	s.settleUp(t, userID, o.GetPayment(), succeeded)
	s.mandate(t, userID, o, paymentv1.Mandate_ACTIVE)
	if got := s.current(t, userID); !got.GetAutoRenew() {
		t.Fatalf("current = %v", got)
	}
	return userID, o
}

// mandate is payment's event of what became of an order's mandate.
func (s *stand) mandate(t *testing.T, userID uuid.UUID, o *subscriptionv1.CheckoutResponse, state paymentv1.Mandate_State) {
	t.Helper()
	orderID, err := id.Parse("sub", o.GetSubscription().GetId())
	if err != nil {
		t.Fatal(err)
	}
	mandateID := uuid.NewSHA1(orderID, nil)
	if got := deliver(t, s.payment, event(t, &paymentv1.MandateStateChanged{
		MandateId: mandateID[:], RequestId: orderID[:], UserId: userID[:], State: state,
	})); got != eventv1.DeliverResponse_Result_APPLIED {
		t.Fatalf("mandate %s: %s", state, got)
	}
}

// debited answers the last debit.
func (s *stand) debited(t *testing.T, userID uuid.UUID, state paymentv1.Payment_State) {
	t.Helper()
	last := s.mandates.debits[len(s.mandates.debits)-1]
	var p *paymentv1.Payment
	s.money.set(func(f *fakePayment) { p = proto.CloneOf(f.payments[string(last.GetRequestId())]) })
	s.settleUp(t, userID, &subscriptionv1.CheckoutResponse_Payment{Id: p.GetId(), Amount: p.GetAmount()}, state)
}

// toEnd moves the clock to a while before the period's end, and sweeps.
func (s *stand) toEnd(t *testing.T, userID uuid.UUID, before time.Duration) {
	t.Helper()
	s.clock.move(s.current(t, userID).GetCurrentPeriodEnd().AsTime().Sub(s.clock.now()) - before)
	s.sweepNow(t)
}

// The debit is announced 30 hours before the end, once, at the price that was
// bought; what it brings continues the subscription.
func TestAutoRenewal(t *testing.T) {
	s := newStand(t)
	userID, _ := s.renewing(t)
	first := s.current(t, userID)
	if e := s.entitled(t, userID); !e.GetEndsAt().AsTime().Equal(first.GetCurrentPeriodEnd().AsTime().Add(150 * time.Hour)) { // 72 + 78: domain.md 6
		t.Errorf("access until %v", e.GetEndsAt().AsTime())
	}
	s.toEnd(t, userID, chargeAhead+time.Nanosecond)
	if len(s.mandates.debits) != 0 {
		t.Fatal("announced too early")
	}
	for range 3 {
		s.toEnd(t, userID, chargeAhead)
	}
	if len(s.mandates.debits) != 1 || s.mandates.debits[0].GetAmount().GetAmountMinor() != 149900 {
		t.Fatalf("debits = %v", s.mandates.debits)
	}
	s.debited(t, userID, succeeded)
	s.toEnd(t, userID, 0)
	got := s.current(t, userID)
	if !got.GetCurrentPeriodStart().AsTime().Equal(first.GetCurrentPeriodEnd().AsTime()) || got.GetState() != subscriptionv1.Subscription_ACTIVE {
		t.Errorf("second period = %v", got)
	}
	if diff := cmp.Diff([]string{"receipt", "renewal_notice", "receipt"}, s.notices(t, userID)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	// The next one fails: access goes on through grace, and then ends.
	s.toEnd(t, userID, chargeAhead)
	s.debited(t, userID, paymentv1.Payment_FAILED)
	s.toEnd(t, userID, 0)
	if got := s.current(t, userID); got.GetState() != subscriptionv1.Subscription_GRACE {
		t.Errorf("after the failure = %v", got)
	}
	if e := s.entitled(t, userID); e.GetPlan() != "premium" {
		t.Errorf("in grace = %v", e)
	}
	// They pay by hand, and the anchor is kept.
	s.clock.move(50 * time.Hour)
	o := s.order(t, userID, "premium", monthly)
	s.settleUp(t, userID, o.GetPayment(), succeeded)
	third := s.current(t, userID)
	if third.GetState() != subscriptionv1.Subscription_ACTIVE || !third.GetCurrentPeriodStart().AsTime().Equal(got.GetCurrentPeriodEnd().AsTime()) {
		t.Errorf("third period = %v", third)
	}
	// Nobody answers at all: the bound holds without any job.
	s.clock.move(third.GetCurrentPeriodEnd().AsTime().Sub(s.clock.now()) + 150*time.Hour - 1)
	if e := s.entitled(t, userID); e.GetPlan() != "premium" {
		t.Errorf("before the bound = %v", e)
	}
	s.clock.move(1)
	if e := s.entitled(t, userID); e.GetPlan() == "premium" {
		t.Errorf("past the bound = %v", e)
	}
	s.sweepNow(t)
	s.sweepNow(t)
	if s.mandates.ended != 1 {
		t.Errorf("%d mandates ended", s.mandates.ended)
	}
}

// Who has cancelled is not debited: the mandate ends, and what was under way
// goes back.
func TestCancelStopsTheDebit(t *testing.T) {
	s := newStand(t)
	userID, _ := s.renewing(t)
	s.toEnd(t, userID, chargeAhead)
	if _, err := s.public.CancelSubscription(as(t.Context(), userID), &subscriptionv1.CancelSubscriptionRequest{}); err != nil {
		t.Fatal(err)
	}
	s.sweepNow(t)
	if s.mandates.ended != 1 || s.current(t, userID).GetAutoRenew() {
		t.Errorf("%d mandates ended, %v", s.mandates.ended, s.current(t, userID))
	}
	s.debited(t, userID, succeeded) // it was too late
	back := told(t, s, "payment", func() *paymentv1.RefundRequested { return &paymentv1.RefundRequested{} })
	if len(back) != 1 {
		t.Errorf("%d refunds asked for", len(back))
	}
	s.toEnd(t, userID, 0)
	if diff := cmp.Diff([]string{"free CANCELLED", "premium CANCELLED", "free ACTIVE"}, s.states(t, userID)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A mandate lost at the bank ends the renewals and nothing that is paid.
func TestMandateLost(t *testing.T) {
	s := newStand(t)
	userID, o := s.renewing(t)
	s.mandate(t, userID, o, paymentv1.Mandate_PAUSED)
	got := s.current(t, userID)
	if got.GetAutoRenew() || got.GetState() != subscriptionv1.Subscription_ACTIVE {
		t.Errorf("current = %v", got)
	}
	if e := s.entitled(t, userID); !e.GetEndsAt().AsTime().Equal(got.GetCurrentPeriodEnd().AsTime()) {
		t.Errorf("access until %v", e.GetEndsAt().AsTime())
	}
	s.mandate(t, userID, o, paymentv1.Mandate_ACTIVE)
	if !s.current(t, userID).GetAutoRenew() {
		t.Error("a mandate that came back renews nothing")
	}
	// One that cannot be debited leaves the customer to pay.
	s.mandates.refuse = fail.New(fail.Conflict, "the mandate cannot be debited")
	s.toEnd(t, userID, chargeAhead)
	s.toEnd(t, userID, 0)
	if got := s.current(t, userID); got.GetState() != subscriptionv1.Subscription_GRACE {
		t.Errorf("current = %v", got)
	}
}

// A process that dies between the order and the call has it made good.
func TestChargeIsSentAgain(t *testing.T) {
	s := newStand(t)
	userID, _ := s.renewing(t)
	s.money.set(func(f *fakePayment) { f.down = true })
	s.clock.move(s.current(t, userID).GetCurrentPeriodEnd().AsTime().Sub(s.clock.now()) - chargeAhead)
	if err := s.sweep(t.Context()); err == nil {
		t.Fatal("payment is down, and nobody noticed")
	}
	s.money.set(func(f *fakePayment) { f.down = false })
	s.clock.move(askSoon)
	s.sweepNow(t)
	s.sweepNow(t)
	if len(s.mandates.debits) != 1 {
		t.Errorf("%d debits", len(s.mandates.debits))
	}
	if n := texts(t, s.db, `SELECT count(*)::text FROM subscription.charge AS c JOIN subscription.invoice AS i ON i.id = c.invoice_id WHERE i.kind = 'RENEWAL'`); n[0] != "1" {
		t.Errorf("%s charges", n[0])
	}
}

func TestAutoRenewRefusals(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	razorpay := "razorpay"
	for name, in := range map[string]*subscriptionv1.CheckoutRequest{
		"for life":         {PlanCode: "lifetime", AutoRenew: true},
		"too much":         {PlanCode: "enterprise", Cycle: yearly, AutoRenew: true},
		"another provider": {PlanCode: "premium", Cycle: monthly, Provider: &razorpay, AutoRenew: true},
	} {
		_, err := s.public.Checkout(as(t.Context(), userID), in)
		if e := refused(t, err, fail.InvalidArgument); len(e.Fields) != 1 || e.Fields[0].Field != "autoRenew" {
			t.Errorf("%s: %v", name, e.Fields)
		}
	}
}
