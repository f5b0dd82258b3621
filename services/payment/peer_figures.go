package payment

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/rpc"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// tellAdmin delivers to admin, who counts payments and money, if there is one.
func (s *Service) tellAdmin(p *boot.Process, addr string) error {
	if addr == "" {
		return nil
	}
	conn, err := rpc.Dial(p, "admin", addr)
	if err != nil {
		return fmt.Errorf("dial admin: %w", err)
	}
	p.Go("relay-admin", s.outbox.Relay(s.db, "admin", inboxClient(conn), p.Log))
	return nil
}

// tellPayment sends admin what is counted of a payment, as it stands in tx.
func (s *Service) tellPayment(ctx context.Context, tx pg.Tx, paymentID uuid.UUID) error {
	if !s.counted {
		return nil
	}
	list, err := paymentFigures(ctx, tx, &paymentID, uuid.Nil, 1)
	if err != nil || len(list) == 0 {
		return err
	}
	return s.outbox.Append(ctx, tx, list[0].event()) //nolint:wrapcheck // its own words
}

// tellJournal sends admin what is counted of a journal.
func (s *Service) tellJournal(ctx context.Context, tx pg.Tx, journalID uuid.UUID) error {
	if !s.counted {
		return nil
	}
	list, err := journalFigures(ctx, tx, &journalID, uuid.Nil, 1)
	if err != nil || len(list) == 0 {
		return err
	}
	return s.outbox.Append(ctx, tx, list[0].event()) //nolint:wrapcheck // its own words
}

func (f paymentFigure) event() outbox.Event {
	return outbox.Event{Key: id.Format("pay", f.ID), Destinations: []string{"admin"}, Payload: &adminv1.PaymentFigure{
		PaymentId: f.ID[:], Version: f.Version, State: f.State, Provider: f.Provider, Method: f.Method,
		Currency: f.Currency, AmountMinor: f.AmountMinor, CreatedAt: timestamppb.New(f.CreatedAt),
	}}
}

func (f journalFigure) event() outbox.Event {
	return outbox.Event{Key: "journal:" + f.ID.String(), Destinations: []string{"admin"}, Payload: &adminv1.JournalFigure{
		JournalId: f.ID[:], OccurredAt: timestamppb.New(f.OccurredAt), Currency: f.Currency, GrossMinor: f.GrossMinor,
		RefundMinor: f.RefundMinor, TaxMinor: f.TaxMinor, DueMinor: f.DueMinor,
	}}
}

type figureServer struct {
	adminv1.UnimplementedFigureInternalServiceServer
	*Service
}

const journalPages = "journal:" // payments come first, then the journals

// ListFigures pages through payments, then through journals.
func (s *figureServer) ListFigures(ctx context.Context, r *adminv1.ListFiguresRequest) (*adminv1.ListFiguresResponse, error) {
	size := int(max(r.GetPageSize(), 1))
	token, journals := strings.CutPrefix(r.GetPageToken(), journalPages)
	after := uuid.Nil
	if token != "" {
		var err error
		if after, err = uuid.Parse(token); err != nil {
			return nil, fail.New(fail.InvalidArgument, "the request is invalid").Field("pageToken", "is not a page token of this list").Wrap(err)
		}
	}
	out, last := &adminv1.ListFiguresResponse{}, uuid.Nil
	if journals {
		list, err := journalFigures(ctx, s.db.Pool, nil, after, size)
		if err != nil {
			return nil, err
		}
		for _, f := range list {
			if err := put(out, f.event()); err != nil {
				return nil, err
			}
			last = f.ID
		}
		if len(list) == size {
			out.NextPageToken = journalPages + last.String()
		}
		return out, nil
	}
	list, err := paymentFigures(ctx, s.db.Pool, nil, after, size)
	if err != nil {
		return nil, err
	}
	for _, f := range list {
		if err := put(out, f.event()); err != nil {
			return nil, err
		}
		last = f.ID
	}
	if out.NextPageToken = journalPages; len(list) == size {
		out.NextPageToken = last.String()
	}
	return out, nil
}

// put adds a figure in its envelope.
func put(out *adminv1.ListFiguresResponse, ev outbox.Event) error {
	payload, err := proto.Marshal(ev.Payload)
	if err != nil {
		return fmt.Errorf("encode a figure: %w", err)
	}
	out.Figures = append(out.Figures, &eventv1.Event{Type: string(ev.Payload.ProtoReflect().Descriptor().FullName()), Key: ev.Key, Payload: payload})
	return nil
}
