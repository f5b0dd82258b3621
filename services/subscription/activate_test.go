package subscription

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

func TestActivation(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.buy(t, userID, "premium", subscriptionv1.Price_MONTHLY)

	r, err := s.public.GetCurrentSubscription(as(t.Context(), userID), &subscriptionv1.GetCurrentSubscriptionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	sub := r.GetSubscription()
	if sub.GetState() != subscriptionv1.Subscription_ACTIVE || sub.GetPlanCode() != "premium" || sub.GetEtag() != `"2"` ||
		!sub.GetCurrentPeriodEnd().AsTime().Equal(time.Date(2026, 12, 23, 5, 0, 0, 0, time.UTC)) {
		t.Errorf("current = %v", sub)
	}
	e := s.entitled(t, userID)
	if e.GetPlan() != "premium" || e.GetEpoch() != 2 || !slices.Contains(e.GetFeatures(), "premium_themed_rooms") ||
		!e.GetEndsAt().AsTime().Equal(sub.GetCurrentPeriodEnd().AsTime()) {
		t.Errorf("entitlements = %v", e)
	}
	changed := told(t, s, "auth", func() *subscriptionv1.EntitlementChanged { return &subscriptionv1.EntitlementChanged{} })
	if last := changed[len(changed)-1]; last.GetEpoch() != 2 || last.GetPlan() != "premium" || len(last.GetFeatures()) != 8 {
		t.Errorf("told auth %v", last)
	}
	want := []string{
		"subscription.created", "entitlement.changed", "subscription.checkout_started",
		"subscription.superseded", "subscription.activated", "entitlement.changed", "invoice.issued",
	}
	if diff := cmp.Diff(want, s.actions(t)); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}

	list, err := s.public.ListInvoices(as(t.Context(), userID), &subscriptionv1.ListInvoicesRequest{})
	if err != nil || len(list.GetInvoices()) != 1 || list.GetTotalSize() != 1 {
		t.Fatalf("invoices = %v, %v", list, err)
	}
	inv := list.GetInvoices()[0]
	if inv.GetNumber() != "INV/26-27/000001" || inv.GetState() != subscriptionv1.Invoice_PAID || inv.GetTotal().GetAmountMinor() != 149900 ||
		inv.GetTaxable().GetAmountMinor() != 127034 || inv.GetCgst().GetAmountMinor() != 11433 || len(inv.GetLines()) != 1 {
		t.Errorf("invoice = %v", inv)
	}
	if _, err := s.public.GetInvoice(as(t.Context(), userID), &subscriptionv1.GetInvoiceRequest{Id: inv.GetId()}); err != nil {
		t.Errorf("own invoice: %v", err)
	}
	for _, bad := range []string{inv.GetId(), "inv_x", "nonsense"} {
		_, err := s.public.GetInvoice(as(t.Context(), uuid.New()), &subscriptionv1.GetInvoiceRequest{Id: bad})
		_ = refused(t, err, fail.NotFound)
	}
}

// TestActivationExactlyOnce money.md B38, B52
func TestActivationExactlyOnce(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	o := s.order(t, userID, "premium", subscriptionv1.Price_YEARLY)
	same := s.paid(t, userID, o, paymentv1.Payment_SUCCEEDED)
	var all sync.WaitGroup
	for i := range 16 {
		ev := same
		if i%2 == 1 {
			ev = s.paid(t, userID, o, paymentv1.Payment_SUCCEEDED) // the same fact under another id
		}
		all.Go(func() {
			if got := deliver(t, s.payment, ev); got != eventv1.DeliverResponse_Result_APPLIED && got != eventv1.DeliverResponse_Result_DUPLICATE {
				t.Errorf("delivery: %s", got)
			}
		})
	}
	all.Wait()
	if diff := cmp.Diff([]string{"free CANCELLED", "premium ACTIVE"}, s.states(t, userID)); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
	if e := s.entitled(t, userID); e.GetEpoch() != 2 {
		t.Errorf("epoch = %d", e.GetEpoch())
	}
	counts := texts(t, s.db, `SELECT (SELECT count(*) FROM subscription.invoice) || ' ' || (SELECT count(*) FROM subscription.subscription_period)
	  || ' ' || (SELECT count(*) FROM subscription.subscription_event)`)
	if counts[0] != "1 1 4" {
		t.Errorf("invoices, periods, events = %s", counts[0])
	}
	if n := slices.Index(s.actions(t), "subscription.late_payment"); n >= 0 {
		t.Error("a duplicate was taken for late money")
	}
}

