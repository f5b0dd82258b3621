package sandbox

import "testing"

// A merchant finds a link by the reference, when the answer was lost.
func TestLinksOfAReference(t *testing.T) {
	w := open(t)
	for _, ref := range []string{"P1-1", "P2-1"} {
		if status, got := w.razorpay("POST", "/payment_links", `{"amount":29900,"currency":"INR","reference_id":"`+ref+`"}`); status != 200 {
			t.Fatalf("create: %d %v", status, got)
		}
	}
	for query, want := range map[string]int{"": 2, "?reference_id=P1-1": 1, "?reference_id=P3-1": 0} {
		status, got := w.razorpay("GET", "/payment_links"+query, "")
		list, ok := got["payment_links"].([]any)
		if status != 200 || !ok || len(list) != want {
			t.Errorf("%q: %d %v, want %d", query, status, got, want)
		}
		if want == 1 && text(got, "payment_links", 0, "reference_id") != "P1-1" {
			t.Errorf("%q: %v", query, got)
		}
	}
}
