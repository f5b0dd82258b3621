package user

import (
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/page"
)

// cursor is the last row of a page, in every list ordered by time and id.
type cursor struct {
	Time time.Time `json:"t"`
	ID   uuid.UUID `json:"i"`
}

var (
	newest = cursor{Time: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), ID: uuid.Max} // before the first row, newest first
	oldest = cursor{}                                                                // the same, oldest first
)

// from gives where a page starts; query names the list and whose it is.
func (s *Service) from(query, tok string, start cursor) (cursor, error) {
	if tok == "" {
		return start, nil
	}
	err := s.pages.Open(query, tok, &start)
	return start, err
}

// cut takes a page off rows, which hold one more if there are more, and gives
// the token of the next.
func cut[T any](s *Service, query string, rows []T, size int32, at func(T) cursor) (page []T, next string) {
	n := pageSize(size)
	if len(rows) <= n {
		return rows, ""
	}
	rows = rows[:n]
	return rows, s.pages.Seal(query, at(rows[n-1]))
}

func pageSize(n int32) int { return page.Size(n) }

// total is a count as the wire has it.
func total(n int64) int32 { return int32(min(n, math.MaxInt32)) } //nolint:gosec // bounded here
