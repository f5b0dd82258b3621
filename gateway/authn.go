package gateway

import (
	"net/http"
	"strings"
	"time"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
)

const (
	accessCookie  = "access_token"
	refreshCookie = "refresh_token"
	csrfCookie    = "csrf_token"
	deviceCookie  = "device"
	deviceHeader  = "X-Device-Token" // for clients that keep no cookies
	maxDevice     = 128
)

// identify finds the access token and who it stands for. It refuses nothing:
// whether the token matters is the rule's business, later; the limits by
// account need the answer before.
func (e *Edge) identify(r *http.Request, q *request) {
	q.caller = &token.Caller{}
	q.raw, q.fromCookie, q.tokenErr = accessToken(r)
	switch {
	case q.tokenErr != nil || q.raw == "":
	case token.LooksLikeAPIKey(q.raw):
		e.identifyKey(r.Context(), q)
	default:
		q.caller, q.tokenErr = e.callerOf(q.raw)
	}
	q.caller.ClientIP = q.client.String()
	q.caller.UserAgent = userAgent(r)
	q.caller.RequestID = q.id
	q.caller.Locale = q.locale
	q.caller.Device = deviceToken(r)
}

// deviceToken is what the device shows to be known again; auth judges it.
func deviceToken(r *http.Request) string {
	v := r.Header.Get(deviceHeader)
	if c, err := r.Cookie(deviceCookie); err == nil && c.Value != "" {
		v = c.Value
	}
	if len(v) > maxDevice || !visible(v) {
		return ""
	}
	return v
}

// callerOf gives who a token stands for, nobody if it is no good.
func (e *Edge) callerOf(raw string) (*token.Caller, error) {
	claims, err := e.verifier.Verify(raw)
	if err != nil {
		return &token.Caller{}, err //nolint:wrapcheck // already what the client must see
	}
	c, err := e.verifier.Caller(claims)
	if err != nil {
		return &token.Caller{}, err //nolint:wrapcheck // as above
	}
	return c, nil
}

// accessToken reads the token from where it may stand: exactly one place.
func accessToken(r *http.Request) (raw string, fromCookie bool, err error) {
	headers := r.Header.Values("Authorization")
	cookie, cookieErr := r.Cookie(accessCookie)
	hasCookie := cookieErr == nil && cookie.Value != ""
	switch {
	case len(headers) > 0 && hasCookie:
		return "", false, fail.New(fail.InvalidArgument, "send either the Authorization header or the access_token cookie, not both").
			Field("Authorization", "must not be sent together with the access_token cookie")
	case len(headers) > 1:
		return "", false, fail.New(fail.InvalidToken, "more than one Authorization header")
	case len(headers) == 1:
		scheme, value, _ := strings.Cut(headers[0], " ")
		if !strings.EqualFold(scheme, "Bearer") || value == "" {
			return "", false, fail.New(fail.InvalidToken, "the Authorization header is not a bearer token")
		}
		return value, false, nil
	case hasCookie:
		return cookie.Value, true, nil
	default:
		return "", false, nil
	}
}

// admit decides whether the token may be used now: genuine, not revoked, not
// out of date. A public route goes on without one.
func (e *Edge) admit(q *request) error {
	err := e.usable(q)
	if err == nil {
		return nil
	}
	if q.route.public() {
		q.forget()
		return nil
	}
	return err
}

func (e *Edge) usable(q *request) error {
	switch {
	case q.tokenErr != nil:
		return q.tokenErr
	case q.raw == "":
		return fail.New(fail.Unauthenticated, "sign in first")
	}
	if !e.roles.loaded.Load() {
		return starting()
	}
	if err := e.epochs.check(q.caller); err != nil {
		if q.byKey && fail.Is(err, fail.TokenStale) { // a program cannot refresh; the next request exchanges its key anew
			return fail.New(fail.Unavailable, "permissions are changing, try again").RetryAfter(time.Second)
		}
		return err
	}
	if q.route.rule.GetSensitive() {
		return e.epochs.fresh(e.now())
	}
	return nil
}

// forget makes the request anonymous.
func (q *request) forget() {
	q.raw, q.fromCookie, q.byKey, q.tokenErr = "", false, false, nil
	q.caller = &token.Caller{
		ClientIP: q.caller.ClientIP, UserAgent: q.caller.UserAgent,
		RequestID: q.caller.RequestID, Locale: q.caller.Locale, Device: q.caller.Device,
	}
}
