package auth

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var everything = mail{
	To: "asha@example.com", Name: "Asha", Code: "314159",
	Params: map[string]string{"detail": "Firefox on Linux", "date": "2026-06-01 10:00 UTC", "link": "/invitations/inv_1"},
}

// TestEveryTemplate writes each message in each language, for each channel,
// with all it may be told and with nothing.
func TestEveryTemplate(t *testing.T) {
	s := scribe{public: "https://manas360.example"}
	seen := map[string]string{} // of a language's texts, so that none is left in English
	for _, name := range slices.Sorted(maps.Keys(forms)) {
		for _, locale := range languages {
			for _, channel := range channels {
				for _, m := range []mail{everything, {To: "asha@example.com", Code: everything.Code}, {To: "asha@example.com"}} {
					m.Template, m.Locale, m.Channel = name, locale, channel
					if !forms[name].Code && name != "invitation" {
						m.Code = ""
					}
					l, err := s.write(m)
					if err != nil {
						t.Fatalf("%s in %s: %v", name, locale, err)
					}
					checkLetter(t, m, l)
					if channel == channelEmail && m.Name != "" {
						if other := seen[l.Text]; other != "" {
							t.Errorf("%s in %s is the text of %s", name, locale, other)
						}
						seen[l.Text] = name + " in " + locale
					}
				}
			}
		}
	}
}

func checkLetter(t *testing.T, m mail, l letter) {
	t.Helper()
	what := m.Template + " in " + m.Locale + " by " + m.Channel
	bodies := map[string]string{"text": l.Text}
	if m.Channel == channelEmail {
		bodies["html"] = visible(l.HTML)
	} else if l.HTML != "" {
		t.Errorf("%s: HTML by telephone", what)
	}
	for kind, body := range bodies {
		if l.Subject == "" || strings.ContainsAny(l.Subject, "\r\n") || strings.TrimSpace(body) == "" {
			t.Errorf("%s: subject %q, %s %q", what, l.Subject, kind, body)
		}
		if strings.Contains(body, "{{") || strings.Contains(body, "no value") || strings.Contains(body, " .") || strings.Contains(body, ": .") {
			t.Errorf("%s: not filled in: %s", what, body)
		}
		if m.Code != "" && strings.Count(body, m.Code) != 1 {
			t.Errorf("%s: the %s holds the code %d times: %s", what, kind, strings.Count(body, m.Code), body)
		}
		if digits := regexp.MustCompile(`\d{6}`).FindAllString(body, -1); m.Code == "" && len(digits) > 0 {
			t.Errorf("%s: the %s has what looks like a code: %q", what, kind, digits)
		}
		if m.Locale != "en" && kind == "text" && m.Channel == channelEmail && m.Name == "" && latin(body) > len(body)/6 {
			t.Errorf("%s: mostly Latin letters: %s", what, body)
		}
	}
	if m.Channel != channelEmail {
		if n := len([]rune(l.Text)); n > 160 || m.Locale == "en" && strings.ContainsFunc(l.Text, func(r rune) bool { return r > unicode.MaxASCII }) {
			t.Errorf("%s: %d characters: %s", what, n, l.Text)
		}
		return
	}
	if m.Name != "" && (!strings.Contains(l.Text, m.Name) || !strings.Contains(l.HTML, m.Name) || !strings.Contains(l.HTML, `lang="`+m.Locale+`"`)) {
		t.Errorf("%s: no name or language", what)
	}
}

func latin(s string) (n int) {
	for _, r := range s {
		if r < unicode.MaxASCII && unicode.IsLetter(r) {
			n++
		}
	}
	return n
}

// visible is what a reader sees of a page.
func visible(page string) string {
	return regexp.MustCompile(`(?s)<title>.*?</title>|<[^>]*>`).ReplaceAllString(page, "")
}

func TestUnknownTemplate(t *testing.T) {
	if l, err := (scribe{}).write(mail{Channel: channelEmail, Template: "no_such", Locale: "en"}); err == nil {
		t.Errorf("wrote %+v", l)
	}
}

