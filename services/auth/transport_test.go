package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/config"
)

// mailServer is a mail server on this host. It echoes what it refuses, as real
// ones do.
type mailServer struct {
	refuse     map[string]int // code by recipient
	refuseData int
	noTLS      bool

	port  int
	trust *tls.Config

	mu   sync.Mutex // guards what follows, and refuse
	got  []received
	auth []string
}

type received struct{ from, to, data string }

// newMailServer starts s and ends it with the test.
func newMailServer(t *testing.T, s *mailServer) *mailServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	s.trust = &tls.Config{RootCAs: pool, ServerName: "localhost"}
	server := gosmtp.NewServer(s)
	server.Domain, server.EnableSMTPUTF8 = "localhost", true
	if !s.noTLS {
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port //nolint:errcheck // it is one
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return s
}

func (s *mailServer) config() SMTPConfig {
	return SMTPConfig{Host: "127.0.0.1", Port: s.port, From: "Manas360 <no-reply@manas360.example>", TLS: tlsMandatory}
}

func (s *mailServer) transport() *smtp {
	t := newSMTP(s.config(), time.Now)
	t.tls = s.trust
	return t
}

func (s *mailServer) received() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.got...)
}

func (s *mailServer) allow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = nil
}

// NewSession implements the server's back end.
func (s *mailServer) NewSession(*gosmtp.Conn) (gosmtp.Session, error) {
	return &mailSession{mailServer: s}, nil
}

type mailSession struct {
	*mailServer

	from, to string
}

func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.auth = append(s.auth, username+":"+password)
		if password == "wrong" {
			return &gosmtp.SMTPError{Code: 535, EnhancedCode: gosmtp.EnhancedCode{5, 7, 8}, Message: "no " + username + " " + password}
		}
		return nil
	}), nil
}

func (s *mailSession) Mail(from string, _ *gosmtp.MailOptions) error { s.from = from; return nil }
func (s *mailSession) Reset()                                        {}
func (s *mailSession) Logout() error                                 { return nil }

func (s *mailSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = to
	if code := s.refuse[to]; code != 0 {
		return &gosmtp.SMTPError{Code: code, EnhancedCode: gosmtp.EnhancedCode{code / 100, 1, 1}, Message: "<" + to + "> is not known here"}
	}
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuseData != 0 {
		return &gosmtp.SMTPError{Code: s.refuseData, EnhancedCode: gosmtp.EnhancedCode{s.refuseData / 100, 7, 1}, Message: "no thanks, " + s.to}
	}
	s.got = append(s.got, received{s.from, s.to, string(data)})
	return nil
}

