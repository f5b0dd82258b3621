package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	netmail "net/mail"
	"net/textproto"
	"strings"
	"time"

	"github.com/google/uuid"
	gomail "github.com/wneessen/go-mail"
)

const implicitTLS = 465 // the one port where TLS comes before the first word

// smtp hands e-mail to a server: one connection each, since a code waits for
// nothing and nobody.
type smtp struct {
	c    SMTPConfig
	from *netmail.Address
	now  func() time.Time
	tls  *tls.Config // of tests, whose certificates nobody knows
}

func newSMTP(c SMTPConfig, now func() time.Time) *smtp {
	from, err := netmail.ParseAddress(c.From)
	if err != nil {
		from = &netmail.Address{} // Validate has refused it
	}
	return &smtp{c: c, from: from, now: now}
}

func (t *smtp) client() (*gomail.Client, error) {
	policy := map[string]gomail.TLSPolicy{
		tlsMandatory: gomail.TLSMandatory, tlsOpportunistic: gomail.TLSOpportunistic, tlsNone: gomail.NoTLS,
	}[t.c.TLS]
	config := &tls.Config{ServerName: t.c.Host, MinVersion: tls.VersionTLS12}
	if t.tls != nil {
		config = t.tls
	}
	options := []gomail.Option{
		gomail.WithPort(t.c.Port), gomail.WithTLSPolicy(policy), gomail.WithTimeout(mailTimeout), gomail.WithTLSConfig(config), gomail.WithoutNoop(),
	}
	if t.c.Port == implicitTLS {
		options = append(options, gomail.WithSSL())
	}
	if t.c.Username != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(t.c.Username), gomail.WithPassword(t.c.Password))
	}
	c, err := gomail.NewClient(t.c.Host, options...)
	if err != nil {
		return nil, fmt.Errorf("make the mail client: %w", err)
	}
	return c, nil
}

// compose makes the message. An address that means another one than it says,
// such as "a <b@c>", is refused.
func (t *smtp) compose(id uuid.UUID, l letter) (*gomail.Msg, error) {
	to, err := netmail.ParseAddress(l.To)
	if err != nil || to.Address != l.To || to.Name != "" {
		return nil, &undelivered{Why: "not an address", Final: true}
	}
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(t.from)
	m.AddToMailAddress(to)
	m.Subject(oneLine(l.Subject))
	m.SetDateWithValue(t.now())
	_, domain, _ := strings.Cut(t.from.Address, "@")
	m.SetMessageIDWithValue(id.String() + "@" + domain) // the same each time: a mailbox drops the second
	m.SetGenHeader("Auto-Submitted", "auto-generated")  // RFC 3834: no out-of-office answers
	m.SetGenHeader("Content-Language", l.Locale)
	m.SetBodyString(gomail.TypeTextPlain, l.Text)
	if l.HTML != "" {
		m.AddAlternativeString(gomail.TypeTextHTML, l.HTML)
	}
	return m, nil
}

// send implements transport.
func (t *smtp) send(ctx context.Context, id uuid.UUID, l letter) error {
	m, err := t.compose(id, l)
	if err != nil {
		return err
	}
	c, err := t.client()
	if err != nil {
		return &undelivered{Why: err.Error()}
	}
	if err := c.DialAndSendWithContext(ctx, m); err != nil && !m.IsDelivered() {
		return smtpRefusal(err)
	}
	return nil // an error after the server took it, at QUIT, is no reason to send it again
}

// smtpRefusal keeps of an error the codes. Servers repeat the address, and some
// the password. Final is only what concerns the reader or the message: a
// sender or a password that is refused today is a setting to be mended.
func smtpRefusal(err error) error {
	var s *gomail.SendError
	if errors.As(err, &s) {
		why := "the mail server refused: " + s.Reason.String()
		if s.ErrorCode() > 0 {
			why = strings.TrimSpace(fmt.Sprintf("%s: %d %s", why, s.ErrorCode(), s.EnhancedStatusCode()))
		}
		final := s.ErrorCode()/100 == 5 && (s.Reason == gomail.ErrSMTPRcptTo || s.Reason == gomail.ErrSMTPDataClose)
		return &undelivered{Why: why, Final: final}
	}
	var p *textproto.Error
	if errors.As(err, &p) {
		return &undelivered{Why: fmt.Sprintf("the mail server answered %d", p.Code)}
	}
	return unreachable("the mail server", err)
}
