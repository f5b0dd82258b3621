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

const (
	razorpayLinks    = "/v1/payment_links"
	razorpayOrders   = "/v1/orders/"
	razorpayPayments = "/v1/payments/"
	razorpayMinPaise = 100
	razorpayCurrency = "INR" // what check lets through
	razorpayTries    = 10    // payments of one link that we look at, when it names no order
	notePayment      = "paymentId"
)

// razorpay speaks to Razorpay by a client of our own: theirs takes an outage for
// a refusal (money.md B54). An order of ours is a payment link, for that has a
// page; its reference is ours and unique. Safe for concurrent use.
type razorpay struct {
	base, key, secret string
	line              *line
	now               func() time.Time
}

func newRazorpay(c Razorpay, now func() time.Time, calls *prometheus.CounterVec) *razorpay {
	return &razorpay{
		base: strings.TrimSuffix(c.BaseURL, "/"), key: c.KeyID, secret: c.KeySecret, line: newLine(razorpayCode, calls), now: now,
	}
}

func (c *razorpay) atLeast() int64 { return razorpayMinPaise }

type razorpayOpen struct {
	Amount         int64             `json:"amount"`
	Currency       string            `json:"currency"`
	AcceptPartial  bool              `json:"accept_partial"`
	ReferenceID    string            `json:"reference_id"`
	Description    string            `json:"description"`
	ExpireBy       int64             `json:"expire_by"` // seconds, 15 minutes from now at least
	CallbackURL    string            `json:"callback_url"`
	CallbackMethod string            `json:"callback_method"`
	Notes          map[string]string `json:"notes"`
}

// razorpayLink is the part of a payment link we rely on.
type razorpayLink struct {
	ID          string `json:"id"`
	ReferenceID string `json:"reference_id"`
	OrderID     string `json:"order_id"` // there once somebody tries to pay, at the latest
	Amount      int64  `json:"amount"`
	Currency    string `json:"currency"`
	Status      string `json:"status"`
	ShortURL    string `json:"short_url"`
	ExpireBy    int64  `json:"expire_by"`
	Payments    []struct {
		PaymentID string `json:"payment_id"`
	} `json:"payments"`
}

// pay opens a link. A reference used before is refused in words that may change,
// so that any refusal asks whether the link is there.
func (c *razorpay) pay(ctx context.Context, o order) (opened, error) {
	a, err := c.call(ctx, http.MethodPost, razorpayLinks, razorpayOpen{
		Amount: o.AmountMinor, Currency: razorpayCurrency, ReferenceID: o.MerchantOrderID, Description: "Manas360",
		ExpireBy: c.now().Add(orderLife).Unix(), CallbackURL: o.ReturnURL, CallbackMethod: "get",
		Notes: map[string]string{noteOrder: o.MerchantOrderID, notePayment: o.PaymentID},
	}, "")
	if err != nil {
		return opened{}, err
	}
	var l razorpayLink
	if a.status != http.StatusOK {
		refused := refusal("pay", a.status, razorpayError(a.body))
		var no *refusedError
		if !errors.As(refused, &no) {
			return opened{}, refused
		}
		l, err = c.link(ctx, sentOrder{MerchantOrderID: o.MerchantOrderID})
		switch {
		case errors.Is(err, errNoOrder):
			return opened{}, refused
		case err != nil:
			return opened{}, fmt.Errorf("refused with %d %s, and whether it is known is not: %s", no.Status, no.Code, err.Error())
		case l.Status != "created":
			return opened{}, errDuplicate
		}
	} else if err := json.Unmarshal(a.body, &l); err != nil {
		return opened{}, fmt.Errorf("read the payment link: %w", err)
	}
	if l.ID == "" || l.ReferenceID != o.MerchantOrderID || l.Amount != o.AmountMinor || l.Currency != razorpayCurrency || !isAddress(l.ShortURL) {
		return opened{}, errors.New("the payment link is about something else, or has nowhere to pay")
	}
	return opened{ProviderOrderID: l.ID, RedirectURL: l.ShortURL, ExpiresAt: expiry(time.Unix(l.ExpireBy, 0), c.now())}, nil
}

