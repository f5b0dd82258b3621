package payment

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/services/payment/factstate"
)

const debitLife = 120 * time.Hour // longer than any debit takes to end

// TestMandateLife: consent, two debits each told a day before, an end.
func TestMandateLife(t *testing.T) {
	r := newRig(t)
	m := r.agreed()
	for cycle := range 2 {
		p := r.due(m)
		d := r.untilNotified(p.ID)
		if got := d.RedeemAfter.Sub(*d.NotifiedAt); got < noticeAhead || int(d.Cycle) != cycle+1 {
			t.Errorf("cycle %d may be debited %s after the notice", d.Cycle, got)
		}
		r.days(36 * time.Hour)
		d = r.debitNow(p.ID)
		if got := r.read(p.ID); got.State != factstate.Succeeded || d.State != debitSucceeded || r.bank.taken(d.MerchantOrderID) != 1 {
			t.Fatalf("the payment is %s, the debit %+v, taken %d times", got.State, d, r.bank.taken(d.MerchantOrderID))
		}
	}
	if n := r.number(`SELECT count(*) FROM payment.journal`); n != 3 {
		t.Errorf("%d journals, want the setup's and two debits'", n)
	}
	if n := r.number(`SELECT sum(amount_minor) FROM payment.posting WHERE account = 'gateway_clearing:phonepe'`); n != 3*price {
		t.Errorf("%d paise at the gateway, want %d", n, 3*price)
	}
	if _, err := r.endMandate(t.Context(), m, actorOf{"user", "usr_x"}); err != nil {
		t.Fatal(err)
	}
	if got := r.mandateNow(m.ID); got.State != mandateCancelled || got.CancelRequestedAt == nil {
		t.Errorf("after its end: %+v", got)
	}
	if _, _, err := r.schedule(t.Context(), someDebit(m.ID, r.clock())); !fail.Is(err, fail.Conflict) {
		t.Errorf("a debit of what is over: %v", err)
	}
	for action, want := range map[string]int{
		"payment.mandate_created": 1, "payment.mandate_active": 1, "payment.mandate_cancel_requested": 1, "payment.mandate_cancelled": 1,
		"payment.debit_notified": 2, "payment.debit_succeeded": 2, "payment.debit_failed": 0, "payment.succeeded": 3,
	} {
		if n := r.audited(action); n != want {
			t.Errorf("%s audited %d times, want %d", action, n, want)
		}
	}
	if n := r.number(`SELECT count(*) FROM payment.outbox WHERE destination = 'subscription' AND type = 'manas.payment.v1.MandateStateChanged'`); n != 2 {
		t.Errorf("subscription hears of the mandate %d times, want 2", n)
	}
	r.bank.blameless(t)
}

// TestSetUpTwice answers a repeat with the same mandate, and other values with a conflict.
func TestSetUpTwice(t *testing.T) {
	r := newRig(t)
	in, offer := someOrder(), newMandate{AmountType: "FIXED", MaxMinor: price, Frequency: "MONTHLY"}
	r.bank.next("pay", cutAfter)
	if _, _, err := r.setUpMandate(t.Context(), in, offer); !fail.Is(err, fail.PaymentProviderUnavailable) {
		t.Fatalf("a lost answer: %v", err)
	}
	m, p, err := r.setUpMandate(t.Context(), in, offer)
	if err != nil {
		t.Fatal(err)
	}
	again, q, err := r.setUpMandate(t.Context(), in, offer)
	if err != nil || again.ID != m.ID || q.ID != p.ID || r.number(`SELECT count(*) FROM payment.mandate`) != 1 {
		t.Errorf("again: %+v %v", again, err)
	}
	other := offer
	other.Frequency = "DAILY"
	if _, _, err := r.setUpMandate(t.Context(), in, other); !fail.Is(err, fail.Conflict) {
		t.Errorf("with another frequency: %v", err)
	}
	if _, err := r.create(t.Context(), in); !fail.Is(err, fail.Conflict) {
		t.Errorf("as a plain payment: %v", err)
	}
}

