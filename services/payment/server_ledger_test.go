package payment

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	"github.com/manas360/platform/pkg/token"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

// TestLedgerPeers asks for payouts as admin does, and as those who must not.
func TestLedgerPeers(t *testing.T) {
	r := newRig(t)
	g, err := rpc.NewServer(rpc.ServerConfig{Process: rpctest.Process(t, "payment")})
	if err != nil {
		t.Fatal(err)
	}
	r.Register(g)
	addr := rpctest.Serve(t, g)
	as := func(name string) paymentv1.LedgerInternalServiceClient {
		return paymentv1.NewLedgerInternalServiceClient(rpctest.Dial(t, name, "payment", addr))
	}
	who := func(permission string, amr ...string) context.Context {
		return token.NewContext(t.Context(), &token.Caller{UserID: uuid.New(), Permissions: []string{permission}, AMR: amr})
	}
	maker, checker := who("payments.payout", "pwd", "otp"), who("payments.payout", "pwd", "otp")
	b := uuid.New()
	p := r.sold(b, "", 100_000, 18_000)
	if out, err := as("subscription").ReleaseEarnings(t.Context(), &paymentv1.ReleaseEarningsRequest{PaymentId: p.ID[:]}); err != nil || out.GetAmount().GetAmountMinor() != 60_000 {
		t.Fatalf("release: %v, %v", out, err)
	}
	admin := as("admin")
	ask := &paymentv1.RequestPayoutRequest{BeneficiaryId: id.Format("usr", b), Reason: "monthly payout of sessions"}
	for name, call := range map[string]func() error{
		"without the permission": func() error {
			_, err := admin.RequestPayout(who("payments.manage", "pwd", "otp"), ask)
			return err
		},
		"by subscription": func() error { _, err := as("subscription").RequestPayout(maker, ask); return err },
		"released by admin": func() error {
			_, err := admin.ReleaseEarnings(maker, &paymentv1.ReleaseEarningsRequest{PaymentId: p.ID[:]})
			return err
		},
		"exported by the gateway": func() error {
			_, err := as("gateway").ExportLedger(t.Context(), &paymentv1.ExportLedgerRequest{})
			return err
		},
		"verified by admin": func() error {
			_, err := admin.VerifyLedger(maker, &paymentv1.VerifyLedgerRequest{})
			return err
		},
	} {
		if err := call(); !fail.Is(err, fail.PermissionDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := admin.RequestPayout(who("payments.payout", "pwd"), ask); !fail.Is(err, fail.MFARequired) {
		t.Errorf("without a second factor: %v", err)
	}
	short := &paymentv1.RequestPayoutRequest{BeneficiaryId: ask.GetBeneficiaryId(), Reason: "because"}
	if _, err := admin.RequestPayout(maker, short); !fail.Is(err, fail.InvalidArgument) {
		t.Errorf("without a reason: %v", err)
	}
	made, err := admin.RequestPayout(maker, ask)
	if err != nil || made.GetPayout().GetState() != paymentv1.Payout_PENDING || len(made.GetPayout().GetItems()) != 1 {
		t.Fatalf("request: %v, %v", made, err)
	}
	approve := &paymentv1.ApprovePayoutRequest{Id: made.GetPayout().GetId(), Reason: "sessions were checked"}
	if _, err := admin.ApprovePayout(maker, approve); !fail.Is(err, fail.PermissionDenied) {
		t.Errorf("approved by its maker: %v", err)
	}
	if out, err := admin.ApprovePayout(checker, approve); err != nil || out.GetPayout().GetState() != paymentv1.Payout_PROCESSING {
		t.Errorf("approve: %v, %v", out, err)
	}
	done, err := admin.CompletePayout(maker, &paymentv1.CompletePayoutRequest{Id: approve.GetId(), Reason: "seen on the statement", BankReference: "UTR1"})
	if err != nil || done.GetPayout().GetBankReference() != "UTR1" {
		t.Errorf("complete: %v, %v", done, err)
	}
	list, err := admin.ListPayouts(maker, &paymentv1.ListPayoutsRequest{BeneficiaryId: ask.GetBeneficiaryId(), State: paymentv1.Payout_COMPLETED, PageSize: 1})
	if err != nil || len(list.GetPayouts()) != 1 || list.GetNextPageToken() != "" {
		t.Errorf("list: %v, %v", list, err)
	}
	r.sealAll()
	if v, err := as("manasctl").VerifyLedger(t.Context(), &paymentv1.VerifyLedgerRequest{}); err != nil || v.GetJournals() != 4 || len(v.GetProblems()) != 0 || len(v.GetHead()) != 64 {
		t.Errorf("verify: %v, %v", v, err)
	}
	if x, err := as("manasctl").ExportLedger(t.Context(), &paymentv1.ExportLedgerRequest{}); err != nil || len(x.GetText()) == 0 || x.GetNextPageToken() != "" {
		t.Errorf("export: %v, %v", x, err)
	}
}