// razorpayPayment is the part of a payment we rely on.
type razorpayPayment struct {
	ID          string `json:"id"`
	OrderID     string `json:"order_id"`
	Amount      int64  `json:"amount"`
	Currency    string `json:"currency"`
	Status      string `json:"status"`
	Captured    bool   `json:"captured"`
	Method      string `json:"method"`
	ErrorReason string `json:"error_reason"`
	ErrorCode   string `json:"error_code"`
	CreatedAt   int64  `json:"created_at"` // seconds
}

// status captures what is only authorized, also when that comes late: Razorpay
// gives such money back after some days.
func (c *razorpay) status(ctx context.Context, o sentOrder) (fact, error) {
	l, err := c.link(ctx, o)
	if err != nil {
		return fact{}, err
	}
	tries, err := c.tries(ctx, l)
	if err != nil {
		return fact{}, err
	}
	f, authorized := l.fact(o.MerchantOrderID, tries, c.now())
	if authorized == nil || l.ReferenceID != o.MerchantOrderID || authorized.Amount != o.AmountMinor || authorized.Currency != o.Currency {
		return f, nil // what is not what we asked for is left to whoever compares
	}
	if *authorized, err = c.capture(ctx, *authorized); err != nil {
		return fact{}, err
	}
	f, _ = l.fact(o.MerchantOrderID, tries, c.now())
	return f, nil
}

// capture takes what was authorized. Refused, it may have been taken a moment ago.
func (c *razorpay) capture(ctx context.Context, p razorpayPayment) (razorpayPayment, error) {
	a, err := c.call(ctx, http.MethodPost, razorpayPayments+url.PathEscape(p.ID)+"/capture", map[string]any{"amount": p.Amount, "currency": p.Currency}, "")
	if err == nil && a.status >= http.StatusBadRequest {
		a, err = c.call(ctx, http.MethodGet, razorpayPayments+url.PathEscape(p.ID), nil, "")
	}
	var got razorpayPayment
	if err := readRazorpay("capture", a, err, &got); err != nil {
		return got, err
	}
	if got.ID != p.ID || got.OrderID != p.OrderID || !got.Captured {
		return got, errors.New("the payment is not captured")
	}
	return got, nil
}

// fact is what a link and the tries to pay it say; authorized is one of them
// that waits to be captured.
func (l razorpayLink) fact(asked string, tries []razorpayPayment, now time.Time) (f fact, authorized *razorpayPayment) {
	f = fact{
		MerchantOrderID: asked, EchoedOrderID: l.ReferenceID, ProviderOrderID: l.ID, AmountMinor: l.Amount, Currency: l.Currency,
		RedirectURL: l.ShortURL,
	}
	var pending bool
	var taken int64
	for i, p := range tries {
		switch {
		case p.Captured && (p.Status == "captured" || p.Status == "refunded"):
			taken += p.Amount // of two payments the sum, which is not what we asked for
			f.Kind, f.AmountMinor, f.Currency, f.Method = factstate.Captured, taken, p.Currency, clip(p.Method, maxMethodLen)
			f.FailureCode, f.PaidAt = "", time.Unix(p.CreatedAt, 0).UTC()
		case p.Status == "authorized":
			authorized = &tries[i]
		case p.Status == "created":
			pending = true
		case f.Kind != factstate.Captured && f.FailureCode == "": // the newest is first
			f.FailureCode = clip(p.ErrorReason, maxFailureCodeLen)
		}
	}
	if f.Kind == factstate.Captured {
		return f, nil
	}
	over := l.ExpireBy > 0 && now.After(time.Unix(l.ExpireBy, 0).Add(expiryMargin))
	switch {
	case authorized != nil:
		f.Kind, f.AmountMinor, f.Currency = factstate.Opened, authorized.Amount, authorized.Currency
	case l.Status == "created" && !over, l.Status != "paid" && pending:
		f.Kind = factstate.Opened // also after a failure: the page takes another try
	case l.Status == "cancelled", l.Status == "created" && f.FailureCode != "":
		f.Kind = factstate.Declined
	case l.Status == "expired", l.Status == "created":
		f.Kind = factstate.Lapsed
	default: // paid, though no payment says so, or a word that is new
	}
	return f, authorized
}

