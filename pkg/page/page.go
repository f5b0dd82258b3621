// Package page holds paging as the contract has it: a size with bounds, and an
// opaque token nobody can change or carry over to another query.
package page

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/manas360/platform/pkg/fail"
)

const (
	defaultSize = 20
	maxSize     = 100
	maxToken    = 2048
)

// Size gives the number of rows for a request's page_size: 20 unless it says,
// 100 at most.
func Size(n int32) int {
	switch {
	case n <= 0:
		return defaultSize
	case n > maxSize:
		return maxSize
	default:
		return int(n)
	}
}

// Sealer makes and reads page tokens. Safe for concurrent use.
type Sealer struct{ aead cipher.AEAD }

// NewSealer takes PAGE_TOKEN_SECRET, the same in all replicas.
func NewSealer(secret string) *Sealer {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "manas360 page token", 32)
	if err != nil {
		panic("page: derive key: " + err.Error()) // 32 bytes are always to be had
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("page: make cipher: " + err.Error())
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("page: make aead: " + err.Error())
	}
	return &Sealer{aead: aead}
}

// Seal gives the token for a cursor of the query: its method, filter, order and
// whose rows it reads, in any fixed form. It panics for a cursor JSON cannot hold.
func (s *Sealer) Seal(query string, cursor any) string {
	text, err := json.Marshal(cursor)
	if err != nil {
		panic("page: encode cursor: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, text, []byte(query))) //nolint:gosec // the aead makes the nonce itself
}

// Open reads a token into cursor. Fails with INVALID_ARGUMENT for a token of
// another query, a changed one, and for the empty one: first pages have none.
func (s *Sealer) Open(query, tok string, cursor any) error {
	if len(tok) > maxToken {
		return refused(fmt.Errorf("token of %d bytes", len(tok)))
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(tok)
	if err != nil {
		return refused(err)
	}
	text, err := s.aead.Open(nil, nil, sealed, []byte(query))
	if err != nil {
		return refused(err)
	}
	if err := json.Unmarshal(text, cursor); err != nil {
		return refused(err) // an older release's cursor
	}
	return nil
}

func refused(cause error) error {
	return fail.New(fail.InvalidArgument, "the request is invalid").
		Field("pageToken", "is not a page token of this list").Wrap(cause)
}
