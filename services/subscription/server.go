package subscription

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/token"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

type publicServer struct {
	subscriptionv1.UnimplementedSubscriptionServiceServer
	*Service
}

// planCursor is the place after a plan.
type planCursor struct {
	Tier int32  `json:"t"`
	Code string `json:"c"`
}

func (s *publicServer) ListPlans(ctx context.Context, r *subscriptionv1.ListPlansRequest) (*subscriptionv1.ListPlansResponse, error) {
	var after planCursor
	if r.GetPageToken() != "" {
		if err := s.pages.Open("plans", r.GetPageToken(), &after); err != nil {
			return nil, err
		}
	}
	plans, err := s.catalog.all(ctx)
	if err != nil {
		return nil, err
	}
	size := page.Size(r.GetPageSize())
	out := &subscriptionv1.ListPlansResponse{TotalSize: int32(len(plans))} //nolint:gosec // a catalogue, not a library
	var next *planCursor
	for _, p := range plans {
		if p.Tier < after.Tier || (p.Tier == after.Tier && p.Code <= after.Code) {
			continue
		}
		if len(out.GetPlans()) == size {
			last := out.GetPlans()[size-1]
			next = &planCursor{Tier: last.GetTier(), Code: last.GetCode()}
			break
		}
		out.Plans = append(out.Plans, packPlan(p))
	}
	etag, err := etagOf(out, next != nil)
	if err != nil {
		return nil, err
	}
	if next != nil {
		out.NextPageToken = s.pages.Seal("plans", next)
	}
	if err := grpc.SetHeader(ctx, metadata.Pairs("etag", etag)); err != nil {
		return nil, fmt.Errorf("set etag: %w", err)
	}
	return out, nil
}

// etagOf names a page of the catalogue by its content, before its page token is
// there: a token is another text each time.
func etagOf(m *subscriptionv1.ListPlansResponse, more bool) (string, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode plans: %w", err)
	}
	sum := sha256.Sum256(strconv.AppendBool(b, more))
	return strconv.Quote(base64.RawURLEncoding.EncodeToString(sum[:12])), nil
}

func (s *publicServer) GetCurrentSubscription(ctx context.Context, _ *subscriptionv1.GetCurrentSubscriptionRequest) (*subscriptionv1.GetCurrentSubscriptionResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	sub, err := s.live(ctx, s.db.Pool, caller.UserID)
	if errors.Is(err, errNone) || err == nil && !sub.settled(s.now()) {
		if _, err := s.current(ctx, caller.UserID); err != nil { // makes Free if its event is late
			return nil, err
		}
		sub, err = s.live(ctx, s.db.Pool, caller.UserID)
	}
	if errors.Is(err, errNone) || (err == nil && sub.ended(s.now())) {
		return nil, fail.New(fail.NotFound, "there is no live subscription")
	}
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.GetCurrentSubscriptionResponse{Subscription: packSubscription(sub.shown(s.now()))}, nil
}

func (s *publicServer) ListSubscriptions(ctx context.Context, r *subscriptionv1.ListSubscriptionsRequest) (*subscriptionv1.ListSubscriptionsResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	query := "subscriptions " + caller.UserID.String()
	before, err := s.before(query, r.GetPageToken())
	if err != nil {
		return nil, err
	}
	size := page.Size(r.GetPageSize())
	list, err := s.history(ctx, caller.UserID, before, size+1)
	if err != nil {
		return nil, err
	}
	out := &subscriptionv1.ListSubscriptionsResponse{}
	if out.TotalSize, err = s.countHistory(ctx, caller.UserID); err != nil {
		return nil, err
	}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal(query, list[size-1].ID)
	}
	for _, sub := range list {
		out.Subscriptions = append(out.Subscriptions, packSubscription(sub.shown(s.now())))
	}
	return out, nil
}

