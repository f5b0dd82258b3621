package payment

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// fakePhonePe is the provider: it refuses a merchantOrderId used before, as the
// real one does.
type fakePhonePe struct {
	*httptest.Server

	mu      sync.Mutex // guards all below
	orders  map[string]*fakeOrder
	refunds map[string]*fakeRefund
	calls   map[string]int     // by "token", "pay", "status", "refund", "refund status"
	answer  map[string][]reply // consumed first
	tokens  int                // issued; the last one is good

	mandates fakeMandates
}

type fakeOrder struct {
	ID, Ref, State string
	Amount         int64
	ErrorCode      string
}

// reply is a prepared misbehaviour: a status, or a connection cut before or
// after the work is done.
type reply int

const (
	cutBefore reply = -1
	cutAfter  reply = -2
)

func newFake(t *testing.T) *fakePhonePe {
	t.Helper()
	f := &fakePhonePe{orders: map[string]*fakeOrder{}, refunds: map[string]*fakeRefund{}, calls: map[string]int{}, answer: map[string][]reply{}}
	m := http.NewServeMux()
	m.HandleFunc("POST /apis/pg-sandbox/v1/oauth/token", f.wrap("token", f.token))
	m.HandleFunc("POST /apis/pg-sandbox/checkout/v2/pay", f.wrap("pay", f.authorized(f.payOrSetUp)))
	m.HandleFunc("GET /apis/pg-sandbox/checkout/v2/order/{id}/status", f.wrap("status", f.authorized(f.status)))
	f.mandateRoutes(m)
	m.HandleFunc("POST /apis/pg-sandbox/payments/v2/refund", f.wrap("refund", f.authorized(f.refund)))
	m.HandleFunc("GET /apis/pg-sandbox/payments/v2/refund/{id}/status", f.wrap("refund status", f.authorized(f.refundStatus)))
	f.Server = httptest.NewServer(m)
	t.Cleanup(f.Close)
	return f
}

func (f *fakePhonePe) wrap(op string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.calls[op]++
		var a reply
		if q := f.answer[op]; len(q) > 0 {
			a, f.answer[op] = q[0], q[1:]
		}
		switch {
		case a == cutBefore:
			panic(http.ErrAbortHandler)
		case a == cutAfter:
			next(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case a > 0:
			say(w, int(a), map[string]any{"code": "SOMETHING", "message": "as told"})
		default:
			next(w, r)
		}
	}
}

func say(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}

func (f *fakePhonePe) token(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("client_id") != "CLIENT" || r.FormValue("client_secret") != "SECRET" || r.FormValue("client_version") != "1" ||
		r.FormValue("grant_type") != "client_credentials" {
		say(w, http.StatusUnauthorized, map[string]any{"code": "AUTHORIZATION_FAILED"})
		return
	}
	f.tokens++
	say(w, http.StatusOK, map[string]any{
		"access_token": f.last(), "expires_in": nil, "expires_at": f.mandates.now().Add(48 * time.Hour).Unix(), "token_type": "O-Bearer",
	})
}

func (f *fakePhonePe) last() string { return fmt.Sprintf("token-%d", f.tokens) }

func (f *fakePhonePe) authorized(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "O-Bearer "+f.last() {
			say(w, http.StatusUnauthorized, map[string]any{"code": "AUTHORIZATION_FAILED"})
			return
		}
		next(w, r)
	}
}

func (f *fakePhonePe) pay(w http.ResponseWriter, r *http.Request) {
	var q phonepePay
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.PaymentFlow.Type != "PG_CHECKOUT" || q.Amount < 100 ||
		q.ExpireAfter != 1200 || q.PaymentFlow.MerchantURLs.RedirectURL == "" {
		say(w, http.StatusBadRequest, map[string]any{"code": "BAD_REQUEST"})
		return
	}
	if f.orders[q.MerchantOrderID] != nil {
		say(w, http.StatusExpectationFailed, map[string]any{"code": "INVALID_TRANSACTION_ID"})
		return
	}
	o := &fakeOrder{ID: "OMO" + q.MerchantOrderID, Ref: q.MerchantOrderID, State: "PENDING", Amount: q.Amount}
	f.orders[q.MerchantOrderID] = o
	say(w, http.StatusOK, map[string]any{
		"orderId": o.ID, "state": o.State, "expireAt": time.Now().Add(orderLife).UnixMilli(), "redirectUrl": f.URL + "/checkout/" + o.ID,
	})
}

