package subscription

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/trail"
)

const (
	inr          = "INR" // what invoices are in: GST is owed in rupees
	leastMinor   = 100   // what every provider takes, PhonePe's "amount" among them
	mostMinor    = 1_000_000_000
	oneTimeCycle = "ONE_TIME"
)

// edition is one version of a plan. Name, description, tier, trial and whether
// it is sold are those of the plan now.
type edition struct {
	plan

	Retired     bool
	PublishedAt time.Time
	Newest      int32 // version sold now
}

func (e edition) etag() string { return strconv.Quote(strconv.Itoa(int(e.Newest))) }

// sort puts prices and features into the one order that they are compared in.
func (e *edition) sort() {
	slices.SortFunc(e.Prices, func(a, b price) int { return cmp.Compare(a.Cycle, b.Cycle) })
	slices.SortFunc(e.Features, func(a, b feature) int { return cmp.Compare(a.Feature, b.Feature) })
}

// same reports whether nothing that is sold would differ.
func (e edition) same(o edition) bool {
	return e.Name == o.Name && e.Description == o.Description && e.Tier == o.Tier && e.TrialDays == o.TrialDays &&
		e.Featured == o.Featured && e.Retired == o.Retired &&
		slices.EqualFunc(e.Prices, o.Prices, func(a, b price) bool {
			return a.Cycle == b.Cycle && a.Currency == b.Currency && a.AmountMinor == b.AmountMinor &&
				a.TaxMode == b.TaxMode && a.TaxCategory == b.TaxCategory && a.SACCode == b.SACCode
		}) &&
		slices.EqualFunc(e.Features, o.Features, func(a, b feature) bool {
			return a.Feature == b.Feature && a.Kind == b.Kind && a.Period == b.Period &&
				limit{LimitValue: a.LimitValue}.most() == limit{LimitValue: b.LimitValue}.most()
		})
}

// check names every field that cannot be sold so. shapes are the kind and
// period that each feature has had in any plan.
func (e edition) check(shapes map[string]feature) error {
	bad := fail.New(fail.InvalidArgument, "this cannot be sold")
	var found bool
	field := func(path, text string) { bad, found = bad.Field(path, text), true }
	if e.Code == freePlan && e.Retired {
		field("retired", "there must be a plan for who has nothing else")
	}
	if e.Code == freePlan && e.TrialDays > 0 {
		field("trialDays", "what costs nothing has no trial")
	}
	if e.Kind != kindPlan && e.TrialDays > 0 {
		field("trialDays", "only a plan has a trial")
	}
	for i, p := range e.Prices {
		path := fmt.Sprintf("prices[%d]", i)
		if slices.ContainsFunc(e.Prices[:i], func(o price) bool { return o.Cycle == p.Cycle }) {
			field(path+".cycle", "there is a price for this cycle already")
		}
		if e.Kind == kindPlan && p.Cycle == oneTimeCycle {
			field(path+".cycle", "a plan is not bought once")
		}
		if p.Currency != inr {
			field(path+".amount.currencyCode", "must be INR")
		}
		switch {
		case e.Code == freePlan && p.AmountMinor != 0:
			field(path+".amount.amountMinor", "Free costs nothing")
		case e.Code != freePlan && (p.AmountMinor < leastMinor || p.AmountMinor > mostMinor):
			field(path+".amount.amountMinor", fmt.Sprintf("must be %d to %d", leastMinor, mostMinor))
		}
	}
	for i, f := range e.Features {
		path := fmt.Sprintf("features[%d]", i)
		if slices.ContainsFunc(e.Features[:i], func(o feature) bool { return o.Feature == f.Feature }) {
			field(path+".code", "is there already")
		}
		if (f.Kind == metered) != (f.Period != "none") {
			field(path+".period", "a metered feature has one, no other has")
		}
		if was, known := shapes[f.Feature]; known && (was.Kind != f.Kind || was.Period != f.Period) {
			field(path+".kind", "is "+was.Kind+" by "+was.Period+" in other plans; what they give is added up")
		}
	}
	if found {
		return bad
	}
	return nil
}

// publish makes what is sold from now on, as a new version beside the older
// ones. etag, unless empty, must be the newest.
func (s *Service) publish(ctx context.Context, e edition, etag, reason string) (edition, error) {
	e.sort()
	var out edition
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		if err := s.lockCatalogue(ctx, tx); err != nil {
			return err
		}
		was, err := s.editionOf(ctx, tx, e.Code)
		isNew := errors.Is(err, errNone)
		if err != nil && !isNew {
			return err
		}
		if etag != "" && (isNew || etag != was.etag()) {
			return fail.New(fail.PreconditionFailed, "the plan has changed since you read it")
		}
		if !isNew && e.Kind == "" {
			e.Kind = was.Kind
		}
		if e.Kind == "" {
			return badField("kind", "a new plan has one")
		}
		if !isNew && e.Kind != was.Kind {
			return badField("kind", "cannot change")
		}
		if !isNew && e.same(was) {
			out = was
			return nil
		}
		shapes, err := s.featureShapes(ctx, tx)
		if err != nil {
			return err
		}
		if err := e.check(shapes); err != nil {
			return err
		}
		now := s.now()
		e.Version, e.PublishedAt = was.Version+1, now
		e.Newest = e.Version
		for i := range e.Prices {
			e.Prices[i].ID = s.ids.New()
		}
		if err := s.insertEdition(ctx, tx, e, isNew); err != nil {
			return err
		}
		out = e
		return s.outbox.Append(ctx, tx, auditSold(ctx, trail.PlanPublished, "plan", e.Code, reason, now, changesOf(was, e)...))
	})
	if err != nil {
		return edition{}, err
	}
	s.catalog.forget()
	s.outbox.Wake()
	return out, nil
}

