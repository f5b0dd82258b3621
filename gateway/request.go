package gateway

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"golang.org/x/text/language"

	"github.com/manas360/platform/pkg/token"
)

// request is what the chain learns about one HTTP request on its way in. It is
// owned by the request's goroutine.
type request struct {
	id      string
	traceID string
	client  netip.Addr
	locale  string
	route   *route // nil while unknown and for paths that do not exist
	pattern string // for the log and metrics; never the raw path

	raw        string // the access token as sent
	fromCookie bool   // raw came in the access_token cookie
	byKey      bool   // an API key was sent; raw is the token that stands for it
	badKey     bool   // and it is none of ours
	caller     *token.Caller
	tokenErr   error // why raw is no good

	ifNoneMatch string
	hadCookies  bool  // any of the session's cookies came along
	cookieMode  bool  // the answer's tokens go into cookies
	cause       error // what lies behind a 5xx, for the log
}

type requestKey struct{}

func withRequest(ctx context.Context, q *request) context.Context {
	return context.WithValue(ctx, requestKey{}, q)
}

// requestOf gives the request's state; outside the chain an empty one.
func requestOf(ctx context.Context) *request {
	if q, ok := ctx.Value(requestKey{}).(*request); ok {
		return q
	}
	return &request{locale: "en"}
}

const maxUserAgent = 256 // bytes of it that services see

func userAgent(r *http.Request) string {
	ua := r.UserAgent()
	if len(ua) > maxUserAgent {
		ua = ua[:maxUserAgent]
	}
	return strings.ToValidUTF8(ua, "")
}

// validRequestID reports whether a client's id may stand in our logs.
func validRequestID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

var (
	locales = []string{"en", "hi", "kn", "ta", "te"} // the first is the fallback

	// Parallel to locales.
	matcher = language.NewMatcher([]language.Tag{
		language.English, language.Hindi, language.Kannada, language.Tamil, language.Telugu,
	})
)

// maxAcceptLanguage bounds a parser whose cost grows with its input.
const maxAcceptLanguage = 128

func negotiate(header string) string {
	if header == "" || len(header) > maxAcceptLanguage {
		return locales[0]
	}
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil || len(tags) == 0 {
		return locales[0]
	}
	_, i, _ := matcher.Match(tags...)
	return locales[i]
}
