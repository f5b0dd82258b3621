package payment

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/manas360/platform/services/payment/signature"
)

const stripeSignatureHeader = "stripe-signature"

// verifyStripe minds both sides of the tolerance; stripe-go minds the past only.
func verifyStripe(secrets signature.Secrets, now func() time.Time) verifier {
	return func(h map[string]string, body []byte) bool {
		return signature.Stripe(h[stripeSignatureHeader], body, now(), secrets)
	}
}

// stripeCallback is the part we rely on, of any version of the API.
type stripeCallback struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	Data *struct {
		Object *stripeObject `json:"object"`
	} `json:"data"`
}

type stripeObject struct {
	ID                string     `json:"id"`
	Amount            *int64     `json:"amount"`
	AmountTotal       *int64     `json:"amount_total"` // a session's
	AmountRefunded    *int64     `json:"amount_refunded"`
	Currency          string     `json:"currency"`
	Status            string     `json:"status"`
	PaymentStatus     string     `json:"payment_status"` // a session's
	PaymentIntent     expandable `json:"payment_intent"`
	Charge            expandable `json:"charge"`
	ClientReferenceID string     `json:"client_reference_id"`
	Metadata          notes      `json:"metadata"`
}

// expandable is an id, or the thing itself with its id.
type expandable string

// UnmarshalJSON fails for what is neither.
func (e *expandable) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '{' {
		var o struct{ ID string }
		if err := json.Unmarshal(raw, &o); err != nil {
			return errors.New("it is no object with an id")
		}
		*e = expandable(o.ID)
		return nil
	}
	var id *string
	if err := json.Unmarshal(raw, &id); err != nil {
		return errors.New("it is no id")
	}
	if id != nil {
		*e = expandable(*id)
	}
	return nil
}

func parseStripe(_ map[string]string, body []byte) (callback, error) {
	var b stripeCallback
	if err := json.Unmarshal(body, &b); err != nil {
		return callback{}, errors.New("it is not the JSON of an event")
	}
	if b.ID == "" || b.Data == nil || b.Data.Object == nil {
		return callback{}, errors.New("it has no id or no object")
	}
	o := b.Data.Object
	c := callback{
		Event: b.Type, EventID: b.ID, Topic: stripeTopic(b.Type), State: cmp.Or(o.PaymentStatus, o.Status),
		MerchantOrderID: cmp.Or(o.Metadata[noteOrder], o.ClientReferenceID), Refs: []string{string(o.PaymentIntent), o.ID, string(o.Charge)},
		AmountMinor: o.Amount, Currency: strings.ToUpper(o.Currency),
	}
	if strings.HasPrefix(b.Type, "checkout.session.") {
		c.AmountMinor = o.AmountTotal
	}
	switch c.Topic {
	case topicRefund:
		c.Subject = cmp.Or(o.Metadata[noteRefund], o.ID)
		if b.Type == "charge.refunded" { // the object is the charge; which refund it does not say
			c.Subject, c.AmountMinor = "", o.AmountRefunded
		}
	case topicDispute:
		c.Subject = o.ID
	}
	ended := []string{"payment_intent.succeeded", "payment_intent.canceled", "charge.captured", "checkout.session.async_payment_succeeded", "checkout.session.expired"}
	c.Final = slices.Contains(ended, b.Type) && c.State != "" || b.Type == "checkout.session.completed" && o.PaymentStatus == "paid"
	// Not the event's id: Stripe now and then makes two events of one change, and
	// tells them apart by id only. The same type about the same object in another
	// state is no twin.
	return c.seal(o.ID)
}

func stripeTopic(event string) string {
	for _, t := range []struct{ prefix, topic string }{
		{"charge.dispute.", topicDispute},
		{"charge.refund", topicRefund}, // charge.refunded, charge.refund.updated
		{"refund.", topicRefund},
		{"charge.", topicOrder},
		{"payment_intent.", topicOrder},
		{"checkout.session.", topicOrder},
		{"payout.", topicSettlement},
	} {
		if strings.HasPrefix(event, t.prefix) {
			return t.topic
		}
	}
	return ""
}
