package sandbox

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// phonepeStatus takes details and errorContext as PhonePe does, and repeated keys too: its own SDK doubles them.
func (s *Server) phonepeStatus(w http.ResponseWriter, r *http.Request) {
	s.phonepeAnswer(w, phonepe2+"/"+r.PathValue("id"), lastIs(r.URL.Query()["details"], "true"))
}

func (s *Server) phonepeTransaction(w http.ResponseWriter, r *http.Request) {
	s.phonepeAnswer(w, r.PathValue("id"), true)
}

func (s *Server) phonepeAnswer(w http.ResponseWriter, name string, all bool) {
	o, err := s.ask(name, phonepe2)
	if err != nil {
		s.phonepeFailed(w, err)
		return
	}
	if !strings.HasPrefix(name, phonepe2+"/") { // one transaction
		for _, a := range o.Attempts {
			if a.TransactionID == name {
				o.Attempts = []attempt{a}
				break
			}
		}
	}
	writeJSON(w, http.StatusOK, s.phonepeOrder(o, all))
}

// ask finds an order of a dialect, as its provider tells it.
func (s *Server) ask(name, provider string) (order, error) {
	var o order
	err := s.change(func(t *tx) error {
		var err error
		if o, err = t.order(name); err == nil && o.Provider != provider {
			err = errUnknown
		}
		return err
	})
	return o.shown(s.now()), err
}

func lastIs(values []string, want string) bool {
	return len(values) > 0 && values[len(values)-1] == want
}

func (s *Server) phonepeOrder(o order, all bool) map[string]any {
	attempts := o.Attempts
	if !all && len(attempts) > 1 {
		attempts = attempts[len(attempts)-1:]
	}
	details := make([]map[string]any, 0, len(attempts))
	for _, a := range attempts {
		d := map[string]any{
			"transactionId": a.TransactionID, "paymentMode": "UPI_QR", "timestamp": a.At.UnixMilli(), "amount": o.Amount, "state": a.State,
		}
		if a.State == stateFailed {
			d["errorCode"], d["detailedErrorCode"] = declined, "ZM"
		}
		if a.State == stateCompleted {
			utr := a.TransactionID[max(0, len(a.TransactionID)-12):]
			d["splitInstruments"] = []map[string]any{{
				"amount": o.Amount, "rail": map[string]any{"type": "UPI", "utr": utr, "upiTransactionId": a.TransactionID, "vpa": "customer@sandbox"},
				"instrument": map[string]any{"type": "ACCOUNT", "accountType": "SAVINGS", "maskedAccountNumber": "XXXXXX1234"},
			}}
		}
		details = append(details, d)
	}
	p := map[string]any{
		"merchantId": s.phonepe.ClientID, "orderId": o.ID, "merchantOrderId": o.MerchantOrderID, "state": o.State, "amount": o.Amount, "payableAmount": o.Amount, "feeAmount": 0,
		"expireAt": o.ExpireAt.UnixMilli(), "metaInfo": o.MetaInfo, "paymentDetails": details,
	}
	if flow := o.phonepeFlow(); flow != nil {
		p["paymentFlow"] = flow
	}
	if o.State == stateFailed {
		p["errorCode"], p["detailedErrorCode"] = o.ErrorCode, "ZM"
		p["errorContext"] = map[string]any{"errorCode": o.ErrorCode, "detailedErrorCode": "ZM", "source": "CUSTOMER", "stage": "AUTHENTICATION", "description": "The payment did not go through."}
	}
	return p
}

func (s *Server) phonepeRefund(w http.ResponseWriter, r *http.Request) {
	raw, ok := readBody(w, r)
	var q struct {
		MerchantRefundID        string `json:"merchantRefundId"`
		OriginalMerchantOrderID string `json:"originalMerchantOrderId"`
		Amount                  int64  `json:"amount"`
	}
	if !ok || json.Unmarshal(raw, &q) != nil || !merchantID.MatchString(q.MerchantRefundID) || q.Amount < phonepeMinAmount {
		phonepeError(w, http.StatusBadRequest, "BAD_REQUEST", "merchantRefundId, originalMerchantOrderId and an amount of at least 100 paise are needed")
		return
	}
	var back refund
	err := s.change(func(t *tx) error {
		o, err := t.order(phonepe2 + "/" + q.OriginalMerchantOrderID)
		if err != nil {
			return err
		}
		if back, o, err = t.giveBack(o, refund{MerchantRefundID: q.MerchantRefundID, Amount: q.Amount}, false); err != nil {
			return err
		}
		s.work(t, o, back)
		return nil
	})
	if err != nil {
		s.phonepeFailed(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"refundId": back.ID, "amount": back.Amount, "state": statePending})
}

