package subscription

import (
	"context"
	"encoding/hex"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

func money(currency string, minor int64) *typev1.Money {
	return &typev1.Money{CurrencyCode: currency, AmountMinor: minor}
}

func packPlan(p plan) *subscriptionv1.Plan {
	m := &subscriptionv1.Plan{
		Code: p.Code, Name: p.Name, Description: p.Description, Tier: p.Tier, TrialDays: p.TrialDays,
		Featured: p.Featured, Version: p.Version, Limits: map[string]int64{},
	}
	for _, r := range p.Prices {
		m.Prices = append(m.Prices, packPrice(r))
	}
	for _, f := range p.Features {
		if f.Kind == boolean {
			m.Features = append(m.Features, f.Feature)
			continue
		}
		m.Limits[f.Feature] = limit{LimitValue: f.LimitValue}.most()
	}
	return m
}

func packPrice(r price) *subscriptionv1.Price {
	return &subscriptionv1.Price{
		Id: id.Format("prc", r.ID), Cycle: packCycle(r.Cycle), Amount: money(r.Currency, r.AmountMinor),
		TaxMode: subscriptionv1.Price_TaxMode(subscriptionv1.Price_TaxMode_value[r.TaxMode]),
	}
}

func packCycle(cycle string) subscriptionv1.Price_Cycle {
	return subscriptionv1.Price_Cycle(subscriptionv1.Price_Cycle_value[cycle])
}

func packSubscription(s subscription) *subscriptionv1.Subscription {
	return &subscriptionv1.Subscription{
		Id: id.Format("sub", s.ID), State: subscriptionv1.Subscription_State(subscriptionv1.Subscription_State_value[s.State]),
		PlanCode: s.PlanCode, Cycle: packCycle(s.Cycle), Price: packPrice(s.price()),
		CurrentPeriodStart: stamp(s.CurrentPeriodStart), CurrentPeriodEnd: stamp(s.CurrentPeriodEnd), TrialEnd: stamp(s.TrialEnd),
		CancelAtPeriodEnd: s.CancelAtPeriodEnd, PendingPlanCode: s.PendingPlanCode, AutoRenew: s.AutoRenew,
		TestClockId: s.TestClockID, Etag: s.etag(), CreatedAt: timestamppb.New(s.CreatedAt), PaidUntil: stamp(s.PaidUntil),
		UnpaidUntil: stamp(s.UnpaidUntil), PausedUntil: stamp(s.PausedUntil), CancelledAt: stamp(s.CancelledAt), CancelReason: s.CancelReason,
	}
}

// packCurrent gives what a set is worth now.
func (s *Service) packCurrent(ctx context.Context, userID uuid.UUID, e entitlements) (*subscriptionv1.Entitlements, error) {
	now := s.now()
	if e.Epoch == 0 || e.ended(now) {
		return &subscriptionv1.Entitlements{Plan: noPlan, Epoch: e.Epoch}, nil
	}
	list, err := s.counted(ctx, userID, e, now)
	if err != nil {
		return nil, err
	}
	m := &subscriptionv1.Entitlements{Plan: e.plan(now), Epoch: e.Epoch, EndsAt: stamp(e.EndsAt), Features: e.Features}
	for _, l := range list {
		m.Limits = append(m.Limits, packLimit(l))
	}
	return m, nil
}

func packLimit(l limit) *subscriptionv1.Entitlements_Limit {
	return &subscriptionv1.Entitlements_Limit{
		Feature: l.Feature, Limit: l.most(), Used: l.Used, Remaining: l.remaining(), ResetsAt: stamp(l.ResetsAt),
	}
}

func invoiceName(invoiceID uuid.UUID) string { return id.Format("inv", invoiceID) }

func packInvoice(v invoice) *subscriptionv1.Invoice {
	m := &subscriptionv1.Invoice{
		Id: invoiceName(v.ID), PlaceOfSupply: v.PlaceOfSupply, Hash: hex.EncodeToString(v.Hash),
		Kind:    subscriptionv1.Invoice_Kind(subscriptionv1.Invoice_Kind_value[v.Kind]),
		State:   subscriptionv1.Invoice_State(subscriptionv1.Invoice_State_value[v.State]),
		Taxable: money(v.Currency, v.TaxableMinor), Cgst: money(v.Currency, v.CGSTMinor), Sgst: money(v.Currency, v.SGSTMinor),
		Igst: money(v.Currency, v.IGSTMinor), RoundOff: money(v.Currency, v.RoundOffMinor), Total: money(v.Currency, v.TotalMinor),
		IssuedAt: timestamppb.New(v.IssuedAt),
	}
	if v.Number != nil {
		m.Number = *v.Number
	}
	if v.PaymentID != nil {
		m.PaymentId = id.Format("pay", *v.PaymentID)
	}
	if v.Corrects != nil {
		corrected := invoiceName(*v.Corrects)
		m.CorrectsId = &corrected
	}
	if v.SubscriptionID != nil {
		m.SubscriptionId = id.Format("sub", *v.SubscriptionID)
	}
	if v.PurchaseID != nil {
		pur := id.Format("pur", *v.PurchaseID)
		m.PurchaseId = &pur
	}
	for _, l := range v.Lines {
		m.Lines = append(m.Lines, &subscriptionv1.Invoice_Line{
			Description: l.Description, SacCode: l.SACCode, Amount: money(v.Currency, l.AmountMinor),
		})
	}
	return m
}
