package payment

import (
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/manas360/platform/services/payment/signature"
)

const verifyHeader = "x-verify"

// phonepeV1Callback wraps what it says, so that the signature is of one field.
type phonepeV1Callback struct {
	Response string `json:"response"`
}

// verifyPhonePeV1 checks X-VERIFY; the header names the salt by its index.
func verifyPhonePeV1(salts []signature.Salt) verifier {
	return func(h map[string]string, body []byte) bool {
		var b phonepeV1Callback
		return json.Unmarshal(body, &b) == nil && b.Response != "" && signature.PhonePeV1Callback(h[verifyHeader], b.Response, salts...)
	}
}

// phonepeV1Response is the part we rely on.
type phonepeV1Response struct {
	Code string `json:"code"`
	Data *struct {
		MerchantTransactionID string `json:"merchantTransactionId"`
		TransactionID         string `json:"transactionId"`
		Amount                *int64 `json:"amount"`
		State                 string `json:"state"`
	} `json:"data"`
}

// parsePhonePeV1 reads what is wrapped. One name serves orders and refunds: ours
// tells them apart.
func parsePhonePeV1(_ map[string]string, body []byte) (callback, error) {
	var b phonepeV1Callback
	if err := json.Unmarshal(body, &b); err != nil {
		return callback{}, errors.New("it is not the JSON of a callback")
	}
	raw, err := base64.StdEncoding.DecodeString(b.Response)
	if err != nil {
		return callback{}, errors.New("its response is not base64")
	}
	var r phonepeV1Response
	if err := json.Unmarshal(raw, &r); err != nil {
		return callback{}, errors.New("its response is not JSON")
	}
	if r.Data == nil || r.Data.MerchantTransactionID == "" {
		return callback{}, errors.New("its response names no transaction")
	}
	c := callback{
		Event: r.Code, Topic: topicOfRef(r.Data.MerchantTransactionID), State: r.Data.State, AmountMinor: r.Data.Amount,
		Refs: []string{r.Data.TransactionID},
	}
	c.name(r.Data.MerchantTransactionID)
	c.Final = c.Topic == topicOrder && (r.Data.State == "COMPLETED" || r.Data.State == "FAILED")
	return c.seal(r.Data.TransactionID)
}
