package payment

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manas360/platform/services/payment/factstate"
	"github.com/manas360/platform/services/payment/signature"
)

const (
	v1Pay    = "POST /apis/hermes/pg/v1/pay"
	v1Refund = "POST /apis/hermes/pg/v1/refund"
	v1Status = "GET /apis/hermes/pg/v1/status/M1/"
	v1Opened = `{"success":true,"code":"PAYMENT_INITIATED","data":{"merchantId":"M1","merchantTransactionId":"` + anOrder + `","instrumentResponse":{"type":"PAY_PAGE","redirectInfo":{"url":"https://mercury.phonepe.com/t/1","method":"GET"}}}}`
	v1Known  = `{"success":false,"code":"PAYMENT_PENDING","data":{"merchantTransactionId":"` + anOrder + `","state":"PENDING"}}`
	v1None   = `{"success":false,"code":"TRANSACTION_NOT_FOUND"}`
)

// TestPhonePe1Pay sends what the documentation asks for, signed over what is sent.
func TestPhonePe1Pay(t *testing.T) {
	f := script(t, map[string][]spoken{v1Pay: {{200, v1Opened}}})
	o, err := f.phonepe1().pay(t.Context(), dear())
	if err != nil || o.RedirectURL != "https://mercury.phonepe.com/t/1" {
		t.Fatalf("%+v, %v", o, err)
	}
	h := f.last(t, v1Pay)
	var envelope map[string]string
	if err := json.Unmarshal([]byte(h.body), &envelope); err != nil || len(envelope) != 1 {
		t.Fatalf("body %s: %v", h.body, err)
	}
	if got, want := h.header.Get("X-Verify"), signature.PhonePeV1Call(envelope["request"], "/pg/v1/pay", signature.Salt{Key: "salt", Index: 1}); got != want {
		t.Errorf("X-VERIFY %s, want %s", got, want)
	}
	plain, err := base64.StdEncoding.DecodeString(envelope["request"])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"merchantId":"M1","merchantTransactionId":"` + anOrder + `","merchantUserId":"usr_1","amount":29900,` +
		`"redirectUrl":"http://localhost:5001/?payment=pay_1","redirectMode":"REDIRECT",` +
		`"callbackUrl":"http://localhost:5001/api/v1/payments/webhooks/phonepe-v1","paymentInstrument":{"type":"PAY_PAGE"}}`
	if d := cmp.Diff(want, string(plain)); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
}

// TestPhonePe1Refusals: v1 says BAD_REQUEST of an id used before and of a wrong
// request, so that its status must tell. money.md B14, B54, B57.
func TestPhonePe1Refusals(t *testing.T) {
	bad := spoken{http.StatusBadRequest, `{"success":false,"code":"BAD_REQUEST"}`}
	for _, tt := range []struct {
		name       string
		pay, known spoken
		want       string
	}{
		{"a wrong request", bad, spoken{404, v1None}, no},
		{"a wrong request, not found with 200", bad, spoken{200, v1None}, no},
		{"used before", bad, spoken{200, v1Known}, duplicate},
		{"nobody knows which", bad, spoken{503, ``}, unknown},
		{"a proxy's 404 is no proof", bad, spoken{404, `<html>`}, unknown},
		{"not configured", spoken{400, `{"code":"KEY_NOT_CONFIGURED"}`}, spoken{404, v1None}, no},
		{"a wrong signature", spoken{401, `{"code":"AUTHORIZATION_FAILED"}`}, spoken{404, v1None}, unsent},
		{"too often", spoken{429, `{"code":"TOO_MANY_REQUESTS"}`}, spoken{404, v1None}, unsent},
		{"timed out", spoken{400, `{"code":"TIMED_OUT"}`}, spoken{404, v1None}, unknown},
		{"failed inside", spoken{400, `{"code":"INTERNAL_SERVER_ERROR"}`}, spoken{404, v1None}, unknown},
		{"another order's page", spoken{200, `{"code":"PAYMENT_INITIATED","data":{"merchantTransactionId":"P9-1","instrumentResponse":{"redirectInfo":{"url":"https://x"}}}}`}, spoken{404, v1None}, unknown},
		{"another merchant's", spoken{200, `{"code":"PAYMENT_INITIATED","data":{"merchantId":"M9"}}`}, spoken{404, v1None}, unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := script(t, map[string][]spoken{v1Pay: {tt.pay}, v1Refund: {tt.pay}, v1Status + anOrder: {tt.known}, v1Status + aRefund: {tt.known}})
			if _, err := f.phonepe1().pay(t.Context(), dear()); verdictOf(err) != tt.want {
				t.Errorf("pay: %s (%v), want %s", verdictOf(err), err, tt.want)
			}
			if tt.pay.status == http.StatusOK {
				return
			}
			if _, err := f.phonepe1().refund(t.Context(), dearRefund("")); verdictOf(err) != tt.want {
				t.Errorf("refund: %s (%v), want %s", verdictOf(err), err, tt.want)
			}
		})
	}
}

// TestPhonePe1Facts decides on code and state together: money.md B57.
func TestPhonePe1Facts(t *testing.T) {
	for _, tt := range []struct {
		code, state string
		want        factstate.Fact
		refund      refundKind
	}{
		{"PAYMENT_SUCCESS", "COMPLETED", factstate.Captured, refundDone},
		{"PAYMENT_PENDING", "PENDING", factstate.Opened, refundPending},
		{"PAYMENT_INITIATED", "PENDING", factstate.Opened, refundUnknown},
		{"PAYMENT_PENDING", "CONFIRMED", factstate.Unknown, refundPending},
		{"PAYMENT_ERROR", "FAILED", factstate.Declined, refundFailed},
		{"PAYMENT_DECLINED", "FAILED", factstate.Declined, refundFailed},
		{"TIMED_OUT", "FAILED", factstate.Lapsed, refundUnknown}, // a refund "might get initiated"
		{"INTERNAL_SERVER_ERROR", "FAILED", factstate.Unknown, refundUnknown},
		{"REVERSAL_WINDOW_EXCEEDED", "FAILED", factstate.Unknown, refundFailed},
		{"TIMED_OUT", "", factstate.Unknown, refundUnknown},
		{"TIMED_OUT", "PENDING", factstate.Unknown, refundUnknown},
		{"PAYMENT_SUCCESS", "PENDING", factstate.Unknown, refundUnknown},
		{"PAYMENT_SUCCESS", "FAILED", factstate.Unknown, refundUnknown},
		{"PAYMENT_ERROR", "COMPLETED", factstate.Unknown, refundUnknown},
		{"PAYMENT_SUCCESS", "", factstate.Unknown, refundUnknown},
		{"", "COMPLETED", factstate.Unknown, refundUnknown},
		{"payment_success", "completed", factstate.Unknown, refundUnknown},
	} {
		body := `{"code":"` + tt.code + `","data":{"merchantId":"M1","merchantTransactionId":"X-1","transactionId":"T1","amount":29900,"state":"` + tt.state + `","paymentInstrument":{"type":"UPI"},"new":[1.5]}}`
		f := script(t, map[string][]spoken{v1Status + anOrder: {{200, body}}, v1Status + aRefund: {{200, body}}})
		got, err := f.phonepe1().status(t.Context(), sentOrder{MerchantOrderID: anOrder})
		if err != nil || got.Kind != tt.want || got.AmountMinor != price || got.Currency != "INR" || got.EchoedOrderID != "X-1" || got.ProviderOrderID != "T1" || got.Method != "UPI" {
			t.Errorf("%s %s: %+v (%v), want %s", tt.code, tt.state, got, err, tt.want)
		}
		back, err := f.phonepe1().refundStatus(t.Context(), dearRefund(""))
		if err != nil || back.Kind != tt.refund || back.AmountMinor != price || back.EchoedRefundID != "X-1" || back.ProviderRefundID != "T1" {
			t.Errorf("refund %s %s: %+v (%v), want %v", tt.code, tt.state, back, err, tt.refund)
		}
	}
}
