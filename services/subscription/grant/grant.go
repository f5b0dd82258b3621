// Package grant folds a plan and what was granted besides it into what somebody
// may use at an instant. Pure: it reads no clock and keeps nothing.
package grant

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// Boolean is the kind of a feature that one has or has not; every other kind
// has a limit.
const Boolean = "boolean"

// Source is where a grant comes from, and so what it weighs.
type Source string

// The sources. A removal beats all others, an override all but removals; of the
// rest the plan and organizations compete and addons add up.
const (
	Plan         Source = "plan"
	Organization Source = "organization"
	Addon        Source = "addon"
	Override     Source = "override"
	Removal      Source = "removal"
)

// Feature is something one may use.
type Feature struct {
	Feature string `json:"feature"`
	Kind    string `json:"kind"`
	Limit   *int64 `json:"limit"` // nil: unlimited
	Period  string `json:"period"`
}

// Grant is a feature from one source for a time.
type Grant struct {
	Feature
	ID        string // decides between equals, so that order never does
	Source    Source
	Priority  int32
	From      time.Time  // the first instant
	Until     *time.Time // the first instant after; nil: never ends
	CreatedAt time.Time
}

// active reports whether the grant counts at an instant.
func (g Grant) active(now time.Time) bool {
	return !now.Before(g.From) && (g.Until == nil || now.Before(*g.Until))
}

// Set is a fold.
type Set struct {
	Features []string   // codes of booleans, sorted
	Limits   []Feature  // the others, by code
	Until    *time.Time // the next instant at which the fold may be another; nil: none
}

// Empty reports whether there is nothing in it.
func (s Set) Empty() bool { return len(s.Features) == 0 && len(s.Limits) == 0 }

// Fold gives what the grants, the plan's among them, make at an instant. Their
// order does not matter.
func Fold(now time.Time, grants []Grant) Set {
	var out Set
	by := map[string][]Grant{}
	for _, g := range grants {
		out.next(now, g.From)
		if g.Until != nil {
			out.next(now, *g.Until)
		}
		if g.active(now) {
			by[g.Feature.Feature] = append(by[g.Feature.Feature], g)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(by)) {
		f, ok := one(by[code])
		if !ok {
			continue
		}
		if f.Kind == Boolean {
			out.Features = append(out.Features, code)
			continue
		}
		out.Limits = append(out.Limits, f)
	}
	return out
}

// next keeps the earliest instant that is still to come.
func (s *Set) next(now, at time.Time) {
	if at.After(now) && (s.Until == nil || at.Before(*s.Until)) {
		s.Until = &at
	}
}

// one folds the active grants of one feature; ok is false when it is removed.
func one(list []Grant) (f Feature, ok bool) {
	slices.SortFunc(list, stronger)
	f = list[0].Feature
	if list[0].Source == Removal {
		return Feature{}, false
	}
	if list[0].Source == Override {
		return f, true
	}
	for _, g := range list[1:] {
		if g.Kind != f.Kind || g.Period != f.Period {
			continue // not the same thing counted: the strongest source says which
		}
		if g.Source == Addon {
			f.Limit = sum(f.Limit, g.Limit)
			continue
		}
		f.Limit = best(f.Limit, g.Limit)
	}
	return f, true
}

// stronger sorts what decides first to the front: by source, of overrides the
// highest priority, then the newest.
func stronger(a, b Grant) int {
	if c := cmp.Compare(rank(a.Source), rank(b.Source)); c != 0 {
		return c
	}
	if a.Source == Override {
		if c := cmp.Or(cmp.Compare(b.Priority, a.Priority), b.CreatedAt.Compare(a.CreatedAt)); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Period, b.Period), cmp.Compare(a.ID, b.ID))
}

func rank(s Source) int {
	return slices.Index([]Source{Removal, Override, Plan, Organization, Addon}, s)
}

// best is the larger limit.
func best(a, b *int64) *int64 {
	if a == nil || b == nil {
		return nil
	}
	m := max(*a, *b)
	return &m
}

// sum adds limits; more than fits is the most there is.
func sum(a, b *int64) *int64 {
	if a == nil || b == nil {
		return nil
	}
	n := int64(math.MaxInt64)
	if *a <= n-*b {
		n = *a + *b
	}
	return &n
}
