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
	"slices"
	"strconv"
	"strings"
	"time"
)

// Razorpay's own bounds.
const (
	razorpayMinAmount = 100
	razorpayReceipt   = 40
	razorpayNotes     = 15
	razorpayNote      = 256
	razorpayPage      = 100 // entries of a list, at most
)

// Razorpay is what a merchant has agreed with Razorpay.
type Razorpay struct{ KeyID, KeySecret, WebhookSecret string }

// sign is how all of Razorpay's signatures are made; only the key and what is signed differ.
func (Razorpay) sign(key, what string) string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(what))
	return hex.EncodeToString(m.Sum(nil))
}

// razorpayLink is a payment link: an order with a page of its own.
type razorpayLink struct {
	ID        string `json:"id"`
	Reference string `json:"reference"`
	Method    string `json:"method,omitempty"` // of the way back
}

func (s *Server) razorpayRoutes(m *http.ServeMux) {
	for pattern, call := range map[string]razorpayCall{
		"POST /v1/orders":                        s.razorpayCreate,
		"GET /v1/orders":                         s.razorpayOrders,
		"GET /v1/orders/{id}":                    s.razorpayGet,
		"GET /v1/orders/{id}/payments":           s.razorpayOrderPayments,
		"GET /v1/payments":                       s.razorpayPayments,
		"GET /v1/payments/{id}":                  s.razorpayPayment,
		"POST /v1/payments/{id}/capture":         s.razorpayCapture,
		"POST /v1/payments/{id}/refund":          s.razorpayRefund,
		"GET /v1/payments/{id}/refunds":          s.razorpayRefunds,
		"GET /v1/payments/{id}/refunds/{refund}": s.razorpayRefundGet,
		"GET /v1/refunds":                        s.razorpayRefunds,
		"GET /v1/refunds/{refund}":               s.razorpayRefundGet,
		"GET /v1/disputes":                       s.razorpayDisputes,
		"GET /v1/disputes/{id}":                  s.razorpayDispute,
		"GET /v1/settlements/recon/combined":     s.razorpayRecon,
		"POST /v1/payment_links":                 s.razorpayLinkCreate,
		"GET /v1/payment_links":                  s.razorpayLinks,
		"GET /v1/payment_links/{id}":             s.razorpayLinkGet,
		"POST /v1/payment_links/{id}/cancel":     s.razorpayLinkCancel,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		h := s.razorpayServe(call)
		if method == http.MethodGet {
			h = s.status(razorpayError, h)
		}
		m.HandleFunc(method+" /razorpay"+path, s.once("X-Refund-Idempotency", razorpayError, s.unreliable(razorpayError, s.razorpayClient(h))))
	}
	// The hosted page takes the order by a form of the merchant's page, with the public half of the key.
	m.HandleFunc("POST /razorpay/v1/checkout/embedded", s.razorpayEmbedded)
	m.HandleFunc("/razorpay/", func(w http.ResponseWriter, _ *http.Request) {
		razorpayError(w, http.StatusBadRequest, "BAD_REQUEST_ERROR", "The requested URL was not found on the server.")
	})
}

func (s *Server) razorpayClient(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		ok := subtle.ConstantTimeCompare([]byte(id), []byte(s.razorpay.KeyID)) & subtle.ConstantTimeCompare([]byte(secret), []byte(s.razorpay.KeySecret))
		if ok != 1 || s.razorpay.KeyID == "" {
			razorpayError(w, http.StatusUnauthorized, "BAD_REQUEST_ERROR", "Authentication failed")
			return
		}
		next(w, r)
	}
}

// razorpayCall works inside one change of the bank and says what to answer.
type razorpayCall func(t *tx, r *http.Request, body []byte) (any, error)

// razorpayRuleError is a rule of Razorpay's that a call breaks.
type razorpayRuleError struct {
	status             int
	description, field string
}

func (r razorpayRuleError) Error() string { return r.description }

func badRazorpay(field, description string) razorpayRuleError {
	return razorpayRuleError{http.StatusBadRequest, description, field}
}

