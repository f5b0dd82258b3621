package sandbox

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

//go:embed page.html
var pageSource string

//go:embed page.css
var pageStyle []byte

var page = template.Must(template.New("page").Parse(pageSource))

type pageView struct {
	Status                   string // what the browser's title and the heading say
	Mark                     string // how the heading looks: good, bad or neither
	Order                    order
	Amount                   string
	Payable, Paid, Cancelled bool
	Method                   string // how the customer pays
	Back                     handback
	Front                    bool // the bank's own page, of no order
}

// handback is the way back to the merchant, with what the provider sends along.
type handback struct {
	URL    string
	Method string
	Fields map[string]string
}

// back is the customer's way back, as the order's dialect makes it.
func (s *Server) back(o order) handback {
	b := handback{URL: o.ReturnURL, Method: http.MethodGet}
	a, tried := o.last()
	switch {
	case o.Provider == stripe:
		b.URL = stripeBack(o)
		if o.Stripe.Session != "" && o.Stripe.CancelURL != "" && o.State != stateCompleted && o.State != stateAuthorized {
			b.URL = o.Stripe.CancelURL
		}
	case o.Provider == phonepe1 && o.Salted.RedirectMode == http.MethodPost:
		b.Method = http.MethodPost
		code, _, _ := phonepe1Code(o)
		b.Fields = map[string]string{
			"code": code, "merchantId": s.phonepeV1.MerchantID, "transactionId": o.MerchantOrderID, "amount": decimal(o.Amount), "providerReferenceId": o.ID,
		}
	case o.Provider == razorpay && tried && (a.State == stateCompleted || a.State == stateAuthorized):
		b.Fields = s.razorpayBack(o, a)
		if o.Link == nil {
			b.Method = http.MethodPost
			break
		}
		if u, err := url.Parse(b.URL); err == nil && b.URL != "" {
			q := u.Query()
			for k, v := range b.Fields {
				q.Set(k, v)
			}
			u.RawQuery = q.Encode()
			b.URL = u.String()
		}
	}
	return b
}

var methods = map[string]string{phonepe2: "PhonePe", phonepe1: "PhonePe", razorpay: "Razorpay", stripe: "Stripe"}

func (s *Server) pageRoutes(m *http.ServeMux) {
	m.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		s.render(w, http.StatusOK, pageView{Status: "A bank for tests", Front: true})
	})
	m.HandleFunc("GET /checkout/{id}", s.showPage)
	m.HandleFunc("POST /checkout/{id}/complete", s.complete)
	m.HandleFunc("GET /style.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = w.Write(pageStyle) // an error means that the reader has gone
	})
}

func (s *Server) showPage(w http.ResponseWriter, r *http.Request) {
	var o order
	err := s.change(func(t *tx) error {
		var err error
		o, err = t.order(r.PathValue("id"))
		return err
	})
	status, v := http.StatusOK, pageView{Order: o, Method: methods[o.Provider]}
	if err == nil {
		v.Amount, v.Back = money(o.Amount, o.currency()), s.back(o)
	}
	switch {
	case errors.Is(err, errUnknown):
		status, v.Status = http.StatusNotFound, "No such order"
	case err != nil:
		s.log.Error().Err(err).Msg("show an order")
		status, v.Status = http.StatusInternalServerError, "The sandbox failed"
	case o.State == stateCompleted, o.State == stateAuthorized:
		v.Status, v.Mark, v.Paid = "Payment successful", "good", true
	case o.State == stateCancelled, o.Debit != nil, o.Provider == stripe && o.ErrorCode == orderExpired:
		v.Status, v.Mark, v.Paid = "This payment is closed", "bad", true
	case o.State == stateFailed:
		v.Status, v.Mark, v.Cancelled, v.Payable = "Payment failed", "bad", true, true
	case len(o.Attempts) > 0:
		v.Status, v.Payable = "Payment is being processed", true
	default:
		v.Status, v.Payable = "Complete your payment", true
	}
	s.render(w, status, v)
}

func (s *Server) render(w http.ResponseWriter, status int, v pageView) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'"+origin(v.Back)+"; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	var buf bytes.Buffer
	if err := page.Execute(&buf, v); err != nil {
		s.log.Error().Err(err).Msg("render the page")
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // an error means that the reader has gone
}

// origin is where a form back to the merchant may go. Only letters, digits and what belongs to a host get into the header.
func origin(b handback) string {
	u, err := url.Parse(b.URL)
	if b.Method != http.MethodPost || err != nil || strings.ContainsAny(u.Host, " ;,'\"") || u.Host == "" {
		return ""
	}
	return " " + u.Scheme + "://" + u.Host
}

func money(minor int64, currency string) string {
	if currency == inr {
		return rupees(minor)
	}
	return fmt.Sprintf("%s %d.%02d", currency, minor/100, minor%100)
}

// rupees writes paise as people in India read them: ₹1,23,456.00.
func rupees(paise int64) string {
	whole := strconv.FormatInt(paise/100, 10)
	if len(whole) > 3 {
		head, tail := whole[:len(whole)-3], whole[len(whole)-3:]
		for len(head) > 2 {
			tail = head[len(head)-2:] + "," + tail
			head = head[:len(head)-2]
		}
		whole = head + "," + tail
	}
	return fmt.Sprintf("₹%s.%02d", whole, paise%100)
}
