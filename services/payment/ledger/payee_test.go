package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

var someone = uuid.MustParse("0190a5a0-0000-7000-8000-000000000001")

// money.md B44: shares are rounded once, and nothing is lost between them.
func TestSplitAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		net, bps := rapid.Int64Range(0, 1<<50).Draw(t, "net"), rapid.Int64Range(0, 10_000).Draw(t, "bps")
		theirs, ours, err := Split{Beneficiary: someone, PayeeBPS: bps}.shares(net, "INR")
		if err != nil || theirs+ours != net || theirs < 0 || ours < 0 {
			t.Fatalf("%d + %d of %d, %v", theirs, ours, net, err)
		}
		exact := net/10_000*bps + net%10_000*bps/10_000 // rounded towards nothing
		if theirs != exact && theirs != exact+1 {
			t.Errorf("%d of %d by %d, want %d or one more", theirs, net, bps, exact)
		}
	})
	if theirs, ours, err := (Split{}).shares(7, "INR"); err != nil || theirs != 0 || ours != 7 {
		t.Errorf("nobody gets %d of %d, %v", theirs, ours, err)
	}
	if _, err := Capture("phonepe", "P-1", Total{AmountMinor: 1, TaxableMinor: 1, Currency: "INR", Split: Split{Beneficiary: someone, PayeeBPS: 10_001}}); err == nil {
		t.Error("more than all was shared")
	}
}

func TestTransfers(t *testing.T) {
	id := uuid.MustParse("0190a5a0-0000-7000-8000-000000000002")
	mine, pending := "payee:"+someone.String(), "payee_pending:"+someone.String()
	for _, tt := range []struct {
		ref  string
		make func(minor int64) (Journal, error)
		want []Posting
	}{
		{"release:" + id.String(), func(n int64) (Journal, error) { return Release(id, someone, n, "INR") }, []Posting{{pending, 5}, {mine, -5}}},
		{"payout:" + id.String(), func(n int64) (Journal, error) { return PayoutSent(id, someone, n, "INR") }, []Posting{{mine, 5}, {"payouts_in_transit", -5}}},
		{"payout_done:" + id.String(), func(n int64) (Journal, error) { return PayoutDone(id, n, "INR") }, []Posting{{"payouts_in_transit", 5}, {"bank", -5}}},
		{"payout_failed:" + id.String(), func(n int64) (Journal, error) { return PayoutFailed(id, someone, n, "INR") }, []Posting{{"payouts_in_transit", 5}, {mine, -5}}},
	} {
		j, err := tt.make(5)
		if err != nil || j.Ref != tt.ref || j.Currency != "INR" || j.ID != uuid.NewSHA1(space, []byte(tt.ref)) {
			t.Errorf("%s: %+v, %v", tt.ref, j, err)
		}
		if d := cmp.Diff(tt.want, j.Postings); d != "" {
			t.Errorf("%s: %s", tt.ref, d)
		}
		for _, n := range []int64{0, -1} {
			if _, err := tt.make(n); !errors.Is(err, ErrUnbalanced) {
				t.Errorf("%s of %d: %v", tt.ref, n, err)
			}
		}
	}
	for account, want := range map[string]bool{mine: true, pending: true, "customer_credit:x": true, "payouts_in_transit": false, "bank": false} {
		if Personal(account) != want {
			t.Errorf("%s is personal: %v", account, !want)
		}
	}
}

func someEntry() Entry {
	at := time.Date(2026, 4, 1, 10, 0, 0, 1000, time.UTC)
	return Entry{
		ID: someone, Ref: "capture:P-1", Kind: "capture", PaymentID: uuid.NullUUID{UUID: someone, Valid: true}, OccurredAt: at, PostedAt: at,
		Lines: []Line{{1, "bank", 5, "INR"}, {2, "revenue", -5, "INR"}},
	}
}

// The encoding is frozen: another would break every chain there is.
func TestHashIsFrozen(t *testing.T) {
	const want = "d3856dae2f8948e3bc19789e754052784f232c18e45483d6451b92eb930ad550"
	got := Hash([sha256.Size]byte{1}, 7, someEntry())
	if s := hexed(got); s != want {
		t.Errorf("hash %s, want %s", s, want)
	}
}

func TestHashCoversEverything(t *testing.T) {
	prev := [sha256.Size]byte{1}
	seen := map[[sha256.Size]byte]string{Hash(prev, 7, someEntry()): "as it was", Hash(prev, 8, someEntry()): "number", Hash([sha256.Size]byte{}, 7, someEntry()): "before"}
	changes := map[string]func(*Entry){
		"id":             func(e *Entry) { e.ID[15] ^= 1 },
		"ref":            func(e *Entry) { e.Ref = "capture:P-2" },
		"kind":           func(e *Entry) { e.Kind = "Capture" },
		"text moved":     func(e *Entry) { e.Ref, e.Kind = e.Ref+"c", "apture" },
		"payment":        func(e *Entry) { e.PaymentID.UUID[0] ^= 1 },
		"no payment":     func(e *Entry) { e.PaymentID = uuid.NullUUID{} },
		"occurred":       func(e *Entry) { e.OccurredAt = e.OccurredAt.Add(time.Microsecond) },
		"posted":         func(e *Entry) { e.PostedAt = e.PostedAt.Add(time.Microsecond) },
		"line's number":  func(e *Entry) { e.Lines[0].Seq = 3 },
		"account":        func(e *Entry) { e.Lines[0].Account = "bonk" },
		"amount":         func(e *Entry) { e.Lines[0].AmountMinor = 4 },
		"sign":           func(e *Entry) { e.Lines[0].AmountMinor, e.Lines[1].AmountMinor = -5, 5 },
		"currency":       func(e *Entry) { e.Lines[1].Currency = "INS" },
		"a line less":    func(e *Entry) { e.Lines = e.Lines[:1] },
		"account longer": func(e *Entry) { e.Lines[0].Account = "bank\x00" },
	}
	for name, change := range changes {
		e := someEntry()
		change(&e)
		h := Hash(prev, 7, e)
		if other, ok := seen[h]; ok {
			t.Errorf("%s hashes like %s", name, other)
		}
		seen[h] = name
	}
}

func hexed(h [sha256.Size]byte) string { return hex.EncodeToString(h[:]) }

func TestHledgerText(t *testing.T) {
	e := someEntry()
	e.Ref, e.Lines[0].AmountMinor, e.Lines[1].AmountMinor = "a;b\n|c", 123_456, -123_456
	got := string(AppendEntry(AppendAccounts(nil, []Account{{"gateway_clearing:stripe", "asset"}, {"revenue", "income"}}), e, 9, []byte{0xab}))
	const want = `commodity 1000.00 INR

account gateway_clearing_stripe  ; type: Asset
account revenue  ; type: Revenue

2026-04-01 (9) a_b__c  ; id:0190a5a0-0000-7000-8000-000000000001, seal:ab
    bank  1234.56 INR
    revenue  -1234.56 INR

`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
