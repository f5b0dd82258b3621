package trail

import (
	"regexp"

	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// personal finds what tells who somebody is, or opens a door, in any text: mail
// addresses and UPI ids (name@bank), telephone numbers, JSON Web Tokens, our API
// keys, payment card numbers. Ids of ours have none of these shapes.
var personal = regexp.MustCompile(`[\pL\pN._%+'-]+(?:@|\x{FF20}|%40|\\u0040)[\pL\pN.-]+` + // asha@example.com, asha@okaxis
	`|\+\d[\d ().-]{6,20}\d` + // +91 98765 43210
	`|\b[6-9]\d{4}[ -]?\d{5}\b` + // 98765 43210, a mobile number in India
	`|eyJ[\w-]+\.[\w-]+\.?[\w-]*` +
	`|mk_(?:live|test)_\w+` +
	`|\b(?:\d[ -]?){13,19}\b`)

const masked = "[masked]"

var number = regexp.MustCompile(`^-?\d{1,19}$`)

// Mask gives text without what is personal or secret in it.
func Mask(text string) string {
	if number.MatchString(text) { // an amount or a count, as JSON
		return text
	}
	return personal.ReplaceAllString(text, masked)
}

// Redact masks what an event says in words: the reason and the values of
// changes. Ids, actions and targets are ours.
func Redact(ev *auditv1.Event) {
	ev.Reason = Mask(ev.GetReason())
	for _, c := range ev.GetChanges() {
		c.Before, c.After = Mask(c.GetBefore()), Mask(c.GetAfter())
	}
}
