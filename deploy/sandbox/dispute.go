package sandbox

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"
)

// Outcomes of a dispute.
const (
	disputeOpened = "OPENED"
	disputeWon    = "WON"
	disputeLost   = "LOST"
)

type dispute struct {
	ID              string    `json:"id"`
	Provider        string    `json:"provider"`
	OrderID         string    `json:"orderId"`
	MerchantOrderID string    `json:"merchantOrderId"`
	PaymentID       string    `json:"paymentId"`
	Amount          int64     `json:"amount"`
	Currency        string    `json:"currency"`
	State           string    `json:"state"`
	At              time.Time `json:"at"`
}

var errNoDispute = errors.New("provider, merchantOrderId, an amountMinor and outcome OPENED, WON or LOST are needed")

// dispute is the customer's bank taking a payment back, or the end of that. Stripe takes the money when the dispute
// opens and gives it back when it is won; the others take it when it is lost.
func (s *Server) dispute(w http.ResponseWriter, r *http.Request) {
	raw, ok := readBody(w, r)
	var q struct {
		Provider        string      `json:"provider"`
		MerchantOrderID string      `json:"merchantOrderId"`
		AmountMinor     json.Number `json:"amountMinor"`
		Outcome         string      `json:"outcome"`
	}
	if !ok || json.Unmarshal(raw, &q) != nil || !slices.Contains([]string{disputeOpened, disputeWon, disputeLost}, q.Outcome) {
		writeJSON(w, http.StatusBadRequest, map[string]string{"code": "INVALID_ARGUMENT", "message": errNoDispute.Error()})
		return
	}
	var d dispute
	err := s.change(func(t *tx) error {
		o, err := t.disputable(q.Provider, q.MerchantOrderID)
		if err != nil {
			return err
		}
		amount := o.taken()
		if q.AmountMinor != "" {
			if amount, err = q.AmountMinor.Int64(); err != nil || amount <= 0 {
				return errNoDispute
			}
		}
		d, err = s.disputed(t, o, amount, q.Outcome)
		return err
	})
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, map[string]any{
			"disputeId": d.ID, "provider": d.Provider, "merchantOrderId": d.MerchantOrderID, "amountMinor": json.Number(decimal(d.Amount)), "state": d.State,
		})
	case errors.Is(err, errUnknown):
		writeJSON(w, http.StatusNotFound, map[string]string{"code": "NOT_FOUND", "message": err.Error()})
	case errors.Is(err, errNotPaid), errors.Is(err, errTooMuch), errors.Is(err, errClosed):
		writeJSON(w, http.StatusConflict, map[string]string{"code": "CONFLICT", "message": err.Error()})
	case errors.Is(err, errNoDispute):
		writeJSON(w, http.StatusBadRequest, map[string]string{"code": "INVALID_ARGUMENT", "message": err.Error()})
	default:
		s.log.Error().Err(err).Msg("dispute an order")
		writeJSON(w, http.StatusInternalServerError, map[string]string{"code": "INTERNAL", "message": "the sandbox failed"})
	}
}

// disputable is the paid order of that name; merchants' names are not unique everywhere, so the newest.
func (t *tx) disputable(provider, ref string) (order, error) {
	found := errUnknown
	for _, id := range slices.Backward(t.orderIDs) {
		o := t.orders[id]
		if o.Provider != provider || o.MerchantOrderID != ref && o.ID != ref {
			continue
		}
		if o.State == stateCompleted {
			return *o, nil
		}
		found = errNotPaid
	}
	return order{}, found
}

