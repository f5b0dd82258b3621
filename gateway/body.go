package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/manas360/platform/pkg/fail"
)

const (
	maxBody        = 64 << 10
	maxWebhookBody = 256 << 10
	maxDepth       = 64 // a protobuf parser behind us gives up at 100, with a 500
)

// readBody takes the whole body, at most limit bytes. One that announces more
// is refused unread.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, fail.New(fail.UnsupportedMediaType, "the body must not be compressed")
	}
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // else the server would read on to the end
		return nil, tooLarge(limit)
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge(limit)
	case err != nil:
		return nil, fail.New(fail.MalformedBody, "the body did not arrive whole").Wrap(err)
	default:
		return b, nil
	}
}

func tooLarge(limit int64) error {
	return fail.New(fail.BodyTooLarge, "the body is larger than %d KiB", limit>>10)
}

// jsonBody is the gate for JSON: size, type, nesting, well-formedness. The
// result is nil for no body, and for a method that reads none.
func jsonBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	b, err := readBody(w, r, maxBody)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	if media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil ||
		media != "application/json" || !utf8Charset(params["charset"]) {
		return nil, fail.New(fail.UnsupportedMediaType, "the body must be application/json")
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, nil
	}
	switch {
	case !utf8.Valid(b):
		return nil, fail.New(fail.MalformedBody, "the body is not UTF-8")
	case tooDeep(b, maxDepth):
		return nil, fail.New(fail.MalformedBody, "the body is nested more than %d deep", maxDepth)
	case !json.Valid(b):
		return nil, fail.New(fail.MalformedBody, "the body is not valid JSON")
	}
	return b, nil
}

func utf8Charset(s string) bool { return s == "" || strings.EqualFold(s, "utf-8") }

// tooDeep reports whether brackets nest deeper than limit. It looks at bytes
// only, so that no parser has to recurse to find out.
func tooDeep(b []byte, limit int) bool {
	depth := 0
	inString := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
