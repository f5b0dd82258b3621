package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// PhonePe's own bounds.
const (
	phonepeMinAmount     = 100
	phonepeTokenLife     = time.Hour
	phonepeExpiry        = time.Hour
	phonepeMetaLong      = 256 // udf1 to udf10
	phonepeMetaShort     = 50  // udf11 to udf15
	phonepeMaxOrderIDLen = 63
)

var merchantID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}$`)

// PhonePe is what a merchant has agreed with PhonePe: the API's client and the webhook's user.
type PhonePe struct {
	ClientID, ClientSecret           string
	WebhookUsername, WebhookPassword string
}

// authorization is what PhonePe v2 puts in the webhook's header: a static value, no proof of the body.
func (p PhonePe) authorization() string {
	sum := sha256.Sum256([]byte(p.WebhookUsername + ":" + p.WebhookPassword))
	return hex.EncodeToString(sum[:])
}

// token can be checked without memory, so a restart of the sandbox does not throw merchants out.
func (p PhonePe) token(expires time.Time) string {
	at := strconv.FormatInt(expires.Unix(), 10)
	m := hmac.New(sha256.New, []byte(p.ClientSecret))
	m.Write([]byte(p.ClientID + "." + at))
	return at + "." + hex.EncodeToString(m.Sum(nil))
}

func (p PhonePe) admits(header string, now time.Time) bool {
	tok, ok := strings.CutPrefix(header, "O-Bearer ")
	if !ok {
		return false
	}
	at, _, _ := strings.Cut(tok, ".")
	sec, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return false
	}
	expires := time.Unix(sec, 0)
	return now.Before(expires) && subtle.ConstantTimeCompare([]byte(tok), []byte(p.token(expires))) == 1
}

func (s *Server) phonepeRoutes(m *http.ServeMux) {
	const base = "/apis/pg-sandbox"
	m.HandleFunc("POST "+base+"/v1/oauth/token", s.unreliable(s.phonepeToken))
	m.HandleFunc("POST "+base+"/checkout/v2/pay", s.unreliable(s.phonepeClient(s.phonepePay)))
	m.HandleFunc("GET "+base+"/checkout/v2/order/{id}/status", s.unreliable(s.phonepeClient(s.phonepeStatus)))
	m.HandleFunc("POST "+base+"/payments/v2/refund", s.unreliable(s.phonepeClient(s.phonepeRefund)))
	m.HandleFunc("GET "+base+"/payments/v2/refund/{id}/status", s.unreliable(s.phonepeClient(s.phonepeRefundStatus)))
}

// unreliable refuses a call of the merchant while the knob says so.
func (s *Server) unreliable(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.knobs.takeCall() {
			phonepeError(w, http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "the provider is down")
			return
		}
		next(w, r)
	}
}

func (s *Server) phonepeClient(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.phonepe.admits(r.Header.Get("Authorization"), s.now()) {
			phonepeError(w, http.StatusUnauthorized, "AUTHORIZATION_FAILED", "the token is not valid")
			return
		}
		next(w, r)
	}
}

func (s *Server) phonepeToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	if err := r.ParseForm(); err != nil {
		phonepeError(w, http.StatusBadRequest, "BAD_REQUEST", "the form cannot be read")
		return
	}
	f := r.PostForm
	if f.Get("grant_type") != "client_credentials" || f.Get("client_version") == "" {
		phonepeError(w, http.StatusBadRequest, "BAD_REQUEST", "grant_type client_credentials and client_version are needed")
		return
	}
	id := subtle.ConstantTimeCompare([]byte(f.Get("client_id")), []byte(s.phonepe.ClientID))
	secret := subtle.ConstantTimeCompare([]byte(f.Get("client_secret")), []byte(s.phonepe.ClientSecret))
	if id&secret != 1 {
		phonepeError(w, http.StatusUnauthorized, "AUTHORIZATION_FAILED", "unknown client")
		return
	}
	now := s.now()
	expires := now.Add(phonepeTokenLife)
	tok := s.phonepe.token(expires)
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": tok, "encrypted_access_token": tok, "expires_in": nil,
		"issued_at": now.Unix(), "expires_at": expires.Unix(), "session_expires_at": expires.Unix(), "token_type": "O-Bearer",
	})
}

type phonepePayRequest struct {
	MerchantOrderID string            `json:"merchantOrderId"`
	Amount          int64             `json:"amount"`
	ExpireAfter     *int64            `json:"expireAfter"`
	MetaInfo        map[string]string `json:"metaInfo"`
	PaymentFlow     struct {
		Type         string `json:"type"`
		Message      string `json:"message"`
		MerchantURLs struct {
			RedirectURL string `json:"redirectUrl"`
		} `json:"merchantUrls"`
	} `json:"paymentFlow"`
}

// parsePhonePePay ignores fields it does not know: PhonePe's grow, and merchants send newer ones.
func parsePhonePePay(raw []byte, now time.Time) (order, error) {
	var q phonepePayRequest
	if err := json.Unmarshal(raw, &q); err != nil {
		return order{}, fmt.Errorf("read the order: %w", err)
	}
	life := phonepeExpiry
	if q.ExpireAfter != nil {
		if *q.ExpireAfter < 300 || *q.ExpireAfter > 3600 {
			return order{}, errors.New("expireAfter is from 300 to 3600 seconds")
		}
		life = time.Duration(*q.ExpireAfter) * time.Second
	}
	for k, v := range q.MetaInfo {
		n, err := strconv.Atoi(strings.TrimPrefix(k, "udf"))
		if err != nil || !strings.HasPrefix(k, "udf") || n < 1 || n > 15 {
			return order{}, errors.New("metaInfo has udf1 to udf15")
		}
		if n <= 10 && len(v) > phonepeMetaLong || n > 10 && len(v) > phonepeMetaShort {
			return order{}, fmt.Errorf("metaInfo.%s is too long", k)
		}
	}
	back := q.PaymentFlow.MerchantURLs.RedirectURL
	switch {
	case !merchantID.MatchString(q.MerchantOrderID):
		return order{}, fmt.Errorf("merchantOrderId is 1 to %d of A-Z a-z 0-9 _ -", phonepeMaxOrderIDLen)
	case q.Amount < phonepeMinAmount:
		return order{}, fmt.Errorf("amount is at least %d paise", phonepeMinAmount)
	case q.PaymentFlow.Type != "PG_CHECKOUT":
		return order{}, errors.New("paymentFlow.type is PG_CHECKOUT")
	case !linkable(back):
		return order{}, errors.New("paymentFlow.merchantUrls.redirectUrl is an http or https address")
	}
	return order{
		Provider: "phonepe", MerchantOrderID: q.MerchantOrderID, Amount: q.Amount, ExpireAt: now.Add(life).UTC(),
		ReturnURL: back, Message: q.PaymentFlow.Message, MetaInfo: q.MetaInfo,
	}, nil
}

// linkable keeps javascript: and the like off the page.
func linkable(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func (s *Server) phonepePay(w http.ResponseWriter, r *http.Request) {
	raw, ok := readBody(w, r)
	if !ok {
		phonepeError(w, http.StatusBadRequest, "BAD_REQUEST", "the body cannot be read")
		return
	}
	o, err := parsePhonePePay(raw, s.now())
	if err != nil {
		phonepeError(w, http.StatusBadRequest, "BAD_REQUEST", err.Error())
		return
	}
	if o, err = s.bank.open(o); err != nil {
		s.phonepeFailed(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"orderId": o.ID, "state": o.State, "expireAt": o.ExpireAt.UnixMilli(), "redirectUrl": s.publicURL + "/checkout/" + o.ID,
	})
}

// phonepeStatus takes details and errorContext as PhonePe does, and repeated keys too: some proxies in between double them.
func (s *Server) phonepeStatus(w http.ResponseWriter, r *http.Request) {
	if s.knobs.get().StatusUnavailable {
		phonepeError(w, http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "the status call is down")
		return
	}
	o, err := s.bank.orderByRef(r.PathValue("id"))
	if err != nil {
		s.phonepeFailed(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s.phonepeOrder(o, lastIs(r.URL.Query()["details"], "true")))
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
			d["errorCode"], d["detailedErrorCode"] = "TXN_AUTO_FAILED", "ZM"
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
	back, err := s.bank.giveBack(refund{MerchantRefundID: q.MerchantRefundID, MerchantOrderID: q.OriginalMerchantOrderID, Amount: q.Amount})
	if err != nil {
		s.phonepeFailed(w, err)
		return
	}
	genuine := s.phonepeCallback("pg.refund.completed", s.phonepeRefundBody(back), s.phonepe.authorization(), callbackTries)
	forged := s.phonepeRefundBody(back)
	forged["amount"] = back.Amount + 1
	s.sender.post(&genuine, s.phonepeCallback("pg.refund.completed", forged, s.forgedAuthorization(), 1))
	writeJSON(w, http.StatusOK, map[string]any{"refundId": back.ID, "amount": back.Amount, "state": statePending})
}

func (s *Server) phonepeRefundStatus(w http.ResponseWriter, r *http.Request) {
	if s.knobs.get().StatusUnavailable {
		phonepeError(w, http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "the status call is down")
		return
	}
	back, err := s.bank.refundByRef(r.PathValue("id"))
	if err != nil {
		s.phonepeFailed(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s.phonepeRefundBody(back))
}

func (s *Server) phonepeRefundBody(r refund) map[string]any {
	return map[string]any{
		"merchantId": s.phonepe.ClientID, "refundId": r.ID, "merchantRefundId": r.MerchantRefundID, "originalMerchantOrderId": r.MerchantOrderID,
		"amount": r.Amount, "state": r.State, "timestamp": r.At.UnixMilli(),
		"paymentDetails": []map[string]any{{
			"transactionId": r.TransactionID, "paymentMode": "UPI_QR", "timestamp": r.At.UnixMilli(), "amount": r.Amount, "state": r.State,
		}},
	}
}

// phonepeTell sends what happened to an order. The forged one always claims a payment, of another amount.
func (s *Server) phonepeTell(o order, changed bool) {
	lie := o
	lie.State, lie.ErrorCode, lie.Amount = stateCompleted, "", o.Amount+100
	forged := s.phonepeCallback("checkout.order.completed", s.phonepeOrder(lie, true), s.forgedAuthorization(), 1)
	if !changed {
		s.sender.post(nil, forged)
		return
	}
	event := "checkout.order.completed"
	if o.State == stateFailed {
		event = "checkout.order.failed"
	}
	genuine := s.phonepeCallback(event, s.phonepeOrder(o, true), s.phonepe.authorization(), callbackTries)
	s.sender.post(&genuine, forged)
}

func (s *Server) forgedAuthorization() string {
	return PhonePe{WebhookUsername: "intruder", WebhookPassword: "guess12345"}.authorization()
}

func (s *Server) phonepeCallback(event string, payload map[string]any, authorization string, tries int) callback {
	body, err := json.Marshal(map[string]any{
		"type": strings.ToUpper(strings.ReplaceAll(event, ".", "_")), "event": event, "payload": payload,
	})
	if err != nil {
		// Only strings, numbers and maps of them: it cannot fail, and a callback without a body would show it.
		s.log.Error().Err(err).Msg("encode a callback")
	}
	h := http.Header{"Content-Type": {"application/json"}, "Authorization": {authorization}}
	return callback{url: s.callbackURL + "/phonepe", header: h, body: body, tries: tries}
}

func (s *Server) phonepeFailed(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, errReused):
		phonepeError(w, http.StatusExpectationFailed, "INVALID_TRANSACTION_ID", err.Error())
	case errors.Is(err, errUnknown):
		phonepeError(w, http.StatusNotFound, "INVALID_MERCHANT_ORDER_ID", err.Error())
	case errors.Is(err, errNotPaid), errors.Is(err, errTooMuch):
		phonepeError(w, http.StatusBadRequest, "BAD_REQUEST", err.Error())
	default:
		s.log.Error().Err(err).Msg("call of the merchant")
		phonepeError(w, http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "the sandbox failed")
	}
}

func phonepeError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]any{"success": false, "code": code, "message": message, "data": map[string]any{}})
}
