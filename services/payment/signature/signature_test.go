package signature_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/manas360/platform/services/payment/signature"
)

// Vectors of the providers' documentation and SDKs, as in the design page on
// money, section 4.
const (
	uatSalt     = "099eb0cd-02cf-4e2a-8aca-3e6c6aff0399"
	stripeBody  = `{"id":"evt_test_webhook","object":"event"}`
	stripeTime  = 1492774577
	stripeV1    = "88a022085c6bdb887b02cb26ff76dd681234d9675c0f22844059f55552a8883a"
	stripeKey   = "whsec_test_secret"
	checkoutKey = "EnLs21M47BllR3X8PSFtjtbd"
)

func TestPhonePeV1Vectors(t *testing.T) {
	salt := signature.Salt{Key: uatSalt, Index: 1}
	if got := signature.PhonePeV1Call("", "/pg/v1/status/PGTESTPAYUAT/MT7850590068188104", salt); got != "95c6d60f014b7190aa417083aca2489bb5b0a729d0421c17dea19f5913e6d741###1" {
		t.Errorf("status: got %s", got)
	}
	response := "eyJzdWNjZXNzIjpmYWxzZX0="
	sum := sha256.Sum256([]byte(response + uatSalt))
	good := hex.EncodeToString(sum[:]) + "###1"
	for header, want := range map[string]bool{
		good: true, strings.ToUpper(good): true, good[:len(good)-1] + "2": false, good[:len(good)-4]: false, "###1": false, "": false,
		"x" + good: false, good + "1": false,
	} {
		if got := signature.PhonePeV1Callback(header, response, salt); got != want {
			t.Errorf("%q: got %v", header, got)
		}
	}
	if signature.PhonePeV1Callback(good, response+"=", salt) || signature.PhonePeV1Callback(good, response) {
		t.Error("another body, or no salt, verified")
	}
	if !signature.PhonePeV1Callback(good, response, signature.Salt{Key: "next", Index: 2}, salt) {
		t.Error("the older of two salts did not verify")
	}
	empty := sha256.Sum256([]byte(response))
	if signature.PhonePeV1Callback(hex.EncodeToString(empty[:])+"###0", response, signature.Salt{}) {
		t.Error("no salt verified")
	}
}

func TestPhonePeV2Vectors(t *testing.T) {
	const good = "77593a74a8464002017d1f3f6d0e1774321e250ec492153d59f759af6c834d54"
	logins := signature.Secrets{"webhook_user:pass123456"}
	for header, want := range map[string]bool{
		good: true, strings.ToUpper(good): true, "SHA256 " + good: true, "sha256 " + good: true, " " + good + " ": true,
		good[1:]: false, good + "00": false, "SHA256(" + good + ")": false, "Bearer " + good: false, "": false, "SHA256 ": false,
	} {
		if got := signature.PhonePeV2(header, logins); got != want {
			t.Errorf("%q: got %v", header, got)
		}
	}
	if !signature.PhonePeV2(good, signature.Secrets{"next:password1", logins[0]}) {
		t.Error("the older of two logins did not verify")
	}
	for _, none := range []string{"", ":", "user:", ":password", "user"} {
		sum := sha256.Sum256([]byte(none))
		if signature.PhonePeV2(hex.EncodeToString(sum[:]), signature.Secrets{none}) {
			t.Errorf("login %q verified", none)
		}
	}
	if signature.PhonePeV2(good, nil) {
		t.Error("no login verified")
	}
}

func TestRazorpayVectors(t *testing.T) {
	for _, tt := range []struct {
		sum   string
		parts []string
	}{
		{"0d4e745a1838664ad6c9c9902212a32d627d68e917290b0ad5f08ff4561bc50f", []string{"order_IEIaMR65cu6nz3", "pay_IH4NVgf4Dreq1l"}},
		{"601f383334975c714c91a7d97dd723eb56520318355863dcf3821c0d07a17693", []string{"pay_IDZNwZZFtnjyym", "sub_ID6MOhgkcoHj9I"}},
		{"07ae18789e35093e51d0a491eb9922646f3f82773547e5b0f67ee3f2d3bf7d5b", []string{"plink_IH3cNucfVEgV68", "TSsd1989", "paid", "pay_IH3d0ara9bSsjQ"}},
	} {
		if !signature.RazorpayCheckout(tt.sum, checkoutKey, tt.parts...) {
			t.Errorf("%v does not verify", tt.parts)
		}
		for _, key := range []string{"", "another"} {
			if signature.RazorpayCheckout(tt.sum, key, tt.parts...) {
				t.Errorf("%v verifies with key %q", tt.parts, key)
			}
		}
		if signature.RazorpayCheckout(tt.sum, checkoutKey, append(tt.parts, "")...) {
			t.Errorf("%v verifies with one part more", tt.parts)
		}
	}
}

