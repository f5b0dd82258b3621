package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

const maxBodyBytes = 64 << 10

// Config is what a sandbox needs to know. A dialect without its keys is not spoken.
type Config struct {
	PublicURL    string // where a browser finds it, e.g. http://127.0.0.1:5099
	CallbackURL  string // where its callbacks go, e.g. http://127.0.0.1:5001; the provider's path is added
	DataDir      string
	PhonePe      PhonePe
	PhonePeV1    PhonePeV1
	Razorpay     Razorpay
	Stripe       Stripe
	Now          func() time.Time
	Rand         io.Reader
	Log          zerolog.Logger
	RetryBackoff time.Duration // before the second try of a callback; zero is 500 ms
	Step         time.Duration // between the states of a refund and of a mandate's notice; zero is 200 ms
	Late         time.Duration // what "later" means in a scenario; zero is 2 s
}

// Server is the bank with its dialects, its page and its knobs.
type Server struct {
	publicURL, callbackURL string
	phonepe                PhonePe
	phonepeV1              PhonePeV1
	razorpay               Razorpay
	stripe                 Stripe
	now                    func() time.Time // the bank's clock
	step, late             time.Duration
	log                    zerolog.Logger
	bank                   *bank
	knobs                  *knobs
	sender                 *sender
	running                running // Stripe's and Razorpay's idempotency keys in use
}

// New opens the bank's journal, and goes on with what it had begun. Close the server to end its deliveries.
func New(ctx context.Context, c Config) (*Server, error) {
	k := newKnobs(c.Now)
	b, err := openBank(c.DataDir, k.clock, c.Rand)
	if err != nil {
		return nil, err
	}
	for _, d := range []struct {
		at    *time.Duration
		usual time.Duration
	}{{&c.RetryBackoff, 500 * time.Millisecond}, {&c.Step, 200 * time.Millisecond}, {&c.Late, 2 * time.Second}} {
		if *d.at == 0 {
			*d.at = d.usual
		}
	}
	s := &Server{
		publicURL:   strings.TrimSuffix(c.PublicURL, "/"),
		callbackURL: strings.TrimSuffix(c.CallbackURL, "/") + "/api/v1/payments/webhooks",
		phonepe:     c.PhonePe, phonepeV1: c.PhonePeV1, razorpay: c.Razorpay, stripe: c.Stripe,
		now: k.clock, step: c.Step, late: c.Late, log: c.Log, bank: b, knobs: k,
		sender:  newSender(ctx, k, c.Log, c.Now, c.RetryBackoff),
		running: running{keys: map[string]bool{}},
	}
	s.resume()
	return s, nil
}

// Close ends deliveries and closes the journal.
func (s *Server) Close() error {
	s.sender.close()
	return s.bank.journal.close()
}

// change runs one change of the bank, sends its callbacks, and plans what follows by itself.
func (s *Server) change(fn func(*tx) error) error {
	t, err := s.bank.do(fn)
	if err != nil {
		return err
	}
	for _, n := range t.notices {
		n.fate = t.fate
		s.sender.post(n)
	}
	s.due(t.e)
	return nil
}

// Handler is everything the sandbox serves.
func (s *Server) Handler() http.Handler {
	m := http.NewServeMux()
	s.phonepeRoutes(m)
	s.autopayRoutes(m)
	s.phonepe1Routes(m)
	s.razorpayRoutes(m)
	s.stripeRoutes(m)
	// Razorpay and Stripe have /v1 on hosts of their own; on this one the key tells which is meant.
	// stripe-go takes no base address with a path.
	m.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		r2 := r.Clone(r.Context())
		r2.URL.RawPath = ""
		if user, _, ok := r.BasicAuth(); ok && strings.HasPrefix(user, "rzp_") {
			r2.URL.Path = "/razorpay" + r.URL.Path
		} else {
			r2.URL.Path = "/stripe" + r.URL.Path
		}
		m.ServeHTTP(w, r2)
	})
	s.pageRoutes(m)
	m.HandleFunc("GET /control", s.showControl)
	m.HandleFunc("PUT /control", s.setControl)
	m.HandleFunc("GET /bank/statement", s.showStatement)
	m.HandleFunc("GET /bank/settlement", s.showSettlement)
	m.HandleFunc("POST /bank/dispute", s.dispute)
	m.HandleFunc("POST /bank/mandate", s.mandateByCustomer)
	m.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "live"})
	})
	return m
}

