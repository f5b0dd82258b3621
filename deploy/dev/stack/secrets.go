package stack

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
)

// Secrets are drawn once per data folder and kept: what was encrypted or hashed with them must stay readable.
type Secrets struct {
	Stack            string            `json:"stack"` // tells stacks on one shared Redis apart
	JWTSecret        string            `json:"jwtSecret"`
	JWTRefreshSecret string            `json:"jwtRefreshSecret"`
	PageToken        map[string]string `json:"pageTokenSecret"` // by service
	RolePassword     map[string]string `json:"rolePassword"`    // by service
	PhonePeClientID  string            `json:"phonepeClientId"`
	PhonePeSecret    string            `json:"phonepeClientSecret"`
	Keys             ProviderKeys      `json:"providerKeys"`
	Webhooks         Webhooks          `json:"webhooks"`
	Superadmin       Person            `json:"superadmin"`
	Admin            Person            `json:"admin"`
	User             Person            `json:"user"`
}

// ProviderKeys are what the sandbox admits the merchant by, beside PhonePe v2.
type ProviderKeys struct {
	PhonePeV1Merchant string `json:"phonepeV1MerchantId"`
	RazorpayKeyID     string `json:"razorpayKeyId"`
	RazorpaySecret    string `json:"razorpayKeySecret"`
	StripeAPIKey      string `json:"stripeApiKey"`
}

// Webhooks are the secrets that sign the providers' callbacks.
type Webhooks struct {
	PhonePe   PhonePeWebhook   `json:"phonepe"`
	PhonePeV1 PhonePeV1Webhook `json:"phonepe-v1"`
	Razorpay  string           `json:"razorpay"`
	Stripe    string           `json:"stripe"`
	Sandbox   string           `json:"sandbox"`
}

// PhonePeWebhook is the user that PhonePe v2 signs as.
type PhonePeWebhook struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// PhonePeV1Webhook is the salt that PhonePe v1 signs with.
type PhonePeV1Webhook struct {
	SaltKey   string `json:"saltKey"`
	SaltIndex int    `json:"saltIndex"`
}

// Person is a demo account's way in.
type Person struct {
	Email      string `json:"email"`
	Password   string `json:"password"`
	TOTPSecret string `json:"totpSecret,omitempty"`
}

const (
	letters      = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
	digits       = "23456789"
	totpBytes    = 20 // RFC 4226: at least 16, 20 recommended
	secretLength = 48
)

// drawer remembers the first failure, so that drawing reads as a list.
type drawer struct {
	from io.Reader
	err  error
}

func (d *drawer) bytes(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(d.from, b); err != nil && d.err == nil {
		d.err = fmt.Errorf("draw a secret: %w", err)
	}
	return b
}

