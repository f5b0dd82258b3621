package money

import (
	"strings"
	"testing"
)

// TestCompareFindsEveryLie: a rig that cannot fail would prove nothing.
func TestCompareFindsEveryLie(t *testing.T) {
	took := func(order string, minor int64) movement {
		return movement{MerchantOrderID: order, Kind: captured, AmountMinor: minor}
	}
	booked := func(order string, minor int64) entry {
		return entry{Ref: capturePrefix + order, Kind: captureJournal, Minor: minor}
	}
	back := movement{MerchantOrderID: "A", Kind: refunded, AmountMinor: 40}
	for _, c := range []struct {
		name string
		bank []movement
		book []entry
		want string // empty: the books are right
	}{
		{"right", []movement{took("A", 100), took("B", 7), back}, []entry{booked("B", 7), booked("A", 100), {"refund:R", "refund", -40}}, ""},
		{"lost", []movement{took("A", 100), took("B", 7)}, []entry{booked("A", 100)}, "B was captured 1 times and booked 0"},
		{"invented", []movement{took("A", 100)}, []entry{booked("A", 100), booked("B", 7)}, "B is booked with 7"},
		{"doubled in the books", []movement{took("A", 100)}, []entry{booked("A", 100), booked("A", 100)}, "booked 2 times"},
		{"doubled at the bank", []movement{took("A", 100), took("A", 100)}, []entry{booked("A", 100)}, "captured 2 times"},
		{"a paisa", []movement{took("A", 100)}, []entry{booked("A", 99)}, "A is booked with 99"},
		{"two lies with the right sum", []movement{took("A", 100), took("B", 7)}, []entry{booked("A", 99), booked("B", 8)}, "A is booked with 99"},
		{"refund lost", []movement{took("A", 100), back}, []entry{booked("A", 100)}, "refunds at the bank (1) and in the books (0)"},
		{"refund doubled", []movement{took("A", 100), back, back}, []entry{booked("A", 100), {"refund:R", "refund", -80}}, "refunds at the bank (2)"},
		{"a dispute", []movement{took("A", 100), {Kind: "CHARGEBACK"}}, []entry{booked("A", 100)}, "CHARGEBACK nobody asked for"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rep Report
			compare(&rep, c.bank, c.book)
			said := strings.Join(rep.Wrong, "\n")
			if c.want == "" && said != "" || !strings.Contains(said, c.want) {
				t.Errorf("it says %q, want %q", said, c.want)
			}
		})
	}
}