func (s *publicServer) Checkout(ctx context.Context, r *subscriptionv1.CheckoutRequest) (*subscriptionv1.CheckoutResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	o, err := s.checkout(ctx, caller.UserID, wanted{
		PlanCode: r.GetPlanCode(), Cycle: cycleOf(r.GetCycle()), Provider: r.GetProvider(), Coupon: r.GetCouponCode(),
		PreviewHash: r.GetPreviewHash(), ClockID: r.TestClockId, AutoRenew: r.GetAutoRenew(),
	})
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.CheckoutResponse{Subscription: packSubscription(o.subscription), Payment: packOrder(o)}, nil
}

func (s *publicServer) GetEntitlements(ctx context.Context, _ *subscriptionv1.GetEntitlementsRequest) (*subscriptionv1.GetEntitlementsResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	e, err := s.current(ctx, caller.UserID)
	if err != nil {
		return nil, err
	}
	m, err := s.packCurrent(ctx, caller.UserID, e)
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.GetEntitlementsResponse{Entitlements: m}, nil
}

func (s *publicServer) ConsumeEntitlement(ctx context.Context, r *subscriptionv1.ConsumeEntitlementRequest) (*subscriptionv1.ConsumeEntitlementResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	amount := int64(1)
	if r.Amount != nil {
		amount = r.GetAmount()
	}
	l, err := s.consume(ctx, caller.UserID, r.GetFeature(), amount)
	if err != nil {
		return nil, err
	}
	out := &subscriptionv1.ConsumeEntitlementResponse{Feature: r.GetFeature(), Allowed: true}
	if l != nil {
		out.Limit = packLimit(*l)
	}
	return out, nil
}

func (s *publicServer) ListInvoices(ctx context.Context, r *subscriptionv1.ListInvoicesRequest) (*subscriptionv1.ListInvoicesResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	query := "invoices " + caller.UserID.String()
	before, err := s.before(query, r.GetPageToken())
	if err != nil {
		return nil, err
	}
	size := page.Size(r.GetPageSize())
	list, err := s.invoices(ctx, caller.UserID, before, size+1)
	if err != nil {
		return nil, err
	}
	out := &subscriptionv1.ListInvoicesResponse{}
	if out.TotalSize, err = s.countInvoices(ctx, caller.UserID); err != nil {
		return nil, err
	}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal(query, list[size-1].ID)
	}
	for _, inv := range list {
		out.Invoices = append(out.Invoices, packInvoice(inv))
	}
	return out, nil
}

func (s *publicServer) GetInvoice(ctx context.Context, r *subscriptionv1.GetInvoiceRequest) (*subscriptionv1.GetInvoiceResponse, error) {
	inv, err := s.ownInvoice(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.GetInvoiceResponse{Invoice: packInvoice(inv)}, nil
}

// ownInvoice reads one of the caller's invoices. Fails with NOT_FOUND.
func (s *publicServer) ownInvoice(ctx context.Context, name string) (invoice, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return invoice{}, err
	}
	missing := fail.New(fail.NotFound, "there is no such invoice")
	invoiceID, err := id.Parse("inv", name)
	if err != nil {
		return invoice{}, missing
	}
	inv, err := s.invoice(ctx, caller.UserID, invoiceID)
	if errors.Is(err, errNone) {
		return inv, missing
	}
	return inv, err
}

// before reads the token of a list that goes by falling id; nil starts it.
func (s *Service) before(query, tok string) (*uuid.UUID, error) {
	if tok == "" {
		return nil, nil //nolint:nilnil // the first page has no cursor
	}
	var u uuid.UUID
	if err := s.pages.Open(query, tok, &u); err != nil {
		return nil, err
	}
	return &u, nil
}

// signedIn is the person behind the request; the rule has seen to it, so its
// absence is a fault of ours, answered as a missing token.
func signedIn(ctx context.Context) (*token.Caller, error) {
	caller, ok := token.FromContext(ctx)
	if !ok || !caller.SignedIn() {
		return nil, fail.New(fail.Unauthenticated, "sign in first")
	}
	return caller, nil
}
