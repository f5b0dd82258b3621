package token

import (
	"encoding/base32"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
)

const (
	apiKeyPrefix = "mk_live"
	// APIKeySecretBytes fill 48 characters without a bit to spare, so that a
	// secret has one spelling.
	APIKeySecretBytes = 30
	apiKeyLen         = len(apiKeyPrefix) + 1 + 26 + 1 + 48 + 1 + 8
)

var apiKeyText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// LooksLikeAPIKey reports whether raw means to be an API key, so that it is
// never taken for a token.
func LooksLikeAPIKey(raw string) bool { return strings.HasPrefix(raw, apiKeyPrefix+"_") }

// FormatAPIKey writes "mk_live_<id>_<secret>_<crc32>": every character is of
// [a-z0-9_], for scanners that look for lost keys and for a double click.
func FormatAPIKey(key uuid.UUID, secret []byte) string {
	text := id.Format(apiKeyPrefix, key) + "_" + apiKeyText.EncodeToString(secret)
	return text + "_" + apiKeySum(text)
}

// ParseAPIKey reads what FormatAPIKey wrote and nothing else. The checksum tells
// damage, which costs no look into a database; it proves nothing.
func ParseAPIKey(raw string) (key uuid.UUID, secret []byte, ok bool) {
	if len(raw) != apiKeyLen {
		return uuid.Nil, nil, false
	}
	text, sum := raw[:apiKeyLen-9], raw[apiKeyLen-9:]
	if sum != "_"+apiKeySum(text) {
		return uuid.Nil, nil, false
	}
	head, tail := text[:len(text)-49], text[len(text)-49:]
	key, err := id.Parse(apiKeyPrefix, head)
	if err != nil || tail[0] != '_' {
		return uuid.Nil, nil, false
	}
	secret, err = apiKeyText.DecodeString(tail[1:])
	if err != nil || len(secret) != APIKeySecretBytes || FormatAPIKey(key, secret) != raw {
		return uuid.Nil, nil, false
	}
	return key, secret, true
}

func apiKeySum(text string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(text))) }
