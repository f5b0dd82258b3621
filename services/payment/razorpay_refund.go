package payment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	razorpayRefunds   = "/v1/refunds/"
	razorpayPage      = 100
	razorpayPages     = 10
	razorpayLeastKey  = 10 // characters of X-Refund-Idempotency
	razorpayRefunding = "refund"
)

type razorpayRefund struct {
	ID        string          `json:"id"`
	PaymentID string          `json:"payment_id"`
	Amount    int64           `json:"amount"`
	Currency  string          `json:"currency"`
	Receipt   string          `json:"receipt"`
	Notes     json.RawMessage `json:"notes"` // an object, or an empty list
	Status    string          `json:"status"`
}

// refund first looks whether it is there: the idempotency key is not kept for ever.
func (c *razorpay) refund(ctx context.Context, r sentRefund) (refundFact, error) {
	payment, err := c.captured(ctx, r.Order)
	if err != nil {
		return refundFact{}, before("find the payment", err)
	}
	was, err := c.findRefund(ctx, payment, r.MerchantRefundID)
	switch {
	case err == nil:
		return was.fact(r.MerchantRefundID), nil
	case !errors.Is(err, errNoOrder):
		return refundFact{}, before("look for the refund", err)
	}
	a, err := c.call(ctx, http.MethodPost, razorpayPayments+url.PathEscape(payment)+"/refund", map[string]any{
		"amount": r.AmountMinor, "speed": "normal", "receipt": r.MerchantRefundID,
		"notes": map[string]string{noteRefund: r.MerchantRefundID, noteOrder: r.Order.MerchantOrderID},
	}, refundKey(r.MerchantRefundID))
	if err != nil {
		return refundFact{}, err
	}
	if a.status != http.StatusOK {
		return refundFact{}, razorpayRefusal(a)
	}
	var got razorpayRefund
	if err := readRazorpay(razorpayRefunding, a, nil, &got); err != nil {
		return refundFact{}, err
	}
	if got.PaymentID != payment {
		return refundFact{}, errors.New("the refund is of another payment")
	}
	return got.fact(r.MerchantRefundID), nil
}

// refundKey is the id, long enough for Razorpay.
func refundKey(id string) string {
	return id + strings.Repeat("_", max(0, razorpayLeastKey-len(id)))
}

// razorpayRefusal tells the refusals that say the refund is there already.
func razorpayRefusal(a answer) error {
	var e struct {
		Error struct {
			Description string `json:"description"`
			Field       string `json:"field"`
		} `json:"error"`
	}
	if a.status == http.StatusBadRequest && json.Unmarshal(a.body, &e) == nil &&
		(e.Error.Field == "receipt" || strings.Contains(e.Error.Description, "idempotency")) {
		return errDuplicate
	}
	return refusal(razorpayRefunding, a.status, razorpayError(a.body))
}

func (c *razorpay) refundStatus(ctx context.Context, r sentRefund) (refundFact, error) {
	if r.ProviderRefundID != "" {
		var got razorpayRefund
		a, err := c.call(ctx, http.MethodGet, razorpayRefunds+url.PathEscape(r.ProviderRefundID), nil, "")
		if err := readRazorpay("refund status", a, err, &got); err != nil {
			return refundFact{}, err
		}
		return got.fact(r.MerchantRefundID), nil
	}
	payment, err := c.captured(ctx, r.Order)
	if err != nil {
		return refundFact{}, fmt.Errorf("find the payment: %s", err.Error()) // not an answer about the refund
	}
	got, err := c.findRefund(ctx, payment, r.MerchantRefundID)
	if err != nil {
		return refundFact{}, err
	}
	return got.fact(r.MerchantRefundID), nil
}

// findRefund looks through a payment's refunds for ours.
func (c *razorpay) findRefund(ctx context.Context, payment, merchantRefundID string) (razorpayRefund, error) {
	for page := range razorpayPages {
		var list struct {
			Items []razorpayRefund `json:"items"`
		}
		path := razorpayPayments + url.PathEscape(payment) + "/refunds?count=" + strconv.Itoa(razorpayPage) + "&skip=" + strconv.Itoa(page*razorpayPage)
		a, err := c.call(ctx, http.MethodGet, path, nil, "")
		if err := readRazorpay("refunds", a, err, &list); err != nil {
			return razorpayRefund{}, err
		}
		if list.Items == nil {
			return razorpayRefund{}, errors.New("the answer has no list of refunds")
		}
		for _, r := range list.Items {
			if r.name() == merchantRefundID {
				return r, nil
			}
		}
		if len(list.Items) < razorpayPage {
			return razorpayRefund{}, errNoOrder
		}
	}
	return razorpayRefund{}, errors.New("too many refunds to look through")
}

// captured is the payment that took an order's money.
func (c *razorpay) captured(ctx context.Context, o sentOrder) (string, error) {
	l, err := c.link(ctx, o)
	if err != nil {
		return "", err
	}
	tries, err := c.tries(ctx, l)
	if err != nil {
		return "", err
	}
	for _, p := range tries {
		if p.Captured && l.ReferenceID == o.MerchantOrderID {
			return p.ID, nil
		}
	}
	return "", errors.New("no payment of the order is captured")
}

// name is what we called it: the receipt, or the note beside it.
func (r razorpayRefund) name() string {
	var notes map[string]string
	if r.Receipt != "" || json.Unmarshal(r.Notes, &notes) != nil {
		return r.Receipt
	}
	return notes[noteRefund]
}

func (r razorpayRefund) fact(asked string) refundFact {
	f := refundFact{
		MerchantRefundID: asked, EchoedRefundID: r.name(), ProviderRefundID: r.ID, AmountMinor: r.Amount, Currency: r.Currency,
	}
	switch r.Status {
	case "pending":
		f.Kind = refundPending
	case "processed":
		f.Kind = refundDone
	case "failed":
		f.Kind, f.FailureCode = refundFailed, "REFUND_FAILED"
	default:
	}
	return f
}