// changesOf is what the audit trail says of a new version.
func changesOf(was, is edition) []change {
	list := []change{{"version", was.Version, is.Version}}
	for _, c := range []change{
		{"name", was.Name, is.Name},
		{"tier", was.Tier, is.Tier},
		{"trialDays", was.TrialDays, is.TrialDays},
		{"featured", was.Featured, is.Featured},
		{"retired", was.Retired, is.Retired},
	} {
		if c.before != c.after {
			list = append(list, c)
		}
	}
	prices := func(e edition) map[string]int64 {
		m := map[string]int64{}
		for _, p := range e.Prices {
			m[p.Cycle] = p.AmountMinor
		}
		return m
	}
	features := func(e edition) map[string]int64 {
		m := map[string]int64{}
		for _, f := range e.Features {
			m[f.Feature] = limit{LimitValue: f.LimitValue}.most()
		}
		return m
	}
	return append(list, change{"prices", prices(was), prices(is)}, change{"features", features(was), features(is)})
}

// newCoupon makes a coupon. A code is never used twice: it stands on invoices.
func (s *Service) newCoupon(ctx context.Context, c coupon, reason string) (coupon, error) {
	now := s.now().Truncate(time.Microsecond) // as the table keeps it
	if c.ValidFrom.IsZero() {
		c.ValidFrom = now
	}
	switch {
	case (c.PercentOff == nil) == (c.MinorOff == nil):
		return c, badField("percentOff", "give either a percentage or an amount")
	case c.MinorOff != nil && (*c.MinorOff < 1 || *c.MinorOff > mostMinor):
		return c, badField("amountOff.amountMinor", fmt.Sprintf("must be 1 to %d", mostMinor))
	case c.Currency != inr:
		return c, badField("amountOff.currencyCode", "must be INR")
	case c.ValidUntil != nil && !c.ValidUntil.After(c.ValidFrom):
		return c, badField("validUntil", "must be after the beginning")
	case c.ValidUntil != nil && !c.ValidUntil.After(now):
		return c, badField("validUntil", "is over already")
	}
	for i, code := range c.PlanCodes {
		if _, err := s.catalog.sold(ctx, code); err != nil {
			if fail.Is(err, fail.NotFound) {
				return c, badField(fmt.Sprintf("planCodes[%d]", i), "is not sold")
			}
			return c, err
		}
	}
	c.CreatedAt = now
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		made, err := s.insertCoupon(ctx, tx, c)
		if err != nil {
			return err
		}
		if !made {
			return fail.New(fail.Conflict, "the code %s has been used before", c.Code)
		}
		return s.outbox.Append(ctx, tx, auditSold(ctx, trail.CouponCreated, "coupon", c.Code, reason, now, c.changes()...))
	})
	if err != nil {
		return coupon{}, err
	}
	s.outbox.Wake()
	return c, nil
}

func (c coupon) changes() []change {
	list := []change{{"planCodes", "", c.PlanCodes}, {"cycles", "", c.Cycles}, {"validFrom", "", c.ValidFrom}}
	if c.PercentOff != nil {
		list = append(list, change{"percentOff", "", *c.PercentOff})
	}
	if c.MinorOff != nil {
		list = append(list, change{"minorOff", "", *c.MinorOff})
	}
	if c.ValidUntil != nil {
		list = append(list, change{"validUntil", "", *c.ValidUntil})
	}
	if c.MaxRedemptions != nil {
		list = append(list, change{"maxRedemptions", "", *c.MaxRedemptions})
	}
	return list
}

// endCoupon lets nobody redeem a coupon from now on. Safe to repeat.
func (s *Service) endCoupon(ctx context.Context, code, reason string) (coupon, error) {
	var out coupon
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		now := s.now().Truncate(time.Microsecond)
		c, err := s.coupon(ctx, tx, code)
		if errors.Is(err, errNone) {
			return fail.New(fail.NotFound, "there is no such coupon")
		}
		if err != nil {
			return err
		}
		ended, err := s.closeCoupon(ctx, tx, code, now)
		if err != nil {
			return err
		}
		if out, err = s.coupon(ctx, tx, code); err != nil || !ended {
			return err
		}
		var before any
		if c.ValidUntil != nil {
			before = *c.ValidUntil
		}
		return s.outbox.Append(ctx, tx, auditSold(ctx, trail.CouponEnded, "coupon", code, reason, now, change{"validUntil", before, now}))
	})
	if err != nil {
		return coupon{}, err
	}
	s.outbox.Wake()
	return out, nil
}
