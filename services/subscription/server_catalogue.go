package subscription

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/page"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

type catalogueServer struct {
	subscriptionv1.UnimplementedCatalogueInternalServiceServer
	*Service
}

func (s *catalogueServer) ListEditions(ctx context.Context, r *subscriptionv1.ListEditionsRequest) (*subscriptionv1.ListEditionsResponse, error) {
	if r.GetCode() != "" {
		return s.listVersions(ctx, r)
	}
	var after planCursor
	if r.GetPageToken() != "" {
		if err := s.pages.Open("editions", r.GetPageToken(), &after); err != nil {
			return nil, err
		}
	}
	size := page.Size(r.GetPageSize())
	list, err := s.editions(ctx, after, size+1)
	if err != nil {
		return nil, err
	}
	out := &subscriptionv1.ListEditionsResponse{}
	if out.TotalSize, err = s.countEditions(ctx); err != nil {
		return nil, err
	}
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		out.NextPageToken = s.pages.Seal("editions", planCursor{Tier: last.Tier, Code: last.Code})
	}
	for _, e := range list {
		out.Editions = append(out.Editions, packEdition(e))
	}
	return out, nil
}

func (s *catalogueServer) listVersions(ctx context.Context, r *subscriptionv1.ListEditionsRequest) (*subscriptionv1.ListEditionsResponse, error) {
	var (
		before int32
		query  = "versions " + r.GetCode()
	)
	if r.GetPageToken() != "" {
		if err := s.pages.Open(query, r.GetPageToken(), &before); err != nil {
			return nil, err
		}
	}
	size := page.Size(r.GetPageSize())
	list, err := s.versions(ctx, r.GetCode(), before, size+1)
	if err != nil {
		return nil, err
	}
	out := &subscriptionv1.ListEditionsResponse{}
	if out.TotalSize, err = s.countVersions(ctx, r.GetCode()); err != nil {
		return nil, err
	}
	if out.GetTotalSize() == 0 {
		return nil, fail.New(fail.NotFound, "there is no plan %s", r.GetCode())
	}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal(query, list[size-1].Version)
	}
	for _, e := range list {
		out.Editions = append(out.Editions, packEdition(e))
	}
	return out, nil
}

func (s *catalogueServer) PublishEdition(ctx context.Context, r *subscriptionv1.PublishEditionRequest) (*subscriptionv1.PublishEditionResponse, error) {
	if _, err := signedIn(ctx); err != nil {
		return nil, err
	}
	e, err := unpackEdition(r.GetEdition())
	if err != nil {
		return nil, err
	}
	if e, err = s.publish(ctx, e, r.GetEtag(), r.GetReason()); err != nil {
		return nil, err
	}
	return &subscriptionv1.PublishEditionResponse{Edition: packEdition(e)}, nil
}

func unpackEdition(m *subscriptionv1.Edition) (edition, error) {
	e := edition{
		plan: plan{
			Code: m.GetCode(), Name: strings.TrimSpace(m.GetName()), Description: strings.TrimSpace(m.GetDescription()),
			Tier: m.GetTier(), TrialDays: m.GetTrialDays(), Featured: m.GetFeatured(),
		},
		Retired: m.GetRetired(),
	}
	if m.GetKind() != subscriptionv1.Edition_KIND_UNSPECIFIED {
		e.Kind = strings.ToLower(m.GetKind().String())
	}
	if e.Name == "" {
		return e, badField("name", "must not be blank")
	}
	if e.Description == "" {
		return e, badField("description", "must not be blank")
	}
	for _, p := range m.GetPrices() {
		e.Prices = append(e.Prices, price{
			PlanCode: e.Code, Cycle: p.GetCycle().String(), Currency: p.GetAmount().GetCurrencyCode(), AmountMinor: p.GetAmount().GetAmountMinor(),
			TaxMode: p.GetTaxMode().String(), TaxCategory: strings.ToLower(p.GetTaxCategory().String()), SACCode: p.GetSacCode(),
		})
	}
	for i, f := range m.GetFeatures() {
		row := feature{PlanCode: e.Code, Feature: f.GetCode(), Kind: strings.ToLower(f.GetKind().String()), Period: "none"}
		if f.GetPeriod() != subscriptionv1.Edition_Feature_PERIOD_UNSPECIFIED {
			row.Period = strings.ToLower(f.GetPeriod().String())
		}
		switch {
		case row.Kind == boolean && f.Limit != nil:
			return e, badField(fmt.Sprintf("features[%d].limit", i), "there is nothing to count")
		case row.Kind != boolean && f.Limit == nil:
			return e, badField(fmt.Sprintf("features[%d].limit", i), "must be said of a counted feature; -1 is unlimited")
		case f.Limit != nil && f.GetLimit() >= 0:
			row.LimitValue = f.Limit
		}
		e.Features = append(e.Features, row)
	}
	return e, nil
}

