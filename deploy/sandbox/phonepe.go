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
	"slices"
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

// PhonePe's bases: one in its own sandbox, and in production one for each part.
const (
	phonepeBase      = "/apis/pg-sandbox"
	phonepeProd      = "/apis/pg"
	phonepeProdLogin = "/apis/identity-manager"
	phonepeProdV1    = "/apis/hermes"
)

func (s *Server) phonepeRoutes(m *http.ServeMux) {
	for _, base := range []string{phonepeBase, phonepeProdLogin} {
		m.HandleFunc("POST "+base+"/v1/oauth/token", s.unreliable(phonepeError, s.phonepeToken))
	}
	s.phonepeCalls(m, map[string]http.HandlerFunc{
		"POST /checkout/v2/pay":                    s.phonepePay,
		"POST /checkout/v2/sdk/order":              s.phonepePay,
		"GET /checkout/v2/order/{id}/status":       s.status(phonepeError, s.phonepeStatus),
		"GET /checkout/v2/transaction/{id}/status": s.status(phonepeError, s.phonepeTransaction),
		"POST /payments/v2/pay":                    s.phonepePay,
		"POST /payments/v2/sdk/order":              s.phonepePay,
		"GET /payments/v2/order/{id}/status":       s.status(phonepeError, s.phonepeStatus),
		"GET /payments/v2/transaction/{id}/status": s.status(phonepeError, s.phonepeTransaction),
		"POST /payments/v2/refund":                 s.phonepeRefund,
		"GET /payments/v2/refund/{id}/status":      s.status(phonepeError, s.phonepeRefundStatus),
		"GET /subscriptions/v2/refund/{id}/status": s.status(phonepeError, s.phonepeRefundStatus),
		"POST /subscriptions/v2/refund":            s.phonepeRefund,
	})
}

