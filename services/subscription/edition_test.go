package subscription

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

// merchant is an operator who decides what is sold.
func merchant(ctx context.Context) context.Context {
	return token.NewContext(ctx, &token.Caller{
		UserID: uuid.New(), SessionID: uuid.New(), Permissions: []string{"pricing.manage", "offers.manage", "subscriptions.manage"},
		AMR: []string{"pwd", "otp"}, RequestID: "req-10",
	})
}

// sells gives one plan as it is sold now.
func (s *stand) sells(t *testing.T, code string) *subscriptionv1.Edition {
	t.Helper()
	r, err := s.shelf.ListEditions(merchant(t.Context()), &subscriptionv1.ListEditionsRequest{PageSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range r.GetEditions() {
		if e.GetCode() == code {
			return e
		}
	}
	t.Fatalf("%s is not in the catalogue", code)
	return nil
}

func (s *stand) publishes(t *testing.T, e *subscriptionv1.Edition) (*subscriptionv1.Edition, error) {
	t.Helper()
	r, err := s.shelf.PublishEdition(merchant(t.Context()), &subscriptionv1.PublishEditionRequest{Edition: e, Etag: e.GetEtag(), Reason: because})
	return r.GetEdition(), err
}

// An edit is a new version for who buys from now on; who has bought keeps plan,
// limits and price, renewals included.
func TestSubscribersKeepTheirVersion(t *testing.T) {
	s := newStand(t)
	old, newcomer := s.member(t), s.member(t)
	s.buy(t, old, "premium", monthly)
	was := s.limitOf(t, old, "api_calls")

	e := s.sells(t, "premium")
	for _, p := range e.GetPrices() {
		p.Amount.AmountMinor *= 2
	}
	for _, f := range e.GetFeatures() {
		if f.GetCode() == "api_calls" {
			f.Limit = n(7)
		}
	}
	e.Name = "Premium of 2027"
	next, err := s.publishes(t, e)
	if err != nil {
		t.Fatal(err)
	}
	if next.GetVersion() != 2 || next.GetEtag() == e.GetEtag() {
		t.Errorf("published = %v", next)
	}
	same, err := s.publishes(t, next)
	if err != nil || same.GetVersion() != 2 {
		t.Errorf("the same again: %v, %v", same, err)
	}
	if p := s.previewed(t, newcomer, "premium", ""); p.GetTotal().GetAmountMinor() != 299800 {
		t.Errorf("a newcomer pays %v", p.GetTotal())
	}
	s.buy(t, newcomer, "premium", monthly)
	if got := s.limitOf(t, newcomer, "api_calls"); got != 7 {
		t.Errorf("a newcomer has %d calls", got)
	}
	if got := s.limitOf(t, old, "api_calls"); got != was {
		t.Errorf("the old subscriber has %d calls, had %d", got, was)
	}
	s.toEnd(t, old, 24*time.Hour) // renewed by hand, at the price of the first day
	if p := s.previewed(t, old, "premium", ""); p.GetKind() != subscriptionv1.Preview_RENEWAL || p.GetTotal().GetAmountMinor() != 149900 {
		t.Errorf("the old subscriber's renewal = %v", p)
	}
	_, err = s.public.PreviewChange(as(t.Context(), old), &subscriptionv1.PreviewChangeRequest{PlanCode: "premium", Cycle: monthly, CouponCode: "ANY"})
	_ = refused(t, err, fail.InvalidArgument)
	if o := s.order(t, old, "premium", monthly); o.GetPayment().GetAmount().GetAmountMinor() != 149900 {
		t.Errorf("the old subscriber is charged %v", o.GetPayment().GetAmount())
	}
	var published []*auditv1.Event
	for _, ev := range told(t, s, "audit", func() *auditv1.Event { return &auditv1.Event{} }) {
		if ev.GetAction() == "plan.published" {
			published = append(published, ev)
		}
	}
	if len(published) != 1 || published[0].GetReason() != because || published[0].GetActor().GetType() != "admin" ||
		published[0].GetTargets()[0].GetId() != "premium" || len(published[0].GetChanges()) != 4 { // version, name, prices, features
		t.Errorf("audit = %v", published)
	}
	versions, err := s.shelf.ListEditions(merchant(t.Context()), &subscriptionv1.ListEditionsRequest{Code: "premium", PageSize: 1})
	if err != nil || versions.GetTotalSize() != 2 || versions.GetEditions()[0].GetVersion() != 2 {
		t.Fatalf("versions = %v, %v", versions, err)
	}
	versions, err = s.shelf.ListEditions(merchant(t.Context()), &subscriptionv1.ListEditionsRequest{Code: "premium", PageSize: 1, PageToken: versions.GetNextPageToken()})
	if err != nil || versions.GetEditions()[0].GetVersion() != 1 || versions.GetEditions()[0].GetPrices()[0].GetAmount().GetAmountMinor() != 149900 || versions.GetNextPageToken() != "" {
		t.Errorf("the first version = %v, %v", versions, err)
	}
}

// A plan that is retired cannot be bought; who has it keeps it. A new one can.
func TestRetireAndIntroduce(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.buy(t, userID, "basic", monthly)
	e := s.sells(t, "basic")
	e.Retired = true
	if _, err := s.publishes(t, e); err != nil {
		t.Fatal(err)
	}
	_, err := s.public.Checkout(as(t.Context(), s.member(t)), &subscriptionv1.CheckoutRequest{PlanCode: "basic", Cycle: monthly})
	_ = refused(t, err, fail.NotFound)
	if got := s.entitled(t, userID); got.GetPlan() != "basic" || !s.has(t, userID, "priority_support") {
		t.Errorf("who has it = %v", got)
	}
	s.toEnd(t, userID, time.Hour)
	if o := s.order(t, userID, "basic", monthly); o.GetPayment().GetAmount().GetAmountMinor() != 49900 {
		t.Errorf("who has it renews for %v", o.GetPayment().GetAmount())
	}
	_, err = s.public.Checkout(as(t.Context(), userID), &subscriptionv1.CheckoutRequest{PlanCode: "basic", Cycle: subscriptionv1.Price_YEARLY})
	_ = refused(t, err, fail.NotFound)
	if _, err := s.publishes(t, &subscriptionv1.Edition{
		Code: "student", Kind: subscriptionv1.Edition_PLAN, Name: "Student", Description: "For who learns.", Tier: 5,
		Prices: []*subscriptionv1.Edition_Price{{
			Cycle: subscriptionv1.Price_QUARTERLY, Amount: &typev1.Money{CurrencyCode: "INR", AmountMinor: 59900},
			TaxMode: subscriptionv1.Price_EXCLUSIVE, TaxCategory: subscriptionv1.Edition_Price_STANDARD_18, SacCode: "999312",
		}},
		Features: []*subscriptionv1.Edition_Feature{
			{Code: "data_export", Kind: subscriptionv1.Edition_Feature_BOOLEAN},
			{Code: "ai_messages", Kind: subscriptionv1.Edition_Feature_METERED, Limit: n(50), Period: subscriptionv1.Edition_Feature_DAY},
		},
	}); err != nil {
		t.Fatal(err)
	}
	student := s.member(t)
	s.buy(t, student, "student", subscriptionv1.Price_QUARTERLY)
	if got := s.limitOf(t, student, "ai_messages"); got != 50 || s.current(t, student).GetCurrentPeriodEnd().AsTime().Month() != s.clock.now().AddDate(0, 3, 0).Month() {
		t.Errorf("a student has %d messages, %v", got, s.current(t, student))
	}
}

func TestEditionRefusals(t *testing.T) {
	s := newStand(t)
	for _, tt := range []struct {
		name, code string
		edit       func(e *subscriptionv1.Edition)
		field      string
	}{
		{"no price", "premium", func(e *subscriptionv1.Edition) { e.Prices = nil }, "edition.prices"},
		{"a price twice", "premium", func(e *subscriptionv1.Edition) { e.Prices = append(e.Prices, e.GetPrices()[0]) }, "prices[1].cycle"},
		{"free for nothing", "premium", func(e *subscriptionv1.Edition) { e.Prices[0].Amount.AmountMinor = 0 }, "prices[0].amount.amountMinor"},
		{"below zero", "premium", func(e *subscriptionv1.Edition) { e.Prices[0].Amount.AmountMinor = -5 }, "prices[0].amount.amountMinor"},
		{"dollars", "premium", func(e *subscriptionv1.Edition) { e.Prices[0].Amount.CurrencyCode = "USD" }, "prices[0].amount.currencyCode"},
		{"Free for money", "free", func(e *subscriptionv1.Edition) { e.Prices[0].Amount.AmountMinor = 500 }, "prices[0].amount.amountMinor"},
		{"Free retired", "free", func(e *subscriptionv1.Edition) { e.Retired = true }, "retired"},
		{"a plan bought once", "premium", func(e *subscriptionv1.Edition) { e.Prices[0].Cycle = subscriptionv1.Price_ONE_TIME }, "prices[0].cycle"},
		{"another kind", "premium", func(e *subscriptionv1.Edition) { e.Kind = subscriptionv1.Edition_PRODUCT }, "kind"},
		{"blank name", "premium", func(e *subscriptionv1.Edition) { e.Name = "  " }, "name"},
		{"no limit", "premium", func(e *subscriptionv1.Edition) {
			e.Features = []*subscriptionv1.Edition_Feature{{Code: "users", Kind: subscriptionv1.Edition_Feature_QUANTITY}}
		}, "features[0].limit"},
		{"a limit of nothing", "premium", func(e *subscriptionv1.Edition) {
			e.Features = []*subscriptionv1.Edition_Feature{{Code: "data_export", Kind: subscriptionv1.Edition_Feature_BOOLEAN, Limit: n(1)}}
		}, "features[0].limit"},
		{"a feature of another kind", "premium", func(e *subscriptionv1.Edition) {
			e.Features = []*subscriptionv1.Edition_Feature{{Code: "data_export", Kind: subscriptionv1.Edition_Feature_QUANTITY, Limit: n(1)}}
		}, "features[0].kind"},
		{"a feature twice", "premium", func(e *subscriptionv1.Edition) { e.Features = append(e.GetFeatures()[:1:1], e.GetFeatures()[0]) }, "features[1].code"},
		{"metered without period", "premium", func(e *subscriptionv1.Edition) {
			e.Features = []*subscriptionv1.Edition_Feature{{Code: "new_thing", Kind: subscriptionv1.Edition_Feature_METERED, Limit: n(1)}}
		}, "features[0].period"},
		{"new without kind", "premium", func(e *subscriptionv1.Edition) { e.Code, e.Kind, e.Etag = "gold", 0, "" }, "kind"},
		{"no SAC", "premium", func(e *subscriptionv1.Edition) { e.Prices[0].SacCode = "12" }, "edition.prices[0].sacCode"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := proto.CloneOf(s.sells(t, tt.code))
			tt.edit(e)
			_, err := s.publishes(t, e)
			got := refused(t, err, fail.InvalidArgument)
			var fields []string
			for _, f := range got.Fields {
				fields = append(fields, f.Field)
			}
			if len(fields) == 0 || fields[0] != tt.field {
				t.Errorf("fields = %v, want %s", fields, tt.field)
			}
			if v := s.sells(t, tt.code).GetVersion(); v != 1 {
				t.Errorf("version %d after a refusal", v)
			}
		})
	}
	e := s.sells(t, "premium")
	e.Etag = `"9"`
	_, err := s.publishes(t, e)
	_ = refused(t, err, fail.PreconditionFailed)
	_, err = s.shelf.ListEditions(merchant(t.Context()), &subscriptionv1.ListEditionsRequest{Code: "gold"})
	_ = refused(t, err, fail.NotFound)
}

// Two who edit at once from the same version: one of them is told.
func TestTwoEdits(t *testing.T) {
	s := newStand(t)
	e := s.sells(t, "premium")
	var (
		mu       sync.Mutex
		won      int
		all      sync.WaitGroup
		unlikely []error
	)
	for i := range 8 {
		mine := proto.CloneOf(e)
		mine.Name = fmt.Sprintf("Premium %d", i)
		all.Go(func() {
			_, err := s.shelf.PublishEdition(merchant(t.Context()), &subscriptionv1.PublishEditionRequest{Edition: mine, Etag: e.GetEtag(), Reason: because})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !fail.Is(err, fail.PreconditionFailed):
				unlikely = append(unlikely, err)
			}
		})
	}
	all.Wait()
	if won != 1 || len(unlikely) > 0 || s.sells(t, "premium").GetVersion() != 2 {
		t.Errorf("%d won, others %v, version %d", won, unlikely, s.sells(t, "premium").GetVersion())
	}
}

