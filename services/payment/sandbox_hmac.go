package payment

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

const (
	signatureHeader = "x-webhook-signature"
	timestampHeader = "x-webhook-timestamp"
	idHeader        = "x-webhook-id"

	// webhookSkew is how far a signed time may be off, to either side: a time
	// in the future is as wrong as an old one.
	webhookSkew = 300 * time.Second
)

// hmacVerifier checks the old system's own dialect: hex HMAC-SHA256 of the time
// in milliseconds, a dot, and the body.
func hmacVerifier(secret string, now func() time.Time) verifier {
	return func(h map[string]string, body []byte) bool {
		if secret == "" || h[idHeader] == "" {
			return false // without a secret nobody can have signed
		}
		stamp := h[timestampHeader]
		milli, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil {
			return false
		}
		// Compared in milliseconds: a Duration of the far future overflows.
		at, limit := now().UnixMilli(), webhookSkew.Milliseconds()
		if milli < at-limit || milli > at+limit {
			return false
		}
		got, err := hex.DecodeString(strings.TrimPrefix(strings.ToLower(h[signatureHeader]), "sha256="))
		if err != nil {
			return false
		}
		m := hmac.New(sha256.New, []byte(secret))
		m.Write([]byte(stamp + "."))
		m.Write(body)
		return hmac.Equal(got, m.Sum(nil))
	}
}
