// Package trail is the catalogue of audit events: which acts there are, what
// may be said of each, and how long it is kept. catalogue.yaml is its source;
// an act that is not in it cannot be named, and what may not be said of an act
// is refused before it is written.
package trail

//go:generate go run ./internal/gen

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// Action is an act of the catalogue. Only generated values name one.
type Action struct{ name string }

// String is noun.verb, as the log keeps it.
func (a Action) String() string { return a.name }

// Entry is what the catalogue says of an action.
type Entry struct {
	Version   int
	Class     Class
	Level     Level
	Severity  Severity
	OCSFClass int  // of the Open Cybersecurity Schema Framework
	FailOpen  bool // the act goes on when its record cannot be written at once
	Targets   []string
	Keys      []string // paths of changes; one that ends in ".*" is a family
}

// Class is how long an event is kept.
type Class string

// Retention classes.
const (
	Ops       Class = "ops"        // 400 days
	Security  Class = "security"   // 400 days: CERT-In asks for 180, DPDP rule 8 for a year
	Financial Class = "financial"  // 8 years: Companies Act, section 128
	PHIAccess Class = "phi_access" // 6 years and 90 days: HIPAA 164.316(b)(2)(i)
	Legal     Class = "legal"      // until it is released
)

// Level is how much an event says.
type Level string

// Levels.
const (
	Metadata Level = "metadata" // who did what to what
	Changes  Level = "changes"  // and the values before and after
)

// Severity is how soon a person looks.
type Severity string

// Severities.
const (
	Info     Severity = "info"
	Notice   Severity = "notice"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// All is the catalogue, in no order.
func All() iter.Seq2[string, Entry] { return maps.All(catalogue) }

// Lookup finds an action by its name, for who has only that.
func Lookup(name string) (Entry, bool) {
	e, ok := catalogue[name]
	return e, ok
}

// Check says why an event may not be sent, or nil: its action is not in the
// catalogue, it says of the action what may not be said, or it touched what the
// action does not touch.
func Check(ev *auditv1.Event) error {
	e, ok := catalogue[ev.GetAction()]
	if !ok {
		return fmt.Errorf("audit event %q is not in the catalogue", ev.GetAction())
	}
	for _, c := range ev.GetChanges() {
		if !e.allows(c.GetPath()) {
			return fmt.Errorf("audit event %s may not say %q", ev.GetAction(), c.GetPath())
		}
	}
	for _, t := range ev.GetTargets() {
		if !slices.Contains(e.Targets, t.GetType()) {
			return fmt.Errorf("audit event %s is not about a %s", ev.GetAction(), t.GetType())
		}
	}
	return nil
}

func (e Entry) allows(path string) bool {
	for _, k := range e.Keys {
		if family, ok := strings.CutSuffix(k, "*"); ok && strings.HasPrefix(path, family) || k == path {
			return true
		}
	}
	return false
}

// Names gives every action, in order.
func Names() []string { return slices.Sorted(maps.Keys(catalogue)) }
