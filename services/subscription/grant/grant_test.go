package grant

import (
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

// metered is a grant of n ai_messages a day, for ever; a negative n is unlimited.
func metered(from Source, n int64, change ...func(*Grant)) Grant {
	g := Grant{Feature: Feature{Feature: "ai_messages", Kind: "metered", Limit: &n, Period: "day"}, Source: from}
	if n < 0 {
		g.Limit = nil
	}
	for _, do := range change {
		do(&g)
	}
	return g
}

func has(from Source, code string, change ...func(*Grant)) Grant {
	g := Grant{Feature: Feature{Feature: code, Kind: Boolean, Period: "none"}, Source: from}
	for _, do := range change {
		do(&g)
	}
	return g
}

func from(t time.Time) func(*Grant)        { return func(g *Grant) { g.From = t } }
func until(t time.Time) func(*Grant)       { return func(g *Grant) { g.Until = &t } }
func priority(n int32) func(*Grant)        { return func(g *Grant) { g.Priority = n } }
func created(t time.Time) func(*Grant)     { return func(g *Grant) { g.CreatedAt = t } }
func named(id string) func(*Grant)         { return func(g *Grant) { g.ID = id } }
func period(p string) func(*Grant)         { return func(g *Grant) { g.Period = p } }
func kind(k string) func(*Grant)           { return func(g *Grant) { g.Kind = k } }
func limits(n int64) []Feature             { return []Feature{metered(Plan, n).Feature} }
func limitsOf(p string, n int64) []Feature { return []Feature{metered(Plan, n, period(p)).Feature} }

func TestFold(t *testing.T) {
	for _, tt := range []struct {
		name   string
		grants []Grant
		want   Set
	}{
		{"nothing", nil, Set{}},
		{"plan", []Grant{has(Plan, "sso"), metered(Plan, 10)}, Set{Features: []string{"sso"}, Limits: limits(10)}},
		{"booleans or", []Grant{has(Plan, "b"), has(Organization, "a"), has(Addon, "c"), has(Addon, "a")}, Set{Features: []string{"a", "b", "c"}}},
		{
			"limits by code",
			[]Grant{metered(Plan, 1), {Feature: Feature{Feature: "aa", Kind: "quantity", Period: "none"}, Source: Plan}},
			Set{Limits: []Feature{{Feature: "aa", Kind: "quantity", Period: "none"}, metered(Plan, 1).Feature}},
		},
		{"the better of plan and organization", []Grant{metered(Plan, 10), metered(Organization, 30), metered(Organization, 20)}, Set{Limits: limits(30)}},
		{"the plan may be better", []Grant{metered(Organization, 10), metered(Plan, 30)}, Set{Limits: limits(30)}},
		{"addons add", []Grant{metered(Addon, 1), metered(Plan, 10), metered(Organization, 30), metered(Addon, 2)}, Set{Limits: limits(33)}},
		{"addons alone", []Grant{metered(Addon, 1), metered(Addon, 2)}, Set{Limits: limits(3)}},
		{"unlimited plan", []Grant{metered(Plan, -1), metered(Organization, 5), metered(Addon, 2)}, Set{Limits: limits(-1)}},
		{"unlimited organization", []Grant{metered(Plan, 5), metered(Organization, -1)}, Set{Limits: limits(-1)}},
		{"unlimited addon", []Grant{metered(Plan, 5), metered(Addon, -1)}, Set{Limits: limits(-1)}},
		{"a sum stays a number", []Grant{metered(Plan, math.MaxInt64), metered(Addon, 1)}, Set{Limits: limits(math.MaxInt64)}},
		{"a sum just fits", []Grant{metered(Plan, math.MaxInt64-1), metered(Addon, 1)}, Set{Limits: limits(math.MaxInt64)}},
		{"a sum that is less", []Grant{metered(Plan, math.MaxInt64-3), metered(Addon, 1)}, Set{Limits: limits(math.MaxInt64 - 2)}},
		{"override beats more", []Grant{metered(Plan, -1), metered(Addon, 5), metered(Override, 2)}, Set{Limits: limits(2)}},
		{"override gives", []Grant{has(Override, "sso")}, Set{Features: []string{"sso"}}},
		{"override may change the kind", []Grant{metered(Plan, 5), metered(Override, 9, period("month"))}, Set{Limits: limitsOf("month", 9)}},
		{"higher priority", []Grant{
			metered(Override, 2, priority(1), created(noon)), metered(Override, 3, priority(2)), metered(Override, 4, priority(-1), created(noon)),
		}, Set{Limits: limits(3)}},
		{"newer override", []Grant{metered(Override, 2), metered(Override, 3, created(noon)), metered(Override, 4, created(noon.Add(-1)))}, Set{Limits: limits(3)}},
		{"equal overrides", []Grant{metered(Override, 3, named("b")), metered(Override, 2, named("a"))}, Set{Limits: limits(2)}},
		{"removal beats all", []Grant{metered(Override, 2, priority(9)), metered(Removal, 0), metered(Plan, 1), has(Plan, "sso")}, Set{Features: []string{"sso"}}},
		{"priority means nothing to addons", []Grant{metered(Addon, 2, priority(9), period("month")), metered(Addon, 3, period("day"))}, Set{Limits: limits(3)}},
		{"another period is not added", []Grant{metered(Plan, 5), metered(Addon, 3, period("month")), metered(Organization, 90, period("month"))}, Set{Limits: limits(5)}},
		{"another kind is not added", []Grant{metered(Plan, 5), metered(Addon, 3, kind("quantity"))}, Set{Limits: limits(5)}},
		{"the organization's period goes before the addon's", []Grant{metered(Addon, 3), metered(Organization, 9, period("month"))}, Set{Limits: limitsOf("month", 9)}},
		{"the plan's period goes before the organization's", []Grant{metered(Organization, 9), metered(Plan, 3, period("month"))}, Set{Limits: limitsOf("month", 3)}},
		{"of one source the kind decides, then the period", []Grant{
			metered(Addon, 1, kind("z"), period("day")), metered(Addon, 2, kind("metered"), period("month")), metered(Addon, 4, kind("metered"), period("day"), named("z")),
		}, Set{Limits: limits(4)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Fold(noon, tt.grants)); diff != "" {
				t.Errorf("fold (-want +got):\n%s", diff)
			}
		})
	}
}

