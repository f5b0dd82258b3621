package sandbox

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// autopayRoutes are UPI Autopay, on PhonePe's page (hosted) and on the merchant's (custom).
func (s *Server) autopayRoutes(m *http.ServeMux) {
	calls := map[string]http.HandlerFunc{
		"POST /subscriptions/v2/setup":                  s.phonepePay,
		"GET /subscriptions/v2/order/{id}/status":       s.status(phonepeError, s.phonepeStatus),
		"GET /subscriptions/v2/transaction/{id}/status": s.status(phonepeError, s.phonepeTransaction),
	}
	for _, base := range []string{"/checkout/v2/subscriptions", "/subscriptions/v2"} {
		calls["POST "+base+"/notify"] = s.phonepeNotify
		calls["POST "+base+"/redeem"] = s.phonepeRedeem
		calls["GET "+base+"/{id}/status"] = s.status(phonepeError, s.mandateStatus)
		for act, state := range map[string]string{"cancel": mandateCancelled, "pause": mandatePaused, "unpause": mandateActive, "revoke": mandateIsRevoked} {
			calls["POST "+base+"/{id}/"+act] = s.mandateByMerchant(state)
		}
	}
	s.phonepeCalls(m, calls)
}

func (s *Server) mandateStatus(w http.ResponseWriter, r *http.Request) {
	var m mandate
	err := s.change(func(t *tx) error {
		var err error
		m, err = t.mandate(r.PathValue("id"))
		return err
	})
	if err != nil {
		s.mandateFailed(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s.mandateBody(m))
}

// mandateByMerchant answers 204 on hosted paths and 200 on custom ones, as PhonePe documents for cancel.
func (s *Server) mandateByMerchant(state string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m, err := s.mandateChange(r.PathValue("id"), state)
		switch {
		case err != nil:
			s.mandateFailed(w, err)
		case strings.Contains(r.URL.Path, "/checkout/"):
			w.WriteHeader(http.StatusNoContent)
		default:
			writeJSON(w, http.StatusOK, s.mandateBody(m))
		}
	}
}

func (s *Server) mandateFailed(w http.ResponseWriter, err error) {
	var refused phonepeRuleError
	if errors.As(err, &refused) && refused.code == "SUBSCRIPTION_NOT_FOUND" {
		phonepeError(w, http.StatusNotFound, refused.code, refused.message)
		return
	}
	s.phonepeFailed(w, err)
}

// phonepeNotify opens the order of one debit; the customer hears of it.
func (s *Server) phonepeNotify(w http.ResponseWriter, r *http.Request) {
	raw, ok := readBody(w, r)
	if !ok {
		phonepeError(w, http.StatusBadRequest, "BAD_REQUEST", "the body cannot be read")
		return
	}
	o, q, err := parsePhonePePay(raw, s.now())
	want := flowRedeemCustom
	if strings.Contains(r.URL.Path, "/checkout/") {
		want = flowRedeemHosted
	}
	retry := q.PaymentFlow.RedemptionRetryStrategy
	switch {
	case err != nil:
	case o.Kind != want:
		err = errors.New("paymentFlow.type is " + want)
	case retry != "" && retry != "STANDARD" && retry != "CUSTOM":
		err = errors.New("redemptionRetryStrategy is STANDARD or CUSTOM")
	}
	if err != nil {
		phonepeError(w, http.StatusBadRequest, "BAD_REQUEST", err.Error())
		return
	}
	if retry == "" {
		retry = "STANDARD"
	}
	err = s.change(func(t *tx) error {
		m, err := t.mandate(q.PaymentFlow.MerchantSubscriptionID)
		if err != nil {
			return err
		}
		switch {
		case m.State != mandateActive:
			return no("INVALID_SUBSCRIPTION_STATE", "the subscription is "+m.State)
		case o.Amount > m.MaxAmount, m.AmountType == "FIXED" && o.Amount != m.MaxAmount:
			return no("BAD_REQUEST", "the amount is not what the subscription allows")
		}
		o.MandateID, o.State, o.Debit = m.MerchantSubscriptionID, stateNotifying, &debit{Retry: retry, Auto: q.PaymentFlow.AutoDebit}
		o.Next = &step{At: t.now().Add(s.pace()).UTC(), Outcome: stateNotified}
		o, err = t.open(o)
		return err
	})
	if err != nil {
		s.mandateFailed(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"orderId": o.ID, "state": o.State, "expireAt": o.ExpireAt.UnixMilli()})
}

// phonepeRedeem asks for the debit that was notified a day before.
func (s *Server) phonepeRedeem(w http.ResponseWriter, r *http.Request) {
	raw, ok := readBody(w, r)
	var q struct {
		MerchantOrderID string `json:"merchantOrderId"`
	}
	if !ok || json.Unmarshal(raw, &q) != nil || q.MerchantOrderID == "" {
		phonepeError(w, http.StatusBadRequest, "BAD_REQUEST", "merchantOrderId is needed")
		return
	}
	var a attempt
	err := s.change(func(t *tx) error {
		o, err := t.order(phonepe2 + "/" + q.MerchantOrderID)
		if err != nil {
			return err
		}
		if o.Debit == nil {
			return errUnknown
		}
		if err := t.mayRedeem(o); err != nil {
			return err
		}
		a, err = s.redeem(t, o)
		return err
	})
	if err != nil {
		s.mandateFailed(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"state": statePending, "transactionId": a.TransactionID})
}

