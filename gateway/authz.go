package gateway

import (
	"crypto/subtle"
	"net/http"

	"github.com/manas360/platform/pkg/fail"
)

// csrf demands that whoever acts with a cookie can also read one, which a
// foreign page cannot.
func csrf(r *http.Request, byCookie bool) error {
	if !byCookie || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	cookie, err := r.Cookie(csrfCookie)
	header := r.Header.Get("X-Csrf-Token")
	if err != nil || cookie.Value == "" || subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(header)) != 1 {
		return fail.New(fail.CSRFFailed, "the X-CSRF-Token header must repeat the csrf_token cookie")
	}
	return nil
}
