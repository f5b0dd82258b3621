package sandbox

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// stripeEvent is a thing that happened, as it was then.
type stripeEvent struct {
	ID   string          `json:"id"`
	Type string          `json:"type"`
	Body json.RawMessage `json:"body"`
}

func (s *Server) stripeRefundCreate(t *tx, _ *http.Request, f stripeForm) (any, error) {
	name, param := f.Get("payment_intent"), "payment_intent"
	if name == "" {
		name, param = f.Get("charge"), "charge"
	}
	if name == "" {
		return nil, badStripe("", "parameter_missing", "One of the following params should be provided for this request: payment_intent or charge.")
	}
	o, err := t.order(name)
	if errors.Is(err, errUnknown) || err == nil && (o.Provider != stripe || o.ID == name && o.Stripe.Session != "") {
		return nil, missing(param, param, name)
	}
	if err != nil {
		return nil, err
	}
	amount, err := f.integer("amount", o.taken()-o.Refunded)
	if err != nil {
		return nil, err
	}
	metadata, err := f.dict("metadata")
	if err != nil {
		return nil, err
	}
	reason := f.Get("reason")
	switch left := o.taken() - o.Refunded; {
	case reason != "" && !slices.Contains([]string{"duplicate", "fraudulent", "requested_by_customer"}, reason):
		return nil, badStripe("reason", "", "Invalid reason: must be one of duplicate, fraudulent, or requested_by_customer")
	case f.Has("amount") && amount < 1:
		return nil, badStripe("amount", "parameter_invalid_integer", "This value must be greater than or equal to 1.")
	case o.shown(t.now()).State != stateCompleted:
		return nil, badStripe(param, "payment_intent_unexpected_state", "This PaymentIntent ("+name+") does not have a successful charge to refund.")
	case left <= 0:
		a, _ := o.last()
		return nil, badStripe("", "charge_already_refunded", "Charge "+a.TransactionID+" has already been refunded.")
	case amount > left:
		return nil, badStripe("amount", "", "Refund amount ("+decimal(amount)+") is greater than unrefunded amount on charge ("+decimal(left)+")")
	}
	back, o, err := t.giveBack(o, refund{Amount: amount, Notes: metadata, Reason: reason}, true)
	if err != nil {
		return nil, err
	}
	// A card's refund is done when it is asked for, as far as Stripe says.
	if back = s.work(t, o, back); back.Next.Outcome == stateCompleted {
		if back, err = t.turn(back, stateCompleted); err != nil {
			return nil, err
		}
	}
	body := s.stripeRefundBody(back)
	if err := s.stripeEmit(t, "refund.created", body); err != nil {
		return nil, err
	}
	return body, s.stripeRefunded(t, back)
}

// stripeRefunded tells of the charge that a completed refund changed.
func (s *Server) stripeRefunded(t *tx, r refund) error {
	if r.State != stateCompleted {
		return nil
	}
	o, err := t.order(r.OrderID)
	if err != nil {
		return err
	}
	a, _ := o.last()
	return s.stripeEmit(t, "charge.refunded", s.stripeCharge(o, a))
}

func (s *Server) stripeTellRefund(t *tx, r refund) error {
	if r.State == stateFailed {
		if err := s.stripeEmit(t, "refund.failed", s.stripeRefundBody(r)); err != nil {
			return err
		}
	}
	if err := s.stripeEmit(t, "refund.updated", s.stripeRefundBody(r)); err != nil {
		return err
	}
	return s.stripeRefunded(t, r)
}

func (s *Server) stripeRefundBody(r refund) map[string]any {
	status := map[string]string{statePending: "pending", stateCompleted: "succeeded", stateFailed: "failed"}[r.State]
	b := map[string]any{
		"id": r.ID, "object": "refund", "amount": r.Amount, "balance_transaction": nil, "charge": r.PaymentID, "created": r.At.Unix(), "currency": strings.ToLower(r.Currency),
		"destination_details": map[string]any{"type": "card", "card": map[string]any{"type": "refund", "reference_status": "available", "reference": digitsOf(r.ID)}},
		"metadata":            metaOf(r.Notes), "payment_intent": nil, "reason": orNull(r.Reason), "receipt_number": nil, "source_transfer_reversal": nil, "status": status, "transfer_reversal": nil,
	}
	b["payment_intent"] = s.intentOf(r.OrderID)
	if r.State == stateFailed {
		b["failure_reason"] = "lost_or_stolen_card"
	}
	return b
}

// intentOf is called inside a change; the intent of an order never changes.
func (s *Server) intentOf(orderID string) any {
	if o, ok := s.bank.orders[orderID]; ok && o.Stripe != nil {
		return o.Stripe.Intent
	}
	return nil
}

func (s *Server) stripeRefundGet(t *tx, r *http.Request, _ stripeForm) (any, error) {
	got, ok := t.refunds[r.PathValue("id")]
	if !ok || got.Provider != stripe {
		return nil, missing("refund", "id", r.PathValue("id"))
	}
	return s.stripeRefundBody(*got), nil
}