func packEdition(e edition) *subscriptionv1.Edition {
	m := &subscriptionv1.Edition{
		Code: e.Code, Kind: subscriptionv1.Edition_Kind(subscriptionv1.Edition_Kind_value[strings.ToUpper(e.Kind)]), Name: e.Name,
		Description: e.Description, Tier: e.Tier, TrialDays: e.TrialDays, Featured: e.Featured, Retired: e.Retired,
		Version: e.Version, PublishedAt: timestamppb.New(e.PublishedAt), Etag: e.etag(),
	}
	for _, p := range e.Prices {
		m.Prices = append(m.Prices, &subscriptionv1.Edition_Price{
			Cycle: subscriptionv1.Price_Cycle(subscriptionv1.Price_Cycle_value[p.Cycle]), Amount: money(p.Currency, p.AmountMinor),
			TaxMode:     subscriptionv1.Price_TaxMode(subscriptionv1.Price_TaxMode_value[p.TaxMode]),
			TaxCategory: subscriptionv1.Edition_Price_TaxCategory(subscriptionv1.Edition_Price_TaxCategory_value[strings.ToUpper(p.TaxCategory)]),
			SacCode:     p.SACCode,
		})
	}
	for _, f := range e.Features {
		row := &subscriptionv1.Edition_Feature{
			Code: f.Feature, Kind: subscriptionv1.Edition_Feature_Kind(subscriptionv1.Edition_Feature_Kind_value[strings.ToUpper(f.Kind)]),
			Period: subscriptionv1.Edition_Feature_Period(subscriptionv1.Edition_Feature_Period_value[strings.ToUpper(f.Period)]),
		}
		if f.Kind != boolean {
			most := limit{LimitValue: f.LimitValue}.most()
			row.Limit = &most
		}
		m.Features = append(m.Features, row)
	}
	return m
}

func (s *catalogueServer) ListCoupons(ctx context.Context, r *subscriptionv1.ListCouponsRequest) (*subscriptionv1.ListCouponsResponse, error) {
	var after string
	if r.GetPageToken() != "" {
		if err := s.pages.Open("coupons", r.GetPageToken(), &after); err != nil {
			return nil, err
		}
	}
	size := page.Size(r.GetPageSize())
	list, err := s.coupons(ctx, after, size+1)
	if err != nil {
		return nil, err
	}
	out := &subscriptionv1.ListCouponsResponse{}
	if out.TotalSize, err = s.countCoupons(ctx); err != nil {
		return nil, err
	}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal("coupons", list[size-1].Code)
	}
	for _, c := range list {
		out.Coupons = append(out.Coupons, packCoupon(c))
	}
	return out, nil
}

func (s *catalogueServer) CreateCoupon(ctx context.Context, r *subscriptionv1.CreateCouponRequest) (*subscriptionv1.CreateCouponResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	m := r.GetCoupon()
	c := coupon{Code: couponCode(m.GetCode()), Currency: inr, PlanCodes: m.GetPlanCodes(), Cycles: []string{}, CreatedBy: &caller.UserID}
	if c.PlanCodes == nil {
		c.PlanCodes = []string{}
	}
	for _, cycle := range m.GetCycles() {
		c.Cycles = append(c.Cycles, cycle.String())
	}
	if m.PercentOff != nil {
		percent := int(m.GetPercentOff())
		c.PercentOff = &percent
	}
	if m.GetAmountOff() != nil {
		c.MinorOff, c.Currency = &m.GetAmountOff().AmountMinor, m.GetAmountOff().GetCurrencyCode()
	}
	if m.MaxRedemptions != nil {
		most := int(m.GetMaxRedemptions())
		c.MaxRedemptions = &most
	}
	if t := m.GetValidFrom(); t != nil {
		c.ValidFrom = t.AsTime()
	}
	if t := m.GetValidUntil(); t != nil {
		until := t.AsTime()
		c.ValidUntil = &until
	}
	if c, err = s.newCoupon(ctx, c, r.GetReason()); err != nil {
		return nil, err
	}
	return &subscriptionv1.CreateCouponResponse{Coupon: packCoupon(c)}, nil
}

func (s *catalogueServer) EndCoupon(ctx context.Context, r *subscriptionv1.EndCouponRequest) (*subscriptionv1.EndCouponResponse, error) {
	if _, err := signedIn(ctx); err != nil {
		return nil, err
	}
	c, err := s.endCoupon(ctx, couponCode(r.GetCode()), r.GetReason())
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.EndCouponResponse{Coupon: packCoupon(c)}, nil
}

func packCoupon(c coupon) *subscriptionv1.Coupon {
	m := &subscriptionv1.Coupon{
		Code: c.Code, PlanCodes: c.PlanCodes, ValidFrom: timestamppb.New(c.ValidFrom), ValidUntil: stamp(c.ValidUntil),
		Redeemed: int32(c.Redeemed), CreatedAt: timestamppb.New(c.CreatedAt), //nolint:gosec // at most as many as there are orders, an int in the table
	}
	if c.PercentOff != nil {
		percent := int32(*c.PercentOff) //nolint:gosec // 1 to 100
		m.PercentOff = &percent
	}
	if c.MinorOff != nil {
		m.AmountOff = money(c.Currency, *c.MinorOff)
	}
	if c.MaxRedemptions != nil {
		most := int32(*c.MaxRedemptions) //nolint:gosec // an int in the table
		m.MaxRedemptions = &most
	}
	for _, cycle := range c.Cycles {
		m.Cycles = append(m.Cycles, subscriptionv1.Price_Cycle(subscriptionv1.Price_Cycle_value[cycle]))
	}
	return m
}
