package subscription

import (
	"context"
	"time"
)

const lockCatalogue = `SELECT pg_advisory_xact_lock(hashtextextended('subscription.catalogue', 0))`

// lockCatalogue makes edits of what is sold wait for each other.
func (s *Service) lockCatalogue(ctx context.Context, tx txn) error {
	_, err := exec(ctx, tx, "lock the catalogue", lockCatalogue, args{})
	return err
}

const editionRows = `
SELECT p.code, p.kind, p.name, p.description, p.tier, p.trial_days, p.featured, v.version, p.retired, v.published_at, p.version AS newest
  FROM subscription.plan AS p
  JOIN subscription.plan_version AS v ON v.plan_code = p.code`

const selectEdition = editionRows + ` AND v.version = p.version
 WHERE p.code = @code`

// editionOf reads what is sold under a code now; errNone when nothing ever was.
func (s *Service) editionOf(ctx context.Context, q querier, code string) (edition, error) {
	e, err := one[edition](ctx, q, selectEdition, args{"code": code})
	if err != nil {
		return e, err
	}
	list := []edition{e}
	err = s.fillEditions(ctx, q, list)
	return list[0], err
}

const selectEditions = editionRows + ` AND v.version = p.version
 WHERE (p.tier, p.code) > (@tier, @code)
 ORDER BY p.tier, p.code
 LIMIT @size`

// editions reads a page of what is sold now, and of what no longer is.
func (s *Service) editions(ctx context.Context, after planCursor, size int) ([]edition, error) {
	list, err := many[edition](ctx, s.db.Pool, selectEditions, args{"tier": after.Tier, "code": after.Code, "size": size})
	if err != nil {
		return nil, err
	}
	return list, s.fillEditions(ctx, s.db.Pool, list)
}

const selectVersions = editionRows + `
 WHERE p.code = @code AND (@before::int = 0 OR v.version < @before)
 ORDER BY v.version DESC
 LIMIT @size`

// versions reads a page of one plan's versions, newest first.
func (s *Service) versions(ctx context.Context, code string, before int32, size int) ([]edition, error) {
	list, err := many[edition](ctx, s.db.Pool, selectVersions, args{"code": code, "before": before, "size": size})
	if err != nil {
		return nil, err
	}
	return list, s.fillEditions(ctx, s.db.Pool, list)
}

const countEditions = `SELECT count(*) FROM subscription.plan`

func (s *Service) countEditions(ctx context.Context) (int32, error) {
	return scalar[int32](ctx, s.db.Pool, countEditions, args{})
}

const countVersions = `SELECT count(*) FROM subscription.plan_version WHERE plan_code = @code`

func (s *Service) countVersions(ctx context.Context, code string) (int32, error) {
	return scalar[int32](ctx, s.db.Pool, countVersions, args{"code": code})
}

const selectEditionPrices = `
SELECT r.id, r.plan_code, r.version, r.cycle, r.currency, r.amount_minor, r.tax_mode, r.tax_category, r.sac_code
  FROM subscription.price AS r
  JOIN unnest(@codes::text[], @versions::int[]) AS k (code, version) ON r.plan_code = k.code AND r.version = k.version
 ORDER BY r.cycle`

const selectEditionFeatures = `
SELECT f.plan_code, f.version, f.feature, f.kind, f.limit_value, f.period
  FROM subscription.plan_feature AS f
  JOIN unnest(@codes::text[], @versions::int[]) AS k (code, version) ON f.plan_code = k.code AND f.version = k.version
 ORDER BY f.feature`

// fillEditions reads the prices and features of versions.
func (s *Service) fillEditions(ctx context.Context, q querier, list []edition) error {
	type key struct {
		code    string
		version int32
	}
	type pricedRow struct {
		price

		Version int32
	}
	type featureRow struct {
		feature

		Version int32
	}
	at := make(map[key]*edition, len(list))
	codes, versions := make([]string, 0, len(list)), make([]int32, 0, len(list))
	for i := range list {
		at[key{list[i].Code, list[i].Version}] = &list[i]
		codes, versions = append(codes, list[i].Code), append(versions, list[i].Version)
	}
	which := args{"codes": codes, "versions": versions}
	prices, err := many[pricedRow](ctx, q, selectEditionPrices, which)
	if err != nil {
		return err
	}
	features, err := many[featureRow](ctx, q, selectEditionFeatures, which)
	if err != nil {
		return err
	}
	for _, r := range prices {
		e := at[key{r.PlanCode, r.Version}]
		e.Prices = append(e.Prices, r.price)
	}
	for _, r := range features {
		e := at[key{r.PlanCode, r.Version}]
		e.Features = append(e.Features, r.feature)
	}
	for i := range list {
		list[i].sort()
	}
	return nil
}

const selectShapes = `
SELECT DISTINCT ON (feature) plan_code, feature, kind, limit_value, period
  FROM subscription.plan_feature
 ORDER BY feature`

