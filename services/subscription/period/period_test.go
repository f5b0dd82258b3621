package period_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/manas360/platform/services/subscription/period"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatalf("zone %s: %v", name, err)
	}
	return z
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatalf("time %s: %v", text, err)
	}
	return v
}

// Counted from the anchor, on the wall clock of one zone. money.md B2, B3, B13
func TestStartGolden(t *testing.T) {
	for _, tt := range []struct {
		name, zone, anchor string
		months             int
		want               []string // of periods 1, 2, …
	}{
		{
			"31 January monthly", period.Zone, "2027-01-31T00:00:00+05:30", 1,
			[]string{"2027-02-28T00:00:00+05:30", "2027-03-31T00:00:00+05:30", "2027-04-30T00:00:00+05:30", "2027-05-31T00:00:00+05:30", "2027-06-30T00:00:00+05:30", "2027-07-31T00:00:00+05:30"},
		},
		{
			"29 February yearly", period.Zone, "2028-02-29T10:00:00+05:30", 12,
			[]string{"2029-02-28T10:00:00+05:30", "2030-02-28T10:00:00+05:30", "2031-02-28T10:00:00+05:30", "2032-02-29T10:00:00+05:30"},
		},
		{"quarter over new year", period.Zone, "2026-11-30T23:59:59+05:30", 3, []string{"2027-02-28T23:59:59+05:30", "2027-05-30T23:59:59+05:30"}},
		// 18:30Z of 31 March is 1 April in India: the day is India's.
		{"the day is local", period.Zone, "2026-03-31T18:30:00Z", 1, []string{"2026-04-30T18:30:00Z", "2026-05-31T18:30:00Z"}},
		{"gap", "America/New_York", "2027-02-14T02:30:00-05:00", 1, []string{"2027-03-14T03:00:00-04:00", "2027-04-14T02:30:00-04:00"}},
		{"fold", "America/New_York", "2027-10-07T01:30:00-04:00", 1, []string{"2027-11-07T01:30:00-04:00", "2027-12-07T01:30:00-05:00"}},
		{"gap of half an hour", "Australia/Lord_Howe", "2026-09-04T02:15:00+10:30", 1, []string{"2026-10-04T02:30:00+11:00"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			z, anchor := zone(t, tt.zone), at(t, tt.anchor)
			for i, want := range tt.want {
				if got := period.Start(anchor, z, tt.months, i+1); !got.Equal(at(t, want)) {
					t.Errorf("Start(%s, %d months, %d) = %s, want %s", tt.anchor, tt.months, i+1, got.Format(time.RFC3339), want)
				}
			}
		})
	}
}

func TestIndiaIsHalfAnHourOff(t *testing.T) {
	z := zone(t, period.Zone)
	start, end := period.Month(at(t, "2026-04-01T00:00:00+05:30"), z)
	if !start.Equal(at(t, "2026-03-31T18:30:00Z")) || !end.Equal(at(t, "2026-04-30T18:30:00Z")) {
		t.Errorf("month = %s to %s", start.UTC(), end.UTC())
	}
	start, end = period.Day(at(t, "2026-03-31T18:29:59Z"), z)
	if !start.Equal(at(t, "2026-03-30T18:30:00Z")) || !end.Equal(at(t, "2026-03-31T18:30:00Z")) {
		t.Errorf("day = %s to %s", start.UTC(), end.UTC())
	}
}

func TestFinancialYear(t *testing.T) {
	z := zone(t, period.Zone)
	for moment, want := range map[string]string{
		"2026-03-31T18:29:59Z": "25-26",
		"2026-03-31T18:30:00Z": "26-27",
		"2099-12-31T00:00:00Z": "99-00",
	} {
		if got := period.FinancialYear(at(t, moment), z); got != want {
			t.Errorf("FinancialYear(%s) = %s, want %s", moment, got, want)
		}
	}
}

func TestStartProperties(t *testing.T) {
	zones := []*time.Location{zone(t, period.Zone), zone(t, "America/New_York"), zone(t, "Europe/London"), zone(t, "Australia/Lord_Howe"), time.UTC}
	rapid.Check(t, func(t *rapid.T) {
		z := rapid.SampledFrom(zones).Draw(t, "zone")
		anchor := time.Unix(rapid.Int64Range(1_600_000_000, 4_000_000_000).Draw(t, "anchor"), 0)
		months := rapid.SampledFrom([]int{1, 3, 12}).Draw(t, "months")
		n := rapid.IntRange(0, 200).Draw(t, "n")

		start, next := period.Start(anchor, z, months, n), period.Start(anchor, z, months, n+1)
		if !next.After(start) {
			t.Fatalf("period %d is not after period %d: %s, %s", n+1, n, next, start)
		}
		if longest := time.Duration(months) * 31 * 25 * time.Hour; next.Sub(start) > longest {
			t.Fatalf("period %d lasts %s", n, next.Sub(start))
		}
		day, want := start.In(z).Day(), anchor.In(z).Day()
		if day > want+1 || (day < want && start.In(z).AddDate(0, 0, 1).Day() != 1) {
			t.Fatalf("period %d starts on day %d, the anchor on %d", n, day, want)
		}
		// A day holds its moment, and days follow one another without a hole.
		from, to := period.Day(start, z)
		if start.Before(from) || !start.Before(to) {
			t.Fatalf("%s is not in its day %s to %s", start, from, to)
		}
		if again, _ := period.Day(to, z); !again.Equal(to) {
			t.Fatalf("the day after %s starts at %s", to, again)
		}
	})
}
