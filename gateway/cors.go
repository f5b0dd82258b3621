package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/rs/cors"

	"github.com/manas360/platform/pkg/fail"
)

const corsMaxAge = 86400 // seconds; contract section 1

// origins is the exact allow-list.
type origins map[string]bool

// parseOrigins refuses what would open the API to everybody: wildcards, "null"
// (any sandboxed frame), and in production anything a network can forge.
func parseOrigins(list []string, production bool) (origins, error) {
	out := origins{}
	var errs []error
	for _, s := range list {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		if err := checkOrigin(s, production); err != nil {
			errs = append(errs, fmt.Errorf("ALLOWED_ORIGINS: %q %w", s, err))
			continue
		}
		out[strings.ToLower(s)] = true
	}
	return out, errors.Join(errs...)
}

func checkOrigin(s string, production bool) error {
	if strings.Contains(s, "*") || strings.EqualFold(s, "null") {
		return errors.New("would let every site in")
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Scheme+"://"+u.Host != s {
		return errors.New("is not an origin such as https://app.example.com")
	}
	host := u.Hostname()
	if production && u.Scheme == "http" && host != "localhost" && host != "127.0.0.1" && host != "::1" {
		return errors.New("must be https in production")
	}
	return nil
}

// corsLayer answers pre-flights and marks the answers of allowed origins. A
// foreign origin gets no CORS header; its pre-flight is refused in words.
func (e *Edge) corsLayer(next http.Handler) http.Handler {
	c := cors.New(cors.Options{
		AllowOriginFunc: func(o string) bool { return e.origins[strings.ToLower(o)] },
		AllowedMethods: []string{
			http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		},
		AllowedHeaders: []string{
			deviceHeader,
			"Accept", "Accept-Language", "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match",
			"Traceparent", "Tracestate", "X-Csrf-Token", "X-Request-Id", "X-Session-Mode",
		},
		ExposedHeaders: []string{
			deviceHeader,
			"RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset",
			"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
			"Retry-After", "X-Request-Id", "ETag", "Idempotency-Replayed",
		},
		MaxAge:           corsMaxAge,
		AllowCredentials: true,
	})
	inner := c.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		preflight := r.Method == http.MethodOptions && origin != "" && r.Header.Get("Access-Control-Request-Method") != ""
		switch {
		case preflight && !e.origins[strings.ToLower(origin)]:
			w.Header().Add("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
			requestOf(r.Context()).pattern = "preflight"
			e.problem(w, r, fail.New(fail.PermissionDenied, "this origin may not call the API"))
		case preflight:
			requestOf(r.Context()).pattern = "preflight"
			inner.ServeHTTP(w, r)
		case origin != "" && !e.origins[strings.ToLower(origin)]:
			w.Header().Add("Vary", "Origin")
			next.ServeHTTP(w, r)
		default:
			inner.ServeHTTP(w, r)
		}
	})
}
