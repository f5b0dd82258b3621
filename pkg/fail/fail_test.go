package fail_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/manas360/platform/pkg/fail"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

func TestKindsAreTheContractsReasons(t *testing.T) {
	var want, got []string
	for number := 1; number < len(typev1.Reason_name); number++ {
		want = append(want, typev1.Reason_name[int32(number)])
	}
	for _, k := range fail.Kinds() {
		got = append(got, k.Reason)
		if k.Title == "" || k.HTTP < 400 || k.Code == codes.OK {
			t.Errorf("kind of %s is incomplete: %+v", k.Reason, k)
		}
		if found, ok := fail.ByReason(k.Reason); !ok || found != k {
			t.Errorf("ByReason(%s): got %+v, %t", k.Reason, found, ok)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds (-contract +ours):\n%s", diff)
	}
	fail.Kinds()[0] = fail.Kind{} // the caller's copy
	if fail.Kinds()[0] != fail.InvalidArgument {
		t.Error("a caller changed the list")
	}
}

func TestErrorCrossesGRPCWhole(t *testing.T) {
	want := fail.New(fail.InvalidArgument, "the request is %s", "invalid").
		With("limit", "3").Field("items[0].planCode", "unknown").Field("email", "missing").RetryAfter(1500 * time.Millisecond)
	got := fail.FromError(fail.ToStatus(fmt.Errorf("read: %w", want.Wrap(errors.New("secret row")))).Err())
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(fail.Error{})); diff != "" {
		t.Errorf("after the wire (-want +got):\n%s", diff)
	}
	if strings.Contains(got.Error(), "secret") {
		t.Errorf("the cause crossed: %v", got)
	}
}

func TestToStatus(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		code codes.Code
		msg  string
	}{
		{"none", nil, codes.OK, ""},
		{"plain", errors.New("pg: row of user 42"), codes.Internal, "internal error"},
		{"internal with text", fail.New(fail.Internal, "pg: row of user 42"), codes.Internal, "internal error"},
		{"deadline", fmt.Errorf("query: %w", context.DeadlineExceeded), codes.DeadlineExceeded, "took too long"},
		{"canceled", fmt.Errorf("query: %w", context.Canceled), codes.Canceled, "canceled"},
		{"foreign outage", fmt.Errorf("call: %w", status.Error(codes.Unavailable, "dial 10.0.0.1")), codes.Unavailable, "unavailable"},
		{"foreign bug", status.Error(codes.Unknown, "user 42"), codes.Internal, "internal error"},
		{"unimplemented", status.Error(codes.Unimplemented, "method X"), codes.Unimplemented, "not implemented"},
		{"wrapped", fmt.Errorf("open: %w", fail.New(fail.TokenStale, "stale")), codes.Unauthenticated, "stale"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := fail.ToStatus(tt.err)
			if s.Code() != tt.code || s.Message() != tt.msg {
				t.Errorf("ToStatus(%v): got %s %q, want %s %q", tt.err, s.Code(), s.Message(), tt.code, tt.msg)
			}
		})
	}
}

func TestFromErrorOfStrangers(t *testing.T) {
	for code, want := range map[codes.Code]fail.Kind{
		codes.Unavailable:        fail.Unavailable,
		codes.DeadlineExceeded:   fail.DeadlineExceeded,
		codes.NotFound:           fail.NotFound,
		codes.InvalidArgument:    fail.InvalidArgument,
		codes.Unauthenticated:    fail.Unauthenticated,
		codes.PermissionDenied:   fail.PermissionDenied,
		codes.ResourceExhausted:  fail.RateLimited,
		codes.Aborted:            fail.Conflict,
		codes.FailedPrecondition: fail.PreconditionFailed,
		codes.Unknown:            fail.Internal,
	} {
		err := fail.FromError(status.Error(code, "dial tcp 10.0.0.1:7000"))
		e, ok := fail.As(err)
		if !ok || !fail.Is(err, want) {
			t.Errorf("FromError(%s): got %v, want %s", code, err, want.Reason)
			continue
		}
		if strings.Contains(e.Msg, "10.0.0.1") {
			t.Errorf("FromError(%s) tells an address: %q", code, e.Msg)
		}
	}
	plain := errors.New("plain")
	if got := fail.FromError(plain); !errors.Is(got, plain) {
		t.Errorf("FromError(plain): got %v", got)
	}
	if got := fail.FromError(nil); got != nil {
		t.Errorf("FromError(nil): got %v", got)
	}
}

// A call that was repeated in vain fails with the peer's words alone.
func TestRepeatedInVain(t *testing.T) {
	told := fail.New(fail.Unavailable, "the numbers are being counted").RetryAfter(time.Second)
	flat := fail.ToStatus(told).Proto()
	flat.Message = "max retries exhausted: failed after 3 attempts: rpc error: code = Unavailable desc = " + flat.GetMessage()
	f, ok := fail.As(fail.FromError(status.FromProto(flat).Err()))
	if !ok || f.Kind != fail.Unavailable || f.Msg != "the numbers are being counted" || f.Retry != time.Second {
		t.Errorf("%+v", f)
	}
}
