package payment

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
)

// Secrets of every dialect, and those before them.
var someCallbacks = Callbacks{
	PreviousWebhookUsername: "webhook_before", PreviousWebhookPassword: "pass123450",
	PreviousSaltKey: "a salt before that one", PreviousSaltIndex: 2,
	RazorpayWebhook: "razorpay's secret", PreviousRazorpayWebhook: "razorpay's secret before",
	StripeWebhook: "whsec_now", PreviousStripeWebhook: "whsec_before", PreviousSandboxSecret: "the sandbox's secret before",
}

// somePhonePeV1 signs callbacks; without a merchant it takes no payments.
var somePhonePeV1 = PhonePeV1{SaltKey: "099eb0cd-02cf-4e2a-8aca-3e6c6aff0399", SaltIndex: 1}

// said is what a callback claims, in any dialect.
type said struct {
	paid     bool
	ref      string // ours
	order    string // the provider's
	amount   int64
	currency string
	mute     bool // no status at all
}

// door is a dialect as its provider speaks it, made here without the code under test.
type door struct {
	name     string
	dated    bool // it signs the time
	currency bool // it says the currency
	old      string
	now      string
	body     func(said) []byte
	sign     func(secret string, at time.Time, body []byte) map[string]string
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func hexMAC(secret string, parts ...string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(strings.Join(parts, "")))
	return hex.EncodeToString(m.Sum(nil))
}

// pick is a status, or nothing for a callback that has none.
func (s said) pick(paid, failed string) map[string]any {
	switch {
	case s.mute:
		return map[string]any{}
	case s.paid:
		return map[string]any{"status": paid, "state": paid}
	default:
		return map[string]any{"status": failed, "state": failed}
	}
}

func with(base map[string]any, more map[string]any) map[string]any {
	maps.Copy(base, more)
	return base
}

func phonepeBody(s said) []byte {
	event := completed
	if !s.paid {
		event = "checkout.order.failed"
	}
	return asJSON(map[string]any{"event": event, "type": "DEPRECATED", "payload": with(map[string]any{
		"merchantOrderId": s.ref, "orderId": s.order, "amount": s.amount, "somethingNew": []int{1},
	}, s.pick("COMPLETED", "FAILED"))})
}

func phonepe1Body(s said) []byte {
	code := "PAYMENT_SUCCESS"
	if !s.paid {
		code = "PAYMENT_ERROR"
	}
	inner := asJSON(map[string]any{"success": s.paid, "code": code, "data": with(map[string]any{
		"merchantId": "M", "merchantTransactionId": s.ref, "transactionId": s.order, "amount": s.amount,
	}, s.pick("COMPLETED", "FAILED"))})
	return asJSON(map[string]string{"response": base64.StdEncoding.EncodeToString(inner)})
}

func razorpayBody(s said) []byte {
	event := "payment.captured"
	if !s.paid {
		event = "payment.failed"
	}
	return asJSON(map[string]any{
		"entity": "event", "account_id": "acc_1", "event": event, "contains": []string{"payment"}, "created_at": 1_800_000_000,
		"payload": map[string]any{"payment": map[string]any{"entity": with(map[string]any{
			"id": "pay_" + s.order, "order_id": s.order, "amount": s.amount, "currency": s.currency, "notes": []string{}, "fee": nil,
		}, s.pick("captured", "failed"))}},
	})
}

func stripeBody(s said) []byte {
	event := "payment_intent.succeeded"
	if !s.paid {
		event = "payment_intent.payment_failed"
	}
	object := with(map[string]any{
		"id": "pi_" + s.order, "object": "payment_intent", "amount": s.amount, "currency": strings.ToLower(s.currency),
		"metadata": map[string]string{noteOrder: s.ref}, "latest_charge": nil,
	}, s.pick("succeeded", "requires_payment_method"))
	return asJSON(map[string]any{"id": "evt_" + uuid.NewString(), "object": "event", "api_version": "2099-01-01.future", "type": event, "data": map[string]any{"object": object}})
}

