package payment

import (
	"time"

	"github.com/manas360/platform/services/payment/signature"
)

// Callbacks is what providers sign with. Each has a second secret, _PREVIOUS,
// for as long as callbacks of before its replacement are under way; a dialect
// without any refuses everything.
type Callbacks struct {
	PreviousWebhookUsername string `desc:"user of the callbacks before"                      env:"PHONEPE_WEBHOOK_USERNAME_PREVIOUS"`
	PreviousWebhookPassword string `desc:"password of the callbacks before"                  env:"PHONEPE_WEBHOOK_PASSWORD_PREVIOUS" secret:"true"`
	PreviousSaltKey         string `desc:"salt before"                                       env:"PHONEPE_V1_SALT_KEY_PREVIOUS"      secret:"true"`
	PreviousSaltIndex       int    `desc:"index of the salt before"                          env:"PHONEPE_V1_SALT_INDEX_PREVIOUS"    envDefault:"1"`
	RazorpayWebhook         string `desc:"secret of Razorpay's callbacks; empty refuses them" env:"RAZORPAY_WEBHOOK_SECRET"          secret:"true"`
	PreviousRazorpayWebhook string `desc:"the secret before"                                 env:"RAZORPAY_WEBHOOK_SECRET_PREVIOUS"  secret:"true"`
	StripeWebhook           string `desc:"secret of Stripe's callbacks; empty refuses them"  env:"STRIPE_WEBHOOK_SECRET"             secret:"true"`
	PreviousStripeWebhook   string `desc:"the secret before"                                 env:"STRIPE_WEBHOOK_SECRET_PREVIOUS"    secret:"true"`
	PreviousSandboxSecret   string `desc:"the sandbox dialect's secret before"               env:"SANDBOX_WEBHOOK_SECRET_PREVIOUS"   secret:"true"`
}

// dialects are the doors that are open. Production has none for the sandbox.
func (c Config) dialects(now func() time.Time) map[string]dialect {
	logins := signature.Secrets{
		c.WebhookUsername + ":" + c.WebhookPassword, c.PreviousWebhookUsername + ":" + c.PreviousWebhookPassword,
	}
	salts := []signature.Salt{{Key: c.PhonePeV1.SaltKey, Index: c.PhonePeV1.SaltIndex}, {Key: c.PreviousSaltKey, Index: c.PreviousSaltIndex}}
	open := map[string]dialect{
		phonepeCode:  {verifyPhonePe(logins), parsePhonePe},
		phonepe1Code: {verifyPhonePeV1(salts), parsePhonePeV1},
		razorpayCode: {verifyRazorpay(signature.Secrets{c.RazorpayWebhook, c.PreviousRazorpayWebhook}), parseRazorpay},
		stripeCode:   {verifyStripe(signature.Secrets{c.StripeWebhook, c.PreviousStripeWebhook}, now), parseStripe},
	}
	if !c.Production() {
		open[sandboxCode] = dialect{verifySandbox(signature.Secrets{c.SandboxSecret, c.PreviousSandboxSecret}, now), parseSandbox}
	}
	return open
}