func TestLanguage(t *testing.T) {
	for locale, want := range map[string]string{"hi": "hi", "hi-IN": "hi", "TA": "ta", "": "en", "fr": "en", "xx-YY": "en", "../en": "en"} {
		if got := language(locale); got != want {
			t.Errorf("%q is written in %s, want %s", locale, got, want)
		}
	}
	l, err := scribe{}.write(mail{Channel: channelEmail, Template: "verify_email", Locale: "fr", Code: "314159"})
	if err != nil || l.Locale != "en" || l.Subject != "Your Manas360 code" {
		t.Errorf("got %+v, %v", l, err)
	}
}

// TestLinksAreOurs: an address begins with PUBLIC_URL, whatever was asked for.
// identity.md row 43
func TestLinksAreOurs(t *testing.T) {
	for _, tt := range []struct{ public, path, want string }{
		{"https://m.example", "/a/b?c=d", "https://m.example/a/b?c=d"},
		{"https://m.example/", "/a", "https://m.example/a"},
		{"https://m.example", "https://m.example/a", "https://m.example/a"},
		{"https://m.example", "", ""},
		{"", "/a", ""},
		{"https://m.example", "https://evil.example/a", "refused"},
		{"https://m.example", "https://m.example.evil.example/a", "refused"},
		{"https://m.example", "https://m.example@evil.example/a", "refused"},
		{"https://m.example", "//evil.example/a", "refused"},
		{"https://m.example", `/\evil.example/a`, "refused"},
		{"https://m.example", "javascript:alert(1)", "refused"},
		{"https://m.example", "/a\r\nBcc: x@evil.example", "refused"},
		{"https://m.example", `/"><script>`, "refused"},
	} {
		got, err := scribe{public: tt.public}.link(tt.path)
		if err != nil {
			got = "refused"
		}
		if got != tt.want {
			t.Errorf("%q of %q: got %q, want %q", tt.path, tt.public, got, tt.want)
		}
	}
}

// TestLinksAreNoSecrets: what a scanner fetches is a page with a button. Every
// code stands apart from every link.
// identity.md row 44
func TestLinksAreNoSecrets(t *testing.T) {
	s := scribe{public: "https://manas360.example"}
	for name := range forms {
		m := everything
		m.Template, m.Locale, m.Channel = name, "en", channelEmail
		l, err := s.write(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`https?://[^\s"<]+`).FindAllString(l.Text+l.HTML, -1) {
			if link != "https://manas360.example/invitations/inv_1" || strings.Contains(link, m.Code) {
				t.Errorf("%s links to %s", name, link)
			}
		}
	}
}

// TestNamesAreHarmless: a name is neither HTML, nor a header, nor a link that
// a mail program would make of it.
func TestNamesAreHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"Asha":                         "Asha",
		"A.P.J. Abdul Kalam":           "A. P. J. Abdul Kalam",
		"http://evil.example/x":        "http evil. example/x",
		"win at evil.example":          "win at evil. example",
		"Asha\r\nBcc: x@evil.example":  "AshaBcc: x@evil.example",
		"x@evil.example/path":          "x@evil. example/path",
		"asha@example.com":             "asha@example.com",
		"Firefox 120.0 on 203.0.113.7": "Firefox 120.0 on 203.0.113.7",
		"ఆశ。com":                       "ఆశ. com",
		strings.Repeat("a", 400):       strings.Repeat("a", 300),
	} {
		if got := speakable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	l, err := scribe{}.write(mail{Channel: channelEmail, Template: "new_device", Locale: "en", Name: `<b>"A"</b>`, Params: map[string]string{"detail": "<script>alert(1)</script>"}})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(l.HTML, "<b>") || strings.Contains(l.HTML, "<script") || !strings.Contains(l.HTML, "&lt;script&gt;") {
		t.Errorf("not escaped: %s", l.HTML)
	}
}