func (s *Server) disputed(t *tx, o order, amount int64, outcome string) (dispute, error) {
	var d dispute
	for _, was := range t.disputes {
		if was.OrderID == o.ID && was.State == disputeOpened {
			d = *was
		}
	}
	fresh := d.ID == ""
	switch {
	case fresh && o.Disputed, !fresh && outcome == disputeOpened:
		return d, errClosed // one dispute is all a payment gets
	case fresh && amount > o.taken():
		return d, errTooMuch
	}
	if fresh {
		prefix := map[string]string{razorpay: "disp_", stripe: "du_1"}[o.Provider]
		id, err := t.word(prefix, 14)
		if err != nil {
			return d, err
		}
		a, _ := o.last()
		d = dispute{
			ID: id, Provider: o.Provider, OrderID: o.ID, MerchantOrderID: o.MerchantOrderID, PaymentID: a.TransactionID, Amount: amount,
			Currency: o.currency(), State: disputeOpened, At: t.now().UTC(),
		}
		o.Disputed = true
		t.keep(o)
		if o.Provider == stripe {
			t.row(d.ID, rowChargeback, o, d.Amount)
		}
		if err := s.tellDispute(t, o, d); err != nil {
			return d, err
		}
	}
	if outcome != disputeOpened {
		d.State = outcome
		switch {
		case outcome == disputeWon && o.Provider == stripe:
			t.row(d.ID+"R", rowReinstated, o, d.Amount)
		case outcome == disputeLost && o.Provider != stripe:
			t.row(d.ID, rowChargeback, o, d.Amount)
		}
		if err := s.tellDispute(t, o, d); err != nil {
			return d, err
		}
	}
	t.e.Disputes = append(t.e.Disputes, d)
	return d, nil
}

func (s *Server) tellDispute(t *tx, o order, d dispute) error {
	name := map[string]string{disputeOpened: "created", disputeWon: "won", disputeLost: "lost"}[d.State]
	lie := d
	lie.Amount++
	switch d.Provider {
	case razorpay:
		a, _ := o.last()
		payment := razorpayPart{"payment", s.razorpayPaymentBody(o, a)}
		genuine, err := s.razorpayEvent(t, "payment.dispute."+name, s.razorpay.WebhookSecret, callbackTries, payment, razorpayPart{"dispute", razorpayDisputeBody(d)})
		if err != nil {
			return err
		}
		forged, err := s.razorpayEvent(t, "payment.dispute."+name, "guess", 1, payment, razorpayPart{"dispute", razorpayDisputeBody(lie)})
		t.notices = append(t.notices, notice{genuine: []callback{genuine}, forged: forged})
		return err
	case stripe:
		return s.stripeTellDispute(t, d)
	case phonepe2:
		t.notices = append(t.notices, notice{
			genuine: []callback{s.phonepeCallback("payment.dispute."+name, s.phonepeDisputeBody(d), s.phonepe, callbackTries)},
			forged:  s.phonepeCallback("payment.dispute."+name, s.phonepeDisputeBody(lie), forgedPhonePe, 1),
		})
	}
	return nil // v1 has no such callback: it is in the settlement
}

func (s *Server) phonepeDisputeBody(d dispute) map[string]any {
	return map[string]any{
		"merchantId": s.phonepe.ClientID, "disputeId": d.ID, "merchantOrderId": d.MerchantOrderID, "orderId": d.OrderID, "transactionId": d.PaymentID,
		"amount": d.Amount, "state": d.State, "timestamp": d.At.UnixMilli(),
	}
}

func razorpayDisputeBody(d dispute) map[string]any {
	status, deducted := "open", int64(0)
	switch d.State {
	case disputeWon:
		status = "won"
	case disputeLost:
		status, deducted = "lost", d.Amount
	}
	return map[string]any{
		"id": d.ID, "entity": "dispute", "payment_id": d.PaymentID, "amount": d.Amount, "currency": d.Currency, "amount_deducted": deducted,
		"reason_code": "goods_or_services_not_received_or_partially_received", "respond_by": d.At.AddDate(0, 0, 10).Unix(), "status": status, "phase": "chargeback", "created_at": d.At.Unix(),
	}
}

func (s *Server) razorpayDispute(t *tx, r *http.Request, _ []byte) (any, error) {
	d, ok := t.disputes[r.PathValue("id")]
	if !ok || d.Provider != razorpay {
		return nil, errUnknown
	}
	return razorpayDisputeBody(*d), nil
}

func (s *Server) razorpayDisputes(t *tx, r *http.Request, _ []byte) (any, error) {
	count, skip, _, _ := between(r)
	all := t.disputesOf(razorpay)
	items := make([]map[string]any, 0, len(all))
	for _, d := range all {
		items = append(items, razorpayDisputeBody(d))
	}
	return razorpayList(pageOf(items, count, skip)), nil
}

// disputesOf lists a provider's, the newest first.
func (t *tx) disputesOf(provider string) []dispute {
	var all []dispute
	for _, d := range t.disputes {
		if d.Provider == provider {
			all = append(all, *d)
		}
	}
	slices.SortFunc(all, func(a, b dispute) int {
		if n := b.At.Compare(a.At); n != 0 {
			return n
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all
}
