package subscription

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

const (
	monthly   = subscriptionv1.Price_MONTHLY
	yearly    = subscriptionv1.Price_YEARLY
	succeeded = paymentv1.Payment_SUCCEEDED
)

// heard is payment's event of an order's payment, whatever the order is.
func (s *stand) heard(t *testing.T, userID uuid.UUID, p *subscriptionv1.CheckoutResponse_Payment, state paymentv1.Payment_State, refunded int64) *eventv1.Event {
	t.Helper()
	payID, err := id.Parse("pay", p.GetId())
	if err != nil {
		t.Fatal(err)
	}
	var orderID string
	s.money.set(func(f *fakePayment) {
		for key, known := range f.payments {
			if known.GetId() == p.GetId() {
				orderID = key
				known.State = state
			}
		}
	})
	m := &paymentv1.PaymentStateChanged{
		PaymentId: payID[:], RequestId: []byte(orderID), UserId: userID[:], State: state, Version: 2,
		Amount: p.GetAmount(), PaidAt: timestamppb.New(s.clock.now()),
	}
	if refunded > 0 {
		m.RefundedAmount = &typev1.Money{CurrencyCode: "INR", AmountMinor: refunded}
	}
	return event(t, m)
}

func (s *stand) settleUp(t *testing.T, userID uuid.UUID, p *subscriptionv1.CheckoutResponse_Payment, state paymentv1.Payment_State) {
	t.Helper()
	if got := deliver(t, s.payment, s.heard(t, userID, p, state, 0)); got != eventv1.DeliverResponse_Result_APPLIED {
		t.Fatalf("payment %s: %s", state, got)
	}
}

