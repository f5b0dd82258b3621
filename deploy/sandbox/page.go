package sandbox

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
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
	Front                    bool // the bank's own page, of no order
}

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
	o, err := s.bank.order(r.PathValue("id"))
	status, v := http.StatusOK, pageView{Order: o, Amount: rupees(o.Amount)}
	switch {
	case errors.Is(err, errUnknown):
		status, v.Status = http.StatusNotFound, "No such order"
	case err != nil:
		s.log.Error().Err(err).Msg("show an order")
		status, v.Status = http.StatusInternalServerError, "The sandbox failed"
	case o.State == stateCompleted:
		v.Status, v.Mark, v.Paid = "Payment successful", "good", true
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
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
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
