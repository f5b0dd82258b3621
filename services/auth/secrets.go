package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/google/uuid"
)

const keyBytes = 32

// secrets are the keys derived from the two secrets of the environment, one
// for each purpose, so that none stands in for another.
type secrets struct {
	signing, totp, mail, passkeys cipher.AEAD // JWT_SECRET: what lies sealed in the database

	codes, handles, recovery, throttle []byte // JWT_REFRESH_SECRET: what is only compared
	oneTime                            []byte
	refresh, devices                   []byte
	apiKeys, flows                     []byte
}

func newSecrets(access, refresh string) secrets {
	return secrets{
		signing:  newAEAD(derive([]byte(access), "manas360 signing key")),
		totp:     newAEAD(derive([]byte(access), "manas360 totp secret")),
		mail:     newAEAD(derive([]byte(access), "manas360 message")),
		passkeys: newAEAD(derive([]byte(access), "manas360 passkey")),
		codes:    derive([]byte(refresh), "manas360 code"),
		oneTime:  derive([]byte(refresh), "manas360 one-time code"),
		handles:  derive([]byte(refresh), "manas360 login handle"),
		recovery: derive([]byte(refresh), "manas360 recovery code"),
		throttle: derive([]byte(refresh), "manas360 throttle"),
		refresh:  derive([]byte(refresh), "manas360 refresh token"),
		devices:  derive([]byte(refresh), "manas360 device"),
		apiKeys:  derive([]byte(refresh), "manas360 api key"),
		flows:    derive([]byte(refresh), "manas360 sign-in at a provider"),
	}
}

func derive(secret []byte, purpose string) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, purpose, keyBytes)
	if err != nil {
		panic("auth: derive key: " + err.Error()) // 32 bytes are always to be had
	}
	return key
}

func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("auth: make cipher: " + err.Error())
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("auth: make aead: " + err.Error())
	}
	return aead
}

// seal binds plain to the row it lies in.
func seal(a cipher.AEAD, plain []byte, row string) []byte {
	return a.Seal(nil, nil, plain, []byte(row)) //nolint:gosec // the aead makes the nonce itself
}

func unseal(a cipher.AEAD, sealed []byte, row string) ([]byte, error) {
	plain, err := a.Open(nil, nil, sealed, []byte(row))
	if err != nil {
		return nil, fmt.Errorf("unseal %s: %w", row, err)
	}
	return plain, nil
}

// mac is HMAC-SHA-256 over parts that cannot run into one another.
func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// codeMAC is what is kept of a code: worth nothing for another challenge.
func (x secrets) codeMAC(purpose string, challenge uuid.UUID, code string) []byte {
	return mac(x.codes, purpose, challenge.String(), code)
}

// newCode draws six digits, each of the million equally likely.
func newCode(rand io.Reader) (string, error) {
	const below = 4_294_000_000 // the largest multiple of a million in 32 bits
	for {
		var b [4]byte
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return "", fmt.Errorf("read randomness: %w", err)
		}
		if n := binary.BigEndian.Uint32(b[:]); n < below {
			return fmt.Sprintf("%06d", n%1_000_000), nil
		}
	}
}

func randomBytes(rand io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(rand, b); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return b, nil
}
