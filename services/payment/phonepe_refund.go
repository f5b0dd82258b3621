package payment

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

const phonepeRefundPath = "/payments/v2/refund"

type phonepeRefund struct {
	MerchantRefundID string `json:"merchantRefundId"`
	OriginalOrderID  string `json:"originalMerchantOrderId"`
	Amount           int64  `json:"amount"`
}

func (c *phonepe) refund(ctx context.Context, r sentRefund) (refundFact, error) {
	body, err := json.Marshal(phonepeRefund{
		MerchantRefundID: r.MerchantRefundID, OriginalOrderID: r.Order.MerchantOrderID, Amount: r.AmountMinor,
	})
	if err != nil {
		return refundFact{}, fmt.Errorf("encode the refund: %w", err)
	}
	a, err := c.call(ctx, http.MethodPost, phonepeRefundPath, body)
	if err != nil {
		return refundFact{}, err
	}
	switch {
	case a.status == http.StatusExpectationFailed:
		return refundFact{}, errDuplicate
	case unsureRefund(errorCode(a.body)):
		return refundFact{}, fmt.Errorf("refund answered %d %s", a.status, errorCode(a.body))
	case a.status != http.StatusOK:
		return refundFact{}, refusal("refund", a.status, errorCode(a.body))
	}
	return readPhonePeRefund(a.body, r.MerchantRefundID)
}

// unsureRefund are codes under which, by PhonePe's word, a refund "might get
// initiated": only its status tells.
func unsureRefund(code string) bool { return code == "TIMED_OUT" || code == "INTERNAL_SERVER_ERROR" }

func (c *phonepe) refundStatus(ctx context.Context, r sentRefund) (refundFact, error) {
	a, err := c.call(ctx, http.MethodGet, phonepeRefundPath+"/"+url.PathEscape(r.MerchantRefundID)+"/status", nil)
	if err != nil {
		return refundFact{}, err
	}
	switch {
	case a.status == http.StatusNotFound, a.status == http.StatusBadRequest && unknownRefund(a.body):
		return refundFact{}, errNoOrder
	case a.status != http.StatusOK:
		return refundFact{}, fmt.Errorf("refund status answered %d %s", a.status, errorCode(a.body))
	}
	return readPhonePeRefund(a.body, r.MerchantRefundID)
}

func unknownRefund(body []byte) bool {
	return errorCode(body) == "INVALID_MERCHANT_REFUND_ID" || errorCode(body) == "REFUND_NOT_FOUND" || unknownOrder(body)
}

// readPhonePeRefund relies on the root state alone. CONFIRMED is on its way,
// not there.
func readPhonePeRefund(body []byte, asked string) (refundFact, error) {
	var o struct {
		RefundID         string `json:"refundId"`
		MerchantRefundID string `json:"merchantRefundId"`
		State            string `json:"state"`
		Amount           int64  `json:"amount"`
		ErrorCode        string `json:"errorCode"`
	}
	if err := json.Unmarshal(body, &o); err != nil {
		return refundFact{}, fmt.Errorf("read the refund: %w", err)
	}
	f := refundFact{
		MerchantRefundID: asked, EchoedRefundID: o.MerchantRefundID, ProviderRefundID: o.RefundID,
		AmountMinor: o.Amount, Currency: phonepeCurrency,
	}
	switch o.State {
	case "PENDING", "CONFIRMED":
		f.Kind = refundPending
	case "COMPLETED":
		f.Kind = refundDone
	case "FAILED":
		f.Kind = refundFailed
		f.FailureCode = clip(o.ErrorCode, maxFailureCodeLen)
	default:
	}
	return f, nil
}
