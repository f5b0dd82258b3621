package payment

import (
	"time"

	"github.com/manas360/platform/services/payment/signature"
)

// Headers of the old system's own dialect.
const (
	signatureHeader = "x-webhook-signature"
	timestampHeader = "x-webhook-timestamp"
	idHeader        = "x-webhook-id"
)

// verifySandbox checks the old system's own dialect. The id is not signed, but
// it has to be there.
func verifySandbox(secrets signature.Secrets, now func() time.Time) verifier {
	return func(h map[string]string, body []byte) bool {
		return h[idHeader] != "" && signature.Sandbox(h[signatureHeader], h[timestampHeader], body, now(), secrets)
	}
}

// parseSandbox reads the old system's body, and PhonePe's. It may speak of any
// provider's order.
func parseSandbox(h map[string]string, body []byte) (callback, error) {
	c, err := parsePhonePe(h, body)
	if err != nil {
		return callback{}, err
	}
	c.EventID = headerID(h, idHeader)
	return c, nil
}

// headerID is an event's id from an unsigned header: shown to people, and not
// trusted to tell events apart.
func headerID(h map[string]string, name string) string {
	return clip(legible(h[name]), maxRefLen)
}