// 64 write invoices, while the server ends their connections in the middle of it
// as it does when the process behind one is killed. money.md B42, B43
func TestInvoiceNumbersHaveNoGaps(t *testing.T) {
	s := newStand(t)
	const writers = 64
	var all, killer sync.WaitGroup
	begin, over := make(chan struct{}), make(chan struct{})
	for i := range writers {
		userID := s.member(t)
		ev := s.paid(t, userID, s.order(t, userID, "basic", subscriptionv1.Price_MONTHLY), paymentv1.Payment_SUCCEEDED)
		// Every fourth is refused after the others' numbers are under way.
		if i%4 == 3 {
			o := s.order(t, s.member(t), "basic", subscriptionv1.Price_MONTHLY)
			wrong := s.paid(t, userID, o, paymentv1.Payment_SUCCEEDED)
			all.Go(func() {
				<-begin
				if got := s.persist(t, wrong); got != eventv1.DeliverResponse_Result_REJECTED {
					t.Errorf("money of another user: %s", got)
				}
			})
		}
		all.Go(func() {
			<-begin
			if got := s.persist(t, ev); got != eventv1.DeliverResponse_Result_APPLIED && got != eventv1.DeliverResponse_Result_DUPLICATE {
				t.Errorf("delivery: %s", got)
			}
		})
	}
	conn, err := s.db.Pool.Acquire(t.Context()) // of the killer's own: it does not wait for the writers
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	kills := 0
	killer.Go(func() {
		for kills < 100 { // an end of its own
			select {
			case <-over:
				return
			default:
			}
			n, err := scalar[int](t.Context(), conn, `SELECT count(pg_terminate_backend(pid))::int FROM (
			  SELECT pid FROM pg_stat_activity
			   WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%' ORDER BY random() LIMIT 1) AS one`, args{})
			if err == nil {
				kills += n
			}
		}
	})
	close(begin)
	all.Wait()
	close(over)
	killer.Wait()
	t.Logf("%d writers, %d connections killed in a transaction", writers, kills)
	var want []string
	for i := range writers {
		want = append(want, fmt.Sprintf("INV/26-27/%06d", i+1))
	}
	if diff := cmp.Diff(want, texts(t, s.db, `SELECT number FROM subscription.invoice WHERE number IS NOT NULL ORDER BY number`)); diff != "" {
		t.Errorf("numbers (-want +got):\n%s", diff)
	}
}

// persist delivers one event until somebody answers, as a relay does.
func (s *stand) persist(t *testing.T, ev *eventv1.Event) eventv1.DeliverResponse_Result_Outcome {
	t.Helper()
	for range 1000 {
		r, err := s.payment.Deliver(t.Context(), &eventv1.DeliverRequest{Events: []*eventv1.Event{ev}})
		if err == nil && r.GetResults()[0].GetOutcome() != eventv1.DeliverResponse_Result_RETRY {
			return r.GetResults()[0].GetOutcome()
		}
	}
	t.Error("nobody answers")
	return eventv1.DeliverResponse_Result_OUTCOME_UNSPECIFIED
}

func TestInvoiceNumberFitsTheLaw(t *testing.T) {
	for _, tt := range []struct {
		prefix string
		n      int64
		want   string
	}{{"INV", 1, "INV/26-27/000001"}, {"A", 1234567, "A/26-27/1234567"}, {"INV", 1000000, ""}} {
		if got, err := invoiceNumber(tt.prefix, "26-27", tt.n); got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("invoiceNumber(%s, %d) = %q, %v, want %q", tt.prefix, tt.n, got, err, tt.want)
		}
	}
}

func TestWrongMoneyActivatesNothing(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	o := s.order(t, userID, "premium", subscriptionv1.Price_MONTHLY)
	o.Payment.Amount = &typev1.Money{CurrencyCode: "INR", AmountMinor: 100}
	if got := deliver(t, s.payment, s.paid(t, userID, o, paymentv1.Payment_SUCCEEDED)); got != eventv1.DeliverResponse_Result_REJECTED {
		t.Errorf("one rupee: %s", got)
	}
	o.Subscription.Id = "sub_" + "00000000000000000000000001"
	if got := deliver(t, s.payment, s.paid(t, userID, o, paymentv1.Payment_SUCCEEDED)); got != eventv1.DeliverResponse_Result_REJECTED {
		t.Errorf("an unknown order: %s", got)
	}
	if diff := cmp.Diff([]string{"free ACTIVE", "premium PENDING"}, s.states(t, userID)); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
	if a := s.actions(t); a[len(a)-1] != "payment.integrity_failed" {
		t.Errorf("audit = %v", a)
	}
}

