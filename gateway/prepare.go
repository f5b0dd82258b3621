package gateway

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// prepare checks body, token, rule, plan, fields and quota, in this order, and gives the
// request as grpc-gateway may see it.
func (e *Edge) prepare(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	q := requestOf(r.Context())
	rt := q.route
	if rt.rpc == "" { // ours: no body, no token
		return r, nil
	}
	body, err := jsonBody(w, r)
	if err != nil {
		return nil, err
	}
	if err := e.admit(q); err != nil {
		return nil, err
	}
	if err := rpc.Allow(rt.rule, q.caller, e.now()); err != nil {
		return nil, err //nolint:wrapcheck // already what the client must see
	}
	if err := csrf(r, q.fromCookie && !rt.public()); err != nil {
		return nil, err
	}
	if err := e.entitled(rt, q.caller); err != nil {
		return nil, err
	}
	// A session that came in cookies is renewed in cookies: the page must never
	// get to see its tokens.
	q.cookieMode = wantsCookies(r) || q.fromCookie && !rt.public()
	q.hadCookies = hasSessionCookie(r)
	if rt.rpc == authv1.AuthService_Refresh_FullMethodName {
		if body, err = refreshBody(r, q, body); err != nil {
			return nil, err
		}
	}
	at, err := e.oidcInput(r, rt)
	if err != nil {
		return nil, err
	}
	if err := checkInput(r, rt, body); err != nil {
		return nil, err
	}
	if err := e.countCall(w, r, q); err != nil { // last: what is refused above is not counted
		return nil, err
	}
	if rt.rule.GetSensitive() {
		q.caller.Raw = q.raw
	}
	ctx := token.NewContext(rpc.WithRequestID(r.Context(), q.id), q.caller)
	out := scrub(r.WithContext(ctx))
	out.URL = at
	if rt.body == nil {
		body = nil // a body nobody reads
	}
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return out, nil
}

func checkInput(r *http.Request, rt *route, body []byte) error {
	if err := checkQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if keys := r.Header.Values("Idempotency-Key"); len(keys) > 0 && !validIdempotencyKey(keys) {
		return fail.New(fail.InvalidArgument, "the Idempotency-Key header is malformed").
			Field("Idempotency-Key", "must be 1 to 255 printable characters")
	}
	// One that cannot travel as metadata would be lost on the way, and the change
	// made without its condition.
	if tags := strings.Join(r.Header.Values("If-Match"), ""); !visible(tags) {
		return fail.New(fail.InvalidArgument, "the If-Match header is malformed").
			Field("If-Match", "must be a list of entity tags")
	}
	if rt.body == nil || len(body) == 0 {
		return nil
	}
	return checkBody(body, rt.body)
}

func validIdempotencyKey(values []string) bool {
	return len(values) == 1 && values[0] != "" && len(values[0]) <= 255 && visible(values[0])
}

// visible reports whether s is of printable ASCII alone.
func visible(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}

func hasSessionCookie(r *http.Request) bool {
	for _, name := range []string{accessCookie, refreshCookie, csrfCookie} {
		if _, err := r.Cookie(name); err == nil {
			return true
		}
	}
	return false
}
