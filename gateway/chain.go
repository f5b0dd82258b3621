package gateway

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/rpc"
)

const maxHeaderBytes = 32 << 10

// recorder remembers the status for log, trace and metrics.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the first status.
func (w *recorder) WriteHeader(code int) {
	if w.status == 0 && code >= http.StatusOK {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write notes the status that goes without saying.
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b) //nolint:wrapcheck // a writer's error is its caller's
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// observe is the outermost layer: request id, trace, log, metrics, recovery.
func (e *Edge) observe(next http.Handler) http.Handler {
	tracer := otel.Tracer("github.com/manas360/platform/gateway")
	propagator := propagation.TraceContext{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := e.now()
		q := &request{
			id:          r.Header.Get("X-Request-Id"),
			client:      e.proxies.client(r.RemoteAddr, r.Header.Values("X-Forwarded-For")),
			locale:      negotiate(r.Header.Get("Accept-Language")),
			pattern:     "unknown",
			ifNoneMatch: strings.Join(r.Header.Values("If-None-Match"), ","),
		}
		if !validRequestID(q.id) {
			q.id = e.ids.New().String()
		}
		ctx := propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		if sc := span.SpanContext(); sc.HasTraceID() {
			q.traceID = sc.TraceID().String()
		}
		log := e.log.With().Str("request_id", q.id).Str("trace_id", q.traceID).Logger()
		ctx = withRequest(log.WithContext(ctx), q)
		w.Header().Set("X-Request-Id", q.id)
		rec := &recorder{ResponseWriter: w}
		r = r.WithContext(ctx)

		brokenOff := e.recovered(rec, r, next) //nolint:contextcheck // r carries it

		if rec.status == 0 {
			rec.status = http.StatusOK
		}
		span.SetName(r.Method + " " + q.pattern)
		span.SetAttributes(attribute.String("http.route", q.pattern), attribute.Int("http.response.status_code", rec.status))
		if rec.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(rec.status))
		}
		took := e.now().Sub(began)
		e.durations.WithLabelValues(methodLabel(r.Method), q.pattern, strconv.Itoa(rec.status)).Observe(took.Seconds())
		access(log, r.Method, q, rec.status, took)
		if brokenOff {
			panic(http.ErrAbortHandler) // the client must see that it has not all
		}
	})
}

func access(log zerolog.Logger, method string, q *request, status int, took time.Duration) {
	level := zerolog.InfoLevel
	switch {
	case q.cause != nil && status == http.StatusInternalServerError:
		level = zerolog.ErrorLevel
	case q.cause != nil:
		level = zerolog.WarnLevel
	}
	log.WithLevel(level).Err(q.cause).Str("method", methodLabel(method)).Str("route", q.pattern).Int("status", status).Dur("dur", took).Msg("request")
}

// methodLabel keeps a client's inventions out of logs and metrics.
func methodLabel(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	default:
		return "OTHER"
	}
}

// recovered serves r and reports whether the answer broke off in the middle.
func (e *Edge) recovered(w *recorder, r *http.Request, next http.Handler) (brokenOff bool) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares so
			brokenOff = true
			return
		}
		zerolog.Ctx(r.Context()).Error().Any("panic", v).Bytes("stack", debug.Stack()).Msg("request panicked")
		if w.status == 0 {
			e.problem(w, r, fail.New(fail.Internal, "internal error").Wrap(fmt.Errorf("panic: %v", v)))
		}
	}()
	next.ServeHTTP(w, r)
	return false
}

// secure sets the headers every answer has.
func (e *Edge) secure(next http.Handler) http.Handler {
	fixed := map[string]string{
		"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), payment=()",
		"Cache-Control":                "no-store",
	}
	if e.production {
		fixed["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains"
	}
	// One list of values for all answers, full, so that whoever adds to it gets his
	// own: a Set for each was 11 allocations a request.
	shared := make(http.Header, len(fixed))
	for k, v := range fixed {
		shared[http.CanonicalHeaderKey(k)] = []string{v}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		maps.Copy(w.Header(), shared)
		if headerBytes(r) > maxHeaderBytes {
			w.Header().Set("Connection", "close")
			e.headersTooLarge(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func headerBytes(r *http.Request) int {
	n := len(r.RequestURI)
	for k, vs := range r.Header {
		for _, v := range vs {
			n += len(k) + len(v) + len(": \r\n")
		}
	}
	return n
}

// headersTooLarge is the 431 of headers the server itself still took. The
// contract has no code of its own for it.
func (e *Edge) headersTooLarge(w http.ResponseWriter, r *http.Request) {
	kind := fail.InvalidArgument
	kind.HTTP, kind.Title = http.StatusRequestHeaderFieldsTooLarge, "Request headers too large"
	e.problem(w, r, fail.New(kind, "the request's headers are larger than %d KiB", maxHeaderBytes>>10))
}

// deadline is what one request may take in all, services included.
const deadline = 10 * time.Second

// dispatch finds the route and runs the checks in order: limits, method,
// token, body, rule, CSRF. Each refusal ends the request with a problem.
func (e *Edge) dispatch(w http.ResponseWriter, r *http.Request) {
	q := requestOf(r.Context())
	path := canonicalPath(r.URL.EscapedPath())
	at, known := e.routes.find(path)
	if known {
		q.route = at.pick(r.Method)
	}
	limit := deadline
	if q.route != nil && q.route.streams {
		limit = rpc.StreamDeadline
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	r = r.WithContext(ctx)
	if err := e.enter(w, r, at, known); err != nil {
		e.refusedAt(r.Method, q, err)
		e.problem(w, r, err)
		return
	}
	rt := q.route
	q.pattern = rt.pattern
	if rt.raw {
		rt.serve(w, r, at.params)
		return
	}
	served, err := e.prepare(w, r)
	if err != nil {
		e.refusedAt(r.Method, q, err)
		e.problem(w, r, err)
		return
	}
	rt.serve(w, served, at.params)
}

// enter charges the limits, which every request meets, found or not, and then
// answers for the path and the method.
func (e *Edge) enter(w http.ResponseWriter, r *http.Request, at found, known bool) error {
	q := requestOf(r.Context())
	right := q.route != nil
	if known && !right {
		q.route = at.any() // a wrong method counts against the path
	}
	if known {
		q.pattern = q.route.pattern
	}
	charges := addressCharges(e.prefix, q)
	raw := right && q.route.raw
	if raw {
		charges = webhookCharges(e.prefix, q)
	}
	if s, ok := e.limiter.blocked(charges); ok {
		return e.report(w, s)
	}
	if raw {
		e.identify(scrub(r), q) // a provider's Authorization is no token of ours
		return nil
	}
	e.identify(r, q)
	if q.badKey {
		charges = append(charges, keyCharges(e.prefix, q)...)
	}
	if right {
		charges = append(charges, accountCharges(e.prefix, q)...)
	}
	if err := e.limit(w, r, charges); err != nil {
		return err
	}
	switch {
	case !known:
		return fail.New(fail.NotFound, "there is nothing at this address")
	case !right:
		w.Header().Set("Allow", strings.Join(at.allowed(), ", "))
		return fail.New(fail.MethodNotAllowed, "this address takes %s", strings.Join(at.allowed(), ", "))
	case q.route.rule.GetMfa(): // what administrators do
		return e.letIn(q)
	default:
		return nil
	}
}
