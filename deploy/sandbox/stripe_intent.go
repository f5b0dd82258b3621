package sandbox

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

var intentParams = []string{
	"amount", "automatic_payment_methods", "capture_method", "client_secret", "confirm", "confirmation_method", "currency", "customer", "description", "error_on_requires_action",
	"expand", "mandate_data", "metadata", "off_session", "payment_method", "payment_method_data", "payment_method_options", "payment_method_types", "receipt_email", "return_url",
	"setup_future_usage", "shipping", "statement_descriptor", "statement_descriptor_suffix", "transfer_group", "use_stripe_sdk",
}

// The test methods that pay at once, those that are declined, and what the bank says. All others go by the page.
var (
	stripePays     = []string{"pm_card_visa", "pm_card_mastercard", "pm_card_rupay", "pm_card_in"}
	stripeDeclines = map[string]string{
		"pm_card_visa_chargeDeclined": "generic_decline", "pm_card_chargeDeclined": "generic_decline",
		"pm_card_visa_chargeDeclinedInsufficientFunds": "insufficient_funds", "pm_card_chargeDeclinedInsufficientFunds": "insufficient_funds",
	}
)

// merchantsName is our caller's name of an order, from where merchants carry it.
func merchantsName(reference string, metadata map[string]string, id string) string {
	for _, name := range []string{reference, metadata["merchantOrderId"], metadata["merchant_order_id"], metadata["order_id"], metadata["orderId"], id} {
		if name != "" {
			return name
		}
	}
	return id
}

func stripeCurrency(code string) error {
	if len(code) != 3 || strings.Trim(strings.ToLower(code), "abcdefghijklmnopqrstuvwxyz") != "" {
		return badStripe("currency", "", "Invalid currency: "+code)
	}
	return nil
}

func (s *Server) stripeIntentCreate(t *tx, _ *http.Request, f stripeForm) (any, error) {
	for _, need := range []string{"amount", "currency"} {
		if f.Get(need) == "" {
			return nil, badStripe(need, "parameter_missing", "Missing required param: "+need+".")
		}
	}
	amount, err := f.integer("amount", 0)
	if err != nil {
		return nil, err
	}
	if err := stripeCurrency(f.Get("currency")); err != nil {
		return nil, err
	}
	metadata, err := f.dict("metadata")
	if err != nil {
		return nil, err
	}
	back := f.Get("return_url")
	switch {
	case amount < stripeMinAmount:
		return nil, badStripe("amount", "amount_too_small", "Amount must be at least ₹0.50 inr")
	case amount > stripeMaxAmount:
		return nil, badStripe("amount", "amount_too_large", "Amount must be no more than 99999999")
	case f.Has("capture_method") && !slices.Contains([]string{"automatic", "automatic_async", "manual"}, f.Get("capture_method")):
		return nil, badStripe("capture_method", "", "Invalid capture_method: must be one of automatic, automatic_async, or manual")
	case back != "" && (!linkable(back) || f.Get("confirm") != "true"):
		return nil, badStripe("return_url", "", "The parameter `return_url` is an address, and cannot be passed when creating a PaymentIntent unless `confirm` is set to true.")
	}
	id, err := t.orderID(stripe)
	if err != nil {
		return nil, err
	}
	secret, err := t.word(id+"_secret_", 25)
	if err != nil {
		return nil, err
	}
	o, err := t.open(order{
		ID: id, Provider: stripe, MerchantOrderID: merchantsName("", metadata, id), Amount: amount, Currency: strings.ToUpper(f.Get("currency")), MetaInfo: metadata,
		Message: f.Get("description"), Manual: f.Get("capture_method") == "manual",
		Stripe: &stripeOrder{Intent: id, Secret: secret, Method: f.Get("payment_method"), Types: f.array("payment_method_types"), Email: f.Get("receipt_email")},
	})
	if err != nil {
		return nil, err
	}
	if err := s.stripeEmit(t, "payment_intent.created", s.stripeIntent(o)); err != nil {
		return nil, err
	}
	if f.Get("confirm") == "true" {
		return s.stripeConfirm(t, o, f)
	}
	return s.stripeIntentFull(o, f), nil
}

// stripeOf finds an intent, as Stripe tells it.
func (t *tx) stripeOf(id string) (order, error) {
	o, err := t.order(id)
	if errors.Is(err, errUnknown) || err == nil && (o.Provider != stripe || o.Stripe.Intent != id) {
		return order{}, missing("payment_intent", "intent", id)
	}
	return o, err
}

