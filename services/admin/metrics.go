package admin

import (
	"context"
	"math"
	"time"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
)

const (
	defaultDays = 30
	mostDays    = 3 * 366
	mostPoints  = 400
	currency    = "INR" // all there is in the catalogue
	oneDay      = 24 * time.Hour
)

// span is a range of days of UTC, both of them in it.
type span struct{ first, last time.Time }

// parseSpan reads a range as a client sends it: dates or times, either left out.
func parseSpan(start, end string, now time.Time) (span, error) {
	r := span{last: dayOf(now)}
	bad := fail.New(fail.InvalidArgument, "the request is invalid")
	if end != "" {
		var ok bool
		if r.last, ok = parseDay(end); !ok {
			return span{}, bad.Field("endDate", "is not a date like 2026-01-31")
		}
	}
	r.first = r.last.Add(-(defaultDays - 1) * oneDay)
	if start != "" {
		var ok bool
		if r.first, ok = parseDay(start); !ok {
			return span{}, bad.Field("startDate", "is not a date like 2026-01-31")
		}
	}
	switch days := r.days(); {
	case days < 1:
		return span{}, bad.Field("endDate", "is before startDate")
	case days > mostDays:
		return span{}, bad.Field("startDate", "is more than three years before endDate")
	}
	return r, nil
}

// parseDay takes a date, or the day of UTC that holds a time.
func parseDay(s string) (time.Time, bool) {
	if d, err := time.Parse(time.DateOnly, s); err == nil {
		return d, sane(d)
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	return dayOf(t), err == nil && sane(t)
}

// sane reports whether Postgres and arithmetic bear a time.
func sane(t time.Time) bool { return t.Year() >= 2000 && t.Year() < 2200 }

func (r span) days() int { return int(r.last.Sub(r.first)/oneDay) + 1 }

// Steps a range is cut into.
const (
	byDay = iota
	byWeek
	byMonth
)

// parts cuts a range into days, weeks from Monday or months; the first and the
// last may be cut short by the range.
func (r span) parts(step int) ([]span, error) {
	var out []span
	for at := r.first; !at.After(r.last); {
		next := at.Add(oneDay)
		switch step {
		case byWeek:
			next = at.Add(time.Duration(7-(int(at.Weekday())+6)%7) * oneDay)
		case byMonth:
			next = time.Date(at.Year(), at.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		}
		end := next.Add(-oneDay)
		if end.After(r.last) {
			end = r.last
		}
		out = append(out, span{at, end})
		at = next
	}
	if len(out) > mostPoints {
		return nil, fail.New(fail.InvalidArgument, "the request is invalid").Field("granularity", "makes too many points of this range")
	}
	return out, nil
}

// ratio is a part of a whole, between 0 and 1 with four decimals; 0 of nothing.
func ratio(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return math.Round(float64(part)/float64(whole)*1e4) / 1e4
}

// share divides money, half up; 0 by nothing.
func share(minor, by int64) int64 {
	if by <= 0 {
		return 0
	}
	if minor < 0 {
		return -share(-minor, by)
	}
	return (minor + by/2) / by
}

// counted is a number that JSON prints as one.
func counted(n int64) int32 { return int32(min(max(n, 0), math.MaxInt32)) }

// asked is a request for numbers, read.
type asked struct {
	span
	parts []span
	at    *time.Time // of the last count from the ground
	q     pg.Querier // one picture of everything
}

// tally is rollups of a range, by metric.
type tally map[string]sums

type sums struct{ N, Minor int64 }

// tellable refuses to answer before everything is counted.
func (s *Service) tellable(ctx context.Context) (*time.Time, error) {
	r, err := s.rebuildState(ctx, s.db.Pool)
	if err != nil {
		return nil, err
	}
	if r.Done < r.Wanted {
		return nil, fail.New(fail.Unavailable, "the numbers are being counted").RetryAfter(5 * time.Second)
	}
	return r.DoneAt, nil
}
