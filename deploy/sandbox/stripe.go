package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// StripeVersion is the only version of the API that is spoken here, the one of stripe-go v85.
const StripeVersion = "2026-03-25.dahlia"

const (
	stripeMinAmount = 50 // of INR: half a rupee
	stripeMaxAmount = 99_999_999
	stripeMeta      = 50 // keys
	stripeMaxKey    = 255
)

// Stripe is what a merchant has agreed with Stripe.
type Stripe struct{ APIKey, WebhookSecret string }

// sign is Stripe-Signature.
func (Stripe) sign(secret string, body []byte, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(t + "."))
	m.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(m.Sum(nil))
}

// stripeOrder is what Stripe knows of an order beyond the bank.
type stripeOrder struct {
	Intent    string            `json:"intent"`            // payment_intent, there once a session is being paid
	Session   string            `json:"session,omitempty"` // checkout.session, if it came by one
	Secret    string            `json:"secret"`
	Reference string            `json:"reference,omitempty"` // client_reference_id
	Meta      map[string]string `json:"meta,omitempty"`      // the session's; the intent's is the order's
	Method    string            `json:"method,omitempty"`    // payment_method
	Types     []string          `json:"types,omitempty"`
	Action    bool              `json:"action,omitempty"` // the customer has something to do on the page
	Email     string            `json:"email,omitempty"`
	CancelURL string            `json:"cancelUrl,omitempty"`
	Reason    string            `json:"reason,omitempty"` // of a cancellation
	EndedAt   time.Time         `json:"endedAt,omitzero"` // when it was cancelled
}

// stripeForm is a call's parameters, nested by brackets.
type stripeForm struct{ url.Values }

// stripeError is an error in Stripe's shape.
type stripeError struct {
	status                     int
	kind, code, message, param string
	more                       map[string]any
}

func (e stripeError) Error() string { return e.message }

func badStripe(param, code, message string) stripeError {
	return stripeError{status: http.StatusBadRequest, kind: "invalid_request_error", code: code, message: message, param: param}
}

// stripeDeclinedError is an error that leaves its trace: the attempt was made.
type stripeDeclinedError struct{ stripeError }

type stripeCall struct {
	params []string // top-level names that the call knows; nil is of any
	do     func(t *tx, r *http.Request, f stripeForm) (any, error)
}

func (s *Server) stripeRoutes(m *http.ServeMux) {
	list := []string{"limit", "starting_after", "ending_before", "expand", "created"}
	with := func(more ...string) []string { return append(slices.Clone(list), more...) }
	one := []string{"expand", "client_secret"}
	for pattern, call := range map[string]stripeCall{
		"POST /v1/payment_intents":               {intentParams, s.stripeIntentCreate},
		"GET /v1/payment_intents":                {with("customer"), s.stripeIntents},
		"GET /v1/payment_intents/{id}":           {one, s.stripeIntentGet},
		"POST /v1/payment_intents/{id}/confirm":  {intentParams, s.stripeIntentConfirm},
		"POST /v1/payment_intents/{id}/cancel":   {[]string{"cancellation_reason", "expand"}, s.stripeIntentCancel},
		"POST /v1/payment_intents/{id}/capture":  {[]string{"amount_to_capture", "expand", "metadata", "final_capture", "statement_descriptor"}, s.stripeIntentCapture},
		"POST /v1/checkout/sessions":             {sessionParams, s.stripeSessionCreate},
		"GET /v1/checkout/sessions":              {with("payment_intent", "status"), s.stripeSessions},
		"GET /v1/checkout/sessions/{id}":         {one, s.stripeSessionGet},
		"POST /v1/checkout/sessions/{id}/expire": {one, s.stripeSessionExpire},
		"POST /v1/refunds":                       {[]string{"payment_intent", "charge", "amount", "reason", "metadata", "expand", "instructions_email"}, s.stripeRefundCreate},
		"GET /v1/refunds":                        {with("payment_intent", "charge"), s.stripeRefunds},
		"GET /v1/refunds/{id}":                   {one, s.stripeRefundGet},
		"GET /v1/charges":                        {with("payment_intent", "customer"), s.stripeCharges},
		"GET /v1/charges/{id}":                   {one, s.stripeChargeGet},
		"GET /v1/disputes":                       {with("payment_intent", "charge"), s.stripeDisputes},
		"GET /v1/disputes/{id}":                  {one, s.stripeDisputeGet},
		"GET /v1/events":                         {with("type", "types", "delivery_success"), s.stripeEvents},
		"GET /v1/events/{id}":                    {one, s.stripeEventGet},
	} {
		method, path, _ := strings.Cut(pattern, " ")
		h := s.stripeServe(call)
		if method == http.MethodGet {
			h = s.status(stripeDown, h)
		}
		m.HandleFunc(method+" /stripe"+path, s.once("Idempotency-Key", stripeBusy, s.unreliable(stripeDown, s.stripeClient(h))))
	}
	m.HandleFunc("/stripe/", func(w http.ResponseWriter, r *http.Request) {
		stripeFail(w, stripeError{status: http.StatusNotFound, kind: "invalid_request_error", message: "Unrecognized request URL (" + r.Method + ": " + strings.TrimPrefix(r.URL.Path, "/stripe") + ")."})
	})
}