func mustWrite(t *testing.T, m mail) letter {
	t.Helper()
	m.Channel = channelEmail
	l, err := scribe{}.write(m)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestSMTP sends to a server that insists on TLS and a password.
func TestSMTP(t *testing.T) {
	server := newMailServer(t, &mailServer{})
	out := server.transport()
	out.c.Username, out.c.Password = "mailer", "right"
	l := mustWrite(t, mail{To: "asha@example.com", Template: "verify_email", Locale: "ta", Name: "ஆஷா", Code: "314159"})
	id := uuid.New()
	for range 2 {
		if err := out.send(t.Context(), id, l); err != nil {
			t.Fatal(err)
		}
	}
	got := server.received()
	if len(got) != 2 || got[0].from != "no-reply@manas360.example" || got[0].to != "asha@example.com" || server.auth[0] != "mailer:right" {
		t.Fatalf("got %+v, signed in as %v", got, server.auth)
	}
	m, err := netmail.ReadMessage(strings.NewReader(got[0].data))
	if err != nil {
		t.Fatal(err)
	}
	again, err := netmail.ReadMessage(strings.NewReader(got[1].data))
	if err != nil {
		t.Fatal(err)
	}
	if want := "<" + id.String() + "@manas360.example>"; m.Header.Get("Message-Id") != want || again.Header.Get("Message-Id") != want {
		t.Errorf("ids %s and %s, want %s", m.Header.Get("Message-Id"), again.Header.Get("Message-Id"), want)
	}
	decoded, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || decoded != l.Subject {
		t.Errorf("subject %q, %v; want %q", decoded, err, l.Subject)
	}
	_, boundary, _ := strings.Cut(m.Header.Get("Content-Type"), `boundary=`)
	parts := multipart.NewReader(m.Body, strings.Trim(boundary, `"`))
	var kinds []string
	for {
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil || strings.Count(string(body), "314159") != 1 {
			t.Errorf("%s: %v: %s", p.Header.Get("Content-Type"), err, body)
		}
		kind, _, _ := strings.Cut(p.Header.Get("Content-Type"), ";")
		kinds = append(kinds, kind)
	}
	if diff := cmp.Diff([]string{"text/plain", "text/html"}, kinds); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}

// TestSMTPRefusals tells what may be tried again from what may not, and names
// nobody.
func TestSMTPRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server *mailServer
		change func(*smtp)
		final  bool
		why    string
	}{
		{"greylisted", &mailServer{refuse: map[string]int{"asha@example.com": 451}}, nil, false, "451"},
		{"unknown", &mailServer{refuse: map[string]int{"asha@example.com": 550}}, nil, true, "550 5.1.1"},
		{"spam", &mailServer{refuseData: 554}, nil, true, "554"},
		{"busy", &mailServer{refuseData: 452}, nil, false, "452"},
		{"wrong password", &mailServer{}, func(s *smtp) { s.c.Username, s.c.Password = "mailer", "wrong" }, false, ""},
		{"no TLS there", &mailServer{noTLS: true}, nil, false, ""},
		{"stranger's certificate", &mailServer{}, func(s *smtp) { s.tls = nil }, false, ""},
		{"nobody there", &mailServer{}, func(s *smtp) { s.c.Port = 1 }, false, "refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := newMailServer(t, tt.server)
			out := server.transport()
			if tt.change != nil {
				tt.change(out)
			}
			err := out.send(t.Context(), uuid.New(), mustWrite(t, anyMail))
			var u *undelivered
			if !errors.As(err, &u) || u.Final != tt.final || !strings.Contains(u.Why, tt.why) {
				t.Fatalf("got %+v, want final %v and %q", err, tt.final, tt.why)
			}
			for _, secret := range []string{"asha", "314159", "wrong"} {
				if strings.Contains(u.Why, secret) {
					t.Errorf("%q holds %q", u.Why, secret)
				}
			}
			if n := len(server.received()); n != 0 {
				t.Errorf("%d messages were taken", n)
			}
		})
	}
}

// TestNoHeaderInjection: whatever a name, a subject or an address holds, there
// is one reader and no header of theirs.
func TestNoHeaderInjection(t *testing.T) {
	server := newMailServer(t, &mailServer{})
	out := server.transport()
	l := mustWrite(t, mail{To: "asha@example.com", Template: "verify_email", Name: "Asha\r\nBcc: evil@example.com\r\n\r\nbody", Code: "314159"})
	l.Subject += "\r\nBcc: evil@example.com\r\nX-Evil: 1\r\n\r\n<b>"
	if err := out.send(t.Context(), uuid.New(), l); err != nil {
		t.Fatal(err)
	}
	got := server.received()
	m, err := netmail.ReadMessage(strings.NewReader(got[0].data))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || m.Header.Get("Bcc") != "" || m.Header.Get("X-Evil") != "" || m.Header.Get("To") != "<asha@example.com>" {
		t.Errorf("headers: %v", m.Header)
	}
	for _, to := range []string{
		"asha@example.com\r\nRCPT TO:<evil@example.com>", "asha@example.com, evil@example.com", "asha<evil@example.com>", "a b@example.com", "asha@example.com>", "",
	} {
		l.To = to
		var u *undelivered
		if err := out.send(t.Context(), uuid.New(), l); !errors.As(err, &u) || !u.Final {
			t.Errorf("sent to %q: %v", to, err)
		}
	}
	if n := len(server.received()); n != 1 {
		t.Errorf("%d messages were taken, want 1", n)
	}
}