func (s *Server) razorpayServe(call razorpayCall) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, ok := readBody(w, r)
		if !ok {
			razorpayError(w, http.StatusBadRequest, "BAD_REQUEST_ERROR", "The request body cannot be read.")
			return
		}
		var got any
		err := s.change(func(t *tx) error {
			var err error
			got, err = call(t, r, body)
			return err
		})
		var refused razorpayRuleError
		switch {
		case err == nil:
			writeJSON(w, http.StatusOK, got)
		case errors.As(err, &refused):
			writeRazorpayError(w, refused.status, "BAD_REQUEST_ERROR", refused.description, refused.field)
		case errors.Is(err, errUnknown):
			razorpayError(w, http.StatusBadRequest, "BAD_REQUEST_ERROR", "The id provided does not exist")
		default:
			s.log.Error().Err(err).Msg("call of the merchant")
			razorpayError(w, http.StatusInternalServerError, "SERVER_ERROR", "We are facing some trouble completing your request at the moment. Please try again shortly.")
		}
	}
}

func razorpayError(w http.ResponseWriter, status int, code, message string) {
	if status == http.StatusServiceUnavailable {
		code = "SERVER_ERROR"
	}
	writeRazorpayError(w, status, code, message, "")
}

func writeRazorpayError(w http.ResponseWriter, status int, code, description, field string) {
	e := map[string]any{"code": code, "description": description, "source": "business", "step": "payment_initiation", "reason": "input_validation_failed", "metadata": map[string]any{}}
	if code == "SERVER_ERROR" {
		e["source"], e["step"], e["reason"] = "internal", "NA", "server_error"
	}
	if field != "" {
		e["field"] = field
	}
	writeJSON(w, status, map[string]any{"error": e})
}

type razorpayOrderRequest struct {
	Amount         int64           `json:"amount"`
	Currency       string          `json:"currency"`
	Receipt        string          `json:"receipt"`
	Notes          json.RawMessage `json:"notes"`
	UniqueReceipt  bool            `json:"unique_receipt"`
	PaymentCapture json.RawMessage `json:"payment_capture"` // 1, "1", true and their opposites are all in use
	Payment        struct {
		Capture string `json:"capture"`
	} `json:"payment"`
	ReferenceID    string `json:"reference_id"` // a payment link's
	Description    string `json:"description"`
	CallbackURL    string `json:"callback_url"`
	CallbackMethod string `json:"callback_method"`
	ExpireBy       int64  `json:"expire_by"`
}

// razorpayCreate opens an order. With unique_receipt, the same receipt is the same order.
func (s *Server) razorpayCreate(t *tx, _ *http.Request, body []byte) (any, error) {
	o, _, err := parseRazorpayOrder(body)
	if err != nil {
		return nil, err
	}
	if o.Unique {
		was, err := t.order(razorpay + "/" + o.MerchantOrderID)
		if err == nil && (was.Amount != o.Amount || was.currency() != o.currency()) {
			return nil, badRazorpay("receipt", "The receipt was used with another amount or currency.")
		}
		if err == nil {
			return s.razorpayOrder(was), nil
		}
	}
	if o, err = t.open(o); err != nil {
		return nil, err
	}
	return s.razorpayOrder(o), nil
}

func parseRazorpayOrder(body []byte) (order, razorpayOrderRequest, error) {
	var q razorpayOrderRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return order{}, q, badRazorpay("", "The request body is not valid JSON.")
	}
	notes, err := razorpayNotesOf(q.Notes)
	if err != nil {
		return order{}, q, err
	}
	switch {
	case q.Amount < razorpayMinAmount:
		return order{}, q, badRazorpay("amount", "Order amount less than minimum amount allowed")
	case len(q.Currency) != 3:
		return order{}, q, badRazorpay("currency", "The currency should be 3 letters.")
	case len(q.Receipt) > razorpayReceipt:
		return order{}, q, badRazorpay("receipt", "The receipt may not be greater than 40 characters.")
	case q.UniqueReceipt && q.Receipt == "":
		return order{}, q, badRazorpay("receipt", "The receipt field is required.")
	}
	capture := strings.Trim(string(q.PaymentCapture), `"`)
	return order{
		Provider: razorpay, MerchantOrderID: q.Receipt, Amount: q.Amount, Currency: strings.ToUpper(q.Currency), MetaInfo: notes, Unique: q.UniqueReceipt,
		Manual: capture == "0" || capture == "false" || q.Payment.Capture == "manual", Message: q.Description,
	}, q, nil
}

