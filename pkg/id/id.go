// Package id makes UUIDv7s and gives them the public form "usr_" and 26
// characters of lower-case Crockford base32, which sorts as the UUID does.
package id

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
)

// ErrMalformed is what Parse answers for anything Format would not have written.
var ErrMalformed = errors.New("malformed id")

const (
	alphabet   = "0123456789abcdefghjkmnpqrstvwxyz"
	encodedLen = 26 // 128 bits in fives; the first character holds only 3
)

var decode = table()

// Maker makes UUIDv7s that grow strictly within one process, even within one
// millisecond and when the clock steps back. Safe for concurrent use.
type Maker struct {
	now  func() time.Time
	rand io.Reader

	mu   sync.Mutex // guards all below
	last uint64     // 48 bits of milliseconds and 12 of fraction, of the last id
	pool [512]byte  // random bytes read ahead: one system call for 64 ids
	left int
}

// NewMaker takes the clock and the source of randomness.
func NewMaker(now func() time.Time, rand io.Reader) *Maker {
	return &Maker{now: now, rand: rand}
}

// New makes an id. It panics when the source of randomness fails: nothing safe
// can be done without it.
func (m *Maker) New() uuid.UUID {
	t := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()

	ms := uint64(max(t.UnixMilli(), 0))
	fraction := uint64(t.Nanosecond()%int(time.Millisecond)) << 12 / 1000000 //nolint:gosec // below 4096
	stamp := max(ms<<12|fraction, m.last+1)
	m.last = stamp

	var u uuid.UUID
	binary.BigEndian.PutUint64(u[:8], stamp>>12<<16|0x7000|stamp&0xfff)
	if m.left == 0 {
		if _, err := io.ReadFull(m.rand, m.pool[:]); err != nil {
			panic("id: no randomness: " + err.Error())
		}
		m.left = len(m.pool)
	}
	copy(u[8:], m.pool[len(m.pool)-m.left:])
	m.left -= 8
	u[8] = u[8]&0x3f | 0x80
	return u
}

// Format writes u with its prefix, such as "usr_01hzy...".
func Format(prefix string, u uuid.UUID) string {
	b := make([]byte, 0, len(prefix)+1+encodedLen)
	b = append(b, prefix...)
	b = append(b, '_')
	hi, lo := binary.BigEndian.Uint64(u[:8]), binary.BigEndian.Uint64(u[8:])
	for shift := 125; shift >= 0; shift -= 5 {
		b = append(b, alphabet[bits(hi, lo, shift)])
	}
	return string(b)
}

// Parse reads what Format wrote. Exactly one text is accepted for each id:
// upper case and Crockford's look-alikes are refused.
func Parse(prefix, s string) (uuid.UUID, error) {
	n := len(prefix)
	if len(s) != n+1+encodedLen || s[:n] != prefix || s[n] != '_' {
		return uuid.Nil, ErrMalformed
	}
	s = s[n+1:]
	if s[0] > '7' {
		return uuid.Nil, ErrMalformed // more than 128 bits
	}
	var hi, lo uint64
	for i := range encodedLen {
		v := decode[s[i]]
		if v == 0xff {
			return uuid.Nil, ErrMalformed
		}
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(v)
	}
	var u uuid.UUID
	binary.BigEndian.PutUint64(u[:8], hi)
	binary.BigEndian.PutUint64(u[8:], lo)
	return u, nil
}

// bits takes five bits of hi:lo from the given place.
func bits(hi, lo uint64, shift int) uint64 {
	switch {
	case shift >= 64:
		return hi >> (shift - 64) & 31
	case shift > 59:
		return (hi<<(64-shift) | lo>>shift) & 31
	default:
		return lo >> shift & 31
	}
}

func table() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i := range len(alphabet) {
		t[alphabet[i]] = byte(i)
	}
	return t
}