// TestProvider posts an SMS.
func TestProvider(t *testing.T) {
	status, delay := http.StatusAccepted, make(chan struct{})
	var body map[string]string
	var header http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status == 0 {
			<-delay
			return
		}
		body, header = nil, r.Header
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body["to"])
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(delay) })
	out := newProvider(server.URL, "s3same")
	m := mail{Channel: channelSMS, To: "+919876543210", Template: "login_code", Locale: "hi", Code: "314159"}
	l, err := scribe{}.write(m)
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.New()
	if err := out.send(t.Context(), id, l); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"to": m.To, "text": l.Text, "template": "login_code", "locale": "hi"}, body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if header.Get("Authorization") != "Bearer s3same" || header.Get("Content-Type") != "application/json" || header.Get("Idempotency-Key") != id.String() {
		t.Errorf("header: %v", header)
	}
	out.client.Timeout = 200 * time.Millisecond
	for _, tt := range []struct {
		status int
		final  bool
	}{{400, true}, {404, true}, {422, true}, {401, false}, {403, false}, {408, false}, {429, false}, {500, false}, {503, false}, {302, false}, {0, false}} {
		status = tt.status
		err := out.send(t.Context(), id, l)
		var u *undelivered
		if !errors.As(err, &u) || u.Final != tt.final || strings.Contains(u.Why, m.To) || strings.Contains(u.Why, "s3same") {
			t.Errorf("%d: got %+v, want final %v", tt.status, err, tt.final)
		}
	}
}

// TestTransportsOfAnEnvironment: in production mail goes out by SMTP or the
// process does not start.
func TestTransportsOfAnEnvironment(t *testing.T) {
	base := []string{
		"DATABASE_URL=x", "USER_ADDR=x", "SUBSCRIPTION_ADDR=x", "AUDIT_ADDR=x",
		"JWT_SECRET=" + strings.Repeat("a", 32), "JWT_REFRESH_SECRET=" + strings.Repeat("b", 32), "PAGE_TOKEN_SECRET=" + strings.Repeat("c", 32),
	}
	for _, tt := range []struct{ environ, want string }{
		{"MESSAGES_DIR=/m", "EMAIL:*auth.files SMS:*auth.files WHATSAPP:*auth.files"},
		{"MESSAGES_DIR=/m SMTP_HOST=h SMTP_FROM=a@b.example SMS_URL=https://s.example", "EMAIL:*auth.files SMS:*auth.files WHATSAPP:*auth.files"},
		{"SMTP_HOST=h SMTP_FROM=a@b.example", "EMAIL:*auth.smtp"},
		{"NODE_ENV=production SMTP_HOST=h SMTP_FROM=a@b.example SMS_URL=https://s.example WHATSAPP_URL=https://w.example", "EMAIL:*auth.smtp SMS:*auth.provider WHATSAPP:*auth.provider"},
		{"NODE_ENV=production SMTP_HOST=h SMTP_FROM=a@b.example PUBLIC_URL=http://inside.example", "EMAIL:*auth.smtp"},
		{"SMTP_HOST=h SMTP_FROM=a@b.example SMTP_TLS=none", "EMAIL:*auth.smtp"},
		{"", ""},
		{"NODE_ENV=production", ""},
		{"NODE_ENV=production MESSAGES_DIR=/m", ""},
		{"NODE_ENV=production MESSAGES_DIR=/m SMTP_HOST=h SMTP_FROM=a@b.example", ""},
		{"NODE_ENV=production SMTP_HOST=h SMTP_FROM=a@b.example SMS_URL=http://s.example", ""},
		{"SMTP_HOST=h", ""},
		{"SMTP_HOST=h SMTP_FROM=nobody", ""},
		{"SMTP_HOST=h SMTP_FROM=a@b.example SMTP_TLS=perhaps", ""},
		{"SMTP_HOST=h SMTP_FROM=a@b.example SMTP_TLS=none SMTP_PASSWORD=p", ""},
		{"MESSAGES_DIR=/m PUBLIC_URL=manas360.example", ""},
	} {
		c, err := config.Load[Config](append(base[:len(base):len(base)], strings.Fields(tt.environ)...))
		got := ""
		if err == nil {
			all := newTransports(c, time.Now)
			for _, channel := range channels {
				if x, ok := all[channel]; ok {
					got = strings.TrimSpace(got + " " + channel + ":" + typeName(x))
				}
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %q, %v; want %q", tt.environ, got, err, tt.want)
		}
	}
}

func typeName(x transport) string { return fmt.Sprintf("%T", x) }
