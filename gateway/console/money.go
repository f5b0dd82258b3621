package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

func (c *Console) moneyPages() map[string]page {
	pages := map[string]page{
		"GET payments":              {show: func(x *exchange) error { return x.payments(http.StatusOK, nil) }},
		"POST payments/{id}/refund": {show: (*exchange).refund},
		"GET subscriptions":         {show: func(x *exchange) error { return x.subscriptions(http.StatusOK, nil) }},
		"GET approvals":             {show: func(x *exchange) error { return x.approvals(http.StatusOK, nil) }},
		"GET plans":                 {show: (*exchange).plans},
		"GET plans/{code}":          {show: func(x *exchange) error { return x.plan(http.StatusOK, nil) }},
		"POST plans/{code}":         {show: (*exchange).putPlan},
	}
	for _, act := range []string{"pause", "resume", "cancel"} {
		pages["POST subscriptions/{id}/"+act] = page{show: func(x *exchange) error { return x.subscriptionAct(act) }}
	}
	for _, act := range []string{"approve", "reject"} {
		pages["POST approvals/{id}/"+act] = page{show: func(x *exchange) error { return x.decide(act) }}
	}
	return pages
}

type paymentsView struct {
	List    *adminv1.ListPaymentsResponse
	Filters filters
	Pager   pager
	Key     string // of a refund's form
	Open    string // the payment whose form is shown again
}

func (x *exchange) payments(status int, p *Problem) error {
	names := []string{"state", "userId", "provider", "needsReview"}
	list, err := load(x, "/admin/payments", x.query(names...), &adminv1.ListPaymentsResponse{})
	if err != nil {
		return err
	}
	if !list.ok() {
		return list.Err
	}
	v := paymentsView{List: list.Value, Filters: x.filters(names...), Pager: x.pager(list.Value.GetNextPageToken())}
	if p != nil {
		v.Open = x.r.PathValue("id")
	}
	if v.Key, err = x.key(); err != nil {
		return err
	}
	x.draw(status, "Payments", "payments", paymentsPage(v, p))
	return nil
}

// refund sends the key that the form was drawn with: a form that is sent twice
// gives the money back once.
func (x *exchange) refund() error {
	body := map[string]any{"reason": x.r.PostFormValue("reason")}
	if text := strings.TrimSpace(x.r.PostFormValue("amount")); text != "" {
		minor, ok := parseAmount(text)
		if !ok {
			return x.payments(http.StatusBadRequest, &Problem{
				Status: http.StatusBadRequest, Code: "INVALID_ARGUMENT", Title: "Invalid argument", Detail: "the amount must be like 1499 or 1499.00",
			})
		}
		body["amount"] = map[string]string{"currencyCode": x.r.PostFormValue("currency"), "amountMinor": strconv.FormatInt(minor, 10)}
	}
	m, err := x.call(call{
		method: http.MethodPost, path: "/admin/payments" + at(x.r.PathValue("id")) + "/refund", body: body,
		header: map[string]string{"Idempotency-Key": x.r.PostFormValue("key")},
	})
	if err != nil {
		return refused(err, x.payments)
	}
	return x.back(Root+"payments", done(m, "refund"))
}

