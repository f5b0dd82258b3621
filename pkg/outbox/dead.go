package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// RegisterDeadLetters puts what an operator does with the schema's dead letters
// on g.
func (o *Outbox) RegisterDeadLetters(g grpc.ServiceRegistrar, db *pg.DB) {
	eventv1.RegisterDeadLetterServiceServer(g, o.DeadLetters(db))
}

// DeadLetters is the same without a connection, for admin's own.
func (o *Outbox) DeadLetters(db *pg.DB) eventv1.DeadLetterServiceServer {
	return &deadServer{Outbox: o, db: db}
}

type deadServer struct {
	eventv1.UnimplementedDeadLetterServiceServer
	*Outbox

	db *pg.DB
}

// dead is a letter as an operator sees it.
type dead struct {
	EventID     uuid.UUID
	Destination string
	Type        string
	Key         string
	Reason      string
	Attempts    int32
	RequestID   string
	OccurredAt  time.Time
	DeadAt      time.Time
}

// By the primary key, which is the order of the events' ids and so of their times.
const selectDead = `
SELECT event_id, destination, type, key, reason, attempts, request_id, occurred_at, dead_at
  FROM {schema}.outbox_dead
 WHERE (event_id, destination) < (@event_id, @at_destination)
   AND (@destination = '' OR destination = @destination)
 ORDER BY event_id DESC, destination DESC
 LIMIT @limit`

const countDeadOf = `SELECT count(*) FROM {schema}.outbox_dead WHERE @destination = '' OR destination = @destination`

// last stands behind every letter.
var last = uuid.Max

// ListDeadLetters lists what was refused for good. The page token is the id of
// the page's last letter: who may call sees all letters anyway.
func (s *deadServer) ListDeadLetters(ctx context.Context, r *eventv1.ListDeadLettersRequest) (*eventv1.ListDeadLettersResponse, error) {
	from, fromDestination := last, "\U0010FFFF"
	if r.GetPageToken() != "" {
		name, destination, ok := strings.Cut(r.GetPageToken(), ":")
		u, err := id.Parse("evt", name)
		if err != nil || !ok || legible(destination) != destination {
			return nil, fail.New(fail.InvalidArgument, "the page token is malformed").Field("pageToken", "is not one of ours")
		}
		from, fromDestination = u, destination
	}
	size := page.Size(r.GetPageSize())
	rows, err := s.db.Pool.Query(ctx, table(s.schema, selectDead), pgx.NamedArgs{
		"event_id": from, "at_destination": fromDestination, "destination": r.GetDestination(), "limit": size + 1,
	})
	if err != nil {
		return nil, pg.Err(fmt.Errorf("list dead letters: %w", err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[dead])
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read dead letters: %w", err))
	}
	out := &eventv1.ListDeadLettersResponse{}
	if err := s.db.Pool.QueryRow(ctx, table(s.schema, countDeadOf), pgx.NamedArgs{"destination": r.GetDestination()}).Scan(&out.TotalSize); err != nil {
		return nil, pg.Err(fmt.Errorf("count dead letters: %w", err))
	}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = id.Format("evt", list[size-1].EventID) + ":" + list[size-1].Destination
	}
	for _, d := range list {
		out.DeadLetters = append(out.DeadLetters, &eventv1.DeadLetter{
			Id: id.Format("evt", d.EventID), Destination: d.Destination, Type: d.Type, Key: d.Key, Reason: d.Reason, Tries: d.Attempts,
			RequestId: d.RequestID, OccurredAt: timestamppb.New(d.OccurredAt), DeadAt: timestamppb.New(d.DeadAt),
		})
	}
	return out, nil
}

// A new number: behind what waits of its key, as the relay would not look for it
// before.
const requeueDead = `
WITH gone AS (DELETE FROM {schema}.outbox_dead WHERE event_id = @event_id AND destination = @destination RETURNING *),
     back AS (
INSERT INTO {schema}.outbox (event_id, destination, type, key, payload, request_id, traceparent, occurred_at, next_attempt_at)
SELECT event_id, destination, type, key, payload, request_id, traceparent, occurred_at, @now
  FROM gone
    ON CONFLICT (event_id, destination) DO NOTHING)
SELECT event_id, destination, type, key, reason, attempts, request_id, occurred_at, dead_at FROM gone`

const discardDead = `
DELETE FROM {schema}.outbox_dead WHERE event_id = @event_id AND destination = @destination
RETURNING event_id, destination, type, key, reason, attempts, request_id, occurred_at, dead_at`

// RequeueDeadLetter hands a letter to the relay again.
func (s *deadServer) RequeueDeadLetter(ctx context.Context, r *eventv1.RequeueDeadLetterRequest) (*eventv1.RequeueDeadLetterResponse, error) {
	if err := s.act(ctx, requeueDead, trail.DeadLetterRequeued, r.GetId(), r.GetDestination(), r.GetReason()); err != nil {
		return nil, err
	}
	return &eventv1.RequeueDeadLetterResponse{}, nil
}

// DiscardDeadLetter gives a letter up.
func (s *deadServer) DiscardDeadLetter(ctx context.Context, r *eventv1.DiscardDeadLetterRequest) (*eventv1.DiscardDeadLetterResponse, error) {
	if err := s.act(ctx, discardDead, trail.DeadLetterDiscarded, r.GetId(), r.GetDestination(), r.GetReason()); err != nil {
		return nil, err
	}
	return &eventv1.DiscardDeadLetterResponse{}, nil
}

// act does one thing to one letter, and records it in the same transaction.
func (s *deadServer) act(ctx context.Context, sql string, action trail.Action, name, destination, reason string) error {
	caller, ok := token.FromContext(ctx)
	if !ok || !caller.SignedIn() { // the record must name a person
		return fail.New(fail.Unauthenticated, "sign in first")
	}
	eventID, err := id.Parse("evt", name)
	if err != nil {
		return noSuchLetter()
	}
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, table(s.schema, sql), pgx.NamedArgs{"event_id": eventID, "destination": destination, "now": s.now()})
		if err != nil {
			return fmt.Errorf("move a dead letter: %w", err)
		}
		d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[dead])
		if errors.Is(err, pgx.ErrNoRows) {
			return noSuchLetter()
		}
		if err != nil {
			return fmt.Errorf("move a dead letter: %w", err)
		}
		return s.Append(ctx, tx, fate(action, caller, d, reason))
	})
	if err != nil {
		return err
	}
	s.Wake()
	return nil
}

func noSuchLetter() error { return fail.New(fail.NotFound, "there is no such dead letter") }

// fate is the record of what an operator did with a letter. What the letter says
// is no part of it.
func fate(action trail.Action, c *token.Caller, d dead, reason string) Event {
	name := id.Format("evt", d.EventID)
	return Event{
		Key: name, Destinations: []string{"audit"},
		Payload: &auditv1.Event{
			Action: action.String(), Outcome: auditv1.Event_SUCCESS, RequestId: c.RequestID, Reason: reason,
			Actor: &auditv1.Event_Actor{
				Type: "admin", Id: id.Format("usr", c.UserID), SessionId: id.Format("ses", c.SessionID), ImpersonatorId: c.ImpersonatorID(),
			},
			Targets: []*auditv1.Event_Target{{Type: "dead_letter", Id: name}},
			Changes: []*auditv1.Event_Change{
				{Path: "destination", Before: trail.Value(d.Destination)}, {Path: "type", Before: trail.Value(d.Type)}, {Path: "refusal", Before: trail.Value(d.Reason)},
			},
		},
	}
}
