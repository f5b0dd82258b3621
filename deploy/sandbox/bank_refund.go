package sandbox

import "time"

// giveBack takes a refund; the bank works on it by itself. capped holds the sum of all refunds under what was taken,
// as Razorpay and Stripe do. PhonePe documents only that one is not more than its order: the sum is the merchant's to guard.
func (t *tx) giveBack(o order, r refund, capped bool) (refund, order, error) {
	if r.MerchantRefundID != "" {
		if _, taken := t.refundRef[o.Provider+"/"+r.MerchantRefundID]; taken {
			return refund{}, o, errReused
		}
	}
	switch {
	case o.State != stateCompleted || t.now().Before(o.HiddenUntil):
		return refund{}, o, errNotPaid
	case r.Amount <= 0, r.Amount > o.taken(), capped && r.Amount > o.taken()-o.Refunded:
		return refund{}, o, errTooMuch
	}
	var err error
	if r.ID, err = t.refundID(o.Provider); err != nil {
		return refund{}, o, err
	}
	if r.MerchantRefundID == "" {
		r.MerchantRefundID = r.ID
	}
	r.TransactionID = r.ID
	if o.Provider == phonepe2 {
		if r.TransactionID, err = t.reference("OM"); err != nil {
			return refund{}, o, err
		}
	}
	if a, ok := o.last(); ok && r.PaymentID == "" {
		r.PaymentID = a.TransactionID
	}
	r.Provider, r.OrderID, r.MerchantOrderID, r.Currency = o.Provider, o.ID, o.MerchantOrderID, o.currency()
	r.State, r.At = statePending, t.now().UTC()
	o.Refunded += r.Amount
	t.keep(o)
	t.keepRefund(r)
	return r, o, nil
}

func (t *tx) refundID(provider string) (string, error) {
	switch provider {
	case phonepe1:
		return t.reference("TR")
	case razorpay:
		return t.word("rfnd_", 14)
	case stripe:
		return t.word("re_3", 23)
	}
	return t.reference("OMR")
}

// then plans the next state of a refund.
func (t *tx) then(r refund, state string, after time.Duration) refund {
	r.Next = &step{At: t.now().Add(after).UTC(), Outcome: state}
	t.keepRefund(r)
	return r
}

// turn takes a refund to its next state; money moves when it completes. A failed one frees its part of the order.
func (t *tx) turn(r refund, state string) (refund, error) {
	o, err := t.order(r.OrderID)
	if err != nil {
		return r, err
	}
	r.State, r.Next = state, nil
	switch state {
	case stateCompleted:
		t.row(r.TransactionID, rowRefund, o, r.Amount)
	case stateFailed:
		r.ErrorCode = "REFUND_FAILED"
		o.Refunded -= r.Amount
		t.keep(o)
	}
	t.keepRefund(r)
	return r, nil
}

func (t *tx) refundByRef(provider, ref string) (refund, error) {
	r, ok := t.refunds[t.refundRef[provider+"/"+ref]]
	if !ok {
		return refund{}, errUnknown
	}
	return *r, nil
}
