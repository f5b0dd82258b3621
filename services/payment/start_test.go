package payment

import (
	"context"
	"crypto/sha256"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	"github.com/manas360/platform/pkg/token"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

// fakeShop is subscription as payment sees it: one open order for each buyer of
// a thing.
type fakeShop struct {
	subscriptionv1.UnimplementedPurchaseInternalServiceServer

	mu     sync.Mutex // guards below
	closed map[string]bool
	asked  int
}

func (f *fakeShop) PreparePurchase(_ context.Context, r *subscriptionv1.PreparePurchaseRequest) (*subscriptionv1.PreparePurchaseResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if r.GetProductCode() != "track_single" {
		return nil, fail.New(fail.NotFound, "there is no plan %s", r.GetProductCode())
	}
	f.closed[string(r.GetFailedOrderId())] = true
	for no := byte(0); ; no++ {
		sum := sha256.Sum256(append([]byte{no}, r.GetUserId()...))
		if !f.closed[string(sum[:16])] {
			return &subscriptionv1.PreparePurchaseResponse{
				OrderId: sum[:16], Amount: &typev1.Money{CurrencyCode: "INR", AmountMinor: 3000},
				Tax: &typev1.TaxBreakdown{TaxableMinor: 2542, CgstMinor: 229, SgstMinor: 229},
			}, nil
		}
	}
}

func (r *rig) withShop() *fakeShop {
	r.t.Helper()
	shop := &fakeShop{closed: map[string]bool{}}
	g, err := rpc.NewServer(rpc.ServerConfig{Process: rpctest.Process(r.t, "subscription")})
	if err != nil {
		r.t.Fatal(err)
	}
	subscriptionv1.RegisterPurchaseInternalServiceServer(g, shop)
	var conn grpc.ClientConnInterface = rpctest.Dial(r.t, "payment", "subscription", rpctest.Serve(r.t, g))
	r.shop = newShopPeer(conn)
	return shop
}

func (r *rig) startAs(userID uuid.UUID, q *paymentv1.StartPaymentRequest) (*paymentv1.Payment, error) {
	ctx := token.NewContext(r.t.Context(), &token.Caller{UserID: userID, SessionID: uuid.New(), Permissions: []string{"profile.update"}})
	a, err := (&publicServer{Service: r.Service}).StartPayment(ctx, q)
	return a.GetPayment(), err
}

func track() *paymentv1.StartPaymentRequest {
	return &paymentv1.StartPaymentRequest{Purpose: "product", ProductCode: "track_single", Metadata: map[string]string{"screen": "premium_hub"}}
}

// The price is the catalogue's; a repeat, also after a lost answer, finds the
// same payment. money.md B18, B24
func TestStart(t *testing.T) {
	r := newRig(t)
	r.withShop()
	userID := uuid.New()
	r.bank.next("pay", cutAfter) // the order is there, the answer is lost
	if _, err := r.startAs(userID, track()); !fail.Is(err, fail.PaymentProviderUnavailable) {
		t.Fatalf("a lost answer: %v", err)
	}
	var wg sync.WaitGroup
	got := make([]*paymentv1.Payment, 50)
	for i := range got {
		wg.Go(func() {
			p, err := r.startAs(userID, track())
			if err != nil {
				t.Error(err)
			}
			got[i] = p
		})
	}
	wg.Wait()
	for _, p := range got[1:] {
		if p.GetId() != got[0].GetId() {
			t.Fatalf("payments %s and %s of one order", p.GetId(), got[0].GetId())
		}
	}
	if n := r.bank.count("pay"); n != 1 {
		t.Errorf("%d orders at the provider", n)
	}
	p := got[0]
	if p.GetAmount().GetAmountMinor() != 3000 || p.GetPurpose() != "product" || p.GetProductCode() != "track_single" || p.GetProvider() != "phonepe" {
		t.Errorf("payment = %v", p)
	}
	if d := cmp.Diff(map[string]string{"screen": "premium_hub"}, p.GetMetadata()); d != "" {
		t.Error(d)
	}
}

// Paid or failed, the next one is another payment.
func TestStartAgain(t *testing.T) {
	r := newRig(t)
	shop := r.withShop()
	userID := uuid.New()
	first, err := r.startAs(userID, track())
	if err != nil {
		t.Fatal(err)
	}
	r.bank.settle(first.GetMerchantOrderId(), "FAILED")
	if _, err := r.sync(t.Context(), r.byRef(first.GetMerchantOrderId())); err != nil {
		t.Fatal(err)
	}
	next, err := r.startAs(userID, track())
	if err != nil || next.GetId() == first.GetId() || next.GetRedirectUrl() == "" {
		t.Errorf("after a failure: %v, %v", next, err)
	}
	if shop.asked != 3 {
		t.Errorf("subscription was asked %d times, want 3", shop.asked)
	}
	if _, err := r.startAs(userID, &paymentv1.StartPaymentRequest{Purpose: "product", ProductCode: "gold"}); !fail.Is(err, fail.NotFound) {
		t.Errorf("an unknown product: %v", err)
	}
	q := track()
	q.Provider = "barter"
	if _, err := r.startAs(uuid.New(), q); !fail.Is(err, fail.InvalidArgument) {
		t.Errorf("an unknown provider: %v", err)
	}
}

func (r *rig) byRef(ref string) payment {
	r.t.Helper()
	p, _, err := r.orderOf(r.t.Context(), ref)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func TestFindPayment(t *testing.T) {
	r := newRig(t)
	p := r.open(someOrder())
	s := &internalServer{Service: r.Service}
	got, err := s.FindPayment(t.Context(), &paymentv1.FindPaymentRequest{RequestId: p.RequestID[:]})
	if err != nil || got.GetPayment().GetMerchantOrderId() != p.MerchantOrderID {
		t.Errorf("%v, %v", got, err)
	}
	none := uuid.New()
	if _, err := s.FindPayment(t.Context(), &paymentv1.FindPaymentRequest{RequestId: none[:]}); !fail.Is(err, fail.NotFound) {
		t.Errorf("of no order: %v", err)
	}
}
