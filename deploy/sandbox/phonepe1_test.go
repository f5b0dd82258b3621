package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

// money.md 4.1: the vectors of PhonePe's documentation.
func TestPhonePeV1Vectors(t *testing.T) {
	// The sample as the documentation prints it, spaces and line ends included.
	sample := "ewogICJtZXJjaGFudElkIjogIlBHVEVTVFBBWVVBVCIsCiAgIm1lcmNoYW50VHJhbnNhY3Rpb25JZCI6ICJNVDc4NTA1OTAwNjgxODgxMDQiLAogICJtZXJjaGFudFVzZXJJZCI6ICJNVUlEMTIzIiwKICAiYW1vdW50IjogMTAwMDAsCiAgInJlZGlyZWN0VXJsIjogImh0dHBzOi8vd2ViaG9vay5zaXRlL3JlZGlyZWN0LXVybCIsCiAgInJlZGlyZWN0TW9kZSI6ICJSRURJUkVDVCIsCiAgImNhbGxiYWNrVXJsIjogImh0dHBzOi8vd2ViaG9vay5zaXRlL2NhbGxiYWNrLXVybCIsCiAgIm1vYmlsZU51bWJlciI6ICI5OTk5OTk5OTk5IiwKICAicGF5bWVudEluc3RydW1lbnQiOiB7CiAgICAidHlwZSI6ICJQQVlfUEFHRSIKICB9Cn0="
	for name, tt := range map[string]struct{ signed, want string }{
		"pay":    {sample + "/pg/v1/pay", "d7a8e4458caa6fcd781166bbdc85fec76740c18cb9baa9a4c48cf2387d554180###1"},
		"status": {"/pg/v1/status/PGTESTPAYUAT/MT7850590068188104", "95c6d60f014b7190aa417083aca2489bb5b0a729d0421c17dea19f5913e6d741###1"},
	} {
		if got := merchant1.verify(tt.signed); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func (w *world) phonepe1(path string, request map[string]any) (int, map[string]any) {
	w.t.Helper()
	raw, err := json.Marshal(request)
	if err != nil {
		w.t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(raw)
	return w.call("POST", "/apis/pg-sandbox"+path, `{"request":"`+text+`"}`, "Content-Type", "application/json", "X-VERIFY", merchant1.verify(text+path))
}

func (w *world) phonepe1Status(id string) (int, map[string]any) {
	w.t.Helper()
	path := "/pg/v1/status/" + merchant1.MerchantID + "/" + id
	return w.call("GET", "/apis/pg-sandbox"+path, "", "X-VERIFY", merchant1.verify(path), "X-MERCHANT-ID", merchant1.MerchantID)
}

func pay1(id string, amount int) map[string]any {
	return map[string]any{
		"merchantId": merchant1.MerchantID, "merchantTransactionId": id, "merchantUserId": "u", "amount": amount, "redirectUrl": "http://localhost:5001/back", "redirectMode": "POST",
		"paymentInstrument": map[string]any{"type": "PAY_PAGE"},
	}
}

// opened checks a callback's X-VERIFY, and opens it.
func (d delivery) opened(t *testing.T) map[string]any {
	t.Helper()
	var envelope struct{ Response string }
	if err := json.Unmarshal(d.body, &envelope); err != nil {
		t.Fatal(err)
	}
	if got, want := d.header.Get("X-Verify"), merchant1.verify(envelope.Response); got != want {
		t.Errorf("X-VERIFY is %s, want %s", got, want)
	}
	raw, err := base64.StdEncoding.DecodeString(envelope.Response)
	if err != nil {
		t.Fatal(err)
	}
	return delivery{body: raw}.json()
}

func TestPhonePeV1(t *testing.T) {
	w := open(t)
	status, got := w.phonepe1("/pg/v1/pay", pay1("MT1", 29900))
	page := text(got, "data", "instrumentResponse", "redirectInfo", "url")
	if status != 200 || got["code"] != "PAYMENT_INITIATED" || !strings.HasPrefix(page, w.url+"/checkout/T") {
		t.Fatalf("pay: %d %v", status, got)
	}
	if status, _ := w.phonepe1("/pg/v1/pay", pay1("MT1", 29900)); status != 400 {
		t.Errorf("reused: %d, want 400", status)
	}
	if _, got = w.phonepe1Status("MT1"); got["code"] != "PAYMENT_PENDING" || text(got, "data", "state") != "PENDING" {
		t.Errorf("pending: %v", got)
	}
	if _, got = w.complete(w.pathOf(page), "SUCCESS"); got["redirectMethod"] != "POST" || text(got, "handback", "code") != "PAYMENT_SUCCESS" {
		t.Errorf("handback: %v", got)
	}
	d := w.delivered()
	if body := d.opened(t); d.path != "/api/v1/payments/webhooks/phonepe-v1" || body["code"] != "PAYMENT_SUCCESS" || text(body, "data", "merchantTransactionId") != "MT1" || text(body, "data", "amount") != "29900" {
		t.Errorf("callback to %s: %v", d.path, body)
	}
	status, got = w.phonepe1("/pg/v1/refund", map[string]any{"merchantId": merchant1.MerchantID, "originalTransactionId": "MT1", "merchantTransactionId": "RT1", "amount": 900})
	if status != 200 || got["code"] != "PAYMENT_PENDING" {
		t.Errorf("refund: %d %v", status, got)
	}
	if body := w.delivered().opened(t); body["code"] != "PAYMENT_SUCCESS" || text(body, "data", "merchantTransactionId") != "RT1" || text(body, "data", "amount") != "900" {
		t.Errorf("refund callback: %v", body)
	}
	if _, got = w.phonepe1Status("RT1"); text(got, "data", "state") != "COMPLETED" {
		t.Errorf("refund status: %v", got)
	}
	for _, tt := range []struct {
		name, path string
		with       map[string]any
		status     int
		code       string
	}{
		{"refund of too much", "/pg/v1/refund", map[string]any{"merchantId": merchant1.MerchantID, "originalTransactionId": "MT1", "merchantTransactionId": "RT2", "amount": 29001}, 400, "BAD_REQUEST"},
		{"refund of the unknown", "/pg/v1/refund", map[string]any{"merchantId": merchant1.MerchantID, "originalTransactionId": "none", "merchantTransactionId": "RT3", "amount": 1}, 404, "TRANSACTION_NOT_FOUND"},
		{"other merchant", "/pg/v1/pay", map[string]any{"merchantId": "OTHER", "merchantTransactionId": "x", "amount": 100}, 400, "KEY_NOT_CONFIGURED"},
		{"too little", "/pg/v1/pay", pay1("MT2", 99), 400, "BAD_REQUEST"},
	} {
		if status, got := w.phonepe1(tt.path, tt.with); status != tt.status || got["code"] != tt.code {
			t.Errorf("%s: %d %v", tt.name, status, got)
		}
	}
	if status, got := w.call("POST", "/apis/hermes/pg/v1/pay", `{"request":"e30="}`, "X-VERIFY", merchant1.verify("e30=")); status != 401 || got["code"] != "AUTHORIZATION_FAILED" {
		t.Errorf("a signature without the path: %d %v", status, got)
	}
	if status, got := w.phonepe1Status("none"); status != 404 || got["code"] != "TRANSACTION_NOT_FOUND" {
		t.Errorf("unknown: %d %v", status, got)
	}
	rows := w.rows()
	if len(rows) != 2 || rows[0].Provider != "phonepe-v1" || rows[1].Kind != "REFUND" || rows[1].AmountMinor != 900 {
		t.Errorf("statement = %+v", rows)
	}
}

func TestReach(t *testing.T) {
	s := &Server{callbackURL: "http://gateway:5001/api/v1/payments/webhooks"}
	for to, want := range map[string]string{
		"":                          "http://gateway:5001/api/v1/payments/webhooks/phonepe-v1",
		"http://localhost:5001/x?y": "http://gateway:5001/x?y",
		"http://shop.example/x":     "http://shop.example/x",
	} {
		if got := s.reach(to, "/phonepe-v1"); got != want {
			t.Errorf("reach(%q) = %s, want %s", to, got, want)
		}
	}
}
