package payment

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Razorpay's settlement is read to its last page, and a line that is not
// understood refuses the whole day.
func TestRazorpaySettlements(t *testing.T) {
	item := func(no int, kind string, debit, credit, amount, fee, tax int64) string {
		return fmt.Sprintf(`{"entity_id":"pay_%d","type":%q,"debit":%d,"credit":%d,"amount":%d,"fee":%d,"tax":%d,"currency":"INR","created_at":1780000000,"settled_at":1780080000,"settlement_id":"setl_1","settlement_utr":"U1","order_receipt":"P%d-1"}`,
			no, kind, debit, credit, amount, fee, tax, no)
	}
	all := make([]string, 0, 1003)
	for no := range 1000 {
		all = append(all, item(no, "payment", 0, 97, 100, 3, 1))
	}
	all = append(all, item(1000, "refund", 100, 0, 100, 0, 0), item(1001, "adjustment", 100, 0, 100, 0, 0), item(1002, "adjustment", 0, 100, 100, 0, 0))
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		skip, _ := strconv.Atoi(r.URL.Query().Get("skip"))
		page := all[min(skip, len(all)):min(skip+1000, len(all))]
		_, _ = fmt.Fprintf(w, `{"entity":"collection","count":%d,"items":[%s]}`, len(page), strings.Join(page, ","))
	}))
	t.Cleanup(srv.Close)
	c := newRazorpay(Razorpay{BaseURL: srv.URL, KeyID: "rzp_test_1", KeySecret: "secret"}, time.Now, newMetrics().calls)
	lines, err := c.settlements(t.Context(), time.Date(2026, 5, 28, 0, 0, 0, 0, time.UTC))
	if err != nil || len(lines) != 1003 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	want := settlementLine{
		Provider: "razorpay", TransactionID: "pay_7", SettlementID: "setl_1", UTR: "U1", MerchantOrderID: "P7-1", Kind: "CAPTURE",
		AmountMinor: 100, FeeMinor: 2, TaxMinor: 1, NetMinor: 97, Currency: "INR",
		MovedAt: time.Unix(1780000000, 0).UTC(), SettledAt: time.Unix(1780080000, 0).UTC(),
	}
	if d := cmp.Diff(want, lines[7]); d != "" {
		t.Error(d)
	}
	kinds := []string{lines[1000].Kind, lines[1001].Kind, lines[1002].Kind}
	if d := cmp.Diff([]string{"REFUND", "CHARGEBACK", "CHARGEBACK_REVERSED"}, kinds); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"year=2026&month=5&day=28&count=1000&skip=0", "year=2026&month=5&day=28&count=1000&skip=1000"}, asked); d != "" {
		t.Error(d)
	}
	all = append(all, item(1003, "transfer", 100, 0, 100, 0, 0))
	if _, err := c.settlements(t.Context(), time.Date(2026, 5, 28, 0, 0, 0, 0, time.UTC)); err == nil {
		t.Error("a line that nobody understands was passed over")
	}
}
