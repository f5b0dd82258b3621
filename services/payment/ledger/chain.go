package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
)

// Entry is a journal as it stands in the database, with all that its seal covers.
type Entry struct {
	ID                   uuid.UUID
	Ref, Kind            string
	PaymentID            uuid.NullUUID
	OccurredAt, PostedAt time.Time // to the microsecond, as the database keeps them
	Lines                []Line    // by Seq
}

// Line is a posting as it stands in the database.
type Line struct {
	Seq         int32
	Account     string
	AmountMinor int64
	Currency    string
}

// chainVersion is hashed first: another encoding must not make the same hash.
const chainVersion = "manas360 journal 1"

// Hash seals an entry: SHA-256 over the hash before, the entry's number in the
// chain, and every column. Each text has its length before it, so that no two
// entries are written alike.
func Hash(prev [sha256.Size]byte, seq int64, e Entry) [sha256.Size]byte {
	b := make([]byte, 0, 256+64*len(e.Lines))
	b = text(b, chainVersion)
	b = append(b, prev[:]...)
	b = number(b, seq)
	b = append(b, e.ID[:]...)
	b = text(b, e.Ref)
	b = text(b, e.Kind)
	if e.PaymentID.Valid {
		b = append(append(b, 1), e.PaymentID.UUID[:]...)
	} else {
		b = append(b, 0)
	}
	b = number(b, e.OccurredAt.UnixMicro())
	b = number(b, e.PostedAt.UnixMicro())
	b = number(b, int64(len(e.Lines)))
	for _, l := range e.Lines {
		b = number(b, int64(l.Seq))
		b = text(b, l.Account)
		b = number(b, l.AmountMinor)
		b = text(b, l.Currency)
	}
	return sha256.Sum256(b)
}

func number(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(n)) //nolint:gosec // two's complement: what is meant
}

func text(b []byte, s string) []byte {
	return append(number(b, int64(len(s))), s...)
}