func (d *drawer) word(n int, alphabet string) string {
	out := make([]byte, 0, n)
	for len(out) < n && d.err == nil {
		for _, b := range d.bytes(n) {
			// Bytes past the last whole multiple would favour the first letters.
			if int(b) < 256-256%len(alphabet) && len(out) < n {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out)
}

// password has a letter, a digit and a sign, whatever a policy asks for.
func (d *drawer) password() string {
	return d.word(9, letters) + "-" + d.word(4, digits) + "-" + d.word(6, letters) + "aZ"
}

func (d *drawer) secrets() Secrets {
	s := Secrets{
		Stack: d.word(8, letters), JWTSecret: d.word(secretLength, letters+digits), JWTRefreshSecret: d.word(secretLength, letters+digits),
		PageToken: map[string]string{}, RolePassword: map[string]string{},
		PhonePeClientID: "MANAS360_" + d.word(8, digits), PhonePeSecret: d.word(32, letters+digits),
		Keys: ProviderKeys{
			PhonePeV1Merchant: "MANAS360" + d.word(8, digits), RazorpayKeyID: "rzp_test_" + d.word(14, letters+digits),
			RazorpaySecret: d.word(24, letters+digits), StripeAPIKey: "sk_test_" + d.word(32, letters+digits),
		},
		Webhooks: Webhooks{
			// PhonePe's dashboard takes 5-20 of [A-Za-z0-9_], and 8-20 letters and digits.
			PhonePe:   PhonePeWebhook{Username: "manas_" + d.word(8, letters), Password: d.word(14, letters) + d.word(4, digits)},
			PhonePeV1: PhonePeV1Webhook{SaltKey: d.word(36, letters+digits), SaltIndex: 1},
			Razorpay:  d.word(32, letters+digits), Stripe: "whsec_" + d.word(32, letters+digits), Sandbox: d.word(secretLength, letters+digits),
		},
		Superadmin: Person{Email: "superadmin@manas360.test", Password: d.password(), TOTPSecret: d.totp()},
		Admin:      Person{Email: "admin@manas360.test", Password: d.password(), TOTPSecret: d.totp()},
		User:       Person{Email: "user@manas360.test", Password: d.password()},
	}
	for _, svc := range Services {
		s.PageToken[svc], s.RolePassword[svc] = d.word(secretLength, letters+digits), d.word(32, letters+digits)
	}
	return s
}

func (d *drawer) totp() string { return base32.StdEncoding.EncodeToString(d.bytes(totpBytes)) }

// loadSecrets reads the stack's secrets, or draws them the first time. What a newer program adds is drawn
// then; what is there is never changed.
func loadSecrets(dir string, from io.Reader) (Secrets, error) {
	name := filepath.Join(dir, "secrets.json")
	d := &drawer{from: from}
	s := d.secrets()
	if d.err != nil {
		return Secrets{}, d.err
	}
	raw, err := os.ReadFile(filepath.Clean(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return Secrets{}, fmt.Errorf("read the secrets: %w", err)
	default:
		if err := json.Unmarshal(raw, &s); err != nil {
			return Secrets{}, problem("%s cannot be read (%v); `make reset` makes a new stack", name, err)
		}
	}
	next, err := json.MarshalIndent(s, "", "  ") //nolint:gosec // this file is where they are kept
	if err != nil {
		return Secrets{}, fmt.Errorf("encode the secrets: %w", err)
	}
	return s, writeFile(name, append(next, '\n'))
}

// writeCredentials writes what a person and a test may know.
func (s Secrets) writeCredentials(dir string, sandboxPort int) error {
	raw, err := json.MarshalIndent(map[string]any{
		"superadmin": s.Superadmin, "admin": s.Admin, "user": s.User,
		"sandbox": map[string]any{"url": sandboxURL(sandboxPort), "webhookSecrets": s.Webhooks, "keys": s.apiKeys(sandboxPort)},
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the credentials: %w", err)
	}
	return writeFile(filepath.Join(dir, "credentials.json"), append(raw, '\n'))
}

// apiKeys is how a client of each provider reaches the sandbox and gets in, by dialect.
func (s Secrets) apiKeys(sandboxPort int) map[string]map[string]any {
	url := sandboxURL(sandboxPort)
	return map[string]map[string]any{
		"phonepe":    {"baseUrl": url + "/apis/pg-sandbox", "clientId": s.PhonePeClientID, "clientSecret": s.PhonePeSecret, "clientVersion": 1},
		"phonepe-v1": {"baseUrl": url + "/apis/pg-sandbox", "merchantId": s.Keys.PhonePeV1Merchant, "saltKey": s.Webhooks.PhonePeV1.SaltKey, "saltIndex": s.Webhooks.PhonePeV1.SaltIndex},
		"razorpay":   {"baseUrl": url + "/razorpay", "keyId": s.Keys.RazorpayKeyID, "keySecret": s.Keys.RazorpaySecret},
		"stripe":     {"baseUrl": url, "apiKey": s.Keys.StripeAPIKey},
	}
}

// providerEnvironment is the names by which the sandbox, and the service that speaks to it, know the same keys.
func (s Secrets) providerEnvironment() map[string]string {
	return map[string]string{
		"PHONEPE_V1_MERCHANT_ID": s.Keys.PhonePeV1Merchant, "PHONEPE_V1_SALT_KEY": s.Webhooks.PhonePeV1.SaltKey, "PHONEPE_V1_SALT_INDEX": strconv.Itoa(s.Webhooks.PhonePeV1.SaltIndex),
		"RAZORPAY_KEY_ID": s.Keys.RazorpayKeyID, "RAZORPAY_KEY_SECRET": s.Keys.RazorpaySecret, "RAZORPAY_WEBHOOK_SECRET": s.Webhooks.Razorpay,
		"STRIPE_API_KEY": s.Keys.StripeAPIKey, "STRIPE_WEBHOOK_SECRET": s.Webhooks.Stripe,
	}
}

func sandboxURL(port int) string { return "http://127.0.0.1:" + strconv.Itoa(port) }

func (s Secrets) accounts() []Account {
	return []Account{
		{Email: s.Superadmin.Email, Password: s.Superadmin.Password, TOTPSecret: s.Superadmin.TOTPSecret, FirstName: "Sita", LastName: "Rao", Role: "superadmin"},
		{Email: s.Admin.Email, Password: s.Admin.Password, TOTPSecret: s.Admin.TOTPSecret, FirstName: "Arjun", LastName: "Mehta", Role: "admin"},
		{Email: s.User.Email, Password: s.User.Password, FirstName: "Asha", LastName: "Kumar", Role: "user"},
	}
}

// sharedPasswords replaces the role passwords for a cluster that other stacks may use too: roles belong to
// the cluster, so every stack that administers it must arrive at the same ones.
func (s Secrets) sharedPasswords(adminURL string) (Secrets, error) {
	u, err := url.Parse(adminURL)
	if err != nil {
		return s, problem("DATABASE_URL: not an address")
	}
	key := u.User.String() + "@" + u.Host + u.Query().Get("host")
	s.RolePassword = map[string]string{}
	for _, svc := range Services {
		m := hmac.New(sha256.New, []byte(key))
		m.Write([]byte("role/" + svc))
		s.RolePassword[svc] = hex.EncodeToString(m.Sum(nil)[:16])
	}
	return s, nil
}

// roleURL is the address of the same database for a service's own role.
func roleURL(adminURL, service, password string) (string, error) {
	u, err := url.Parse(adminURL)
	if err != nil {
		return "", problem("DATABASE_URL: not an address")
	}
	q := u.Query()
	for _, k := range []string{"user", "password"} { // they would win over the role
		q.Del(k)
	}
	u.RawQuery = q.Encode()
	u.User = url.UserPassword("manas_"+service, password)
	return u.String(), nil
}