func (s *Server) stripeIntentGet(t *tx, r *http.Request, f stripeForm) (any, error) {
	o, err := t.stripeOf(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return s.stripeIntentFull(o.shown(t.now()), f), nil
}

func (s *Server) stripeIntents(t *tx, _ *http.Request, f stripeForm) (any, error) {
	var items []map[string]any
	for _, id := range slices.Backward(t.orderIDs) {
		if o := t.orders[id]; o.Provider == stripe && o.Stripe.Intent != "" {
			items = append(items, s.stripeIntent(o.shown(t.now())))
		}
	}
	return f.list("/v1/payment_intents", items)
}

func (s *Server) stripeIntentConfirm(t *tx, r *http.Request, f stripeForm) (any, error) {
	o, err := t.stripeOf(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return s.stripeConfirm(t, o, f)
}

func unexpected(doing, status string) stripeError {
	return badStripe("", "payment_intent_unexpected_state", "You cannot "+doing+" this PaymentIntent because it has a status of "+status+".")
}

// stripeConfirm pays with a method that needs nobody, or sends the customer to the page.
func (s *Server) stripeConfirm(t *tx, o order, f stripeForm) (any, error) {
	status := stripeStatus(o)
	if !slices.Contains([]string{"requires_payment_method", "requires_confirmation", "requires_action"}, status) {
		return nil, unexpected("confirm", status)
	}
	own := *o.Stripe
	if f.Has("payment_method") {
		own.Method = f.Get("payment_method")
	}
	if kind := f.Get("payment_method_data[type]"); kind != "" {
		own.Method, own.Types = "pm_sandbox_"+kind, []string{kind}
	}
	if back := f.Get("return_url"); back != "" {
		if !linkable(back) {
			return nil, badStripe("return_url", "url_invalid", "Not a valid URL")
		}
		o.ReturnURL = back
	}
	if own.Method == "" {
		return nil, badStripe("", "payment_intent_unexpected_state", "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment method or ConfirmationToken.")
	}
	o.Stripe = &own
	code, isDeclined := stripeDeclines[own.Method]
	switch {
	case isDeclined:
		own.Method = ""
		t.keep(o)
		before := o
		o, changed, err := t.settle(o.ID, failure, code)
		if err != nil {
			return nil, err
		}
		if err := s.stripeTell(t, before, o, changed); err != nil {
			return nil, err
		}
		a, _ := o.last()
		return nil, stripeDeclinedError{stripeError{
			status: http.StatusPaymentRequired, kind: "card_error", code: "card_declined", message: "Your card was declined.",
			more: map[string]any{"decline_code": code, "charge": a.TransactionID, "payment_intent": s.stripeIntent(o)},
		}}
	case slices.Contains(stripePays, own.Method):
		t.keep(o)
		o, err := s.settle(t, o, success)
		if err != nil {
			return nil, err
		}
		return s.stripeIntentFull(o.shown(t.now()), f), nil
	case o.ReturnURL == "":
		return nil, badStripe("return_url", "parameter_missing", "A return_url must be specified because this Payment Intent is configured to automatically accept payment methods that redirect your customer.")
	}
	own.Action = true
	o.State, o.ErrorCode = statePending, ""
	t.keep(o)
	return s.stripeIntentFull(o, f), s.stripeEmit(t, "payment_intent.requires_action", s.stripeIntent(o))
}

func (s *Server) stripeIntentCancel(t *tx, r *http.Request, f stripeForm) (any, error) {
	o, err := t.stripeOf(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	reason := f.Get("cancellation_reason")
	if reason != "" && !slices.Contains([]string{"duplicate", "fraudulent", "requested_by_customer", "abandoned"}, reason) {
		return nil, badStripe("cancellation_reason", "", "Invalid cancellation_reason: must be one of duplicate, fraudulent, requested_by_customer, or abandoned")
	}
	if status := stripeStatus(o); slices.Contains([]string{"succeeded", "canceled", "processing"}, status) {
		return nil, unexpected("cancel", status)
	}
	own := *o.Stripe
	own.Reason, own.EndedAt, own.Action = reason, t.now().UTC(), false
	o.Stripe, o.State, o.Next = &own, stateCancelled, nil
	t.keep(o)
	return s.stripeIntentFull(o, f), s.stripeEmit(t, "payment_intent.canceled", s.stripeIntent(o))
}

func (s *Server) stripeIntentCapture(t *tx, r *http.Request, f stripeForm) (any, error) {
	o, err := t.stripeOf(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if status := stripeStatus(o); status != "requires_capture" {
		return nil, unexpected("capture", status)
	}
	amount, err := f.integer("amount_to_capture", o.Amount)
	if err != nil {
		return nil, err
	}
	before := o
	if o, err = t.capture(o, amount); err != nil {
		return nil, badStripe("amount_to_capture", "amount_too_large", "The amount to capture is more than the amount that was authorized.")
	}
	return s.stripeIntentFull(o, f), s.stripeTell(t, before, o, true)
}

func stripeStatus(o order) string {
	last, tried := o.last()
	switch {
	case o.State == stateCompleted:
		return "succeeded"
	case o.State == stateCancelled:
		return "canceled"
	case o.State == stateAuthorized:
		return "requires_capture"
	case o.State == statePending && tried && last.State == statePending:
		return "processing"
	case o.State == statePending && o.Stripe.Action:
		return "requires_action"
	case o.State == statePending && o.Stripe.Method != "":
		return "requires_confirmation"
	}
	return "requires_payment_method"
}

func (s *Server) stripeIntentFull(o order, f stripeForm) map[string]any {
	p := s.stripeIntent(o)
	if a, ok := o.last(); ok && f.expands("latest_charge") {
		p["latest_charge"] = s.stripeCharge(o, a)
	}
	return p
}

func (s *Server) stripeIntent(o order) map[string]any {
	status, received, capturable := stripeStatus(o), o.taken(), int64(0)
	if o.State == stateAuthorized {
		capturable = o.Amount
	}
	capture := "automatic"
	if o.Manual {
		capture = "manual"
	}
	var charge, action, lastError, cancelled any
	if a, ok := o.last(); ok {
		charge = a.TransactionID
		if a.State == stateFailed {
			lastError = stripeAttemptError(a)
		}
	}
	if status == "requires_action" {
		action = map[string]any{"type": "redirect_to_url", "redirect_to_url": map[string]any{"url": s.publicURL + "/checkout/" + o.ID, "return_url": o.ReturnURL}}
	}
	if !o.Stripe.EndedAt.IsZero() {
		cancelled = o.Stripe.EndedAt.Unix()
	}
	return map[string]any{
		"id": o.Stripe.Intent, "object": "payment_intent", "amount": o.Amount, "amount_capturable": capturable, "amount_details": map[string]any{"tip": map[string]any{}}, "amount_received": received,
		"application": nil, "application_fee_amount": nil, "automatic_payment_methods": map[string]any{"enabled": true, "allow_redirects": "always"}, "canceled_at": cancelled,
		"cancellation_reason": orNull(o.Stripe.Reason), "capture_method": capture, "client_secret": o.Stripe.Secret, "confirmation_method": "automatic", "created": o.CreatedAt.Unix(),
		"currency": strings.ToLower(o.currency()), "customer": nil, "description": orNull(o.Message), "last_payment_error": lastError, "latest_charge": charge, "livemode": false,
		"metadata": metaOf(o.MetaInfo), "next_action": action, "on_behalf_of": nil, "payment_method": orNull(o.Stripe.Method), "payment_method_options": map[string]any{},
		"payment_method_types": typesOf(o), "processing": nil, "receipt_email": orNull(o.Stripe.Email), "review": nil, "setup_future_usage": nil, "shipping": nil, "source": nil,
		"statement_descriptor": nil, "statement_descriptor_suffix": nil, "status": status, "transfer_data": nil, "transfer_group": nil,
	}
}

func stripeAttemptError(a attempt) map[string]any {
	e := map[string]any{
		"type": "card_error", "code": "card_declined", "decline_code": "generic_decline", "message": "Your card was declined.", "charge": a.TransactionID,
		"doc_url": "https://stripe.com/docs/error-codes/card-declined",
	}
	if slices.Contains([]string{"insufficient_funds"}, a.Code) {
		e["decline_code"] = a.Code
	}
	return e
}

func metaOf(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func typesOf(o order) []string {
	if len(o.Stripe.Types) == 0 {
		return []string{"card"}
	}
	return o.Stripe.Types
}

// stripeBack is where the customer goes from the page, with what Stripe adds.
func stripeBack(o order) string {
	if o.Stripe.Session != "" {
		return strings.ReplaceAll(o.ReturnURL, "{CHECKOUT_SESSION_ID}", o.ID)
	}
	u, err := url.Parse(o.ReturnURL)
	if err != nil || o.ReturnURL == "" {
		return ""
	}
	status := "failed"
	if o.State == stateCompleted || o.State == stateAuthorized {
		status = "succeeded"
	}
	q := u.Query()
	q.Set("payment_intent", o.Stripe.Intent)
	q.Set("payment_intent_client_secret", o.Stripe.Secret)
	q.Set("redirect_status", status)
	u.RawQuery = q.Encode()
	return u.String()
}
