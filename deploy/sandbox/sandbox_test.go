package sandbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

var merchant = PhonePe{ClientID: "client", ClientSecret: "secret", WebhookUsername: "webhook_user", WebhookPassword: "pass123456"}

// vector was accepted by PhonePe's own SDK for webhook_user:pass123456.
const vector = "77593a74a8464002017d1f3f6d0e1774321e250ec492153d59f759af6c834d54"

type received struct {
	authorization, event, state string
	amount                      int64
	order                       string
}

type world struct {
	t       *testing.T
	url     string
	dir     string
	clock   atomic.Int64 // unix seconds
	got     chan received
	raw     chan delivery // callbacks of the other dialects
	refuse  atomic.Int32  // how many callbacks the merchant answers with 500
	server  *Server
	token   string
	httpURL *httptest.Server
}

func open(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), got: make(chan received, 64), raw: make(chan delivery, 256)}
	w.clock.Store(1_760_000_000)
	shop := httptest.NewServer(http.HandlerFunc(w.callback))
	t.Cleanup(shop.Close)
	w.start(shop.URL)
	return w
}

func (w *world) start(shop string) {
	w.t.Helper()
	front := httptest.NewUnstartedServer(nil)
	w.url = "http://" + front.Listener.Addr().String()
	s, err := New(w.t.Context(), Config{
		PublicURL: w.url, CallbackURL: shop, DataDir: w.dir, PhonePe: merchant,
		PhonePeV1: merchant1, Razorpay: merchantR, Stripe: merchantS,
		Now: func() time.Time { return time.Unix(w.clock.Load(), 0) }, Rand: rand.Reader, Log: zerolog.Nop(),
		RetryBackoff: time.Millisecond, Step: time.Millisecond, Late: time.Millisecond,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.server, front.Config.Handler = s, s.Handler()
	front.Start()
	w.httpURL = front
	w.t.Cleanup(func() {
		front.Close()
		_ = s.Close()
	})
	w.token = w.login()
}

func (w *world) callback(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/v1/payments/webhooks/phonepe" {
		w.other(rw, r)
		return
	}
	var body struct {
		Event   string
		Payload struct {
			MerchantOrderID, OriginalMerchantOrderID, State string
			Amount                                          int64
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		w.t.Errorf("callback to %s: %v", r.URL.Path, err)
	}
	if w.refuse.Add(-1) >= 0 {
		rw.WriteHeader(http.StatusInternalServerError)
		return
	}
	p := body.Payload
	w.got <- received{r.Header.Get("Authorization"), body.Event, p.State, p.Amount, p.MerchantOrderID + p.OriginalMerchantOrderID}
}

func (w *world) call(method, path, body string, header ...string) (status int, answer map[string]any) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if w.token != "" {
		req.Header.Set("Authorization", "O-Bearer "+w.token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "user" { // and the password, for Basic
			req.SetBasicAuth(strings.Split(header[i+1], ":")[0], strings.Split(header[i+1], ":")[1])
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = json.Unmarshal(raw, &answer)
	if answer == nil {
		answer = map[string]any{"text": string(raw), "csp": res.Header.Get("Content-Security-Policy")}
	}
	return res.StatusCode, answer
}

func (w *world) login() string {
	w.t.Helper()
	form := url.Values{"client_id": {"client"}, "client_version": {"1"}, "client_secret": {"secret"}, "grant_type": {"client_credentials"}}
	status, got := w.call("POST", "/apis/pg-sandbox/v1/oauth/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	tok, ok := got["access_token"].(string)
	if status != 200 || !ok || got["token_type"] != "O-Bearer" || got["expires_at"] != float64(w.clock.Load()+3600) {
		w.t.Fatalf("token: %d %v", status, got)
	}
	return tok
}

func payBody(id string, amount int64) string {
	return `{"merchantOrderId":"` + id + `","amount":` + strconv.FormatInt(amount, 10) + `,"expireAfter":600,"somethingNew":1,"metaInfo":{"udf1":"pay_1"},
	"paymentFlow":{"type":"PG_CHECKOUT","message":"Premium","merchantUrls":{"redirectUrl":"http://localhost:5001/back?x=1"}}}`
}

// pay opens an order and returns the path of its page.
func (w *world) pay(id string, amount int64) string {
	w.t.Helper()
	status, got := w.call("POST", "/apis/pg-sandbox/checkout/v2/pay", payBody(id, amount))
	to, ok := got["redirectUrl"].(string)
	if status != 200 || got["state"] != "PENDING" || !ok || !strings.HasPrefix(to, w.url+"/checkout/OMO") {
		w.t.Fatalf("pay %s: %d %v", id, status, got)
	}
	return strings.TrimPrefix(to, w.url)
}

func (w *world) complete(page, outcome string) (int, map[string]any) {
	w.t.Helper()
	return w.call("POST", page+"/complete", `{"outcome":"`+outcome+`"}`, "Content-Type", "application/json")
}

func (w *world) control(body string) {
	w.t.Helper()
	if status, got := w.call("PUT", "/control", body); status != 200 {
		w.t.Fatalf("PUT /control %s: %d %v", body, status, got)
	}
}

func (w *world) next() received {
	w.t.Helper()
	select {
	case r := <-w.got:
		return r
	case <-time.After(10 * time.Second):
		w.t.Fatal("no callback came")
		return received{}
	}
}

// quiet ends the deliveries, so that what has not come will not come.
func (w *world) quiet() {
	w.t.Helper()
	w.server.sender.close()
	select {
	case r := <-w.got:
		w.t.Errorf("a callback too many: %+v", r)
	case d := <-w.raw:
		w.t.Errorf("a callback too many: %s", d.body)
	default:
	}
}

func (w *world) rows() []Row {
	w.t.Helper()
	_, got := w.call("GET", "/bank/statement", "")
	raw, ok := got["text"].(string)
	if !ok { // one row parses as an object
		one, err := json.Marshal(got)
		if err != nil {
			w.t.Fatal(err)
		}
		raw = string(one)
	}
	var rows []Row
	for d := json.NewDecoder(strings.NewReader(raw)); d.More(); {
		var r Row
		if err := d.Decode(&r); err != nil {
			w.t.Fatalf("statement %q: %v", raw, err)
		}
		rows = append(rows, r)
	}
	return rows
}

func TestAuthorizationIsPhonePesVector(t *testing.T) {
	if got := merchant.authorization(); got != vector {
		t.Errorf("authorization of webhook_user:pass123456 = %s, want %s", got, vector)
	}
}

func TestPaidOnce(t *testing.T) {
	w := open(t)
	page := w.pay("pay-1", 29900)
	if status, got := w.call("POST", "/apis/pg-sandbox/checkout/v2/pay", payBody("pay-1", 29900)); status != 417 || got["code"] != "INVALID_TRANSACTION_ID" {
		t.Errorf("reused order id: %d %v", status, got)
	}
	for range 2 {
		if status, got := w.complete(page, "SUCCESS"); status != 200 || got["state"] != "COMPLETED" {
			t.Fatalf("complete: %d %v", status, got)
		}
	}
	want := received{vector, "checkout.order.completed", "COMPLETED", 29900, "pay-1"}
	if diff := cmp.Diff(want, w.next(), cmp.AllowUnexported(received{})); diff != "" {
		t.Errorf("callback (-want +got):\n%s", diff)
	}
	status, got := w.call("GET", "/apis/pg-sandbox/checkout/v2/order/pay-1/status?details=false&details=true&errorContext=false", "")
	if status != 200 || got["state"] != "COMPLETED" || got["amount"] != float64(29900) {
		t.Errorf("status: %d %v", status, got)
	}
	if status, got = w.complete(page, "FAILURE"); status != 409 {
		t.Errorf("failure after success: %d %v", status, got)
	}
	rows := w.rows()
	if len(rows) != 1 || rows[0].MerchantOrderID != "pay-1" || rows[0].Kind != "CAPTURE" || rows[0].AmountMinor != 29900 || rows[0].Currency != "INR" || rows[0].Provider != "phonepe" {
		t.Errorf("statement = %+v, want one capture of 29900", rows)
	}
	w.quiet()
}

func TestLateSuccessAfterFailure(t *testing.T) {
	w := open(t)
	page := w.pay("late", 10000)
	for _, tt := range []struct{ outcome, state, event string }{
		{"PENDING", "PENDING", ""},
		{"FAILURE", "FAILED", "checkout.order.failed"},
		{"SUCCESS", "COMPLETED", "checkout.order.completed"},
	} {
		if status, got := w.complete(page, tt.outcome); status != 200 || got["state"] != tt.state {
			t.Fatalf("%s: %d %v", tt.outcome, status, got)
		}
		if tt.event == "" {
			continue
		}
		if got := w.next(); got.event != tt.event || got.state != tt.state {
			t.Errorf("%s: callback %+v", tt.outcome, got)
		}
	}
	if rows := w.rows(); len(rows) != 1 {
		t.Errorf("statement = %+v, want one row", rows)
	}
	w.quiet()
}

func TestRestartKeepsTheBank(t *testing.T) {
	w := open(t)
	w.complete(w.pay("kept", 500), "SUCCESS")
	w.next()
	before := w.rows()
	w.httpURL.Close()
	if err := w.server.Close(); err != nil {
		t.Fatal(err)
	}
	w.start("http://127.0.0.1:9")
	if diff := cmp.Diff(before, w.rows()); diff != "" {
		t.Errorf("statement after a restart (-before +after):\n%s", diff)
	}
	if status, _ := w.call("POST", "/apis/pg-sandbox/checkout/v2/pay", payBody("kept", 500)); status != 417 {
		t.Errorf("order id is free again after a restart: %d", status)
	}
}

func TestReplayCutsATornLine(t *testing.T) {
	whole := `{"order":{"id":"a","merchantOrderId":"m"}}` + "\n"
	n := 0
	got, err := replay([]byte(whole+`{"row":{"id":"x"`), func(entry) { n++ })
	if err != nil || got != len(whole) || n != 1 {
		t.Errorf("replay = %d entries, %d bytes, %v; want 1, %d, nil", n, got, err, len(whole))
	}
	if _, err := replay([]byte("junk\n"), func(entry) {}); err == nil {
		t.Error("a broken line inside was accepted")
	}
}

func TestRefund(t *testing.T) {
	w := open(t)
	page := w.pay("r1", 1000)
	body := `{"merchantRefundId":"ref-1","originalMerchantOrderId":"r1","amount":400}`
	if status, _ := w.call("POST", "/apis/pg-sandbox/payments/v2/refund", body); status != 400 {
		t.Errorf("refund of an unpaid order: %d", status)
	}
	w.complete(page, "SUCCESS")
	w.next()
	if status, got := w.call("POST", "/apis/pg-sandbox/payments/v2/refund", body); status != 200 || got["state"] != "PENDING" {
		t.Errorf("refund: %d %v", status, got)
	}
	told := map[string]received{}
	for range 2 { // in any order
		got := w.next()
		told[got.event] = got
	}
	if got := told["pg.refund.accepted"]; got.state != "CONFIRMED" || got.order != "r1" {
		t.Errorf("accepted: %+v", got)
	}
	if got := told["pg.refund.completed"]; got.amount != 400 || got.order != "r1" || got.state != "COMPLETED" {
		t.Errorf("completed: %+v", got)
	}
	if status, _ := w.call("POST", "/apis/pg-sandbox/payments/v2/refund", body); status != 417 {
		t.Errorf("reused refund id: %d", status)
	}
	if _, got := w.call("GET", "/apis/pg-sandbox/payments/v2/refund/ref-1/status", ""); got["state"] != "COMPLETED" {
		t.Errorf("refund status: %v", got)
	}
	rows := w.rows()
	if len(rows) != 2 || rows[1].Kind != "REFUND" || rows[1].AmountMinor != 400 {
		t.Errorf("statement = %+v", rows)
	}
}

func TestRefusals(t *testing.T) {
	w := open(t)
	pay := "/apis/pg-sandbox/checkout/v2/pay"
	for _, tt := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"too little", "POST", pay, payBody("a", 99), 400},
		{"bad id", "POST", pay, payBody("a b", 100), 400},
		{"no return", "POST", pay, `{"merchantOrderId":"a","amount":100,"paymentFlow":{"type":"PG_CHECKOUT"}}`, 400},
		{"script return", "POST", pay, strings.Replace(payBody("a", 100), "http://localhost:5001/back", "javascript:alert(1)", 1), 400},
		{"short expiry", "POST", pay, strings.Replace(payBody("a", 100), "600", "10", 1), 400},
		{"not JSON", "POST", pay, "{", 400},
		{"too long", "POST", pay, `"` + strings.Repeat("x", maxBodyBytes) + `"`, 400},
		{"unknown order", "GET", "/apis/pg-sandbox/checkout/v2/order/none/status", "", 404},
		{"unknown page", "GET", "/checkout/none", "", 404},
		{"unknown completion", "POST", "/checkout/none/complete", `{"outcome":"SUCCESS"}`, 404},
		{"unknown field", "PUT", "/control", `{"dlayMs":1}`, 400},
		{"negative", "PUT", "/control", `{"drop":-1}`, 400},
		{"two values", "PUT", "/control", `{}{}`, 400},
		{"a string for a number", "PUT", "/control", `{"drop":"1"}`, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, answer := w.call(tt.method, tt.path, tt.body); got != tt.want {
				t.Errorf("%s %s = %d %v, want %d", tt.method, tt.path, got, answer, tt.want)
			}
		})
	}
	page := w.pay("ok", 100)
	if got, _ := w.complete(page, "MAYBE"); got != 400 {
		t.Errorf("outcome MAYBE = %d, want 400", got)
	}
	w.clock.Add(3601)
	if got, _ := w.call("POST", pay, payBody("b", 100)); got != 401 {
		t.Errorf("an expired token = %d, want 401", got)
	}
	w.token = w.login()
	if _, got := w.call("GET", "/apis/pg-sandbox/checkout/v2/order/ok/status", ""); got["state"] != "FAILED" || got["errorCode"] != "ORDER_EXPIRED" {
		t.Errorf("an expired order = %v", got)
	}
}

func TestFailingCalls(t *testing.T) {
	w := open(t)
	w.control(`{"failNextCalls":2}`)
	for _, want := range []int{503, 503, 404} {
		if got, _ := w.call("GET", "/apis/pg-sandbox/checkout/v2/order/none/status", ""); got != want {
			t.Errorf("status call = %d, want %d", got, want)
		}
	}
	w.pay("up", 100)
	w.control(`{"statusUnavailable":true}`)
	if got, _ := w.call("GET", "/apis/pg-sandbox/checkout/v2/order/up/status", ""); got != 503 {
		t.Errorf("status call = %d, want 503", got)
	}
	w.pay("still-open", 100)
	if _, got := w.call("GET", "/control", ""); got["statusUnavailable"] != true || got["failNextCalls"] != float64(0) {
		t.Errorf("GET /control = %v", got)
	}
}

func TestMisbehaviour(t *testing.T) {
	t.Run("drop", func(t *testing.T) {
		w := open(t)
		w.control(`{"drop":1}`)
		w.complete(w.pay("lost", 100), "SUCCESS")
		w.complete(w.pay("found", 100), "SUCCESS")
		if got := w.next(); got.order != "found" {
			t.Errorf("callback for %s, want found", got.order)
		}
		w.quiet()
	})
	t.Run("duplicate", func(t *testing.T) {
		w := open(t)
		w.control(`{"duplicate":2}`)
		w.complete(w.pay("thrice", 100), "SUCCESS")
		for range 3 {
			if got := w.next(); got.order != "thrice" || got.authorization != vector {
				t.Errorf("copy %+v", got)
			}
		}
		w.quiet()
	})
	t.Run("reorder", func(t *testing.T) {
		w := open(t)
		w.control(`{"reorder":true}`)
		w.complete(w.pay("first", 100), "SUCCESS")
		w.complete(w.pay("second", 100), "SUCCESS")
		if a, b := w.next().order, w.next().order; a != "second" || b != "first" {
			t.Errorf("order = %s, %s; want second, first", a, b)
		}
		w.complete(w.pay("third", 100), "SUCCESS")
		w.control(`{}`)
		if got := w.next().order; got != "third" {
			t.Errorf("released %s, want third", got)
		}
	})
	t.Run("forge", func(t *testing.T) {
		w := open(t)
		w.control(`{"forge":true}`)
		w.complete(w.pay("target", 100), "FAILURE")
		seen := map[bool]received{}
		for range 2 {
			r := w.next()
			seen[r.authorization == vector] = r
		}
		if r := seen[true]; r.state != "FAILED" || r.amount != 100 {
			t.Errorf("genuine = %+v", r)
		}
		if r := seen[false]; r.state != "COMPLETED" || r.amount == 100 {
			t.Errorf("forged = %+v", r)
		}
	})
	t.Run("retry", func(t *testing.T) {
		w := open(t)
		w.refuse.Store(2)
		w.complete(w.pay("again", 100), "SUCCESS")
		if got := w.next(); got.order != "again" {
			t.Errorf("third try = %+v", got)
		}
	})
}

func TestPage(t *testing.T) {
	w := open(t)
	page := w.pay("seen", 12345600)
	_, got := w.call("GET", page, "")
	text, ok := got["text"].(string)
	if !ok {
		t.Fatalf("page = %v", got)
	}
	for _, want := range []string{"₹1,23,456.00", "Manas360", `value="SUCCESS"`, `value="FAILURE"`, `value="PENDING"`, `action="` + page + `/complete"`} {
		if !strings.Contains(text, want) {
			t.Errorf("page lacks %s", want)
		}
	}
	for _, bad := range []string{"<script", "<style", " style=", " onclick="} {
		if strings.Contains(text, bad) {
			t.Errorf("page has %s, which its policy forbids", bad)
		}
	}
	if csp, ok := got["csp"].(string); !ok || !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("policy = %v", got["csp"])
	}
	status, got := w.call("POST", page+"/complete", "outcome=SUCCESS", "Content-Type", "application/x-www-form-urlencoded")
	text, ok = got["text"].(string)
	if status != 200 || !ok || !strings.Contains(text, `href="http://localhost:5001/back?x=1"`) || strings.Contains(text, "<form") {
		t.Errorf("after paying: %d %v", status, got)
	}
	w.next()
}

func TestFrontPage(t *testing.T) {
	w := open(t)
	status, got := w.call("GET", "/", "")
	text, ok := got["text"].(string)
	if status != 200 || !ok || got["csp"] == "" {
		t.Fatalf("GET /: got %d %v, want a page with a policy", status, got)
	}
	for _, want := range []string{`href="/bank/statement"`, `href="/control"`} {
		if !strings.Contains(text, want) {
			t.Errorf("GET /: lacks %s", want)
		}
	}
	if status, _ := w.call("GET", "/none", ""); status != 404 {
		t.Errorf("GET /none: got %d, want 404", status)
	}
}

func TestRupees(t *testing.T) {
	for paise, want := range map[int64]string{0: "₹0.00", 29900: "₹299.00", 100005: "₹1,000.05", 1234567890: "₹1,23,45,678.90"} {
		if got := rupees(paise); got != want {
			t.Errorf("rupees(%d) = %s, want %s", paise, got, want)
		}
	}
}

func FuzzControl(f *testing.F) {
	f.Add([]byte(`{"delayMs":5,"duplicate":1,"drop":2,"reorder":true,"forge":false,"failNextCalls":3,"statusUnavailable":true}`))
	f.Add([]byte(`{"drop":-1}`))
	f.Add([]byte(`{}x`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseControl(raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(c)
		if err != nil {
			return // a clock outside the years that JSON has
		}
		if back, err := parseControl(again); err != nil || !cmp.Equal(back, c) {
			t.Errorf("%s became %s: %v", raw, again, err)
		}
	})
}

func FuzzPay(f *testing.F) {
	f.Add([]byte(payBody("a", 100)))
	f.Add([]byte(`{"merchantOrderId":"a","amount":9223372036854775808}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, _, err := parsePhonePePay(raw, time.Unix(1, 0))
		if err != nil {
			return
		}
		if o.Amount < phonepeMinAmount || !merchantID.MatchString(o.MerchantOrderID) || o.ReturnURL != "" && !linkable(o.ReturnURL) || bytes.ContainsAny([]byte(o.MerchantOrderID), "/ ") {
			t.Errorf("%s was taken as %+v", raw, o)
		}
	})
}