func sandboxBody(s said) []byte {
	return asJSON(with(map[string]any{"merchantTransactionId": s.ref}, s.pick("success", "failed")))
}

func signStripe(secret string, at time.Time, body []byte) map[string]string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	return map[string]string{"stripe-signature": "t=" + stamp + ",v1=" + hexMAC(secret, stamp, ".", string(body))}
}

// doors are all five, as their providers' documentation has them.
func doors() []door {
	return []door{
		{
			name: "phonepe", old: "webhook_before:pass123450", now: webhookUser + ":" + webhookPass, body: phonepeBody,
			sign: func(secret string, _ time.Time, _ []byte) map[string]string {
				return map[string]string{"authorization": hexOf(secret)}
			},
		},
		{
			name: "phonepe-v1", old: someCallbacks.PreviousSaltKey + "###2", now: somePhonePeV1.SaltKey + "###1", body: phonepe1Body,
			sign: func(secret string, _ time.Time, body []byte) map[string]string {
				salt, index, _ := strings.Cut(secret, "###")
				var b struct{ Response string }
				_ = json.Unmarshal(body, &b) // a broken body has a signature of nothing
				return map[string]string{"x-verify": hexOf(b.Response+salt) + "###" + index}
			},
		},
		{
			name: "razorpay", currency: true, old: someCallbacks.PreviousRazorpayWebhook, now: someCallbacks.RazorpayWebhook, body: razorpayBody,
			sign: func(secret string, _ time.Time, body []byte) map[string]string {
				return map[string]string{"x-razorpay-signature": hexMAC(secret, string(body)), "x-razorpay-event-id": uuid.NewString()}
			},
		},
		{
			name: "stripe", dated: true, currency: true, old: someCallbacks.PreviousStripeWebhook, now: someCallbacks.StripeWebhook, body: stripeBody, sign: signStripe,
		},
		{
			name: "sandbox", dated: true, old: someCallbacks.PreviousSandboxSecret, now: sandboxSecret, body: sandboxBody,
			sign: func(secret string, at time.Time, body []byte) map[string]string {
				return hmacHeaders(secret, at, string(body))
			},
		},
	}
}

