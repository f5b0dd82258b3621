package payment

import "time"

// Secrets of every dialect, and those before them.
var someCallbacks = Callbacks{
	PreviousWebhookUsername: "webhook_before", PreviousWebhookPassword: "pass123450",
	SaltKey: "099eb0cd-02cf-4e2a-8aca-3e6c6aff0399", SaltIndex: 1, PreviousSaltKey: "a salt before that one", PreviousSaltIndex: 2,
	RazorpayWebhook: "razorpay's secret", PreviousRazorpayWebhook: "razorpay's secret before",
	StripeWebhook: "whsec_now", PreviousStripeWebhook: "whsec_before", PreviousSandboxSecret: "the sandbox's secret before",
}

var _ = time.Now
