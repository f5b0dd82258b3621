package payment

import (
	"errors"
	"net/url"
	"strings"
	"time"
)

// The hosts, from the providers' own documentation. Razorpay and Stripe tell
// test from production by the key.
const (
	phonepe1SandboxBase    = "https://api-preprod.phonepe.com/apis/pg-sandbox"
	phonepe1ProductionBase = "https://api.phonepe.com/apis/hermes"
	razorpayBase           = "https://api.razorpay.com"
	stripeBase             = "https://api.stripe.com"
)

// PhonePeV1 is an account at PhonePe from the days of salt keys.
type PhonePeV1 struct {
	BaseURL    string `desc:"PhonePe v1; empty is its sandbox, in production its production" env:"PHONEPE_V1_BASE_URL"`
	MerchantID string `desc:"merchant of PhonePe v1; empty does not offer it"                env:"PHONEPE_V1_MERCHANT_ID"`
	SaltKey    string `desc:"salt key of PhonePe v1; empty does not offer it"                env:"PHONEPE_V1_SALT_KEY"    secret:"true"`
	SaltIndex  int    `desc:"index of the salt key"                                          env:"PHONEPE_V1_SALT_INDEX"  envDefault:"1"`
}

// Razorpay is the merchant's account at Razorpay.
type Razorpay struct {
	BaseURL   string `desc:"Razorpay; empty is its own host"             env:"RAZORPAY_BASE_URL"`
	KeyID     string `desc:"key id of Razorpay; empty does not offer it" env:"RAZORPAY_KEY_ID"`
	KeySecret string `desc:"its secret; empty does not offer it"         env:"RAZORPAY_KEY_SECRET" secret:"true"`
}

// Stripe is the merchant's account at Stripe.
type Stripe struct {
	BaseURL string `desc:"Stripe; empty is its own host"         env:"STRIPE_BASE_URL"`
	APIKey  string `desc:"key of Stripe; empty does not offer it" env:"STRIPE_API_KEY" secret:"true"`
}

// offered are the providers that have keys, with their own hosts filled in.
func (c Config) offered(now func() time.Time, m metrics) map[string]provider {
	production := c.Production()
	all := map[string]provider{phonepeCode: newPhonePe(c.endpoints(production), now, m.calls)}
	if v1 := c.PhonePeV1.endpoints(production); v1.MerchantID != "" && v1.SaltKey != "" {
		all[phonepe1Code] = newPhonePe1(v1, strings.TrimSuffix(c.PublicURL, "/"), now, m.calls)
	}
	if r := c.Razorpay.endpoints(); r.KeyID != "" && r.KeySecret != "" {
		all[razorpayCode] = newRazorpay(r, now, m.calls)
	}
	if s := c.Stripe.endpoints(); s.APIKey != "" {
		all[stripeCode] = newStripe(s, now, m.calls)
	}
	return all
}

func (c PhonePeV1) endpoints(production bool) PhonePeV1 {
	switch {
	case c.BaseURL != "":
	case production:
		c.BaseURL = phonepe1ProductionBase
	default:
		c.BaseURL = phonepe1SandboxBase
	}
	return c
}

func (c Razorpay) endpoints() Razorpay {
	if c.BaseURL == "" {
		c.BaseURL = razorpayBase
	}
	return c
}

func (c Stripe) endpoints() Stripe {
	if c.BaseURL == "" {
		c.BaseURL = stripeBase
	}
	return c
}

// validateProviders refuses half an account: it would be offered to nobody, and
// nobody would know why.
func (c Config) validateProviders() error {
	var errs []error
	if (c.PhonePeV1.MerchantID == "") != (c.PhonePeV1.SaltKey == "") {
		errs = append(errs, errors.New("PHONEPE_V1_MERCHANT_ID and PHONEPE_V1_SALT_KEY: both or none"))
	}
	if (c.Razorpay.KeyID == "") != (c.Razorpay.KeySecret == "") {
		errs = append(errs, errors.New("RAZORPAY_KEY_ID and RAZORPAY_KEY_SECRET: both or none"))
	}
	// stripe-go takes no base with a path: it would be dropped.
	if u, err := url.Parse(c.Stripe.BaseURL); err == nil && u.Path != "" && u.Path != "/" {
		errs = append(errs, errors.New("STRIPE_BASE_URL: a host, without a path"))
	}
	return errors.Join(errs...)
}
