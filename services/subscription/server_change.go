package subscription

import (
	"context"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/trail"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	"github.com/manas360/platform/services/subscription/lifecycle"
)

func cycleOf(c subscriptionv1.Price_Cycle) string {
	if c == subscriptionv1.Price_CYCLE_UNSPECIFIED {
		return ""
	}
	return c.String()
}

// packOrder is where to pay; nil when there is nothing to pay.
func packOrder(o order) *subscriptionv1.CheckoutResponse_Payment {
	if o.payment == nil {
		return nil
	}
	return &subscriptionv1.CheckoutResponse_Payment{
		Id: id.Format("pay", o.payment.ID), State: o.payment.State, RedirectUrl: o.payment.RedirectURL,
		Amount: money(o.payment.Currency, o.payment.AmountMinor),
	}
}

func (s *publicServer) PreviewChange(ctx context.Context, r *subscriptionv1.PreviewChangeRequest) (*subscriptionv1.PreviewChangeResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	q, err := s.preview(ctx, caller.UserID, wanted{PlanCode: r.GetPlanCode(), Cycle: cycleOf(r.GetCycle()), Coupon: r.GetCouponCode()})
	if err != nil {
		return nil, err
	}
	m, err := packQuote(q)
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.PreviewChangeResponse{Preview: m}, nil
}

func packQuote(q quote) (*subscriptionv1.Preview, error) {
	hash, err := q.hash()
	if err != nil {
		return nil, err
	}
	cur := q.Price.Currency
	m := &subscriptionv1.Preview{
		Subtotal: money(cur, q.Tax.Taxable), Total: money(cur, q.total()), PreviewHash: hash, Credit: money(cur, q.Credit),
		Tax:  &subscriptionv1.Preview_Tax{Cgst: money(cur, q.Tax.CGST), Sgst: money(cur, q.Tax.SGST), Igst: money(cur, q.Tax.IGST)},
		Kind: subscriptionv1.Preview_Kind(subscriptionv1.Preview_Kind_value[q.Kind]), EffectiveAt: timestamppb.New(q.EffectiveAt),
		ValidUntil: timestamppb.New(q.ValidUntil),
	}
	add := func(what string, minor int64, kind subscriptionv1.Preview_Line_Kind) {
		m.Lines = append(m.Lines, &subscriptionv1.Preview_Line{Description: what, Amount: money(cur, minor), Kind: kind})
	}
	for i, net := range q.net() {
		kind := subscriptionv1.Preview_Line_CHARGE
		if i > 0 {
			kind = subscriptionv1.Preview_Line_CREDIT
		}
		add(q.Lines[i].Description, net, kind)
	}
	for _, t := range []struct {
		what  string
		minor int64
		kind  subscriptionv1.Preview_Line_Kind
	}{
		{"CGST", q.Tax.CGST, subscriptionv1.Preview_Line_TAX},
		{"SGST", q.Tax.SGST, subscriptionv1.Preview_Line_TAX},
		{"IGST", q.Tax.IGST, subscriptionv1.Preview_Line_TAX},
		{"Round-off", q.Tax.RoundOff, subscriptionv1.Preview_Line_ROUND_OFF},
	} {
		if t.minor != 0 {
			add(t.what, t.minor, t.kind)
		}
	}
	return m, nil
}

func (s *publicServer) ChangeSubscription(ctx context.Context, r *subscriptionv1.ChangeSubscriptionRequest) (*subscriptionv1.ChangeSubscriptionResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	o, err := s.change(ctx, caller.UserID, wanted{
		PlanCode: r.GetPlanCode(), Cycle: cycleOf(r.GetCycle()), Provider: r.GetProvider(), Coupon: r.GetCouponCode(), PreviewHash: r.GetPreviewHash(),
	})
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.ChangeSubscriptionResponse{Subscription: packSubscription(o.subscription), Payment: packOrder(o)}, nil
}

func (s *publicServer) StartTrial(ctx context.Context, r *subscriptionv1.StartTrialRequest) (*subscriptionv1.StartTrialResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	sub, err := s.startTrial(ctx, caller.UserID, r.GetPlanCode(), r.TestClockId)
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.StartTrialResponse{Subscription: packSubscription(sub)}, nil
}

// wished does what the caller asks of their own subscription.
func (s *publicServer) wished(ctx context.Context, fact lifecycle.Fact, action trail.Action, reason string) (*subscriptionv1.Subscription, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	etag := ""
	if v := metadata.ValueFromIncomingContext(ctx, "if-match"); len(v) > 0 && v[0] != "*" {
		etag = v[0]
	}
	sub, err := s.wish(ctx, caller.UserID, etag, step{fact: fact, action: action, reason: "asked"}, reason)
	if err != nil {
		return nil, err
	}
	return packSubscription(sub), nil
}

func (s *publicServer) CancelSubscription(ctx context.Context, r *subscriptionv1.CancelSubscriptionRequest) (*subscriptionv1.CancelSubscriptionResponse, error) {
	fact, action := cancelling(r.AtPeriodEnd == nil || r.GetAtPeriodEnd())
	m, err := s.wished(ctx, fact, action, r.GetReason())
	return &subscriptionv1.CancelSubscriptionResponse{Subscription: m}, err
}

