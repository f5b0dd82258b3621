package audit

import (
	"encoding/json"
	"strings"

	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// ocsfVersion of the schema, https://schema.ocsf.io/1.3.0.
const ocsfVersion = "1.3.0"

// Classes of the schema that ask for more than a call does; the catalogue says
// which class an action is of.
const (
	ocsfEntity      = 3004
	ocsfAPIActivity = 6003

	ocsfOther = 99
)

// ocsfActivities are what the schema calls actions, where the action's last
// word does not say it. An action's class is the catalogue's.
var ocsfActivities = map[string]int{
	// Account change, 3001.
	trail.RegistrationOpened.String(): 1, // create
	trail.AccountReactivated.String(): 2, // enable
	trail.PasswordChanged.String():    3,
	trail.PasswordReset.String():      4,
	trail.AccountSuspended.String():   5, // disable
	trail.AccountErased.String():      6, // delete
	trail.MFAEnrolled.String():        10,
	trail.PasskeyRegistered.String():  10,
	trail.MFARemoved.String():         11,
	trail.PasskeyRemoved.String():     11,
	trail.AccountUnlocked.String():    12,
	// Authentication, 3002.
	trail.SessionOpened.String():          1, // logon
	trail.LoginFailed.String():            1,
	trail.SessionRevoked.String():         2, // logoff
	trail.AccountSessionsRevoked.String(): 2,
	// User access management, 3005.
	trail.RoleGranted.String():        1, // assign privileges
	trail.EntitlementGranted.String(): 1,
	trail.RoleRevoked.String():        2, // revoke privileges
	trail.EntitlementRevoked.String(): 2,
}

// ocsfVerbs are the activities of a call (6003) and of a thing (3004), which
// the schema numbers alike, by how an action ends.
var ocsfVerbs = map[string]int{
	"created": 1, "added": 1, "opened": 1, "issued": 1, "requested": 1, "posted": 1,
	"read": 2, "listed": 2, "search": 2, "export": 2, "viewed": 2, "downloaded": 2,
	"changed": 3, "updated": 3, "renamed": 3,
	"deleted": 4, "removed": 4, "erased": 4, "revoked": 4,
}

// ocsfKind is an action's class and activity. What the catalogue does not know
// is a call: the log may be older than this program.
func ocsfKind(action string) (class, activity int) {
	class = ocsfAPIActivity
	if e, ok := trail.Lookup(action); ok {
		class = e.OCSFClass
	}
	if n, ok := ocsfActivities[action]; ok {
		return class, n
	}
	if class == ocsfAPIActivity || class == ocsfEntity {
		verb := action[strings.LastIndexAny(action, "._")+1:] // admin.user_read
		if n, ok := ocsfVerbs[verb]; ok {
			return class, n
		}
	}
	return class, ocsfOther
}

// ocsfSeverity is the catalogue's, in the schema's numbers; what was refused or
// failed is at least low.
func ocsfSeverity(ev *auditv1.Event) int {
	n := 1 // informational
	if e, ok := trail.Lookup(ev.GetAction()); ok {
		switch e.Severity {
		case trail.Info:
		case trail.Notice:
			n = 2
		case trail.Warning:
			n = 3
		case trail.Critical:
			n = 5
		}
	}
	if ev.GetOutcome() != auditv1.Event_SUCCESS {
		n = max(n, 2)
	}
	return n
}

type ocsfUser struct {
	UID  string `json:"uid,omitempty"`
	Type string `json:"type,omitempty"`
}

type ocsfSession struct {
	UID string `json:"uid"`
}

type ocsfActor struct {
	User    ocsfUser     `json:"user"`
	Session *ocsfSession `json:"session,omitempty"`
	// AuthorizedBy is who acted in the user's name.
	Invoked string `json:"invoked_by,omitempty"`
}

type ocsfResource struct {
	UID  string `json:"uid"`
	Type string `json:"type"`
}

type ocsfChange struct {
	Path   string `json:"path"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

type ocsfEvent struct {
	ActivityID int    `json:"activity_id"`
	CategoryID int    `json:"category_uid"`
	ClassID    int    `json:"class_uid"`
	TypeID     int    `json:"type_uid"`
	SeverityID int    `json:"severity_id"`
	StatusID   int    `json:"status_id"`
	Status     string `json:"status"`
	Time       int64  `json:"time"`
	Metadata   struct {
		Version string `json:"version"`
		Product struct {
			Name   string `json:"name"`
			Vendor string `json:"vendor_name"`
		} `json:"product"`
		UID         string `json:"uid"`
		Sequence    int64  `json:"sequence"`
		LoggedTime  int64  `json:"logged_time"`
		EventCode   string `json:"event_code"`
		Correlation string `json:"correlation_uid,omitempty"`
		LogProvider string `json:"log_provider"`
	} `json:"metadata"`
	Actor ocsfActor `json:"actor"`
	User  *ocsfUser `json:"user,omitempty"`
	API   *struct {
		Operation string `json:"operation"`
		Service   struct {
			Name string `json:"name"`
		} `json:"service"`
	} `json:"api,omitempty"`
	Source struct {
		Subnet string `json:"subnet_uid,omitempty"`
	} `json:"src_endpoint"`
	Resources []ocsfResource `json:"resources,omitempty"`
	Unmapped  *ocsfUnmapped  `json:"unmapped,omitempty"`
}

type ocsfUnmapped struct {
	Reason  string       `json:"reason,omitempty"`
	Changes []ocsfChange `json:"changes,omitempty"`
}

// ocsfLine writes an event in the Open Cybersecurity Schema Framework.
func ocsfLine(to []byte, ev *auditv1.Event) ([]byte, error) {
	class, activity := ocsfKind(ev.GetAction())
	a := ev.GetActor()
	o := ocsfEvent{
		ActivityID: activity, CategoryID: class / 1000, ClassID: class, TypeID: class*100 + activity,
		SeverityID: ocsfSeverity(ev), StatusID: 1, Status: ev.GetOutcome().String(), Time: ev.GetOccurredAt().AsTime().UnixMilli(),
		Actor: ocsfActor{User: ocsfUser{UID: a.GetId(), Type: a.GetType()}, Invoked: a.GetImpersonatorId()},
	}
	if ev.GetOutcome() != auditv1.Event_SUCCESS {
		o.StatusID = 2
	}
	m := &o.Metadata
	m.Version, m.Product.Name, m.Product.Vendor = ocsfVersion, "Manas360 Platform", "Manas360"
	m.UID, m.Sequence, m.LoggedTime, m.EventCode = ev.GetId(), ev.GetSeq(), ev.GetRecordedAt().AsTime().UnixMilli(), ev.GetAction()
	m.Correlation, m.LogProvider = ev.GetRequestId(), ev.GetSource()
	if a.GetSessionId() != "" {
		o.Actor.Session = &ocsfSession{UID: a.GetSessionId()}
	}
	o.Source.Subnet = ev.GetIpPrefix()
	for _, t := range ev.GetTargets() {
		if t.GetType() == "user" && o.User == nil && class/1000 == 3 {
			o.User = &ocsfUser{UID: t.GetId()}
		}
		o.Resources = append(o.Resources, ocsfResource{UID: t.GetId(), Type: t.GetType()})
	}
	if o.User == nil && class/1000 == 3 { // the class asks for one
		o.User = &ocsfUser{UID: a.GetId()}
	}
	if class == ocsfAPIActivity {
		o.API = &struct {
			Operation string `json:"operation"`
			Service   struct {
				Name string `json:"name"`
			} `json:"service"`
		}{Operation: ev.GetAction()}
		o.API.Service.Name = ev.GetSource()
	}
	if ev.GetReason() != "" || len(ev.GetChanges()) > 0 {
		o.Unmapped = &ocsfUnmapped{Reason: ev.GetReason()}
		for _, c := range ev.GetChanges() {
			o.Unmapped.Changes = append(o.Unmapped.Changes, ocsfChange{c.GetPath(), c.GetBefore(), c.GetAfter()})
		}
	}
	text, err := json.Marshal(o)
	return append(to, text...), err
}
