package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"
)

var refundKey = regexp.MustCompile(`^[A-Za-z0-9_-]{10,255}$`)

// running are the idempotency keys whose first call has not been answered.
type running struct {
	mu   sync.Mutex // guards keys
	keys map[string]bool
}

func (r *running) enter(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys[key] {
		return false
	}
	r.keys[key] = true
	return true
}

func (r *running) leave(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.keys, key)
}

// once refuses a call whose idempotency key is at work in another.
func (s *Server) once(header string, no refuse, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get(header)
		if key == "" || r.Method != http.MethodPost {
			next(w, r)
			return
		}
		key = header + "/" + key
		if !s.running.enter(key) {
			no(w, http.StatusConflict, "BAD_REQUEST_ERROR", "Another request with this idempotency key is in progress.")
			return
		}
		defer s.running.leave(key)
		next(w, r)
	}
}

func hashOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// razorpayRefund gives back a part or all of a payment. The same X-Refund-Idempotency with the same body is the same refund.
func (s *Server) razorpayRefund(t *tx, r *http.Request, body []byte) (any, error) {
	key := r.Header.Get("X-Refund-Idempotency")
	stored := razorpay + "/" + key
	hash := hashOf(r.PathValue("id"), string(body))
	if key != "" {
		if !refundKey.MatchString(key) {
			return nil, badRazorpay("", "X-Refund-Idempotency is at least 10 of A-Z a-z 0-9 - _")
		}
		if was, ok := t.answers[stored]; ok {
			if was.Hash != hash {
				return nil, badRazorpay("", "Different request body for the same idempotency key.")
			}
			return s.razorpayRefundBody(*t.refunds[string(was.Body)]), nil
		}
	}
	back, err := s.razorpayGiveBack(t, r.PathValue("id"), body)
	if err != nil {
		return nil, err
	}
	if key != "" {
		t.e.Answers = append(t.e.Answers, answer{Key: stored, Hash: hash, Status: http.StatusOK, Body: []byte(back.ID)})
	}
	return s.razorpayRefundBody(back), nil
}

func (s *Server) razorpayGiveBack(t *tx, payment string, body []byte) (refund, error) {
	o, a, err := t.razorpayPaymentOf(payment)
	if err != nil {
		return refund{}, err
	}
	var q struct {
		Amount  *json.Number    `json:"amount"`
		Speed   string          `json:"speed"`
		Notes   json.RawMessage `json:"notes"`
		Receipt string          `json:"receipt"`
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &q); err != nil {
			return refund{}, badRazorpay("", "The request body is not valid JSON.")
		}
	}
	notes, err := razorpayNotesOf(q.Notes)
	if err != nil {
		return refund{}, err
	}
	amount := o.taken() - o.Refunded
	if q.Amount != nil {
		if amount, err = q.Amount.Int64(); err != nil {
			return refund{}, badRazorpay("amount", "The amount must be an integer.")
		}
	}
	switch {
	case a.State != stateCompleted:
		return refund{}, badRazorpay("", "The payment status should be captured for action to be taken")
	case o.Refunded >= o.taken():
		return refund{}, badRazorpay("", "The payment has been fully refunded already")
	case amount < razorpayMinAmount:
		return refund{}, badRazorpay("amount", "The amount must be atleast INR 1.00")
	case q.Speed != "" && q.Speed != "normal" && q.Speed != "optimum":
		return refund{}, badRazorpay("speed", "Speed should be either normal or optimum")
	case q.Receipt != "" && t.refundRef[razorpay+"/"+q.Receipt] != "":
		return refund{}, badRazorpay("receipt", "The receipt has been used for another refund.")
	}
	if q.Speed == "" {
		q.Speed = "normal"
	}
	back, o, err := t.giveBack(o, refund{MerchantRefundID: q.Receipt, Amount: amount, Notes: notes, Speed: q.Speed, PaymentID: payment}, true)
	switch {
	case errors.Is(err, errTooMuch):
		return refund{}, badRazorpay("amount", "The total refund amount is greater than the refund payment amount")
	case err != nil:
		return refund{}, err
	}
	back = s.work(t, o, back)
	return back, s.razorpayTellRefund(t, back)
}

// A refund's receipt is the merchant's; without one it is called by its id.
func (s *Server) razorpayRefundBody(r refund) map[string]any {
	receipt := r.MerchantRefundID
	if receipt == r.ID {
		receipt = ""
	}
	status := map[string]string{statePending: "pending", stateCompleted: "processed", stateFailed: "failed"}[r.State]
	acquirer := map[string]any{"rrn": nil}
	var speed any
	if r.State == stateCompleted {
		acquirer["rrn"], speed = digitsOf(r.ID), "normal"
		if r.Speed == "optimum" {
			speed = "instant"
		}
	}
	return map[string]any{
		"id": r.ID, "entity": "refund", "amount": r.Amount, "currency": r.Currency, "payment_id": r.PaymentID, "notes": razorpayNotesIn(r.Notes), "receipt": orNull(receipt),
		"acquirer_data": acquirer, "created_at": r.At.Unix(), "batch_id": nil, "status": status, "speed_processed": speed, "speed_requested": r.Speed,
	}
}

