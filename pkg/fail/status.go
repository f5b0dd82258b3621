package fail

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain names us in every ErrorInfo.
const Domain = "manas360"

const internalText = "internal error"

// ToStatus is what a client may see of err. An *Error goes whole, without its
// cause; the end of a context and a peer's outage keep their code; the rest
// becomes Internal "internal error". nil gives OK.
func ToStatus(err error) *status.Status {
	if err == nil {
		return status.New(codes.OK, "")
	}
	if e, ok := As(err); ok {
		return e.status()
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return New(DeadlineExceeded, "took too long").status()
	case errors.Is(err, context.Canceled):
		return status.New(codes.Canceled, "canceled")
	}
	// A status of a client made without our interceptor; only its code is ours to tell.
	switch s, _ := status.FromError(err); s.Code() {
	case codes.Unavailable:
		return New(Unavailable, "unavailable").status()
	case codes.DeadlineExceeded:
		return New(DeadlineExceeded, "took too long").status()
	case codes.Canceled:
		return status.New(codes.Canceled, "canceled")
	case codes.Unimplemented:
		return status.New(codes.Unimplemented, "not implemented")
	default:
		return New(Internal, internalText).status()
	}
}

func (e *Error) status() *status.Status {
	info := &errdetails.ErrorInfo{Reason: e.Kind.Reason, Domain: Domain}
	msg := e.Msg
	details := []protoadapt.MessageV1{info}
	if e.Kind.Reason == Internal.Reason {
		msg = internalText // whoever made it may have put a cause in the message
	} else {
		info.Metadata = e.Meta
		if len(e.Fields) > 0 {
			bad := &errdetails.BadRequest{}
			for _, f := range e.Fields {
				bad.FieldViolations = append(bad.FieldViolations,
					&errdetails.BadRequest_FieldViolation{Field: f.Field, Description: f.Message})
			}
			details = append(details, bad)
		}
	}
	if e.Retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.Retry)})
	}
	s := status.New(e.Kind.Code, msg)
	if d, err := s.WithDetails(details...); err == nil {
		return d
	}
	return s
}

// FromError turns the error of a gRPC call into an *Error: by its ErrorInfo,
// else by its code. nil, an *Error and a plain error come back as they are, and
// so does Canceled, which is the caller's own doing.
func FromError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := As(err); ok {
		return err
	}
	s, ok := status.FromError(err)
	if !ok || s.Code() == codes.OK {
		return err
	}
	e := &Error{Msg: said(s.Message())}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if k, known := ByReason(d.GetReason()); known && d.GetDomain() == Domain {
				e.Kind, e.Meta = k, d.GetMetadata()
			}
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				e.Fields = append(e.Fields, Field{Field: v.GetField(), Message: v.GetDescription()})
			}
		case *errdetails.RetryInfo:
			e.Retry = d.GetRetryDelay().AsDuration()
		}
	}
	if e.Kind.Reason != "" {
		return e
	}
	// Not one of ours: the text is grpc's and may name an address.
	if s.Code() == codes.Canceled {
		return err
	}
	k := byCode(s.Code())
	return New(k, "%s", foreignText(k)).Wrap(err)
}

func byCode(c codes.Code) Kind {
	switch c {
	case codes.InvalidArgument, codes.OutOfRange:
		return InvalidArgument
	case codes.NotFound:
		return NotFound
	case codes.AlreadyExists, codes.Aborted:
		return Conflict
	case codes.FailedPrecondition:
		return PreconditionFailed
	case codes.Unauthenticated:
		return Unauthenticated
	case codes.PermissionDenied:
		return PermissionDenied
	case codes.ResourceExhausted:
		return RateLimited
	case codes.Unavailable:
		return Unavailable
	case codes.DeadlineExceeded:
		return DeadlineExceeded
	default:
		return Internal
	}
}

func foreignText(k Kind) string {
	if k == Internal {
		return internalText
	}
	return k.Title
}

// said is what the peer said. A client that gave up repeating a call puts its
// own words, and grpc's, before the peer's.
func said(msg string) string {
	if !strings.Contains(msg, "rpc error: code = ") {
		return msg
	}
	if i := strings.LastIndex(msg, " desc = "); i >= 0 {
		return msg[i+len(" desc = "):]
	}
	return msg
}
