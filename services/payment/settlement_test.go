package payment

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/manas360/platform/services/payment/factstate"
)

// settlementHost serves files by day, as the operators' gateway does.
type settlementHost struct {
	*httptest.Server

	mu     sync.Mutex // guards all below
	files  map[string]string
	failed int // answers that say 503 first
	asked  int
}

func newSettlementHost(t *testing.T) *settlementHost {
	t.Helper()
	h := &settlementHost{files: map[string]string{}}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.asked++
		if h.failed > 0 {
			h.failed--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(h.files[r.URL.Query().Get("date")])) // the client has gone
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *settlementHost) put(day time.Time, lines ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files[day.In(india).Format(time.DateOnly)] = strings.Join(lines, "\n") + "\n"
}

func settledLine(txn, ref, kind string, amount, fee, tax, net int64, at time.Time) string {
	return fmt.Sprintf(`{"settlementId":"setl_1","provider":"phonepe","kind":%q,"merchantOrderId":%q,"transactionId":%q,"amountMinor":"%d","feeMinor":"%d","taxMinor":"%d","netMinor":"%d","currency":"INR","at":%q,"settledAt":%q,"utr":"U1"}`,
		kind, ref, txn, amount, fee, tax, net, at.UTC().Format(time.RFC3339Nano), at.UTC().Add(time.Hour).Format(time.RFC3339Nano))
}

// settling is a rig that compares with the host's files.
func settling(t *testing.T) (*rig, *settlementHost) {
	t.Helper()
	r, h := newRig(t), newSettlementHost(t)
	r.settlements = r.settlers(h.URL+"/?date={date}&provider={provider}", h.Client())
	return r, h
}

