package sandbox

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

var sessionParams = []string{
	"mode", "line_items", "success_url", "cancel_url", "return_url", "ui_mode", "client_reference_id", "customer", "customer_email", "expires_at", "metadata", "payment_intent_data",
	"payment_method_types", "payment_method_options", "locale", "expand", "submit_type", "billing_address_collection", "customer_creation", "currency", "allow_promotion_codes",
	"phone_number_collection", "custom_text", "automatic_tax", "after_expiration", "integration_identifier",
}

const (
	sessionLife    = 24 * time.Hour
	sessionMinLife = 30 * time.Minute
	sessionLines   = 100
	maxQuantity    = 999_999
)

// lines adds up what is sold; only price_data is known here, as there is no catalogue.
func (f stripeForm) lines() (amount int64, currency, name string, err error) {
	for i := range sessionLines {
		at := "line_items[" + strconv.Itoa(i) + "]"
		price := at + "[price_data]"
		if !f.Has(price + "[currency]") {
			if f.Has(at+"[price]") || f.Has(at+"[quantity]") {
				return 0, "", "", badStripe(at+"[price_data]", "parameter_missing", "You must specify price_data: this bank has no prices.")
			}
			break
		}
		unit, err := f.integer(price+"[unit_amount]", -1)
		if err != nil {
			return 0, "", "", err
		}
		quantity, err := f.integer(at+"[quantity]", 0)
		if err != nil {
			return 0, "", "", err
		}
		code := f.Get(price + "[currency]")
		switch {
		case unit < 0 || unit > stripeMaxAmount:
			return 0, "", "", badStripe(price+"[unit_amount]", "parameter_missing", "unit_amount is from 0 to 99999999.")
		case quantity < 1 || quantity > maxQuantity:
			return 0, "", "", badStripe(at+"[quantity]", "parameter_missing", "Quantity is required and at most 999999.")
		case currency != "" && !strings.EqualFold(code, currency):
			return 0, "", "", badStripe(price+"[currency]", "", "All line items have one currency.")
		case stripeCurrency(code) != nil:
			return 0, "", "", stripeCurrency(code)
		case f.Get(price+"[product_data][name]") == "" && f.Get(price+"[product]") == "":
			return 0, "", "", badStripe(price+"[product_data]", "parameter_missing", "You must specify either product or product_data.")
		}
		currency, amount = code, amount+unit*quantity
		if name == "" {
			name = f.Get(price + "[product_data][name]")
		}
	}
	if currency == "" {
		return 0, "", "", badStripe("line_items", "parameter_missing", "Missing required param: line_items.")
	}
	return amount, strings.ToUpper(currency), name, nil
}

func (s *Server) stripeSessionCreate(t *tx, _ *http.Request, f stripeForm) (any, error) {
	amount, currency, name, err := f.lines()
	if err != nil {
		return nil, err
	}
	expires, err := f.integer("expires_at", t.now().Add(sessionLife).Unix())
	if err != nil {
		return nil, err
	}
	metadata, err := f.dict("metadata")
	if err != nil {
		return nil, err
	}
	ofIntent, err := f.dict("payment_intent_data[metadata]")
	if err != nil {
		return nil, err
	}
	cancelURL := f.Get("cancel_url")
	switch {
	case f.Get("mode") != "payment":
		return nil, badStripe("mode", "parameter_missing", "mode is payment: this bank does no others.")
	case f.Has("ui_mode") && !slices.Contains([]string{"hosted", "hosted_page"}, f.Get("ui_mode")):
		return nil, badStripe("ui_mode", "", "ui_mode is hosted_page: this bank does no others.")
	case !linkable(f.Get("success_url")):
		return nil, badStripe("success_url", "url_invalid", "Not a valid URL")
	case cancelURL != "" && !linkable(cancelURL):
		return nil, badStripe("cancel_url", "url_invalid", "Not a valid URL")
	case amount < stripeMinAmount || amount > stripeMaxAmount:
		return nil, badStripe("line_items", "amount_too_small", "The Checkout Session's total amount must be from ₹0.50 to ₹999,999.99.")
	case expires < t.now().Add(sessionMinLife-time.Minute).Unix() || expires > t.now().Add(sessionLife+time.Minute).Unix():
		return nil, badStripe("expires_at", "", "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation and less than 24 hours.")
	}
	id, err := t.word("cs_test_", 58)
	if err != nil {
		return nil, err
	}
	intent, err := t.orderID(stripe)
	if err != nil {
		return nil, err
	}
	secret, err := t.word(intent+"_secret_", 25)
	if err != nil {
		return nil, err
	}
	all := metaOf(metadata)
	if ofIntent["merchantOrderId"] != "" && all["merchantOrderId"] == "" {
		all = ofIntent
	}
	o, err := t.open(order{
		ID: id, Provider: stripe, MerchantOrderID: merchantsName(f.Get("client_reference_id"), all, id), Amount: amount, Currency: currency, MetaInfo: ofIntent, Message: name,
		ReturnURL: f.Get("success_url"), ExpireAt: time.Unix(expires, 0).UTC(), Manual: f.Get("payment_intent_data[capture_method]") == "manual",
		Stripe: &stripeOrder{
			Intent: intent, Session: id, Secret: secret, Reference: f.Get("client_reference_id"), Meta: metadata, Types: f.array("payment_method_types"),
			Email: f.Get("customer_email"), CancelURL: cancelURL,
		},
	})
	if err != nil {
		return nil, err
	}
	return s.stripeSession(o, f), nil
}

