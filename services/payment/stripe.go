package payment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stripe/stripe-go/v85"

	"github.com/manas360/platform/services/payment/factstate"
)

const (
	stripeMinPaise = 50 // half a rupee
	stripeCurrency = "inr"
	// sessionLife is how long a page can be paid; Stripe takes half an hour to a day.
	sessionLife = time.Hour
)

// stripeCheckout speaks to Stripe by its own client, which may not repeat calls
// on its own. Safe for concurrent use.
type stripeCheckout struct {
	api *stripe.Client
	now func() time.Time
}

func newStripe(c Stripe, now func() time.Time, calls *prometheus.CounterVec) *stripeCheckout {
	backend := stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: stripe.String(strings.TrimSuffix(c.BaseURL, "/")), HTTPClient: &http.Client{Transport: stripeLine{newLine(stripeCode, calls)}},
		MaxNetworkRetries: stripe.Int64(0), EnableTelemetry: stripe.Bool(false),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull}, // it would print what customers send
	})
	return &stripeCheckout{api: stripe.NewClient(c.APIKey, stripe.WithBackends(&stripe.Backends{API: backend})), now: now}
}

// stripeLine makes Stripe's client call over our line.
type stripeLine struct{ line *line }

// RoundTrip gives answers; a server's failure is none, nor is a way elsewhere.
func (l stripeLine) RoundTrip(req *http.Request) (*http.Response, error) {
	a, err := l.line.exchange(req)
	if err != nil {
		return nil, err
	}
	if a.status >= http.StatusMultipleChoices && a.status < http.StatusBadRequest {
		return nil, fmt.Errorf("%s %s answered %d", req.Method, req.URL.Path, a.status)
	}
	return &http.Response{
		StatusCode: a.status, Status: http.StatusText(a.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)), Request: req,
	}, nil
}

func (c *stripeCheckout) atLeast() int64 { return stripeMinPaise }

// pay opens a session. All that it sends follows from the order: with the same
// key Stripe answers the same session, and refuses other parameters.
func (c *stripeCheckout) pay(ctx context.Context, o order) (opened, error) {
	names := map[string]string{noteOrder: o.MerchantOrderID, notePayment: o.PaymentID}
	p := &stripe.CheckoutSessionCreateParams{
		Mode: stripe.String("payment"), ClientReferenceID: stripe.String(o.MerchantOrderID), Metadata: names,
		SuccessURL: stripe.String(o.ReturnURL), CancelURL: stripe.String(o.ReturnURL), ExpiresAt: stripe.Int64(o.CreatedAt.Add(sessionLife).Unix()),
		PaymentIntentData: &stripe.CheckoutSessionCreatePaymentIntentDataParams{Metadata: names},
		LineItems: []*stripe.CheckoutSessionCreateLineItemParams{{
			Quantity: stripe.Int64(1),
			PriceData: &stripe.CheckoutSessionCreateLineItemPriceDataParams{
				Currency: stripe.String(stripeCurrency), UnitAmount: stripe.Int64(o.AmountMinor),
				ProductData: &stripe.CheckoutSessionCreateLineItemPriceDataProductDataParams{Name: stripe.String("Manas360")},
			},
		}},
	}
	p.SetIdempotencyKey(o.MerchantOrderID)
	s, err := c.api.V1CheckoutSessions.Create(ctx, p)
	if err != nil {
		return opened{}, stripeRefusal("pay", err)
	}
	if s.ID == "" || s.ClientReferenceID != o.MerchantOrderID || s.AmountTotal != o.AmountMinor || s.Currency != stripeCurrency || !isAddress(s.URL) {
		return opened{}, errors.New("the session is about something else, or has nowhere to pay")
	}
	return opened{ProviderOrderID: s.ID, RedirectURL: s.URL, ExpiresAt: expiry(time.Unix(s.ExpiresAt, 0), c.now())}, nil
}

// stripeRefusal is what an error says of a call that changes something.
func stripeRefusal(doing string, err error) error {
	var e *stripe.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	code := string(e.Code)
	if code == "" {
		code = string(e.Type)
	}
	if e.Type == stripe.ErrorTypeIdempotency { // the first of that key may have done it
		return fmt.Errorf("%s answered %d %s", doing, e.HTTPStatusCode, code)
	}
	return refusal(doing, e.HTTPStatusCode, clip(code, maxFailureCodeLen))
}