func stripeDown(w http.ResponseWriter, status int, _, message string) {
	stripeFail(w, stripeError{status: status, kind: "api_error", message: message})
}

func stripeBusy(w http.ResponseWriter, status int, _, _ string) {
	stripeFail(w, stripeError{
		status: status, kind: "idempotency_error", code: "idempotency_key_in_use",
		message: "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through). Please try again later.",
	})
}

func (s *Server) stripeClient(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if user, _, ok := r.BasicAuth(); ok && !bearer {
			key = user
		}
		no := stripeError{status: http.StatusUnauthorized, kind: "invalid_request_error"}
		version := r.Header.Get("Stripe-Version")
		switch {
		case key == "":
			no.message = "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
		case s.stripe.APIKey == "" || subtle.ConstantTimeCompare([]byte(key), []byte(s.stripe.APIKey)) != 1:
			no.message = "Invalid API Key provided: " + key[:min(8, len(key))] + "****"
		case version != "" && version != StripeVersion:
			no.status, no.message = http.StatusBadRequest, "Invalid Stripe API version: "+version
		default:
			next(w, r)
			return
		}
		stripeFail(w, no)
	}
}

func (s *Server) stripeServe(call stripeCall) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f, err := stripeParams(w, r, call.params)
		if err != nil {
			s.stripeFailed(w, err)
			return
		}
		key := r.Header.Get("Idempotency-Key")
		if len(key) > stripeMaxKey {
			stripeFail(w, stripeError{status: http.StatusBadRequest, kind: "idempotency_error", message: "Idempotency keys are at most 255 characters."})
			return
		}
		if r.Method != http.MethodPost {
			key = ""
		}
		got := answer{Key: stripe + "/" + key, Hash: hashOf(r.Method, strings.TrimPrefix(r.URL.Path, "/stripe"), f.Encode())}
		replayed := false
		err = s.change(func(t *tx) error {
			if was, ok := t.answers[got.Key]; ok && key != "" {
				if was.Hash != got.Hash {
					return stripeError{
						status: http.StatusBadRequest, kind: "idempotency_error",
						message: "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '" + key + "' if you meant to execute a different request.",
					}
				}
				got, replayed = was, true
				return nil
			}
			v, err := call.do(t, r, f)
			got.Status = http.StatusOK
			var no stripeDeclinedError
			if errors.As(err, &no) {
				v, err, got.Status = no.body(), nil, no.status
			}
			if err != nil {
				return err
			}
			if got.Body, err = json.Marshal(v); err != nil {
				return fmt.Errorf("encode the answer: %w", err)
			}
			if key != "" {
				t.e.Answers = append(t.e.Answers, got)
			}
			return nil
		})
		if err != nil {
			s.stripeFailed(w, err)
			return
		}
		if key != "" {
			w.Header().Set("Idempotency-Key", key)
			if replayed {
				w.Header().Set("Idempotent-Replayed", "true")
			}
		}
		stripeWrite(w, got.Status, got.Body)
	}
}

// stripeParams reads the form, and refuses names that the call does not know, as Stripe does.
func stripeParams(w http.ResponseWriter, r *http.Request, known []string) (stripeForm, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	kind := r.Header.Get("Content-Type")
	if r.Method == http.MethodPost && r.ContentLength != 0 && !strings.HasPrefix(kind, "application/x-www-form-urlencoded") {
		return stripeForm{}, badStripe("", "", "Invalid request: the body is application/x-www-form-urlencoded, not "+kind)
	}
	if err := r.ParseForm(); err != nil {
		return stripeForm{}, badStripe("", "", "Invalid request: the form cannot be read.")
	}
	values := r.PostForm
	if r.Method == http.MethodGet {
		values = r.Form
	}
	for _, name := range slices.Sorted(keys(values)) {
		top, _, _ := strings.Cut(name, "[")
		if !slices.Contains(known, top) {
			return stripeForm{}, badStripe(top, "parameter_unknown", "Received unknown parameter: "+top)
		}
	}
	return stripeForm{values}, nil
}