// featureShapes gives the kind and period of every feature that was ever sold.
func (s *Service) featureShapes(ctx context.Context, tx txn) (map[string]feature, error) {
	list, err := many[feature](ctx, tx, selectShapes, args{})
	if err != nil {
		return nil, err
	}
	shapes := make(map[string]feature, len(list))
	for _, f := range list {
		shapes[f.Feature] = f
	}
	return shapes, nil
}

const insertPlan = `
INSERT INTO subscription.plan (code, kind, name, description, tier, trial_days, featured, version, retired)
VALUES (@code, @kind, @name, @description, @tier, @trial_days, @featured, @version, @retired)`

const updatePlan = `
UPDATE subscription.plan
   SET name = @name, description = @description, tier = @tier, trial_days = @trial_days, featured = @featured,
       version = @version, retired = @retired
 WHERE code = @code AND kind = @kind`

const insertVersion = `
INSERT INTO subscription.plan_version (plan_code, version, published_at)
VALUES (@code, @version, @now)`

const insertPrice = `
INSERT INTO subscription.price (id, plan_code, version, cycle, currency, amount_minor, tax_mode, tax_category, sac_code)
VALUES (@id, @code, @version, @cycle, @currency, @amount_minor, @tax_mode, @tax_category, @sac_code)`

const insertFeature = `
INSERT INTO subscription.plan_feature (plan_code, version, feature, kind, limit_value, period)
VALUES (@code, @version, @feature, @kind, @limit_value, @period)`

// insertEdition writes a version and makes it the one that is sold.
func (s *Service) insertEdition(ctx context.Context, tx txn, e edition, isNew bool) error {
	what, sql := "update plan", updatePlan
	if isNew {
		what, sql = "insert plan", insertPlan
	}
	n, err := exec(ctx, tx, what, sql, args{
		"code": e.Code, "kind": e.Kind, "name": e.Name, "description": e.Description, "tier": e.Tier, "trial_days": e.TrialDays,
		"featured": e.Featured, "version": e.Version, "retired": e.Retired,
	})
	if err := exactly(1, n, what, err); err != nil {
		return err
	}
	if _, err := exec(ctx, tx, "insert version", insertVersion, args{"code": e.Code, "version": e.Version, "now": e.PublishedAt}); err != nil {
		return err
	}
	for _, p := range e.Prices {
		if _, err := exec(ctx, tx, "insert price", insertPrice, args{
			"id": p.ID, "code": e.Code, "version": e.Version, "cycle": p.Cycle, "currency": p.Currency, "amount_minor": p.AmountMinor,
			"tax_mode": p.TaxMode, "tax_category": p.TaxCategory, "sac_code": p.SACCode,
		}); err != nil {
			return err
		}
	}
	for _, f := range e.Features {
		if _, err := exec(ctx, tx, "insert feature", insertFeature, args{
			"code": e.Code, "version": e.Version, "feature": f.Feature, "kind": f.Kind, "limit_value": f.LimitValue, "period": f.Period,
		}); err != nil {
			return err
		}
	}
	return nil
}

const selectCoupons = couponRows + `
 WHERE code > @after
 ORDER BY code
 LIMIT @size`

// coupons reads a page by code.
func (s *Service) coupons(ctx context.Context, after string, size int) ([]coupon, error) {
	return many[coupon](ctx, s.db.Pool, selectCoupons, args{"after": after, "size": size})
}

const countCoupons = `SELECT count(*) FROM subscription.coupon`

func (s *Service) countCoupons(ctx context.Context) (int32, error) {
	return scalar[int32](ctx, s.db.Pool, countCoupons, args{})
}

const insertCoupon = `
INSERT INTO subscription.coupon
       (code, percent_off, minor_off, currency, plan_codes, cycles, valid_from, valid_until, max_redemptions, created_by, created_at)
VALUES (@code, @percent_off, @minor_off, @currency, @plan_codes, @cycles, @valid_from, @valid_until, @max_redemptions, @created_by, @now)
    ON CONFLICT (code) DO NOTHING`

// insertCoupon reports whether the code was free.
func (s *Service) insertCoupon(ctx context.Context, tx txn, c coupon) (bool, error) {
	n, err := exec(ctx, tx, "insert coupon", insertCoupon, args{
		"code": c.Code, "percent_off": c.PercentOff, "minor_off": c.MinorOff, "currency": c.Currency, "plan_codes": c.PlanCodes, "cycles": c.Cycles,
		"valid_from": c.ValidFrom, "valid_until": c.ValidUntil, "max_redemptions": c.MaxRedemptions, "created_by": c.CreatedBy, "now": c.CreatedAt,
	})
	return n == 1, err
}

// A coupon that was still to begin never does.
const closeCoupon = `
UPDATE subscription.coupon
   SET valid_from = least(valid_from, @now::timestamptz - interval '1 microsecond'), valid_until = @now
 WHERE code = @code AND (valid_until IS NULL OR valid_until > @now)`

// closeCoupon reports whether it was open.
func (s *Service) closeCoupon(ctx context.Context, tx txn, code string, now time.Time) (bool, error) {
	n, err := exec(ctx, tx, "close coupon", closeCoupon, args{"code": code, "now": now})
	return n == 1, err
}
