package auth

import (
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"
)

// account is an identity and all that a token says of it, read in one statement.
type account struct {
	ID              uuid.UUID
	Email           string
	EmailVerifiedAt *time.Time
	Phone           *string
	State           string
	FirstName       string
	LastName        string
	Locale          string
	Epoch           int64
	Version         int64
	Plan            string
	Features        []string
	PlanEndsAt      *time.Time // nil: never
	APICalls        *int64     // a month's calls with a key, -1 for no end; nil: not told
	CreatedAt       time.Time
	LastLoginAt     *time.Time
	AcceptedTerms   string
	AcceptedPrivacy string
	Roles           []string
	Permissions     []string
	Level           int
	NeedsMFA        bool
	HasFactor       bool
	RolesEpoch      int64 // role-definition epoch of Permissions
}

// person is what a registration knows.
type person struct {
	Email         string
	Phone         *string
	FirstName     string
	LastName      string
	Locale        string
	AcceptedTerms string
}

// canonicalEmail gives the one spelling an address is compared in. "" for what
// cannot be one.
func canonicalEmail(s string) string {
	s = strings.ToLower(norm.NFKC.String(strings.TrimSpace(s)))
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 || len(s) > 254 || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return ""
	}
	return s
}

// plain drops what Postgres or a log cannot hold and cuts to n bytes.
func plain(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, strings.TrimSpace(s))
	if len(s) <= n {
		return s
	}
	cut := 0
	for i := range s { // by whole runes
		if i > n {
			break
		}
		cut = i
	}
	return s[:cut]
}
