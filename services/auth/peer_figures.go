package auth

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// tellAccount sends admin what is counted of an account, as it stands in tx.
func (s *Service) tellAccount(ctx context.Context, tx pg.Tx, userID uuid.UUID) error {
	if !s.counted {
		return nil
	}
	list, err := s.accountFigures(ctx, tx, &userID, uuid.Nil, 1)
	if err != nil || len(list) == 0 {
		return err
	}
	return s.outbox.Append(ctx, tx, list[0].event()) //nolint:wrapcheck // its own words
}

// noteActive remembers that somebody was here today, and tells admin the first
// time.
func (s *Service) noteActive(ctx context.Context, tx pg.Tx, userID uuid.UUID, now time.Time) error {
	if !s.counted {
		return nil
	}
	first, err := s.insertActive(ctx, tx, userID, now)
	if err != nil || !first {
		return err
	}
	return s.outbox.Append(ctx, tx, activeRow{AccountID: userID, Day: now.UTC()}.event()) //nolint:wrapcheck // its own words
}

// cameBack is noteActive for a session that goes on, once a day.
func (s *Service) cameBack(ctx context.Context, before, after session) error {
	if !s.counted || before.LastSeenAt.UTC().Format(time.DateOnly) == after.LastSeenAt.UTC().Format(time.DateOnly) {
		return nil
	}
	return s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error { //nolint:wrapcheck // its own words
		return s.noteActive(ctx, tx, after.AccountID, after.LastSeenAt)
	})
}

func (r accountFigureRow) event() outbox.Event {
	m := &adminv1.AccountFigure{UserId: r.ID[:], Version: r.Version, CreatedAt: timestamppb.New(r.CreatedAt)}
	if r.DeletedAt != nil {
		m.DeletedAt = timestamppb.New(*r.DeletedAt)
	}
	return outbox.Event{Key: id.Format("usr", r.ID), Destinations: []string{"admin"}, Payload: m}
}

func (r activeRow) event() outbox.Event {
	return outbox.Event{
		Key: id.Format("usr", r.AccountID), Destinations: []string{"admin"},
		Payload: &adminv1.ActiveFigure{UserId: r.AccountID[:], Day: r.Day.Format(time.DateOnly)},
	}
}

type figureServer struct {
	adminv1.UnimplementedFigureInternalServiceServer
	*Service
}

const activePages = "active:" // accounts come first, then the days

// ListFigures pages through accounts, then through days.
func (s *figureServer) ListFigures(ctx context.Context, r *adminv1.ListFiguresRequest) (*adminv1.ListFiguresResponse, error) {
	size := int(max(r.GetPageSize(), 1))
	if token, ok := strings.CutPrefix(r.GetPageToken(), activePages); ok {
		return s.activePage(ctx, token, size)
	}
	after := uuid.Nil
	if t := r.GetPageToken(); t != "" {
		var err error
		if after, err = uuid.Parse(t); err != nil {
			return nil, badPage(err)
		}
	}
	list, err := s.accountFigures(ctx, s.db.Pool, nil, after, size)
	if err != nil {
		return nil, err
	}
	out := &adminv1.ListFiguresResponse{NextPageToken: activePages}
	for _, x := range list {
		if err := put(out, x.event()); err != nil {
			return nil, err
		}
	}
	if len(list) == size {
		out.NextPageToken = list[len(list)-1].ID.String()
	}
	return out, nil
}

func (s *figureServer) activePage(ctx context.Context, token string, size int) (*adminv1.ListFiguresResponse, error) {
	var after activeRow
	if token != "" {
		account, on, _ := strings.Cut(token, "/")
		var err error
		if after.AccountID, err = uuid.Parse(account); err != nil {
			return nil, badPage(err)
		}
		if after.Day, err = time.Parse(time.DateOnly, on); err != nil {
			return nil, badPage(err)
		}
	}
	list, err := s.activeDays(ctx, after, size)
	if err != nil {
		return nil, err
	}
	out := &adminv1.ListFiguresResponse{}
	for _, x := range list {
		if err := put(out, x.event()); err != nil {
			return nil, err
		}
	}
	if len(list) == size {
		last := list[len(list)-1]
		out.NextPageToken = activePages + last.AccountID.String() + "/" + last.Day.Format(time.DateOnly)
	}
	return out, nil
}

func badPage(err error) error {
	return fail.New(fail.InvalidArgument, "the request is invalid").Field("pageToken", "is not a page token of this list").Wrap(err)
}

// put adds a figure in its envelope.
func put(out *adminv1.ListFiguresResponse, ev outbox.Event) error {
	payload, err := proto.Marshal(ev.Payload)
	if err != nil {
		return fail.New(fail.Internal, "the figure is not encoded").Wrap(err)
	}
	out.Figures = append(out.Figures, &eventv1.Event{Type: string(ev.Payload.ProtoReflect().Descriptor().FullName()), Key: ev.Key, Payload: payload})
	return nil
}
