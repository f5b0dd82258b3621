package payment

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/manas360/platform/services/payment/signature"
)

const (
	razorpaySignatureHeader = "x-razorpay-signature"
	razorpayIDHeader        = "x-razorpay-event-id"
)

func verifyRazorpay(secrets signature.Secrets) verifier {
	return func(h map[string]string, body []byte) bool {
		return signature.Razorpay(h[razorpaySignatureHeader], body, secrets)
	}
}

// razorpayCallback is the part we rely on. The entities are snapshots of when it
// was sent: payment.authorized may well say captured.
type razorpayCallback struct {
	Event     string                                      `json:"event"`
	Payload   map[string]struct{ Entity *razorpayEntity } `json:"payload"`
	CreatedAt int64                                       `json:"created_at"`
}

type razorpayEntity struct {
	ID          string `json:"id"`
	Amount      *int64 `json:"amount"`
	Currency    string `json:"currency"`
	Status      string `json:"status"`
	OrderID     string `json:"order_id"`
	PaymentID   string `json:"payment_id"`
	Receipt     string `json:"receipt"`
	ReferenceID string `json:"reference_id"` // a payment link's
	Notes       notes  `json:"notes"`
}

// notes are what the merchant wrote on a thing: an object, or an empty list when
// there is nothing. What is not text is not ours.
type notes map[string]string

// UnmarshalJSON never fails: nothing relies on notes alone.
func (n *notes) UnmarshalJSON(raw []byte) error {
	var all map[string]any
	if json.Unmarshal(raw, &all) != nil {
		return nil //nolint:nilerr // a list
	}
	*n = notes{}
	for k, v := range all {
		if text, ok := v.(string); ok {
			(*n)[k] = text
		}
	}
	return nil
}

func parseRazorpay(h map[string]string, body []byte) (callback, error) {
	var b razorpayCallback
	if err := json.Unmarshal(body, &b); err != nil {
		return callback{}, errors.New("it is not the JSON of a callback")
	}
	if len(b.Payload) == 0 {
		return callback{}, errors.New("it has no payload")
	}
	c := callback{Event: b.Event, EventID: headerID(h, razorpayIDHeader), Topic: razorpayTopic(b.Event)}
	entity := func(name string) razorpayEntity {
		if e := b.Payload[name].Entity; e != nil {
			return *e
		}
		return razorpayEntity{}
	}
	order, pay, link := entity("order"), entity("payment"), entity("payment_link")
	refund, dispute, mandate := entity("refund"), entity("dispute"), entity("subscription")
	c.Refs = []string{
		order.ID, pay.OrderID, link.OrderID, link.ID, pay.ID, refund.PaymentID, dispute.PaymentID, refund.ID, dispute.ID, mandate.ID,
	}
	// A payment's notes may come from the customer's browser, an order's do not.
	c.MerchantOrderID = cmp.Or(order.Receipt, order.Notes[noteOrder], link.ReferenceID, pay.Notes[noteOrder], refund.Notes[noteOrder])
	about := order // its amount is what we asked for; a payment's may hold the customer's fee
	switch c.Topic {
	case topicRefund:
		about, c.Subject = refund, cmp.Or(refund.Receipt, refund.Notes[noteRefund], refund.ID)
	case topicDispute:
		about, c.Subject = dispute, dispute.ID
	case topicMandate:
		about, c.Subject = mandate, cmp.Or(mandate.Notes["merchantSubscriptionId"], mandate.ID)
	default:
		if order.ID == "" {
			about = pay
		}
	}
	c.AmountMinor, c.Currency, c.State = about.Amount, strings.ToUpper(about.Currency), about.Status
	ended := []string{"payment.captured", "order.paid", "payment_link.paid"}
	c.Final = slices.Contains(ended, b.Event) && slices.Contains([]string{"captured", "paid", "refunded"}, c.State)
	// The date tells a second dispute.under_review from a repeat of the first. It
	// is signed; the event's id is not.
	return c.seal(append(slices.Clone(c.Refs), strconv.FormatInt(b.CreatedAt, 10))...)
}

func razorpayTopic(event string) string {
	for _, t := range []struct{ prefix, topic string }{
		{"payment.dispute.", topicDispute},
		{"payment.downtime.", ""},
		{"payment.", topicOrder},
		{"order.", topicOrder},
		{"payment_link.", topicOrder},
		{"refund.", topicRefund},
		{"subscription.", topicMandate},
		{"token.", topicMandate},
		{"settlement.", topicSettlement},
	} {
		if strings.HasPrefix(event, t.prefix) {
			return t.topic
		}
	}
	return ""
}