func TestCouponsOfOperators(t *testing.T) {
	s := newStand(t)
	create := func(c *subscriptionv1.Coupon) (*subscriptionv1.Coupon, error) {
		r, err := s.shelf.CreateCoupon(merchant(t.Context()), &subscriptionv1.CreateCouponRequest{Coupon: c, Reason: because})
		return r.GetCoupon(), err
	}
	percent := func(v int32) *int32 { return &v }
	if _, err := create(&subscriptionv1.Coupon{Code: "DIWALI", PercentOff: percent(50), PlanCodes: []string{"premium"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := create(&subscriptionv1.Coupon{
		Code: "LESS100", AmountOff: &typev1.Money{CurrencyCode: "INR", AmountMinor: 10000}, Cycles: []subscriptionv1.Price_Cycle{monthly}, MaxRedemptions: percent(5),
	}); err != nil {
		t.Fatal(err)
	}
	userID := s.member(t)
	if p := s.previewed(t, userID, "premium", "diwali"); p.GetTotal().GetAmountMinor() != 74950 {
		t.Errorf("half = %v", p.GetTotal())
	}
	if p := s.previewed(t, userID, "basic", "LESS100"); p.GetTotal().GetAmountMinor() != 39900 {
		t.Errorf("less = %v", p.GetTotal())
	}
	for _, tt := range []struct {
		name  string
		c     *subscriptionv1.Coupon
		kind  fail.Kind
		field string
	}{
		{"again", &subscriptionv1.Coupon{Code: "DIWALI", PercentOff: percent(1)}, fail.Conflict, ""},
		{"neither", &subscriptionv1.Coupon{Code: "NEITHER"}, fail.InvalidArgument, "percentOff"},
		{"both", &subscriptionv1.Coupon{Code: "BOTH", PercentOff: percent(1), AmountOff: &typev1.Money{CurrencyCode: "INR", AmountMinor: 1}}, fail.InvalidArgument, "percentOff"},
		{"nothing off", &subscriptionv1.Coupon{Code: "NOTHING", AmountOff: &typev1.Money{CurrencyCode: "INR"}}, fail.InvalidArgument, "amountOff.amountMinor"},
		{"dollars", &subscriptionv1.Coupon{Code: "DOLLARS", AmountOff: &typev1.Money{CurrencyCode: "USD", AmountMinor: 1}}, fail.InvalidArgument, "amountOff.currencyCode"},
		{"unknown plan", &subscriptionv1.Coupon{Code: "GOLD", PercentOff: percent(1), PlanCodes: []string{"gold"}}, fail.InvalidArgument, "planCodes[0]"},
		{"over", &subscriptionv1.Coupon{Code: "OVER", PercentOff: percent(1), ValidUntil: timestamppb.New(s.clock.now())}, fail.InvalidArgument, "validUntil"},
		{"hostile code", &subscriptionv1.Coupon{Code: "a'; DROP", PercentOff: percent(1)}, fail.InvalidArgument, "coupon.code"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := create(tt.c)
			e := refused(t, err, tt.kind)
			if tt.field != "" && (len(e.Fields) == 0 || e.Fields[0].Field != tt.field) {
				t.Errorf("fields = %v, want %s", e.Fields, tt.field)
			}
		})
	}
	s.clock.move(time.Hour)
	for range 2 { // the same answer when repeated
		r, err := s.shelf.EndCoupon(merchant(t.Context()), &subscriptionv1.EndCouponRequest{Code: "diwali", Reason: because})
		if err != nil || !r.GetCoupon().GetValidUntil().AsTime().Equal(s.clock.now()) {
			t.Errorf("ended = %v, %v", r, err)
		}
	}
	_, err := s.public.PreviewChange(as(t.Context(), userID), &subscriptionv1.PreviewChangeRequest{PlanCode: "premium", Cycle: monthly, CouponCode: "DIWALI"})
	_ = refused(t, err, fail.InvalidArgument)
	_, err = s.shelf.EndCoupon(merchant(t.Context()), &subscriptionv1.EndCouponRequest{Code: "NEVER", Reason: because})
	_ = refused(t, err, fail.NotFound)
	list, err := s.shelf.ListCoupons(merchant(t.Context()), &subscriptionv1.ListCouponsRequest{PageSize: 1})
	if err != nil || list.GetTotalSize() != 2 || list.GetCoupons()[0].GetCode() != "DIWALI" || list.GetNextPageToken() == "" {
		t.Errorf("coupons = %v, %v", list, err)
	}
	var acts []string
	for _, a := range s.actions(t) {
		if a == "coupon.created" || a == "coupon.ended" {
			acts = append(acts, a)
		}
	}
	if diff := cmp.Diff([]string{"coupon.created", "coupon.created", "coupon.ended"}, acts); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}

// What an operator does to a subscription, by its id and version, with the
// reason in the trail. domain.md 6: active, admin pause / resume.
func TestOperatorActs(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	free := s.current(t, userID)
	s.buy(t, userID, "premium", monthly)
	sub := s.current(t, userID)
	ctx := merchant(t.Context())

	_, err := s.acts.OperatorPause(ctx, &subscriptionv1.OperatorPauseRequest{Id: sub.GetId(), Reason: because, Etag: `"1"`})
	_ = refused(t, err, fail.PreconditionFailed)
	paused, err := s.acts.OperatorPause(ctx, &subscriptionv1.OperatorPauseRequest{Id: sub.GetId(), Reason: because, Etag: sub.GetEtag()})
	if err != nil || paused.GetSubscription().GetState() != subscriptionv1.Subscription_PAUSED {
		t.Fatalf("pause = %v, %v", paused, err)
	}
	s.clock.move(10 * 24 * time.Hour)
	resumed, err := s.acts.OperatorResume(ctx, &subscriptionv1.OperatorResumeRequest{Id: sub.GetId(), Reason: because})
	if err != nil || resumed.GetSubscription().GetState() != subscriptionv1.Subscription_ACTIVE {
		t.Fatalf("resume = %v, %v", resumed, err)
	}
	if got := resumed.GetSubscription().GetCurrentPeriodEnd().AsTime().Sub(sub.GetCurrentPeriodEnd().AsTime()); got != 10*24*time.Hour {
		t.Errorf("the pause moved the end by %v", got)
	}
	g, err := s.acts.OperatorGrant(ctx, &subscriptionv1.OperatorGrantRequest{Id: sub.GetId(), Reason: because, Feature: "white_label"})
	if err != nil || !s.has(t, userID, "white_label") || g.GetGrant().GetSource() != subscriptionv1.Grant_OVERRIDE {
		t.Errorf("grant = %v, %v", g, err)
	}
	cancelled, err := s.acts.OperatorCancel(ctx, &subscriptionv1.OperatorCancelRequest{Id: sub.GetId(), Reason: because})
	if err != nil || !cancelled.GetSubscription().GetCancelAtPeriodEnd() || cancelled.GetSubscription().GetCancelReason() != "" {
		t.Errorf("cancel = %v, %v", cancelled, err)
	}
	if _, err = s.acts.OperatorResume(ctx, &subscriptionv1.OperatorResumeRequest{Id: sub.GetId(), Reason: because}); err != nil {
		t.Errorf("take it back: %v", err)
	}
	now := false
	cancelled, err = s.acts.OperatorCancel(ctx, &subscriptionv1.OperatorCancelRequest{Id: sub.GetId(), Reason: because, AtPeriodEnd: &now})
	if err != nil || cancelled.GetSubscription().GetState() != subscriptionv1.Subscription_CANCELLED || s.entitled(t, userID).GetPlan() != "free" {
		t.Errorf("cancel now = %v, %v", cancelled, err)
	}
	for _, tt := range []struct {
		name, subID string
		want        fail.Kind
	}{
		{"over", sub.GetId(), fail.Conflict},
		{"superseded", free.GetId(), fail.Conflict},
		{"unknown", id.Format("sub", uuid.New()), fail.NotFound},
		{"malformed", "sub_?", fail.NotFound},
	} {
		_, err := s.acts.OperatorPause(ctx, &subscriptionv1.OperatorPauseRequest{Id: tt.subID, Reason: because})
		if !fail.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	self := token.NewContext(t.Context(), &token.Caller{
		UserID: userID, SessionID: uuid.New(), Permissions: []string{"subscriptions.manage"}, AMR: []string{"pwd", "otp"},
	})
	_, err = s.acts.OperatorGrant(self, &subscriptionv1.OperatorGrantRequest{Id: sub.GetId(), Reason: because, Feature: "sso_oauth"})
	_ = refused(t, err, fail.PermissionDenied)
	var byOperator []string
	for _, ev := range told(t, s, "audit", func() *auditv1.Event { return &auditv1.Event{} }) {
		if ev.GetActor().GetType() == "admin" && ev.GetReason() == because {
			byOperator = append(byOperator, ev.GetAction())
		}
	}
	if diff := cmp.Diff([]string{
		"subscription.paused", "subscription.resumed", "entitlement.granted", "subscription.cancel_scheduled", "subscription.cancel_withdrawn",
		"subscription.cancelled",
	}, byOperator); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}
