package payment

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

const (
	phonepeMandatePath = "/checkout/v2/subscriptions/"
	debitOrderLife     = 48 * time.Hour // PhonePe's, of a redemption order
)

type phonepeSetUp struct {
	MerchantOrderID string            `json:"merchantOrderId"`
	Amount          int64             `json:"amount"`
	ExpireAfter     int64             `json:"expireAfter"` // seconds
	MetaInfo        map[string]string `json:"metaInfo"`
	PaymentFlow     phonepeSetUpFlow  `json:"paymentFlow"`
}

type phonepeSetUpFlow struct {
	Type                string              `json:"type"`
	MerchantURLs        phonepeURLs         `json:"merchantUrls"`
	SubscriptionDetails phonepeSubscription `json:"subscriptionDetails"`
}

type phonepeSubscription struct {
	SubscriptionType       string `json:"subscriptionType"`
	MerchantSubscriptionID string `json:"merchantSubscriptionId"`
	AuthWorkflowType       string `json:"authWorkflowType"`
	AmountType             string `json:"amountType"`
	MaxAmount              int64  `json:"maxAmount"`
	Frequency              string `json:"frequency"`
	ProductType            string `json:"productType"`
	ExpireAt               int64  `json:"expireAt"` // milliseconds
}

type phonepeNotify struct {
	MerchantOrderID string            `json:"merchantOrderId"`
	Amount          int64             `json:"amount"`
	ExpireAt        int64             `json:"expireAt"` // milliseconds
	MetaInfo        map[string]string `json:"metaInfo"`
	PaymentFlow     phonepeNotifyFlow `json:"paymentFlow"`
}

type phonepeNotifyFlow struct {
	Type                    string `json:"type"`
	MerchantSubscriptionID  string `json:"merchantSubscriptionId"`
	RedemptionRetryStrategy string `json:"redemptionRetryStrategy"`
	AutoDebit               bool   `json:"autoDebit"`
}

// setUp takes the first payment with the consent: a law wants the person's own
// hand for the first.
func (c *phonepe) setUp(ctx context.Context, o order, m mandateOffer) (opened, error) {
	a, err := c.post(ctx, phonepePayPath, phonepeSetUp{
		MerchantOrderID: o.MerchantOrderID, Amount: o.AmountMinor, ExpireAfter: int64(orderLife / time.Second),
		MetaInfo: map[string]string{"udf1": o.PaymentID, "udf2": o.UserID},
		PaymentFlow: phonepeSetUpFlow{
			Type: "SUBSCRIPTION_CHECKOUT_SETUP", MerchantURLs: phonepeURLs{RedirectURL: o.ReturnURL},
			SubscriptionDetails: phonepeSubscription{
				SubscriptionType: "RECURRING", MerchantSubscriptionID: m.Ref, AuthWorkflowType: "TRANSACTION", AmountType: m.AmountType,
				MaxAmount: m.MaxMinor, Frequency: m.Frequency, ProductType: "UPI_MANDATE", ExpireAt: m.ExpiresAt.UnixMilli(),
			},
		},
	})
	if err != nil {
		return opened{}, err
	}
	return c.readOpened(a.body)
}

// notify asks for retries by us, and for no debit that we did not ask for.
func (c *phonepe) notify(ctx context.Context, d debitOrder) (debitFact, error) {
	a, err := c.post(ctx, phonepeMandatePath+"notify", phonepeNotify{
		MerchantOrderID: d.MerchantOrderID, Amount: d.AmountMinor, ExpireAt: c.now().Add(debitOrderLife).UnixMilli(),
		MetaInfo: map[string]string{"udf1": d.PaymentID, "udf2": d.UserID},
		PaymentFlow: phonepeNotifyFlow{
			Type: "SUBSCRIPTION_CHECKOUT_REDEMPTION", MerchantSubscriptionID: d.MandateRef, RedemptionRetryStrategy: "CUSTOM", AutoDebit: false,
		},
	})
	if err != nil {
		return debitFact{}, err
	}
	return readPhonePeDebit(a.body, d.MerchantOrderID)
}

func (c *phonepe) redeem(ctx context.Context, d debitOrder) error {
	_, err := c.post(ctx, phonepeMandatePath+"redeem", struct {
		MerchantOrderID string `json:"merchantOrderId"`
	}{d.MerchantOrderID})
	return err
}

func (c *phonepe) cancel(ctx context.Context, ref string) error {
	_, err := c.post(ctx, phonepeMandatePath+url.PathEscape(ref)+"/cancel", nil)
	return err
}