// parseAmount reads rupees and paise, exactly.
func parseAmount(text string) (minor int64, ok bool) {
	whole, part, dotted := strings.Cut(strings.ReplaceAll(text, ",", ""), ".")
	if dotted && (part == "" || len(part) > 2) {
		return 0, false
	}
	for len(part) < 2 {
		part += "0"
	}
	if whole == "" || len(whole) > 12 || strings.Trim(whole+part, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(whole+part, 10, 64)
	return n, err == nil
}

func (x *exchange) subscriptions(status int, p *Problem) error {
	names := []string{"search", "userId", "state", "plan", "cycle"}
	list, err := load(x, "/admin/subscriptions", x.query(names...), &adminv1.ListSubscriptionsResponse{})
	if err != nil {
		return err
	}
	if !list.ok() {
		return list.Err
	}
	x.draw(status, "Subscriptions", "subscriptions", subscriptionsPage(list.Value, x.filters(names...), x.pager(list.Value.GetNextPageToken()), p))
	return nil
}

// subscriptionAct acts on the subscription that was looked at: what has changed
// since answers FAILED_PRECONDITION.
func (x *exchange) subscriptionAct(act string) error {
	body := map[string]any{"reason": x.r.PostFormValue("reason")}
	if act == "cancel" {
		body["atPeriodEnd"] = x.r.PostFormValue("when") != "now"
	}
	in := call{method: http.MethodPost, path: "/admin/subscriptions" + at(x.r.PathValue("id")) + "/" + act, body: body}
	if tag := x.r.PostFormValue("etag"); tag != "" {
		in.header = map[string]string{"If-Match": quoteTag(tag)}
	}
	if _, err := x.call(in); err != nil {
		return refused(err, x.subscriptions)
	}
	return x.back(Root+"subscriptions", "subscription-"+act)
}

func quoteTag(tag string) string {
	if strings.HasPrefix(tag, `"`) {
		return tag
	}
	return `"` + tag + `"`
}

func (x *exchange) approvals(status int, p *Problem) error {
	list, err := load(x, "/admin/approvals", x.query(), &adminv1.ListApprovalsResponse{})
	if err != nil {
		return err
	}
	if !list.ok() {
		return list.Err
	}
	x.draw(status, "Approvals", "approvals", approvalsPage(list.Value, x.s.claims.Subject, x.pager(list.Value.GetNextPageToken()), p))
	return nil
}

func (x *exchange) decide(act string) error {
	if _, err := x.post("/admin/approvals"+at(x.r.PathValue("id"))+"/"+act, map[string]string{"reason": x.r.PostFormValue("reason")}); err != nil {
		return refused(err, x.approvals)
	}
	return x.back(Root+"approvals", act)
}

func (x *exchange) plans() error {
	list, err := load(x, "/admin/plans", x.query(), &adminv1.ListPlansResponse{})
	if err != nil {
		return err
	}
	if !list.ok() {
		return list.Err
	}
	x.draw(http.StatusOK, "Plans and prices", "plans", plansPage(list.Value, x.pager(list.Value.GetNextPageToken())))
	return nil
}

type planView struct {
	Latest   *subscriptionv1.Edition
	Versions []*subscriptionv1.Edition
	MayWrite bool
	Whole    string // of the plan as JSON, to be sent back changed
	Pager    pager
}

func (x *exchange) plan(status int, p *Problem) error {
	versions := &adminv1.ListPlanVersionsResponse{}
	if err := x.get("/admin/plans"+at(x.r.PathValue("code"))+"/versions", x.query(), versions); err != nil {
		return err
	}
	list := versions.GetVersions()
	if len(list) == 0 {
		return &Problem{Status: http.StatusNotFound, Code: "NOT_FOUND", Title: "Not found", Detail: "there is no such plan"}
	}
	v := planView{Latest: list[0], Versions: list, MayWrite: x.s.may("pricing.manage"), Pager: x.pager(versions.GetNextPageToken())}
	x.draw(status, v.Latest.GetName(), "plans", planPage(v, p))
	return nil
}

// putPlan sends the newest version with the amounts and words of the form: a
// new version, which nobody has who bought before.
func (x *exchange) putPlan() error {
	code := x.r.PathValue("code")
	versions := &adminv1.ListPlanVersionsResponse{}
	if err := x.get("/admin/plans"+at(code)+"/versions", url.Values{"pageSize": {"1"}}, versions); err != nil {
		return err
	}
	if len(versions.GetVersions()) == 0 {
		return &Problem{Status: http.StatusNotFound, Code: "NOT_FOUND", Title: "Not found", Detail: "there is no such plan"}
	}
	latest := versions.GetVersions()[0]
	in := &adminv1.PutPlanRequest{
		Kind: latest.GetKind(), Name: x.r.PostFormValue("name"), Description: x.r.PostFormValue("description"), Tier: latest.GetTier(),
		TrialDays: latest.GetTrialDays(), Featured: latest.GetFeatured(), Retired: x.r.PostFormValue("retired") == "1",
		Prices: latest.GetPrices(), Features: latest.GetFeatures(), Reason: x.r.PostFormValue("reason"),
	}
	for _, price := range in.GetPrices() {
		minor, ok := parseAmount(x.r.PostFormValue("price-" + price.GetCycle().String()))
		if !ok {
			return x.plan(http.StatusBadRequest, &Problem{
				Status: http.StatusBadRequest, Code: "INVALID_ARGUMENT", Title: "Invalid argument", Detail: "an amount must be like 1499 or 1499.00",
			})
		}
		price.Amount = &typev1.Money{CurrencyCode: price.GetAmount().GetCurrencyCode(), AmountMinor: minor}
	}
	body, err := protojson.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode the plan: %w", err)
	}
	if _, err := x.call(call{
		method: http.MethodPut, path: "/admin/plans" + at(code), body: json.RawMessage(body),
		header: map[string]string{"If-Match": quoteTag(x.r.PostFormValue("etag"))},
	}); err != nil {
		return refused(err, x.plan)
	}
	return x.back(Root+"plans"+at(code), "plan")
}

// refundable reports whether money of a payment can still go back.
func refundable(p *adminv1.AdminPayment) bool {
	switch p.GetState() {
	case paymentv1.Payment_SUCCEEDED, paymentv1.Payment_PARTIALLY_REFUNDED:
		return p.GetRefundedAmount().GetAmountMinor() < p.GetAmount().GetAmountMinor()
	default:
		return false
	}
}

func cancellable(s subscriptionv1.Subscription_State) bool {
	switch s {
	case subscriptionv1.Subscription_CANCELLED, subscriptionv1.Subscription_EXPIRED, subscriptionv1.Subscription_PENDING:
		return false
	default:
		return true
	}
}

func limitOf(f *subscriptionv1.Edition_Feature) string {
	if f.GetLimit() < 0 {
		return "no limit"
	}
	text := count(f.GetLimit())
	if f.GetPeriod() != subscriptionv1.Edition_Feature_PERIOD_UNSPECIFIED {
		text += " a " + strings.ToLower(f.GetPeriod().String())
	}
	return text
}
