package audit

import (
	"testing"

	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// What the schema numbers, by class: https://schema.ocsf.io/1.3.0.
var ocsfLast = map[int]int{2004: 3, 3001: 12, 3002: 7, 3004: 14, 3005: 2, 6003: 4}

// Every action of the catalogue is exported with the catalogue's class and an
// activity that the class has.
func TestOCSFKinds(t *testing.T) {
	for name, e := range trail.All() {
		class, activity := ocsfKind(name)
		last, known := ocsfLast[class]
		if class != e.OCSFClass || !known || activity != ocsfOther && (activity < 1 || activity > last) {
			t.Errorf("%s is %d, %d; the catalogue says %d", name, class, activity, e.OCSFClass)
		}
	}
	for action := range ocsfActivities {
		if _, ok := trail.Lookup(action); !ok {
			t.Errorf("%s is not in the catalogue", action)
		}
	}
	for action, want := range map[string][2]int{
		"session.opened": {3002, 1}, "account.suspended": {3001, 5}, "role.granted": {3005, 1}, "admin.user_read": {6003, 2},
		"payment.created": {3004, 1}, "an.older_one": {6003, 99},
	} {
		if class, activity := ocsfKind(action); class != want[0] || activity != want[1] {
			t.Errorf("%s is %d, %d", action, class, activity)
		}
	}
}

func TestOCSFSeverity(t *testing.T) {
	for _, c := range []struct {
		action  string
		outcome auditv1.Event_Outcome
		want    int
	}{
		{"session.opened", auditv1.Event_SUCCESS, 1},
		{"session.opened", auditv1.Event_DENIED, 2},
		{"session.reuse_detected", auditv1.Event_SUCCESS, 3},
		{"auth.locked", auditv1.Event_SUCCESS, 2},
	} {
		if got := ocsfSeverity(&auditv1.Event{Action: c.action, Outcome: c.outcome}); got != c.want {
			t.Errorf("%s %v: %d, want %d", c.action, c.outcome, got, c.want)
		}
	}
}
