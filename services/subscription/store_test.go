package subscription

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/pgtest"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// queries holds every constant of store*.go.
var queries = map[string]string{
	"addUse": addUse, "arriveClock": arriveClock, "chargeRows": chargeRows, "claimDue": claimDue, "clockRows": clockRows,
	"closeCharge": closeCharge, "closeCoupon": closeCoupon, "countCoupon": countCoupon, "countCoupons": countCoupons,
	"countEditions": countEditions, "countGrants": countGrants, "countHistory": countHistory, "countInvoices": countInvoices,
	"countOverrides": countOverrides, "countUse": countUse, "countVersions": countVersions, "couponRows": couponRows,
	"couponUsed": couponUsed, "deleteMarks": deleteMarks, "deleteSettled": deleteSettled, "editionRows": editionRows,
	"expireHeld": expireHeld, "expireOverdue": expireOverdue, "expirePurchase": expirePurchase, "finalizeInvoice": finalizeInvoice,
	"grantRows": grantRows, "insertCharge": insertCharge, "insertClock": insertClock, "insertCoupon": insertCoupon,
	"insertEvent": insertEvent, "insertFeature": insertFeature, "insertGrant": insertGrant, "insertInvoice": insertInvoice,
	"insertPeriod": insertPeriod, "insertPlan": insertPlan, "insertPrice": insertPrice, "insertPurchase": insertPurchase,
	"insertRedemption": insertRedemption, "insertReservation": insertReservation, "insertSubscription": insertSubscription,
	"insertTrial": insertTrial, "insertVersion": insertVersion, "invoiceRows": invoiceRows, "invoiced": invoiced,
	"lockCatalogue": lockCatalogue, "lockCounter": lockCounter, "lockPayer": lockPayer, "lockReservation": lockReservation,
	"lockUser": lockUser, "markHolds": markHolds, "markMembers": markMembers, "markUser": markUser, "moveClock": moveClock,
	"nextNumber": nextNumber, "notePayment": notePayment, "payPurchase": payPurchase, "postpone": postpone,
	"postponePurchase": postponePurchase, "purchaseRows": purchaseRows, "putEntitlements": putEntitlements, "putMember": putMember,
	"raiseUses": raiseUses, "releaseCoupon": releaseCoupon, "revokeGrant": revokeGrant, "selectBilling": selectBilling,
	"selectCharge": selectCharge, "selectClock": selectClock, "selectClockDue": selectClockDue, "selectClocks": selectClocks,
	"selectCoupon": selectCoupon, "selectCoupons": selectCoupons, "selectCredited": selectCredited, "selectDraft": selectDraft,
	"selectDuePurchases": selectDuePurchases, "selectEdition": selectEdition, "selectEditionFeatures": selectEditionFeatures,
	"selectEditionPrices": selectEditionPrices, "selectEditions": selectEditions, "selectEntitlements": selectEntitlements,
	"selectFeatures": selectFeatures, "selectFigures": selectFigures, "selectFound": selectFound,
	"selectGrants": selectGrants, "selectHistory": selectHistory, "selectInvoice": selectInvoice,
	"selectInvoiceByID": selectInvoiceByID, "selectInvoiceOfPayment": selectInvoiceOfPayment, "selectInvoices": selectInvoices,
	"selectLastCharge": selectLastCharge, "selectLive": selectLive, "selectMarks": selectMarks, "selectMoving": selectMoving,
	"selectNextPeriod": selectNextPeriod, "selectOffer": selectOffer, "selectOffered": selectOffered,
	"selectOpenPurchase": selectOpenPurchase, "selectOverride": selectOverride, "selectOverrides": selectOverrides,
	"selectPaidPeriods": selectPaidPeriods, "selectPending": selectPending, "selectPersonalData": selectPersonalData,
	"selectPlanLimits": selectPlanLimits, "selectPlans": selectPlans, "selectPrices": selectPrices, "selectPurchase": selectPurchase,
	"selectPurchases": selectPurchases, "selectRecorded": selectRecorded, "selectRefolds": selectRefolds,
	"selectReservation": selectReservation, "selectShapes": selectShapes, "selectSubscription": selectSubscription,
	"selectUses": selectUses, "selectVersions": selectVersions, "sendClock": sendClock, "settleDue": settleDue,
	"settleReservation": settleReservation, "shiftPeriods": shiftPeriods, "subscriptionRows": subscriptionRows, "sumHeld": sumHeld,
	"updatePlan": updatePlan, "updateSubscription": updateSubscription, "upsertBilling": upsertBilling, "voidDrafts": voidDrafts,
}