// TestSetUpLapses fails the mandate with its first payment, and takes a late success.
func TestSetUpLapses(t *testing.T) {
	r := newRig(t)
	m, p, err := r.setUpMandate(t.Context(), someOrder(), newMandate{AmountType: "VARIABLE", MaxMinor: mandateMaxOnce, Frequency: "MONTHLY"})
	if err != nil {
		t.Fatal(err)
	}
	r.bank.settle(p.MerchantOrderID, "FAILED")
	r.hears("subscription.setup.order.failed", p.MerchantOrderID, m.MerchantRef)
	r.days(time.Minute)
	if got := r.mandateNow(m.ID).State; got != mandateFailed {
		t.Fatalf("the mandate is %s after its first payment failed", got)
	}
	r.bank.consent(m.MerchantRef)
	r.hears("subscription.setup.order.completed", p.MerchantOrderID, m.MerchantRef)
	if got := r.mandateNow(m.ID).State; got != mandateActive || r.read(p.ID).State != factstate.Succeeded {
		t.Errorf("the mandate is %s after a late success", got)
	}
}

// TestPauseVoidsTheNotice: what was told before a pause does not count after it.
func TestPauseVoidsTheNotice(t *testing.T) {
	r := newRig(t)
	m := r.agreed()
	p := r.due(m)
	first := r.untilNotified(p.ID)
	r.days(20 * time.Hour)
	r.bank.at(m.MerchantRef, "PAUSED")
	r.hears("subscription.paused", "", m.MerchantRef)
	r.days(time.Hour)
	r.bank.at(m.MerchantRef, "ACTIVE")
	resumed := r.clock()
	r.hears("subscription.unpaused", "", m.MerchantRef)
	r.days(60 * time.Hour)
	d := r.debitNow(p.ID)
	if d.State != debitSucceeded || d.MerchantOrderID == first.MerchantOrderID || d.NotifiedAt.Before(resumed) {
		t.Errorf("before the pause %+v, after it %+v", first, d)
	}
	if r.bank.taken(first.MerchantOrderID) != 0 || r.bank.taken(d.MerchantOrderID) != 1 {
		t.Error("the order of the void notice was debited, or the new one was not, once")
	}
	if r.audited("payment.mandate_paused") != 1 || r.audited("payment.debit_notified") != 2 {
		t.Error("the pause or the second notice is not audited")
	}
	r.bank.blameless(t)
}

// TestPausedTooLong gives a debit up instead of surprising a person weeks later.
func TestPausedTooLong(t *testing.T) {
	r := newRig(t)
	m := r.agreed()
	r.bank.at(m.MerchantRef, "PAUSED")
	p := r.due(m)
	r.days(2 * debitGivenUp)
	r.bank.at(m.MerchantRef, "ACTIVE")
	r.days(2 * debitGivenUp)
	if got := r.read(p.ID); got.State != factstate.Expired || r.debitNow(p.ID).State != debitFailed || r.bank.count("notify") != 0 {
		t.Errorf("the payment is %s after the pause", got.State)
	}
}

// TestRevoked debits nothing more, whether or not we are called.
func TestRevoked(t *testing.T) {
	for _, state := range []string{"REVOKED", "CANCELLED", "EXPIRED"} {
		for name, told := range map[string]bool{"told": true, "not told": false} {
			t.Run(state+" "+name, func(t *testing.T) {
				r := newRig(t)
				m := r.agreed()
				p := r.due(m)
				r.untilNotified(p.ID)
				r.bank.at(m.MerchantRef, state)
				if told {
					r.hears("subscription.revoked", "", m.MerchantRef)
				}
				r.days(36 * time.Hour)
				if got := r.read(p.ID); got.State != factstate.Failed || got.FailureCode != "MANDATE_"+state || r.debitNow(p.ID).State != debitCancelled {
					t.Errorf("the payment is %s %s", got.State, got.FailureCode)
				}
				if r.bank.count("redeem") != 0 || string(r.mandateNow(m.ID).State) != state {
					t.Error("it was asked for, or the mandate stands")
				}
				r.bank.at(m.MerchantRef, "ACTIVE") // whatever a provider says later
				r.hears("subscription.unpaused", "", m.MerchantRef)
				if got := r.mandateNow(m.ID).State; string(got) != state {
					t.Errorf("it rose again as %s", got)
				}
			})
		}
	}
}