// TestBoundaries is money.md B51: =start, =end and a nanosecond on either side.
func TestBoundaries(t *testing.T) {
	start, end := noon, noon.Add(time.Hour)
	list := []Grant{has(Addon, "sso", from(start), until(end)), has(Plan, "api")}
	for _, tt := range []struct {
		name string
		at   time.Time
		in   bool
		next *time.Time
	}{
		{"before the start", start.Add(-1), false, &start},
		{"start", start, true, &end},
		{"after the start", start.Add(1), true, &end},
		{"before the end", end.Add(-1), true, &end},
		{"end", end, false, nil},
		{"after the end", end.Add(1), false, nil},
	} {
		got := Fold(tt.at, list)
		if slices.Contains(got.Features, "sso") != tt.in || !cmp.Equal(got.Until, tt.next) {
			t.Errorf("%s: %v until %v", tt.name, got.Features, got.Until)
		}
	}
	// The nearest of all, whoever they belong to.
	list = append(list, has(Removal, "api", from(noon.Add(time.Minute))), has(Plan, "x", until(noon.Add(2*time.Minute))))
	if got := Fold(noon, list); !cmp.Equal(got.Until, ptr(noon.Add(time.Minute))) {
		t.Errorf("until %v", got.Until)
	}
}

func TestEmpty(t *testing.T) {
	for _, tt := range []struct {
		set  Set
		want bool
	}{{Set{}, true}, {Set{Until: &noon}, true}, {Set{Features: []string{"a"}}, false}, {Set{Limits: limits(0)}, false}} {
		if got := tt.set.Empty(); got != tt.want {
			t.Errorf("%v: %t", tt.set, got)
		}
	}
}

// some draws grants of few features around noon, so that they meet.
func some(t *rapid.T) []Grant {
	n := 0
	instant := func(label string) time.Time {
		return noon.Add(time.Duration(rapid.Int64Range(-3, 3).Draw(t, label)) * time.Nanosecond)
	}
	list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Grant {
		n++
		src := rapid.SampledFrom([]Source{Plan, Plan, Organization, Addon, Addon, Override, Removal}).Draw(t, "source")
		code := rapid.SampledFrom([]string{"sso", "ai_messages"}).Draw(t, "feature")
		g := has(src, code)
		if code == "ai_messages" {
			g = metered(src, rapid.Int64Range(-1, 5).Draw(t, "limit"))
		}
		g.ID, g.Priority = strconv.Itoa(n), rapid.Int32Range(0, 1).Draw(t, "priority")
		g.From, g.CreatedAt = instant("from"), instant("created")
		if rapid.Bool().Draw(t, "ends") {
			g.Until = ptr(g.From.Add(time.Duration(rapid.IntRange(1, 4).Draw(t, "lasts"))))
		}
		return g
	}), 0, 8).Draw(t, "grants")
	for i := range list {
		list[i].ID = strconv.Itoa(i)
	}
	return list
}

func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := some(t)
		want := Fold(noon, slices.Clone(list))
		other := rapid.Permutation(list).Draw(t, "order")
		if diff := cmp.Diff(want, Fold(noon, other)); diff != "" {
			t.Fatalf("another order (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, Fold(noon, other)); diff != "" {
			t.Fatalf("again (-want +got):\n%s", diff)
		}
	})
}

// TestMoreIsNeverLess adds a grant: only a removal takes a feature away, only a
// removal or an override makes a limit smaller.
func TestMoreIsNeverLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := some(t)
		extra := some(t)
		before, after := Fold(noon, list), Fold(noon, append(slices.Clone(list), extra...))
		taking := func(codes ...Source) bool {
			return slices.ContainsFunc(extra, func(g Grant) bool { return slices.Contains(codes, g.Source) })
		}
		if taking(Removal) {
			return
		}
		for _, code := range before.Features {
			if !slices.Contains(after.Features, code) {
				t.Fatalf("%s is gone", code)
			}
		}
		if len(after.Limits) < len(before.Limits) {
			t.Fatalf("limits %v, then %v", before.Limits, after.Limits)
		}
		if taking(Override) || len(before.Limits) == 0 {
			return
		}
		if was, is := before.Limits[0].Limit, after.Limits[0].Limit; is != nil && (was == nil || *is < *was) {
			t.Fatalf("limit %v, then %d", was, *is)
		}
	})
}

// TestNothingChangesBefore folds at every instant until the one that the fold
// names: the result is the same, and what is named is never in the past.
func TestNothingChangesBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := some(t)
		at := noon.Add(-5)
		was := Fold(at, list)
		for now := at; now.Before(noon.Add(10)); now = now.Add(1) {
			got := Fold(now, list)
			if was.Until != nil && !now.Before(*was.Until) {
				was = got // a boundary: anything may be
			}
			if diff := cmp.Diff(was, got); diff != "" {
				t.Fatalf("at %s, before %v (-want +got):\n%s", now, was.Until, diff)
			}
			if got.Until != nil && !got.Until.After(now) {
				t.Fatalf("at %s the next is %s", now, got.Until)
			}
		}
		if was.Until != nil {
			t.Fatalf("after all, until %s", was.Until)
		}
	})
}
