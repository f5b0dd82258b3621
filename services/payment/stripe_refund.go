package payment

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stripe/stripe-go/v85"
)

const (
	stripePage    = 100
	stripeRefunds = 1000 // of one payment that we look through
)

// refund first looks whether it is there: Stripe forgets its keys after a day.
func (c *stripeCheckout) refund(ctx context.Context, r sentRefund) (refundFact, error) {
	intent, err := c.intent(ctx, r.Order)
	if err != nil {
		return refundFact{}, before("find the payment", err)
	}
	was, err := c.findRefund(ctx, intent, r.MerchantRefundID)
	switch {
	case err == nil:
		return stripeRefundFact(was, r.MerchantRefundID), nil
	case !errors.Is(err, errNoOrder):
		return refundFact{}, before("look for the refund", err)
	}
	p := &stripe.RefundCreateParams{
		PaymentIntent: stripe.String(intent), Amount: stripe.Int64(r.AmountMinor),
		Metadata: map[string]string{noteRefund: r.MerchantRefundID, noteOrder: r.Order.MerchantOrderID},
	}
	p.SetIdempotencyKey(r.MerchantRefundID)
	got, err := c.api.V1Refunds.Create(ctx, p)
	if err != nil {
		return refundFact{}, stripeRefusal("refund", err)
	}
	if got.PaymentIntent == nil || got.PaymentIntent.ID != intent {
		return refundFact{}, errors.New("the refund is of another payment")
	}
	return stripeRefundFact(got, r.MerchantRefundID), nil
}

func (c *stripeCheckout) refundStatus(ctx context.Context, r sentRefund) (refundFact, error) {
	if r.ProviderRefundID != "" {
		got, err := c.api.V1Refunds.Retrieve(ctx, r.ProviderRefundID, nil)
		var e *stripe.Error
		switch {
		case errors.As(err, &e) && e.Code == stripe.ErrorCodeResourceMissing:
			return refundFact{}, errNoOrder
		case err != nil:
			return refundFact{}, stripeQuestion("refund status", err)
		}
		return stripeRefundFact(got, r.MerchantRefundID), nil
	}
	intent, err := c.intent(ctx, r.Order)
	if err != nil {
		return refundFact{}, fmt.Errorf("find the payment: %s", err.Error()) // not an answer about the refund
	}
	got, err := c.findRefund(ctx, intent, r.MerchantRefundID)
	if err != nil {
		return refundFact{}, err
	}
	return stripeRefundFact(got, r.MerchantRefundID), nil
}

// findRefund looks through a payment's refunds for ours.
func (c *stripeCheckout) findRefund(ctx context.Context, intent, merchantRefundID string) (*stripe.Refund, error) {
	p := &stripe.RefundListParams{PaymentIntent: stripe.String(intent)}
	p.Limit = stripe.Int64(stripePage)
	seen := 0
	for r, err := range c.api.V1Refunds.List(ctx, p).All(ctx) {
		if err != nil {
			return nil, stripeQuestion("refunds", err)
		}
		if r.Metadata[noteRefund] == merchantRefundID {
			return r, nil
		}
		if seen++; seen > stripeRefunds {
			return nil, errors.New("too many refunds to look through")
		}
	}
	return nil, errNoOrder
}

// intent is the payment of an order's session.
func (c *stripeCheckout) intent(ctx context.Context, o sentOrder) (string, error) {
	if o.ProviderOrderID == "" {
		return "", errors.New("the session is not known")
	}
	s, err := c.session(ctx, o.ProviderOrderID)
	if err != nil {
		return "", err
	}
	if s.PaymentIntent == nil || s.PaymentIntent.ID == "" || s.ClientReferenceID != o.MerchantOrderID {
		return "", errors.New("the session has no payment of the order")
	}
	return s.PaymentIntent.ID, nil
}

// stripeRefundFact: a refund that succeeded may fail later.
func stripeRefundFact(r *stripe.Refund, asked string) refundFact {
	f := refundFact{
		MerchantRefundID: asked, EchoedRefundID: r.Metadata[noteRefund], ProviderRefundID: r.ID, AmountMinor: r.Amount,
		Currency: strings.ToUpper(string(r.Currency)),
	}
	switch r.Status {
	case stripe.RefundStatusPending, stripe.RefundStatusRequiresAction:
		f.Kind = refundPending
	case stripe.RefundStatusSucceeded:
		f.Kind = refundDone
	case stripe.RefundStatusFailed, stripe.RefundStatusCanceled:
		f.Kind, f.FailureCode = refundFailed, clip(string(r.FailureReason), maxFailureCodeLen)
	default:
	}
	return f
}