// TestCancelDuringOutage stops debits at once and tells the provider when it is back.
func TestCancelDuringOutage(t *testing.T) {
	r := newRig(t)
	m := r.agreed()
	p := r.due(m)
	r.untilNotified(p.ID)
	r.bank.next("mandate", 500, 500)
	got, err := r.endMandate(t.Context(), m, actorOf{"user", "usr_x"})
	if err != nil || got.State != mandateActive || got.CancelRequestedAt == nil {
		t.Fatalf("during the outage: %+v %v", got, err)
	}
	r.bank.next("cancel", cutBefore, cutAfter)
	r.days(36 * time.Hour)
	if r.mandateNow(m.ID).State != mandateCancelled || r.debitNow(p.ID).State != debitCancelled || r.bank.count("redeem") != 0 {
		t.Errorf("after it: %+v %+v", r.mandateNow(m.ID), r.debitNow(p.ID))
	}
}

// TestLostAnswersOfDebits: each call is lost before, after, and refused in turn;
// the money moves once.
func TestLostAnswersOfDebits(t *testing.T) {
	for _, op := range []string{"notify", "redeem", "mandate", "status"} {
		for name, replies := range map[string][]reply{
			"never heard": {cutBefore, cutBefore}, "answer lost": {cutAfter, cutAfter}, "500": {500, 500}, "429": {429}, "401": {401}, "both": {cutAfter, cutBefore, 503},
		} {
			t.Run(op+" "+name, func(t *testing.T) {
				r := newRig(t)
				m := r.agreed()
				p := r.due(m)
				if op != "notify" && op != "mandate" {
					r.untilNotified(p.ID)
				}
				r.bank.next(op, replies...)
				r.days(60 * time.Hour)
				d := r.debitNow(p.ID)
				if got := r.read(p.ID); got.State != factstate.Succeeded || r.bank.taken(d.MerchantOrderID) != 1 {
					t.Errorf("the payment is %s, the debit %+v, taken %d times", got.State, d, r.bank.taken(d.MerchantOrderID))
				}
				r.bank.blameless(t)
			})
		}
	}
}

// TestRetries: one try and three more, an hour and a half apart, off peak.
func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		fails int
		want  factstate.State
	}{{1, factstate.Succeeded}, {3, factstate.Succeeded}, {4, factstate.Failed}} {
		r := newRig(t)
		m := r.agreed()
		p := r.due(m)
		r.bank.do(func() { r.bank.mandates.fail = tt.fails })
		r.days(debitLife)
		if got := r.read(p.ID); got.State != tt.want || r.bank.count("redeem") != min(tt.fails+1, 4) {
			t.Errorf("after %d failures: %s by %d tries", tt.fails, got.State, r.bank.count("redeem"))
		}
		r.bank.blameless(t)
	}
}

// TestNeverRedeemed lapses with the order's own life: the provider refuses every try.
func TestNeverRedeemed(t *testing.T) {
	r := newRig(t)
	m := r.agreed()
	p := r.due(m)
	r.bank.next("redeem", 400, 400, 400, 400, 400, 400)
	r.days(debitLife)
	if got := r.read(p.ID); got.State != factstate.Expired || got.FailureCode != "ORDER_EXPIRED" || r.bank.count("redeem") != debitTries {
		t.Errorf("%s %s after %d tries", got.State, got.FailureCode, r.bank.count("redeem"))
	}
}

// TestMandateCallbacks delivers every callback twice, in any order, at any time.
func TestMandateCallbacks(t *testing.T) {
	names := []string{
		"subscription.setup.order.completed", "subscription.setup.order.failed", "subscription.paused", "subscription.unpaused", "subscription.revoked",
		"subscription.cancelled", "subscription.notification.completed", "subscription.notification.failed", "subscription.redemption.order.completed",
		"subscription.redemption.order.failed", "subscription.redemption.transaction.completed", "subscription.redemption.transaction.failed",
	}
	r := newRig(t)
	m := r.agreed()
	setUp := r.number(`SELECT count(*) FROM payment.journal`)
	p := r.due(m)
	g := rand.New(rand.NewPCG(1, 2))
	for range 6 {
		for _, i := range g.Perm(2 * len(names)) {
			order := r.debitNow(p.ID).MerchantOrderID
			if i%len(names) < 2 {
				order = r.bank.mandates.all[m.MerchantRef].SetUp
			}
			r.hears(names[i%len(names)], order, m.MerchantRef)
		}
		r.days(8 * time.Hour)
	}
	if got := r.read(p.ID); got.State != factstate.Succeeded || r.bank.taken(r.debitNow(p.ID).MerchantOrderID) != 1 || r.mandateNow(m.ID).State != mandateActive {
		t.Errorf("the payment is %s: callbacks decided something", got.State)
	}
	if n := r.number(`SELECT count(*) FROM payment.journal`); n != setUp+1 || r.audited("payment.debit_succeeded") != 1 {
		t.Errorf("%d journals for one debit", n-setUp)
	}
	r.hears("subscription.paused", "", "M-of-nobody")
	r.bank.blameless(t)
}

