package auth

import (
	"errors"
	"fmt"
	netmail "net/mail"
	"net/url"
	"time"
)

// What SMTP_TLS may be.
const (
	tlsMandatory     = "mandatory"
	tlsOpportunistic = "opportunistic"
	tlsNone          = "none"
)

// SMTPConfig is the mail server.
type SMTPConfig struct {
	Host     string `desc:"mail server; required in production"                         env:"SMTP_HOST"`
	Port     int    `desc:"its port; on 465 TLS comes first"                            env:"SMTP_PORT"     envDefault:"587"`
	Username string `desc:"how to sign in there; empty for not at all"                  env:"SMTP_USERNAME"`
	Password string `desc:"and with what"                                               env:"SMTP_PASSWORD" secret:"true"`
	From     string `desc:"whom mail is from, such as Manas360 <no-reply@example.com>"  env:"SMTP_FROM"`
	TLS      string `desc:"mandatory, opportunistic or none"                            env:"SMTP_TLS"      envDefault:"mandatory"`
}

// ProviderConfig is where SMS and WhatsApp messages are posted.
type ProviderConfig struct {
	SMSURL        string `desc:"where SMS are posted; empty for none"               env:"SMS_URL"`
	SMSToken      string `desc:"bearer token for it"                                env:"SMS_TOKEN"      secret:"true"`
	WhatsAppURL   string `desc:"where WhatsApp messages are posted; empty for none" env:"WHATSAPP_URL"`
	WhatsAppToken string `desc:"bearer token for it"                                env:"WHATSAPP_TOKEN" secret:"true"`
}

// checkMessages refuses a service that cannot mail, or whose codes would lie
// in files while real people wait for them.
func (c *Config) checkMessages() []error {
	var errs []error
	switch {
	case c.Production() && c.MessagesDir != "":
		errs = append(errs, errors.New("MESSAGES_DIR: not in production, where mail goes out by SMTP_HOST"))
	case c.Production() && c.SMTP.Host == "":
		errs = append(errs, errors.New("SMTP_HOST: required in production"))
	case c.MessagesDir == "" && c.SMTP.Host == "":
		errs = append(errs, errors.New("MESSAGES_DIR: required while SMTP_HOST is empty, there is no other way to send mail"))
	}
	if c.SMTP.Host != "" {
		if _, err := netmail.ParseAddress(c.SMTP.From); err != nil {
			errs = append(errs, errors.New("SMTP_FROM: an address, as SMTP_HOST is set"))
		}
		if c.SMTP.TLS == tlsNone && c.SMTP.Password != "" {
			errs = append(errs, errors.New("SMTP_TLS: none would send SMTP_PASSWORD in the clear"))
		}
	}
	switch c.SMTP.TLS {
	case tlsMandatory, tlsOpportunistic, tlsNone:
	default:
		errs = append(errs, fmt.Errorf("SMTP_TLS: %q is not mandatory, opportunistic or none", c.SMTP.TLS))
	}
	for _, x := range []struct {
		name, raw string
		plain     bool // http will do
	}{
		{"SMS_URL", c.Providers.SMSURL, !c.Production()},
		{"WHATSAPP_URL", c.Providers.WhatsAppURL, !c.Production()},
		{"PUBLIC_URL", c.PublicURL, true},
	} {
		u, err := url.Parse(x.raw)
		if x.raw != "" && (err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !x.plain)) {
			errs = append(errs, fmt.Errorf("%s: not an https address", x.name))
		}
	}
	return errs
}

// newTransports are the ways this service can send. A folder takes everything.
func newTransports(c Config, now func() time.Time) map[string]transport {
	all := map[string]transport{}
	if c.MessagesDir != "" {
		f := &files{dir: c.MessagesDir, now: now}
		for _, channel := range channels {
			all[channel] = f
		}
		return all
	}
	if c.SMTP.Host != "" {
		all[channelEmail] = newSMTP(c.SMTP, now)
	}
	if c.Providers.SMSURL != "" {
		all[channelSMS] = newProvider(c.Providers.SMSURL, c.Providers.SMSToken)
	}
	if c.Providers.WhatsAppURL != "" {
		all[channelWhatsApp] = newProvider(c.Providers.WhatsAppURL, c.Providers.WhatsAppToken)
	}
	return all
}

// prepareTransports makes what they need before they send.
func prepareTransports(all map[string]transport) error {
	for _, t := range all {
		if f, ok := t.(*files); ok {
			return f.prepare()
		}
	}
	return nil
}
