package token_test

import (
	"bytes"
	"regexp"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/token"
)

// scanned is the pattern that auth's README gives to secret scanners.
var scanned = regexp.MustCompile(`^mk_live_[0-9a-hjkmnp-tv-z]{26}_[0-9a-hjkmnp-tv-z]{48}_[0-9a-f]{8}$`)

func TestAPIKeyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var key uuid.UUID
		copy(key[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		secret := rapid.SliceOfN(rapid.Byte(), token.APIKeySecretBytes, token.APIKeySecretBytes).Draw(t, "secret")
		raw := token.FormatAPIKey(key, secret)
		gotKey, gotSecret, ok := token.ParseAPIKey(raw)
		if !ok || gotKey != key || !bytes.Equal(gotSecret, secret) || !token.LooksLikeAPIKey(raw) {
			t.Fatalf("%s: got %s %x %t", raw, gotKey, gotSecret, ok)
		}
		if !scanned.MatchString(raw) {
			t.Fatalf("%s: a scanner would not find it", raw)
		}
	})
}

// TestDamagedAPIKey cuts a key everywhere, changes each bit and each character.
// identity.md row 21
func TestDamagedAPIKey(t *testing.T) {
	raw := token.FormatAPIKey(uuid.UUID{1, 2, 3}, bytes.Repeat([]byte{0xa5}, token.APIKeySecretBytes))
	refuse := func(what, bad string) {
		t.Helper()
		if _, _, ok := token.ParseAPIKey(bad); ok {
			t.Errorf("%s: %q was taken", what, bad)
		}
	}
	for i := range len(raw) {
		refuse("cut", raw[:i])
		refuse("cut in front", raw[i+1:])
		refuse("character left out", raw[:i]+raw[i+1:])
		refuse("line end put in", raw[:i]+"\n"+raw[i:])
		refuse("line end instead", raw[:i]+"\n"+raw[i+1:])
		for bit := range 8 {
			b := []byte(raw)
			b[i] ^= 1 << bit
			refuse("bit", string(b))
		}
	}
	refuse("longer", raw+"0")
	refuse("upper case", "MK_LIVE"+raw[7:])
}
