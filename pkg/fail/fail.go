// Package fail holds the errors a caller can act on. A rule returns an *Error;
// every other error is internal by definition and its text never leaves the
// process. An *Error crosses gRPC whole.
package fail

import (
	"errors"
	"fmt"
	"time"
)

// Error is a refusal with a code of the public contract. Msg is for a person
// and may reach the client; the wrapped cause never does.
type Error struct {
	Kind   Kind
	Msg    string
	Meta   map[string]string
	Fields []Field
	Retry  time.Duration

	cause error
}

// Field is one bad field of a request, by its JSON path.
type Field struct{ Field, Message string }

// New makes an error of kind k. Nothing secret may stand in the message.
func New(k Kind, format string, args ...any) *Error {
	if len(args) == 0 {
		return &Error{Kind: k, Msg: format}
	}
	return &Error{Kind: k, Msg: fmt.Sprintf(format, args...)}
}

// With adds a fact a program may read.
func (e *Error) With(key, value string) *Error {
	if e.Meta == nil {
		e.Meta = make(map[string]string, 1)
	}
	e.Meta[key] = value
	return e
}

// RetryAfter says when a repeat may succeed.
func (e *Error) RetryAfter(d time.Duration) *Error {
	e.Retry = d
	return e
}

// Field adds a bad field by its JSON path, such as "items[0].planCode".
func (e *Error) Field(field, msg string) *Error {
	e.Fields = append(e.Fields, Field{Field: field, Message: msg})
	return e
}

// Wrap keeps the cause for the log.
func (e *Error) Wrap(cause error) *Error {
	e.cause = cause
	return e
}

// Error is the text for the log: reason, message, cause.
func (e *Error) Error() string {
	s := e.Kind.Reason
	if e.Msg != "" {
		s += ": " + e.Msg
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether err is, or wraps, an *Error of kind k.
func Is(err error, k Kind) bool {
	e, ok := As(err)
	return ok && e.Kind.Reason == k.Reason
}

// As finds the outermost *Error in err's chain.
func As(err error) (*Error, bool) {
	return errors.AsType[*Error](err)
}