func (s *stand) current(t *testing.T, userID uuid.UUID) *subscriptionv1.Subscription {
	t.Helper()
	r, err := s.public.GetCurrentSubscription(as(t.Context(), userID), &subscriptionv1.GetCurrentSubscriptionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return r.GetSubscription()
}

func (s *stand) previewed(t *testing.T, userID uuid.UUID, plan, coupon string) *subscriptionv1.Preview {
	t.Helper()
	r, err := s.public.PreviewChange(as(t.Context(), userID), &subscriptionv1.PreviewChangeRequest{PlanCode: plan, Cycle: monthly, CouponCode: coupon})
	if err != nil {
		t.Fatalf("preview: %v", err)
	}
	p := r.GetPreview()
	var sum int64
	for _, l := range p.GetLines() {
		sum += l.GetAmount().GetAmountMinor()
	}
	if p.GetKind() != subscriptionv1.Preview_DOWNGRADE && sum != p.GetTotal().GetAmountMinor() {
		t.Errorf("lines add up to %d, total %d: %v", sum, p.GetTotal().GetAmountMinor(), p)
	}
	tax := p.GetTax()
	if tax.GetCgst().GetAmountMinor() != tax.GetSgst().GetAmountMinor() {
		t.Errorf("CGST and SGST differ: %v", tax)
	}
	return p
}

func (s *stand) sweepNow(t *testing.T) {
	t.Helper()
	if err := s.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// notices gives the templates asked of auth for a user, in order.
func (s *stand) notices(t *testing.T, userID uuid.UUID) []string {
	t.Helper()
	var out []string
	for _, n := range told(t, s, "auth", func() *authv1.NoticeRequested { return &authv1.NoticeRequested{} }) {
		if string(n.GetUserId()) == string(userID[:]) {
			out = append(out, n.GetTemplate())
		}
	}
	return out
}

func (s *stand) exec(t *testing.T, sql string, a ...any) {
	t.Helper()
	if _, err := s.db.Pool.Exec(t.Context(), sql, a...); err != nil {
		t.Fatal(err)
	}
}

// An upgrade is paid at once, against the credit of what is unused, and charges
// what was previewed.
func TestUpgradeWithCredit(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.buy(t, userID, "basic", monthly)
	basic := s.current(t, userID)
	s.clock.move(15 * 24 * time.Hour) // of 30
	p := s.previewed(t, userID, "premium", "")
	if p.GetKind() != subscriptionv1.Preview_UPGRADE || p.GetCredit().GetAmountMinor() != 24950 || p.GetTotal().GetAmountMinor() != 149900-24950 {
		t.Fatalf("preview = %v", p)
	}
	_, err := s.public.ChangeSubscription(as(t.Context(), userID), &subscriptionv1.ChangeSubscriptionRequest{PlanCode: "premium", PreviewHash: "another"})
	_ = refused(t, err, fail.PreconditionFailed)
	o, err := s.public.ChangeSubscription(as(t.Context(), userID), &subscriptionv1.ChangeSubscriptionRequest{PlanCode: "premium", PreviewHash: p.GetPreviewHash()})
	if err != nil {
		t.Fatal(err)
	}
	if o.GetPayment().GetAmount().GetAmountMinor() != p.GetTotal().GetAmountMinor() || o.GetSubscription().GetState() != subscriptionv1.Subscription_PENDING {
		t.Errorf("charged %v, previewed %v", o, p.GetTotal())
	}
	if s.current(t, userID).GetPlanCode() != "basic" {
		t.Error("changed before it was paid")
	}
	s.settleUp(t, userID, o.GetPayment(), succeeded)
	now := s.current(t, userID)
	if now.GetPlanCode() != "premium" || !now.GetCurrentPeriodStart().AsTime().Equal(s.clock.now()) {
		t.Errorf("current = %v", now)
	}
	if diff := cmp.Diff([]string{"free CANCELLED", "basic CANCELLED", "premium ACTIVE"}, s.states(t, userID)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	inv := texts(t, s.db, `SELECT total_minor || ' ' || credit_minor || ' ' || jsonb_array_length(lines) || ' ' || (hash IS NOT NULL)
	  FROM subscription.invoice WHERE state = 'PAID' ORDER BY number`)
	if diff := cmp.Diff([]string{"49900 0 1 true", "124950 24950 2 true"}, inv); diff != "" {
		t.Errorf("invoices (-want +got):\n%s", diff)
	}
	// The whole value of the first month counts for the next change, what was paid and what was credited.
	if p := s.previewed(t, userID, "enterprise", ""); p.GetCredit().GetAmountMinor() != 149900 {
		t.Errorf("credit at once = %v", p.GetCredit())
	}
	_ = basic
}

// A lower plan waits for the end of what is paid; then its price is charged. One
// thing at most is payable for a period. money.md B16
func TestDowngrade(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.buy(t, userID, "premium", monthly)
	end := s.current(t, userID).GetCurrentPeriodEnd().AsTime()
	p := s.previewed(t, userID, "basic", "")
	if p.GetKind() != subscriptionv1.Preview_DOWNGRADE || p.GetTotal().GetAmountMinor() != 0 || !p.GetEffectiveAt().AsTime().Equal(end) {
		t.Errorf("preview = %v", p)
	}
	down := func() error {
		_, err := s.public.ChangeSubscription(as(t.Context(), userID), &subscriptionv1.ChangeSubscriptionRequest{PlanCode: "basic"})
		return err
	}
	if err := down(); err != nil {
		t.Fatal(err)
	}
	_ = refused(t, down(), fail.Conflict) // one is pending
	if got := s.current(t, userID); got.GetPlanCode() != "premium" || got.GetPendingPlanCode() != "basic" {
		t.Errorf("current = %v", got)
	}
	// taken back, and asked for again
	if _, err := s.public.ResumeSubscription(as(t.Context(), userID), &subscriptionv1.ResumeSubscriptionRequest{}); err != nil {
		t.Fatal(err)
	}
	if got := s.current(t, userID); got.PendingPlanCode != nil {
		t.Errorf("current = %v", got)
	}
	if err := down(); err != nil {
		t.Fatal(err)
	}

	s.clock.move(end.Sub(s.clock.now()) - 24*time.Hour)
	o := s.order(t, userID, "premium", monthly) // renews what follows
	if o.GetPayment().GetAmount().GetAmountMinor() != 49900 {
		t.Fatalf("renewal = %v", o)
	}
	again := s.order(t, userID, "premium", monthly)
	if again.GetPayment().GetId() != o.GetPayment().GetId() {
		t.Error("a second charge for the same period: money.md B14")
	}
	_ = refused(t, down(), fail.Conflict)
	s.settleUp(t, userID, o.GetPayment(), succeeded)
	if got := s.current(t, userID); got.GetPlanCode() != "premium" || got.GetPaidUntil().AsTime().Before(end.Add(28*24*time.Hour)) {
		t.Errorf("before the end = %v", got)
	}
	s.clock.move(24 * time.Hour)
	s.sweepNow(t)
	got := s.current(t, userID)
	if got.GetPlanCode() != "basic" || got.GetState() != subscriptionv1.Subscription_ACTIVE || !got.GetCurrentPeriodStart().AsTime().Equal(end) || got.PendingPlanCode != nil {
		t.Errorf("after the end = %v", got)
	}
	if e := s.entitled(t, userID); e.GetPlan() != "basic" {
		t.Errorf("entitlements = %v", e)
	}
}

// Renewed by hand: the anchor is kept, the next period follows the last without
// a gap, each is charged once, and a failed charge is not offered again.
// money.md B1, B8, B21
func TestRenewalByHand(t *testing.T) {
	s := newStand(t)
	s.clock.move(time.Date(2027, 1, 31, 6, 0, 0, 0, time.UTC).Sub(s.clock.now()))
	userID := s.member(t)
	s.buy(t, userID, "premium", monthly)
	for _, want := range []time.Time{
		time.Date(2027, 3, 31, 6, 0, 0, 0, time.UTC), time.Date(2027, 4, 30, 6, 0, 0, 0, time.UTC), time.Date(2027, 5, 31, 6, 0, 0, 0, time.UTC),
	} {
		s.clock.move(s.current(t, userID).GetCurrentPeriodEnd().AsTime().Sub(s.clock.now()) - 3*24*time.Hour)
		s.sweepNow(t)
		first := s.order(t, userID, "premium", monthly)
		s.settleUp(t, userID, first.GetPayment(), paymentv1.Payment_FAILED)
		o := s.order(t, userID, "premium", monthly)
		if o.GetPayment().GetId() == first.GetPayment().GetId() {
			t.Fatal("a failed charge was offered again: money.md B21")
		}
		for range 3 {
			s.settleUp(t, userID, o.GetPayment(), succeeded)
		}
		_, err := s.public.Checkout(as(t.Context(), userID), &subscriptionv1.CheckoutRequest{PlanCode: "premium", Cycle: monthly})
		_ = refused(t, err, fail.Conflict) // paid ahead already
		s.clock.move(3 * 24 * time.Hour)
		if got := s.current(t, userID); !got.GetCurrentPeriodEnd().AsTime().Equal(want) {
			t.Fatalf("period ends %v, want %v", got.GetCurrentPeriodEnd().AsTime(), want)
		}
		s.sweepNow(t)
	}
	periods := texts(t, s.db, `SELECT p.n || ' ' || (lower(p.during) = COALESCE(lag(upper(p.during)) OVER (ORDER BY p.n), lower(p.during)))
	  FROM subscription.subscription_period AS p JOIN subscription.subscription AS s ON s.id = p.subscription_id ORDER BY p.n`)
	if diff := cmp.Diff([]string{"0 true", "1 true", "2 true", "3 true"}, periods); diff != "" {
		t.Errorf("periods (-want +got):\n%s", diff)
	}
	s.clock.move(40 * 24 * time.Hour)
	if e := s.entitled(t, userID); e.GetPlan() != noPlan {
		t.Errorf("over by time, and entitled: %v", e)
	}
	s.sweepNow(t)
	if diff := cmp.Diff([]string{"free CANCELLED", "premium EXPIRED", "free ACTIVE"}, s.states(t, userID)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := s.notices(t, userID); n[len(n)-1] != "subscription_expired" || !slices.Contains(n, "subscription_expiring") || !slices.Contains(n, "payment_failed") {
		t.Errorf("told %v", n)
	}
}

func TestCancelAndResume(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	cancel := func(atEnd *bool) (*subscriptionv1.CancelSubscriptionResponse, error) {
		return s.public.CancelSubscription(as(t.Context(), userID), &subscriptionv1.CancelSubscriptionRequest{AtPeriodEnd: atEnd, Reason: "too dear"})
	}
	_, err := cancel(nil)
	_ = refused(t, err, fail.Conflict) // Free
	s.buy(t, userID, "premium", monthly)
	r, err := cancel(nil)
	if err != nil || !r.GetSubscription().GetCancelAtPeriodEnd() || r.GetSubscription().GetCancelReason() != "too dear" || r.GetSubscription().GetCancelledAt() == nil {
		t.Fatalf("cancel = %v, %v", r, err)
	}
	if e := s.entitled(t, userID); e.GetPlan() != "premium" { // BUG-34
		t.Errorf("paid time was lost: %v", e)
	}
	k, err := s.public.ResumeSubscription(as(t.Context(), userID), &subscriptionv1.ResumeSubscriptionRequest{})
	if err != nil || k.GetSubscription().GetCancelAtPeriodEnd() || k.GetSubscription().GetCancelledAt() != nil {
		t.Fatalf("resume = %v, %v", k, err)
	}
	_, err = s.public.ResumeSubscription(as(t.Context(), userID), &subscriptionv1.ResumeSubscriptionRequest{})
	_ = refused(t, err, fail.Conflict)
	if _, err := cancel(nil); err != nil {
		t.Fatal(err)
	}
	s.clock.move(31 * 24 * time.Hour)
	s.sweepNow(t)
	if diff := cmp.Diff([]string{"free CANCELLED", "premium CANCELLED", "free ACTIVE"}, s.states(t, userID)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.buy(t, userID, "basic", monthly)
	now := false
	if _, err := cancel(&now); err != nil {
		t.Fatal(err)
	}
	if e := s.entitled(t, userID); e.GetPlan() != "free" {
		t.Errorf("entitlements = %v", e)
	}
}

// A pause keeps the paid time; what is paid ahead moves with it.
func TestPause(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.buy(t, userID, "premium", monthly)
	end := s.current(t, userID).GetCurrentPeriodEnd().AsTime()
	s.clock.move(10 * 24 * time.Hour)
	r, err := s.public.PauseSubscription(as(t.Context(), userID), &subscriptionv1.PauseSubscriptionRequest{})
	if err != nil || r.GetSubscription().GetState() != subscriptionv1.Subscription_PAUSED {
		t.Fatalf("pause = %v, %v", r, err)
	}
	if e := s.entitled(t, userID); e.GetPlan() != "free" || slices.Contains(e.GetFeatures(), "premium_themed_rooms") {
		t.Errorf("entitled while paused: %v", e)
	}
	_, err = s.public.ChangeSubscription(as(t.Context(), userID), &subscriptionv1.ChangeSubscriptionRequest{PlanCode: "enterprise", Cycle: monthly})
	_ = refused(t, err, fail.Conflict)
	s.clock.move(50 * 24 * time.Hour)
	s.sweepNow(t)
	if _, err := s.public.ResumeSubscription(as(t.Context(), userID), &subscriptionv1.ResumeSubscriptionRequest{}); err != nil {
		t.Fatal(err)
	}
	got := s.current(t, userID)
	if want := end.Add(50 * 24 * time.Hour); got.GetState() != subscriptionv1.Subscription_ACTIVE || !got.GetCurrentPeriodEnd().AsTime().Equal(want) {
		t.Errorf("resumed until %v, want %v", got.GetCurrentPeriodEnd().AsTime(), want)
	}
	if e := s.entitled(t, userID); e.GetPlan() != "premium" {
		t.Errorf("entitlements = %v", e)
	}
	s.clock.move(s.current(t, userID).GetCurrentPeriodEnd().AsTime().Sub(s.clock.now()) - time.Hour)
	o := s.order(t, userID, "premium", monthly)
	s.settleUp(t, userID, o.GetPayment(), succeeded)
	s.clock.move(2 * time.Hour)
	s.sweepNow(t)
	next := s.current(t, userID)
	if !next.GetCurrentPeriodStart().AsTime().Equal(got.GetCurrentPeriodEnd().AsTime()) {
		t.Errorf("a gap after the pause: %v", next)
	}
	// forgotten, it goes on by itself
	if _, err := s.public.PauseSubscription(as(t.Context(), userID), &subscriptionv1.PauseSubscriptionRequest{}); err != nil {
		t.Fatal(err)
	}
	s.clock.move(91 * 24 * time.Hour)
	s.sweepNow(t)
	if got := s.current(t, userID); got.GetState() != subscriptionv1.Subscription_ACTIVE {
		t.Errorf("after 91 days: %v", got)
	}
}

func TestTrial(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	start := func(plan string) (*subscriptionv1.StartTrialResponse, error) {
		return s.public.StartTrial(as(t.Context(), userID), &subscriptionv1.StartTrialRequest{PlanCode: plan})
	}
	_, err := start("free")
	_ = refused(t, err, fail.InvalidArgument)
	_, err = start("gold")
	_ = refused(t, err, fail.NotFound)
	r, err := start("premium")
	if err != nil {
		t.Fatal(err)
	}
	end := s.clock.now().Add(14 * 24 * time.Hour)
	if sub := r.GetSubscription(); sub.GetState() != subscriptionv1.Subscription_TRIALING || !sub.GetTrialEnd().AsTime().Equal(end) {
		t.Errorf("trial = %v", sub)
	}
	if e := s.entitled(t, userID); e.GetPlan() != "premium" || !e.GetEndsAt().AsTime().Equal(end) {
		t.Errorf("entitlements = %v", e)
	}
	_, err = start("basic")
	_ = refused(t, err, fail.Conflict)
	s.clock.move(14*24*time.Hour - 1)
	s.sweepNow(t)
	if got := s.current(t, userID); got.GetState() != subscriptionv1.Subscription_TRIALING {
		t.Errorf("a nanosecond before: %v", got)
	}
	s.clock.move(1)
	if e := s.entitled(t, userID); e.GetPlan() != noPlan {
		t.Errorf("over by time, and entitled: %v", e)
	}
	s.sweepNow(t)
	if e := s.entitled(t, userID); e.GetPlan() != "free" {
		t.Errorf("entitlements = %v", e)
	}
	_, err = start("premium")
	_ = refused(t, err, fail.Conflict) // once
	if diff := cmp.Diff([]string{"trial_started", "trial_ending", "subscription_expired"}, s.notices(t, userID)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	other := s.member(t)
	if _, err := s.public.StartTrial(as(t.Context(), other), &subscriptionv1.StartTrialRequest{PlanCode: "premium"}); err != nil {
		t.Fatal(err)
	}
	s.buy(t, other, "premium", monthly) // who likes it buys it
	if diff := cmp.Diff([]string{"free CANCELLED", "premium CANCELLED", "premium ACTIVE"}, s.states(t, other)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A coupon is used as often as it may, whatever races, and a whole one asks for
// no payment. money.md B45, B46
func TestCoupons(t *testing.T) {
	s := newStand(t)
	s.exec(t, `INSERT INTO subscription.coupon (code, percent_off, minor_off, plan_codes, valid_from, valid_until, max_redemptions, created_at) VALUES
	  ('HALF', 50, NULL, '{premium}', '2026-01-01', '2099-01-01', 2, '2026-01-01'), ('ALL', 100, NULL, '{}', '2026-01-01', '2099-01-01', 99, '2026-01-01'),
	  ('OLD', NULL, 100, '{}', '2026-01-01', '2026-02-01', 99, '2026-01-01'), ('SOON', 10, NULL, '{}', '2030-01-01', '2099-01-01', 99, '2026-01-01'),
	  ('TEN', NULL, 1000, '{}', '2026-01-01', '2099-01-01', 99, '2026-01-01')`)
	userID := s.member(t)
	buy := func(userID uuid.UUID, plan, code string) (*subscriptionv1.CheckoutResponse, error) {
		return s.public.Checkout(as(t.Context(), userID), &subscriptionv1.CheckoutRequest{PlanCode: plan, Cycle: monthly, CouponCode: code})
	}
	for _, tt := range []struct{ plan, code string }{{"premium", "NONE"}, {"premium", "OLD"}, {"premium", "SOON"}, {"basic", "HALF"}} {
		_, err := buy(userID, tt.plan, tt.code)
		if e := refused(t, err, fail.InvalidArgument); len(e.Fields) != 1 || e.Fields[0].Field != "couponCode" {
			t.Errorf("%s: %v", tt.code, e.Fields)
		}
	}
	if p := s.previewed(t, userID, "basic", "ten"); p.GetTotal().GetAmountMinor() != 48900 {
		t.Errorf("ten off: %v", p)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for range 8 {
		racer := s.member(t)
		all.Go(func() {
			o, err := buy(racer, "premium", "half")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				taken++
				if o.GetPayment().GetAmount().GetAmountMinor() != 74950 {
					t.Errorf("half of it: %v", o.GetPayment())
				}
			} else {
				_ = refused(t, err, fail.InvalidArgument)
			}
		})
	}
	all.Wait()
	if taken != 2 {
		t.Errorf("%d of 8 used a coupon that is good for 2", taken)
	}
	// What was not paid gives its coupon back.
	s.money.set(func(f *fakePayment) {
		for _, p := range f.payments {
			p.State = paymentv1.Payment_EXPIRED
		}
	})
	s.clock.move(openFor)
	s.sweepNow(t)
	if got := texts(t, s.db, `SELECT redeemed::text FROM subscription.coupon WHERE code = 'HALF'`); got[0] != "0" {
		t.Errorf("redeemed %s after nobody paid", got[0])
	}
	requests := len(s.money.requests)
	o, err := buy(userID, "basic", "ALL")
	if err != nil || o.GetPayment() != nil || o.GetSubscription().GetState() != subscriptionv1.Subscription_ACTIVE || len(s.money.requests) != requests {
		t.Errorf("nothing to pay: %v, %v", o, err)
	}
	_, err = buy(userID, "premium", "ALL")
	_ = refused(t, err, fail.InvalidArgument) // once for each
}

// Where the customer lives decides the tax; abroad there is none.
func TestPlaceOfSupply(t *testing.T) {
	s := newStand(t)
	billing := subscriptionv1.NewBillingServiceClient(s.gateway)
	for _, tt := range []struct {
		name             string
		in               *subscriptionv1.PutBillingProfileRequest
		cgst, igst, rate int64
		place            string
	}{
		{"own state", &subscriptionv1.PutBillingProfileRequest{Name: "Asha", State: "29"}, 11433, 0, 127034, "29"},
		{"another state", &subscriptionv1.PutBillingProfileRequest{Name: "Asha", State: "27", Gstin: "27AAPFU0939F1ZV"}, 0, 22866, 127034, "27"},
		{"abroad", &subscriptionv1.PutBillingProfileRequest{Name: "Asha", Country: "AE"}, 0, 0, 149900, "96"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			userID := s.member(t)
			if _, err := billing.PutBillingProfile(as(t.Context(), userID), tt.in); err != nil {
				t.Fatal(err)
			}
			p := s.previewed(t, userID, "premium", "")
			if p.GetTax().GetCgst().GetAmountMinor() != tt.cgst || p.GetTax().GetIgst().GetAmountMinor() != tt.igst {
				t.Errorf("tax = %v", p.GetTax())
			}
			s.buy(t, userID, "premium", monthly)
			list, err := s.public.ListInvoices(as(t.Context(), userID), &subscriptionv1.ListInvoicesRequest{})
			if err != nil {
				t.Fatal(err)
			}
			inv := list.GetInvoices()[0]
			if inv.GetIgst().GetAmountMinor() != tt.igst || inv.GetTaxable().GetAmountMinor() != tt.rate || inv.GetPlaceOfSupply() != tt.place || len(inv.GetHash()) != 64 {
				t.Errorf("invoice = %v", inv)
			}
		})
	}
	for name, in := range map[string]*subscriptionv1.PutBillingProfileRequest{
		"check digit":       {Name: "A", State: "27", Gstin: "27AAPFU0939F1ZX"},
		"of another state":  {Name: "A", State: "29", Gstin: "27AAPFU0939F1ZV"},
		"no state":          {Name: "A", State: "28"},
		"a GSTIN abroad":    {Name: "A", Country: "US", Gstin: "27AAPFU0939F1ZV"},
		"a state abroad":    {Name: "A", Country: "US", State: "29"},
		"nobody":            {},
		"not a GSTIN at al": {Name: "A", State: "27", Gstin: "27"},
	} {
		_, err := billing.PutBillingProfile(as(t.Context(), uuid.New()), in)
		if e, ok := fail.As(err); !ok || e.Kind.Reason != fail.InvalidArgument.Reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Money that went back has a credit note; all notes together take back exactly
// the invoice. money.md B44
func TestCreditNotes(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	o := s.order(t, userID, "premium", monthly)
	s.settleUp(t, userID, o.GetPayment(), succeeded)
	for _, back := range []int64{10000, 10000, 33333, 149900} {
		state := paymentv1.Payment_PARTIALLY_REFUNDED
		if back == 149900 {
			state = paymentv1.Payment_REFUNDED
		}
		deliver(t, s.payment, s.heard(t, userID, o.GetPayment(), state, back))
	}
	got := texts(t, s.db, `SELECT number || ' ' || state || ' ' || total_minor || ' ' || (cgst_minor = sgst_minor) FROM subscription.invoice
	  WHERE kind = 'CREDIT_NOTE' ORDER BY number`)
	if diff := cmp.Diff([]string{"CRN/26-27/000001 FINAL 10000 true", "CRN/26-27/000002 FINAL 23333 true", "CRN/26-27/000003 FINAL 116567 true"}, got); diff != "" {
		t.Errorf("credit notes (-want +got):\n%s", diff)
	}
	sums := texts(t, s.db, `SELECT sum(cgst_minor) || ' ' || sum(taxable_minor + round_off_minor) FROM subscription.invoice GROUP BY kind ORDER BY kind`)
	if sums[0] != sums[1] {
		t.Errorf("invoice %s, credit notes %s", sums[1], sums[0])
	}
	if diff := cmp.Diff([]string{"free CANCELLED", "premium CANCELLED", "free ACTIVE"}, s.states(t, userID)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := s.db.Pool.Exec(t.Context(), `UPDATE subscription.invoice SET total_minor = total_minor WHERE true`); err != nil {
		t.Errorf("nothing changed: %v", err)
	}
	if _, err := s.db.Pool.Exec(t.Context(), `UPDATE subscription.invoice SET place_of_supply = '01' WHERE number IS NOT NULL`); err == nil {
		t.Error("a final document was changed")
	}
}

// Upgrade, cancellation and the webhook race: one row is live, one is paid for.
func TestOneLiveWhateverRaces(t *testing.T) {
	s := newStand(t)
	for i := range 12 {
		userID := s.member(t)
		s.buy(t, userID, "basic", monthly)
		o, err := s.public.ChangeSubscription(as(t.Context(), userID), &subscriptionv1.ChangeSubscriptionRequest{PlanCode: "premium", Cycle: monthly})
		if err != nil {
			t.Fatal(err)
		}
		other := s.order(t, userID, "enterprise", monthly)
		var all sync.WaitGroup
		all.Go(func() { deliver(t, s.payment, s.heard(t, userID, o.GetPayment(), succeeded, 0)) })
		all.Go(func() { deliver(t, s.payment, s.heard(t, userID, other.GetPayment(), succeeded, 0)) })
		all.Go(func() {
			now := i%2 == 0
			_, _ = s.public.CancelSubscription(as(t.Context(), userID), &subscriptionv1.CancelSubscriptionRequest{AtPeriodEnd: &now}) // whoever wins
		})
		all.Wait()
		if n := texts(t, s.db, fmt.Sprintf(`SELECT count(*)::text FROM subscription.subscription WHERE user_id = '%s'
		  AND state IN ('TRIALING', 'ACTIVE', 'PAST_DUE', 'GRACE', 'PAUSED')`, userID)); n[0] != "1" {
			t.Fatalf("%s live", n[0])
		}
		// Each payment either bought something or goes back.
		n := texts(t, s.db, fmt.Sprintf(`SELECT ((SELECT count(*) FROM subscription.invoice WHERE user_id = '%[1]s' AND state = 'PAID') +
		  (SELECT count(*) FROM subscription.subscription AS s WHERE s.user_id = '%[1]s' AND s.state = 'CANCELLED' AND s.anchor IS NULL))::text`, userID))
		if n[0] != "3" {
			t.Errorf("round %d: %s of 3 payments are accounted for: %v", i, n[0], s.states(t, userID))
		}
	}
}

// Fewer seats than are in use are no plan to go down to.
func TestDowngradeBelowSeats(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.buy(t, userID, "enterprise", monthly)
	down := func(to string) error {
		_, err := s.public.ChangeSubscription(as(t.Context(), userID), &subscriptionv1.ChangeSubscriptionRequest{PlanCode: to})
		return err
	}
	s.chairs.used.Store(11)
	if e := refused(t, down("premium"), fail.Conflict); e.Meta["limit"] != "10" || e.Meta["used"] != "11" {
		t.Errorf("metadata = %v", e.Meta)
	}
	s.chairs.used.Store(10)
	if err := down("premium"); err != nil {
		t.Fatal(err)
	}
}

// An order from before there were drafts is honoured as it was placed.
func TestOrderOfBefore(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	o := s.order(t, userID, "premium", monthly)
	s.exec(t, `DELETE FROM subscription.charge`)
	s.exec(t, `DELETE FROM subscription.invoice`)
	if again := s.order(t, userID, "premium", monthly); again.GetPayment().GetId() != o.GetPayment().GetId() {
		t.Error("another order")
	}
	s.settleUp(t, userID, o.GetPayment(), succeeded)
	if e := s.entitled(t, userID); e.GetPlan() != "premium" {
		t.Errorf("entitlements = %v", e)
	}
	if n := texts(t, s.db, `SELECT number || ' ' || total_minor FROM subscription.invoice`); n[0] != "INV/26-27/000001 149900" {
		t.Errorf("invoice = %v", n)
	}
}
