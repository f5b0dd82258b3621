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

// Config is what a sandbox needs to know.
type Config struct {
	PublicURL    string // where a browser finds it, e.g. http://127.0.0.1:5099
	CallbackURL  string // where its callbacks go, e.g. http://127.0.0.1:5001; the provider's path is added
	DataDir      string
	PhonePe      PhonePe
	Now          func() time.Time
	Rand         io.Reader
	Log          zerolog.Logger
	RetryBackoff time.Duration // before the second try of a callback; zero is 500 ms
}

// Server is the bank with its dialects, its page and its knobs.
type Server struct {
	publicURL, callbackURL string
	phonepe                PhonePe
	now                    func() time.Time
	log                    zerolog.Logger
	bank                   *bank
	knobs                  *knobs
	sender                 *sender
}

// New opens the bank's journal. Close the server to end its deliveries.
func New(ctx context.Context, c Config) (*Server, error) {
	b, err := openBank(c.DataDir, c.Now, c.Rand)
	if err != nil {
		return nil, err
	}
	if c.RetryBackoff == 0 {
		c.RetryBackoff = 500 * time.Millisecond
	}
	k := &knobs{}
	return &Server{
		publicURL:   strings.TrimSuffix(c.PublicURL, "/"),
		callbackURL: strings.TrimSuffix(c.CallbackURL, "/") + "/api/v1/payments/webhooks",
		phonepe:     c.PhonePe, now: c.Now, log: c.Log, bank: b, knobs: k,
		sender: newSender(ctx, k, c.Log, c.RetryBackoff),
	}, nil
}

// Close ends deliveries and closes the journal.
func (s *Server) Close() error {
	s.sender.close()
	return s.bank.journal.close()
}

// Handler is everything the sandbox serves.
func (s *Server) Handler() http.Handler {
	m := http.NewServeMux()
	s.phonepeRoutes(m)
	s.pageRoutes(m)
	m.HandleFunc("GET /control", s.showControl)
	m.HandleFunc("PUT /control", s.setControl)
	m.HandleFunc("GET /bank/statement", s.showStatement)
	m.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "live"})
	})
	return m
}

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
	o, changed, err := s.bank.settle(r.PathValue("id"), outcome)
	if err == nil {
		s.phonepeTell(o, changed)
	}
	if form && (err == nil || errors.Is(err, errPaid)) {
		http.Redirect(w, r, "/checkout/"+o.ID, http.StatusSeeOther)
		return
	}
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, map[string]any{
			"orderId": o.ID, "merchantOrderId": o.MerchantOrderID, "state": o.State, "redirectUrl": o.ReturnURL,
		})
	case errors.Is(err, errPaid):
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
