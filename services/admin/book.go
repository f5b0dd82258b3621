package admin

import (
	"context"
	"slices"
	"time"
)

// Metrics as admin.cell names them.
var (
	accountMetrics = []string{"created", "deleted", "active"}
	liveMetrics    = []string{"live_from", "live_until"}
	payingMetrics  = []string{"paying_from", "paying_until"}
	moneyMetrics   = []string{"gross", "refund", "tax", "due"}
	paymentMetrics = []string{"succeeded", "failed", "pending"}
	standing       = []string{"created", "deleted", "live_from", "live_until", "paying_from", "paying_until", "due"} // counted from the beginning
)

// book is the rollups of a range, and what stood before it.
type book struct{ before, within []rolled }

// book reads what a request needs, in two queries.
func (s *Service) book(ctx context.Context, q asked, groups ...[]string) (*book, error) {
	metrics := slices.Concat(groups...)
	within, err := s.within(ctx, q.q, q.span, metrics...)
	if err != nil {
		return nil, err
	}
	old := slices.DeleteFunc(slices.Clone(metrics), func(m string) bool { return !slices.Contains(standing, m) })
	before, err := s.before(ctx, q.q, q.first, old...)
	return &book{before: before, within: within}, err
}

// sum adds up days of the range.
func (b *book) sum(r span, metrics ...string) tally {
	if t := b.by(r, func(rolled) string { return "" }, metrics...)[""]; t != nil {
		return t
	}
	return tally{}
}

// by adds up days of the range, apart by a key.
func (b *book) by(r span, key func(rolled) string, metrics ...string) map[string]tally {
	out := map[string]tally{}
	for _, c := range b.within {
		if c.Day.Before(r.first) || c.Day.After(r.last) || !slices.Contains(metrics, c.Metric) {
			continue
		}
		k := key(c)
		if out[k] == nil {
			out[k] = tally{}
		}
		x := out[k][c.Metric]
		out[k][c.Metric] = sums{x.N + c.N, x.Minor + c.Minor}
	}
	return out
}

// stood is what had begun and not ended by the end of a day.
func (b *book) stood(on time.Time, from, until string) sums {
	var out sums
	for _, list := range [][]rolled{b.before, b.within} {
		for _, c := range list {
			if c.Day.After(on) {
				continue
			}
			switch c.Metric {
			case from:
				out.N, out.Minor = out.N+c.N, out.Minor+c.Minor
			case until:
				out.N, out.Minor = out.N-c.N, out.Minor-c.Minor
			}
		}
	}
	return out
}

// plans is how many of each plan stood at the end of a day.
func (b *book) plans(on time.Time) map[string]int64 {
	out := map[string]int64{}
	for _, list := range [][]rolled{b.before, b.within} {
		for _, c := range list {
			if c.Day.After(on) {
				continue
			}
			switch c.Metric {
			case "live_from":
				out[c.A] += c.N
			case "live_until":
				out[c.A] -= c.N
			}
		}
	}
	return out
}

// earned is the money of a part of the range, in paise.
type earned struct{ Gross, Net, Tax, Refunds, MRR int64 }

func (b *book) earned(r span) earned {
	t := b.sum(r, moneyMetrics...)
	gross, tax, back := t["gross"].Minor, t["tax"].Minor, t["refund"].Minor
	return earned{
		Gross: gross, Net: gross - back - tax, Tax: tax, Refunds: back,
		MRR: share(b.stood(r.last, "paying_from", "paying_until").Minor, 12),
	}
}