func (s *Server) phonepeRefundStatus(w http.ResponseWriter, r *http.Request) {
	var back refund
	err := s.change(func(t *tx) error {
		var err error
		back, err = t.refundByRef(phonepe2, r.PathValue("id"))
		return err
	})
	if err != nil {
		s.phonepeFailed(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s.phonepeRefundBody(back))
}

func (s *Server) phonepeRefundBody(r refund) map[string]any {
	detail := map[string]any{
		"transactionId": r.TransactionID, "paymentMode": "UPI_QR", "timestamp": r.At.UnixMilli(), "amount": r.Amount, "state": r.State,
	}
	if r.State == stateCompleted {
		detail["splitInstruments"] = []map[string]any{{
			"amount": r.Amount, "rail": map[string]any{"type": "UPI", "utr": r.TransactionID[max(0, len(r.TransactionID)-12):], "vpa": "customer@sandbox"},
			"instrument": map[string]any{"type": "ACCOUNT", "accountType": "SAVINGS", "maskedAccountNumber": "XXXXXX1234"},
		}}
	}
	body := map[string]any{
		"merchantId": s.phonepe.ClientID, "refundId": r.ID, "merchantRefundId": r.MerchantRefundID, "originalMerchantOrderId": r.MerchantOrderID,
		"amount": r.Amount, "state": r.State, "timestamp": r.At.UnixMilli(), "paymentDetails": []map[string]any{detail},
	}
	if r.State == stateFailed {
		body["errorCode"], body["detailedErrorCode"], detail["errorCode"] = r.ErrorCode, "U30", r.ErrorCode
	}
	return body
}

// phonepeTell sends what happened to an order. The forged one always claims a payment, of another amount.
func (s *Server) phonepeTell(t *tx, o order, changed bool) error {
	name := "checkout.order."
	switch o.Kind {
	case flowCustom:
		name = "pg.order."
	case flowSetupHosted, flowSetupCustom:
		name = "subscription.setup.order."
		if err := s.setUpDone(t, o); err != nil {
			return err
		}
	case flowRedeemHosted, flowRedeemCustom:
		name = "subscription.redemption.order."
	}
	lie := o
	lie.State, lie.ErrorCode, lie.Amount = stateCompleted, "", o.Amount+100
	n := notice{forged: s.phonepeCallback(name+"completed", s.phonepeOrder(lie, true), forgedPhonePe, 1)}
	if changed {
		end := "completed"
		if o.State == stateFailed {
			end = "failed"
		}
		o.Amount += t.fate.skew
		n.genuine = []callback{s.phonepeCallback(name+end, s.phonepeOrder(o, true), s.phonepe, callbackTries)}
	}
	t.notices = append(t.notices, n)
	return nil
}

func (s *Server) phonepeTellRefund(t *tx, r refund) error {
	event := map[string]string{stateConfirmed: "pg.refund.accepted", stateCompleted: "pg.refund.completed", stateFailed: "pg.refund.failed"}[r.State]
	lie := r
	lie.Amount++
	t.notices = append(t.notices, notice{
		genuine: []callback{s.phonepeCallback(event, s.phonepeRefundBody(r), s.phonepe, callbackTries)},
		forged:  s.phonepeCallback(event, s.phonepeRefundBody(lie), forgedPhonePe, 1),
	})
	return nil
}

var forgedPhonePe = PhonePe{WebhookUsername: "intruder", WebhookPassword: "guess12345"}

func (s *Server) phonepeCallback(event string, payload map[string]any, as PhonePe, tries int) callback {
	body := s.encode(map[string]any{
		"type": strings.ToUpper(strings.ReplaceAll(event, ".", "_")), "event": event, "payload": payload,
	})
	return callback{url: s.callbackURL + "/phonepe", body: body, tries: tries, sign: func([]byte, time.Time) http.Header {
		return http.Header{"Content-Type": {"application/json"}, "Authorization": {as.authorization()}}
	}}
}

func (s *Server) encode(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		// Only strings, numbers and maps of them: it cannot fail, and a callback without a body would show it.
		s.log.Error().Err(err).Msg("encode a callback")
	}
	return body
}
