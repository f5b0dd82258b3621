package admin

import (
	"context"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/trail"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// deadServer leads to the dead letters of every service that sends events.
type deadServer struct {
	adminv1.UnimplementedAdminDeadLetterServiceServer
	*server
}

// letters does with a service's dead letters what is asked; each service keeps
// its own, and records who had it done in the transaction that does it.
type letters interface {
	list(ctx context.Context, r *eventv1.ListDeadLettersRequest) (*eventv1.ListDeadLettersResponse, error)
	requeue(ctx context.Context, r *eventv1.RequeueDeadLetterRequest) error
	discard(ctx context.Context, r *eventv1.DiscardDeadLetterRequest) error
}

type theirLetters struct {
	eventv1.DeadLetterServiceClient
}

func (l theirLetters) list(ctx context.Context, r *eventv1.ListDeadLettersRequest) (*eventv1.ListDeadLettersResponse, error) {
	return l.ListDeadLetters(ctx, r)
}

func (l theirLetters) requeue(ctx context.Context, r *eventv1.RequeueDeadLetterRequest) error {
	_, err := l.RequeueDeadLetter(ctx, r)
	return err
}

func (l theirLetters) discard(ctx context.Context, r *eventv1.DiscardDeadLetterRequest) error {
	_, err := l.DiscardDeadLetter(ctx, r)
	return err
}

type ownLetters struct {
	eventv1.DeadLetterServiceServer
}

func (l ownLetters) list(ctx context.Context, r *eventv1.ListDeadLettersRequest) (*eventv1.ListDeadLettersResponse, error) {
	return l.ListDeadLetters(ctx, r)
}

func (l ownLetters) requeue(ctx context.Context, r *eventv1.RequeueDeadLetterRequest) error {
	_, err := l.RequeueDeadLetter(ctx, r)
	return err
}

func (l ownLetters) discard(ctx context.Context, r *eventv1.DiscardDeadLetterRequest) error {
	_, err := l.DiscardDeadLetter(ctx, r)
	return err
}

// of finds the letters of a service; audit sends no events.
func (s *deadServer) of(service string) (letters, error) {
	if service == schema {
		return ownLetters{s.outbox.DeadLetters(s.db)}, nil
	}
	conn, ok := s.peers.conns[service]
	if !ok || service == "audit" {
		return nil, fail.New(fail.InvalidArgument, "the request is invalid").Field("service", "must be auth, user, subscription, payment or admin")
	}
	return theirLetters{eventv1.NewDeadLetterServiceClient(conn)}, nil
}

func (s *deadServer) ListDeadLetters(ctx context.Context, r *adminv1.ListDeadLettersRequest) (*adminv1.ListDeadLettersResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	l, err := s.of(r.GetService())
	if err != nil {
		return nil, err
	}
	list, err := l.list(ctx, &eventv1.ListDeadLettersRequest{PageSize: r.GetPageSize(), PageToken: r.GetPageToken(), Destination: r.GetDestination()})
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, listed(caller, trail.AdminDeadLettersListed, len(list.GetDeadLetters()), s.now())); err != nil {
		return nil, err
	}
	return &adminv1.ListDeadLettersResponse{DeadLetters: list.GetDeadLetters(), NextPageToken: list.GetNextPageToken(), TotalSize: list.GetTotalSize()}, nil
}

func (s *deadServer) RequeueDeadLetter(ctx context.Context, r *adminv1.RequeueDeadLetterRequest) (*adminv1.RequeueDeadLetterResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	l, err := s.of(r.GetService())
	if err != nil {
		return nil, err
	}
	if err := l.requeue(ctx, &eventv1.RequeueDeadLetterRequest{Id: r.GetId(), Destination: r.GetDestination(), Reason: r.GetReason()}); err != nil {
		return nil, err
	}
	return &adminv1.RequeueDeadLetterResponse{}, nil
}

func (s *deadServer) DiscardDeadLetter(ctx context.Context, r *adminv1.DiscardDeadLetterRequest) (*adminv1.DiscardDeadLetterResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	l, err := s.of(r.GetService())
	if err != nil {
		return nil, err
	}
	if err := l.discard(ctx, &eventv1.DiscardDeadLetterRequest{Id: r.GetId(), Destination: r.GetDestination(), Reason: r.GetReason()}); err != nil {
		return nil, err
	}
	return &adminv1.DiscardDeadLetterResponse{}, nil
}
