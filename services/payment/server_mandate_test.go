package payment

import (
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	"github.com/manas360/platform/pkg/token"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

// TestMandatePeers speaks to the service as subscription and the gateway do.
func TestMandatePeers(t *testing.T) {
	r := newRig(t)
	g, err := rpc.NewServer(rpc.ServerConfig{Process: rpctest.Process(t, "payment")})
	if err != nil {
		t.Fatal(err)
	}
	r.Register(g)
	addr := rpctest.Serve(t, g)
	internal := func(as string) paymentv1.MandateInternalServiceClient {
		return paymentv1.NewMandateInternalServiceClient(rpctest.Dial(t, as, "payment", addr))
	}
	user, orderID, cycleID := uuid.New(), uuid.New(), uuid.New()
	amount := &typev1.Money{CurrencyCode: "INR", AmountMinor: price}
	tax := &typev1.TaxBreakdown{TaxableMinor: 25338, CgstMinor: 2281, SgstMinor: 2281}
	setUp := &paymentv1.SetUpMandateRequest{
		RequestId: orderID[:], UserId: user[:], ProductCode: "premium", Amount: amount, Tax: tax,
		MaxAmount: amount, AmountType: paymentv1.Mandate_FIXED, Frequency: paymentv1.Mandate_MONTHLY,
	}
	made, err := internal("subscription").SetUpMandate(t.Context(), setUp)
	if err != nil || made.GetPayment().GetRedirectUrl() == "" || made.GetMandate().GetState() != paymentv1.Mandate_PENDING {
		t.Fatalf("set up: %v %v", made, err)
	}
	if _, err := internal("gateway").SetUpMandate(t.Context(), setUp); !fail.Is(err, fail.PermissionDenied) {
		t.Errorf("the gateway sets up: %v", err)
	}
	debit := &paymentv1.ScheduleDebitRequest{
		MandateId: made.GetMandateId(), RequestId: cycleID[:], ProductCode: "premium", Amount: amount, Tax: tax, DueAt: timestamppb.New(r.clock()),
	}
	if _, err := internal("subscription").ScheduleDebit(t.Context(), debit); !fail.Is(err, fail.Conflict) {
		t.Errorf("a debit before consent: %v", err)
	}
	m, err := r.mandateOfRequest(t.Context(), orderID)
	if err != nil {
		t.Fatal(err)
	}
	r.bank.consent(m.MerchantRef)
	r.hears("subscription.setup.order.completed", made.GetPayment().GetMerchantOrderId(), m.MerchantRef)
	for range 2 {
		got, err := internal("subscription").ScheduleDebit(t.Context(), debit)
		if err != nil || got.GetCycle() != 1 || got.GetPayment().GetState() != paymentv1.Payment_CREATED {
			t.Errorf("schedule: %v %v", got, err)
		}
	}
	people := paymentv1.NewMandateServiceClient(rpctest.Dial(t, "gateway", "payment", addr))
	me := token.NewContext(t.Context(), &token.Caller{UserID: user, SessionID: uuid.New(), Permissions: []string{"payments.read", "profile.update"}})
	other := token.NewContext(t.Context(), &token.Caller{UserID: uuid.New(), SessionID: uuid.New(), Permissions: []string{"payments.read", "profile.update"}})
	list, err := people.ListMandates(me, &paymentv1.ListMandatesRequest{})
	if err != nil || list.GetTotalSize() != 1 || len(list.GetMandates()) != 1 || list.GetMandates()[0].GetState() != paymentv1.Mandate_ACTIVE {
		t.Fatalf("list: %v %v", list, err)
	}
	name := list.GetMandates()[0].GetId()
	if none, err := people.ListMandates(other, &paymentv1.ListMandatesRequest{}); err != nil || none.GetTotalSize() != 0 {
		t.Errorf("somebody else lists %v %v", none, err)
	}
	for _, id := range []string{name, "mdt_", "pay_x"} {
		if _, err := people.GetMandate(other, &paymentv1.GetMandateRequest{Id: id}); !fail.Is(err, fail.NotFound) {
			t.Errorf("somebody else reads %s: %v", id, err)
		}
		if _, err := people.CancelMandate(other, &paymentv1.CancelMandateRequest{Id: id}); !fail.Is(err, fail.NotFound) {
			t.Errorf("somebody else cancels %s: %v", id, err)
		}
	}
	for range 2 {
		got, err := people.CancelMandate(me, &paymentv1.CancelMandateRequest{Id: name})
		if err != nil || got.GetMandate().GetState() != paymentv1.Mandate_CANCELLED || got.GetMandate().GetCancelRequestedAt() == nil {
			t.Errorf("cancel: %v %v", got, err)
		}
	}
	ended, err := internal("subscription").EndMandate(t.Context(), &paymentv1.EndMandateRequest{MandateId: made.GetMandateId()})
	if err != nil || ended.GetMandate().GetState() != paymentv1.Mandate_CANCELLED {
		t.Errorf("end: %v %v", ended, err)
	}
	r.days(debitGivenUp)
	if r.bank.count("notify") != 0 {
		t.Error("told of a debit after the end")
	}
}
