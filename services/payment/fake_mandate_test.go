package payment

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/services/payment/factstate"
)

// fakeMandates is the bank's side of Autopay. It takes what PhonePe takes, and
// notes whatever the law or the network would hold against us.
type fakeMandates struct {
	now    func() time.Time
	all    map[string]*fakeMandate
	debits map[string]*fakeDebit
	fail   int      // so many debits come to nothing
	faults []string // what we must never have done
	moved  []string // orders whose money moved
}

type fakeMandate struct {
	Ref, State, AmountType, SetUp string
	Max                           int64
}

type fakeDebit struct {
	Ref, Mandate, State string
	Amount              int64
	NotifiedAt          time.Time
	Redeemed            []time.Time
	ends                string // of a debit in flight, at the next look
}

func (f *fakePhonePe) mandateRoutes(m *http.ServeMux) {
	f.mandates.all, f.mandates.debits = map[string]*fakeMandate{}, map[string]*fakeDebit{}
	const base = "/apis/pg-sandbox/checkout/v2/subscriptions/"
	m.HandleFunc("POST "+base+"notify", f.wrap("notify", f.authorized(f.notify)))
	m.HandleFunc("POST "+base+"redeem", f.wrap("redeem", f.authorized(f.redeem)))
	m.HandleFunc("GET "+base+"{id}/status", f.wrap("mandate", f.authorized(f.mandateStatus)))
	m.HandleFunc("POST "+base+"{id}/cancel", f.wrap("cancel", f.authorized(f.cancelMandate)))
}

func (f *fakePhonePe) payOrSetUp(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var q phonepeSetUp
	if err != nil || json.Unmarshal(body, &q) != nil || q.PaymentFlow.Type != "SUBSCRIPTION_CHECKOUT_SETUP" {
		r.Body = io.NopCloser(bytes.NewReader(body))
		f.pay(w, r)
		return
	}
	d := q.PaymentFlow.SubscriptionDetails
	if d.AuthWorkflowType != "TRANSACTION" || q.Amount > d.MaxAmount || d.MaxAmount > 1_500_000 || d.MerchantSubscriptionID == "" || d.ExpireAt <= f.mandates.now().UnixMilli() ||
		d.ProductType != "UPI_MANDATE" || q.ExpireAfter != 1200 || q.PaymentFlow.MerchantURLs.RedirectURL == "" {
		say(w, http.StatusBadRequest, map[string]any{"code": "BAD_REQUEST"})
		return
	}
	if f.orders[q.MerchantOrderID] != nil || f.mandates.all[d.MerchantSubscriptionID] != nil {
		say(w, http.StatusExpectationFailed, map[string]any{"code": "INVALID_TRANSACTION_ID"})
		return
	}
	o := &fakeOrder{ID: "OMO" + q.MerchantOrderID, Ref: q.MerchantOrderID, State: "PENDING", Amount: q.Amount}
	f.orders[o.Ref] = o
	f.mandates.all[d.MerchantSubscriptionID] = &fakeMandate{
		Ref: d.MerchantSubscriptionID, State: "PENDING", AmountType: d.AmountType, SetUp: o.Ref, Max: d.MaxAmount,
	}
	say(w, http.StatusOK, map[string]any{
		"orderId": o.ID, "state": o.State, "expireAt": f.mandates.now().Add(orderLife).UnixMilli(), "redirectUrl": f.URL + "/checkout/" + o.ID,
	})
}

func (f *fakePhonePe) notify(w http.ResponseWriter, r *http.Request) {
	var q phonepeNotify
	err := json.NewDecoder(r.Body).Decode(&q)
	flow := q.PaymentFlow
	m := f.mandates.all[flow.MerchantSubscriptionID]
	switch {
	case err != nil, flow.Type != "SUBSCRIPTION_CHECKOUT_REDEMPTION", flow.RedemptionRetryStrategy != "CUSTOM", flow.AutoDebit, m == nil, q.Amount > m.Max:
		say(w, http.StatusBadRequest, map[string]any{"code": "BAD_REQUEST"})
		return
	case m.State != "ACTIVE":
		say(w, http.StatusBadRequest, map[string]any{"code": "INVALID_SUBSCRIPTION_STATE"})
		return
	case f.mandates.debits[q.MerchantOrderID] != nil:
		say(w, http.StatusExpectationFailed, map[string]any{"code": "INVALID_TRANSACTION_ID"})
		return
	}
	d := &fakeDebit{Ref: q.MerchantOrderID, Mandate: m.Ref, State: "NOTIFICATION_IN_PROGRESS", Amount: q.Amount}
	f.mandates.debits[d.Ref] = d
	say(w, http.StatusOK, map[string]any{"orderId": "OMO" + d.Ref, "state": d.State, "expireAt": f.mandates.now().Add(48 * time.Hour).UnixMilli()})
}

