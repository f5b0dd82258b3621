package sandbox

import "slices"

// What a customer, or time, does to an order.
const (
	success = "SUCCESS"
	failure = "FAILURE"
	pending = "PENDING"
	expire  = "EXPIRE" // a failure for want of time, which may still turn into a success
)

// open takes a new order. A name that is the merchant's to keep unique is taken once.
func (t *tx) open(o order) (order, error) {
	for _, name := range o.names() {
		if _, taken := t.alias[name]; taken {
			return order{}, errReused
		}
	}
	var err error
	if o.ID == "" {
		if o.ID, err = t.orderID(o.Provider); err != nil {
			return order{}, err
		}
	}
	if o.State == "" {
		o.State = statePending
	}
	o.CreatedAt = t.now().UTC()
	t.keep(o)
	return o, nil
}

func (t *tx) orderID(provider string) (string, error) {
	switch provider {
	case phonepe1:
		return t.reference("T")
	case razorpay:
		return t.word("order_", 14)
	case stripe:
		return t.word("pi_3", 23)
	}
	return t.reference("OMO")
}

// settle does what the customer did on the page. changed reports whether the merchant is to be told.
// A success after a failure is taken, as real banks do; money moves once for an order, whatever is repeated.
func (t *tx) settle(id, outcome, code string) (o order, changed bool, err error) {
	if o, err = t.order(id); err != nil {
		return order{}, false, err
	}
	next, err := o.after(outcome)
	if err != nil {
		return o, false, err
	}
	if o.State == next && next != statePending || o.State == stateFailed && next == statePending {
		return o, false, nil
	}
	a, err := t.transaction(o)
	if err != nil {
		return order{}, false, err
	}
	o.Attempts = slices.Clone(o.Attempts)
	// An attempt that is under way is the same when it ends; so is one whose failure was only a want of time.
	if last, ok := o.last(); ok && (last.State == statePending || o.ErrorCode == orderExpired && outcome == success) {
		o.Attempts = o.Attempts[:len(o.Attempts)-1]
		a.TransactionID = last.TransactionID
	}
	o.State, o.ErrorCode, o.Next = next, "", nil
	a.State = next
	if next == stateFailed {
		o.ErrorCode = declined
		if code != "" {
			o.ErrorCode = code
		}
		a.Code = o.ErrorCode
	}
	o.Attempts = append(o.Attempts, a)
	if next == stateCompleted {
		t.row(a.TransactionID, rowCapture, o, o.Amount)
	}
	t.keep(o)
	return o, next != statePending, nil
}

// after is the state that an outcome leads to.
func (o order) after(outcome string) (string, error) {
	var next string
	switch outcome {
	case success:
		next = stateCompleted
		if o.Manual {
			next = stateAuthorized
		}
	case failure, expire:
		next = stateFailed
	case pending:
		next = statePending
	default:
		return "", errNoOutcome
	}
	switch {
	case o.State == stateCancelled, o.Provider == stripe && o.ErrorCode == orderExpired && o.Stripe.Session != "" && len(o.Attempts) == 0:
		return "", errClosed
	case (o.State == stateCompleted || o.State == stateAuthorized) && next != o.State && outcome != success:
		return "", errPaid
	case o.State == stateCompleted:
		return stateCompleted, nil
	}
	return next, nil
}

// capture takes what was authorised.
func (t *tx) capture(o order, amount int64) (order, error) {
	a, ok := o.last()
	switch {
	case o.State != stateAuthorized || !ok:
		return o, errNotPaid
	case amount <= 0 || amount > o.Amount:
		return o, errTooMuch
	}
	o.State, o.Captured = stateCompleted, amount
	o.Attempts = slices.Clone(o.Attempts)
	o.Attempts[len(o.Attempts)-1].State = stateCompleted
	t.row(a.TransactionID, rowCapture, o, amount)
	t.keep(o)
	return o, nil
}