func (s *Server) stripeRefunds(t *tx, _ *http.Request, f stripeForm) (any, error) {
	var items []map[string]any
	for _, id := range slices.Backward(t.refundIDs) {
		r := t.refunds[id]
		if r.Provider == stripe && (!f.Has("charge") || f.Get("charge") == r.PaymentID) && (!f.Has("payment_intent") || f.Get("payment_intent") == s.intentOf(r.OrderID)) {
			items = append(items, s.stripeRefundBody(*r))
		}
	}
	return f.list("/v1/refunds", items)
}

func (s *Server) stripeCharge(o order, a attempt) map[string]any {
	status := map[string]string{statePending: "pending", stateAuthorized: "succeeded", stateCompleted: "succeeded", stateFailed: "failed"}[a.State]
	captured := a.State == stateCompleted
	var taken, refunded int64
	if captured {
		taken, refunded = o.taken(), o.Refunded
	}
	var code, message any
	if a.State == stateFailed {
		code, message = "card_declined", "Your card was declined."
	}
	return map[string]any{
		"id": a.TransactionID, "object": "charge", "amount": o.Amount, "amount_captured": taken, "amount_refunded": refunded, "application": nil, "application_fee": nil,
		"application_fee_amount": nil, "balance_transaction": nil, "billing_details": map[string]any{"address": nil, "email": nil, "name": nil, "phone": nil}, "calculated_statement_descriptor": "MANAS360",
		"captured": captured, "created": a.At.Unix(), "currency": strings.ToLower(o.currency()), "customer": nil, "description": orNull(o.Message), "disputed": o.Disputed, "failure_code": code,
		"failure_message": message, "fraud_details": map[string]any{}, "livemode": false, "metadata": metaOf(o.MetaInfo), "on_behalf_of": nil, "outcome": nil, "paid": status == "succeeded",
		"payment_intent": o.Stripe.Intent, "payment_method": orNull(o.Stripe.Method), "payment_method_details": map[string]any{"type": "card", "card": map[string]any{"brand": "visa", "country": "IN", "last4": "4242"}},
		"receipt_email": orNull(o.Stripe.Email), "receipt_number": nil, "receipt_url": nil, "refunded": taken > 0 && refunded >= taken, "review": nil, "shipping": nil, "source": nil,
		"source_transfer": nil, "statement_descriptor": nil, "statement_descriptor_suffix": nil, "status": status, "transfer_data": nil, "transfer_group": nil,
	}
}

func (s *Server) stripeChargeGet(t *tx, r *http.Request, _ stripeForm) (any, error) {
	id := r.PathValue("id")
	o, err := t.order(id)
	if err == nil && o.Provider == stripe {
		o = o.shown(t.now())
		for _, a := range o.Attempts {
			if a.TransactionID == id {
				return s.stripeCharge(o, a), nil
			}
		}
	}
	return nil, missing("charge", "id", id)
}

func (s *Server) stripeCharges(t *tx, _ *http.Request, f stripeForm) (any, error) {
	var items []map[string]any
	for _, id := range slices.Backward(t.orderIDs) {
		o := t.orders[id].shown(t.now())
		if o.Provider != stripe || f.Has("payment_intent") && f.Get("payment_intent") != o.Stripe.Intent {
			continue
		}
		for _, a := range slices.Backward(o.Attempts) {
			items = append(items, s.stripeCharge(o, a))
		}
	}
	return f.list("/v1/charges", items)
}

func (s *Server) stripeDisputeBody(d dispute) map[string]any {
	status := map[string]string{disputeOpened: "needs_response", disputeWon: "won", disputeLost: "lost"}[d.State]
	return map[string]any{
		"id": d.ID, "object": "dispute", "amount": d.Amount, "balance_transactions": []any{}, "charge": d.PaymentID, "created": d.At.Unix(), "currency": strings.ToLower(d.Currency),
		"enhanced_eligibility_types": []any{}, "evidence": map[string]any{}, "evidence_details": map[string]any{"due_by": d.At.AddDate(0, 0, 7).Unix(), "has_evidence": false, "past_due": false, "submission_count": 0},
		"is_charge_refundable": false, "livemode": false, "metadata": map[string]string{}, "payment_intent": s.intentOf(d.OrderID), "reason": "product_not_received", "status": status,
	}
}

func (s *Server) stripeDisputeGet(t *tx, r *http.Request, _ stripeForm) (any, error) {
	d, ok := t.disputes[r.PathValue("id")]
	if !ok || d.Provider != stripe {
		return nil, missing("dispute", "id", r.PathValue("id"))
	}
	return s.stripeDisputeBody(*d), nil
}

func (s *Server) stripeDisputes(t *tx, _ *http.Request, f stripeForm) (any, error) {
	var items []map[string]any
	for _, d := range t.disputesOf(stripe) {
		if (!f.Has("charge") || f.Get("charge") == d.PaymentID) && (!f.Has("payment_intent") || f.Get("payment_intent") == s.intentOf(d.OrderID)) {
			items = append(items, s.stripeDisputeBody(d))
		}
	}
	return f.list("/v1/disputes", items)
}