func keys(v url.Values) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range v {
			if !yield(k) {
				return
			}
		}
	}
}

func (f stripeForm) integer(name string, usual int64) (int64, error) {
	if !f.Has(name) {
		return usual, nil
	}
	n, err := strconv.ParseInt(f.Get(name), 10, 64)
	if err != nil {
		return 0, badStripe(name, "parameter_invalid_integer", "Invalid integer: "+f.Get(name))
	}
	return n, nil
}

// dict is name[key]=value.
func (f stripeForm) dict(name string) (map[string]string, error) {
	var got map[string]string
	for k, v := range f.Values {
		key, ok := strings.CutPrefix(k, name+"[")
		if !ok || !strings.HasSuffix(key, "]") || v[len(v)-1] == "" {
			continue
		}
		if got == nil {
			got = map[string]string{}
		}
		got[strings.TrimSuffix(key, "]")] = v[len(v)-1]
	}
	for k, v := range got {
		if len(got) > stripeMeta || len(k) > 40 || len(v) > 500 {
			return nil, badStripe(name, "", "Metadata is of at most 50 keys of 40 characters, with values of 500.")
		}
	}
	return got, nil
}

// expands reports whether a field is to be given whole.
func (f stripeForm) expands(field string) bool {
	for k, v := range f.Values {
		if strings.HasPrefix(k, "expand[") && slices.Contains(v, field) {
			return true
		}
	}
	return false
}

func (f stripeForm) array(name string) []string {
	var all []string
	for _, k := range slices.Sorted(keys(f.Values)) {
		if strings.HasPrefix(k, name+"[") {
			all = append(all, f.Values[k]...)
		}
	}
	return all
}

// stripeList pages a list that is newest first.
func (f stripeForm) list(path string, items []map[string]any) (any, error) {
	limit, err := f.integer("limit", 10)
	if err != nil {
		return nil, err
	}
	if limit < 1 || limit > 100 {
		return nil, badStripe("limit", "", "This value must be from 1 to 100.")
	}
	at := func(name string) int {
		return slices.IndexFunc(items, func(i map[string]any) bool { return f.Has(name) && i["id"] == f.Get(name) })
	}
	if i := at("starting_after"); i >= 0 {
		items = items[i+1:]
	}
	if i := at("ending_before"); i >= 0 {
		items = items[max(0, i-int(limit)):i]
	}
	gte, err := f.integer("created[gte]", 0)
	if err != nil {
		return nil, err
	}
	items = slices.DeleteFunc(items, func(i map[string]any) bool {
		at, ok := i["created"].(int64)
		return ok && at < gte
	})
	more := len(items) > int(limit)
	items = items[:min(len(items), int(limit))]
	if items == nil {
		items = []map[string]any{}
	}
	return map[string]any{"object": "list", "url": path, "has_more": more, "data": items}, nil
}

func (e stripeError) body() map[string]any {
	b := map[string]any{"type": e.kind, "message": e.message}
	for k, v := range map[string]string{"code": e.code, "param": e.param} {
		if v != "" {
			b[k] = v
		}
	}
	if e.code != "" {
		b["doc_url"] = "https://stripe.com/docs/error-codes/" + strings.ReplaceAll(e.code, "_", "-")
	}
	for k, v := range e.more {
		b[k] = v
	}
	return map[string]any{"error": b}
}

func (s *Server) stripeFailed(w http.ResponseWriter, err error) {
	var no stripeError
	switch {
	case errors.As(err, &no):
		stripeFail(w, no)
	default:
		s.log.Error().Err(err).Msg("call of the merchant")
		stripeFail(w, stripeError{status: http.StatusInternalServerError, kind: "api_error", message: "An unknown error occurred"})
	}
}

func stripeFail(w http.ResponseWriter, e stripeError) {
	body, err := json.Marshal(e.body())
	if err != nil {
		http.Error(w, "encode the answer", http.StatusInternalServerError)
		return
	}
	stripeWrite(w, e.status, body)
}

func stripeWrite(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Request-Id", "req_"+hashOf(string(body))[:14])
	h.Set("Stripe-Version", StripeVersion)
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the reader has gone
}

func missing(what, param, id string) stripeError {
	e := badStripe(param, "resource_missing", "No such "+what+": '"+id+"'")
	e.status = http.StatusNotFound
	return e
}