// phonepeCalls serves calls that need a token, under both bases.
func (s *Server) phonepeCalls(m *http.ServeMux, calls map[string]http.HandlerFunc) {
	for pattern, call := range calls {
		method, path, _ := strings.Cut(pattern, " ")
		for _, base := range []string{phonepeBase, phonepeProd} {
			m.HandleFunc(method+" "+base+path, s.unreliable(phonepeError, s.phonepeClient(call)))
		}
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
	ExpireAfter     *int64            `json:"expireAfter"` // seconds
	ExpireAt        *int64            `json:"expireAt"`    // milliseconds, of Autopay's custom calls
	MetaInfo        map[string]string `json:"metaInfo"`
	PaymentFlow     phonepeFlow       `json:"paymentFlow"`
}

type phonepeFlow struct {
	Type         string `json:"type"`
	Message      string `json:"message"`
	MerchantURLs struct {
		RedirectURL string `json:"redirectUrl"`
	} `json:"merchantUrls"`
	PaymentMode struct {
		Type string `json:"type"`
	} `json:"paymentMode"`
	phonepeMandate                          // flat, in custom calls
	SubscriptionDetails     *phonepeMandate `json:"subscriptionDetails"` // nested, in hosted ones
	RedemptionRetryStrategy string          `json:"redemptionRetryStrategy"`
	AutoDebit               bool            `json:"autoDebit"`
}

// Flows of an order. The first two are plain payments, on PhonePe's page and on the merchant's.
const (
	flowCheckout       = "PG_CHECKOUT"
	flowCustom         = "PG"
	flowSetupHosted    = "SUBSCRIPTION_CHECKOUT_SETUP"
	flowSetupCustom    = "SUBSCRIPTION_SETUP"
	flowRedeemHosted   = "SUBSCRIPTION_CHECKOUT_REDEMPTION"
	flowRedeemCustom   = "SUBSCRIPTION_REDEMPTION"
	phonepeDebitLife   = 48 * time.Hour
	phonepeNoticeAhead = 24 * time.Hour
)

// parsePhonePePay ignores fields it does not know: PhonePe's grow, and merchants send newer ones.
func parsePhonePePay(raw []byte, now time.Time) (order, phonepePayRequest, error) {
	var q phonepePayRequest
	if err := json.Unmarshal(raw, &q); err != nil {
		return order{}, q, fmt.Errorf("read the order: %w", err)
	}
	expires, err := q.expiry(now)
	if err != nil {
		return order{}, q, err
	}
	if err := phonepeMeta(q.MetaInfo); err != nil {
		return order{}, q, err
	}
	back, kind := q.PaymentFlow.MerchantURLs.RedirectURL, q.PaymentFlow.Type
	switch {
	case !merchantID.MatchString(q.MerchantOrderID):
		return order{}, q, fmt.Errorf("merchantOrderId is 1 to %d of A-Z a-z 0-9 _ -", phonepeMaxOrderIDLen)
	case q.Amount < phonepeMinAmount:
		return order{}, q, fmt.Errorf("amount is at least %d paise", phonepeMinAmount)
	case !slices.Contains([]string{flowCheckout, flowCustom, flowSetupHosted, flowSetupCustom, flowRedeemHosted, flowRedeemCustom}, kind):
		return order{}, q, errors.New("paymentFlow.type is not known")
	case back != "" && !linkable(back), back == "" && (kind == flowCheckout || kind == flowSetupHosted):
		return order{}, q, errors.New("paymentFlow.merchantUrls.redirectUrl is an http or https address")
	}
	if kind == flowCheckout {
		kind = "" // as it was before there were others
	}
	return order{
		Provider: phonepe2, Kind: kind, MerchantOrderID: q.MerchantOrderID, Amount: q.Amount, ExpireAt: expires.UTC(),
		ReturnURL: back, Message: q.PaymentFlow.Message, MetaInfo: q.MetaInfo,
	}, q, nil
}

func (q phonepePayRequest) expiry(now time.Time) (time.Time, error) {
	switch {
	case q.PaymentFlow.Type == flowRedeemHosted || q.PaymentFlow.Type == flowRedeemCustom:
		return now.Add(phonepeDebitLife), nil
	case q.ExpireAt != nil:
		at := time.UnixMilli(*q.ExpireAt)
		if !at.After(now) {
			return at, errors.New("expireAt is in the past")
		}
		return at, nil
	case q.ExpireAfter == nil:
		return now.Add(phonepeExpiry), nil
	case *q.ExpireAfter < 300 || *q.ExpireAfter > 3600:
		return now, errors.New("expireAfter is from 300 to 3600 seconds")
	}
	return now.Add(time.Duration(*q.ExpireAfter) * time.Second), nil
}

func phonepeMeta(meta map[string]string) error {
	for k, v := range meta {
		n, err := strconv.Atoi(strings.TrimPrefix(k, "udf"))
		if err != nil || !strings.HasPrefix(k, "udf") || n < 1 || n > 15 {
			return errors.New("metaInfo has udf1 to udf15")
		}
		if n <= 10 && len(v) > phonepeMetaLong || n > 10 && len(v) > phonepeMetaShort {
			return fmt.Errorf("metaInfo.%s is too long", k)
		}
	}
	return nil
}

// linkable keeps javascript: and the like off the page.
func linkable(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// phonepePay opens an order; its path and its flow have to fit.
func (s *Server) phonepePay(w http.ResponseWriter, r *http.Request) {
	raw, ok := readBody(w, r)
	if !ok {
		phonepeError(w, http.StatusBadRequest, "BAD_REQUEST", "the body cannot be read")
		return
	}
	o, q, err := parsePhonePePay(raw, s.now())
	o.ExpireAt = s.knobs.expiry(s.now(), o.ExpireAt).UTC()
	path := r.URL.Path
	want := []string{"", flowSetupHosted}
	switch {
	case strings.Contains(path, "/sdk/"):
		want = []string{""}
	case strings.Contains(path, "/payments/"):
		want = []string{flowCustom}
	case strings.Contains(path, "/subscriptions/"):
		want = []string{flowSetupCustom}
	}
	if err == nil && !slices.Contains(want, o.Kind) {
		err = errors.New("paymentFlow.type does not belong to this call")
	}
	if err != nil {
		phonepeError(w, http.StatusBadRequest, "BAD_REQUEST", err.Error())
		return
	}
	err = s.change(func(t *tx) error {
		if o.Kind == flowSetupHosted || o.Kind == flowSetupCustom {
			if err := t.setUp(&o, q.PaymentFlow); err != nil {
				return err
			}
		}
		o, err = t.open(o)
		return err
	})
	if err != nil {
		s.phonepeFailed(w, err)
		return
	}
	got := map[string]any{"orderId": o.ID, "state": o.State, "expireAt": o.ExpireAt.UnixMilli()}
	page := s.publicURL + "/checkout/" + o.ID
	switch mode := q.PaymentFlow.PaymentMode.Type; {
	case strings.Contains(path, "/sdk/"):
		got["token"] = s.phonepe.token(o.ExpireAt)
	case o.Kind == flowSetupCustom, mode == "UPI_INTENT":
		got["intentUrl"], got["redirectUrl"] = "upi://pay?tr="+o.ID, page // the page is this bank's own addition
	case mode == "UPI_QR":
		got["qrData"], got["redirectUrl"] = "upi://pay?tr="+o.ID, page
	default:
		got["redirectUrl"] = page
	}
	writeJSON(w, http.StatusOK, got)
}

func (s *Server) phonepeFailed(w http.ResponseWriter, err error) {
	var refused phonepeRuleError
	switch {
	case errors.As(err, &refused):
		phonepeError(w, http.StatusBadRequest, refused.code, refused.message)
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

// phonepeRuleError is a rule of PhonePe's that a call breaks.
type phonepeRuleError struct{ code, message string }

func (r phonepeRuleError) Error() string { return r.message }

func phonepeError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]any{"success": false, "code": code, "message": message, "data": map[string]any{}})
}