// link finds an order's link by its id, or by our reference when the answer was lost.
func (c *razorpay) link(ctx context.Context, o sentOrder) (razorpayLink, error) {
	var l razorpayLink
	if o.ProviderOrderID != "" {
		a, err := c.call(ctx, http.MethodGet, razorpayLinks+"/"+url.PathEscape(o.ProviderOrderID), nil, "")
		if err := readRazorpay("link", a, err, &l); err != nil {
			return l, err
		}
		if l.ID != o.ProviderOrderID {
			return l, errors.New("the answer is about another link")
		}
		return l, nil
	}
	var list struct {
		Links []razorpayLink `json:"payment_links"`
	}
	a, err := c.call(ctx, http.MethodGet, razorpayLinks+"?reference_id="+url.QueryEscape(o.MerchantOrderID), nil, "")
	if err := readRazorpay("links", a, err, &list); err != nil {
		return l, err
	}
	switch {
	case list.Links == nil:
		return l, errors.New("the answer has no list of links")
	case len(list.Links) == 0:
		return l, errNoOrder
	case len(list.Links) > 1 || list.Links[0].ReferenceID != o.MerchantOrderID:
		return l, errors.New("the links are not of this reference")
	}
	return list.Links[0], nil
}

// tries are the payments that were tried, newest first.
func (c *razorpay) tries(ctx context.Context, l razorpayLink) ([]razorpayPayment, error) {
	var list struct {
		Items []razorpayPayment `json:"items"`
	}
	if l.OrderID != "" {
		a, err := c.call(ctx, http.MethodGet, razorpayOrders+url.PathEscape(l.OrderID)+"/payments", nil, "")
		if err := readRazorpay("order's payments", a, err, &list); err != nil {
			return nil, err
		}
		if list.Items == nil {
			return nil, errors.New("the answer has no list of payments")
		}
	} else {
		for _, p := range l.Payments[:min(len(l.Payments), razorpayTries)] {
			var one razorpayPayment
			a, err := c.call(ctx, http.MethodGet, razorpayPayments+url.PathEscape(p.PaymentID), nil, "")
			if err := readRazorpay("payment", a, err, &one); err != nil {
				return nil, err
			}
			list.Items = append(list.Items, one)
		}
	}
	for _, p := range list.Items {
		if l.OrderID != "" && p.OrderID != l.OrderID {
			return nil, errors.New("the payments are of another order")
		}
	}
	return list.Items, nil
}

func (c *razorpay) call(ctx context.Context, method, path string, in any, refundKey string) (answer, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return answer{}, fmt.Errorf("encode the request: %w", err)
		}
	}
	req, err := newRequest(ctx, method, c.base+path, body)
	if err != nil {
		return answer{}, err
	}
	req.SetBasicAuth(c.key, c.secret)
	if refundKey != "" {
		req.Header.Set("X-Refund-Idempotency", refundKey)
	}
	return c.line.exchange(req)
}

// readRazorpay reads the answer to a question. Nothing but a list tells that an
// order is not known: a 404 may be a proxy's.
func readRazorpay(what string, a answer, err error, into any) error {
	switch {
	case err != nil:
		return err
	case a.status != http.StatusOK:
		return fmt.Errorf("%s answered %d %s", what, a.status, razorpayError(a.body))
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("read the answer to %s: %w", what, err)
	}
	return nil
}

func razorpayError(body []byte) string {
	var e struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	return clip(e.Error.Code, maxFailureCodeLen)
}