// stripeQuestion is the error of a call that only asks. Stripe's own has the
// account's key in its text when that is wrong.
func stripeQuestion(doing string, err error) error {
	var e *stripe.Error
	if errors.As(err, &e) {
		return fmt.Errorf("%s answered %d %s", doing, e.HTTPStatusCode, e.Code)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// status asks about the session. One whose answer was lost cannot be looked up
// by our name, but paying again under the same key gives it: nobody has its page
// until then, so it is as good as not known.
func (c *stripeCheckout) status(ctx context.Context, o sentOrder) (fact, error) {
	if o.ProviderOrderID == "" {
		return fact{}, errNoOrder
	}
	s, err := c.session(ctx, o.ProviderOrderID, "payment_intent", "payment_intent.latest_charge")
	if err != nil {
		return fact{}, err
	}
	return sessionFact(s, o.MerchantOrderID), nil
}

func (c *stripeCheckout) session(ctx context.Context, id string, expand ...string) (*stripe.CheckoutSession, error) {
	p := &stripe.CheckoutSessionRetrieveParams{}
	for _, name := range expand {
		p.AddExpand(name)
	}
	s, err := c.api.V1CheckoutSessions.Retrieve(ctx, id, p)
	if err != nil {
		var e *stripe.Error
		if errors.As(err, &e) && e.Code == stripe.ErrorCodeResourceMissing {
			return nil, errNoOrder
		}
		return nil, stripeQuestion("session", err)
	}
	if s.ID != id {
		return nil, errors.New("the answer is about another session")
	}
	return s, nil
}

// sessionFact takes the money's word from the intent, the page's from the session.
func sessionFact(s *stripe.CheckoutSession, asked string) fact {
	f := fact{
		MerchantOrderID: asked, EchoedOrderID: s.ClientReferenceID, ProviderOrderID: s.ID, AmountMinor: s.AmountTotal,
		Currency: strings.ToUpper(string(s.Currency)), RedirectURL: s.URL,
	}
	pi := s.PaymentIntent
	if pi != nil {
		f.fromIntent(pi)
	}
	switch {
	case s.PaymentStatus == stripe.CheckoutSessionPaymentStatusPaid && pi != nil && pi.Status == stripe.PaymentIntentStatusSucceeded:
		f.Kind, f.FailureCode = factstate.Captured, ""
		f.AmountMinor, f.Currency = pi.AmountReceived, strings.ToUpper(string(pi.Currency))
	case s.PaymentStatus != stripe.CheckoutSessionPaymentStatusUnpaid: // the two contradict each other
	case s.Status == stripe.CheckoutSessionStatusExpired:
		f.Kind = factstate.Lapsed
	case s.Status == stripe.CheckoutSessionStatusOpen: // also after a decline: the page takes another try
		f.Kind = factstate.Opened
	case s.Status != stripe.CheckoutSessionStatusComplete || pi == nil:
	case pi.Status == stripe.PaymentIntentStatusProcessing, pi.Status == stripe.PaymentIntentStatusRequiresCapture,
		pi.Status == stripe.PaymentIntentStatusRequiresAction, pi.Status == stripe.PaymentIntentStatusRequiresConfirmation:
		f.Kind = factstate.Opened
	case pi.Status == stripe.PaymentIntentStatusCanceled, pi.Status == stripe.PaymentIntentStatusRequiresPaymentMethod:
		f.Kind = factstate.Declined // the page is used up
	default:
	}
	return f
}

func (f *fact) fromIntent(pi *stripe.PaymentIntent) {
	if name := pi.Metadata[noteOrder]; name != "" && name != f.MerchantOrderID {
		f.EchoedOrderID = name
	}
	if ch := pi.LatestCharge; ch != nil && ch.Created > 0 {
		f.PaidAt = time.Unix(ch.Created, 0).UTC()
		if ch.PaymentMethodDetails != nil {
			f.Method = clip(string(ch.PaymentMethodDetails.Type), maxMethodLen)
		}
	}
	if e := pi.LastPaymentError; e != nil {
		f.FailureCode = clip(string(e.Code), maxFailureCodeLen)
	}
}
