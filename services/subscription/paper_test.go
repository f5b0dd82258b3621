package subscription

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/manas360/platform/pkg/fail"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// The paper of an invoice is its owner's, the same each time, in the language
// asked for; a credit note has its own.
func TestInvoicePaper(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.buy(t, userID, "basic", monthly)
	o, err := s.public.ChangeSubscription(as(t.Context(), userID), &subscriptionv1.ChangeSubscriptionRequest{PlanCode: "premium"})
	if err != nil {
		t.Fatal(err)
	}
	s.settleUp(t, userID, o.GetPayment(), succeeded)
	deliver(t, s.payment, s.heard(t, userID, o.GetPayment(), paymentv1.Payment_PARTIALLY_REFUNDED, 10000))
	list, err := s.public.ListInvoices(as(t.Context(), userID), &subscriptionv1.ListInvoicesRequest{})
	if err != nil || len(list.GetInvoices()) != 3 {
		t.Fatalf("invoices = %v, %v", list, err)
	}
	for _, inv := range list.GetInvoices() {
		drawn := map[string][]byte{}
		for _, lang := range []string{"en-IN", "hi", "en-IN"} {
			ctx := metadata.AppendToOutgoingContext(as(t.Context(), userID), "accept-language", lang)
			r, err := s.public.GetInvoicePdf(ctx, &subscriptionv1.GetInvoicePdfRequest{Id: inv.GetId()})
			if err != nil {
				t.Fatalf("%s: %v", inv.GetNumber(), err)
			}
			pdf := r.GetPdf().GetData()
			if r.GetPdf().GetContentType() != "application/pdf" || !bytes.HasPrefix(pdf, []byte("%PDF-")) {
				t.Errorf("%s: %s, %q", inv.GetNumber(), r.GetPdf().GetContentType(), pdf[:min(8, len(pdf))])
			}
			if before := drawn[lang]; before != nil && !bytes.Equal(before, pdf) {
				t.Errorf("%s: another paper the second time", inv.GetNumber())
			}
			drawn[lang] = pdf
		}
		if bytes.Equal(drawn["hi"], drawn["en-IN"]) {
			t.Errorf("%s: Hindi is English", inv.GetNumber())
		}
	}
	_, err = s.public.GetInvoicePdf(as(t.Context(), s.member(t)), &subscriptionv1.GetInvoicePdfRequest{Id: list.GetInvoices()[0].GetId()})
	_ = refused(t, err, fail.NotFound)
}
