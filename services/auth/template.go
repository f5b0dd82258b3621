package auth

import (
	"embed"
	"fmt"
	"html/template"
	"regexp"
	"strings"
	"sync"
	texttemplate "text/template"
)

// templates/<language>.tmpl holds, for each message, "<name>.subject" and
// "<name>", the paragraphs; where the subject says too little for a telephone,
// also "<name>.sms". layout.html makes HTML of the same paragraphs.
//
//go:embed templates
var templateFiles embed.FS

// languages are those of templates; the first stands in for any other.
var languages = []string{"en", "hi", "kn", "ta", "te"}

// form is what a message must and may be.
type form struct {
	Code   bool // carries one
	Notice bool // other services may ask for it
}

// forms are the messages there are.
var forms = map[string]form{
	"verify_email": {Code: true}, "login_code": {Code: true}, "reset_password": {Code: true}, "email_change_code": {Code: true}, "phone_code": {Code: true},

	"account_exists": {}, "password_changed": {}, "password_reset": {}, "new_device": {}, "account_locked": {}, "factor_added": {}, "factor_removed": {},
	"recovery_code_used": {}, "recovery_codes_renewed": {}, "email_changed": {}, "phone_changed": {}, "session_reuse": {},
	"account_suspended": {}, "account_reactivated": {}, "api_key_created": {}, "oidc_linked": {},

	"invitation": {Notice: true}, "terms_changed": {Notice: true}, "roles_changed": {Notice: true}, "impersonated": {Notice: true},
	"export_ready": {Notice: true}, "erasure_scheduled": {Notice: true}, "erasure_cancelled": {Notice: true}, "erasure_done": {Notice: true},
	"receipt": {Notice: true}, "credit_note": {Notice: true}, "payment_failed": {Notice: true}, "renewal_notice": {Notice: true},
	"trial_started": {Notice: true}, "trial_ending": {Notice: true}, "grace_started": {Notice: true},
	"subscription_expiring": {Notice: true}, "subscription_expired": {Notice: true},
}

type parsed struct {
	text   map[string]*texttemplate.Template // by language
	layout *template.Template
}

var templates = sync.OnceValue(func() parsed {
	p := parsed{text: map[string]*texttemplate.Template{}, layout: template.Must(template.ParseFS(templateFiles, "templates/layout.html"))}
	for _, l := range languages {
		p.text[l] = texttemplate.Must(texttemplate.ParseFS(templateFiles, "templates/"+l+".tmpl"))
	}
	return p
})

// scribe writes letters. public is the address links begin with; without one
// there are none.
type scribe struct{ public string }

// filled is what a template may print.
type filled struct{ Name, Code, Detail, Date, Link string }

// sheet is what layout.html prints.
type sheet struct {
	Locale, Subject, Open, Footer string
	Parts                         []part
}

type part struct{ Text, Code, Link string }

// write makes a letter in its reader's language, else in English. Fails for a
// template or a link that is not ours.
func (s scribe) write(m mail) (letter, error) {
	if _, ok := forms[m.Template]; !ok {
		return letter{}, fmt.Errorf("there is no message %q", m.Template)
	}
	link, err := s.link(m.Params["link"])
	if err != nil {
		return letter{}, err
	}
	l := letter{To: m.To, Channel: m.Channel, Template: m.Template, Locale: language(m.Locale), Code: m.Code}
	in := filled{Name: speakable(strings.ReplaceAll(m.Name, "@", " ")), Code: m.Code, Detail: speakable(m.Params["detail"]), Date: speakable(m.Params["date"]), Link: link}
	t := templates().text[l.Locale]
	say := func(name string) string {
		var b strings.Builder
		if err == nil {
			err = t.ExecuteTemplate(&b, name, in)
		}
		return strings.TrimSpace(b.String())
	}
	l.Subject = oneLine(say(m.Template + ".subject"))
	if m.Channel != channelEmail {
		l.Text = "Manas360: " + l.Subject
		if t.Lookup(m.Template+".sms") != nil {
			l.Text = oneLine(say(m.Template + ".sms"))
		}
		return l, written(m, err)
	}
	p := sheet{Locale: l.Locale, Subject: l.Subject, Open: say("open"), Footer: say("footer")}
	var plain []string
	for paragraph := range strings.SplitSeq(say(m.Template), "\n\n") {
		paragraph = oneLine(paragraph)
		switch paragraph {
		case "":
			continue
		case m.Code:
			p.Parts = append(p.Parts, part{Code: paragraph})
		case link:
			p.Parts = append(p.Parts, part{Link: paragraph})
		default:
			p.Parts = append(p.Parts, part{Text: paragraph})
		}
		plain = append(plain, paragraph)
	}
	l.Text = strings.Join(append(plain, "-- \n"+p.Footer), "\n\n") + "\n"
	var b strings.Builder
	if err == nil {
		err = templates().layout.Execute(&b, p)
	}
	l.HTML = b.String()
	return l, written(m, err)
}

func written(m mail, err error) error {
	if err != nil {
		return fmt.Errorf("write the message %s: %w", m.Template, err)
	}
	return nil
}

// language gives the one a message is written in: "hi" for "hi-IN".
func language(locale string) string {
	short, _, _ := strings.Cut(strings.ToLower(locale), "-")
	if _, ok := templates().text[short]; ok {
		return short
	}
	return languages[0]
}

// link makes an address of a path. Nothing a request said decides where a link
// leads: what is no path of ours is refused.
func (s scribe) link(path string) (string, error) {
	base := strings.TrimSuffix(s.public, "/")
	if base != "" {
		path = strings.TrimPrefix(path, base)
	}
	switch {
	case path == "":
		return "", nil
	case !strings.HasPrefix(path, "/"), strings.HasPrefix(path, "//"), strings.ContainsFunc(path, notInLink):
		return "", fmt.Errorf("the link is not a path of %q", s.public)
	case base == "":
		return "", nil
	}
	return base + path, nil
}

func notInLink(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`\<>"'`, r) }

// oneLine joins the lines of a text: a header has one, and nothing after it.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

var dotted = regexp.MustCompile(`[.。．｡](\pL)`)

// speakable makes of what a stranger may have chosen a text in which no mail
// program finds a link: mail of ours carries nobody's advertisement.
func speakable(s string) string {
	s = oneLine(plain(s, 300))
	s = strings.ReplaceAll(s, "://", " ")
	words := strings.Split(s, " ")
	for i, w := range words {
		if strings.Count(w, "@") != 1 || strings.Contains(w, "/") { // an address stays whole
			words[i] = dotted.ReplaceAllString(w, ". $1")
		}
	}
	return strings.Join(words, " ")
}