// razorpayNotesOf takes an object, or the empty list that PHP makes of one.
func razorpayNotesOf(raw json.RawMessage) (map[string]string, error) {
	if len(raw) == 0 || string(raw) == "[]" || string(raw) == "null" {
		return nil, nil
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil || len(values) > razorpayNotes {
		return nil, badRazorpay("notes", "The notes are an object of at most 15.")
	}
	notes := map[string]string{}
	for k, v := range values {
		var text string
		if json.Unmarshal(v, &text) != nil {
			text = string(v) // a number or a boolean
		}
		if len(text) > razorpayNote || len(k) > razorpayNote {
			return nil, badRazorpay("notes", "The notes may not be greater than 256 characters.")
		}
		notes[k] = text
	}
	return notes, nil
}

func razorpayNotesIn(notes map[string]string) any {
	if len(notes) == 0 {
		return []string{} // as PHP writes an empty object
	}
	return notes
}

// razorpayOf finds an order by any of its names.
func (t *tx) razorpayOf(name string) (order, error) {
	o, err := t.order(name)
	if err == nil && o.Provider != razorpay {
		err = errUnknown
	}
	return o.shown(t.now()), err
}

func (s *Server) razorpayGet(t *tx, r *http.Request, _ []byte) (any, error) {
	o, err := t.razorpayOf(r.PathValue("id"))
	if err != nil || o.ID != r.PathValue("id") {
		return nil, errUnknown
	}
	return s.razorpayOrder(o), nil
}

func (s *Server) razorpayOrder(o order) map[string]any {
	status, paid := "created", int64(0)
	switch {
	case o.State == stateCompleted:
		status, paid = "paid", o.Amount
	case len(o.Attempts) > 0:
		status = "attempted"
	}
	return map[string]any{
		"id": o.ID, "entity": "order", "amount": o.Amount, "amount_paid": paid, "amount_due": o.Amount - paid, "currency": o.currency(), "receipt": orNull(o.MerchantOrderID),
		"offer_id": nil, "status": status, "attempts": len(o.Attempts), "notes": razorpayNotesIn(o.MetaInfo), "created_at": o.CreatedAt.Unix(),
	}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// razorpayPaymentBody is one attempt at an order.
func (s *Server) razorpayPaymentBody(o order, a attempt) map[string]any {
	status := map[string]string{statePending: "created", stateAuthorized: "authorized", stateCompleted: "captured", stateFailed: "failed"}[a.State]
	p := map[string]any{
		"id": a.TransactionID, "entity": "payment", "amount": o.Amount, "currency": o.currency(), "status": status, "order_id": o.ID, "invoice_id": nil, "international": false,
		"method": "upi", "amount_refunded": 0, "refund_status": nil, "captured": a.State == stateCompleted, "description": orNull(o.Message), "card_id": nil, "bank": nil, "wallet": nil,
		"vpa": "customer@sandbox", "email": "customer@example.com", "contact": "+919000000000", "notes": razorpayNotesIn(o.MetaInfo), "fee": nil, "tax": nil,
		"error_code": nil, "error_description": nil, "error_source": nil, "error_step": nil, "error_reason": nil,
		"acquirer_data": map[string]any{"rrn": digitsOf(a.TransactionID), "upi_transaction_id": strings.ToUpper(strings.TrimPrefix(a.TransactionID, "pay_"))},
		"created_at":    a.At.Unix(), "upi": map[string]any{"vpa": "customer@sandbox"},
	}
	switch a.State {
	case stateCompleted:
		fee, tax := fees(o.taken())
		p["amount"], p["fee"], p["tax"], p["amount_refunded"] = o.taken(), fee+tax, tax, o.Refunded
		switch {
		case o.Refunded >= o.taken():
			p["status"], p["refund_status"] = "refunded", "full"
		case o.Refunded > 0:
			p["refund_status"] = "partial"
		}
	case stateFailed:
		p["error_code"], p["error_description"] = "BAD_REQUEST_ERROR", "Payment was unsuccessful as it was declined by the bank."
		p["error_source"], p["error_step"], p["error_reason"] = "bank", "payment_authorization", "payment_failed"
		if a.Code == orderExpired {
			p["error_reason"] = "payment_timed_out"
		}
	}
	return p
}

// digitsOf is a number that always belongs to the same id.
func digitsOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	n := uint64(0)
	for _, c := range sum[:8] {
		n = n<<8 | uint64(c)
	}
	return fmt.Sprintf("%012s", strconv.FormatUint(n%1e12, 10))
}

func (s *Server) razorpayOrderPayments(t *tx, r *http.Request, _ []byte) (any, error) {
	o, err := t.razorpayOf(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	items := []map[string]any{}
	for _, a := range slices.Backward(o.Attempts) {
		items = append(items, s.razorpayPaymentBody(o, a))
	}
	return razorpayList(items), nil
}

func razorpayList(items []map[string]any) map[string]any {
	return map[string]any{"entity": "collection", "count": len(items), "items": items}
}

// razorpayPaymentOf finds a payment and its order.
func (t *tx) razorpayPaymentOf(id string) (order, attempt, error) {
	o, err := t.razorpayOf(id)
	if err != nil {
		return o, attempt{}, err
	}
	for _, a := range o.Attempts {
		if a.TransactionID == id {
			return o, a, nil
		}
	}
	return o, attempt{}, errUnknown
}

func (s *Server) razorpayPayment(t *tx, r *http.Request, _ []byte) (any, error) {
	o, a, err := t.razorpayPaymentOf(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return s.razorpayPaymentBody(o, a), nil
}

func (s *Server) razorpayCapture(t *tx, r *http.Request, body []byte) (any, error) {
	o, a, err := t.razorpayPaymentOf(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	var q struct {
		Amount   json.Number `json:"amount"` // the SDK sends what it is given, also a string
		Currency string      `json:"currency"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, badRazorpay("amount", "The amount must be an integer.")
	}
	amount, err := strconv.ParseInt(q.Amount.String(), 10, 64)
	switch {
	case err != nil:
		return nil, badRazorpay("amount", "The amount must be an integer.")
	case a.State == stateCompleted:
		return nil, badRazorpay("", "This payment has already been captured")
	case a.State != stateAuthorized:
		return nil, badRazorpay("", "Only payments which have been authorized and not yet captured can be captured")
	case amount != o.Amount || q.Currency != "" && q.Currency != o.currency():
		return nil, badRazorpay("amount", "Capture amount must be equal to the amount authorized")
	}
	before := o
	if o, err = t.capture(o, amount); err != nil {
		return nil, err
	}
	last, _ := o.last()
	return s.razorpayPaymentBody(o, last), s.razorpayTell(t, before, o, true)
}

// between are the bounds of a list: count, skip, and from and to in seconds.
func between(r *http.Request) (count, skip int, from, to time.Time) {
	q := r.URL.Query()
	num := func(name string, usual int) int {
		n, err := strconv.Atoi(q.Get(name))
		if err != nil || n < 0 {
			return usual
		}
		return n
	}
	count, skip = min(num("count", 10), razorpayPage), num("skip", 0)
	from, to = time.Unix(int64(num("from", 0)), 0), time.Unix(int64(num("to", 1<<40)), 0)
	return count, skip, from, to
}

// page cuts a list that is newest first.
func pageOf(items []map[string]any, count, skip int) []map[string]any {
	items = items[min(skip, len(items)):]
	return items[:min(count, len(items))]
}

func (s *Server) razorpayOrders(t *tx, r *http.Request, _ []byte) (any, error) {
	count, skip, from, to := between(r)
	receipt := r.URL.Query().Get("receipt")
	items := []map[string]any{}
	for _, id := range slices.Backward(t.orderIDs) {
		o := t.orders[id].shown(t.now())
		if o.Provider == razorpay && (receipt == "" || receipt == o.MerchantOrderID) && !o.CreatedAt.Before(from) && !o.CreatedAt.After(to) {
			items = append(items, s.razorpayOrder(o))
		}
	}
	return razorpayList(pageOf(items, count, skip)), nil
}

func (s *Server) razorpayPayments(t *tx, r *http.Request, _ []byte) (any, error) {
	count, skip, from, to := between(r)
	items := []map[string]any{}
	for _, id := range slices.Backward(t.orderIDs) {
		o := t.orders[id].shown(t.now())
		for _, a := range slices.Backward(o.Attempts) {
			if o.Provider == razorpay && !a.At.Before(from) && !a.At.After(to) {
				items = append(items, s.razorpayPaymentBody(o, a))
			}
		}
	}
	return razorpayList(pageOf(items, count, skip)), nil
}
