package payment

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/manas360/platform/services/payment/factstate"
	"github.com/manas360/platform/services/payment/signature"
)

const (
	phonepe1Pay    = "/pg/v1/pay"
	phonepe1Refund = "/pg/v1/refund"
	phonepe1Status = "/pg/v1/status/"
)

// phonepe1 speaks PhonePe's first dialect, of salt keys. It has no currency and
// no word for an id used before. Safe for concurrent use.
type phonepe1 struct {
	base     string
	merchant string
	salt     signature.Salt
	callback string // where it tells us
	line     *line
	now      func() time.Time
}

func newPhonePe1(c PhonePeV1, publicURL string, now func() time.Time, calls *prometheus.CounterVec) *phonepe1 {
	return &phonepe1{
		base: strings.TrimSuffix(c.BaseURL, "/"), merchant: c.MerchantID, salt: signature.Salt{Key: c.SaltKey, Index: c.SaltIndex},
		callback: publicURL + "/api/v1/payments/webhooks/" + phonepe1Code, line: newLine(phonepe1Code, calls), now: now,
	}
}

func (c *phonepe1) atLeast() int64 { return phonepeMinPaise }

type phonepe1Request struct {
	MerchantID            string             `json:"merchantId"`
	MerchantTransactionID string             `json:"merchantTransactionId"`
	OriginalTransactionID string             `json:"originalTransactionId,omitempty"` // of a refund
	MerchantUserID        string             `json:"merchantUserId,omitempty"`
	Amount                int64              `json:"amount"`
	RedirectURL           string             `json:"redirectUrl,omitempty"`
	RedirectMode          string             `json:"redirectMode,omitempty"`
	CallbackURL           string             `json:"callbackUrl"`
	PaymentInstrument     *phonepeInstrument `json:"paymentInstrument,omitempty"`
}

type phonepeInstrument struct {
	Type string `json:"type"`
}

// phonepe1Answer is the part of an answer we rely on: code and data.state together.
type phonepe1Answer struct {
	Code string `json:"code"`
	Data struct {
		MerchantID            string             `json:"merchantId"`
		MerchantTransactionID string             `json:"merchantTransactionId"`
		TransactionID         string             `json:"transactionId"`
		Amount                int64              `json:"amount"`
		State                 string             `json:"state"`
		PaymentInstrument     *phonepeInstrument `json:"paymentInstrument"`
		InstrumentResponse    struct {
			RedirectInfo struct {
				URL string `json:"url"`
			} `json:"redirectInfo"`
		} `json:"instrumentResponse"`
	} `json:"data"`
}

func (c *phonepe1) pay(ctx context.Context, o order) (opened, error) {
	a, err := c.post(ctx, phonepe1Pay, phonepe1Request{
		MerchantID: c.merchant, MerchantTransactionID: o.MerchantOrderID, MerchantUserID: o.UserID, Amount: o.AmountMinor,
		RedirectURL: o.ReturnURL, RedirectMode: "REDIRECT", CallbackURL: c.callback, PaymentInstrument: &phonepeInstrument{Type: "PAY_PAGE"},
	})
	if err != nil {
		return opened{}, err
	}
	if a.status != http.StatusOK {
		return opened{}, c.unlessKnown(ctx, o.MerchantOrderID, phonepe1Refusal("pay", a))
	}
	r, err := c.read(a.body)
	if err != nil {
		return opened{}, err
	}
	page := r.Data.InstrumentResponse.RedirectInfo.URL
	if r.Code != "PAYMENT_INITIATED" || r.Data.MerchantTransactionID != o.MerchantOrderID || !isAddress(page) {
		return opened{}, fmt.Errorf("pay answered %s, or about another order, or has nowhere to pay", clip(r.Code, maxFailureCodeLen))
	}
	return opened{ProviderOrderID: r.Data.TransactionID, RedirectURL: page, ExpiresAt: c.now().Add(orderLife)}, nil
}

// phonepe1Refusal: by PhonePe's word, what timed out or failed inside "might get
// initiated", whatever the status (money.md B57).
func phonepe1Refusal(doing string, a answer) error {
	code := errorCode(a.body)
	if unsureRefund(code) {
		return fmt.Errorf("%s answered %d %s", doing, a.status, code)
	}
	return refusal(doing, a.status, code)
}

// unlessKnown tells a no from the refusal of an id that was used before, which
// sound the same: an id it knows was used.
func (c *phonepe1) unlessKnown(ctx context.Context, id string, refused error) error {
	var no *refusedError
	if !errors.As(refused, &no) {
		return refused
	}
	_, err := c.ask(ctx, id)
	switch {
	case err == nil:
		return errDuplicate
	case errors.Is(err, errNoOrder):
		return refused
	default:
		return fmt.Errorf("refused with %d %s, and whether it is known is not: %s", no.Status, no.Code, err.Error())
	}
}

func (c *phonepe1) status(ctx context.Context, o sentOrder) (fact, error) {
	r, err := c.ask(ctx, o.MerchantOrderID)
	if err != nil {
		return fact{}, err
	}
	return r.order(o.MerchantOrderID), nil
}

