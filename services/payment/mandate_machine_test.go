package payment

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/services/payment/factstate"
)

// TestMandateMachine has customers, the bank, the network and the clock do what
// they like: nobody pays twice, and the bank's truth and ours are one in the end.
func TestMandateMachine(t *testing.T) {
	r := newRig(t)
	rapid.Check(t, func(t *rapid.T) {
		m := r.agreed()
		var list []uuid.UUID
		at := func() (state string) {
			r.bank.do(func() { state = r.bank.mandates.all[m.MerchantRef].State })
			return state
		}
		hear := func() { // the callback comes, or is lost
			if rapid.Bool().Draw(t, "heard") {
				_ = r.onMandate(r.t.Context(), webhookEvent{ID: uuid.New(), Event: "subscription.any", Subject: m.MerchantRef, Attempts: lagAttempts}) // it may not get through
			}
		}
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"debit", "debit", "pause", "resume", "revoke", "cancel", "lose", "decline", "callback"}).Draw(t, "step") {
			case "debit":
				if p, _, err := r.schedule(r.t.Context(), someDebit(m.ID, r.clock())); err == nil {
					list = append(list, p.ID)
				}
			case "pause":
				if at() == "ACTIVE" {
					r.bank.at(m.MerchantRef, "PAUSED")
					hear()
				}
			case "resume":
				if at() == "PAUSED" {
					r.bank.at(m.MerchantRef, "ACTIVE")
					hear()
				}
			case "revoke":
				if s := at(); s == "ACTIVE" || s == "PAUSED" {
					r.bank.at(m.MerchantRef, "REVOKED")
					hear()
				}
			case "cancel":
				if _, err := r.endMandate(r.t.Context(), m, actorOf{"user", "usr_x"}); err != nil {
					t.Fatal(err)
				}
			case "lose":
				op := rapid.SampledFrom([]string{"notify", "redeem", "mandate", "status", "cancel"}).Draw(t, "of")
				r.bank.next(op, rapid.SampledFrom([]reply{cutBefore, cutAfter, 500, 429}).Draw(t, "how"))
			case "decline":
				n := rapid.IntRange(1, 4).Draw(t, "times")
				r.bank.do(func() { r.bank.mandates.fail = n })
			case "callback":
				for _, paymentID := range list {
					_ = r.onMandate(r.t.Context(), webhookEvent{ // it may not get through
						ID: uuid.New(), Event: "subscription.redemption.order.completed", MerchantOrderID: r.debitNow(paymentID).MerchantOrderID, Attempts: lagAttempts,
					})
				}
			}
			r.days(time.Duration(rapid.IntRange(0, 14).Draw(t, "hours")) * time.Hour)
		}
		r.days(2 * debitLife)
		for _, paymentID := range list {
			p, d := r.read(paymentID), r.debitNow(paymentID)
			taken := 0
			for no := 1; no < 8; no++ {
				taken += r.bank.taken(debitOrderID(paymentID, no))
			}
			if p.State.Open() || d.NextAt != nil || taken > 1 || p.State.Paid() != (taken == 1) || p.State.Paid() != (d.State == debitSucceeded) {
				t.Fatalf("the bank took it %d times, the payment is %s %s, the debit %+v", taken, p.State, p.FailureCode, d)
			}
		}
		if got := r.mandateNow(m.ID); string(got.State) != at() {
			t.Fatalf("the mandate is %s, at the bank %s", got.State, at())
		}
		r.bank.blameless(t)
		r.bank.do(func() { clear(r.bank.answer); r.bank.mandates.fail = 0 })
		r.number(`WITH done AS (UPDATE payment.mandate SET next_ask_at = NULL RETURNING 1) SELECT count(*) FROM done`) // or the next has to keep it company
	})
	if n := r.number(`SELECT count(*) FROM payment.payment WHERE integrity_failed`); n != 0 {
		t.Errorf("%d alarms for nothing", n)
	}
}

// TestHintsRace: callbacks and workers about one debit at once.
func TestHintsRace(t *testing.T) {
	r := newRig(t)
	m := r.agreed()
	p := r.due(m)
	for range 50 {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := r.mandateBatch(t.Context()); err != nil {
					t.Errorf("worker: %v", err)
				}
			})
			wg.Go(func() {
				d, err := r.debit(t.Context(), p.ID)
				if err != nil {
					t.Error(err)
					return
				}
				err = r.onMandate(t.Context(), webhookEvent{ID: uuid.New(), Event: "subscription.notification.completed", MerchantOrderID: d.MerchantOrderID, Subject: m.MerchantRef})
				if err != nil {
					t.Errorf("callback: %v", err)
				}
			})
		}
		wg.Wait()
		r.advance(time.Hour)
	}
	d := r.debitNow(p.ID)
	if d.State != debitSucceeded || r.bank.taken(d.MerchantOrderID) != 1 || r.audited("payment.debit_succeeded") != 1 {
		t.Errorf("%+v, taken %d times", d, r.bank.taken(d.MerchantOrderID))
	}
	r.bank.blameless(t)
}

// TestNoticeIsLaw: the database itself refuses a debit less than a day after the notice.
func TestNoticeIsLaw(t *testing.T) {
	r := newRig(t)
	p := r.due(r.agreed())
	err := r.db.InTx(t.Context(), func(ctx context.Context, tx pg.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE payment.mandate_debit SET notified_at = now(), redeem_after = now() + interval '23 hours 59 minutes' WHERE payment_id = $1`, p.ID)
		return err
	})
	if err == nil {
		t.Error("a debit within a day was written down")
	}
}

// TestErasureEndsMandates: who is forgotten is not debited.
func TestErasureEndsMandates(t *testing.T) {
	r := newRig(t)
	m := r.agreed()
	p := r.due(m)
	for range 2 { // it is delivered at least once
		if err := r.endMandates(t.Context(), m.UserID, actorOf{"service", "user"}); err != nil {
			t.Fatal(err)
		}
	}
	r.days(time.Hour)
	if got := r.mandateNow(m.ID).State; got != mandateCancelled || r.read(p.ID).State != factstate.Failed || r.bank.count("notify") != 0 {
		t.Errorf("the mandate is %s after its owner's erasure", got)
	}
	text, err := r.personalData(t.Context(), m.UserID)
	if err != nil || len(text) < 100 {
		t.Errorf("the archive: %s %v", text, err)
	}
}

func FuzzReadPhonePeDebit(f *testing.F) {
	f.Add([]byte(`{"orderId":"O","merchantOrderId":"D1","state":"NOTIFIED","amount":1,"paymentFlow":{"validAfter":1}}`))
	f.Add([]byte(`{"state":"PENDING","expireAt":9223372036854775807}`))
	f.Add([]byte(`{"state":"NEW","paymentFlow":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := readPhonePeDebit(body, "D1")
		if err == nil && (d.MerchantOrderID != "D1" || len(d.FailureCode) > maxFailureCodeLen || d.Kind < debitSilent || d.Kind > debitRefused) {
			t.Errorf("%+v", d)
		}
		m, err := readPhonePeMandate(body)
		if err == nil && len(m.ProviderRef) > maxRefLen {
			t.Errorf("%+v", m)
		}
	})
}
