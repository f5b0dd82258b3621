// Package password hashes and checks passwords, and says which are too weak.
// It is pure: the queue that keeps hashing from eating the machine is the
// caller's.
package password

import (
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// OWASP Password Storage: argon2id, 19 MiB, t=2, p=1.
const (
	memoryKiB = 19 << 10
	passes    = 2
	lanes     = 1
	saltBytes = 16
	tagBytes  = 32
)

// A stored hash beyond these would let whoever can write one row take the
// machine down at the next login.
const (
	maxMemoryKiB = 128 << 10
	maxPasses    = 10
	maxLanes     = 16
)

const (
	minRunes = 8
	maxRunes = 128
)

// ErrMalformed is what Verify answers for a hash that is not one of argon2id or
// bcrypt within bounds.
var ErrMalformed = errors.New("malformed password hash")

// Dummy is a hash no password has, with the parameters of Hash: verifying
// against it takes as long as against a real one.
const Dummy = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// common.txt: the commonest of at least 8 characters in the frequency lists of
// zxcvbn 4.4.2 (MIT, Dropbox) and of @zxcvbn-ts/language-common 4.1.3 (MIT), and
// some variations of our own. Lower case. A map, not a filter: nobody's good
// password is refused by chance.
//
//go:embed common.txt
var commonText string

var common = index(commonText)

func index(text string) map[string]struct{} {
	words := strings.Fields(text)
	m := make(map[string]struct{}, len(words))
	for _, w := range words {
		m[w] = struct{}{}
	}
	return m
}

// Weak says why a password may not be chosen, "" if it may. personal are words
// that must not be the whole of it, such as the address.
func Weak(password string, personal ...string) string {
	if !utf8.ValidString(password) || strings.ContainsRune(password, 0) {
		return "must be text"
	}
	switch n := utf8.RuneCountInString(password); {
	case n < minRunes:
		return "must have at least 8 characters"
	case n > maxRunes:
		return "must have at most 128 characters"
	}
	lower := strings.ToLower(password)
	if _, known := common[lower]; known || monotone(lower) {
		return "is one of the commonest passwords"
	}
	for _, p := range personal {
		if p != "" && lower == strings.ToLower(p) {
			return "must not be your own address or name"
		}
	}
	return ""
}

// monotone finds one character over and over and runs such as "abcdefgh".
func monotone(s string) bool {
	runes := []rune(s)
	step := runes[1] - runes[0]
	if step < -1 || step > 1 {
		return false
	}
	for i := 1; i < len(runes); i++ {
		if runes[i]-runes[i-1] != step {
			return false
		}
	}
	return true
}

// Hash gives the PHC string of a password with a salt from rand.
func Hash(password string, rand io.Reader) (string, error) {
	salt := make([]byte, saltBytes)
	if _, err := io.ReadFull(rand, salt); err != nil {
		return "", fmt.Errorf("read salt: %w", err)
	}
	h := hash{memory: memoryKiB, passes: passes, lanes: lanes, salt: salt}
	h.tag = h.compute(password, tagBytes)
	return h.String(), nil
}

// Verify reports whether the password is the one of a PHC string, or of a
// bcrypt hash of the old system. Fails with ErrMalformed.
func Verify(password, phc string) (bool, error) {
	if isBcrypt(phc) {
		return verifyBcrypt(password, phc)
	}
	h, err := parse(phc)
	if err != nil {
		return false, err
	}
	got := h.compute(password, uint32(len(h.tag))) //nolint:gosec // parse bounds it
	return subtle.ConstantTimeCompare(got, h.tag) == 1, nil
}

// Check fails with ErrMalformed for a hash that Verify would not take: for
// hashes that come from elsewhere, before they are stored.
func Check(phc string) error {
	if isBcrypt(phc) {
		return checkBcrypt(phc)
	}
	_, err := parse(phc)
	return err
}

// Outdated reports whether a hash is not what Hash would make today.
func Outdated(phc string) bool {
	h, err := parse(phc)
	return err != nil || h.memory != memoryKiB || h.passes != passes || h.lanes != lanes ||
		len(h.salt) != saltBytes || len(h.tag) != tagBytes
}

type hash struct {
	memory, passes uint32
	lanes          uint8
	salt, tag      []byte
}

func (h hash) compute(password string, n uint32) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.lanes, n)
}

// String writes the PHC form.
func (h hash) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, h.memory, h.passes, h.lanes, b64.EncodeToString(h.salt), b64.EncodeToString(h.tag))
}

// parse reads exactly what String writes, within the bounds.
func parse(phc string) (hash, error) {
	var h hash
	part := strings.Split(phc, "$")
	if len(phc) > 512 || len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != "v="+strconv.Itoa(argon2.Version) {
		return h, ErrMalformed
	}
	param := strings.Split(part[3], ",")
	if len(param) != 3 {
		return h, ErrMalformed
	}
	m, ok1 := number(param[0], "m=", maxMemoryKiB)
	t, ok2 := number(param[1], "t=", maxPasses)
	p, ok3 := number(param[2], "p=", maxLanes)
	if !ok1 || !ok2 || !ok3 || m < 8*p {
		return h, ErrMalformed
	}
	h.memory, h.passes, h.lanes = m, t, uint8(p) //nolint:gosec // at most maxLanes
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(part[4])
	h.tag, err2 = base64.RawStdEncoding.Strict().DecodeString(part[5])
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.tag) < 16 || len(h.tag) > 64 || h.String() != phc {
		return hash{}, ErrMalformed
	}
	return h, nil
}

func number(s, name string, most uint32) (uint32, bool) {
	digits, ok := strings.CutPrefix(s, name)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 || n > uint64(most) {
		return 0, false
	}
	return uint32(n), true
}
