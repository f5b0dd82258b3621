package signature_test

import (
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/manas360/platform/services/payment/signature"
)

// The limits themselves are inside; one more is outside, on both sides.
// money.md B56
func TestLimits(t *testing.T) {
	const secret = "another secret"
	now, body := time.UnixMilli(1_800_000_000_000), []byte(`{}`)
	sandbox := func(off time.Duration) bool {
		stamp := strconv.FormatInt(now.Add(off).UnixMilli(), 10)
		return signature.Sandbox(hmacHex(secret, stamp+"."+string(body)), stamp, body, now, signature.Secrets{secret})
	}
	stripe := func(off time.Duration, signatures int) bool {
		stamp := strconv.FormatInt(now.Add(off).Unix(), 10)
		v1 := ",v1=" + hmacHex(secret, stamp+"."+string(body))
		return signature.Stripe("t="+stamp+strings.Repeat(v1, signatures), body, now, signature.Secrets{secret})
	}
	standard := func(bytes int) bool {
		key := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, bytes))
		_, err := signature.Standard("msg_1", now, body, signature.Secrets{key})
		return err == nil
	}
	skew := signature.Skew
	for name, tt := range map[string]struct{ got, want bool }{
		"sandbox, as old as may be":  {sandbox(-skew), true},
		"sandbox, older":             {sandbox(-skew - time.Millisecond), false},
		"sandbox, as new as may be":  {sandbox(skew), true},
		"sandbox, newer":             {sandbox(skew + time.Millisecond), false},
		"stripe, as old as may be":   {stripe(-skew, 1), true},
		"stripe, older":              {stripe(-skew-time.Second, 1), false},
		"stripe, as new as may be":   {stripe(skew, 1), true},
		"stripe, newer":              {stripe(skew+time.Second, 1), false},
		"stripe, 16 signatures":      {stripe(0, 16), true},
		"stripe, 17 signatures":      {stripe(0, 17), false},
		"standard, the shortest key": {standard(24), true},
		"standard, shorter":          {standard(23), false},
		"standard, the longest key":  {standard(64), true},
		"standard, longer":           {standard(65), false},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %t", name, tt.got)
		}
	}
}