// order needs code and state to agree; what contradicts itself is unknown.
func (r phonepe1Answer) order(asked string) fact {
	f := fact{
		MerchantOrderID: asked, EchoedOrderID: r.Data.MerchantTransactionID, ProviderOrderID: r.Data.TransactionID,
		AmountMinor: r.Data.Amount, Currency: phonepeCurrency,
	}
	if r.Data.PaymentInstrument != nil {
		f.Method = clip(r.Data.PaymentInstrument.Type, maxMethodLen)
	}
	switch r.Code + " " + r.Data.State {
	case "PAYMENT_SUCCESS COMPLETED":
		f.Kind = factstate.Captured
	case "PAYMENT_PENDING PENDING", "PAYMENT_INITIATED PENDING":
		f.Kind = factstate.Opened
	case "PAYMENT_ERROR FAILED", "PAYMENT_DECLINED FAILED":
		f.Kind, f.FailureCode = factstate.Declined, r.Code
	case "TIMED_OUT FAILED":
		f.Kind, f.FailureCode = factstate.Lapsed, r.Code
	default:
	}
	return f
}

func (c *phonepe1) refund(ctx context.Context, r sentRefund) (refundFact, error) {
	a, err := c.post(ctx, phonepe1Refund, phonepe1Request{
		MerchantID: c.merchant, MerchantTransactionID: r.MerchantRefundID, OriginalTransactionID: r.Order.MerchantOrderID,
		Amount: r.AmountMinor, CallbackURL: c.callback,
	})
	if err != nil {
		return refundFact{}, err
	}
	if a.status != http.StatusOK {
		return refundFact{}, c.unlessKnown(ctx, r.MerchantRefundID, phonepe1Refusal("refund", a))
	}
	got, err := c.read(a.body)
	if err != nil {
		return refundFact{}, err
	}
	return got.refund(r.MerchantRefundID), nil
}

func (c *phonepe1) refundStatus(ctx context.Context, r sentRefund) (refundFact, error) {
	got, err := c.ask(ctx, r.MerchantRefundID)
	if err != nil {
		return refundFact{}, err
	}
	return got.refund(r.MerchantRefundID), nil
}

// refund takes nothing that timed out for a failure (money.md B57).
func (r phonepe1Answer) refund(asked string) refundFact {
	f := refundFact{
		MerchantRefundID: asked, EchoedRefundID: r.Data.MerchantTransactionID, ProviderRefundID: r.Data.TransactionID,
		AmountMinor: r.Data.Amount, Currency: phonepeCurrency,
	}
	switch {
	case r.Code == "PAYMENT_SUCCESS" && r.Data.State == "COMPLETED":
		f.Kind = refundDone
	case r.Code == "PAYMENT_PENDING" && (r.Data.State == "PENDING" || r.Data.State == "CONFIRMED"):
		f.Kind = refundPending
	case r.Data.State == "FAILED" && r.Code != "" && r.Code != "PAYMENT_SUCCESS" && r.Code != "PAYMENT_PENDING" && !unsureRefund(r.Code):
		f.Kind, f.FailureCode = refundFailed, clip(r.Code, maxFailureCodeLen)
	default:
	}
	return f
}

// ask is for payments and refunds: their ids are of one kind.
func (c *phonepe1) ask(ctx context.Context, id string) (phonepe1Answer, error) {
	path := phonepe1Status + c.merchant + "/" + id
	req, err := newRequest(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return phonepe1Answer{}, err
	}
	req.Header.Set("X-Verify", signature.PhonePeV1Call("", path, c.salt))
	req.Header.Set("X-Merchant-Id", c.merchant)
	a, err := c.line.exchange(req)
	if err != nil {
		return phonepe1Answer{}, err
	}
	if code := errorCode(a.body); a.status < http.StatusInternalServerError && code == "TRANSACTION_NOT_FOUND" {
		return phonepe1Answer{}, errNoOrder
	} else if a.status != http.StatusOK {
		return phonepe1Answer{}, fmt.Errorf("status answered %d %s", a.status, code)
	}
	return c.read(a.body)
}

func (c *phonepe1) read(body []byte) (phonepe1Answer, error) {
	var r phonepe1Answer
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("read the answer: %w", err)
	}
	if r.Data.MerchantID != "" && r.Data.MerchantID != c.merchant {
		return r, errors.New("the answer is another merchant's")
	}
	return r, nil
}

func (c *phonepe1) post(ctx context.Context, path string, q phonepe1Request) (answer, error) {
	plain, err := json.Marshal(q)
	if err != nil {
		return answer{}, fmt.Errorf("encode the request: %w", err)
	}
	text := base64.StdEncoding.EncodeToString(plain)
	body, err := json.Marshal(map[string]string{"request": text})
	if err != nil {
		return answer{}, fmt.Errorf("encode the envelope: %w", err)
	}
	req, err := newRequest(ctx, http.MethodPost, c.base+path, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("X-Verify", signature.PhonePeV1Call(text, path, c.salt))
	return c.line.exchange(req)
}