func (t *tx) stripeSessionOf(id string) (order, error) {
	o, err := t.order(id)
	if errors.Is(err, errUnknown) || err == nil && (o.Provider != stripe || o.Stripe.Session != id) {
		return order{}, missing("checkout.session", "session", id)
	}
	return o, err
}

func (s *Server) stripeSessionGet(t *tx, r *http.Request, f stripeForm) (any, error) {
	o, err := t.stripeSessionOf(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return s.stripeSession(o.shown(t.now()), f), nil
}

func (s *Server) stripeSessions(t *tx, _ *http.Request, f stripeForm) (any, error) {
	var items []map[string]any
	for _, id := range slices.Backward(t.orderIDs) {
		o := t.orders[id].shown(t.now())
		if o.Provider == stripe && o.Stripe.Session != "" && (!f.Has("payment_intent") || f.Get("payment_intent") == o.Stripe.Intent) && (!f.Has("status") || f.Get("status") == sessionStatus(o)) {
			items = append(items, s.stripeSession(o, f))
		}
	}
	return f.list("/v1/checkout/sessions", items)
}

func (s *Server) stripeSessionExpire(t *tx, r *http.Request, f stripeForm) (any, error) {
	o, err := t.stripeSessionOf(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if status := sessionStatus(o); status != "open" {
		return nil, badStripe("", "", "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of `"+status+"`.")
	}
	own := *o.Stripe
	own.EndedAt = t.now().UTC()
	o.Stripe, o.State, o.ErrorCode, o.Next = &own, stateCancelled, orderExpired, nil
	t.keep(o)
	body := s.stripeSession(o, f)
	return body, s.stripeEmit(t, "checkout.session.expired", body)
}

func sessionStatus(o order) string {
	last, tried := o.last()
	switch {
	case o.State == stateCompleted || o.State == stateAuthorized || tried && last.State == statePending:
		return "complete"
	case o.State == stateCancelled, o.ErrorCode == orderExpired && !tried:
		return "expired"
	}
	return "open"
}

func (s *Server) stripeSession(o order, f stripeForm) map[string]any {
	status, paid := sessionStatus(o), "unpaid"
	if o.State == stateCompleted {
		paid = "paid"
	}
	var page, intent any
	if status == "open" {
		page = s.publicURL + "/checkout/" + o.ID
	}
	if a, tried := o.last(); tried { // there is none before somebody pays
		intent = o.Stripe.Intent
		charge := f.expands("payment_intent.latest_charge")
		if charge || f.expands("payment_intent") {
			whole := s.stripeIntent(o)
			if charge {
				whole["latest_charge"] = s.stripeCharge(o, a)
			}
			intent = whole
		}
	}
	return map[string]any{
		"id": o.ID, "object": "checkout.session", "amount_subtotal": o.Amount, "amount_total": o.Amount, "automatic_tax": map[string]any{"enabled": false, "status": nil},
		"cancel_url": orNull(o.Stripe.CancelURL), "client_reference_id": orNull(o.Stripe.Reference), "client_secret": nil, "created": o.CreatedAt.Unix(), "currency": strings.ToLower(o.currency()),
		"custom_fields": []any{}, "customer": nil, "customer_email": orNull(o.Stripe.Email), "expires_at": o.ExpireAt.Unix(), "livemode": false, "locale": nil, "metadata": metaOf(o.Stripe.Meta),
		"mode": "payment", "payment_intent": intent, "payment_link": nil, "payment_method_types": typesOf(o), "payment_method_collection": "if_required", "payment_status": paid,
		"setup_intent": nil, "shipping_options": []any{}, "status": status, "submit_type": nil, "subscription": nil, "success_url": o.ReturnURL,
		"total_details": map[string]any{"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}, "ui_mode": "hosted_page", "url": page,
	}
}
