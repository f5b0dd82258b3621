package audit

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
)

// rowSum adds up rows of the index of targets: equal sums are equal rows,
// whatever their order. The seed is drawn anew for each run, so nobody can
// choose rows that cancel out.
type rowSum struct {
	seed [2]maphash.Seed
	sums [2]atomic.Uint64
}

func newRowSum() *rowSum {
	return &rowSum{seed: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
}

// row is one row as it must be, or as it is.
func (s *rowSum) row(sign int, e *entry, t target) {
	var b [512]byte
	out := b[:0]
	for _, text := range [...]string{t.ID, t.Type, e.Class} {
		out = binary.AppendUvarint(out, uint64(len(text)))
		out = append(out, text...)
	}
	out = binary.BigEndian.AppendUint64(out, uint64(e.OccurredAt.UnixMicro()))
	out = binary.BigEndian.AppendUint64(out, uint64(e.TS.UnixMicro()))
	out = binary.BigEndian.AppendUint64(out, uint64(e.Seq)) //nolint:gosec // as above
	out = append(out, e.ID[:]...)
	for i := range s.sums {
		h := maphash.Bytes(s.seed[i], out)
		if sign < 0 {
			h = -h
		}
		s.sums[i].Add(h)
	}
}

// expect adds the rows that events must have.
func (s *rowSum) expect(events []entry) {
	for i := range events {
		e := &events[i]
		for _, t := range e.Targets {
			s.row(1, e, t)
		}
	}
}

// even reports whether there are the expected rows and no others.
func (s *rowSum) even() bool { return s.sums[0].Load() == 0 && s.sums[1].Load() == 0 }
