// Package signature is how providers sign what they send us, and how we sign
// what we send. Pure: raw bytes and the time go in. All comparisons take the
// same time whatever they compare, an empty secret verifies nothing, and a
// signed time may be off to neither side.
package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Skew is how far a signed time may be off: what Stripe, Standard Webhooks and
// the old system allow.
const Skew = 300 * time.Second

// Secrets are those in force at once: while one is being replaced, two.
type Secrets []string

// any reports whether one of the secrets verifies. Each is tried, so that the
// time tells nothing about which.
func (s Secrets) any(verifies func(secret string) bool) bool {
	found := false
	for _, secret := range s {
		if secret != "" && verifies(secret) {
			found = true
		}
	}
	return found
}

func hmacSHA256(secret []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, secret)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

func equalHex(given string, want []byte) bool {
	got, err := hex.DecodeString(given) // either case
	return err == nil && subtle.ConstantTimeCompare(got, want) == 1
}

func within(at, now time.Time) bool {
	// In seconds: a Duration to the far future overflows.
	off, limit := at.Unix()-now.Unix(), int64(Skew/time.Second)
	return off >= -limit && off <= limit
}

// PhonePeV2 reports whether an Authorization header is hex SHA-256 of
// "user:password". It says nothing about the body: such a callback is a hint.
// logins are "user:password".
func PhonePeV2(header string, logins Secrets) bool {
	header = strings.TrimSpace(header)
	if len(header) > len("SHA256 ") && strings.EqualFold(header[:len("SHA256 ")], "SHA256 ") {
		header = header[len("SHA256 "):]
	}
	return logins.any(func(login string) bool {
		user, password, ok := strings.Cut(login, ":")
		want := sha256.Sum256([]byte(login))
		return equalHex(header, want[:]) && ok && user != "" && password != ""
	})
}

// Salt is a key of PhonePe's first dialect.
type Salt struct {
	Key   string
	Index int
}

const saltSeparator = "###"

func (s Salt) sign(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "") + s.Key))
	return hex.EncodeToString(sum[:]) + saltSeparator + strconv.Itoa(s.Index)
}

// PhonePeV1Call is the X-VERIFY of a request: of its base64 body, "" when there
// is none, and its path.
func PhonePeV1Call(body64, path string, s Salt) string { return s.sign(body64, path) }

// PhonePeV1Callback reports whether X-VERIFY is that of a callback's base64
// response under one of the salts.
func PhonePeV1Callback(header, response64 string, salts ...Salt) bool {
	sum, index, ok := strings.Cut(header, saltSeparator)
	found := false
	for _, s := range salts {
		want := sha256.Sum256([]byte(response64 + s.Key))
		if equalHex(sum, want[:]) && ok && s.Key != "" && index == strconv.Itoa(s.Index) {
			found = true
		}
	}
	return found
}

// Razorpay reports whether X-Razorpay-Signature is the hex HMAC of a raw body.
// Retries of an old event keep the old secret: give both while one is replaced.
func Razorpay(header string, body []byte, secrets Secrets) bool {
	return secrets.any(func(secret string) bool { return equalHex(header, hmacSHA256([]byte(secret), body)) })
}

// RazorpayCheckout reports whether the customer's browser brings back what
// Razorpay gave it: order|payment. For a subscription the order of the two is
// the other way round, for a payment link there are four.
func RazorpayCheckout(header, keySecret string, parts ...string) bool {
	return keySecret != "" && equalHex(header, hmacSHA256([]byte(keySecret), []byte(strings.Join(parts, "|"))))
}

// Stripe reports whether a Stripe-Signature, "t=…,v1=…[,v1=…]", is of this body
// and of now. Schemes other than v1 are passed over.
func Stripe(header string, body []byte, now time.Time, secrets Secrets) bool {
	var stamp string
	var given []string
	for item := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(item), "=")
		switch {
		case name == "t" && stamp == "":
			stamp = value
		case name == "t":
			return false // which of the two is signed?
		case name == "v1":
			given = append(given, value)
		}
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || !within(time.Unix(seconds, 0), now) || len(given) > maxSignatures {
		return false
	}
	return secrets.any(func(secret string) bool {
		want := hmacSHA256([]byte(secret), []byte(stamp+"."), body)
		found := false
		for _, g := range given {
			if equalHex(g, want) {
				found = true
			}
		}
		return found
	})
}

const maxSignatures = 16 // in one header; more is an attempt to make us work

// Sandbox reports whether a callback of the old system's own dialect is genuine:
// hex HMAC of the time in milliseconds, a dot, and the body.
func Sandbox(header, stamp string, body []byte, now time.Time, secrets Secrets) bool {
	milli, err := strconv.ParseInt(stamp, 10, 64)
	limit := Skew.Milliseconds()
	if err != nil || milli < now.UnixMilli()-limit || milli > now.UnixMilli()+limit {
		return false
	}
	header = strings.TrimPrefix(strings.ToLower(header), "sha256=")
	return secrets.any(func(secret string) bool {
		return equalHex(header, hmacSHA256([]byte(secret), []byte(stamp+"."), body))
	})
}

const standardPrefix = "whsec_"

// ErrSecret is what a secret of Standard Webhooks fails with that is not
// "whsec_" and base64 of 24 to 64 bytes.
var ErrSecret = errors.New("malformed webhook secret")

func standardKey(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, standardPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !ok || len(key) < 24 || len(key) > 64 {
		return nil, ErrSecret
	}
	return key, nil
}

// Standard is the webhook-signature of Standard Webhooks: of the message's id,
// its time and its body, for each of the secrets in force. Fails with ErrSecret.
func Standard(id string, at time.Time, body []byte, secrets Secrets) (string, error) {
	signed := make([]string, 0, len(secrets))
	for _, secret := range secrets {
		key, err := standardKey(secret)
		if err != nil {
			return "", fmt.Errorf("sign message %s: %w", id, err)
		}
		sum := hmacSHA256(key, []byte(id+"."+strconv.FormatInt(at.Unix(), 10)+"."), body)
		signed = append(signed, "v1,"+base64.StdEncoding.EncodeToString(sum))
	}
	if len(signed) == 0 {
		return "", fmt.Errorf("sign message %s: %w", id, ErrSecret)
	}
	return strings.Join(signed, " "), nil
}
