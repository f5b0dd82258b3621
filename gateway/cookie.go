package gateway

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

const (
	accessPath  = "/api"
	refreshPath = apiBase + "/auth"
	csrfPath    = "/"
	deviceLife  = 365 * 24 * time.Hour
)

// wantsCookies reports whether the client asked for its tokens as cookies.
func wantsCookies(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("X-Session-Mode"), "cookie")
}

// hideTokens moves the tokens of a session out of the answer and into cookies
// that no script can read.
func (e *Edge) hideTokens(w http.ResponseWriter, answer any) error {
	switch s := answer.(type) {
	case *authv1.SessionGrant:
		if s == nil || s.AccessToken == nil {
			return nil
		}
		csrfToken, err := e.setCookies(w, s.GetAccessToken(), s.GetExpiresIn(), s.GetRefreshToken(), s.GetRefreshExpiresIn())
		if err != nil {
			return err
		}
		s.AccessToken, s.RefreshToken, s.CsrfToken = nil, nil, proto.String(csrfToken)
	case *authv1.LoginAnswer:
		if s == nil || s.AccessToken == nil {
			return nil // the second factor is still owed
		}
		csrfToken, err := e.setCookies(w, s.GetAccessToken(), s.GetExpiresIn(), s.GetRefreshToken(), s.GetRefreshExpiresIn())
		if err != nil {
			return err
		}
		s.AccessToken, s.RefreshToken, s.CsrfToken = nil, nil, proto.String(csrfToken)
	}
	return nil
}

// handDevice moves the device's token out of the answer: into a cookie that no
// script can read, or for other clients into a header.
func (e *Edge) handDevice(w http.ResponseWriter, answer any, asCookie bool) {
	var value *string
	switch s := answer.(type) {
	case *authv1.SessionGrant:
		if s != nil {
			value, s.DeviceToken = s.DeviceToken, nil
		}
	case *authv1.LoginAnswer:
		if s != nil {
			value, s.DeviceToken = s.DeviceToken, nil
		}
	}
	switch {
	case value == nil:
	case asCookie:
		http.SetCookie(w, e.cookie(deviceCookie, *value, refreshPath, int(deviceLife/time.Second)))
	default:
		w.Header().Set(deviceHeader, *value)
	}
}

func (e *Edge) setCookies(w http.ResponseWriter, access string, accessLife int32, refresh string, refreshLife int32) (string, error) {
	b := make([]byte, 32)
	if _, err := io.ReadFull(e.random(), b); err != nil {
		return "", fmt.Errorf("make csrf token: %w", err)
	}
	csrfToken := base64.RawURLEncoding.EncodeToString(b)
	http.SetCookie(w, e.cookie(accessCookie, access, accessPath, int(accessLife)))
	http.SetCookie(w, e.cookie(refreshCookie, refresh, refreshPath, int(refreshLife)))
	http.SetCookie(w, e.cookie(csrfCookie, csrfToken, csrfPath, int(refreshLife)))
	return csrfToken, nil
}

func (e *Edge) clearCookies(w http.ResponseWriter) {
	http.SetCookie(w, e.cookie(accessCookie, "", accessPath, -1))
	http.SetCookie(w, e.cookie(refreshCookie, "", refreshPath, -1))
	http.SetCookie(w, e.cookie(csrfCookie, "", csrfPath, -1))
}

func (e *Edge) cookie(name, value, path string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // plain http in development; the page must read the csrf cookie
		Name: name, Value: value, Path: path, MaxAge: maxAge,
		Secure: e.production, HttpOnly: name != csrfCookie, SameSite: http.SameSiteStrictMode,
	}
}

func (e *Edge) random() io.Reader {
	if e.rand != nil {
		return e.rand
	}
	return rand.Reader
}

// refreshBody puts the refresh_token cookie into a body that has none. The
// session then stays in cookies: handing the new tokens to the page would undo
// what HttpOnly is for.
func refreshBody(r *http.Request, q *request, body []byte) ([]byte, error) {
	members := map[string]json.RawMessage{}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &members); err != nil {
			return body, nil //nolint:nilerr // the field check says what is wrong with it
		}
	}
	for _, name := range []string{"refreshToken", "refresh_token"} {
		if v, ok := members[name]; ok && string(v) != `""` && string(v) != "null" {
			return body, nil
		}
		delete(members, name)
	}
	cookie, err := r.Cookie(refreshCookie)
	if err != nil || cookie.Value == "" {
		if len(members) > 0 {
			return body, nil // something else is in it: the field check speaks first
		}
		return nil, fail.New(fail.InvalidRefreshToken, "no refresh token given")
	}
	if err := csrf(r, true); err != nil {
		return nil, err
	}
	q.cookieMode = true
	text, err := json.Marshal(cookie.Value)
	if err != nil {
		return nil, fmt.Errorf("encode refresh token: %w", err)
	}
	members["refreshToken"] = text
	out, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("encode refresh body: %w", err)
	}
	return out, nil
}