func (s *Server) stripeTellDispute(t *tx, d dispute) error {
	types := []string{"charge.dispute.created", "charge.dispute.funds_withdrawn"}
	switch d.State {
	case disputeWon:
		types = []string{"charge.dispute.closed", "charge.dispute.funds_reinstated"}
	case disputeLost:
		types = []string{"charge.dispute.closed"}
	}
	for _, name := range types {
		if err := s.stripeEmit(t, name, s.stripeDisputeBody(d)); err != nil {
			return err
		}
	}
	return nil
}

// stripeTell sends the events of a payment: its charge, its intent, and its session if it has one.
func (s *Server) stripeTell(t *tx, before, o order, _ bool) error {
	a, tried := o.last()
	if before.State == o.State && len(before.Attempts) == len(o.Attempts) || !tried {
		return s.stripeForge(t, o)
	}
	was, _ := before.last()
	o.Amount += t.fate.skew
	waited := was.State == statePending && was.TransactionID == a.TransactionID
	var charge, intent, session string
	switch {
	case before.State == stateAuthorized:
		charge, intent = "charge.captured", "payment_intent.succeeded"
	case o.State == stateCompleted:
		charge, intent, session = "charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"
		if waited {
			session = "checkout.session.async_payment_succeeded"
		}
	case o.State == stateAuthorized:
		charge, intent, session = "charge.succeeded", "payment_intent.amount_capturable_updated", "checkout.session.completed"
	case o.State == stateFailed:
		charge, intent = "charge.failed", "payment_intent.payment_failed"
		if waited {
			session = "checkout.session.async_payment_failed"
		}
	default:
		charge, intent, session = "charge.pending", "payment_intent.processing", "checkout.session.completed"
	}
	if err := s.stripeEmit(t, charge, s.stripeCharge(o, a)); err != nil {
		return err
	}
	if err := s.stripeEmit(t, intent, s.stripeIntent(o)); err != nil {
		return err
	}
	if session != "" && o.Stripe.Session != "" {
		if err := s.stripeEmit(t, session, s.stripeSession(o, stripeForm{})); err != nil {
			return err
		}
	}
	return s.stripeForge(t, o)
}

// stripeForge is a lie about a payment of another amount.
func (s *Server) stripeForge(t *tx, o order) error {
	o.State, o.Amount = stateCompleted, o.Amount+100
	e, err := s.stripeMake(t, "payment_intent.succeeded", s.stripeIntent(o))
	t.notices = append(t.notices, notice{forged: s.stripeCallback(e, "whsec_guess", 1)})
	return err
}

func (s *Server) stripeMake(t *tx, name string, object map[string]any) (stripeEvent, error) {
	id, err := t.word("evt_1", 23)
	if err != nil {
		return stripeEvent{}, err
	}
	return stripeEvent{ID: id, Type: name, Body: s.encode(map[string]any{
		"id": id, "object": "event", "api_version": StripeVersion, "created": t.now().Unix(), "data": map[string]any{"object": object}, "livemode": false, "pending_webhooks": 1,
		"request": map[string]any{"id": nil, "idempotency_key": nil}, "type": name,
	})}, nil
}

// stripeEmit keeps an event and sends it.
func (s *Server) stripeEmit(t *tx, name string, object map[string]any) error {
	e, err := s.stripeMake(t, name, object)
	if err != nil {
		return err
	}
	t.e.Events = append(t.e.Events, e)
	t.notices = append(t.notices, notice{genuine: []callback{s.stripeCallback(e, s.stripe.WebhookSecret, callbackTries)}})
	return nil
}

func (s *Server) stripeCallback(e stripeEvent, secret string, tries int) callback {
	return callback{url: s.callbackURL + "/stripe", body: e.Body, tries: tries, sign: func(body []byte, at time.Time) http.Header {
		return http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Stripe-Signature": {s.stripe.sign(secret, body, at)}}
	}}
}

func (s *Server) stripeEventGet(t *tx, r *http.Request, _ stripeForm) (any, error) {
	for _, e := range t.events {
		if e.ID == r.PathValue("id") {
			return e.Body, nil
		}
	}
	return nil, missing("event", "id", r.PathValue("id"))
}

func (s *Server) stripeEvents(t *tx, _ *http.Request, f stripeForm) (any, error) {
	types := f.array("types")
	var items []map[string]any
	for _, e := range slices.Backward(t.events) {
		if f.Has("type") && f.Get("type") != e.Type || len(types) > 0 && !slices.Contains(types, e.Type) {
			continue
		}
		var head struct {
			Created int64           `json:"created"`
			Data    json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(e.Body, &head); err != nil {
			return nil, errUnknown
		}
		items = append(items, map[string]any{
			"id": e.ID, "object": "event", "api_version": StripeVersion, "created": head.Created, "data": head.Data, "livemode": false, "pending_webhooks": 0,
			"request": map[string]any{"id": nil, "idempotency_key": nil}, "type": e.Type,
		})
	}
	return f.list("/v1/events", items)
}