func TestStripe(t *testing.T) {
	now := time.Unix(stripeTime, 0)
	good := fmt.Sprintf("t=%d,v1=%s", stripeTime, stripeV1)
	secrets := signature.Secrets{stripeKey}
	for name, tt := range map[string]struct {
		header string
		at     time.Time
		want   bool
	}{
		"vector":            {good, now, true},
		"other schemes":     {good + ",v0=00,v2=11", now, true},
		"two of them":       {fmt.Sprintf("t=%d,v1=00,v1=%s", stripeTime, stripeV1), now, true},
		"spaces":            {fmt.Sprintf("t=%d, v1=%s", stripeTime, stripeV1), now, true},
		"just in time":      {good, now.Add(signature.Skew), true},
		"too late":          {good, now.Add(signature.Skew + time.Second), false},
		"just before":       {good, now.Add(-signature.Skew), true},
		"from the future":   {good, now.Add(-signature.Skew - time.Second), false}, // money.md B56
		"ten days ahead":    {good, now.Add(-240 * time.Hour), false},
		"no time":           {"v1=" + stripeV1, now, false},
		"two times":         {fmt.Sprintf("t=%d,t=%d,v1=%s", stripeTime, stripeTime, stripeV1), now, false},
		"the end of time":   {"t=9223372036854775807,v1=" + stripeV1, now, false},
		"the start of time": {"t=-9223372036854775808,v1=" + stripeV1, now, false},
		"only v0":           {fmt.Sprintf("t=%d,v0=%s", stripeTime, stripeV1), now, false},
		"empty":             {"", now, false},
		"a flood":           {good + strings.Repeat(",v1=00", 16), now, false},
	} {
		if got := signature.Stripe(tt.header, []byte(stripeBody), tt.at, secrets); got != tt.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if signature.Stripe(good, []byte(stripeBody+" "), now, secrets) {
		t.Error("another body verified")
	}
	if signature.Stripe(good, []byte(stripeBody), now, signature.Secrets{""}) || signature.Stripe(good, []byte(stripeBody), now, nil) {
		t.Error("no secret verified")
	}
	if !signature.Stripe(good, []byte(stripeBody), now, signature.Secrets{"whsec_next", stripeKey}) {
		t.Error("the older of two secrets did not verify")
	}
}

func TestStandardVector(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	at := time.Unix(1614265330, 0)
	got, err := signature.Standard("msg_p5jXN8AQM9LWM0D4loKWxJek", at, []byte(`{"test": 2432232314}`), signature.Secrets{secret})
	if err != nil || got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("got %s, %v", got, err)
	}
	both, err := signature.Standard("msg_p5jXN8AQM9LWM0D4loKWxJek", at, []byte(`{"test": 2432232314}`), signature.Secrets{secret, "whsec_" + strings.Repeat("AAAA", 8)})
	if err != nil || !strings.HasPrefix(both, got+" v1,") || strings.Count(both, " ") != 1 {
		t.Errorf("got %s, %v", both, err)
	}
	for _, bad := range []signature.Secrets{
		nil, {""}, {"whsec_"}, {"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, {"whsec_" + strings.Repeat("AAAA", 7)}, {"whsec_" + strings.Repeat("AAAA", 22)}, {"whsec_!!!!"}, {secret, ""},
	} {
		if _, err := signature.Standard("m", at, nil, bad); !errors.Is(err, signature.ErrSecret) {
			t.Errorf("%v: got %v", bad, err)
		}
	}
}

// signers make a genuine message of each dialect that signs its body.
var signers = map[string]func(body []byte, at time.Time) func(body []byte, now time.Time) bool{
	"razorpay": func(body []byte, _ time.Time) func([]byte, time.Time) bool {
		sum := hmacHex("secret", string(body))
		return func(b []byte, _ time.Time) bool {
			return signature.Razorpay(sum, b, signature.Secrets{"old", "secret"})
		}
	},
	"stripe": func(body []byte, at time.Time) func([]byte, time.Time) bool {
		stamp := strconv.FormatInt(at.Unix(), 10)
		header := "t=" + stamp + ",v1=" + hmacHex("secret", stamp+"."+string(body))
		return func(b []byte, now time.Time) bool {
			return signature.Stripe(header, b, now, signature.Secrets{"secret"})
		}
	},
	"sandbox": func(body []byte, at time.Time) func([]byte, time.Time) bool {
		stamp := strconv.FormatInt(at.UnixMilli(), 10)
		header := hmacHex("secret", stamp+"."+string(body))
		return func(b []byte, now time.Time) bool {
			return signature.Sandbox(header, stamp, b, now, signature.Secrets{"secret"})
		}
	},
}

// What was signed verifies; whatever else does not: other bytes, other times.
func TestSignedBodies(t *testing.T) {
	for name, sign := range signers {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
			at := time.Unix(rapid.Int64Range(1, 1<<33).Draw(t, "at"), 0)
			verify := sign(body, at)
			off := time.Duration(rapid.Int64Range(-400, 400).Draw(t, "off")) * time.Second
			want := off <= signature.Skew && off >= -signature.Skew || name == "razorpay"
			if got := verify(body, at.Add(off)); got != want {
				t.Fatalf("%v off: got %v", off, got)
			}
			other := append([]byte(nil), body...)
			if n := len(other); n > 0 && rapid.Bool().Draw(t, "change") {
				other[rapid.IntRange(0, n-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			} else {
				other = append(other, rapid.Byte().Draw(t, "more"))
			}
			if verify(other, at) {
				t.Fatal("another body verified")
			}
		}))
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("t=1,v1=00", "1700000000000")
	f.Add("SHA256 00", "-1")
	f.Add("00###1", "9223372036854775808")
	f.Fuzz(func(t *testing.T, header, stamp string) {
		now := time.Unix(1_700_000_000, 0)
		body := []byte("{}")
		if signature.Stripe(header, body, now, signature.Secrets{"k"}) || signature.Sandbox(header, stamp, body, now, signature.Secrets{"k"}) ||
			signature.Razorpay(header, body, signature.Secrets{"k"}) || signature.PhonePeV2(header, signature.Secrets{"u:p"}) ||
			signature.PhonePeV1Callback(header, stamp, signature.Salt{Key: "k", Index: 1}) {
			t.Errorf("%q, %q verified", header, stamp)
		}
	})
}
