package audit

import (
	"encoding/json"
	"strings"

	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// ocsfVersion of the schema, https://schema.ocsf.io/1.3.0.
const ocsfVersion = "1.3.0"

// ocsfKind is what OCSF calls an act.
type ocsfKind struct{ class, activity int }

const (
	ocsfAccountChange  = 3001
	ocsfAuthentication = 3002
	ocsfAPIActivity    = 6003

	ocsfOther = 99
)

// ocsfKinds are the actions that are more than a call, the longest prefix first
// in effect: see ocsfKindOf. The catalogue may take this table's place.
var ocsfKinds = map[string]ocsfKind{
	"session":             {ocsfAuthentication, ocsfOther},
	"session.opened":      {ocsfAuthentication, 1}, // logon
	"session.refused":     {ocsfAuthentication, 1},
	"session.closed":      {ocsfAuthentication, 2}, // logoff
	"session.ended":       {ocsfAuthentication, 2},
	"session.revoked":     {ocsfAuthentication, 2},
	"account":             {ocsfAccountChange, ocsfOther},
	"account.created":     {ocsfAccountChange, 1},
	"account.registered":  {ocsfAccountChange, 1},
	"account.reactivated": {ocsfAccountChange, 2}, // enable
	"account.suspended":   {ocsfAccountChange, 5}, // disable
	"account.deleted":     {ocsfAccountChange, 6},
	"account.erased":      {ocsfAccountChange, 6},
	"account.locked":      {ocsfAccountChange, 9},
	"account.unlocked":    {ocsfAccountChange, 12},
	"user":                {ocsfAccountChange, ocsfOther},
	"password":            {ocsfAccountChange, ocsfOther},
	"password.changed":    {ocsfAccountChange, 3},
	"password.reset":      {ocsfAccountChange, 4},
	"factor":              {ocsfAccountChange, ocsfOther},
	"mfa":                 {ocsfAccountChange, ocsfOther},
	"mfa.enabled":         {ocsfAccountChange, 10},
	"mfa.disabled":        {ocsfAccountChange, 11},
	"passkey":             {ocsfAccountChange, ocsfOther},
	"roles":               {ocsfAccountChange, ocsfOther},
	"role":                {ocsfAccountChange, ocsfOther},
}

// ocsfVerbs are the activities of a call, by how its action ends.
var ocsfVerbs = map[string]int{
	"created": 1, "added": 1, "opened": 1, "issued": 1,
	"read": 2, "listed": 2, "search": 2, "export": 2, "viewed": 2,
	"changed": 3, "updated": 3, "renamed": 3,
	"deleted": 4, "removed": 4, "erased": 4, "revoked": 4,
}

// ocsfKindOf finds the longest part of the action that is known. What is not is
// a call.
func ocsfKindOf(action string) ocsfKind {
	for name := action; ; {
		if k, ok := ocsfKinds[name]; ok {
			return k
		}
		cut := strings.LastIndexByte(name, '.')
		if cut < 0 {
			break
		}
		name = name[:cut]
	}
	verb := action[strings.LastIndexByte(action, '.')+1:]
	if cut := strings.LastIndexByte(verb, '_'); ocsfVerbs[verb] == 0 && cut >= 0 {
		verb = verb[cut+1:] // admin.user_read
	}
	if activity := ocsfVerbs[verb]; activity != 0 {
		return ocsfKind{ocsfAPIActivity, activity}
	}
	return ocsfKind{ocsfAPIActivity, ocsfOther}
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
	kind, a := ocsfKindOf(ev.GetAction()), ev.GetActor()
	o := ocsfEvent{
		ActivityID: kind.activity, CategoryID: kind.class / 1000, ClassID: kind.class, TypeID: kind.class*100 + kind.activity,
		SeverityID: 1, StatusID: 1, Status: ev.GetOutcome().String(), Time: ev.GetOccurredAt().AsTime().UnixMilli(),
		Actor: ocsfActor{User: ocsfUser{UID: a.GetId(), Type: a.GetType()}, Invoked: a.GetImpersonatorId()},
	}
	if ev.GetOutcome() != auditv1.Event_SUCCESS {
		o.StatusID, o.SeverityID = 2, 2
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
		if t.GetType() == "user" && o.User == nil && kind.class/1000 == 3 {
			o.User = &ocsfUser{UID: t.GetId()}
		}
		o.Resources = append(o.Resources, ocsfResource{UID: t.GetId(), Type: t.GetType()})
	}
	if o.User == nil && kind.class/1000 == 3 { // the class asks for one
		o.User = &ocsfUser{UID: a.GetId()}
	}
	if kind.class == ocsfAPIActivity {
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
