package audit

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/id"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

var errNotOurs = errors.New("the canonical bytes are not an event")

// derive computes from the canonical bytes what the columns must hold.
func derive(canonical []byte) (entry, error) {
	m := &auditv1.Event{}
	if err := proto.Unmarshal(canonical, m); err != nil {
		return entry{}, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	u, err := id.Parse("evt", m.GetId())
	if err != nil {
		return entry{}, fmt.Errorf("%w: %w", errNotOurs, err)
	}
	e := entry{
		ID: u, TS: eventTime(u), Class: retentionClass(m.GetAction()), Seq: m.GetSeq(),
		OccurredAt: m.GetOccurredAt().AsTime().Truncate(time.Microsecond), RecordedAt: m.GetRecordedAt().AsTime().Truncate(time.Microsecond),
		Source: m.GetSource(), Action: m.GetAction(), ActorType: m.GetActor().GetType(), ActorID: m.GetActor().GetId(),
		Outcome: m.GetOutcome().String(), RequestID: m.GetRequestId(),
	}
	for _, t := range m.GetTargets() {
		e.Targets = append(e.Targets, target{Type: t.GetType(), ID: t.GetId()})
	}
	return e, nil
}
