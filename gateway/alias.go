package gateway

import "strings"

const apiBase = "/api/v1"

// canonicalPath serves /api/<path> as /api/v1/<path>: the old front end and the
// old documentation know no version. Another version stays what it is, unknown.
func canonicalPath(escaped string) string {
	rest, ok := strings.CutPrefix(escaped, "/api/")
	if !ok {
		return escaped
	}
	first, _, _ := strings.Cut(rest, "/")
	if isVersion(first) {
		return escaped
	}
	return apiBase + "/" + rest
}

func isVersion(segment string) bool {
	digits, ok := strings.CutPrefix(segment, "v")
	if !ok || digits == "" {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}
