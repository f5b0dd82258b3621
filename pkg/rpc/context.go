// Package rpc is how our processes speak to one another: mTLS both ways, who
// may call read from the contract, one shape of error, a deadline on every call.
package rpc

import (
	"context"
	"regexp"

	"google.golang.org/grpc/metadata"
)

const requestIDKey = "x-request-id"

var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

type requestID struct{}

// WithRequestID gives ctx the id that stands in every log line, trace and audit
// event of the request.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestID{}, id)
}

// RequestID gives the request's id, "" outside a request.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestID{}).(string)
	return id
}

// ValidRequestID reports whether a client's own request id may be used.
func ValidRequestID(id string) bool { return requestIDForm.MatchString(id) }

// incoming gives a metadata value that was sent exactly once.
func incoming(ctx context.Context, key string) (string, bool) {
	v := metadata.ValueFromIncomingContext(ctx, key)
	if len(v) != 1 {
		return "", false
	}
	return v[0], true
}