func (f *fakePhonePe) status(w http.ResponseWriter, r *http.Request) {
	if f.debitStatus(w, r.PathValue("id")) {
		return
	}
	o := f.orders[r.PathValue("id")]
	if o == nil {
		say(w, http.StatusNotFound, map[string]any{"code": "INVALID_MERCHANT_ORDER_ID"})
		return
	}
	say(w, http.StatusOK, o.payload())
}

func (o *fakeOrder) payload() map[string]any {
	return map[string]any{
		"orderId": o.ID, "merchantOrderId": o.Ref, "state": o.State, "amount": o.Amount, "errorCode": o.ErrorCode, "newField": map[string]any{},
		"paymentDetails": []map[string]any{
			{"transactionId": "T" + o.ID, "paymentMode": "UPI_QR", "state": o.State, "timestamp": time.Now().UnixMilli()},
		},
	}
}

// do changes the bank's side under its lock.
func (f *fakePhonePe) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakePhonePe) settle(ref, state string) {
	f.do(func() { f.orders[ref].State = state })
}

func (f *fakePhonePe) next(op string, replies ...reply) {
	f.do(func() { f.answer[op] = append(f.answer[op], replies...) })
}

func (f *fakePhonePe) count(op string) (n int) {
	f.do(func() { n = f.calls[op] })
	return n
}

// fakeRefund moves money when it is COMPLETED.
type fakeRefund struct {
	ID, Ref, Order, State string
	Amount                int64
	ErrorCode             string
}

// refund takes each name once and never more than the order has left; a refund
// that waits keeps its money.
func (f *fakePhonePe) refund(w http.ResponseWriter, r *http.Request) {
	var q phonepeRefund
	o := (*fakeOrder)(nil)
	if err := json.NewDecoder(r.Body).Decode(&q); err == nil {
		o = f.orders[q.OriginalOrderID]
	}
	if o == nil || o.State != "COMPLETED" || q.Amount < 1 {
		say(w, http.StatusBadRequest, map[string]any{"code": "BAD_REQUEST"})
		return
	}
	if f.refunds[q.MerchantRefundID] != nil {
		say(w, http.StatusExpectationFailed, map[string]any{"code": "INVALID_TRANSACTION_ID"})
		return
	}
	x := &fakeRefund{ID: "OMR" + q.MerchantRefundID, Ref: q.MerchantRefundID, Order: q.OriginalOrderID, State: "PENDING", Amount: q.Amount}
	if f.back(o.Ref)+q.Amount > o.Amount {
		say(w, http.StatusBadRequest, map[string]any{"code": "REFUND_AMOUNT_EXCEEDED"})
		return
	}
	f.refunds[x.Ref] = x
	say(w, http.StatusOK, map[string]any{"refundId": x.ID, "amount": x.Amount, "state": x.State})
}

// back is what went back of an order, or is on its way.
func (f *fakePhonePe) back(order string) (sum int64) {
	for _, x := range f.refunds {
		if x.Order == order && x.State != "FAILED" {
			sum += x.Amount
		}
	}
	return sum
}

func (f *fakePhonePe) refundStatus(w http.ResponseWriter, r *http.Request) {
	x := f.refunds[r.PathValue("id")]
	if x == nil {
		say(w, http.StatusNotFound, map[string]any{"code": "REFUND_NOT_FOUND"})
		return
	}
	say(w, http.StatusOK, x.payload())
}

func (x *fakeRefund) payload() map[string]any {
	return map[string]any{
		"refundId": x.ID, "merchantRefundId": x.Ref, "originalMerchantOrderId": x.Order, "state": x.State, "amount": x.Amount, "errorCode": x.ErrorCode,
	}
}

func (f *fakePhonePe) settleRefund(ref, state string) {
	f.do(func() { f.refunds[ref].State = state })
}
