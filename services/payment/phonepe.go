package payment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/manas360/platform/services/payment/factstate"
)

// PhonePe's hosts, from its own SDK (pg-sdk-node 2.0.2).
const (
	phonepeSandboxBase    = "https://api-preprod.phonepe.com/apis/pg-sandbox"
	phonepeSandboxOAuth   = "https://api-preprod.phonepe.com/apis/pg-sandbox/v1/oauth/token"
	phonepeProductionBase = "https://api.phonepe.com/apis/pg"
	phonepeProductionAuth = "https://api.phonepe.com/apis/identity-manager/v1/oauth/token"
)

const (
	phonepePayPath   = "/checkout/v2/pay"
	phonepeOrderPath = "/checkout/v2/order/"
	phonepeMinPaise  = 100
	phonepeCurrency  = "INR"            // v2 has no currency on the wire
	orderLife        = 20 * time.Minute // expireAfter; PhonePe takes 5 to 60 minutes
)

// phonepe speaks PhonePe's v2 checkout. Safe for concurrent use.
type phonepe struct {
	base     string
	merchant string
	line     *line
	tokens   *tokenSource
	now      func() time.Time
}

// newPhonePe makes the client; nothing is called before the first payment.
func newPhonePe(c PhonePe, now func() time.Time, calls *prometheus.CounterVec) *phonepe {
	l := newLine(phonepeCode, calls)
	return &phonepe{
		base: strings.TrimSuffix(c.BaseURL, "/"), merchant: c.MerchantID, now: now, line: l,
		tokens: newTokenSource(c, l.client, now),
	}
}

func (c *phonepe) atLeast() int64 { return phonepeMinPaise }

type phonepePay struct {
	MerchantOrderID string            `json:"merchantOrderId"`
	Amount          int64             `json:"amount"`
	ExpireAfter     int64             `json:"expireAfter"` // seconds
	MetaInfo        map[string]string `json:"metaInfo"`
	PaymentFlow     phonepeFlow       `json:"paymentFlow"`
}

type phonepeFlow struct {
	Type         string      `json:"type"`
	MerchantURLs phonepeURLs `json:"merchantUrls"`
}

type phonepeURLs struct {
	RedirectURL string `json:"redirectUrl"`
}

func (c *phonepe) pay(ctx context.Context, o order) (opened, error) {
	a, err := c.post(ctx, phonepePayPath, phonepePay{
		MerchantOrderID: o.MerchantOrderID, Amount: o.AmountMinor, ExpireAfter: int64(orderLife / time.Second),
		MetaInfo:    map[string]string{"udf1": o.PaymentID, "udf2": o.UserID},
		PaymentFlow: phonepeFlow{Type: "PG_CHECKOUT", MerchantURLs: phonepeURLs{RedirectURL: o.ReturnURL}},
	})
	if err != nil {
		return opened{}, err
	}
	return c.readOpened(a.body)
}

func (c *phonepe) readOpened(body []byte) (opened, error) {
	var r struct {
		OrderID     string `json:"orderId"`
		RedirectURL string `json:"redirectUrl"`
		ExpireAt    int64  `json:"expireAt"` // milliseconds
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return opened{}, fmt.Errorf("read the answer to pay: %w", err)
	}
	if r.OrderID == "" || !isAddress(r.RedirectURL) {
		return opened{}, errors.New("the answer to pay has no order or nowhere to pay")
	}
	return opened{ProviderOrderID: r.OrderID, RedirectURL: r.RedirectURL, ExpiresAt: expiry(time.UnixMilli(r.ExpireAt), c.now())}, nil
}

// phonepeOrder is the part of an order we rely on. Everything else may change.
type phonepeOrder struct {
	OrderID           string          `json:"orderId"`
	MerchantOrderID   string          `json:"merchantOrderId"`
	State             string          `json:"state"`
	Amount            int64           `json:"amount"`
	ErrorCode         string          `json:"errorCode"`
	DetailedErrorCode string          `json:"detailedErrorCode"`
	PaymentDetails    []phonepeDetail `json:"paymentDetails"`
}

type phonepeDetail struct {
	TransactionID string `json:"transactionId"`
	PaymentMode   string `json:"paymentMode"`
	Timestamp     int64  `json:"timestamp"` // milliseconds
	State         string `json:"state"`
}

func (c *phonepe) status(ctx context.Context, o sentOrder) (fact, error) {
	a, err := c.call(ctx, http.MethodGet, phonepeOrderPath+url.PathEscape(o.MerchantOrderID)+"/status?details=false", nil)
	if err != nil {
		return fact{}, err
	}
	switch {
	case a.status == http.StatusNotFound, a.status == http.StatusBadRequest && unknownOrder(a.body):
		return fact{}, errNoOrder
	case a.status != http.StatusOK:
		return fact{}, fmt.Errorf("status answered %d %s", a.status, errorCode(a.body))
	}
	return readPhonePeOrder(a.body, o.MerchantOrderID)
}

// readPhonePeOrder relies on the root state alone. No state, or one we do not
// know, is factstate.Unknown.
func readPhonePeOrder(body []byte, asked string) (fact, error) {
	var o phonepeOrder
	if err := json.Unmarshal(body, &o); err != nil {
		return fact{}, fmt.Errorf("read the order's status: %w", err)
	}
	f := fact{
		MerchantOrderID: asked, EchoedOrderID: o.MerchantOrderID, ProviderOrderID: o.OrderID,
		AmountMinor: o.Amount, Currency: phonepeCurrency,
	}
	switch o.State {
	case "PENDING":
		f.Kind = factstate.Opened
	case "COMPLETED":
		f.Kind = factstate.Captured
	case "FAILED":
		f.Kind = factstate.Declined
		if strings.Contains(o.ErrorCode, "EXPIRED") {
			f.Kind = factstate.Lapsed
		}
		f.FailureCode = clip(o.ErrorCode, maxFailureCodeLen)
	default:
	}
	for _, d := range o.PaymentDetails {
		if f.Method == "" || d.State == o.State {
			f.Method = clip(d.PaymentMode, maxMethodLen)
		}
		if d.State == "COMPLETED" && d.Timestamp > 0 {
			f.PaidAt = time.UnixMilli(d.Timestamp).UTC()
		}
	}
	return f, nil
}

// call makes one call with a token, and fails as exchange does.
func (c *phonepe) call(ctx context.Context, method, path string, body []byte) (answer, error) {
	tok, err := c.tokens.get(ctx)
	if err != nil {
		return answer{}, fmt.Errorf("get a token: %w (%w)", errNotSent, err)
	}
	req, err := newRequest(ctx, method, c.base+path, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "O-Bearer "+tok)
	if c.merchant != "" {
		req.Header.Set("X-Merchant-Id", c.merchant)
	}
	a, err := c.line.exchange(req)
	if err == nil && a.status == http.StatusUnauthorized {
		c.tokens.refuse(ctx, tok) // the next call gets another; this one is not repeated
	}
	return a, err
}

// unknownOrder tells a 400 about the order from one about anything else.
func unknownOrder(body []byte) bool {
	switch errorCode(body) {
	case "INVALID_MERCHANT_ORDER_ID", "TRANSACTION_NOT_FOUND", "ORDER_NOT_FOUND":
		return true
	default:
		return false
	}
}
