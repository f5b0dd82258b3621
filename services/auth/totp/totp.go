// Package totp is RFC 6238 as every authenticator app speaks it: SHA-1, six
// digits, thirty seconds.
package totp

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what authenticator apps compute; HMAC does not need more
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
)

const (
	stepSeconds = 30
	window      = 1  // steps either way: phones' clocks differ
	secretBytes = 20 // of the hash, RFC 4226 section 4
	digits      = 6
)

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewSecret takes a secret from rand.
func NewSecret(rand io.Reader) ([]byte, error) {
	b := make([]byte, secretBytes)
	if _, err := io.ReadFull(rand, b); err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	return b, nil
}

// Encode writes a secret as a person types it in.
func Encode(secret []byte) string { return encoding.EncodeToString(secret) }

// Decode reads what Encode wrote, in any case and with spaces.
func Decode(s string) ([]byte, error) {
	s = strings.ToUpper(strings.TrimRight(strings.ReplaceAll(s, " ", ""), "="))
	b, err := encoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("decode secret: %w", err)
	}
	if len(b) < 10 {
		return nil, fmt.Errorf("secret of %d bytes", len(b))
	}
	return b, nil
}

// URI is what the QR code holds.
func URI(issuer, account string, secret []byte) string {
	q := url.Values{"secret": {Encode(secret)}, "issuer": {issuer}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {"30"}}
	u := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + issuer + ":" + account, RawQuery: q.Encode()}
	return u.String()
}

// Code gives the code of a moment.
func Code(secret []byte, at time.Time) string { return code(secret, at.Unix()/stepSeconds) }

// Match finds the step near a moment whose code this is. The caller must see
// that no step is accepted twice.
func Match(secret []byte, entered string, at time.Time) (step int64, ok bool) {
	if len(entered) != digits {
		return 0, false
	}
	now := at.Unix() / stepSeconds
	for _, s := range []int64{now, now - 1, now + window} {
		// Constant time, and no early return: which step fits is nobody's business.
		if subtle.ConstantTimeCompare([]byte(code(secret, s)), []byte(entered)) == 1 && !ok {
			step, ok = s, true
		}
	}
	return step, ok
}

func code(secret []byte, step int64) string {
	var msg [8]byte
	binary.BigEndian.PutUint64(msg[:], uint64(step)) //nolint:gosec // after 1970
	mac := hmac.New(sha1.New, secret)
	mac.Write(msg[:])
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:at+4])&0x7fffffff%1_000_000)
}