// TestWrongAnswers about a mandate or a debit move nothing.
func TestWrongAnswers(t *testing.T) {
	r := newRig(t)
	m := r.agreed()
	if _, err := r.applyMandateFact(t.Context(), m.ID, mandateFact{State: mandateRevoked, Ref: "Mother", AskedAt: r.clock()}, origin{by: byProvider}); err == nil {
		t.Error("an answer about another mandate was taken")
	}
	if _, err := r.applyMandateFact(t.Context(), m.ID, mandateFact{State: mandateRevoked, MaxMinor: 1, AskedAt: r.clock()}, origin{by: byProvider}); err == nil {
		t.Error("an answer about another limit was taken")
	}
	if _, err := r.applyMandateFact(t.Context(), m.ID, mandateFact{State: mandatePaused, AskedAt: r.clock().Add(-time.Hour)}, origin{by: byProvider}); err != nil || r.mandateNow(m.ID).State != mandateActive {
		t.Errorf("an old answer was taken: %v", err)
	}
	p := r.due(m)
	d := r.untilNotified(p.ID)
	r.bank.do(func() { r.bank.mandates.debits[d.MerchantOrderID].Amount++ })
	r.days(36 * time.Hour)
	if got := r.read(p.ID); got.State != factstate.Created || r.number(`SELECT count(*) FROM payment.payment WHERE integrity_failed`) != 1 || r.bank.count("redeem") != 0 {
		t.Errorf("an order of another amount was debited: %s", got.State)
	}
}

// TestLaw: nothing above ₹15,000 without the person, nor above what was agreed.
func TestLaw(t *testing.T) {
	r := newRig(t)
	m := r.agreed()
	for amount, kind := range map[int64]fail.Kind{mandateMaxOnce + 1: fail.InvalidArgument, mandateMaxOnce: {}} {
		in := someDebit(m.ID, r.clock())
		in.AmountMinor, in.TaxableMinor, in.IGSTMinor = amount, amount, 0
		_, _, err := r.schedule(t.Context(), in)
		if ok := kind == (fail.Kind{}); ok != (err == nil) || !ok && !fail.Is(err, kind) {
			t.Errorf("%d paise: %v", amount, err)
		}
	}
	in := someOrder()
	if _, _, err := r.setUpMandate(t.Context(), in, newMandate{AmountType: "VARIABLE", MaxMinor: mandateMaxOnce + 1, Frequency: "MONTHLY"}); !fail.Is(err, fail.InvalidArgument) {
		t.Errorf("a limit above the law's: %v", err)
	}
	if _, _, err := r.setUpMandate(t.Context(), in, newMandate{AmountType: "VARIABLE", MaxMinor: price - 1, Frequency: "MONTHLY"}); !fail.Is(err, fail.InvalidArgument) {
		t.Errorf("a first payment above the limit: %v", err)
	}
	one := someDebit(m.ID, r.clock())
	p, _, err := r.schedule(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	q, d, err := r.schedule(t.Context(), one)
	if err != nil || q.ID != p.ID || d.Cycle != 2 {
		t.Errorf("a repeat: %+v %v", d, err)
	}
	one.AmountMinor, one.TaxableMinor = one.AmountMinor+1, one.TaxableMinor+1
	if _, _, err := r.schedule(t.Context(), one); !fail.Is(err, fail.Conflict) {
		t.Errorf("a repeat of another amount: %v", err)
	}
	if _, _, err := r.schedule(t.Context(), someDebit(uuid.New(), r.clock())); !fail.Is(err, fail.NotFound) {
		t.Errorf("a mandate nobody has: %v", err)
	}
}

// TestOffPeak: 21:31 to 09:59 and 13:01 to 16:59 IST.
func TestOffPeak(t *testing.T) {
	day := time.Date(2026, 11, 23, 0, 0, 0, 0, ist)
	clock := func(h, m, s int) time.Time {
		return day.Add(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second)
	}
	for _, tt := range []struct{ at, want time.Time }{
		{clock(0, 0, 0), clock(0, 0, 0)},
		{clock(9, 59, 59), clock(9, 59, 59)},
		{clock(10, 0, 0), clock(13, 1, 0)},
		{clock(11, 30, 0), clock(13, 1, 0)},
		{clock(13, 0, 59), clock(13, 1, 0)},
		{clock(13, 1, 0), clock(13, 1, 0)},
		{clock(16, 59, 59), clock(16, 59, 59)},
		{clock(17, 0, 0), clock(21, 31, 0)},
		{clock(21, 30, 59), clock(21, 31, 0)},
		{clock(21, 31, 0), clock(21, 31, 0)},
		{clock(23, 59, 59), clock(23, 59, 59)},
	} {
		if got := offPeak(tt.at.UTC()); !got.Equal(tt.want) {
			t.Errorf("at %s: %s, want %s", tt.at, got.In(ist), tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		at := day.Add(time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "after")))
		got := offPeak(at)
		if got.Before(at) || got.Sub(at) > 5*time.Hour || peakHours(got) || peakHours(at) == got.Equal(at) {
			t.Fatalf("at %s: %s", at.In(ist), got.In(ist))
		}
	})
}

