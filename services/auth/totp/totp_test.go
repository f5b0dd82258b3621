package totp

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// RFC 6238 appendix B, cut to six digits.
func TestCodeOfTheRFC(t *testing.T) {
	secret := []byte("12345678901234567890")
	for at, want := range map[int64]string{
		59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		if got := Code(secret, time.Unix(at, 0)); got != want {
			t.Errorf("code at %d: got %s, want %s", at, got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	secret := []byte("12345678901234567890")
	now := time.Unix(1_800_000_015, 0)
	for _, tt := range []struct {
		name  string
		shift time.Duration
		want  bool
	}{
		{"now", 0, true},
		{"a step ago", -30 * time.Second, true},
		{"a step ahead", 30 * time.Second, true},
		{"two ago", -time.Minute, false},
		{"two ahead", time.Minute, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			step, ok := Match(secret, Code(secret, now.Add(tt.shift)), now)
			if ok != tt.want || (ok && step != now.Add(tt.shift).Unix()/30) {
				t.Errorf("got step %d, %v, want %v", step, ok, tt.want)
			}
		})
	}
	for _, bad := range []string{"", "12345", "1234567", "abcdef", " 28708"} {
		if _, ok := Match(secret, bad, now); ok {
			t.Errorf("Match(%q) accepts", bad)
		}
	}
}

func TestSecret(t *testing.T) {
	secret, err := NewSecret(bytes.NewReader(bytes.Repeat([]byte{0xa5}, 20)))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{Encode(secret), strings.ToLower(Encode(secret)), Encode(secret)[:4] + " " + Encode(secret)[4:]} {
		if got, err := Decode(s); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("Decode(%q): got %x, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "AAAA", "1!", "0000000000000000"} {
		if _, err := Decode(s); err == nil {
			t.Errorf("Decode(%q) accepts", s)
		}
	}
	if got := URI("Manas360", "a b@example.com", secret); !strings.HasPrefix(got, "otpauth://totp/Manas360:a%20b@example.com?algorithm=SHA1&digits=6&issuer=Manas360&period=30&secret=") {
		t.Errorf("uri: got %s", got)
	}
}
