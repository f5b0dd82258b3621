package payment

import (
	"cmp"
	"encoding/json"
	"errors"
	"strings"

	"github.com/manas360/platform/services/payment/signature"
)

// verifyPhonePe checks v2's header. It proves nothing about the body, which is
// why a callback is only a hint.
func verifyPhonePe(logins signature.Secrets) verifier {
	return func(h map[string]string, _ []byte) bool { return signature.PhonePeV2(h[authorizationHeader], logins) }
}

const legacyEvent = "payment.status" // the old dialect has no event name

// phonepeCallback is the part we rely on; the rest may change. Type is
// deprecated, and passed over.
type phonepeCallback struct {
	Event   string          `json:"event"`
	Payload *phonepePayload `json:"payload"`

	// The old system's sandbox dialect.
	MerchantTransactionID string `json:"merchantTransactionId"`
	Status                string `json:"status"`
}

type phonepePayload struct {
	OrderID                 string          `json:"orderId"`
	MerchantOrderID         string          `json:"merchantOrderId"`
	OriginalMerchantOrderID string          `json:"originalMerchantOrderId"`
	MerchantRefundID        string          `json:"merchantRefundId"`
	RefundID                string          `json:"refundId"`
	DisputeID               string          `json:"disputeId"`
	MerchantSubscriptionID  string          `json:"merchantSubscriptionId"`
	SubscriptionID          string          `json:"subscriptionId"`
	State                   string          `json:"state"`
	Amount                  *int64          `json:"amount"`
	PaymentDetails          []phonepeDetail `json:"paymentDetails"`
	PaymentFlow             struct {        // debits of a mandate nest its names
		MerchantOrderID        string `json:"merchantOrderId"`
		MerchantSubscriptionID string `json:"merchantSubscriptionId"`
	} `json:"paymentFlow"`
}

func parsePhonePe(_ map[string]string, body []byte) (callback, error) {
	var b phonepeCallback
	if err := json.Unmarshal(body, &b); err != nil {
		return callback{}, errors.New("it is not the JSON of a callback")
	}
	switch {
	case b.Payload != nil:
		return b.Payload.callback(b.Event)
	case b.MerchantTransactionID != "":
		c := callback{Event: cmp.Or(b.Event, legacyEvent), Topic: topicOfRef(b.MerchantTransactionID), State: b.Status}
		c.name(b.MerchantTransactionID)
		c.Final = c.Topic == topicOrder
		return c.seal()
	default:
		return callback{}, errors.New("it has no payload")
	}
}

func (p *phonepePayload) callback(event string) (callback, error) {
	c := callback{
		Event: event, Topic: phonepeTopic(event), State: p.State, AmountMinor: p.Amount,
		MerchantOrderID: cmp.Or(p.MerchantOrderID, p.OriginalMerchantOrderID, p.PaymentFlow.MerchantOrderID),
		Refs:            []string{p.OrderID, p.RefundID, p.DisputeID, p.SubscriptionID},
		Final:           phonepeFinal(event),
	}
	switch c.Topic {
	case topicRefund:
		c.Subject = cmp.Or(p.MerchantRefundID, p.RefundID)
	case topicDispute:
		c.Subject = p.DisputeID
	case topicMandate:
		c.Subject = cmp.Or(p.MerchantSubscriptionID, p.PaymentFlow.MerchantSubscriptionID, p.SubscriptionID)
	}
	txns := make([]string, 0, len(p.PaymentDetails))
	for _, d := range p.PaymentDetails {
		txns = append(txns, d.TransactionID)
	}
	return c.seal(txns...)
}

// phonepeFinal reports whether an order's own end is told, rather than that of
// one try to pay it.
func phonepeFinal(event string) bool {
	return strings.HasPrefix(event, "checkout.order.") || strings.HasPrefix(event, "pg.order.") ||
		strings.HasPrefix(event, "paylink.order.") || event == legacyEvent
}

func phonepeTopic(event string) string {
	for _, t := range []struct{ prefix, topic string }{
		{"pg.refund.", topicRefund},
		{"payment.dispute.", topicDispute},
		{"subscription.", topicMandate},
		{"settlement.", topicSettlement},
		{"pg.transaction.", topicOrder},
	} {
		if strings.HasPrefix(event, t.prefix) {
			return t.topic
		}
	}
	if phonepeFinal(event) {
		return topicOrder
	}
	return ""
}

// topicOfRef tells by our own name of a thing what it is, where a dialect has
// one field for all.
func topicOfRef(ref string) string {
	body, _, _ := strings.Cut(ref, "-")
	if len(body) != merchantIDLen {
		return topicOrder
	}
	switch body[0] {
	case 'R':
		return topicRefund
	case 'M', 'D':
		return topicMandate
	default:
		return topicOrder
	}
}

const merchantIDLen = 27 // a letter and 16 bytes in base32, before the number

// name takes the one name a dialect has for orders and for refunds.
func (c *callback) name(ref string) {
	if c.Topic == topicRefund {
		c.Subject = ref
		return
	}
	c.MerchantOrderID = ref
	if c.Topic == topicMandate {
		c.Subject = ref
	}
}
