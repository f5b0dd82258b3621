package auth

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers"
)

const (
	homeCountry = "IN" // of a number written without one
	homeCode    = 91
	phoneBytes  = 64
)

var e164 = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

// phone is a number in the one spelling it is compared in.
type phone struct {
	Number  string // E.164
	Country string // ISO 3166; "" when the number alone does not tell
}

// parsePhone reads a number as people write it: "98765 43210" is
// "+919876543210". An Indian one must be in use as far as the numbering plan
// says; of others only the length is judged, plans of all the world are always
// out of date.
func parsePhone(s string) (phone, bool) {
	if len(s) > phoneBytes || strings.ContainsFunc(s, unpronounced) {
		return phone{}, false
	}
	n, err := phonenumbers.Parse(strings.Map(westernDigit, strings.TrimSpace(s)), homeCountry)
	if err != nil || n.GetExtension() != "" || phonenumbers.IsPossibleNumberWithReason(n) != phonenumbers.IS_POSSIBLE {
		return phone{}, false
	}
	if n.GetCountryCode() == homeCode && !phonenumbers.IsValidNumber(n) {
		return phone{}, false
	}
	if t := phonenumbers.GetNumberType(n); t == phonenumbers.PREMIUM_RATE || t == phonenumbers.SHARED_COST {
		return phone{}, false // a code to it would be somebody's income
	}
	p := phone{Number: phonenumbers.Format(n, phonenumbers.E164), Country: phonenumbers.GetRegionCodeForNumber(n)}
	// "+20 000…" loses a zero each time it is read: a number has one spelling.
	again, err := phonenumbers.Parse(p.Number, "")
	if err != nil || phonenumbers.Format(again, phonenumbers.E164) != p.Number || phonenumbers.GetRegionCodeForNumber(again) != p.Country {
		return phone{}, false
	}
	return p, e164.MatchString(p.Number)
}

// westernDigit reads the digits of the scripts our messages are written in.
func westernDigit(r rune) rune {
	for _, zero := range []rune{'०', '௦', '౦', '೦', '０'} { // Devanagari, Tamil, Telugu, Kannada, full width
		if r >= zero && r <= zero+9 {
			return '0' + r - zero
		}
	}
	return r
}

// unpronounced are characters no number is written with: the parser would read
// letters as keys, and what follows ";" or "," as dialling instructions.
func unpronounced(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsControl(r) || strings.ContainsRune(";,=#*@", r)
}

// serves reports whether codes are sent to numbers of a country.
func (c Config) serves(country string) bool {
	list := c.OTPCountries
	if len(list) == 0 {
		list = []string{homeCountry}
	}
	return country != "" && slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(strings.TrimSpace(x), country) })
}