// compare runs the worker's rounds until nothing is left to do now.
func (r *rig) compare() {
	r.t.Helper()
	ctx := r.t.Context()
	if err := r.expectDays(ctx); err != nil {
		r.t.Fatal(err)
	}
	days, err := r.leaseDays(ctx)
	for ; err == nil && len(days) > 0; days, err = r.leaseDays(ctx) {
		for _, d := range days {
			r.fetchDay(ctx, d)
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	lines, err := r.leaseLines(ctx)
	for ; err == nil && len(lines) > 0; lines, err = r.leaseLines(ctx) {
		for _, l := range lines {
			if err := r.settleLine(ctx, l); err != nil {
				r.t.Log(err)
			}
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) paid() payment {
	r.t.Helper()
	p := r.open(someOrder())
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	if _, err := r.sync(r.t.Context(), p); err != nil {
		r.t.Fatal(err)
	}
	return r.read(p.ID)
}

func (r *rig) lineState(txn string) (state string) {
	r.t.Helper()
	err := r.db.Pool.QueryRow(r.t.Context(), `SELECT state FROM payment.settlement_line WHERE transaction_id = $1`, txn).Scan(&state)
	if err != nil {
		r.t.Fatal(err)
	}
	return state
}

const clearingLeft = `SELECT coalesce(sum(amount_minor), 0)::bigint FROM payment.posting WHERE account = 'gateway_clearing:phonepe'`

// Clearing returns to nothing once the bank has the money, however often the
// file comes; the fee is an expense.
func TestSettlementIsBookedOnce(t *testing.T) {
	r, h := settling(t)
	p := r.paid()
	h.put(r.clock(), settledLine("T1", p.MerchantOrderID, "CAPTURE", price, 598, 108, 29194, r.clock()))
	r.advance(24 * time.Hour)
	for range 3 {
		r.compare()
		r.advance(7 * time.Hour)
	}
	if s := r.lineState("T1"); s != lineMatched {
		t.Errorf("the line is %s", s)
	}
	if n := r.number(clearingLeft); n != 0 {
		t.Errorf("clearing holds %d", n)
	}
	for account, want := range map[string]int64{"bank": 29194, "gateway_fees": 598, "gst_input_credit": 108} {
		if n := r.number(`SELECT coalesce(sum(amount_minor), 0)::bigint FROM payment.posting WHERE account = $1`, account); n != want {
			t.Errorf("%s holds %d, want %d", account, n, want)
		}
	}
	if n := r.number(`SELECT count(*) FROM payment.journal WHERE kind = 'settlement'`); n != 1 {
		t.Errorf("%d journals of one line", n)
	}
}

// The file is the last to tell of a capture whose callback and polls were lost.
// money.md B29, B40
func TestSettlementTellsOfALostCapture(t *testing.T) {
	r, h := settling(t)
	p := r.open(someOrder())
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	h.put(r.clock(), settledLine("T1", p.MerchantOrderID, "CAPTURE", price, 0, 0, price, r.clock()))
	r.advance(24 * time.Hour)
	r.compare()
	if got := r.read(p.ID); got.State != factstate.Succeeded {
		t.Errorf("the payment is %s", got.State)
	}
	if s := r.lineState("T1"); s != lineMatched {
		t.Errorf("the line is %s", s)
	}
}

// What the bank says and the journal does not know is kept, shown, and moves nothing.
func TestSettlementThatDoesNotFit(t *testing.T) {
	r, h := settling(t)
	paid, other := r.paid(), r.open(someOrder())
	now := r.clock()
	h.put(now,
		settledLine("unknown", "PNOBODY-1", "CAPTURE", price, 0, 0, price, now),
		settledLine("more", paid.MerchantOrderID, "CAPTURE", price+1, 0, 0, price+1, now),
		settledLine("unpaid", other.MerchantOrderID, "CAPTURE", price, 0, 0, price, now),
		settledLine("back", paid.MerchantOrderID, "REFUND", price, 0, 0, -price, now),
	)
	r.advance(24 * time.Hour)
	r.compare()
	for txn, want := range map[string]string{
		"unknown": lineMissingHere, "more": lineAmountDiffers, "unpaid": lineMissingHere, "back": lineMissingHere,
	} {
		if s := r.lineState(txn); s != want {
			t.Errorf("line %s is %s, want %s", txn, s, want)
		}
	}
	if n := r.number(`SELECT count(*) FROM payment.journal WHERE kind = 'settlement'`); n != 0 {
		t.Errorf("%d journals of lines that fit nothing", n)
	}
	r.sweepNow()
	if n := r.broken("settlements_are_booked"); n != 4 {
		t.Errorf("%d findings, want 4", n)
	}
	// The order is paid after all: the line fits, and its finding ends.
	r.bank.settle(other.MerchantOrderID, "COMPLETED")
	r.advance(2 * matchRetry)
	r.compare()
	r.sweepNow()
	if s := r.lineState("unpaid"); s != lineMatched {
		t.Errorf("the line is %s", s)
	}
	if n := r.broken("settlements_are_booked"); n != 3 {
		t.Errorf("%d findings, want 3", n)
	}
}

// A line never says two things.
func TestSettlementThatChanges(t *testing.T) {
	r, h := settling(t)
	p := r.paid()
	at := r.clock()
	h.put(at, settledLine("T1", p.MerchantOrderID, "CAPTURE", price, 598, 108, 29194, at))
	r.advance(24 * time.Hour)
	r.compare()
	h.put(at, settledLine("T1", p.MerchantOrderID, "CAPTURE", price, 600, 108, 29192, at))
	r.advance(settlementEvery)
	r.compare()
	if s := r.lineState("T1"); s != lineAmountDiffers {
		t.Errorf("the line is %s", s)
	}
	if n := r.number(`SELECT count(*) FROM payment.journal WHERE kind = 'settlement'`); n != 1 {
		t.Errorf("%d journals", n)
	}
}

// A file that cannot be had, or is cut short, leaves nothing half done and is
// fetched again.
func TestSettlementFileFails(t *testing.T) {
	r, h := settling(t)
	p := r.paid()
	good := settledLine("T1", p.MerchantOrderID, "CAPTURE", price, 0, 0, price, r.clock())
	day := r.clock()
	h.put(day, good, good[:len(good)/2])
	h.failed = 3
	r.advance(24 * time.Hour)
	r.compare()
	if n := r.number(`SELECT count(*) FROM payment.settlement_line`); n != 0 {
		t.Errorf("%d lines of a file that was cut", n)
	}
	h.put(day, good)
	r.advance(settlementRetry)
	r.compare()
	if n := r.number(`SELECT count(*) FROM payment.settlement_line WHERE state = 'MATCHED'`); n != 1 {
		t.Errorf("%d lines matched, want 1", n)
	}
}

func TestReadSettlementRefuses(t *testing.T) {
	now := time.Now()
	good := settledLine("T1", "P1", "CAPTURE", 100, 2, 1, 97, now)
	if got, err := readSettlement(strings.NewReader("\n"+good+"\n\n"), "phonepe"); err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	for name, text := range map[string]string{
		"not json":         "captured 100",
		"html":             "<html>",
		"another provider": strings.Replace(good, "phonepe", "stripe", 1),
		"does not add up":  settledLine("T1", "P1", "CAPTURE", 100, 2, 1, 98, now),
		"no kind":          settledLine("T1", "P1", "", 100, 2, 1, 97, now),
		"no transaction":   settledLine("", "P1", "CAPTURE", 100, 2, 1, 97, now),
		"a number":         strings.Replace(good, `"100"`, `100.5`, 1),
		"no currency":      strings.Replace(good, `"INR"`, `"rupees"`, 1),
		"zero byte":        strings.Replace(good, `"P1"`, `"P\u00001"`, 1),
		"too long":         settledLine(strings.Repeat("x", 200), "P1", "CAPTURE", 100, 2, 1, 97, now),
	} {
		if got, err := readSettlement(strings.NewReader(text), "phonepe"); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzReadSettlement(f *testing.F) {
	f.Add(settledLine("T1", "P1", "CAPTURE", 100, 2, 1, 97, time.Unix(0, 0)))
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := readSettlement(strings.NewReader(text), "phonepe")
		if err != nil && lines != nil {
			t.Fatal("lines of a file that is refused")
		}
		for _, l := range lines {
			if err := l.check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func (r *rig) sweepNow() {
	r.t.Helper()
	r.nextFull = time.Time{}
	before := r.sweeps.finished
	if err := r.sweepOnce(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	if testutil.ToFloat64(before) == 0 {
		r.t.Fatal("an invariant was not looked at")
	}
	before.Set(0)
}

func (r *rig) broken(invariant string) int64 {
	r.t.Helper()
	return r.number(`SELECT count(*) FROM payment.finding WHERE invariant = $1 AND resolved_at IS NULL`, invariant)
}

// Each invariant finds what breaks it, once, and lets go of it when it is mended.
func TestSweep(t *testing.T) {
	r := newRig(t)
	p := r.paid()
	r.sweepNow()
	if n := r.number(`SELECT count(*) FROM payment.finding`); n != 0 {
		t.Fatalf("%d findings of sound money", n)
	}
	ctx := t.Context()
	damage := func(sql string, args ...any) {
		t.Helper()
		if _, err := r.db.Pool.Exec(ctx, sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	stray := uuid.New()
	damage(`ALTER TABLE payment.payment DROP CONSTRAINT payment_paid_is_captured`)
	damage(`INSERT INTO payment.payment (id, request_id, user_id, purpose, product_code, amount_minor, currency, taxable_minor, cgst_minor, sgst_minor, igst_minor, round_off_minor, provider, state, captured_minor, paid_at, created_at, updated_at)
	        SELECT $1, $1, user_id, purpose, product_code, amount_minor, currency, taxable_minor, cgst_minor, sgst_minor, igst_minor, round_off_minor, provider, 'SUCCEEDED', captured_minor, paid_at, created_at, updated_at FROM payment.payment WHERE id = $2`, stray, p.ID)
	damage(`UPDATE payment.payment SET captured_minor = captured_minor - 1 WHERE id = $1`, p.ID)
	damage(`INSERT INTO payment.webhook_event (id, provider, event_key, event, merchant_order_id, body, headers, state, next_attempt_at, received_at)
	        VALUES ($1, 'phonepe', 'x', 'checkout.order.completed', 'PNOBODY-1', '', '{}', 'ORPHAN', $2, $2)`, stray, r.clock())
	for range 3 {
		r.sweepNow()
	}
	for _, inv := range []string{"captured_has_journal", "journal_equals_captured", "callbacks_are_understood"} {
		if n := r.broken(inv); n != 1 {
			t.Errorf("%s has %d findings, want 1", inv, n)
		}
	}
	if n := r.audited("payment.invariant_violated"); n != 3 {
		t.Errorf("%d audit events, want 3", n)
	}
	damage(`UPDATE payment.payment SET captured_minor = captured_minor + 1 WHERE id = $1`, p.ID)
	r.sweepNow()
	if n := r.broken("journal_equals_captured"); n != 0 {
		t.Error("what is mended stays a finding")
	}
	if n := r.broken("captured_has_journal"); n != 1 {
		t.Error("what is not mended is gone")
	}
	var open uuid.UUID
	if err := r.db.Pool.QueryRow(ctx, `SELECT id FROM payment.finding WHERE invariant = 'captured_has_journal'`).Scan(&open); err != nil {
		t.Fatal(err)
	}
	if f, err := r.acknowledge(ctx, open, uuid.New(), "asked the bank about it"); err != nil || f.AcknowledgedAt == nil || r.audited("payment.finding_acknowledged") != 1 {
		t.Errorf("acknowledged %v, %v, %d audited", f, err, r.audited("payment.finding_acknowledged"))
	}
}

// Every invariant's query runs, also over a window.
func TestInvariantsRun(t *testing.T) {
	r := newRig(t)
	for _, inv := range invariants {
		for _, since := range []time.Time{{}, r.clock().Add(-time.Hour)} {
			if n, _, err := r.inspect(t.Context(), inv, since); err != nil || n != 0 {
				t.Errorf("%s: %d, %v", inv.name, n, err)
			}
		}
	}
}

// A payment whose order no provider has heard of ends, and its order is told;
// one that may have been heard of does not. money.md B32
func TestUnopenedLapses(t *testing.T) {
	r := newRig(t)
	unsent, lost := someOrder(), someOrder()
	r.bank.Close() // nothing is heard
	if _, err := r.create(t.Context(), unsent); err == nil {
		t.Fatal("opened without a provider")
	}
	ids := func(in newPayment) (p payment) {
		t.Helper()
		var paymentID uuid.UUID
		if err := r.db.Pool.QueryRow(t.Context(), `SELECT id FROM payment.payment WHERE request_id = $1`, in.RequestID).Scan(&paymentID); err != nil {
			t.Fatal(err)
		}
		return r.read(paymentID)
	}
	if _, err := r.create(t.Context(), lost); err == nil {
		t.Fatal("opened without a provider")
	}
	if _, err := r.db.Pool.Exec(t.Context(), `UPDATE payment.attempt SET state = 'unknown' WHERE payment_id = $1`, ids(lost).ID); err != nil {
		t.Fatal(err)
	}
	r.sweepNow()
	if s := ids(unsent).State; s != factstate.Created {
		t.Fatalf("it is %s at once", s)
	}
	r.advance(lapseAfter + time.Minute)
	r.sweepNow()
	if s := ids(unsent).State; s != factstate.Expired {
		t.Errorf("unsent it is %s, want EXPIRED", s)
	}
	if s := ids(lost).State; s != factstate.Created {
		t.Errorf("one that may have been sent is %s", s)
	}
	if n := r.number(`SELECT count(*) FROM payment.outbox WHERE destination = 'subscription'`); n != 1 {
		t.Errorf("%d events to subscription, want 1", n)
	}
}
