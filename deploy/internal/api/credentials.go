package api

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Person is a demo account.
type Person struct {
	Email      string `json:"email"`
	Password   string `json:"password"`
	TOTPSecret string `json:"totpSecret"`
}

// Credentials is what the local stack tells people and tests.
type Credentials struct {
	Superadmin Person `json:"superadmin"`
	Admin      Person `json:"admin"`
	User       Person `json:"user"`
	Sandbox    struct {
		URL            string `json:"url"`
		WebhookSecrets struct {
			PhonePe struct {
				Username string `json:"username"`
				Password string `json:"password"`
			} `json:"phonepe"`
			PhonePeV1 struct {
				SaltKey   string `json:"saltKey"`
				SaltIndex int    `json:"saltIndex"`
			} `json:"phonepe-v1"`
			Razorpay string `json:"razorpay"`
			Stripe   string `json:"stripe"`
			Sandbox  string `json:"sandbox"`
		} `json:"webhookSecrets"`
		Keys struct {
			PhonePe struct {
				BaseURL      string `json:"baseUrl"`
				ClientID     string `json:"clientId"`
				ClientSecret string `json:"clientSecret"`
			} `json:"phonepe"`
			PhonePeV1 struct {
				BaseURL    string `json:"baseUrl"`
				MerchantID string `json:"merchantId"`
				SaltKey    string `json:"saltKey"`
				SaltIndex  int    `json:"saltIndex"`
			} `json:"phonepe-v1"`
			Razorpay struct {
				BaseURL   string `json:"baseUrl"`
				KeyID     string `json:"keyId"`
				KeySecret string `json:"keySecret"`
			} `json:"razorpay"`
			Stripe struct {
				BaseURL string `json:"baseUrl"`
				APIKey  string `json:"apiKey"`
			} `json:"stripe"`
		} `json:"keys"`
	} `json:"sandbox"`
}

// ReadCredentials reads them from a stack's data folder.
func ReadCredentials(dir string) (Credentials, error) {
	raw, err := os.ReadFile(filepath.Join(filepath.Clean(dir), "credentials.json"))
	if err != nil {
		return Credentials{}, fmt.Errorf("read the credentials: %w", err)
	}
	var c Credentials
	if err := json.Unmarshal(raw, &c); err != nil {
		return Credentials{}, fmt.Errorf("decode the credentials: %w", err)
	}
	return c, nil
}