// post makes a call that changes something. Its errors are those of pay.
func (c *phonepe) post(ctx context.Context, path string, v any) (answer, error) {
	var body []byte
	if v != nil {
		var err error
		if body, err = json.Marshal(v); err != nil {
			return answer{}, fmt.Errorf("encode for %s: %w", path, err)
		}
	}
	a, err := c.call(ctx, http.MethodPost, path, body)
	if err != nil {
		return answer{}, err
	}
	switch {
	case a.status == http.StatusExpectationFailed:
		return answer{}, errDuplicate
	case a.status != http.StatusOK && a.status != http.StatusNoContent:
		return answer{}, refusal(path, a.status, errorCode(a.body))
	}
	return a, nil
}

func (c *phonepe) mandateStatus(ctx context.Context, ref string) (mandateFact, error) {
	asked := c.now()
	a, err := c.call(ctx, http.MethodGet, phonepeMandatePath+url.PathEscape(ref)+"/status", nil)
	if err != nil {
		return mandateFact{}, err
	}
	switch {
	case a.status == http.StatusNotFound, a.status == http.StatusBadRequest && errorCode(a.body) == "SUBSCRIPTION_NOT_FOUND":
		return mandateFact{}, errNoOrder
	case a.status != http.StatusOK:
		return mandateFact{}, fmt.Errorf("mandate status answered %d %s", a.status, errorCode(a.body))
	}
	f, err := readPhonePeMandate(a.body)
	f.AskedAt = asked
	return f, err
}

// readPhonePeMandate knows the settled states. One that is changing says nothing.
func readPhonePeMandate(body []byte) (mandateFact, error) {
	var m struct {
		MerchantSubscriptionID string `json:"merchantSubscriptionId"`
		SubscriptionID         string `json:"subscriptionId"`
		State                  string `json:"state"`
		MaxAmount              int64  `json:"maxAmount"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return mandateFact{}, fmt.Errorf("read the mandate's status: %w", err)
	}
	f := mandateFact{Ref: m.MerchantSubscriptionID, ProviderRef: clip(m.SubscriptionID, maxRefLen), MaxMinor: m.MaxAmount}
	switch s := mandateState(m.State); s {
	case mandatePending, mandateActive, mandatePaused, mandateRevoked, mandateCancelled, mandateExpired, mandateFailed:
		f.State = s
	default:
	}
	return f, nil
}

func (c *phonepe) debitStatus(ctx context.Context, d debitOrder) (debitFact, error) {
	a, err := c.call(ctx, http.MethodGet, phonepeOrderPath+url.PathEscape(d.MerchantOrderID)+"/status?details=true", nil)
	if err != nil {
		return debitFact{}, err
	}
	switch {
	case a.status == http.StatusNotFound, a.status == http.StatusBadRequest && unknownOrder(a.body):
		return debitFact{}, errNoOrder
	case a.status != http.StatusOK:
		return debitFact{}, fmt.Errorf("debit status answered %d %s", a.status, errorCode(a.body))
	}
	return readPhonePeDebit(a.body, d.MerchantOrderID)
}

// readPhonePeDebit relies on the root state alone, as of any order.
func readPhonePeDebit(body []byte, asked string) (debitFact, error) {
	o, err := readPhonePeOrder(body, asked)
	if err != nil {
		return debitFact{}, err
	}
	var more struct {
		State       string `json:"state"`
		ExpireAt    int64  `json:"expireAt"` // milliseconds
		PaymentFlow struct {
			ValidAfter int64 `json:"validAfter"` // milliseconds
		} `json:"paymentFlow"`
	}
	if err := json.Unmarshal(body, &more); err != nil {
		return debitFact{}, fmt.Errorf("read the debit's status: %w", err)
	}
	f := debitFact{
		MerchantOrderID: asked, EchoedOrderID: o.EchoedOrderID, ProviderOrderID: o.ProviderOrderID, AmountMinor: o.AmountMinor,
		Currency: o.Currency, Method: o.Method, FailureCode: o.FailureCode, PaidAt: o.PaidAt,
	}
	if more.ExpireAt > 0 {
		f.ExpiresAt = time.UnixMilli(more.ExpireAt).UTC()
	}
	if more.PaymentFlow.ValidAfter > 0 {
		f.RedeemAfter = time.UnixMilli(more.PaymentFlow.ValidAfter).UTC()
	}
	switch more.State {
	case "NOTIFICATION_IN_PROGRESS":
		f.Kind = debitTelling
	case "NOTIFIED":
		f.Kind = debitTold
	case "PENDING":
		f.Kind = debitInFlight
	case "COMPLETED":
		f.Kind = debitDone
	case "FAILED":
		f.Kind = debitRefused
	default:
	}
	return f, nil
}
