package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// writePause is how long a client may take for one part of a stream.
const writePause = 30 * time.Second

// streamed serves an answer that comes in parts. One that fails before its
// first byte is a problem like any other. Afterwards the connection is broken:
// a client must never take half a file for a whole one.
func (e *Edge) streamed(next runtime.HandlerFunc) func(http.ResponseWriter, *http.Request, map[string]string) {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		out := &streamWriter{ResponseWriter: w, control: http.NewResponseController(w), now: e.now, head: r.Method == http.MethodHead}
		// The request's own time limit would end the answer with it.
		if err := out.control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
			e.problem(w, r, err)
			return
		}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			failed, ok := v.(streamFailed)
			if !ok {
				panic(v)
			}
			if !out.begun {
				w.Header().Del("Transfer-Encoding")
				w.Header().Del("Content-Disposition")
				e.problem(w, r, transcodingError(failed.err))
				return
			}
			requestOf(r.Context()).cause = failed.err
			panic(http.ErrAbortHandler)
		}()
		next(out, r, params)
		if out.failed != nil && !out.head { // the client is gone or too slow
			panic(streamFailed{out.failed})
		}
	}
}

// streamFailed leaves grpc-gateway, which would write the error into the file.
type streamFailed struct{ err error }

// brokenOff is grpc-gateway's hook for an error within a stream.
func brokenOff(_ context.Context, err error) *status.Status { panic(streamFailed{err}) }

// chunk is grpc-gateway's hook before it encodes: what is sent of a streamed
// answer is its bytes.
func chunk(_ context.Context, m proto.Message) (any, error) {
	if part, ok := m.(interface{ GetChunk() *httpbody.HttpBody }); ok {
		return part.GetChunk(), nil
	}
	return m, nil
}

// undelimited sets nothing between the parts of a stream.
type undelimited struct{ *runtime.HTTPBodyMarshaler }

// Delimiter implements runtime.Delimited.
func (undelimited) Delimiter() []byte { return nil }

// extensions name a file by its type.
var extensions = map[string]string{
	"application/x-ndjson": ".ndjson", "text/csv; charset=utf-8": ".csv", "application/vnd.apache.parquet": ".parquet",
}

// nameFile has a browser keep the answer instead of showing it.
func nameFile(w http.ResponseWriter, m proto.Message) {
	part, ok := m.(interface{ GetChunk() *httpbody.HttpBody })
	if !ok || w.Header().Get("Content-Disposition") != "" {
		return
	}
	w.Header().Set("Content-Disposition", `attachment; filename="audit-export`+extensions[part.GetChunk().GetContentType()]+`"`)
}

// streamWriter gives each part its own time, so that a long answer is bounded
// by the client's pace and not by its length.
type streamWriter struct {
	http.ResponseWriter

	control *http.ResponseController
	now     func() time.Time
	head    bool
	begun   bool
	failed  error
}

var errHeadOnly = errors.New("only the headers are asked for")

// Write implements http.ResponseWriter.
func (w *streamWriter) Write(b []byte) (int, error) {
	if w.head && w.begun {
		w.failed = errHeadOnly
		return 0, errHeadOnly
	}
	w.begun = true
	if err := w.control.SetWriteDeadline(w.now().Add(writePause)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		w.failed = err
		return 0, err //nolint:wrapcheck // a writer's error is its caller's
	}
	n, err := w.ResponseWriter.Write(b)
	if err != nil {
		w.failed = err
	}
	return n, err //nolint:wrapcheck // a writer's error is its caller's
}

// Unwrap is for http.ResponseController.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