func (t *tx) mayRedeem(o order) error {
	now := t.now()
	m, err := t.mandate(o.MandateID)
	switch {
	case err != nil:
		return err
	case m.State != mandateActive:
		return no("INVALID_SUBSCRIPTION_STATE", "the subscription is "+m.State)
	case o.State != stateNotified:
		return no("INVALID_ORDER_STATE", "the order is "+o.State)
	case o.Debit.Auto:
		return no("BAD_REQUEST", "the order is debited by itself")
	case now.Before(o.Debit.NotifiedAt.Add(phonepeNoticeAhead)):
		return no("REDEMPTION_TOO_EARLY", "the customer is to know a day before")
	case len(o.Attempts) >= mandateTries:
		return no("RETRY_LIMIT_EXCEEDED", "a debit is tried four times")
	case len(o.Attempts) > 0 && peak(now):
		return no("PEAK_HOURS", "a debit is tried again outside 10:00-13:00 and 17:00-21:30 IST only")
	}
	return nil
}

// peak reports whether NPCI wants no repeated debits: outside 21:31-09:59 and 13:01-16:59 IST.
func peak(at time.Time) bool {
	h, m, _ := at.In(ist).Clock()
	n := h*60 + m
	return n >= 10*60 && n <= 13*60 || n >= 17*60 && n <= 21*60+30
}

// redeem begins a debit; the bank ends it by itself.
func (s *Server) redeem(t *tx, o order) (attempt, error) {
	a, err := t.transaction(o)
	if err != nil {
		return a, err
	}
	a.State = statePending
	o.State = statePending
	o.Attempts = append(slices.Clone(o.Attempts), a)
	end := success
	if s.knobs.takeDebit() {
		end = failure
	}
	o.Next = &step{At: t.now().Add(s.pace()).UTC(), Outcome: end}
	t.keep(o)
	return a, nil
}

// phonepeDebitStep takes a debit one state further.
func (s *Server) phonepeDebitStep(t *tx, o order) error {
	end := o.Next.Outcome
	if end == stateNotified {
		return s.notified(t, o)
	}
	if o.State == stateNotified { // the hour of a debit by itself
		m, err := t.mandate(o.MandateID)
		if err != nil {
			return err
		}
		if m.State != mandateActive {
			end = failure
		} else {
			_, err := s.redeem(t, o)
			return err
		}
	}
	o, changed, err := t.settle(o.ID, end, "")
	if err != nil {
		return err
	}
	name := "subscription.redemption.transaction.completed"
	if o.State == stateFailed {
		name = "subscription.redemption.transaction.failed"
	}
	tell := notice{genuine: []callback{s.phonepeCallback(name, s.phonepeOrder(o, true), s.phonepe, callbackTries)}, forged: s.phonepeCallback(name, s.phonepeOrder(o, true), forgedPhonePe, 1)}
	t.notices = append(t.notices, tell)
	if o.State == stateFailed && o.Debit.Retry == "CUSTOM" && len(o.Attempts) < mandateTries && !o.Debit.Auto {
		o.State, o.ErrorCode = stateNotified, "" // the merchant may try again
		t.keep(o)
		return nil
	}
	return s.phonepeTell(t, o, changed)
}

// notified ends the notice; a debit by itself follows a day later.
func (s *Server) notified(t *tx, o order) error {
	d := *o.Debit
	d.NotifiedAt = t.now().UTC()
	o.Debit, o.State, o.Next = &d, stateNotified, nil
	if d.Auto {
		o.Next = &step{At: d.NotifiedAt.Add(phonepeNoticeAhead), Outcome: success}
	}
	name := "subscription.notification.completed"
	if s.plays(o.Amount, mandateRevoked) {
		name = "subscription.notification.failed"
		o.State, o.ErrorCode, o.Next = stateFailed, "MANDATE_REVOKED", nil
		m, err := t.mandate(o.MandateID)
		if err != nil {
			return err
		}
		if m.State == mandateActive {
			if _, err := s.mandateTo(t, m, mandateIsRevoked); err != nil {
				return err
			}
		}
	}
	t.keep(o)
	t.notices = append(t.notices, notice{
		genuine: []callback{s.phonepeCallback(name, s.phonepeOrder(o, true), s.phonepe, callbackTries)},
		forged:  s.phonepeCallback(name, s.phonepeOrder(o, true), forgedPhonePe, 1),
	})
	return nil
}

// phonepeFlow is the part of an order's answer that names its mandate.
func (o order) phonepeFlow() map[string]any {
	if o.MandateID == "" {
		return nil
	}
	f := map[string]any{"type": o.Kind, "merchantSubscriptionId": o.MandateID}
	if o.Debit != nil {
		f["redemptionRetryStrategy"], f["autoDebit"] = o.Debit.Retry, o.Debit.Auto
		if !o.Debit.NotifiedAt.IsZero() {
			f["validAfter"] = o.Debit.NotifiedAt.Add(phonepeNoticeAhead).UnixMilli()
		}
	}
	return f
}