// peakHours is told apart from the code under test: in minutes of the day in India.
func peakHours(at time.Time) bool {
	m := int(at.UTC().Add(330*time.Minute).Sub(at.UTC().Add(330*time.Minute).Truncate(24*time.Hour)) / time.Minute)
	return m >= 600 && m < 781 || m >= 1020 && m < 1291
}

func (f *fakePhonePe) redeem(w http.ResponseWriter, r *http.Request) {
	var q struct {
		MerchantOrderID string `json:"merchantOrderId"`
	}
	if json.NewDecoder(r.Body).Decode(&q) != nil {
		say(w, http.StatusBadRequest, map[string]any{"code": "BAD_REQUEST"})
		return
	}
	b, now := &f.mandates, f.mandates.now()
	d := b.debits[q.MerchantOrderID]
	fault := func(text string) {
		b.faults = append(b.faults, fmt.Sprintf("%s: %s at %s", q.MerchantOrderID, text, now))
		say(w, http.StatusBadRequest, map[string]any{"code": "NOT_NOW"})
	}
	switch {
	case d == nil:
		fault("nobody was told")
	case d.State != "NOTIFIED":
		fault("it is " + d.State)
	case now.Before(d.NotifiedAt.Add(24 * time.Hour)):
		fault("the notice is too young")
	case peakHours(now):
		fault("peak")
	case len(d.Redeemed) >= 4:
		fault("a fifth try")
	case len(d.Redeemed) > 0 && now.Before(d.Redeemed[len(d.Redeemed)-1].Add(90*time.Minute)):
		fault("again too soon")
	case b.all[d.Mandate].State != "ACTIVE": // it may have changed a moment ago
		say(w, http.StatusBadRequest, map[string]any{"code": "INVALID_SUBSCRIPTION_STATE"})
	default:
		d.Redeemed = append(d.Redeemed, now)
		d.State, d.ends = "PENDING", "COMPLETED"
		if b.fail > 0 {
			b.fail--
			d.ends = "NOTIFIED"
			if len(d.Redeemed) == 4 {
				d.ends = "FAILED"
			}
		}
		if d.ends == "COMPLETED" {
			b.moved = append(b.moved, d.Ref)
		}
		say(w, http.StatusOK, map[string]any{"state": "PENDING", "transactionId": "T" + d.Ref})
	}
}

// debitStatus answers for the order of a debit. What was on its way has arrived
// by the next look.
func (f *fakePhonePe) debitStatus(w http.ResponseWriter, ref string) bool {
	d := f.mandates.debits[ref]
	if d == nil {
		return false
	}
	code := ""
	if d.State == "FAILED" {
		code = "INSUFFICIENT_BALANCE"
	}
	body := map[string]any{
		"orderId": "OMO" + d.Ref, "merchantOrderId": d.Ref, "state": d.State, "amount": d.Amount, "errorCode": code,
		"paymentFlow": map[string]any{"merchantSubscriptionId": d.Mandate},
	}
	if !d.NotifiedAt.IsZero() {
		body["paymentFlow"] = map[string]any{"validAfter": d.NotifiedAt.Add(24 * time.Hour).UnixMilli()}
	}
	say(w, http.StatusOK, body)
	switch d.State {
	case "NOTIFICATION_IN_PROGRESS":
		d.State, d.NotifiedAt = "NOTIFIED", f.mandates.now()
	case "PENDING":
		d.State = d.ends
	}
	return true
}

func (f *fakePhonePe) mandateStatus(w http.ResponseWriter, r *http.Request) {
	m := f.mandates.all[r.PathValue("id")]
	if m == nil {
		say(w, http.StatusNotFound, map[string]any{"code": "SUBSCRIPTION_NOT_FOUND"})
		return
	}
	say(w, http.StatusOK, map[string]any{
		"merchantSubscriptionId": m.Ref, "subscriptionId": "OMS" + m.Ref, "state": m.State, "maxAmount": m.Max, "amountType": m.AmountType,
	})
}

func (f *fakePhonePe) cancelMandate(w http.ResponseWriter, r *http.Request) {
	m := f.mandates.all[r.PathValue("id")]
	if m == nil || m.State != "ACTIVE" && m.State != "PAUSED" {
		say(w, http.StatusBadRequest, map[string]any{"code": "INVALID_SUBSCRIPTION_STATE"})
		return
	}
	m.State = "CANCELLED"
	w.WriteHeader(http.StatusNoContent)
}

