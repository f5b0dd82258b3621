package subscription

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

// prepared asks as payment does.
func (s *stand) prepared(t *testing.T, userID uuid.UUID, code string) *subscriptionv1.PreparePurchaseResponse {
	t.Helper()
	r, err := s.shop.PreparePurchase(t.Context(), &subscriptionv1.PreparePurchaseRequest{UserId: userID[:], Purpose: "product", ProductCode: code})
	if err != nil {
		t.Fatalf("prepare %s: %v", code, err)
	}
	return r
}

// moneyFor is payment's event about a prepared order.
func (s *stand) moneyFor(t *testing.T, userID uuid.UUID, o *subscriptionv1.PreparePurchaseResponse, payID uuid.UUID, state paymentv1.Payment_State) *eventv1.Event {
	t.Helper()
	return event(t, &paymentv1.PaymentStateChanged{
		PaymentId: payID[:], RequestId: o.GetOrderId(), UserId: userID[:], State: state, Version: 2, Amount: o.GetAmount(), PaidAt: timestamppb.New(s.clock.now()),
	})
}

func (s *stand) purchaseStates(t *testing.T, userID uuid.UUID) []string {
	t.Helper()
	r, err := s.kept.ListPurchases(as(t.Context(), userID), &subscriptionv1.ListPurchasesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, p := range r.GetPurchases() {
		out = append(out, p.GetProductCode()+" "+p.GetState().String())
	}
	return out
}

// A track is bought once, kept, and invoiced once, however often payment tells.
func TestPurchase(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	o := s.prepared(t, userID, "track_single")
	want := &subscriptionv1.PreparePurchaseResponse{
		OrderId: o.GetOrderId(), Amount: &typev1.Money{CurrencyCode: "INR", AmountMinor: 3000}, Cycle: subscriptionv1.Price_ONE_TIME,
		Tax: &typev1.TaxBreakdown{TaxableMinor: 2542, CgstMinor: 229, SgstMinor: 229},
	}
	if d := cmp.Diff(want, o, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if again := s.prepared(t, userID, "track_single"); !slices.Equal(again.GetOrderId(), o.GetOrderId()) {
		t.Error("a second order beside an open one")
	}
	payID := uuid.New()
	for range 3 {
		if got := deliver(t, s.payment, s.moneyFor(t, userID, o, payID, paymentv1.Payment_SUCCEEDED)); got != eventv1.DeliverResponse_Result_APPLIED {
			t.Fatalf("money: %s", got)
		}
	}
	if d := cmp.Diff([]string{"track_single PAID"}, s.purchaseStates(t, userID)); d != "" {
		t.Error(d)
	}
	invoices, err := s.public.ListInvoices(as(t.Context(), userID), &subscriptionv1.ListInvoicesRequest{})
	if err != nil || len(invoices.GetInvoices()) != 1 {
		t.Fatalf("invoices: %v, %v", invoices, err)
	}
	if inv := invoices.GetInvoices()[0]; inv.GetPurchaseId() == "" || inv.GetSubscriptionId() != "" || inv.GetTotal().GetAmountMinor() != 3000 {
		t.Errorf("invoice = %v", inv)
	}
	// Another is another order, and money for a paid one gives nothing.
	if next := s.prepared(t, userID, "track_single"); slices.Equal(next.GetOrderId(), o.GetOrderId()) {
		t.Error("a paid order was sold again")
	}
	if got := deliver(t, s.payment, s.moneyFor(t, userID, o, uuid.New(), paymentv1.Payment_SUCCEEDED)); got != eventv1.DeliverResponse_Result_APPLIED {
		t.Errorf("money twice: %s", got)
	}
	actions := []string{}
	for _, ev := range told(t, s, "audit", func() *auditv1.Event { return &auditv1.Event{} }) {
		if a := ev.GetAction(); a == "purchase.paid" || a == "purchase.late_payment" {
			actions = append(actions, a)
		}
	}
	if d := cmp.Diff([]string{"purchase.paid", "purchase.late_payment"}, actions); d != "" {
		t.Error(d)
	}
}

func TestPurchaseRefusals(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	for _, tt := range []struct {
		name, purpose, code string
		cycle               subscriptionv1.Price_Cycle
		want                fail.Kind
	}{
		{"unknown", "product", "gold", 0, fail.NotFound},
		{"a plan as a product", "product", "premium", subscriptionv1.Price_MONTHLY, fail.InvalidArgument},
		{"a track as a subscription", "subscription", "track_single", 0, fail.InvalidArgument},
		{"a track by the month", "product", "track_single", subscriptionv1.Price_MONTHLY, fail.InvalidArgument},
		{"nothing", "subscription", "free", subscriptionv1.Price_MONTHLY, fail.InvalidArgument},
		{"another purpose", "gift", "track_single", 0, fail.InvalidArgument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.shop.PreparePurchase(t.Context(), &subscriptionv1.PreparePurchaseRequest{UserId: userID[:], Purpose: tt.purpose, ProductCode: tt.code, Cycle: tt.cycle})
			_ = refused(t, err, tt.want)
		})
	}
	if got := s.purchaseStates(t, userID); len(got) != 0 {
		t.Errorf("after refusals there is %v", got)
	}
}

// A product that renews, or lasts, is a subscription; its order is checkout's.
func TestPreparedSubscription(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	o := s.prepared(t, userID, "lifetime")
	if o.GetAmount().GetAmountMinor() != 999900 {
		t.Errorf("it costs %v", o.GetAmount())
	}
	if got := deliver(t, s.payment, s.moneyFor(t, userID, o, uuid.New(), paymentv1.Payment_SUCCEEDED)); got != eventv1.DeliverResponse_Result_APPLIED {
		t.Fatalf("money: %s", got)
	}
	if e := s.entitled(t, userID); e.GetPlan() != "lifetime" {
		t.Errorf("entitled to %s", e.GetPlan())
	}
}

// Wrong money gives nothing; an order whose payment failed makes room for another.
func TestPurchaseMoneyThatDoesNotFit(t *testing.T) {
	s := newStand(t)
	userID, other := s.member(t), s.member(t)
	o := s.prepared(t, userID, "track_single")
	less := &subscriptionv1.PreparePurchaseResponse{OrderId: o.GetOrderId(), Amount: &typev1.Money{CurrencyCode: "INR", AmountMinor: 2999}}
	for name, ev := range map[string]*eventv1.Event{
		"a rupee less": s.moneyFor(t, userID, less, uuid.New(), paymentv1.Payment_SUCCEEDED),
		"another's":    s.moneyFor(t, other, o, uuid.New(), paymentv1.Payment_SUCCEEDED),
		"for no order": s.moneyFor(t, userID, &subscriptionv1.PreparePurchaseResponse{OrderId: make([]byte, 16), Amount: o.GetAmount()}, uuid.New(), paymentv1.Payment_SUCCEEDED),
	} {
		if got := deliver(t, s.payment, ev); got == eventv1.DeliverResponse_Result_APPLIED {
			t.Errorf("%s: %s", name, got)
		}
	}
	if d := cmp.Diff([]string{"track_single PENDING"}, s.purchaseStates(t, userID)); d != "" {
		t.Error(d)
	}
	if got := deliver(t, s.payment, s.moneyFor(t, userID, o, uuid.New(), paymentv1.Payment_FAILED)); got != eventv1.DeliverResponse_Result_APPLIED {
		t.Errorf("failure: %s", got)
	}
	if d := cmp.Diff([]string{"track_single EXPIRED"}, s.purchaseStates(t, userID)); d != "" {
		t.Error(d)
	}
	next := s.prepared(t, userID, "track_single")
	// Payment knows of the failure before its event arrives.
	r, err := s.shop.PreparePurchase(t.Context(), &subscriptionv1.PreparePurchaseRequest{
		UserId: userID[:], Purpose: "product", ProductCode: "track_single", FailedOrderId: next.GetOrderId(),
	})
	if err != nil || slices.Equal(r.GetOrderId(), next.GetOrderId()) {
		t.Errorf("after a failed order: %v, %v", r, err)
	}
	// Nobody closes another's order.
	if _, err := s.shop.PreparePurchase(t.Context(), &subscriptionv1.PreparePurchaseRequest{
		UserId: other[:], Purpose: "product", ProductCode: "track_single", FailedOrderId: r.GetOrderId(),
	}); err != nil {
		t.Fatal(err)
	}
	if got := s.purchaseStates(t, userID); got[0] != "track_single PENDING" {
		t.Errorf("another closed it: %v", got)
	}
}

// An order nobody pays ends; one whose money may still come does not.
func TestSweepEndsUnpaidPurchases(t *testing.T) {
	s := newStand(t)
	never, open := s.member(t), s.member(t)
	s.prepared(t, never, "track_single")
	o := s.prepared(t, open, "track_single")
	s.money.set(func(f *fakePayment) {
		f.payments[string(o.GetOrderId())] = &paymentv1.Payment{Id: "pay_" + "01kb5r00000000000000000000", State: paymentv1.Payment_PENDING}
	})
	s.clock.move(openFor + time.Minute)
	if err := s.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.purchaseStates(t, never); got[0] != "track_single EXPIRED" {
		t.Errorf("never paid: %v", got)
	}
	if got := s.purchaseStates(t, open); got[0] != "track_single PENDING" {
		t.Errorf("its payment is open: %v", got)
	}
}
