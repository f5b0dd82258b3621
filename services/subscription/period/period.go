// Package period is the calendar of subscriptions: when the n-th period starts
// and when a counter returns to zero. Everything follows the wall clock of one
// IANA zone. No database, no clock of its own.
package period

import (
	"time"
	_ "time/tzdata" // a container without zone files must not change when money is due
)

// Zone is where periods and quotas are counted when the customer's own zone is
// not known.
const Zone = "Asia/Kolkata"

// Start gives the start of period n of a subscription anchored at anchor, each
// period being that many months of zone's calendar. It is the day
// min(anchor's day, last day of the month) at the anchor's wall time, so a
// short month never moves later periods. Period 0 starts at the anchor itself.
func Start(anchor time.Time, zone *time.Location, months, n int) time.Time {
	if n == 0 || months == 0 {
		return anchor
	}
	a := anchor.In(zone)
	year, month := a.Year(), int(a.Month())-1+n*months
	year, month = year+floorDiv(month, 12), floorMod(month, 12)+1
	// Day 0 of the next month is the last of this one.
	last := time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	hour, minute, second := a.Clock()
	wall := time.Date(year, time.Month(month), min(a.Day(), last), hour, minute, second, a.Nanosecond(), time.UTC)
	return resolve(wall, zone)
}

// Day gives the bounds of the calendar day of zone that holds t.
func Day(t time.Time, zone *time.Location) (start, end time.Time) {
	y, m, d := t.In(zone).Date()
	return resolve(time.Date(y, m, d, 0, 0, 0, 0, time.UTC), zone), resolve(time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC), zone)
}

// Month gives the bounds of the calendar month of zone that holds t.
func Month(t time.Time, zone *time.Location) (start, end time.Time) {
	y, m, _ := t.In(zone).Date()
	return resolve(time.Date(y, m, 1, 0, 0, 0, 0, time.UTC), zone), resolve(time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC), zone)
}

// FinancialYear names the April-to-March year of zone that holds t: "26-27".
func FinancialYear(t time.Time, zone *time.Location) string {
	l := t.In(zone)
	y := l.Year()
	if l.Month() < time.April {
		y--
	}
	digits := func(y int) string { return string([]byte{byte('0' + y/10%10), byte('0' + y%10)}) }
	return digits(y) + "-" + digits(y+1)
}

// resolve finds the instant at which zone's clocks show wall, which is given
// in UTC. time.Date leaves open which of two it picks; here a time shown twice
// is its first occurrence, and one skipped is the first instant after the gap.
func resolve(wall time.Time, zone *time.Location) time.Time {
	_, before := wall.Add(-24 * time.Hour).In(zone).Zone()
	_, after := wall.Add(24 * time.Hour).In(zone).Zone()
	early := wall.Add(-time.Duration(max(before, after)) * time.Second)
	late := wall.Add(-time.Duration(min(before, after)) * time.Second)
	for _, t := range []time.Time{early, late} {
		if shows(t, zone, wall) {
			return t.In(zone)
		}
	}
	// In a gap the earlier offset is the smaller, so late lies behind it.
	end, _ := late.In(zone).ZoneBounds()
	return end
}

func shows(t time.Time, zone *time.Location, wall time.Time) bool {
	_, offset := t.In(zone).Zone()
	return t.Add(time.Duration(offset) * time.Second).Equal(wall)
}

func floorDiv(a, b int) int { return (a - floorMod(a, b)) / b }

func floorMod(a, b int) int { return (a%b + b) % b }