// refuse writes a dialect's own error.
type refuse func(w http.ResponseWriter, status int, code, message string)

// unreliable plays the faults of a merchant's call: it is late, it is refused, or its answer is lost.
func (s *Server) unreliable(no refuse, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if ms := s.knobs.get().CallDelayMs; ms > 0 {
			s.sender.wait(time.Duration(ms) * time.Millisecond)
		}
		if s.knobs.takeCall() {
			no(w, http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "the provider is down")
			return
		}
		if s.knobs.takeAnswer() {
			next(nowhere{http.Header{}}, r)
			panic(http.ErrAbortHandler) // net/http cuts the connection
		}
		next(w, r)
	}
}

// status is for calls that only ask.
func (s *Server) status(no refuse, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.knobs.get().StatusUnavailable {
			no(w, http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "the status call is down")
			return
		}
		next(w, r)
	}
}

// nowhere is where a lost answer goes.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

func (s *Server) showControl(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.knobs.get())
}

func (s *Server) setControl(w http.ResponseWriter, r *http.Request) {
	raw, ok := readBody(w, r)
	if !ok {
		writeJSON(w, http.StatusBadRequest, map[string]string{"code": "MALFORMED_BODY", "message": "the body cannot be read"})
		return
	}
	c, err := parseControl(raw)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"code": "INVALID_ARGUMENT", "message": err.Error()})
		return
	}
	s.knobs.set(c)
	if !c.Reorder {
		s.sender.release()
	}
	s.log.Info().Interface("control", c).Msg("control changed")
	writeJSON(w, http.StatusOK, c)
}

func (s *Server) showStatement(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(w)
	for _, row := range s.bank.statement() {
		if err := e.Encode(row); err != nil {
			return // the reader has gone
		}
	}
}

// complete is the customer's decision as JSON; the page posts a form to the same place.
func (s *Server) complete(w http.ResponseWriter, r *http.Request) {
	form := strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
	outcome, ok := readOutcome(w, r, form)
	if !ok {
		writeJSON(w, http.StatusBadRequest, map[string]string{"code": "MALFORMED_BODY", "message": errNoOutcome.Error()})
		return
	}
	o, err := s.pay(r.PathValue("id"), outcome)
	if form && (err == nil || errors.Is(err, errPaid) || errors.Is(err, errClosed)) {
		http.Redirect(w, r, "/checkout/"+o.ID, http.StatusSeeOther)
		return
	}
	switch {
	case err == nil:
		back := s.back(o)
		writeJSON(w, http.StatusOK, map[string]any{
			"orderId": o.ID, "merchantOrderId": o.MerchantOrderID, "state": o.State, "redirectUrl": back.URL, "redirectMethod": back.Method, "handback": back.Fields,
		})
	case errors.Is(err, errPaid), errors.Is(err, errClosed):
		writeJSON(w, http.StatusConflict, map[string]string{"code": "CONFLICT", "message": err.Error(), "state": o.State})
	case errors.Is(err, errUnknown):
		writeJSON(w, http.StatusNotFound, map[string]string{"code": "NOT_FOUND", "message": err.Error()})
	case errors.Is(err, errNoOutcome):
		writeJSON(w, http.StatusBadRequest, map[string]string{"code": "INVALID_ARGUMENT", "message": err.Error()})
	default:
		s.log.Error().Err(err).Msg("settle an order")
		writeJSON(w, http.StatusInternalServerError, map[string]string{"code": "INTERNAL", "message": "the sandbox failed"})
	}
}

func readOutcome(w http.ResponseWriter, r *http.Request, form bool) (string, bool) {
	if form {
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		return r.PostFormValue("outcome"), true
	}
	raw, ok := readBody(w, r)
	var q struct {
		Outcome string `json:"outcome"`
	}
	if !ok || json.Unmarshal(raw, &q) != nil {
		return "", false
	}
	return q.Outcome, true
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	return raw, err == nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encode the answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// An error means that the reader has gone; nobody is left to tell.
	_, _ = w.Write(append(raw, '\n'))
}
