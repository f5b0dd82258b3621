package payment

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	"github.com/manas360/platform/pkg/token"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

// TestKeptCallbacks lists what was kept, and has an orphan understood again.
func TestKeptCallbacks(t *testing.T) {
	r := newRig(t)
	g, err := rpc.NewServer(rpc.ServerConfig{Process: rpctest.Process(t, "payment")})
	if err != nil {
		t.Fatal(err)
	}
	r.Register(g)
	addr := rpctest.Serve(t, g)
	admin := paymentv1.NewWebhookEventInternalServiceClient(rpctest.Dial(t, "admin", "payment", addr))
	operator := &token.Caller{UserID: uuid.New(), Permissions: []string{"payments.manage"}, AMR: []string{"pwd", "otp"}}
	ctx := token.NewContext(t.Context(), operator)
	for i := range 5 {
		r.tell(completed, fmt.Sprintf("PUNKNOWN-%d", i), "COMPLETED", price)
	}
	p := r.open(someOrder())
	r.tell(completed, p.MerchantOrderID, "COMPLETED", price)

	var refs []string
	q := &paymentv1.ListWebhookEventsRequest{State: paymentv1.WebhookEvent_ORPHAN, Provider: "phonepe", PageSize: 2}
	var last *paymentv1.WebhookEvent
	for range 4 {
		got, err := admin.ListWebhookEvents(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range got.GetWebhookEvents() {
			refs = append(refs, ev.GetMerchantOrderId())
			last = ev
		}
		if q.PageToken = got.GetNextPageToken(); q.GetPageToken() == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"PUNKNOWN-4", "PUNKNOWN-3", "PUNKNOWN-2", "PUNKNOWN-1", "PUNKNOWN-0"}, refs); diff != "" {
		t.Errorf("orphans, newest first: %s", diff)
	}
	if last.GetClaimedAmount().GetAmountMinor() != price || last.GetTopic() != "order" || last.GetState() != paymentv1.WebhookEvent_ORPHAN || last.GetReceivedAt() == nil {
		t.Errorf("shown as %v", last)
	}
	if got, err := admin.ListWebhookEvents(ctx, &paymentv1.ListWebhookEventsRequest{}); err != nil || len(got.GetWebhookEvents()) != 6 {
		t.Errorf("all: %v %v", got, err)
	}

	if _, err := r.db.Pool.Exec(t.Context(), `UPDATE payment.attempt SET merchant_order_id = 'PUNKNOWN-0'`); err != nil {
		t.Fatal(err)
	}
	again := &paymentv1.RetryWebhookEventRequest{Id: last.GetId(), Reason: "the order came late"}
	got, err := admin.RetryWebhookEvent(ctx, again)
	if err != nil || got.GetWebhookEvent().GetState() != paymentv1.WebhookEvent_RECEIVED {
		t.Fatalf("retry: %v %v", got, err)
	}
	if _, err := admin.RetryWebhookEvent(ctx, again); err != nil || r.audited("webhook.retried") != 1 {
		t.Errorf("a second retry: %v, %d audited", err, r.audited("webhook.retried"))
	}
	for name, q := range map[string]*paymentv1.RetryWebhookEventRequest{
		"unknown":   {Id: id.Format("evt", uuid.New()), Reason: "because of something"},
		"malformed": {Id: "evt_!", Reason: "because of something"},
	} {
		if _, err := admin.RetryWebhookEvent(ctx, q); !fail.Is(err, fail.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := paymentv1.NewWebhookEventInternalServiceClient(rpctest.Dial(t, "auth", "payment", addr)).ListWebhookEvents(ctx, q); !fail.Is(err, fail.PermissionDenied) {
		t.Errorf("auth lists callbacks: %v", err)
	}
}

// TestOrphanOfATopic comes back to its handler, later each time, and not for
// ever. money.md B30
func TestOrphanOfATopic(t *testing.T) {
	r := newRig(t)
	r.tell("pg.refund.completed", "PUNKNOWN-1", "COMPLETED", 100)
	events, err := r.lease(t.Context(), 8)
	if err != nil || len(events) != 1 || events[0].Topic != topicRefund || events[0].Provider != "phonepe" || events[0].MerchantOrderID != "PUNKNOWN-1" {
		t.Fatalf("%+v %v", events, err)
	}
	if err := r.orphan(t.Context(), events[0], "no such refund"); err != nil {
		t.Fatal(err)
	}
	if found, looked, err := r.lookAtOrphans(t.Context()); found+looked != 0 || err != nil {
		t.Errorf("looked at %d before its time: %v", looked, err)
	}
	looks := 0
	for range 400 {
		r.advance(time.Hour)
		found, _, err := r.lookAtOrphans(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if looks += found; found == 0 {
			break
		}
		if err := r.orphan(t.Context(), events[0], "no such refund"); err != nil {
			t.Fatal(err)
		}
	}
	if want := int(looksEnd / time.Hour); looks < want-2 || looks > want+2 {
		t.Errorf("%d looks, an hour apart, want some %d", looks, want)
	}
}

// TestDisputeNamesThePayment: the order is found by what an earlier callback
// said. money.md B30
func TestDisputeNamesThePayment(t *testing.T) {
	r := newBank(t)
	d := doors()[3]
	p, claim := r.openAt(d)
	r.deliver(d, d.body(claim))
	dispute := `{"id":"evt_d","type":"charge.dispute.created","data":{"object":{"id":"du_1","amount":29900,"currency":"inr","status":"needs_response","charge":"ch_9","payment_intent":"pi_` + claim.order + `"}}}`
	r.deliver(d, []byte(dispute))
	if n := r.number(`SELECT count(*) FROM payment.webhook_event WHERE topic = 'dispute' AND subject = 'du_1' AND state = 'RECEIVED' AND merchant_order_id = $1`, p.MerchantOrderID); n != 1 {
		t.Error("the dispute does not name its order")
	}
}

// TestMandatePausedTwice: PhonePe says so in the same words.
func TestMandatePausedTwice(t *testing.T) {
	r := newRig(t)
	d := doors()[0]
	body := []byte(`{"event":"subscription.paused","payload":{"merchantSubscriptionId":"M1","subscriptionId":"OMS1","state":"PAUSED"}}`)
	r.deliver(d, body)
	events, err := r.lease(t.Context(), 8)
	if err != nil || len(events) != 1 || events[0].Topic != topicMandate || events[0].Subject != "M1" {
		t.Fatalf("%+v %v", events, err)
	}
	if err := r.endEvent(t.Context(), events[0], eventProcessed, ""); err != nil {
		t.Fatal(err)
	}
	if !r.deliver(d, body) || r.events(eventReceived) != 0 {
		t.Error("a repeat of the delivery was heard")
	}
	r.advance(time.Hour)
	if !r.deliver(d, body) || r.events(eventReceived) != 1 {
		t.Error("the second pause was not heard")
	}
}

// TestTopics reads what each dialect says about what.
func TestTopics(t *testing.T) {
	refund, mandate := "R"+merchantOrderID(uuid.New(), 1)[1:], "M"+merchantOrderID(uuid.New(), 1)[1:27]
	for _, tt := range []struct {
		parse                     claimReader
		body                      string
		topic, subject, ref, want string
	}{
		{parsePhonePe, `{"event":"pg.refund.failed","payload":{"merchantRefundId":"R1","originalMerchantOrderId":"P1","refundId":"OMR1"}}`, topicRefund, "R1", "P1", "OMR1"},
		{parsePhonePe, `{"event":"payment.dispute.lost","payload":{"disputeId":"D1","merchantOrderId":"P1"}}`, topicDispute, "D1", "P1", "D1"},
		{parsePhonePe, `{"event":"subscription.redemption.order.completed","payload":{"merchantOrderId":"D1","paymentFlow":{"merchantSubscriptionId":"M1"}}}`, topicMandate, "M1", "D1", ""},
		{parsePhonePe, `{"event":"subscription.redemption.transaction.failed","payload":{"paymentFlow":{"merchantSubscriptionId":"M1","merchantOrderId":"D1"}}}`, topicMandate, "M1", "D1", ""},
		{parsePhonePe, `{"event":"settlement.attempt.failed","payload":{}}`, topicSettlement, "", "", ""},
		{parsePhonePe, `{"event":"something.new","payload":{}}`, "", "", "", ""},
		{parseSandbox, `{"merchantTransactionId":"` + refund + `","status":"success"}`, topicRefund, refund, "", ""},
		{parseSandbox, `{"merchantTransactionId":"` + mandate + `","status":"success"}`, topicMandate, mandate, mandate, ""},
		{parseRazorpay, `{"event":"refund.processed","payload":{"refund":{"entity":{"id":"rfnd_1","payment_id":"pay_1","receipt":"R1","amount":5}},"payment":{"entity":{"id":"pay_1","order_id":"order_1"}}}}`, topicRefund, "R1", "", "rfnd_1"},
		{parseRazorpay, `{"event":"refund.created","payload":{"refund":{"entity":{"id":"rfnd_1","notes":{"merchantRefundId":"R1","merchantOrderId":"P1"}}}}}`, topicRefund, "R1", "P1", "rfnd_1"},
		{parseRazorpay, `{"event":"payment.dispute.won","payload":{"dispute":{"entity":{"id":"disp_1","payment_id":"pay_1"}}}}`, topicDispute, "disp_1", "", "pay_1"},
		{parseRazorpay, `{"event":"payment_link.paid","payload":{"payment_link":{"entity":{"id":"plink_1","order_id":"order_1","reference_id":"P1"}}}}`, topicOrder, "", "P1", "plink_1"},
		{parseRazorpay, `{"event":"payment.downtime.started","payload":{"payment.downtime":{"entity":{"id":"down_1"}}}}`, "", "", "", ""},
		{parseStripe, `{"id":"evt_1","type":"charge.refunded","data":{"object":{"id":"ch_1","amount":5,"amount_refunded":3,"payment_intent":"pi_1","metadata":{"merchantOrderId":"P1"}}}}`, topicRefund, "", "P1", "ch_1"},
		{parseStripe, `{"id":"evt_1","type":"refund.failed","data":{"object":{"id":"re_1","metadata":{"merchantRefundId":"R1"}}}}`, topicRefund, "R1", "", "re_1"},
		{parseStripe, `{"id":"evt_1","type":"checkout.session.completed","data":{"object":{"id":"cs_1","client_reference_id":"P1","payment_status":"paid","payment_intent":{"id":"pi_1"}}}}`, topicOrder, "", "P1", "pi_1"},
		{parseStripe, `{"id":"evt_1","type":"customer.created","data":{"object":{"id":"cus_1"}}}`, "", "", "", ""},
	} {
		c, err := tt.parse(nil, []byte(tt.body))
		if err != nil || c.Topic != tt.topic || c.Subject != tt.subject || c.MerchantOrderID != tt.ref {
			t.Errorf("%s: topic %q, subject %q, order %q (%v)", tt.body, c.Topic, c.Subject, c.MerchantOrderID, err)
		}
		if found := tt.want == ""; !found {
			for _, ref := range c.Refs {
				found = found || ref == tt.want
			}
			if !found {
				t.Errorf("%s: names %v, want %q", tt.body, c.Refs, tt.want)
			}
		}
	}
}