func (s *publicServer) ResumeSubscription(ctx context.Context, _ *subscriptionv1.ResumeSubscriptionRequest) (*subscriptionv1.ResumeSubscriptionResponse, error) {
	m, err := s.wished(ctx, lifecycle.Keep, trail.SubscriptionCancelWithdrawn, "")
	return &subscriptionv1.ResumeSubscriptionResponse{Subscription: m}, err
}

func (s *publicServer) PauseSubscription(ctx context.Context, _ *subscriptionv1.PauseSubscriptionRequest) (*subscriptionv1.PauseSubscriptionResponse, error) {
	m, err := s.wished(ctx, lifecycle.Pause, trail.SubscriptionPaused, "")
	return &subscriptionv1.PauseSubscriptionResponse{Subscription: m}, err
}

type billingServer struct {
	subscriptionv1.UnimplementedBillingServiceServer
	*Service
}

func (s *billingServer) GetBillingProfile(ctx context.Context, _ *subscriptionv1.GetBillingProfileRequest) (*subscriptionv1.GetBillingProfileResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.ownBilling(ctx, caller.UserID)
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.GetBillingProfileResponse{Profile: packBilling(p)}, nil
}

func (s *billingServer) PutBillingProfile(ctx context.Context, r *subscriptionv1.PutBillingProfileRequest) (*subscriptionv1.PutBillingProfileResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	etag := ""
	if v := metadata.ValueFromIncomingContext(ctx, "if-match"); len(v) > 0 && v[0] != "*" {
		etag = v[0]
	}
	p, err := s.putBilling(ctx, caller.UserID, billingProfile{
		Name: r.GetName(), Address: r.GetAddress(), Country: r.GetCountry(), State: r.GetState(), GSTIN: r.GetGstin(),
	}, etag)
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.PutBillingProfileResponse{Profile: packBilling(p)}, nil
}

func packBilling(p billingProfile) *subscriptionv1.BillingProfile {
	return &subscriptionv1.BillingProfile{Name: p.Name, Address: p.Address, Country: p.Country, State: p.State, Gstin: p.GSTIN, Etag: p.etag()}
}

type clockServer struct {
	subscriptionv1.UnimplementedTestClockServiceServer
	*Service
}

// enabled hides test clocks where real people's money moves.
func (s *clockServer) enabled() error {
	if !s.testClocks {
		return fail.New(fail.NotFound, "there are no test clocks here")
	}
	return nil
}

func packClock(c testClock) *subscriptionv1.TestClock {
	m := &subscriptionv1.TestClock{
		Id: c.ID, FrozenAt: timestamppb.New(c.FrozenAt), Status: subscriptionv1.TestClock_READY, Target: stamp(c.Target),
		CreatedAt: timestamppb.New(c.CreatedAt),
	}
	if c.Target != nil {
		m.Status = subscriptionv1.TestClock_ADVANCING
	}
	return m
}

func (s *clockServer) CreateTestClock(ctx context.Context, r *subscriptionv1.CreateTestClockRequest) (*subscriptionv1.CreateTestClockResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.enabled(); err != nil {
		return nil, err
	}
	c, err := s.makeClock(ctx, caller.UserID, r.GetFrozenAt().AsTime())
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.CreateTestClockResponse{TestClock: packClock(c)}, nil
}

func (s *clockServer) GetTestClock(ctx context.Context, r *subscriptionv1.GetTestClockRequest) (*subscriptionv1.GetTestClockResponse, error) {
	if err := s.enabled(); err != nil {
		return nil, err
	}
	c, err := s.knownClock(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.GetTestClockResponse{TestClock: packClock(c)}, nil
}

func (s *clockServer) ListTestClocks(ctx context.Context, r *subscriptionv1.ListTestClocksRequest) (*subscriptionv1.ListTestClocksResponse, error) {
	if err := s.enabled(); err != nil {
		return nil, err
	}
	var before *string
	if r.GetPageToken() != "" {
		before = new(string)
		if err := s.pages.Open("test-clocks", r.GetPageToken(), before); err != nil {
			return nil, err
		}
	}
	size := page.Size(r.GetPageSize())
	list, err := s.clocks(ctx, before, size+1)
	if err != nil {
		return nil, err
	}
	out := &subscriptionv1.ListTestClocksResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal("test-clocks", list[size-1].ID)
	}
	for _, c := range list {
		out.TestClocks = append(out.TestClocks, packClock(c))
	}
	return out, nil
}

func (s *clockServer) AdvanceTestClock(ctx context.Context, r *subscriptionv1.AdvanceTestClockRequest) (*subscriptionv1.AdvanceTestClockResponse, error) {
	if err := s.enabled(); err != nil {
		return nil, err
	}
	c, err := s.advanceClock(ctx, r.GetId(), r.GetTo().AsTime())
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.AdvanceTestClockResponse{TestClock: packClock(c)}, nil
}
