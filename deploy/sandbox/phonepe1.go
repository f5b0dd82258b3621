package sandbox

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// PhonePeV1 is what a merchant has agreed with PhonePe in the days of salt keys.
type PhonePeV1 struct {
	MerchantID string
	SaltKey    string
	SaltIndex  int
}

// verify is X-VERIFY for what was signed: a request's base64 and path, a status call's path, a callback's base64.
func (p PhonePeV1) verify(signed string) string {
	sum := sha256.Sum256([]byte(signed + p.SaltKey))
	return hex.EncodeToString(sum[:]) + "###" + strconv.Itoa(p.SaltIndex)
}

func (p PhonePeV1) admits(header, signed string) bool {
	return p.SaltKey != "" && subtle.ConstantTimeCompare([]byte(header), []byte(p.verify(signed))) == 1
}

var merchantTransactionID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,38}$`)

const phonepe1Life = 20 * time.Minute

// phonepe1Order is what v1 knows of an order beyond the bank.
type phonepe1Order struct {
	RedirectMode string `json:"redirectMode,omitempty"`
}

func (s *Server) phonepe1Routes(m *http.ServeMux) {
	for _, base := range []string{phonepeBase, phonepeProdV1} {
		m.HandleFunc("POST "+base+"/pg/v1/pay", s.unreliable(phonepeError, s.phonepe1Call("/pg/v1/pay", s.phonepe1Pay)))
		m.HandleFunc("POST "+base+"/pg/v1/refund", s.unreliable(phonepeError, s.phonepe1Call("/pg/v1/refund", s.phonepe1Refund)))
		m.HandleFunc("GET "+base+"/pg/v1/status/{merchant}/{id}", s.unreliable(phonepeError, s.status(phonepeError, s.phonepe1Status)))
	}
}

type phonepe1Request struct {
	MerchantID            string `json:"merchantId"`
	MerchantTransactionID string `json:"merchantTransactionId"`
	OriginalTransactionID string `json:"originalTransactionId"`
	MerchantUserID        string `json:"merchantUserId"`
	Amount                int64  `json:"amount"`
	RedirectURL           string `json:"redirectUrl"`
	RedirectMode          string `json:"redirectMode"`
	CallbackURL           string `json:"callbackUrl"`
	PaymentInstrument     struct {
		Type string `json:"type"`
	} `json:"paymentInstrument"`
}

// phonepe1Call checks the signature over the base64 as it stands, then opens it.
func (s *Server) phonepe1Call(path string, next func(http.ResponseWriter, phonepe1Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		raw, ok := readBody(w, r)
		var envelope struct {
			Request string `json:"request"`
		}
		if !ok || json.Unmarshal(raw, &envelope) != nil || envelope.Request == "" {
			phonepe1Error(w, http.StatusBadRequest, "BAD_REQUEST", "the body is {\"request\": base64}")
			return
		}
		if !s.phonepeV1.admits(r.Header.Get("X-Verify"), envelope.Request+path) {
			phonepe1Error(w, http.StatusUnauthorized, "AUTHORIZATION_FAILED", "X-VERIFY does not fit")
			return
		}
		plain, err := base64.StdEncoding.DecodeString(envelope.Request)
		var q phonepe1Request
		if err == nil {
			err = json.Unmarshal(plain, &q)
		}
		switch {
		case err != nil:
			phonepe1Error(w, http.StatusBadRequest, "BAD_REQUEST", "the request cannot be read")
		case q.MerchantID != s.phonepeV1.MerchantID:
			phonepe1Error(w, http.StatusBadRequest, "KEY_NOT_CONFIGURED", "the merchant is not known")
		case !merchantTransactionID.MatchString(q.MerchantTransactionID):
			phonepe1Error(w, http.StatusBadRequest, "BAD_REQUEST", "merchantTransactionId is 1 to 38 of A-Z a-z 0-9 _ -")
		case q.CallbackURL != "" && !linkable(q.CallbackURL):
			phonepe1Error(w, http.StatusBadRequest, "BAD_REQUEST", "callbackUrl is an http or https address")
		default:
			next(w, q)
		}
	}
}

func (s *Server) phonepe1Pay(w http.ResponseWriter, q phonepe1Request) {
	bad := ""
	switch {
	case q.Amount < phonepeMinAmount:
		bad = "amount is at least 100 paise"
	case !linkable(q.RedirectURL):
		bad = "redirectUrl is an http or https address"
	case q.RedirectMode != "" && q.RedirectMode != "REDIRECT" && q.RedirectMode != http.MethodPost:
		bad = "redirectMode is REDIRECT or POST"
	case q.PaymentInstrument.Type != "PAY_PAGE":
		bad = "paymentInstrument.type is PAY_PAGE"
	}
	if bad != "" {
		phonepe1Error(w, http.StatusBadRequest, "BAD_REQUEST", bad)
		return
	}
	o := order{
		Provider: phonepe1, MerchantOrderID: q.MerchantTransactionID, Amount: q.Amount, ExpireAt: s.now().Add(phonepe1Life).UTC(),
		ReturnURL: q.RedirectURL, CallbackURL: q.CallbackURL, Salted: &phonepe1Order{RedirectMode: q.RedirectMode},
	}
	if err := s.change(func(t *tx) error {
		var err error
		o, err = t.open(o)
		return err
	}); err != nil {
		s.phonepe1Failed(w, err)
		return
	}
	phonepe1Answer(w, "PAYMENT_INITIATED", "Payment initiated", map[string]any{
		"merchantId": q.MerchantID, "merchantTransactionId": q.MerchantTransactionID,
		"instrumentResponse": map[string]any{
			"type": "PAY_PAGE", "redirectInfo": map[string]any{"url": s.publicURL + "/checkout/" + o.ID, "method": http.MethodGet},
		},
	})
}

// phonepe1Status tells of payments and of refunds, which share the merchant's ids.
func (s *Server) phonepe1Status(w http.ResponseWriter, r *http.Request) {
	merchant, id := r.PathValue("merchant"), r.PathValue("id")
	if !s.phonepeV1.admits(r.Header.Get("X-Verify"), "/pg/v1/status/"+merchant+"/"+id) || r.Header.Get("X-Merchant-Id") != merchant || merchant != s.phonepeV1.MerchantID {
		phonepe1Error(w, http.StatusUnauthorized, "AUTHORIZATION_FAILED", "X-VERIFY or X-MERCHANT-ID does not fit")
		return
	}
	o, err := s.ask(phonepe1+"/"+id, phonepe1)
	if err == nil {
		writeJSON(w, http.StatusOK, s.phonepe1Order(o))
		return
	}
	var back refund
	if errors.Is(err, errUnknown) {
		err = s.change(func(t *tx) error {
			back, err = t.refundByRef(phonepe1, id)
			return err
		})
	}
	if err != nil {
		s.phonepe1Failed(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s.phonepe1RefundBody(back))
}

func (s *Server) phonepe1Refund(w http.ResponseWriter, q phonepe1Request) {
	var back refund
	err := s.change(func(t *tx) error {
		o, err := t.order(phonepe1 + "/" + q.OriginalTransactionID)
		if err != nil {
			return err
		}
		if _, taken := t.alias[phonepe1+"/"+q.MerchantTransactionID]; taken {
			return errReused
		}
		back, o, err = t.giveBack(o, refund{MerchantRefundID: q.MerchantTransactionID, Amount: q.Amount, CallbackURL: q.CallbackURL}, true)
		if err != nil {
			return err
		}
		s.work(t, o, back)
		return nil
	})
	if err != nil {
		s.phonepe1Failed(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s.phonepe1RefundBody(back))
}

func phonepe1Code(o order) (code, response, message string) {
	switch {
	case o.State == stateCompleted:
		return "PAYMENT_SUCCESS", "SUCCESS", "Your payment is successful."
	case o.ErrorCode == orderExpired:
		return "TIMED_OUT", "TIMED_OUT", "Payment timed out."
	case o.ErrorCode == "PAYMENT_DECLINED":
		return "PAYMENT_DECLINED", "ZM", "Payment declined."
	case o.State == stateFailed:
		return "PAYMENT_ERROR", "ZM", "Payment failed."
	}
	return "PAYMENT_PENDING", "PENDING", "Your payment is in pending state."
}

// phonepe1Order says what happened as v1 does: by code, and by data.state.
func (s *Server) phonepe1Order(o order) map[string]any {
	code, response, message := phonepe1Code(o)
	data := map[string]any{
		"merchantId": s.phonepeV1.MerchantID, "merchantTransactionId": o.MerchantOrderID, "transactionId": o.ID,
		"amount": o.Amount, "state": o.State, "responseCode": response, "paymentInstrument": nil,
	}
	if o.State == stateCompleted {
		data["paymentInstrument"] = map[string]any{"type": "UPI", "utr": o.ID[max(0, len(o.ID)-12):]}
	}
	return map[string]any{"success": o.State == stateCompleted, "code": code, "message": message, "data": data}
}

func (s *Server) phonepe1RefundBody(r refund) map[string]any {
	code, response := "PAYMENT_PENDING", "PENDING"
	switch r.State {
	case stateCompleted:
		code, response = "PAYMENT_SUCCESS", "SUCCESS"
	case stateFailed:
		code, response = "PAYMENT_ERROR", "FAILED"
	}
	return map[string]any{"success": r.State != stateFailed, "code": code, "message": "Your request is " + strings.ToLower(r.State) + ".", "data": map[string]any{
		"merchantId": s.phonepeV1.MerchantID, "merchantTransactionId": r.MerchantRefundID, "transactionId": r.ID,
		"amount": r.Amount, "state": r.State, "responseCode": response,
	}}
}

func (s *Server) phonepe1Tell(t *tx, o order, changed bool) error {
	lie := o
	lie.State, lie.ErrorCode, lie.Amount = stateCompleted, "", o.Amount+100
	n := notice{forged: s.phonepe1Callback(o.CallbackURL, s.phonepe1Order(lie), "guess", 1)}
	if changed {
		o.Amount += t.fate.skew
		n.genuine = []callback{s.phonepe1Callback(o.CallbackURL, s.phonepe1Order(o), s.phonepeV1.SaltKey, callbackTries)}
	}
	t.notices = append(t.notices, n)
	return nil
}

func (s *Server) phonepe1TellRefund(t *tx, r refund) error {
	lie := r
	lie.Amount++
	t.notices = append(t.notices, notice{
		genuine: []callback{s.phonepe1Callback(r.CallbackURL, s.phonepe1RefundBody(r), s.phonepeV1.SaltKey, callbackTries)},
		forged:  s.phonepe1Callback(r.CallbackURL, s.phonepe1RefundBody(lie), "guess", 1),
	})
	return nil
}

func (s *Server) phonepe1Callback(to string, what map[string]any, salt string, tries int) callback {
	text := base64.StdEncoding.EncodeToString(s.encode(what))
	as := PhonePeV1{SaltKey: salt, SaltIndex: s.phonepeV1.SaltIndex}
	return callback{url: s.reach(to, "/phonepe-v1"), body: s.encode(map[string]string{"response": text}), tries: tries, sign: func([]byte, time.Time) http.Header {
		return http.Header{"Content-Type": {"application/json"}, "X-Verify": {as.verify(text)}}
	}}
}

// reach is where a callback goes: to the address in the order, or the usual one. A merchant who names
// this machine, while it is on another from here (as between containers), is found where callbacks go.
func (s *Server) reach(to, path string) string {
	u, err := url.Parse(to)
	base, errBase := url.Parse(s.callbackURL)
	if to == "" || err != nil || errBase != nil {
		return s.callbackURL + path
	}
	if loopback(u.Hostname()) && !loopback(base.Hostname()) {
		u.Scheme, u.Host = base.Scheme, base.Host
	}
	return u.String()
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (s *Server) phonepe1Failed(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, errReused):
		phonepe1Error(w, http.StatusBadRequest, "BAD_REQUEST", "merchantTransactionId was used before")
	case errors.Is(err, errUnknown):
		phonepe1Error(w, http.StatusNotFound, "TRANSACTION_NOT_FOUND", "no such transaction")
	case errors.Is(err, errNotPaid), errors.Is(err, errTooMuch):
		phonepe1Error(w, http.StatusBadRequest, "BAD_REQUEST", err.Error())
	default:
		s.log.Error().Err(err).Msg("call of the merchant")
		phonepe1Error(w, http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "the sandbox failed")
	}
}

func phonepe1Answer(w http.ResponseWriter, code, message string, data map[string]any) {
	writeJSON(w, http.StatusOK, map[string]any{"success": true, "code": code, "message": message, "data": data})
}

func phonepe1Error(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]any{"success": false, "code": code, "message": message})
}
