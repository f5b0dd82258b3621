package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/audit/merkle"
)

const (
	maxFuture   = 5 * time.Minute // a producer's clock may run this far ahead, audit_admin_ops A-29
	maxTargets  = 16
	maxTextSize = 512

	maxEntry  = 1<<16 - 1 // bytes of an event as stored: C2SP tlog-tiles counts an entry in 16 bits
	placeSize = 64        // bytes that place and time of entry add to what a producer sends, at most
)

// entry is one event on its way into the log.
type entry struct {
	ID         uuid.UUID
	TS         time.Time // inside the UUIDv7: the key's second part, equal for every delivery
	Class      string
	Seq        int64
	OccurredAt time.Time
	RecordedAt time.Time
	Source     string
	Action     string
	ActorType  string
	ActorID    string
	Outcome    string
	RequestID  string
	Targets    []target
	LeafHash   []byte
	Canonical  []byte

	leaf merkle.Hash // computed from Canonical, when the event is verified
}

// target is one thing an event touched.
type target struct{ Type, ID string }

var actorTypes = map[string]bool{"user": true, "admin": true, "service": true, "provider": true, "anonymous": true}

// retentionClass is a function of the action alone, so that the key of an
// event is the same however often it comes.
func retentionClass(action string) string {
	if e, ok := trail.Lookup(action); ok {
		return string(e.Class)
	}
	return string(trail.Security)
}

// check says why an event cannot enter the log, or "".
func (e entry) check(now time.Time) string {
	switch {
	case e.ID.Version() != 7:
		return "the id is not a UUIDv7"
	case e.TS.After(now.Add(maxFuture)):
		return "the id's time lies in the future"
	case !actorTypes[e.ActorType]:
		return "the actor's type is unknown"
	case e.Outcome == "":
		return "the outcome is missing"
	case len(e.Targets) > maxTargets:
		return "there are too many targets"
	case len(e.ActorID) > maxTextSize || len(e.RequestID) > maxTextSize:
		return "an id is too long"
	case strings.ContainsRune(e.ActorID+e.RequestID, 0): // Postgres has no text with NUL; one such would stall the batch
		return "an id holds a NUL"
	}
	for _, t := range e.Targets {
		if t.Type == "" || t.ID == "" || len(t.Type) > 64 || len(t.ID) > 128 || strings.ContainsRune(t.Type+t.ID, 0) {
			return "a target is malformed"
		}
	}
	return ""
}

// eventTime is the time inside a UUIDv7, in milliseconds.
func eventTime(id uuid.UUID) time.Time {
	sec, nsec := id.Time().UnixTime()
	return time.Unix(sec, nsec).UTC().Truncate(time.Millisecond)
}

// filter is a search. Empty fields match everything.
type filter struct {
	ActorID, Action, ResourceType, ResourceID, Outcome, RequestID string

	Start, End time.Time
	Ascending  bool
}

// fingerprint binds a page token to its search.
func (f filter) fingerprint() string {
	h := sha256.New()
	for _, part := range []string{
		f.ActorID, f.Action, f.ResourceType, f.ResourceID, f.Outcome, f.RequestID,
		f.Start.Format(time.RFC3339Nano), f.End.Format(time.RFC3339Nano),
	} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	if f.Ascending {
		h.Write([]byte{1})
	}
	return "audit.events:" + hex.EncodeToString(h.Sum(nil))
}

// cursor is where a page ended.
type cursor struct {
	OccurredAt time.Time `json:"t"`
	Seq        int64     `json:"s"`
}

// checkFilter refuses a search that could never match.
func checkFilter(f filter) error {
	for _, text := range []string{f.ActorID, f.Action, f.ResourceType, f.ResourceID, f.RequestID} {
		if strings.ContainsRune(text, 0) { // no text of Postgres has one
			return fail.New(fail.InvalidArgument, "a filter holds a NUL")
		}
	}
	if !f.Start.IsZero() && !f.End.IsZero() && !f.Start.Before(f.End) {
		return fail.New(fail.InvalidArgument, "the time range is empty").Field("endTime", "must be later than startTime")
	}
	return nil
}