// at sets a mandate's state at the bank, as the customer does.
func (f *fakePhonePe) at(ref, state string) {
	f.do(func() { f.mandates.all[ref].State = state })
}

// consent completes the setup of a mandate.
func (f *fakePhonePe) consent(ref string) {
	f.do(func() {
		m := f.mandates.all[ref]
		m.State, f.orders[m.SetUp].State = "ACTIVE", "COMPLETED"
	})
}

// taken is how often an order's money moved.
func (f *fakePhonePe) taken(ref string) (n int) {
	f.do(func() {
		for _, moved := range f.mandates.moved {
			if moved == ref {
				n++
			}
		}
	})
	return n
}

func (f *fakePhonePe) blameless(t interface{ Errorf(string, ...any) }) {
	f.do(func() {
		for _, fault := range f.mandates.faults {
			t.Errorf("the bank holds against us: %s", fault)
		}
	})
}

// agreed sets a mandate up to its first payment.
func (r *rig) agreed() mandate {
	r.t.Helper()
	in := someOrder()
	m, p, err := r.setUpMandate(r.t.Context(), in, newMandate{AmountType: "VARIABLE", MaxMinor: mandateMaxOnce, Frequency: "MONTHLY"})
	if err != nil || p.RedirectURL == "" || m.State != mandatePending {
		r.t.Fatalf("set up: %+v %+v %v", m, p, err)
	}
	r.bank.consent(m.MerchantRef)
	a, err := r.attempt(r.t.Context(), r.db.Pool, p.MerchantOrderID)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.askAbout(r.t.Context(), a, origin{by: byProvider}); err != nil {
		r.t.Fatal(err)
	}
	r.settle()
	if m = r.mandateNow(m.ID); m.State != mandateActive {
		r.t.Fatalf("the mandate is %s after its setup", m.State)
	}
	return m
}

func (r *rig) mandateNow(mandateID uuid.UUID) mandate {
	r.t.Helper()
	m, err := r.mandate(r.t.Context(), mandateID)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *rig) debitNow(paymentID uuid.UUID) debit {
	r.t.Helper()
	d, err := r.debit(r.t.Context(), paymentID)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

func someDebit(mandateID uuid.UUID, due time.Time) newDebit {
	in := someOrder()
	return newDebit{newPayment: in, MandateID: mandateID, DueAt: due}
}

// due schedules a debit of which the customer is to be told now.
func (r *rig) due(m mandate) payment {
	r.t.Helper()
	p, d, err := r.schedule(r.t.Context(), someDebit(m.ID, r.clock()))
	if err != nil || d.State != debitPrepared || p.State != factstate.Created {
		r.t.Fatalf("schedule: %+v %+v %v", p, d, err)
	}
	return p
}

// settle runs the worker until it finds nothing due.
func (r *rig) settle() {
	r.t.Helper()
	for range 200 {
		n, err := r.mandateBatch(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
	r.t.Fatal("the worker never rests")
}

// days lets time pass in leaps from one thing that is due to the next.
func (r *rig) days(d time.Duration) {
	r.t.Helper()
	end := r.clock().Add(d)
	for range 3000 {
		r.settle()
		var next *time.Time
		if err := r.db.Pool.QueryRow(r.t.Context(), `SELECT least((SELECT min(next_at) FROM payment.mandate_debit),
			(SELECT min(next_ask_at) FROM payment.mandate))`).Scan(&next); err != nil {
			r.t.Fatal(err)
		}
		if next == nil || next.After(end) {
			r.advance(end.Sub(r.clock()))
			r.settle()
			return
		}
		r.advance(max(next.Sub(r.clock()), 0) + time.Millisecond)
	}
	r.t.Fatal("time stands still")
}

// untilNotified lets time pass until the customer was told of a debit.
func (r *rig) untilNotified(paymentID uuid.UUID) debit {
	r.t.Helper()
	for range 600 {
		if d := r.debitNow(paymentID); d.State == debitNotified {
			return d
		}
		r.days(10 * time.Minute)
	}
	r.t.Fatalf("the debit never became notified but is %+v", r.debitNow(paymentID))
	return debit{}
}

// hears has the worker hear of a mandate's or a debit's callback.
func (r *rig) hears(event, order, subject string) {
	r.t.Helper()
	err := r.onMandate(r.t.Context(), webhookEvent{
		ID: uuid.New(), Event: event, MerchantOrderID: order, Subject: subject, Provider: "phonepe", Topic: "mandate", Attempts: lagAttempts,
	})
	if err != nil {
		r.t.Fatalf("%s: %v", event, err)
	}
}
