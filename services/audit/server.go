package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// Register puts the service on g. peer names the direct caller of a request.
func (s *Service) Register(g *grpc.Server, peer func(context.Context) string) {
	auditv1.RegisterAuditServiceServer(g, &publicServer{Service: s})
	auditv1.RegisterExportServiceServer(g, &exportServer{Service: s})
	auditv1.RegisterAdminExportServiceServer(g, &adminExportServer{Service: s})
	auditv1.RegisterProofServiceServer(g, &proofServer{Service: s})
	userv1.RegisterPersonalDataInternalServiceServer(g, &personalServer{Service: s})
	outbox.Register(g, &inboxServer{Service: s, peer: peer})
}

type publicServer struct {
	auditv1.UnimplementedAuditServiceServer
	*Service
}

func (s *publicServer) ListEvents(ctx context.Context, r *auditv1.ListEventsRequest) (*auditv1.ListEventsResponse, error) {
	f := filterOf(r)
	f.Ascending = r.GetOrder() == "asc"
	if err := checkFilter(f); err != nil {
		return nil, err
	}
	var cur *cursor
	if r.GetPageToken() != "" {
		cur = &cursor{}
		if err := s.pages.Open(f.fingerprint(), r.GetPageToken(), cur); err != nil {
			return nil, err
		}
	}
	size := page.Size(r.GetPageSize())
	list, err := s.search(ctx, f, span{After: cur, Limit: size + 1}) // one more tells whether others follow
	if err != nil {
		return nil, err
	}
	out := &auditv1.ListEventsResponse{}
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		out.NextPageToken = s.pages.Seal(f.fingerprint(), cursor{OccurredAt: last.OccurredAt, Seq: last.Seq})
	}
	for _, row := range list {
		ev, err := unpackStored(row.Canonical)
		if err != nil {
			return nil, err
		}
		out.Events = append(out.Events, ev)
	}
	if err := s.recordCaller(ctx, trail.AuditSearch, target{}, append(f.details(), detail{"count", len(list)})...); err != nil {
		return nil, err
	}
	return out, nil
}

// filters is what the requests for a list and for an export have in common.
type filters interface {
	GetActorId() string
	GetAction() string
	GetResourceType() string
	GetResourceId() string
	GetOutcome() auditv1.Event_Outcome
	GetRequestId() string
	GetStartTime() *timestamppb.Timestamp
	GetEndTime() *timestamppb.Timestamp
}

func filterOf(r filters) filter {
	f := filter{
		ActorID: r.GetActorId(), Action: r.GetAction(), ResourceType: r.GetResourceType(), ResourceID: r.GetResourceId(),
		RequestID: r.GetRequestId(),
	}
	if r.GetOutcome() != auditv1.Event_OUTCOME_UNSPECIFIED {
		f.Outcome = r.GetOutcome().String()
	}
	if r.GetStartTime() != nil {
		f.Start = r.GetStartTime().AsTime()
	}
	if r.GetEndTime() != nil {
		f.End = r.GetEndTime().AsTime()
	}
	return f
}

func (s *publicServer) GetEvent(ctx context.Context, r *auditv1.GetEventRequest) (*auditv1.GetEventResponse, error) {
	eventID, err := id.Parse("evt", r.GetId())
	if err != nil || eventID.Version() != 7 {
		return nil, fail.New(fail.NotFound, "there is no such event")
	}
	canonical, err := s.event(ctx, eventID)
	if err != nil {
		return nil, err
	}
	if canonical == nil {
		return nil, fail.New(fail.NotFound, "there is no such event")
	}
	ev, err := unpackStored(canonical)
	if err != nil {
		return nil, err
	}
	if err := s.recordCaller(ctx, trail.AuditRead, target{Type: "event", ID: ev.GetId()}); err != nil {
		return nil, err
	}
	if r.GetView() == auditv1.GetEventRequest_RAW {
		ev.Canonical = canonical
	}
	return &auditv1.GetEventResponse{Event: ev}, nil
}

// unpackStored decodes the stored bytes; they are ours, so failure is a fault.
func unpackStored(canonical []byte) (*auditv1.Event, error) {
	ev := &auditv1.Event{}
	if err := proto.Unmarshal(canonical, ev); err != nil {
		return nil, fmt.Errorf("decode a stored event: %w", err)
	}
	return ev, nil
}

// unpack makes an entry of a delivered event, or says why it is refused.
func unpack(ev *eventv1.Event, source string, now time.Time) (entry, *auditv1.Event, string) {
	if ev.GetType() != "manas.audit.v1.Event" {
		return entry{}, nil, "the type is not an audit event"
	}
	eventID, err := uuid.FromBytes(ev.GetId())
	if err != nil {
		return entry{}, nil, "the id is not a UUID"
	}
	m := &auditv1.Event{}
	if err := proto.Unmarshal(ev.GetPayload(), m); err != nil {
		return entry{}, nil, "the payload is not an audit event"
	}
	m.Id, m.Source, m.OccurredAt = id.Format("evt", eventID), source, ev.GetOccurredAt()
	m.Canonical = nil // only ever told, never stored
	if m.GetRequestId() == "" {
		m.RequestId = ev.GetRequestId()
	}
	if err := trail.Check(m); err != nil {
		return entry{}, nil, err.Error()
	}
	if proto.Size(m) > maxEntry-placeSize {
		return entry{}, nil, "the event is larger than 64 KiB"
	}
	e := entry{
		ID: eventID, TS: eventTime(eventID), Class: retentionClass(m.GetAction()), OccurredAt: ev.GetOccurredAt().AsTime(),
		Source: source, Action: m.GetAction(), ActorType: m.GetActor().GetType(), ActorID: m.GetActor().GetId(),
		RequestID: m.GetRequestId(),
	}
	if m.GetOutcome() != auditv1.Event_OUTCOME_UNSPECIFIED {
		e.Outcome = m.GetOutcome().String()
	}
	for _, t := range m.GetTargets() {
		e.Targets = append(e.Targets, target{Type: t.GetType(), ID: t.GetId()})
	}
	return e, m, e.check(now)
}
