package user

import (
	"strconv"
	"strings"

	"github.com/manas360/platform/pkg/fail"
)

// etagOf is the strong validator of a row's version.
func etagOf(version int64) string { return strconv.Quote(strconv.FormatInt(version, 10)) }

// matches reports whether If-Match lets a change go on: it is absent, "*", or a
// list that holds the etag; weak tags never match (RFC 9110, 13.1.1).
func matches(ifMatch, etag string) bool {
	if ifMatch == "" {
		return true
	}
	for tag := range strings.SplitSeq(ifMatch, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == etag {
			return true
		}
	}
	return false
}

// unchanged refuses a change of something that is not what the client saw.
func unchanged(ifMatch string, version int64, what string) error {
	if matches(ifMatch, etagOf(version)) {
		return nil
	}
	return fail.New(fail.PreconditionFailed, "the %s has changed since it was read", what)
}
