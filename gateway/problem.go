package gateway

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/manas360/platform/pkg/fail"
)

// messagesJSON holds one sentence for each code in each language but English,
// whose sentence is the error's own.
//
//go:embed messages.json
var messagesJSON []byte

type messages map[string]map[string]string

func parseMessages() (messages, error) {
	var m messages
	if err := json.Unmarshal(messagesJSON, &m); err != nil {
		return nil, fmt.Errorf("parse messages: %w", err)
	}
	return m, nil
}

type problemField struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// members are the names a problem has of its own; an error's facts come beside
// them, never in their place.
var (
	members    = map[string]bool{"type": true, "title": true, "status": true, "detail": true, "code": true, "requestId": true, "errors": true, "instance": true}
	memberForm = regexp.MustCompile(`^[a-z][A-Za-z0-9]{0,31}$`)
)

// problem answers err as application/problem+json, RFC 9457. What is not a
// fail.Error is internal, and nothing of its text is told.
func (e *Edge) problem(w http.ResponseWriter, r *http.Request, err error) {
	q := requestOf(r.Context())
	p := asProblem(err)
	if p.Kind.HTTP >= http.StatusInternalServerError {
		q.cause = err
	}
	h := w.Header()
	for _, name := range []string{"Content-Length", "Etag", "Trailer", "Transfer-Encoding"} {
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Language", q.locale)
	h.Add("Vary", "Accept-Language")
	if p.Kind.HTTP == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", challenge(p.Kind))
	}
	retry := p.Retry
	if retry == 0 && p.Kind.HTTP == http.StatusServiceUnavailable {
		retry = time.Second
	}
	if retry > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(retry.Seconds())), 10))
	}
	body, merr := json.Marshal(e.problemBody(p, q))
	if merr != nil { // strings only: cannot happen, but an empty 500 would tell nobody
		body = []byte(`{"title":"Internal error","status":500,"code":"INTERNAL","errors":[]}`)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Kind.HTTP)
	_, _ = w.Write(body) // the client has hung up: nobody to tell
}

func (e *Edge) problemBody(p *fail.Error, q *request) map[string]any {
	fields := make([]problemField, 0, len(p.Fields))
	for _, f := range p.Fields {
		fields = append(fields, problemField{Field: jsonPath(f.Field, q.route), Message: f.Message})
	}
	detail := p.Msg
	if p.Kind.Reason == fail.Internal.Reason {
		detail = "something went wrong on our side"
	}
	if detail == "" {
		detail = p.Kind.Title
	}
	if local, ok := e.messages[p.Kind.Reason][q.locale]; ok {
		detail = local
	}
	body := map[string]any{
		"type": "/docs#" + p.Kind.Reason, "title": p.Kind.Title, "status": p.Kind.HTTP, "detail": detail,
		"code": p.Kind.Reason, "requestId": q.id, "errors": fields,
	}
	if p.Kind.Reason != fail.Internal.Reason {
		for k, v := range p.Meta {
			if !members[k] && memberForm.MatchString(k) {
				body[k] = v
			}
		}
	}
	return body
}

// asProblem finds what may be told of err.
func asProblem(err error) *fail.Error {
	if p, ok := fail.As(err); ok {
		return p
	}
	if _, ok := status.FromError(err); ok {
		if p, ok := fail.As(fail.FromError(err)); ok {
			return p
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fail.New(fail.DeadlineExceeded, "took too long").Wrap(err)
	case errors.Is(err, context.Canceled), status.Code(err) == codes.Canceled:
		// The client has gone; the status is for the log.
		return fail.New(fail.Unavailable, "canceled").Wrap(err)
	default:
		return fail.New(fail.Internal, "internal error").Wrap(err)
	}
}

func challenge(k fail.Kind) string {
	switch k.Reason {
	case fail.InvalidToken.Reason, fail.TokenExpired.Reason, fail.TokenRevoked.Reason, fail.TokenStale.Reason:
		return `Bearer error="invalid_token"`
	default:
		return "Bearer"
	}
}

// jsonPath speaks of a field as the client wrote it: lowerCamel, and without
// the name of the message a PATCH's body stands for.
func jsonPath(path string, rt *route) string {
	parts := strings.Split(path, ".")
	for i, p := range parts {
		parts[i] = lowerCamel(p)
	}
	if rt != nil && rt.field != "" && len(parts) > 1 && parts[0] == rt.field {
		parts = parts[1:]
	}
	return strings.Join(parts, ".")
}

func lowerCamel(s string) string {
	if !strings.Contains(s, "_") {
		return s
	}
	var b strings.Builder
	up := false
	for _, c := range s {
		switch {
		case c == '_':
			up = true
		case up && c >= 'a' && c <= 'z':
			b.WriteRune(c - 'a' + 'A')
			up = false
		default:
			b.WriteRune(c)
			up = false
		}
	}
	return b.String()
}

// What grpc-gateway and protojson say of a bad query parameter or body; they
// are the second look, after our own.
var (
	unknownField = regexp.MustCompile(`unknown field "([^"]{1,64})"`)
	namedField   = regexp.MustCompile(`(?:parsing field|parsing list|values for field|invalid value for [a-z0-9]+ field|duplicate field) "?([A-Za-z0-9_.]{1,64})"?`)
)

// transcodingError turns what grpc-gateway itself refuses, a plain status of
// INVALID_ARGUMENT, into ours. Errors of services come as they are.
func transcodingError(err error) error {
	if _, ok := fail.As(err); ok {
		return err
	}
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.InvalidArgument || len(s.Details()) > 0 {
		return err
	}
	p := fail.New(fail.InvalidArgument, "the request has bad values").Wrap(err)
	if m := unknownField.FindStringSubmatch(s.Message()); m != nil {
		return p.Field(m[1], "is not a known field")
	}
	if m := namedField.FindStringSubmatch(s.Message()); m != nil {
		return p.Field(lowerCamel(m[1]), "has an invalid value")
	}
	return p
}
