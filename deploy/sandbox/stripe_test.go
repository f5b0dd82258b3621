package sandbox

import (
	"errors"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	stripego "github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"
)

// stripeGo is Stripe's own client, at the sandbox.
func (w *world) stripeGo(retries int64) *stripego.Client {
	backend := stripego.GetBackendWithConfig(stripego.APIBackend, &stripego.BackendConfig{
		URL: &w.url, LeveledLogger: &stripego.LeveledLogger{Level: stripego.LevelNull}, MaxNetworkRetries: stripego.Int64(retries),
	})
	return stripego.NewClient(merchantS.APIKey, stripego.WithBackends(&stripego.Backends{API: backend}))
}

// money.md 4.4: the vector of Stripe's own tests.
func TestStripesVector(t *testing.T) {
	got := merchantS.sign("whsec_test_secret", []byte(`{"id":"evt_test_webhook","object":"event"}`), time.Unix(1492774577, 0))
	if want := "t=1492774577,v1=88a022085c6bdb887b02cb26ff76dd681234d9675c0f22844059f55552a8883a"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// events takes n callbacks, checked by Stripe's own verifier at the sandbox's time, and names their types.
func (w *world) stripeEvents(n int) map[string]stripego.Event {
	w.t.Helper()
	got := map[string]stripego.Event{}
	for range n {
		d := w.delivered()
		// The clock of these tests stands, so the tolerance is not of use; that the time is signed is.
		e, err := webhook.ConstructEventIgnoringTolerance(d.body, d.header.Get("Stripe-Signature"), merchantS.WebhookSecret)
		if err != nil {
			w.t.Fatalf("%s: %v", d.body, err)
		}
		if _, err := webhook.ConstructEventIgnoringTolerance(d.body, d.header.Get("Stripe-Signature"), "whsec_other"); err == nil {
			w.t.Error("any secret fits")
		}
		got[string(e.Type)] = e
	}
	return got
}

func names(t *testing.T, got map[string]stripego.Event, want ...string) {
	t.Helper()
	all := map[string]bool{}
	for k := range got {
		all[k] = true
	}
	expect := map[string]bool{}
	for _, k := range want {
		expect[k] = true
	}
	if diff := cmp.Diff(expect, all); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestStripesOwnClientCheckout(t *testing.T) {
	w := open(t)
	c := w.stripeGo(0)
	params := &stripego.CheckoutSessionCreateParams{
		Mode: stripego.String("payment"), SuccessURL: stripego.String("http://localhost:5001/back?s={CHECKOUT_SESSION_ID}"), CancelURL: stripego.String("http://localhost:5001/no"),
		ClientReferenceID: stripego.String("P-9"), ExpiresAt: stripego.Int64(w.clock.Load() + 3600),
		LineItems: []*stripego.CheckoutSessionCreateLineItemParams{{
			Quantity:  stripego.Int64(2),
			PriceData: &stripego.CheckoutSessionCreateLineItemPriceDataParams{Currency: stripego.String("inr"), UnitAmount: stripego.Int64(14950), ProductData: &stripego.CheckoutSessionCreateLineItemPriceDataProductDataParams{Name: stripego.String("Premium")}},
		}},
		PaymentIntentData: &stripego.CheckoutSessionCreatePaymentIntentDataParams{Metadata: map[string]string{"merchantOrderId": "P-9"}},
	}
	params.SetIdempotencyKey("k-1")
	s, err := c.V1CheckoutSessions.Create(t.Context(), params)
	if err != nil || s.Status != "open" || s.PaymentStatus != "unpaid" || s.AmountTotal != 29900 || s.PaymentIntent != nil {
		t.Fatalf("create: %+v, %v", s, err)
	}
	again, err := c.V1CheckoutSessions.Create(t.Context(), params)
	if err != nil || again.ID != s.ID || again.LastResponse.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the same key: %s, %v; want %s", again.ID, err, s.ID)
	}
	if status, got := w.complete(w.pathOf(s.URL), "SUCCESS"); status != 200 || got["redirectUrl"] != "http://localhost:5001/back?s="+s.ID {
		t.Errorf("complete: %d %v", status, got)
	}
	got := w.stripeEvents(3)
	names(t, got, "charge.succeeded", "payment_intent.succeeded", "checkout.session.completed")
	get := &stripego.CheckoutSessionRetrieveParams{}
	get.AddExpand("payment_intent.latest_charge")
	s, err = c.V1CheckoutSessions.Retrieve(t.Context(), s.ID, get)
	if err != nil || s.Status != "complete" || s.PaymentStatus != "paid" || s.PaymentIntent.AmountReceived != 29900 || s.PaymentIntent.Status != "succeeded" || s.PaymentIntent.LatestCharge.Created == 0 {
		t.Fatalf("retrieve: %+v, %v", s, err)
	}
	if rows := w.rows(); len(rows) != 1 || rows[0].Provider != "stripe" || rows[0].MerchantOrderID != "P-9" || rows[0].AmountMinor != 29900 {
		t.Errorf("statement = %+v", rows)
	}
	back, err := c.V1Refunds.Create(t.Context(), &stripego.RefundCreateParams{PaymentIntent: &s.PaymentIntent.ID, Amount: stripego.Int64(9900), Reason: stripego.String("requested_by_customer")})
	if err != nil || back.Status != "succeeded" || back.Amount != 9900 || back.Charge.ID != s.PaymentIntent.LatestCharge.ID {
		t.Fatalf("refund: %+v, %v", back, err)
	}
	names(t, w.stripeEvents(2), "refund.created", "charge.refunded")
	_, err = c.V1Refunds.Create(t.Context(), &stripego.RefundCreateParams{PaymentIntent: &s.PaymentIntent.ID, Amount: stripego.Int64(20001)})
	var refused *stripego.Error
	if !errors.As(err, &refused) || refused.HTTPStatusCode != 400 || refused.Param != "amount" {
		t.Errorf("refund of too much: %v", err)
	}
	charge, err := c.V1Charges.Retrieve(t.Context(), back.Charge.ID, nil)
	if err != nil || charge.AmountRefunded != 9900 || charge.Refunded || !charge.Captured {
		t.Errorf("charge: %+v, %v", charge, err)
	}
	n := 0
	for e, err := range c.V1Events.List(t.Context(), &stripego.EventListParams{}).All(t.Context()) {
		if err != nil || e.APIVersion != stripego.APIVersion {
			t.Fatalf("event %+v, %v", e, err)
		}
		n++
	}
	if n != 5 {
		t.Errorf("%d events are listed, want 5", n)
	}
}

func TestStripesOwnClientIntents(t *testing.T) {
	w := open(t)
	c := w.stripeGo(0)
	ctx := t.Context()
	create := func(manual bool) *stripego.PaymentIntent {
		p := &stripego.PaymentIntentCreateParams{Amount: stripego.Int64(5000), Currency: stripego.String("inr"), Metadata: map[string]string{"merchantOrderId": "P-i"}}
		if manual {
			p.CaptureMethod = stripego.String("manual")
		}
		pi, err := c.V1PaymentIntents.Create(ctx, p)
		if err != nil || pi.Status != "requires_payment_method" {
			t.Fatalf("create: %+v, %v", pi, err)
		}
		names(t, w.stripeEvents(1), "payment_intent.created")
		return pi
	}
	pi := create(false)
	_, err := c.V1PaymentIntents.Confirm(ctx, pi.ID, &stripego.PaymentIntentConfirmParams{PaymentMethod: stripego.String("pm_card_chargeDeclinedInsufficientFunds")})
	var refused *stripego.Error
	if !errors.As(err, &refused) || refused.HTTPStatusCode != 402 || refused.Code != "card_declined" || refused.DeclineCode != "insufficient_funds" || refused.PaymentIntent.ID != pi.ID {
		t.Errorf("declined: %v", err)
	}
	names(t, w.stripeEvents(2), "charge.failed", "payment_intent.payment_failed")
	pi, err = c.V1PaymentIntents.Confirm(ctx, pi.ID, &stripego.PaymentIntentConfirmParams{PaymentMethod: stripego.String("pm_card_visa")})
	if err != nil || pi.Status != "succeeded" || pi.AmountReceived != 5000 {
		t.Fatalf("confirm: %+v, %v", pi, err)
	}
	names(t, w.stripeEvents(2), "charge.succeeded", "payment_intent.succeeded")
	if _, err = c.V1PaymentIntents.Cancel(ctx, pi.ID, nil); !errors.As(err, &refused) || refused.Code != "payment_intent_unexpected_state" {
		t.Errorf("cancel after success: %v", err)
	}

	held := create(true)
	held, err = c.V1PaymentIntents.Confirm(ctx, held.ID, &stripego.PaymentIntentConfirmParams{PaymentMethod: stripego.String("pm_card_visa")})
	if err != nil || held.Status != "requires_capture" || held.AmountCapturable != 5000 {
		t.Fatalf("held: %+v, %v", held, err)
	}
	w.stripeEvents(2)
	held, err = c.V1PaymentIntents.Capture(ctx, held.ID, &stripego.PaymentIntentCaptureParams{AmountToCapture: stripego.Int64(4000)})
	if err != nil || held.Status != "succeeded" || held.AmountReceived != 4000 {
		t.Fatalf("captured: %+v, %v", held, err)
	}
	names(t, w.stripeEvents(2), "charge.captured", "payment_intent.succeeded")
	// money.md row B26: a refund is held under what was captured, not under the amount.
	if _, err = c.V1Refunds.Create(ctx, &stripego.RefundCreateParams{PaymentIntent: &held.ID, Amount: stripego.Int64(4001)}); !errors.As(err, &refused) || refused.HTTPStatusCode != 400 {
		t.Errorf("refund over captured: %v", err)
	}

	away := create(false)
	away, err = c.V1PaymentIntents.Confirm(ctx, away.ID, &stripego.PaymentIntentConfirmParams{
		PaymentMethodData: &stripego.PaymentIntentPaymentMethodDataParams{Type: stripego.String("upi")}, ReturnURL: stripego.String("http://localhost:5001/back"),
	})
	if err != nil || away.Status != "requires_action" {
		t.Fatalf("upi: %+v, %v", away, err)
	}
	w.stripeEvents(1)
	if status, _ := w.complete(w.pathOf(away.NextAction.RedirectToURL.URL), "PENDING"); status != 200 {
		t.Errorf("pending: %d", status)
	}
	names(t, w.stripeEvents(2), "charge.pending", "payment_intent.processing")
	w.complete(w.pathOf(away.NextAction.RedirectToURL.URL), "SUCCESS")
	names(t, w.stripeEvents(2), "charge.succeeded", "payment_intent.succeeded")

	gone := create(false)
	gone, err = c.V1PaymentIntents.Cancel(ctx, gone.ID, &stripego.PaymentIntentCancelParams{CancellationReason: stripego.String("abandoned")})
	if err != nil || gone.Status != "canceled" || gone.CanceledAt == 0 {
		t.Errorf("cancel: %+v, %v", gone, err)
	}
	if status, _ := w.complete("/checkout/"+gone.ID, "SUCCESS"); status != 409 {
		t.Errorf("paying what was cancelled: %d, want 409", status)
	}
	if rows := w.rows(); len(rows) != 3 {
		t.Errorf("statement = %+v, want three rows", rows)
	}
	if _, err = c.V1PaymentIntents.Retrieve(ctx, "pi_none", nil); !errors.As(err, &refused) || refused.HTTPStatusCode != 404 || refused.Code != "resource_missing" {
		t.Errorf("unknown: %v", err)
	}
}

func TestStripeIdempotency(t *testing.T) {
	w := open(t)
	form := url.Values{"amount": {"5000"}, "currency": {"inr"}}
	_, first := w.stripe("POST", "/payment_intents", form, "Idempotency-Key", "a")
	if _, again := w.stripe("POST", "/payment_intents", form, "Idempotency-Key", "a"); text(again, "id") != text(first, "id") {
		t.Errorf("replayed as %v, want %v", again["id"], first["id"])
	}
	form.Set("amount", "5001")
	if status, got := w.stripe("POST", "/payment_intents", form, "Idempotency-Key", "a"); status != 400 || text(got, "error", "type") != "idempotency_error" {
		t.Errorf("other parameters: %d %v", status, got)
	}
	// A decline is an answer as any other: the same key does not try the card again.
	confirm := url.Values{"payment_method": {"pm_card_chargeDeclined"}}
	for range 2 {
		if status, got := w.stripe("POST", "/payment_intents/"+text(first, "id")+"/confirm", confirm, "Idempotency-Key", "b"); status != 402 || text(got, "error", "code") != "card_declined" {
			t.Errorf("declined: %d %v", status, got)
		}
	}
	if _, got := w.stripe("GET", "/charges", url.Values{"payment_intent": {text(first, "id")}}); count(got) != 1 {
		t.Errorf("charges = %v, want one", got)
	}
	w.control(`{"callDelayMs":300}`)
	form.Set("amount", "7000")
	statuses := make([]int, 2)
	var group sync.WaitGroup
	for i := range statuses {
		group.Go(func() { statuses[i], _ = w.stripe("POST", "/payment_intents", form, "Idempotency-Key", "c") })
	}
	group.Wait()
	if got := statuses[0] + statuses[1]; got != 200+409 {
		t.Errorf("at the same time: %v, want one 200 and one 409", statuses)
	}
}

// An answer that was lost is there for the one who asks again with the same key, and nothing happened twice.
func TestLostAnswer(t *testing.T) {
	w := open(t)
	w.control(`{"loseAnswers":1}`)
	c := w.stripeGo(2)
	params := &stripego.PaymentIntentCreateParams{
		Amount: stripego.Int64(5000), Currency: stripego.String("inr"), Confirm: stripego.Bool(true), PaymentMethod: stripego.String("pm_card_visa"),
	}
	pi, err := c.V1PaymentIntents.Create(t.Context(), params)
	if err != nil || pi.Status != "succeeded" {
		t.Fatalf("create: %+v, %v", pi, err)
	}
	if rows := w.rows(); len(rows) != 1 {
		t.Errorf("statement = %+v, want one row", rows)
	}
}

func TestStripeRefusals(t *testing.T) {
	w := open(t)
	lines := url.Values{"line_items[0][price_data][currency]": {"inr"}, "line_items[0][price_data][unit_amount]": {"100"}, "line_items[0][price_data][product_data][name]": {"x"}, "line_items[0][quantity]": {"1"}}
	and := func(v url.Values, kv ...string) url.Values {
		all := url.Values{}
		for k := range v {
			all[k] = v[k]
		}
		for i := 0; i < len(kv); i += 2 {
			all.Set(kv[i], kv[i+1])
		}
		return all
	}
	good := url.Values{"amount": {"5000"}, "currency": {"inr"}}
	for _, tt := range []struct {
		name, path string
		form       url.Values
		header     []string
		status     int
		param      string
	}{
		{"no amount", "/payment_intents", url.Values{"currency": {"inr"}}, nil, 400, "amount"},
		{"a fraction", "/payment_intents", and(good, "amount", "50.5"), nil, 400, "amount"},
		{"too little", "/payment_intents", and(good, "amount", "49"), nil, 400, "amount"},
		{"too much", "/payment_intents", and(good, "amount", "99999999999999999999"), nil, 400, "amount"},
		{"no currency of four letters", "/payment_intents", and(good, "currency", "inrr"), nil, 400, "currency"},
		{"unknown parameter", "/payment_intents", and(good, "price", "1"), nil, 400, "price"},
		{"no way back", "/checkout/sessions", and(lines, "mode", "payment"), nil, 400, "success_url"},
		{"script for a way back", "/checkout/sessions", and(lines, "mode", "payment", "success_url", "javascript:alert(1)"), nil, 400, "success_url"},
		{"no lines", "/checkout/sessions", url.Values{"mode": {"payment"}, "success_url": {"http://x/"}}, nil, 400, "line_items"},
		{"other key", "/payment_intents", good, []string{"Authorization", "Bearer sk_test_guess"}, 401, "<nil>"},
		{"other version", "/payment_intents", good, []string{"Stripe-Version", "2020-08-27"}, 400, "<nil>"},
		{"JSON", "/payment_intents", good, []string{"Content-Type", "application/json"}, 400, "<nil>"},
		{"refund of nothing", "/refunds", url.Values{}, nil, 400, "<nil>"},
		{"refund of the unknown", "/refunds", url.Values{"payment_intent": {"pi_x"}}, nil, 404, "payment_intent"},
		{"no such call", "/customers", url.Values{}, nil, 404, "<nil>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, got := w.stripe(http.MethodPost, tt.path, tt.form, tt.header...)
			if status != tt.status || text(got, "error", "param") != tt.param || text(got, "error", "message") == "<nil>" {
				t.Errorf("got %d %v, want %d of %s", status, got, tt.status, tt.param)
			}
		})
	}
	// At the root of the host only the key tells the providers apart.
	if status, got := w.call("GET", "/v1/refunds", "", "Authorization", "Bearer "+merchantS.APIKey); status != 200 || got["object"] != "list" {
		t.Errorf("Stripe's at the root: %d %v", status, got)
	}
	if status, got := w.call("GET", "/v1/refunds", "", "user", merchantR.KeyID+":"+merchantR.KeySecret); status != 200 || got["entity"] != "collection" {
		t.Errorf("Razorpay's at the root: %d %v", status, got)
	}
}
