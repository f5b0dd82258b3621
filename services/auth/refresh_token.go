package auth

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"github.com/google/uuid"
)

const (
	refreshPrefix = "rt_"
	macBytes      = sha256.Size
	refreshBytes  = 16 + 16 + 8 + macBytes
)

// refreshToken is what a client holds. It names the account so that the row of
// outbox that goes with a rotation can be written before the session is read.
type refreshToken struct {
	Session, Account uuid.UUID
	Counter          int64
	Tag              [macBytes]byte
}

// head is all of the token but its tag.
func (t refreshToken) head() []byte {
	b := make([]byte, 0, refreshBytes)
	b = append(b, t.Session[:]...)
	b = append(b, t.Account[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(t.Counter)) //nolint:gosec // counts from one
}

// refreshText is a function of the session alone, so that a repeated request
// within the grace gets the very same successor.
func (s *Service) refreshText(x session) string {
	t := refreshToken{Session: x.ID, Account: x.AccountID, Counter: x.Counter}
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(append(t.head(), refreshTag(x.Salt, s.refreshKey(t))...))
}

// refreshKey is the server's half of a token's tag.
func (s *Service) refreshKey(t refreshToken) []byte {
	return mac(s.secrets.refresh, "session", string(t.head()))
}

// refreshTag joins the server's half and the session's salt: neither a stolen
// database nor a stolen secret makes a token. Both are of one length, and
// rotateSession does the same sum, so that the tag is checked and the counter
// moved in one statement.
func refreshTag(salt, key []byte) []byte {
	sum := sha256.Sum256(append(append(make([]byte, 0, saltBytes+macBytes), salt...), key...))
	return sum[:]
}

// parseRefresh reads a token that has one spelling only.
func parseRefresh(raw string) (t refreshToken, ok bool) {
	text, ok := strings.CutPrefix(raw, refreshPrefix)
	if !ok {
		return t, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != refreshBytes || base64.RawURLEncoding.EncodeToString(b) != text {
		return t, false
	}
	copy(t.Session[:], b)
	copy(t.Account[:], b[16:])
	n := binary.BigEndian.Uint64(b[32:])
	if n == 0 || n > 1<<62 {
		return t, false
	}
	t.Counter = int64(n)
	copy(t.Tag[:], b[40:])
	return t, true
}

// earlier reads a token of earlier builds, which named no account and had
// another tag: 16 bytes of session, the counter, the tag. One that is genuine
// goes on as if it were of this build. Sessions live 30 days; so must this.
func (s *Service) earlier(ctx context.Context, raw string) (t refreshToken, ok bool, err error) {
	text, cut := strings.CutPrefix(raw, refreshPrefix)
	b, bad := base64.RawURLEncoding.Strict().DecodeString(text)
	if !cut || bad != nil || len(b) != 16+8+macBytes || base64.RawURLEncoding.EncodeToString(b) != text {
		return t, false, nil //nolint:nilerr // no token of ours, which is no failure
	}
	copy(t.Session[:], b)
	n := binary.BigEndian.Uint64(b[16:])
	if n == 0 || n > 1<<62 {
		return t, false, nil
	}
	t.Counter = int64(n)
	x, found, err := s.session(ctx, s.db.Pool, t.Session)
	if err != nil || !found || !hmac.Equal(b[24:], s.earlierTag(x.Salt, t)) {
		return t, false, err
	}
	t.Account = x.AccountID
	copy(t.Tag[:], refreshTag(x.Salt, s.refreshKey(t)))
	return t, true, nil
}

func (s *Service) earlierTag(salt []byte, t refreshToken) []byte {
	key, err := hkdf.Key(sha256.New, s.secrets.refresh, salt, "session", keyBytes)
	if err != nil {
		panic("auth: derive key: " + err.Error()) // 32 bytes are always to be had
	}
	return mac(key, t.Session.String(), string(binary.BigEndian.AppendUint64(nil, uint64(t.Counter)))) //nolint:gosec // counts from one
}
