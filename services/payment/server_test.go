package payment

import (
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	"github.com/manas360/platform/pkg/token"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

// TestPeers speaks to the service as its siblings do, over mTLS.
func TestPeers(t *testing.T) {
	r := newRig(t)
	g, err := rpc.NewServer(rpc.ServerConfig{Process: rpctest.Process(t, "payment")})
	if err != nil {
		t.Fatal(err)
	}
	r.Register(g)
	addr := rpctest.Serve(t, g)
	internal := func(as string) paymentv1.PaymentInternalServiceClient {
		return paymentv1.NewPaymentInternalServiceClient(rpctest.Dial(t, as, "payment", addr))
	}
	user, orderID := uuid.New(), uuid.New()
	create := &paymentv1.CreatePaymentRequest{
		RequestId: orderID[:], UserId: user[:], Purpose: "subscription", ProductCode: "premium",
		Amount: &typev1.Money{CurrencyCode: "INR", AmountMinor: price},
		Tax:    &typev1.TaxBreakdown{TaxableMinor: 25338, CgstMinor: 2281, SgstMinor: 2281},
	}
	made, err := internal("subscription").CreatePayment(t.Context(), create)
	if err != nil || made.GetPayment().GetState() != paymentv1.Payment_PENDING || made.GetPayment().GetRedirectUrl() == "" || made.GetPayment().GetProvider() != "phonepe" {
		t.Fatalf("create: %v %v", made, err)
	}
	receive := &paymentv1.ReceiveEventRequest{
		Provider: "phonepe", Headers: signed(), Body: claims(completed, made.GetPayment().GetMerchantOrderId(), "COMPLETED", price),
	}
	gateway := internal("gateway")
	for want := range 2 {
		got, err := gateway.ReceiveEvent(t.Context(), receive)
		if err != nil || got.GetDuplicate() != (want == 1) {
			t.Errorf("receive: %v %v", got, err)
		}
	}
	public := paymentv1.NewPaymentServiceClient(rpctest.Dial(t, "gateway", "payment", addr))
	admin := &token.Caller{UserID: uuid.New(), Permissions: []string{"users.manage"}, AMR: []string{"pwd", "otp"}}
	for name, call := range map[string]struct {
		ask  func(opts ...grpc.CallOption) error
		want fail.Kind
	}{
		"the gateway opens a payment": {func(o ...grpc.CallOption) error {
			_, err := gateway.CreatePayment(t.Context(), create, o...)
			return err
		}, fail.PermissionDenied},
		"auth delivers a callback": {func(o ...grpc.CallOption) error {
			_, err := internal("auth").ReceiveEvent(t.Context(), receive, o...)
			return err
		}, fail.PermissionDenied},
		"a forged callback": {func(o ...grpc.CallOption) error {
			_, err := gateway.ReceiveEvent(t.Context(), &paymentv1.ReceiveEventRequest{Provider: "phonepe", Body: receive.GetBody()}, o...)
			return err
		}, fail.InvalidSignature},
		"nobody lists payments": {func(o ...grpc.CallOption) error {
			_, err := public.ListPayments(t.Context(), &paymentv1.ListPaymentsRequest{}, o...)
			return err
		}, fail.Unauthenticated},
		"a user without the permission": {func(o ...grpc.CallOption) error {
			_, err := public.ListPayments(token.NewContext(t.Context(), &token.Caller{UserID: user}), &paymentv1.ListPaymentsRequest{}, o...)
			return err
		}, fail.PermissionDenied},
	} {
		if err := call.ask(); !fail.Is(err, call.want) {
			t.Errorf("%s: %v, want %s", name, err, call.want.Reason)
		}
	}
	list, err := internal("admin").ListUserPayments(token.NewContext(t.Context(), admin), &paymentv1.ListUserPaymentsRequest{UserId: user[:]})
	if err != nil || len(list.GetPayments()) != 1 {
		t.Errorf("admin: %v %v", list, err)
	}
}