func (s *Server) razorpayRefundGet(t *tx, r *http.Request, _ []byte) (any, error) {
	got, ok := t.refunds[r.PathValue("refund")]
	payment := r.PathValue("id")
	if !ok || got.Provider != razorpay || payment != "" && payment != got.PaymentID {
		return nil, errUnknown
	}
	return s.razorpayRefundBody(*got), nil
}

func (s *Server) razorpayRefunds(t *tx, r *http.Request, _ []byte) (any, error) {
	payment := r.PathValue("id")
	if payment != "" {
		if _, _, err := t.razorpayPaymentOf(payment); err != nil {
			return nil, err
		}
	}
	count, skip, from, to := between(r)
	items := []map[string]any{}
	for _, id := range slices.Backward(t.refundIDs) {
		got := t.refunds[id]
		if got.Provider == razorpay && (payment == "" || got.PaymentID == payment) && !got.At.Before(from) && !got.At.After(to) {
			items = append(items, s.razorpayRefundBody(*got))
		}
	}
	return razorpayList(pageOf(items, count, skip)), nil
}

// razorpayTell sends payment and order events. The forged one always claims a payment, of another amount.
func (s *Server) razorpayTell(t *tx, _, o order, changed bool) error {
	a, ok := o.last()
	lie := o
	lie.Amount += 100
	forgedAttempt := a
	forgedAttempt.State, lie.State = stateCompleted, stateCompleted
	forged, err := s.razorpayEvent(t, "payment.captured", "guess", 1, razorpayPart{"payment", s.razorpayPaymentBody(lie, forgedAttempt)})
	if err != nil {
		return err
	}
	n := notice{forged: forged}
	if changed && ok {
		o.Amount += t.fate.skew
		payment := razorpayPart{"payment", s.razorpayPaymentBody(o, a)}
		whole := razorpayPart{"order", s.razorpayOrder(o)}
		type event struct {
			name  string
			parts []razorpayPart
		}
		var events []event
		switch o.State {
		case stateFailed:
			events = []event{{"payment.failed", []razorpayPart{payment}}}
		case stateAuthorized:
			events = []event{{"payment.authorized", []razorpayPart{payment}}}
		default:
			if !o.Manual {
				events = append(events, event{"payment.authorized", []razorpayPart{payment}}) // a snapshot that already says captured
			}
			events = append(events, event{"payment.captured", []razorpayPart{payment}}, event{"order.paid", []razorpayPart{payment, whole}})
			if o.Link != nil {
				events = append(events, event{"payment_link.paid", []razorpayPart{{"payment_link", s.razorpayLinkBody(o)}, whole, payment}})
			}
		}
		for _, e := range events {
			c, err := s.razorpayEvent(t, e.name, s.razorpay.WebhookSecret, callbackTries, e.parts...)
			if err != nil {
				return err
			}
			n.genuine = append(n.genuine, c)
		}
	}
	t.notices = append(t.notices, n)
	return nil
}

func (s *Server) razorpayTellRefund(t *tx, r refund) error {
	o, err := t.order(r.OrderID)
	if err != nil {
		return err
	}
	a := attempt{TransactionID: r.PaymentID, State: stateCompleted, At: r.At}
	for _, b := range o.Attempts {
		if b.TransactionID == r.PaymentID {
			a = b
		}
	}
	event := map[string]string{statePending: "refund.created", stateCompleted: "refund.processed", stateFailed: "refund.failed"}[r.State]
	lie := r
	lie.Amount++
	payment := razorpayPart{"payment", s.razorpayPaymentBody(o, a)}
	genuine, err := s.razorpayEvent(t, event, s.razorpay.WebhookSecret, callbackTries, razorpayPart{"refund", s.razorpayRefundBody(r)}, payment)
	if err != nil {
		return err
	}
	forged, err := s.razorpayEvent(t, event, "guess", 1, razorpayPart{"refund", s.razorpayRefundBody(lie)}, payment)
	t.notices = append(t.notices, notice{genuine: []callback{genuine}, forged: forged})
	return err
}

type razorpayPart struct {
	name   string
	entity map[string]any
}

// razorpayEvent is a callback with an id of its own, which all its copies share.
func (s *Server) razorpayEvent(t *tx, event, secret string, tries int, parts ...razorpayPart) (callback, error) {
	id, err := t.word("", 14)
	if err != nil {
		return callback{}, err
	}
	var contains []string
	payload := map[string]any{}
	for _, p := range parts {
		contains = append(contains, p.name)
		payload[p.name] = map[string]any{"entity": p.entity}
	}
	body := s.encode(map[string]any{
		"entity": "event", "account_id": "acc_Sandbox0000001", "event": event, "contains": contains, "payload": payload, "created_at": t.now().Unix(),
	})
	return callback{url: s.callbackURL + "/razorpay", body: body, tries: tries, sign: func(body []byte, _ time.Time) http.Header {
		return http.Header{
			"Content-Type": {"application/json"}, "X-Razorpay-Signature": {s.razorpay.sign(secret, string(body))}, "X-Razorpay-Event-Id": {id},
		}
	}}, nil
}
