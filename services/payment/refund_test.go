package payment

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/fail"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	"github.com/manas360/platform/services/payment/factstate"
)

var (
	maker   = uuid.MustParse("11111111-1111-7111-8111-111111111111")
	checker = uuid.MustParse("22222222-2222-7222-8222-222222222222")
)

func (r *rig) giveBack(p payment, amount int64) (refund, error) {
	r.t.Helper()
	return r.requestRefund(r.t.Context(), wantedRefund{PaymentID: p.ID, AmountMinor: amount, Origin: refundByAdmin, Reason: "asked for by mail", By: maker})
}

func (r *rig) mustGiveBack(p payment, amount int64) refund {
	r.t.Helper()
	x, err := r.giveBack(p, amount)
	if err != nil {
		r.t.Fatalf("refund %d: %v", amount, err)
	}
	return x
}

// looked has a refund's status asked for now.
func (r *rig) looked(x refund) refund {
	r.t.Helper()
	if err := r.askAboutRefund(r.t.Context(), x); err != nil {
		r.t.Fatal(err)
	}
	return r.refundNow(x)
}

func (r *rig) refundNow(x refund) refund {
	r.t.Helper()
	now, err := r.refundByID(r.t.Context(), r.db.Pool, x.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	return now
}

// sound checks what must be true of the books at any time.
func (r *rig) sound() {
	r.t.Helper()
	if n := r.number(`SELECT count(*) FROM (SELECT journal_id FROM payment.posting GROUP BY journal_id, currency HAVING sum(amount_minor) <> 0) x`); n != 0 {
		r.t.Errorf("%d journals do not balance", n)
	}
	for _, inv := range invariants {
		if inv.name == "events_leave" {
			continue // no relay runs here
		}
		if n, _, err := r.inspect(r.t.Context(), inv, time.Time{}); err != nil || n != 0 {
			r.t.Errorf("%s: %d, %v", inv.name, n, err)
		}
	}
}

func (r *rig) balance(account string) int64 {
	r.t.Helper()
	return r.number(`SELECT coalesce(sum(amount_minor), 0)::bigint FROM payment.posting WHERE account = $1`, account)
}

func TestRefundWholeLife(t *testing.T) {
	r := newRig(t)
	p := r.paid()
	x := r.mustGiveBack(p, 10000)
	if x.State != refundOpen || r.read(p.ID).ReservedMinor != 10000 || r.balance("refunds_in_transit") != -10000 {
		t.Fatalf("%+v reserves %d", x, r.read(p.ID).ReservedMinor)
	}
	r.bank.settleRefund(x.MerchantRefundID, "CONFIRMED")
	if x = r.looked(x); x.State != refundOpen {
		t.Errorf("confirmed is %s: the money is not there yet", x.State)
	}
	r.bank.settleRefund(x.MerchantRefundID, "COMPLETED")
	for range 3 {
		x = r.looked(x)
	}
	got := r.read(p.ID)
	if x.State != refundCompleted || got.State != factstate.PartiallyRefunded || got.RefundedMinor != 10000 || got.ReservedMinor != 0 {
		t.Errorf("%s, payment %s with %d back", x.State, got.State, got.RefundedMinor)
	}
	rest := r.mustGiveBack(p, 0)
	r.bank.settleRefund(rest.MerchantRefundID, "COMPLETED")
	r.looked(rest)
	if got = r.read(p.ID); got.State != factstate.Refunded || got.RefundedMinor != price {
		t.Errorf("payment %s with %d back", got.State, got.RefundedMinor)
	}
	for _, account := range []string{"deferred_revenue", "gst_igst_payable", "refunds_in_transit", "gateway_clearing:phonepe"} {
		if b := r.balance(account); b != 0 {
			t.Errorf("%s keeps %d of a payment that is undone", account, b)
		}
	}
	for action, want := range map[string]int{"payment.refund_requested": 2, "payment.refunded": 2, "payment.refund_failed": 0} {
		if n := r.audited(action); n != want {
			t.Errorf("%d of %s, want %d", n, action, want)
		}
	}
	if n := r.number(`SELECT count(*) FROM payment.outbox WHERE destination = 'subscription'`); n != 3 {
		t.Errorf("%d events to subscription, want 3", n)
	}
	r.sound()
}

// money.md B25, B26
func TestRefundRefusals(t *testing.T) {
	r := newRig(t)
	p, open := r.paid(), r.open(someOrder())
	for name, tt := range map[string]struct {
		p      payment
		amount int64
		want   fail.Kind
	}{
		"more than was captured": {p, price + 1, fail.RefundNotAllowed},
		"below zero":             {p, -1, fail.InvalidArgument},
		"not paid":               {open, 100, fail.RefundNotAllowed},
		"unknown":                {payment{ID: uuid.New()}, 100, fail.NotFound},
	} {
		if _, err := r.giveBack(tt.p, tt.amount); !fail.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	x := r.mustGiveBack(p, 100)
	if _, err := r.giveBack(p, 100); !fail.Is(err, fail.RefundNotAllowed) {
		t.Errorf("a second beside an open one: %v", err)
	}
	r.bank.settleRefund(x.MerchantRefundID, "COMPLETED")
	r.looked(x)
	if _, err := r.giveBack(p, price-99); !fail.Is(err, fail.RefundNotAllowed) {
		t.Errorf("a paisa more than is left: %v", err)
	}
	r.sound()
}

// A hundred at once: one gets it, and the provider hears of one. money.md B24, B25, B28
func TestRefundsAtOnce(t *testing.T) {
	r := newRig(t)
	p := r.paid()
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 100 {
		wg.Go(func() {
			_, err := r.requestRefund(t.Context(), wantedRefund{PaymentID: p.ID, AmountMinor: 20000, Origin: refundByAdmin, Reason: "asked for by mail", By: maker})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made++
			} else if !fail.Is(err, fail.RefundNotAllowed) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made != 1 || r.bank.count("refund") != 1 {
		t.Errorf("%d refunds, %d calls, want 1", made, r.bank.count("refund"))
	}
	r.sound()
}

// The same wish after a crash, when no answer was stored, is the same refund.
// money.md B18, B20
func TestRefundKey(t *testing.T) {
	r := newRig(t)
	p := r.paid()
	w := wantedRefund{PaymentID: p.ID, AmountMinor: 100, Origin: refundByAdmin, Reason: "asked for by mail", By: maker, Key: []byte("one")}
	first, err := r.requestRefund(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	r.bank.settleRefund(first.MerchantRefundID, "COMPLETED")
	r.looked(first)
	again, err := r.requestRefund(t.Context(), w)
	if err != nil || again.ID != first.ID {
		t.Errorf("%+v, %v", again, err)
	}
	w.Key = []byte("two")
	if other, err := r.requestRefund(t.Context(), w); err != nil || other.ID == first.ID {
		t.Errorf("%+v, %v", other, err)
	}
	r.sound()
}

// Whatever the answer was, the refund moves once. money.md B18, B32, B57, O8
func TestRefundAnswersLost(t *testing.T) {
	for name, replies := range map[string][]reply{
		"cut before":        {cutBefore},
		"cut after":         {cutAfter},
		"503":               {503},
		"500 and again":     {500, 500},
		"unauthorized":      {401},
		"too many requests": {429},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := r.paid()
			r.bank.next("refund", replies...)
			x := r.mustGiveBack(p, 10000)
			if x.State != refundOpen {
				t.Fatalf("it is %s", x.State)
			}
			for range 4 {
				r.advance(30 * time.Second)
				if err := r.followRefund(t.Context(), x.ID); err != nil {
					t.Log(err)
				}
			}
			var known int
			r.bank.do(func() { known = len(r.bank.refunds) })
			if known != 1 {
				t.Fatalf("the bank has %d refunds", known)
			}
			r.bank.settleRefund(x.MerchantRefundID, "COMPLETED")
			if x = r.looked(x); x.State != refundCompleted {
				t.Errorf("it is %s", x.State)
			}
			r.sound()
		})
	}
}

// A definite no frees the money; so does a failure, and then it can be tried
// again under another name.
func TestRefundFails(t *testing.T) {
	r := newRig(t)
	p := r.paid()
	r.bank.next("refund", 400)
	if x := r.mustGiveBack(p, 10000); x.State != refundDead || x.FailureCode != "SOMETHING" {
		t.Errorf("refused it is %s %s", x.State, x.FailureCode)
	}
	x := r.mustGiveBack(p, 10000)
	r.bank.settleRefund(x.MerchantRefundID, "FAILED")
	if x = r.looked(x); x.State != refundDead {
		t.Errorf("failed it is %s", x.State)
	}
	if got := r.read(p.ID); got.ReservedMinor != 0 || got.State != factstate.Succeeded || got.RefundedMinor != 0 {
		t.Errorf("payment %+v", got)
	}
	if b := r.balance("deferred_revenue"); b != -25339 {
		t.Errorf("deferred revenue is %d", b)
	}
	if b := r.balance("refunds_in_transit"); b != 0 {
		t.Errorf("in transit is %d", b)
	}
	again := r.mustGiveBack(p, 0)
	if again.MerchantRefundID == x.MerchantRefundID {
		t.Error("under the same name")
	}
	r.bank.settleRefund(again.MerchantRefundID, "COMPLETED")
	r.looked(again)
	r.sound()
}

// A refund that was done and came back (Stripe) gives the payment its money again.
func TestRefundComesBack(t *testing.T) {
	r := newRig(t)
	p := r.paid()
	x := r.mustGiveBack(p, 0)
	f := refundFact{Kind: refundDone, MerchantRefundID: x.MerchantRefundID, Currency: "INR", AmountMinor: price}
	for _, kind := range []refundKind{refundDone, refundFailed, refundDone, refundFailed} {
		f.Kind = kind
		if err := r.applyRefund(t.Context(), f, origin{by: byProvider}); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.read(p.ID); got.State != factstate.Succeeded || got.RefundedMinor != 0 {
		t.Errorf("payment %s with %d back", got.State, got.RefundedMinor)
	}
	if b := r.balance("gateway_clearing:phonepe"); b != price {
		t.Errorf("clearing holds %d", b)
	}
	r.sound()
}

// An answer about something else moves nothing and is shown to a person.
func TestRefundAnswerOfAnother(t *testing.T) {
	for name, f := range map[string]refundFact{
		"amount":    {AmountMinor: 9999, Currency: "INR"},
		"currency":  {AmountMinor: 10000, Currency: "USD"},
		"reference": {AmountMinor: 10000, Currency: "INR", EchoedRefundID: "RANOTHER"},
		"id":        {AmountMinor: 10000, Currency: "INR", ProviderRefundID: "OMRANOTHER"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := r.paid()
			x := r.mustGiveBack(p, 10000)
			f.Kind, f.MerchantRefundID = refundDone, x.MerchantRefundID
			if err := r.applyRefund(t.Context(), f, origin{by: byProvider}); err != nil {
				t.Fatal(err)
			}
			if got := r.read(p.ID); got.RefundedMinor != 0 || !got.NeedsReview || r.refundNow(x).State != refundOpen {
				t.Errorf("payment %+v", got)
			}
			if n := r.audited("payment.integrity_failed"); n != 1 {
				t.Errorf("%d audit events", n)
			}
		})
	}
}

// Above the threshold another administrator decides, and only one.
func TestRefundApproval(t *testing.T) {
	r := newRig(t)
	in := someOrder()
	in.AmountMinor, in.TaxableMinor, in.IGSTMinor = 1000000, 847458, 152542
	p := r.open(in)
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	if _, err := r.sync(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	small := r.mustGiveBack(p, 500000)
	if small.State != refundOpen {
		t.Fatalf("at the threshold it is %s", small.State)
	}
	r.bank.settleRefund(small.MerchantRefundID, "COMPLETED")
	r.looked(small)
	r.approvalAbove = 400000
	x := r.mustGiveBack(p, 500000)
	if x.State != refundRequested || r.bank.count("refund") != 1 || r.read(p.ID).ReservedMinor != 500000 {
		t.Fatalf("it is %s", x.State)
	}
	ctx := t.Context()
	if _, err := r.approveRefund(ctx, x.ID, maker, "it is right so"); !fail.Is(err, fail.PermissionDenied) {
		t.Errorf("by who asked: %v", err)
	}
	if _, err := r.rejectRefund(ctx, x.ID, maker, "it is right so"); !fail.Is(err, fail.PermissionDenied) {
		t.Errorf("by who asked: %v", err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 20 {
		wg.Go(func() {
			decide := r.approveRefund
			if i%2 == 1 {
				decide = r.rejectRefund
			}
			_, err := decide(ctx, x.ID, checker, "it is right so")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !fail.Is(err, fail.Conflict) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d decisions, want 1", won)
	}
	if n := r.audited("payment.refund_approved") + r.audited("payment.refund_rejected"); n != 1 {
		t.Errorf("%d decisions audited, want 1", n)
	}
	r.sound()
}

// The callback is a hint; twice, early, of another amount or about a stranger's
// refund, it does no harm. money.md B30, B31, O11
func TestRefundCallbacks(t *testing.T) {
	r := newRig(t)
	p := r.paid()
	x := r.mustGiveBack(p, 10000)
	say := func(event, ref, state string, amount int64) {
		t.Helper()
		body, err := json.Marshal(map[string]any{"event": event, "payload": map[string]any{
			"merchantRefundId": ref, "originalMerchantOrderId": p.MerchantOrderID, "state": state, "amount": amount, "refundId": "OMR" + ref,
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.receive(t.Context(), "phonepe", signed(), body); err != nil {
			t.Fatal(err)
		}
	}
	say("pg.refund.completed", x.MerchantRefundID, "COMPLETED", 9999) // a lie about the amount
	say("pg.refund.accepted", x.MerchantRefundID, "CONFIRMED", 10000)
	r.work()
	r.until("the callbacks are understood", func() bool {
		return r.number(`SELECT count(*) FROM payment.webhook_event WHERE topic = 'refund' AND state IN ('PROCESSED', 'INTEGRITY_FAILED')`) == 2
	})
	if got := r.refundNow(x); got.State != refundOpen {
		t.Fatalf("it is %s, the bank says PENDING", got.State)
	}
	r.bank.settleRefund(x.MerchantRefundID, "COMPLETED")
	for range 3 {
		say("pg.refund.completed", x.MerchantRefundID, "COMPLETED", 10000)
	}
	r.until("the refund is complete", func() bool { return r.refundNow(x).State == refundCompleted })
	if got := r.read(p.ID); got.RefundedMinor != 10000 {
		t.Errorf("%d went back", got.RefundedMinor)
	}
}

// lateMoney is subscription's event.
func lateMoney(t *testing.T, p payment) *eventv1.Event {
	t.Helper()
	b, err := proto.Marshal(&paymentv1.RefundRequested{PaymentId: p.ID[:], Reason: "late_capture"})
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.New()
	return &eventv1.Event{Id: id[:], Type: "manas.payment.v1.RefundRequested", Key: "k", Payload: b, OccurredAt: timestamppb.Now()}
}

// Late money goes back once, however often it is asked for. money.md B29, B39
func TestLateMoneyGoesBackOnce(t *testing.T) {
	r := newRig(t)
	p := r.open(someOrder())
	r.bank.settle(p.MerchantOrderID, "FAILED")
	if _, err := r.sync(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	if _, err := r.sync(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := r.read(p.ID); got.State != factstate.Succeeded {
		t.Fatalf("late it is %s", got.State)
	}
	var wg sync.WaitGroup
	for range 100 {
		ev := lateMoney(t, p)
		wg.Go(func() {
			err := r.db.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error { return r.onRefundRequested(ctx, tx, ev) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	due, err := r.dueRefunds(t.Context())
	if err != nil || len(due) != 1 {
		t.Fatalf("%d refunds, %v", len(due), err)
	}
	if err := r.followRefund(t.Context(), due[0].ID); err != nil {
		t.Fatal(err)
	}
	var ref string
	r.bank.do(func() {
		for name, x := range r.bank.refunds {
			ref, x.State = name, "COMPLETED"
		}
	})
	r.looked(refund{ID: due[0].ID, PaymentID: p.ID, MerchantRefundID: ref})
	if got := r.read(p.ID); got.State != factstate.Refunded || r.bank.count("refund") != 1 {
		t.Errorf("payment %s after %d calls", got.State, r.bank.count("refund"))
	}
	r.sound()
}

// The customer gets what the policy gives, and no more; another amount is
// another quote.
func TestRefundPolicy(t *testing.T) {
	r := newRig(t)
	rules, err := r.refundPolicy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for _, tt := range []struct {
		purpose, cycle string
		age            time.Duration
		want           int64
		policy         string
	}{
		{"subscription", "MONTHLY", 0, 30000, "monthly_two_days"},
		{"subscription", "MONTHLY", 48*time.Hour - 1, 30000, "monthly_two_days"},
		{"subscription", "MONTHLY", 48 * time.Hour, 28000, "monthly_week"},
		{"subscription", "MONTHLY", 7*day - 1, 24000, "monthly_week"},
		{"subscription", "MONTHLY", 7 * day, 0, ""},
		{"subscription", "YEARLY", 7*day - 1, 30000, "yearly_week"},
		{"subscription", "YEARLY", 7 * day, 22500, "yearly_month"},
		{"subscription", "YEARLY", 30 * day, 15000, "yearly_quarter"},
		{"subscription", "YEARLY", 90 * day, 0, ""},
		{"subscription", "", 0, 0, ""},
		{"product", "ONE_TIME", 47 * time.Hour, 30000, "product_two_days"},
		{"product", "ONE_TIME", 48 * time.Hour, 0, ""},
	} {
		p := payment{
			ID: maker, State: factstate.Succeeded, CapturedMinor: 30000, Currency: "INR", Purpose: tt.purpose, Cycle: tt.cycle, PaidAt: &at,
		}
		q, err := quoted(p, rules, false, at.Add(tt.age))
		if tt.want == 0 {
			if !fail.Is(err, fail.RefundNotAllowed) {
				t.Errorf("%+v: %+v, %v", tt, q, err)
			}
			continue
		}
		if err != nil || q.AmountMinor != tt.want || q.Policy != tt.policy {
			t.Errorf("%+v: %+v, %v", tt, q, err)
		}
		p.RefundedMinor = 29000
		if less, err := quoted(p, rules, false, at.Add(tt.age)); err != nil || less.AmountMinor != 1000 || less.Hash == q.Hash {
			t.Errorf("after a refund: %+v, %v", less, err)
		}
	}
}

func TestRefundOwn(t *testing.T) {
	r := newRig(t)
	in := someOrder()
	in.Cycle = "MONTHLY"
	p := r.open(in)
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	p, err := r.sync(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	q, err := r.quoteOf(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.refundOwn(t.Context(), p, q.Hash+"x", "", nil); !fail.Is(err, fail.PreconditionFailed) {
		t.Errorf("another hash: %v", err)
	}
	r.advance(3 * 24 * time.Hour)
	if _, err := r.refundOwn(t.Context(), p, q.Hash, "", nil); !fail.Is(err, fail.PreconditionFailed) {
		t.Errorf("an old quote: %v", err)
	}
	if q, err = r.quoteOf(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	x, err := r.refundOwn(t.Context(), p, q.Hash, "not what I looked for", []byte("key"))
	if err != nil || x.AmountMinor != 26910 || x.Policy != "monthly_week" { // 27 of 30 days
		t.Errorf("%+v, %v", x, err)
	}
	if again, err := r.refundOwn(t.Context(), p, q.Hash, "not what I looked for", []byte("key")); err != nil || again.ID != x.ID {
		t.Errorf("the same wish again: %+v, %v", again, err)
	}
	if _, err := r.quoteOf(t.Context(), p); !fail.Is(err, fail.RefundNotAllowed) {
		t.Errorf("beside an open one: %v", err)
	}
	r.sound()
}

func TestDispute(t *testing.T) {
	for _, tt := range []struct {
		name     string
		held     bool
		told     []string
		state    factstate.State
		back     int64
		clearing int64
		disputed bool
	}{
		{"opened", false, []string{disputeOpened}, factstate.Succeeded, 0, price, true},
		{"opened, the money held", true, []string{disputeOpened}, factstate.Succeeded, 0, price - 10000, true},
		{"won", true, []string{disputeOpened, disputeWon}, factstate.Succeeded, 0, price, false},
		{"lost", false, []string{disputeOpened, disputeLost}, factstate.PartiallyRefunded, 10000, price - 10000, false},
		{"lost, the money held", true, []string{disputeOpened, disputeLost}, factstate.PartiallyRefunded, 10000, price - 10000, false},
		{"lost before it was opened", false, []string{disputeLost, disputeOpened}, factstate.PartiallyRefunded, 10000, price - 10000, false},
		{"won, then lost", true, []string{disputeOpened, disputeWon, disputeLost}, factstate.PartiallyRefunded, 10000, price - 10000, false},
		{"lost, then won", false, []string{disputeLost, disputeWon}, factstate.PartiallyRefunded, 10000, price - 10000, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			p := r.paid()
			for _, state := range tt.told {
				for range 2 {
					if err := r.applyDispute(t.Context(), saidOfDispute{
						PaymentID: p.ID, Provider: "phonepe", DisputeID: "D1", AmountMinor: 10000, State: state, Held: tt.held,
					}, origin{by: byProvider}); err != nil {
						t.Fatal(err)
					}
				}
			}
			got := r.read(p.ID)
			if got.State != tt.state || got.RefundedMinor != tt.back || got.Disputed != tt.disputed || r.balance("gateway_clearing:phonepe") != tt.clearing {
				t.Errorf("%s, %d back, disputed %t, clearing %d", got.State, got.RefundedMinor, got.Disputed, r.balance("gateway_clearing:phonepe"))
			}
			if _, err := r.giveBack(p, 100); fail.Is(err, fail.RefundNotAllowed) != tt.disputed {
				t.Errorf("a refund beside it: %v", err)
			}
			r.sound()
		})
	}
}

func TestDisputeStates(t *testing.T) {
	for _, tt := range []struct{ event, claimed, want string }{
		{"payment.dispute.created", "open", disputeOpened},
		{"payment.dispute.won", "won", disputeWon},
		{"payment.dispute.lost", "lost", disputeLost},
		{"payment.dispute.closed", "closed", ""},
		{"charge.dispute.closed", "lost", disputeLost},
		{"charge.dispute.closed", "won", disputeWon},
		{"charge.dispute.closed", "warning_closed", disputeWon},
		{"charge.dispute.updated", "needs_response", disputeOpened},
		{"charge.dispute.funds_withdrawn", "needs_response", disputeOpened},
		{"charge.dispute.updated", "", ""},
	} {
		if got := disputeState(tt.event, tt.claimed); got != tt.want {
			t.Errorf("%s %s is %q, want %q", tt.event, tt.claimed, got, tt.want)
		}
	}
}

// Any sequence of refunds, failures, disputes and repeats gives back at most
// what was captured, and the books stay true. money.md B27
func TestReturnsNeverPassTheCapture(t *testing.T) {
	r := newRig(t)
	rapid.Check(t, func(rt *rapid.T) {
		p := r.paid()
		var known []refund
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"refund", "refund", "done", "failed", "dispute"}).Draw(rt, "step") {
			case "refund":
				x, err := r.giveBack(p, rapid.Int64Range(1, price+1).Draw(rt, "amount"))
				if err == nil {
					known = append(known, x)
				} else if !fail.Is(err, fail.RefundNotAllowed) {
					rt.Fatal(err)
				}
			case "done", "failed":
				if len(known) == 0 {
					continue
				}
				x := rapid.SampledFrom(known).Draw(rt, "which")
				kind := rapid.SampledFrom([]refundKind{refundPending, refundDone, refundFailed, refundUnknown}).Draw(rt, "kind")
				if err := r.applyRefund(t.Context(), refundFact{Kind: kind, MerchantRefundID: x.MerchantRefundID, Currency: "INR"}, origin{by: byProvider}); err != nil {
					rt.Fatal(err)
				}
			case "dispute":
				state := rapid.SampledFrom([]string{disputeOpened, disputeWon, disputeLost}).Draw(rt, "state")
				if err := r.applyDispute(t.Context(), saidOfDispute{
					PaymentID: p.ID, Provider: "phonepe", DisputeID: fmt.Sprint(p.ID, rapid.IntRange(0, 1).Draw(rt, "dispute")),
					AmountMinor: rapid.Int64Range(1, price).Draw(rt, "disputed"), State: state, Held: rapid.Bool().Draw(rt, "held"),
				}, origin{by: byProvider}); err != nil {
					rt.Fatal(err)
				}
			}
			got := r.read(p.ID)
			if got.RefundedMinor+got.ReservedMinor > got.CapturedMinor || got.RefundedMinor < 0 || got.ReservedMinor < 0 {
				rt.Fatalf("%d back and %d reserved of %d", got.RefundedMinor, got.ReservedMinor, got.CapturedMinor)
			}
			if got.State != factstate.After(got.CapturedMinor, got.RefundedMinor) {
				rt.Fatalf("%s with %d of %d back", got.State, got.RefundedMinor, got.CapturedMinor)
			}
		}
	})
	r.sound()
}