func TestSuperseding(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.buy(t, userID, "basic", subscriptionv1.Price_MONTHLY)
	premium := s.order(t, userID, "premium", subscriptionv1.Price_MONTHLY)
	enterprise := s.order(t, userID, "enterprise", subscriptionv1.Price_MONTHLY)
	for _, o := range []*subscriptionv1.CheckoutResponse{enterprise, premium} { // both are paid, the better one first
		if got := deliver(t, s.payment, s.paid(t, userID, o, paymentv1.Payment_SUCCEEDED)); got != eventv1.DeliverResponse_Result_APPLIED {
			t.Errorf("payment: %s", got)
		}
	}
	want := []string{"free CANCELLED", "basic CANCELLED", "premium CANCELLED", "enterprise ACTIVE"}
	if diff := cmp.Diff(want, s.states(t, userID)); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
	if a := s.actions(t); a[len(a)-1] != "subscription.late_payment" {
		t.Errorf("audit = %v", a)
	}
	if e := s.entitled(t, userID); e.GetPlan() != "enterprise" || e.GetEpoch() != 3 {
		t.Errorf("entitlements = %v", e)
	}
	// The history in pages, newest first.
	var got []string
	for tok := ""; ; {
		r, err := s.public.ListSubscriptions(as(t.Context(), userID), &subscriptionv1.ListSubscriptionsRequest{PageSize: 3, PageToken: tok})
		if err != nil || r.GetTotalSize() != 4 {
			t.Fatalf("history: %v, %v", r, err)
		}
		for _, sub := range r.GetSubscriptions() {
			got = append(got, sub.GetPlanCode())
		}
		if tok = r.GetNextPageToken(); tok == "" {
			break
		}
		_, err = s.public.ListSubscriptions(as(t.Context(), uuid.New()), &subscriptionv1.ListSubscriptionsRequest{PageToken: tok})
		_ = refused(t, err, fail.InvalidArgument)
	}
	if diff := cmp.Diff([]string{"enterprise", "premium", "basic", "free"}, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestLateMoneyRevivesNothing(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	o := s.order(t, userID, "basic", subscriptionv1.Price_MONTHLY)
	deliver(t, s.payment, s.paid(t, userID, o, paymentv1.Payment_FAILED))
	if got := deliver(t, s.payment, s.paid(t, userID, o, paymentv1.Payment_SUCCEEDED)); got != eventv1.DeliverResponse_Result_APPLIED {
		t.Errorf("late money: %s", got)
	}
	if diff := cmp.Diff([]string{"free ACTIVE", "basic EXPIRED"}, s.states(t, userID)); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
	if a := s.actions(t); a[len(a)-1] != "subscription.late_payment" {
		t.Errorf("audit = %v", a)
	}
	back := told(t, s, "payment", func() *paymentv1.RefundRequested { return &paymentv1.RefundRequested{} })
	if len(back) != 1 || back[0].GetReason() != "late_capture" || id.Format("pay", uuid.UUID(back[0].GetPaymentId())) != o.GetPayment().GetId() {
		t.Errorf("payment is asked for %v", back)
	}
}

// Money that went back takes what it bought with it; a part of it does not.
func TestRefundEndsWhatWasBought(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	o := s.order(t, userID, "premium", subscriptionv1.Price_MONTHLY)
	deliver(t, s.payment, s.paid(t, userID, o, paymentv1.Payment_SUCCEEDED))
	deliver(t, s.payment, s.paid(t, userID, o, paymentv1.Payment_PARTIALLY_REFUNDED))
	if e := s.entitled(t, userID); e.GetPlan() != "premium" {
		t.Errorf("after a part went back: %s", e.GetPlan())
	}
	for range 2 {
		if got := deliver(t, s.payment, s.paid(t, userID, o, paymentv1.Payment_REFUNDED)); got != eventv1.DeliverResponse_Result_APPLIED {
			t.Errorf("refunded: %s", got)
		}
	}
	if e := s.entitled(t, userID); e.GetPlan() != "free" {
		t.Errorf("after all of it went back: %s", e.GetPlan())
	}
	if diff := cmp.Diff([]string{"free CANCELLED", "premium CANCELLED", "free ACTIVE"}, s.states(t, userID)); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
}

func TestExpiryByTimeThenBySweep(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.buy(t, userID, "premium", subscriptionv1.Price_MONTHLY)
	s.clock.move(30*24*time.Hour - time.Second)
	if _, err := s.use(t, userID, "premium_dashboard", 1); err != nil {
		t.Errorf("in the last second: %v", err)
	}
	s.clock.move(time.Second) // no job has run
	_, err := s.use(t, userID, "premium_dashboard", 1)
	if e := refused(t, err, fail.SubscriptionRequired); e.Meta["upgradeTo"] != "premium" {
		t.Errorf("after the end: %v", e.Meta)
	}
	if e := s.entitled(t, userID); e.GetPlan() != "none" || len(e.GetFeatures()) != 0 || len(e.GetLimits()) != 0 {
		t.Errorf("entitlements = %v", e)
	}
	_, err = s.public.GetCurrentSubscription(as(t.Context(), userID), &subscriptionv1.GetCurrentSubscriptionRequest{})
	_ = refused(t, err, fail.NotFound)

	var all sync.WaitGroup
	for range 4 { // several processes sweep
		all.Go(func() {
			if err := s.sweep(t.Context()); err != nil {
				t.Errorf("sweep: %v", err)
			}
		})
	}
	all.Wait()
	if diff := cmp.Diff([]string{"free CANCELLED", "premium EXPIRED", "free ACTIVE"}, s.states(t, userID)); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
	if e := s.entitled(t, userID); e.GetPlan() != "free" || e.GetEpoch() != 3 {
		t.Errorf("entitlements = %v", e)
	}
	s.buy(t, userID, "lifetime", subscriptionv1.Price_LIFETIME)
	if e := s.entitled(t, userID); e.GetPlan() != "lifetime" || e.GetEndsAt() != nil {
		t.Errorf("for life: %v", e)
	}
}