// TestNextMandate: an end is an end, whatever is said after it.
func TestNextMandate(t *testing.T) {
	states := []mandateState{"", mandatePending, mandateActive, mandatePaused, mandateRevoked, mandateCancelled, mandateExpired, mandateFailed, "NEW"}
	rapid.Check(t, func(t *rapid.T) {
		s := mandatePending
		for _, said := range rapid.SliceOf(rapid.SampledFrom(states[:8])).Draw(t, "said") {
			next := nextMandate(s, said)
			switch {
			case s.over() && next != s, next == "", s != mandatePending && next == mandatePending,
				s == mandateActive && next == mandateFailed, nextMandate(next, said) != next:
				t.Fatalf("%s and then %q make %s", s, said, next)
			}
			s = next
		}
	})
}

// TestCrashes: the process dies after each commit, before the call it was for.
func TestCrashes(t *testing.T) {
	r := newRig(t)
	m := r.agreed()
	p := r.due(m)
	d := r.debitNow(p.ID)
	if ok, err := r.beginNotify(t.Context(), d); !ok || err != nil {
		t.Fatal(ok, err)
	}
	r.untilNotified(p.ID)
	for { // to the moment of the debit, and no further
		if ok, err := r.beginRedeem(t.Context(), r.debitNow(p.ID)); err != nil {
			t.Fatal(err)
		} else if ok {
			break
		}
		r.advance(time.Hour)
	}
	r.bank.do(func() { // nobody was near the windows in this test
		if n := r.bank.calls["redeem"]; n != 0 {
			t.Errorf("asked for %d times before the crash", n)
		}
	})
	r.days(40 * time.Hour)
	d = r.debitNow(p.ID)
	if d.State != debitSucceeded || d.Tries != 2 || r.bank.taken(d.MerchantOrderID) != 1 {
		t.Errorf("after the crashes: %+v", d)
	}
	r.bank.blameless(t)
}

// TestFence: who lost its lease neither tells nor takes.
func TestFence(t *testing.T) {
	r := newRig(t)
	m := r.agreed()
	p := r.due(m)
	old := r.debitNow(p.ID)
	if list, err := r.leaseDebits(t.Context()); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if err := r.takeOn(t.Context(), old); err != nil || r.bank.count("notify") != 0 {
		t.Errorf("told by who lost its lease: %v", err)
	}
}

// TestFourWorkers race for the same debits: each is taken once.
func TestFourWorkers(t *testing.T) {
	r := newRig(t)
	m := r.agreed()
	var list []payment
	for range 12 {
		list = append(list, r.due(m))
	}
	for _, p := range list {
		r.untilNotified(p.ID)
	}
	for range 60 {
		r.advance(time.Hour)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 4 {
					if _, err := r.mandateBatch(t.Context()); err != nil {
						t.Errorf("worker: %v", err)
					}
				}
			})
		}
		wg.Wait()
	}
	for _, p := range list {
		d := r.debitNow(p.ID)
		if d.State != debitSucceeded || r.bank.taken(d.MerchantOrderID) != 1 || d.Tries != 1 {
			t.Errorf("%+v, taken %d times", d, r.bank.taken(d.MerchantOrderID))
		}
	}
	r.bank.blameless(t)
}