func TestQueriesPrepare(t *testing.T) {
	db := pgtest.New(t, schema, migrations.For(schema))
	conn, err := db.Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for name, sql := range queries {
		numbered, _, err := pgx.NamedArgs{}.RewriteQuery(t.Context(), conn.Conn(), sql, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := conn.Conn().Prepare(t.Context(), name, numbered); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(constants(t), slices.Sorted(maps.Keys(queries))); diff != "" {
		t.Errorf("constants of store*.go that are not prepared here (-in files +here):\n%s", diff)
	}
}

// constants names the constants of store*.go.
func constants(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("store*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok {
					names = append(names, v.Names[0].Name)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

func TestSeed(t *testing.T) {
	s := newStand(t)
	plans, err := s.catalog.all(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range plans {
		for _, r := range p.Prices {
			got = append(got, strings.Join([]string{p.Kind, p.Code, r.Cycle, cmpInt(r.AmountMinor), r.TaxMode, r.SACCode}, " "))
		}
		if len(p.Features) == 0 && p.Code != "track_single" {
			t.Errorf("plan %s has no features", p.Code)
		}
		if p.Featured != (p.Code == "premium") {
			t.Errorf("plan %s: featured = %t", p.Code, p.Featured)
		}
	}
	want := []string{
		"plan free MONTHLY 0 INCLUSIVE 999312", "plan free YEARLY 0 INCLUSIVE 999312",
		"product track_single ONE_TIME 3000 INCLUSIVE 999312",
		"plan basic MONTHLY 49900 INCLUSIVE 999312", "plan basic YEARLY 499000 INCLUSIVE 999312",
		"product lifetime LIFETIME 999900 INCLUSIVE 999312",
		"plan premium MONTHLY 149900 INCLUSIVE 999312", "plan premium YEARLY 1499000 INCLUSIVE 999312",
		"product premium_monthly MONTHLY 29900 INCLUSIVE 999312", "product premium_yearly YEARLY 299900 INCLUSIVE 999312",
		"plan enterprise MONTHLY 499900 INCLUSIVE 999312", "plan enterprise YEARLY 4999000 INCLUSIVE 999312",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("prices (-want +got):\n%s", diff)
	}
	// A higher tier has all that a lower one has, and limits no smaller.
	has := func(p plan, code string) *feature {
		i := slices.IndexFunc(p.Features, func(f feature) bool { return f.Feature == code })
		if i < 0 {
			return nil
		}
		return &p.Features[i]
	}
	for i, low := range plans {
		for _, high := range plans[i+1:] {
			for _, f := range low.Features {
				up := has(high, f.Feature)
				if high.Code == "track_single" {
					continue
				}
				if up == nil || (up.LimitValue != nil && (f.LimitValue == nil || *up.LimitValue < *f.LimitValue) && f.Kind != boolean) {
					t.Errorf("%s has less of %s than %s", high.Code, f.Feature, low.Code)
				}
			}
		}
	}
}

func TestCatalogueIsImmutable(t *testing.T) {
	s := newStand(t)
	for _, sql := range []string{
		`UPDATE subscription.price SET amount_minor = 1`,
		`DELETE FROM subscription.plan_feature`,
		`UPDATE subscription.plan_version SET published_at = published_at`,
	} {
		if _, err := s.db.Pool.Exec(context.WithoutCancel(t.Context()), sql); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: error = %v", sql, err)
		}
	}
}

func TestMigrationsGoDownAndUpAgain(t *testing.T) {
	s := newStand(t)
	s.buy(t, s.member(t), "basic", subscriptionv1.Price_MONTHLY) // rows that hold on to the catalogue
	url := s.db.Pool.Config().ConnString()
	if err := migrations.Down(t.Context(), schema, url); err != nil {
		t.Fatalf("down: %v", err)
	}
	if _, err := migrations.Up(t.Context(), schema, url); err != nil {
		t.Fatalf("up again: %v", err)
	}
}
