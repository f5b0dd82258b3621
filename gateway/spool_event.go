package gateway

import (
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// denial is what refusals have in common that are told of together. Nothing of
// it is a person's but the id of who showed a genuine token.
type denial struct {
	route  string // method and pattern, never the path
	reason string // the problem's code
	prefix string // of the address, /24 or /48
	user   uuid.UUID
}

// event is the record of count denials, whose first was at a time. The id is made
// here: however often the event is delivered, it is one.
func (d denial) event(eventID uuid.UUID, count int64, requestID string, at time.Time) (*eventv1.Event, error) {
	actor := &auditv1.Event_Actor{Type: "anonymous"}
	if d.user != uuid.Nil {
		actor = &auditv1.Event_Actor{Type: "user", Id: id.Format("usr", d.user)}
	}
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(&auditv1.Event{
		Action: trail.EdgeDenied.String(), Actor: actor, Outcome: auditv1.Event_DENIED, RequestId: requestID, IpPrefix: d.prefix,
		Changes: []*auditv1.Event_Change{
			{Path: "route", After: trail.Value(d.route)}, {Path: "reason", After: trail.Value(d.reason)}, {Path: "count", After: strconv.FormatInt(count, 10)},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode a denial: %w", err)
	}
	return &eventv1.Event{
		Id: eventID[:], Type: "manas.audit.v1.Event", Key: "edge", Payload: payload, OccurredAt: timestamppb.New(at), RequestId: requestID,
	}, nil
}
