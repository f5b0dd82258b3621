package sandbox

import (
	"net/http"
	"slices"
	"time"
)

// razorpayLinkCreate makes an order that brings its own page, for merchants who send the customer there.
func (s *Server) razorpayLinkCreate(t *tx, _ *http.Request, body []byte) (any, error) {
	o, q, err := parseRazorpayOrder(body)
	if err != nil {
		return nil, err
	}
	switch {
	case len(q.ReferenceID) > razorpayReceipt:
		return nil, badRazorpay("reference_id", "The reference id may not be greater than 40 characters.")
	case q.CallbackURL != "" && !linkable(q.CallbackURL):
		return nil, badRazorpay("callback_url", "The callback url format is invalid.")
	case q.CallbackURL != "" && q.CallbackMethod != "get":
		return nil, badRazorpay("callback_method", "The selected callback method is invalid.")
	case q.ExpireBy != 0 && q.ExpireBy < t.now().Add(15*time.Minute).Unix():
		return nil, badRazorpay("expire_by", "expire_by should be at least 15 minutes after current time.")
	}
	id, err := t.word("plink_", 14)
	if err != nil {
		return nil, err
	}
	o.Link = &razorpayLink{ID: id, Reference: q.ReferenceID, Method: http.MethodGet}
	// A link's reference is unique, and finds the order as a unique receipt does.
	o.MerchantOrderID, o.Unique, o.ReturnURL = q.ReferenceID, q.ReferenceID != "", q.CallbackURL
	if q.ExpireBy != 0 {
		o.ExpireAt = time.Unix(q.ExpireBy, 0).UTC()
	}
	if o.Unique {
		if _, err := t.order(razorpay + "/" + o.MerchantOrderID); err == nil {
			return nil, badRazorpay("reference_id", "payment link with given reference_id: "+q.ReferenceID+" already exists")
		}
	}
	if o, err = t.open(o); err != nil {
		return nil, err
	}
	return s.razorpayLinkBody(o), nil
}

func (s *Server) razorpayLinkOf(t *tx, id string) (order, error) {
	o, err := t.order(id)
	if err == nil && (o.Link == nil || o.Link.ID != id) {
		err = errUnknown
	}
	return o, err
}

func (s *Server) razorpayLinkGet(t *tx, r *http.Request, _ []byte) (any, error) {
	o, err := s.razorpayLinkOf(t, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return s.razorpayLinkBody(o.shown(t.now())), nil
}

// razorpayLinks lists them, of one reference when asked so.
func (s *Server) razorpayLinks(t *tx, r *http.Request, _ []byte) (any, error) {
	count, skip, from, to := between(r)
	reference := r.URL.Query().Get("reference_id")
	items := []map[string]any{}
	for _, id := range slices.Backward(t.orderIDs) {
		o := t.orders[id].shown(t.now())
		if o.Link != nil && (reference == "" || reference == o.Link.Reference) && !o.CreatedAt.Before(from) && !o.CreatedAt.After(to) {
			items = append(items, s.razorpayLinkBody(o))
		}
	}
	return map[string]any{"payment_links": pageOf(items, count, skip)}, nil
}

func (s *Server) razorpayLinkCancel(t *tx, r *http.Request, _ []byte) (any, error) {
	o, err := s.razorpayLinkOf(t, r.PathValue("id"))
	switch {
	case err != nil:
		return nil, err
	case o.State == stateCompleted || o.State == stateAuthorized:
		return nil, badRazorpay("", "Payment link is already paid")
	}
	o.State, o.Next = stateCancelled, nil
	t.keep(o)
	return s.razorpayLinkBody(o), nil
}

func linkStatus(o order) string {
	switch {
	case o.State == stateCompleted:
		return "paid"
	case o.State == stateCancelled:
		return "cancelled"
	case o.ErrorCode == orderExpired && len(o.Attempts) == 0:
		return "expired"
	}
	return "created"
}

func (s *Server) razorpayLinkBody(o order) map[string]any {
	paid := int64(0)
	payments := []map[string]any{}
	for _, a := range o.Attempts {
		if a.State == stateCompleted {
			paid = o.Amount
			payments = append(payments, map[string]any{"amount": o.Amount, "created_at": a.At.Unix(), "method": "upi", "payment_id": a.TransactionID, "plink_id": o.Link.ID, "status": "captured"})
		}
	}
	return map[string]any{
		"id": o.Link.ID, "entity": "payment_link", "accept_partial": false, "amount": o.Amount, "amount_paid": paid, "currency": o.currency(), "reference_id": o.Link.Reference,
		"order_id": o.ID, "description": o.Message, "callback_url": o.ReturnURL, "callback_method": "get", "short_url": s.publicURL + "/checkout/" + o.ID, "status": linkStatus(o),
		"payments": payments, "notes": razorpayNotesIn(o.MetaInfo), "created_at": o.CreatedAt.Unix(), "expire_by": max(0, o.ExpireAt.Unix()), "upi_link": false,
	}
}

// razorpayEmbedded is Razorpay's hosted checkout: the merchant's page posts the order and the way back.
func (s *Server) razorpayEmbedded(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	id, back := r.PostFormValue("order_id"), r.PostFormValue("callback_url")
	if r.PostFormValue("key_id") != s.razorpay.KeyID || !linkable(back) {
		razorpayError(w, http.StatusBadRequest, "BAD_REQUEST_ERROR", "key_id, order_id and callback_url are needed")
		return
	}
	err := s.change(func(t *tx) error {
		o, err := t.order(id)
		if err != nil || o.Provider != razorpay {
			return errUnknown
		}
		o.ReturnURL = back
		t.keep(o)
		return nil
	})
	if err != nil {
		razorpayError(w, http.StatusBadRequest, "BAD_REQUEST_ERROR", "The id provided does not exist")
		return
	}
	http.Redirect(w, r, "/checkout/"+id, http.StatusSeeOther)
}

// razorpayBack hands the payment back with the signature that the merchant checks.
func (s *Server) razorpayBack(o order, a attempt) map[string]string {
	if o.Link != nil {
		status := linkStatus(o)
		return map[string]string{
			"razorpay_payment_id": a.TransactionID, "razorpay_payment_link_id": o.Link.ID, "razorpay_payment_link_reference_id": o.Link.Reference, "razorpay_payment_link_status": status,
			"razorpay_signature": s.razorpay.sign(s.razorpay.KeySecret, o.Link.ID+"|"+o.Link.Reference+"|"+status+"|"+a.TransactionID),
		}
	}
	return map[string]string{
		"razorpay_payment_id": a.TransactionID, "razorpay_order_id": o.ID,
		"razorpay_signature": s.razorpay.sign(s.razorpay.KeySecret, o.ID+"|"+a.TransactionID),
	}
}