// newBank is a rig whose one fake stands for every provider.
func newBank(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	for _, code := range []string{phonepe1Code, razorpayCode, stripeCode} {
		r.providers[code] = r.providers[phonepeCode]
		if _, err := r.db.Pool.Exec(t.Context(), `INSERT INTO payment.account (code, kind, normal_side) VALUES ('gateway_clearing:' || $1, 'asset', 'debit') ON CONFLICT DO NOTHING`, code); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// openAt opens an order that the door's provider knows.
func (r *rig) openAt(d door) (payment, said) {
	r.t.Helper()
	in := someOrder()
	if in.Provider = d.name; d.name == sandboxCode {
		in.Provider = phonepeCode
	}
	p := r.open(in)
	return p, said{paid: true, ref: p.MerchantOrderID, order: "OMO" + p.MerchantOrderID, amount: price, currency: "INR"}
}

// deliver sends a callback as its provider does.
func (r *rig) deliver(d door, body []byte) (duplicate bool) {
	r.t.Helper()
	duplicate, err := r.receive(r.t.Context(), d.name, d.sign(d.now, r.clock(), body), body)
	if err != nil {
		r.t.Fatalf("%s: %v", d.name, err)
	}
	return duplicate
}

func (r *rig) events(state string) int64 {
	r.t.Helper()
	return r.number(`SELECT count(*) FROM payment.webhook_event WHERE state = $1`, state)
}

// TestRefusedAtTheDoor sends what nobody signed. money.md B41, B56
func TestRefusedAtTheDoor(t *testing.T) {
	r := newBank(t)
	unset := New(Config{PageTokenSecret: "x"}, r.db, r.ids, r.clock)
	refused := 0
	for _, d := range doors() {
		_, claim := r.openAt(d)
		body := d.body(claim)
		now := r.clock()
		tests := map[string]struct {
			headers map[string]string
			body    []byte
		}{
			"forged":   {d.sign("another secret:of another###1", now, body), body},
			"unsigned": {nil, body},
			"unset":    {d.sign("", now, body), body},
		}
		if d.name != phonepeCode { // its header says nothing about the body
			other := claim
			other.amount--
			other.ref += "9" // the old dialect has no amount
			tests["another body"] = struct {
				headers map[string]string
				body    []byte
			}{d.sign(d.now, now, body), d.body(other)}
			tests["truncated"] = struct {
				headers map[string]string
				body    []byte
			}{d.sign(d.now, now, body), body[:len(body)-5]}
		}
		if d.dated {
			for name, at := range map[string]time.Time{"stale": now.Add(-302 * time.Second), "future-dated": now.Add(302 * time.Second), "ten days ahead": now.AddDate(0, 0, 10)} {
				tests[name] = struct {
					headers map[string]string
					body    []byte
				}{d.sign(d.now, at, body), body}
			}
		}
		for _, other := range doors() {
			if other.name != d.name {
				tests["signed as "+other.name] = struct {
					headers map[string]string
					body    []byte
				}{other.sign(other.now, now, body), body}
			}
		}
		for name, tt := range tests {
			refused++
			if _, err := r.receive(t.Context(), d.name, tt.headers, tt.body); !fail.Is(err, fail.InvalidSignature) {
				t.Errorf("%s, %s: %v, want INVALID_SIGNATURE", d.name, name, err)
			}
		}
		if _, err := unset.receive(t.Context(), d.name, d.sign(d.now, now, body), body); !fail.Is(err, fail.InvalidSignature) {
			t.Errorf("%s without any secret: %v, want INVALID_SIGNATURE", d.name, err)
		}
		if _, err := r.receive(t.Context(), d.name, d.sign(d.now, now, body), make([]byte, 256<<10+1)); !fail.Is(err, fail.BodyTooLarge) {
			t.Errorf("%s, oversize: %v, want BODY_TOO_LARGE", d.name, err)
		}
	}
	if n := r.number(`SELECT count(*) FROM payment.webhook_event`); n != 0 {
		t.Errorf("%d refused callbacks kept", n)
	}
	if n := r.audited("webhook.rejected"); n != refused+len(doors()) {
		t.Errorf("%d refusals audited, want %d", n, refused+len(doors()))
	}
}

// TestUnreadable has good signatures of what cannot be read.
func TestUnreadable(t *testing.T) {
	r := newBank(t)
	wrap := func(inner string) string {
		return `{"response":"` + base64.StdEncoding.EncodeToString([]byte(inner)) + `"}`
	}
	for door, bodies := range map[string][]string{
		"phonepe":    {"", "nonsense", "[]", "{}", `{"event":"checkout.order.completed","payload":{"amount":"29900"}}`, `{"event":"checkout.order.completed","payl`},
		"phonepe-v1": {`{"response":"&&&"}`, wrap("nonsense"), wrap("{}"), wrap(`{"code":"PAYMENT_SUCCESS","data":{}}`), wrap(`{"code":"X","data":{"merchantTransactionId":"P","amount":1.5}}`), wrap(`{"code":"X","data":{"merch`)},
		"razorpay":   {"", "nonsense", "{}", `{"event":"order.paid"}`, `{"payload":{"payment":{"entity":{}}}}`, `{"event":"order.paid","payload":{"payment":{"entity":{"amount":299.5}}}}`, `{"event":"order.paid","payload":{"pay`},
		"stripe":     {"", "nonsense", "{}", `{"id":"evt_1","type":"x"}`, `{"type":"x","data":{"object":{}}}`, `{"id":"evt_1","data":{"object":{}}}`, `{"id":"evt_1","type":"x","data":{"object":{"payment_intent":5}}}`},
		"sandbox":    {"", "nonsense", "{}", `{"status":"success"}`, `{"merchantTransactionId":5}`},
	} {
		for _, d := range doors() {
			if d.name != door {
				continue
			}
			for _, body := range bodies {
				if _, err := r.receive(t.Context(), door, d.sign(d.now, r.clock(), []byte(body)), []byte(body)); !fail.Is(err, fail.MalformedBody) {
					t.Errorf("%s %q: %v, want MALFORMED_BODY", door, body, err)
				}
			}
		}
	}
	if n := r.number(`SELECT count(*) FROM payment.webhook_event`); n != 0 {
		t.Errorf("%d unreadable callbacks kept", n)
	}
}

// TestEveryDialect goes through a payment's callbacks at each door. money.md
// B31, B34, B35, O1, O2
func TestEveryDialect(t *testing.T) {
	for _, d := range doors() {
		t.Run(d.name, func(t *testing.T) {
			t.Run("paid", func(t *testing.T) { paidAtTheDoor(t, d) })
			t.Run("claims alone", func(t *testing.T) { claimsAlone(t, d) })
			t.Run("wrong money", func(t *testing.T) { wrongMoney(t, d) })
			t.Run("unknown order", func(t *testing.T) { orphaned(t, d) })
			t.Run("another's order", func(t *testing.T) { anothersOrder(t, d) })
		})
	}
}

// paidAtTheDoor: replayed, reordered and signed with the secret before, a payment is settled once.
func paidAtTheDoor(t *testing.T, d door) {
	t.Helper()
	r := newBank(t)
	p, claim := r.openAt(d)
	failed := claim
	failed.paid = false
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	early, late := d.body(failed), d.body(claim)
	if r.deliver(d, late) || !r.deliver(d, late) || r.deliver(d, early) {
		t.Error("each claim is new once")
	}
	if _, err := r.receive(t.Context(), d.name, d.sign(d.old, r.clock(), late), late); err != nil {
		t.Errorf("the secret before: %v", err)
	}
	if d.dated {
		for _, at := range []time.Duration{-298 * time.Second, 298 * time.Second} {
			if _, err := r.receive(t.Context(), d.name, d.sign(d.now, r.clock().Add(at), late), late); err != nil {
				t.Errorf("signed %s off: %v", at, err)
			}
		}
	}
	if n := r.number(`SELECT count(*) FROM payment.webhook_event`); n != 2 {
		t.Errorf("%d callbacks kept, want 2", n)
	}
	r.work()
	r.until("both are settled", func() bool { return r.events(eventProcessed) == 2 })
	r.settledOnce(p.ID)
	if !r.deliver(d, late) || !r.read(p.ID).State.Paid() {
		t.Error("a replay after the end changed something")
	}
	if n := r.number(`SELECT count(*) FROM payment.webhook_event WHERE headers::text || encode(body, 'escape') LIKE '%' || $1 || '%'`, d.now); n != 0 {
		t.Error("the secret is in the table")
	}
}

// claimsAlone: neither success nor a missing status is believed.
func claimsAlone(t *testing.T, d door) {
	t.Helper()
	r := newBank(t)
	r.work()
	p, claim := r.openAt(d)
	mute := claim
	mute.mute = true
	r.deliver(d, d.body(mute))
	r.deliver(d, d.body(claim))
	r.until("it has been asked about", func() bool { return r.bank.count("status") >= 2 })
	if got := r.read(p.ID); got.State.Paid() {
		t.Errorf("a callback made it %s", got.State)
	}
}

// wrongMoney is not even asked about.
func wrongMoney(t *testing.T, d door) {
	t.Helper()
	if d.name == sandboxCode {
		return // the old dialect says no amount
	}
	r := newBank(t)
	r.work()
	p, claim := r.openAt(d)
	less := claim
	less.amount--
	r.deliver(d, d.body(less))
	want := int64(1)
	if d.currency {
		dollars := claim
		dollars.currency = "USD"
		r.deliver(d, d.body(dollars))
		want++
	}
	r.until("it is refused", func() bool { return r.events(eventIntegrityFailed) == want })
	if got := r.read(p.ID); got.State.Paid() || r.bank.count("status") != 0 {
		t.Errorf("%s after %d questions", got.State, r.bank.count("status"))
	}
	if n := r.audited("payment.integrity_failed"); int64(n) != want {
		t.Errorf("%d audited, want %d", n, want)
	}
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	r.deliver(d, d.body(claim))
	r.until("the true claim is heard", func() bool { return r.read(p.ID).State.Paid() })
}

// orphaned: an unknown order is kept, and heard once its order is here. money.md B30, B35
func orphaned(t *testing.T, d door) {
	t.Helper()
	r := newBank(t)
	paymentID := uuid.New()
	ref := merchantOrderID(paymentID, 1)
	claim := said{paid: true, ref: ref, order: "OMO" + ref, amount: price, currency: "INR"}
	if r.deliver(d, d.body(claim)) || r.events(eventOrphan) != 1 {
		t.Fatal("it was not kept as an orphan")
	}
	r.work()
	r.advance(2 * time.Second)
	r.until("it has been looked at", func() bool {
		return r.number(`SELECT count(*) FROM payment.webhook_event WHERE state = 'ORPHAN' AND looks > 0`) == 1
	})
	p, _ := r.openAt(d)
	if _, err := r.db.Pool.Exec(t.Context(), `UPDATE payment.attempt SET merchant_order_id = $1, provider_order_id = $2 WHERE payment_id = $3`, ref, claim.order, p.ID); err != nil {
		t.Fatal(err)
	}
	r.bank.do(func() { r.bank.orders[ref] = &fakeOrder{ID: claim.order, Ref: ref, State: "COMPLETED", Amount: price} })
	r.advance(10 * time.Second)
	r.until("the orphan is heard", func() bool { return r.read(p.ID).State.Paid() && r.events(eventProcessed) == 1 })
	r.settledOnce(p.ID)
}

// anothersOrder: a provider does not speak of another's orders; the sandbox may.
func anothersOrder(t *testing.T, d door) {
	t.Helper()
	r := newBank(t)
	owner := doors()[0]
	if d.name == phonepeCode {
		owner = doors()[2]
	}
	p, claim := r.openAt(owner)
	r.deliver(d, d.body(claim))
	want := eventOrphan
	if d.name == sandboxCode {
		want = eventReceived
	}
	if r.events(want) != 1 || r.read(p.ID).State.Paid() {
		t.Errorf("no %s callback about an order of %s", want, owner.name)
	}
	ev := webhookEvent{ID: uuid.New(), Provider: "somebody", Event: completed, Topic: topicOrder, MerchantOrderID: p.MerchantOrderID}
	if err := r.understand(t.Context(), ev); err != nil || r.bank.count("status") != 0 {
		t.Errorf("asked about another's order: %v", err)
	}
}

// TestStripeTwins: two events of one change are one; another state of the same
// object is news. money.md 4.4
func TestStripeTwins(t *testing.T) {
	r := newBank(t)
	d := doors()[3]
	refund := func(event, status string) []byte {
		return []byte(fmt.Sprintf(`{"id":%q,"type":"refund.updated","data":{"object":{"id":"re_1","object":"refund","amount":100,"currency":"inr","status":%q,"metadata":null,"charge":{"id":"ch_1"},"payment_intent":"pi_1"}}}`, event, status))
	}
	for i, tt := range []struct {
		body []byte
		want bool
	}{
		{refund("evt_1", "succeeded"), false},
		{refund("evt_2", "succeeded"), true}, // the twin
		{refund("evt_3", "failed"), false},   // succeeded, then failed: it happens
		{refund("evt_3", "pending"), true},   // the same event, whatever it says
	} {
		if got := r.deliver(d, tt.body); got != tt.want {
			t.Errorf("%d: duplicate %v, want %v", i, got, tt.want)
		}
	}
	if n := r.number(`SELECT count(*) FROM payment.webhook_event WHERE topic = 'refund' AND subject = 're_1' AND provider_refs @> '{pi_1,ch_1}' AND claimed_currency = 'INR'`); n != 2 {
		t.Errorf("%d refunds kept, want 2", n)
	}
}
