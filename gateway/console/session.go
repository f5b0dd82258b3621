package console

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// Cookies of the console. No script reads them, no other site sends them, no
// other path sees them.
const (
	accessCookie  = "console_access"
	refreshCookie = "console_refresh"
	mfaCookie     = "console_mfa" // between the first factor and the second
	deviceCookie  = "console_device"
	themeCookie   = "console_theme"

	mfaLife   = 5 * time.Minute
	longLife  = 365 * 24 * time.Hour
	deviceTag = "X-Device-Token"
)

var errSignedOut = errors.New("not signed in")

// session is what the browser holds. Claims are read for the names and links of
// a page alone; whether a call is allowed is the API's to say.
type session struct {
	access, refresh, device string
	claims                  token.Claims
}

func (s *session) open() bool { return s.access != "" || s.refresh != "" }

// may reports whether the token says that a permission is held.
func (s *session) may(permission string) bool {
	return slices.Contains(s.claims.Permissions, permission)
}

func (c *Console) session(r *http.Request) *session {
	value := func(name string) string {
		k, err := r.Cookie(name)
		if err != nil {
			return ""
		}
		return k.Value
	}
	s := &session{refresh: value(refreshCookie), device: value(deviceCookie)}
	s.take(value(accessCookie))
	return s
}

// take reads an access token's claims; one that cannot be read is none.
func (s *session) take(access string) {
	s.access, s.claims = "", token.Claims{}
	parts := strings.Split(access, ".")
	if len(parts) != 3 {
		return
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &s.claims) != nil {
		return
	}
	s.access = access
}

func (x *exchange) cookie(name, value string, life time.Duration) {
	k := &http.Cookie{ //nolint:gosec // plain http in development
		Name: name, Value: value, Path: Root, MaxAge: int(life / time.Second),
		Secure: x.secure, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
	if value == "" {
		k.MaxAge = -1
	}
	http.SetCookie(x.w, k)
}

// begin takes the tokens of a session.
func (x *exchange) begin(access, refresh string, accessLife, refreshLife int32) {
	x.s.take(access)
	x.s.refresh = refresh
	x.cookie(accessCookie, access, time.Duration(accessLife)*time.Second)
	x.cookie(refreshCookie, refresh, time.Duration(refreshLife)*time.Second)
}

func (x *exchange) grant(g *authv1.SessionGrant) {
	x.begin(g.GetAccessToken(), g.GetRefreshToken(), g.GetExpiresIn(), g.GetRefreshExpiresIn())
}

func (x *exchange) end() {
	x.s.access, x.s.refresh = "", ""
	x.cookie(accessCookie, "", 0)
	x.cookie(refreshCookie, "", 0)
}

// renew refreshes the session; one that cannot be refreshed is over.
func (x *exchange) renew() error {
	if x.s.refresh == "" {
		return errSignedOut
	}
	m, err := x.api.do(x.r, "", call{method: http.MethodPost, path: "/auth/refresh", body: map[string]string{"refreshToken": x.s.refresh}})
	var p *Problem
	if errors.As(err, &p) && (p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden) {
		x.end()
		return errSignedOut
	}
	if err != nil {
		return err
	}
	var g authv1.SessionGrant
	if err := m.decode(&g); err != nil {
		return err
	}
	x.grant(&g)
	return nil
}

// call asks the API as the administrator. A token that is over or stale is
// renewed once.
func (x *exchange) call(in call) (*memory, error) {
	renewed := false
	if x.s.access == "" {
		if err := x.renew(); err != nil {
			return nil, err
		}
		renewed = true
	}
	m, err := x.api.do(x.r, x.s.access, in)
	var p *Problem
	if !errors.As(err, &p) {
		return m, err
	}
	switch p.Code {
	case "TOKEN_EXPIRED", "TOKEN_STALE":
	case "TOKEN_REVOKED", "INVALID_TOKEN", "UNAUTHENTICATED":
		return nil, errSignedOut
	default: // also a wrong password of a step-up, which must not be tried twice
		return m, err
	}
	if renewed {
		return nil, errSignedOut
	}
	if err := x.renew(); err != nil {
		return nil, err
	}
	return x.api.do(x.r, x.s.access, in)
}

// get reads one thing.
func (x *exchange) get(path string, query url.Values, into proto.Message) error {
	m, err := x.call(call{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return err
	}
	return m.decode(into)
}

// post does something; body is sent as JSON.
func (x *exchange) post(path string, body any) (*memory, error) {
	return x.call(call{method: http.MethodPost, path: path, body: body})
}

// key is a fresh idempotency key for a form: however often it is sent, it
// happens once (money.md B18).
func (x *exchange) key() (string, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(x.rand, b); err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	return "console-" + base64.RawURLEncoding.EncodeToString(b), nil
}

// toSignIn sends to the sign-in, and from there back to a page that was read.
func (x *exchange) toSignIn() {
	x.end()
	target := Root + "sign-in"
	if x.r.Method == http.MethodGet && x.r.URL.Path != Root {
		target += "?next=" + url.QueryEscape(x.r.URL.RequestURI())
	}
	http.Redirect(x.w, x.r, target, http.StatusSeeOther)
}

// local is a page of the console, or its first: nobody is sent elsewhere by a
// link.
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, Root) ||
		strings.Contains(u.Path, "//") || strings.Contains(u.Path, "..") || strings.Contains(next, "\\") {
		return Root
	}
	return u.RequestURI()
}
