package payment

import (
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/manas360/platform/services/payment/signature"
)

// TestStripesOwnSigner: what stripe-go signs we take, and it takes what the
// tests sign. It would take the far future too; we do not. money.md B56
func TestStripesOwnSigner(t *testing.T) {
	now := time.Now()
	verify := verifyStripe(signature.Secrets{"whsec_now", "whsec_before"}, func() time.Time { return now })
	body := stripeBody(seedClaim)
	for _, tt := range []struct {
		secret string
		at     time.Time
		want   bool
	}{
		{"whsec_now", now, true},
		{"whsec_before", now, true},
		{"whsec_guess", now, false},
		{"whsec_now", now.Add(-6 * time.Minute), false},
		{"whsec_now", now.AddDate(0, 0, 10), false},
	} {
		signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: body, Secret: tt.secret, Timestamp: tt.at})
		if got := verify(map[string]string{stripeSignatureHeader: signed.Header}, body); got != tt.want {
			t.Errorf("%s at %s: %v, want %v", tt.secret, tt.at, got, tt.want)
		}
	}
	ours := signStripe("whsec_now", now, body)[stripeSignatureHeader]
	if _, err := webhook.ConstructEventWithOptions(body, ours, "whsec_now", webhook.ConstructEventOptions{IgnoreAPIVersionMismatch: true}); err != nil {
		t.Errorf("stripe-go does not take what the tests sign: %v", err)
	}
}
