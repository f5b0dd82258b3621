package user

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/pg"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

const dataPrefix = "dat"

type dataRequestServer struct {
	userv1.UnimplementedDataRequestServiceServer
	*Service
}

func (s *dataRequestServer) ExportMe(ctx context.Context, _ *userv1.ExportMeRequest) (*userv1.ExportMeResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.askExport(ctx, c)
	if err != nil {
		return nil, err
	}
	return &userv1.ExportMeResponse{DataRequest: packRequest(r)}, nil
}

func (s *dataRequestServer) EraseMe(ctx context.Context, _ *userv1.EraseMeRequest) (*userv1.EraseMeResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.askErasure(ctx, c)
	if err != nil {
		return nil, err
	}
	return &userv1.EraseMeResponse{DataRequest: packRequest(r)}, nil
}

// requestPosition is a place in a person's list, for a page token.
type requestPosition struct {
	Time time.Time `json:"t"`
	ID   uuid.UUID `json:"i"`
}

func (s *dataRequestServer) ListDataRequests(ctx context.Context, r *userv1.ListDataRequestsRequest) (*userv1.ListDataRequestsResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	query := "data requests\x00" + c.UserID.String()
	from := requestPosition{Time: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), ID: uuid.Max}
	if r.GetPageToken() != "" {
		if err := s.pages.Open(query, r.GetPageToken(), &from); err != nil {
			return nil, err
		}
	}
	size := page.Size(r.GetPageSize())
	list, total, err := s.requestsOf(ctx, c.UserID, from.Time, from.ID, size+1)
	if err != nil {
		return nil, err
	}
	out := &userv1.ListDataRequestsResponse{TotalSize: int32(min(total, 1<<31-1))} //nolint:gosec // bounded here
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		out.NextPageToken = s.pages.Seal(query, requestPosition{Time: last.CreatedAt, ID: last.ID})
	}
	for _, x := range list {
		out.DataRequests = append(out.DataRequests, packRequest(x))
	}
	return out, nil
}

func (s *dataRequestServer) GetDataRequest(ctx context.Context, r *userv1.GetDataRequestRequest) (*userv1.GetDataRequestResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	requestID, err := id.Parse(dataPrefix, r.GetId())
	if err != nil {
		return nil, fail.New(fail.NotFound, "there is no such request")
	}
	x, err := s.requestOf(ctx, c.UserID, requestID)
	if err != nil {
		return nil, err
	}
	out := packRequest(x)
	if x.State == stateReady {
		parts, err := s.archive(ctx, x)
		if err != nil {
			return nil, err
		}
		if out.Archive, err = structpb.NewStruct(parts); err != nil {
			return nil, fmt.Errorf("pack an archive: %w", err)
		}
	}
	return &userv1.GetDataRequestResponse{DataRequest: out}, nil
}

func packRequest(r dataRequest) *userv1.DataRequest {
	return &userv1.DataRequest{
		Id: id.Format(dataPrefix, r.ID), Kind: userv1.DataRequest_Kind(userv1.DataRequest_Kind_value[r.Kind]),
		State:     userv1.DataRequest_State(userv1.DataRequest_State_value[r.State]),
		CreatedAt: timestamppb.New(r.CreatedAt), ExpiresAt: stamp(r.ExpiresAt), DueAt: stamp(r.DueAt), FinishedAt: stamp(r.FinishedAt),
	}
}

func (s *Service) onErasureCancelled(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
	m := &authv1.ErasureCancelled{}
	if err := outbox.Payload(ev, m); err != nil {
		return err
	}
	userID, err := uuid.FromBytes(m.GetUserId())
	if err != nil {
		return fail.New(fail.InvalidArgument, "the account id is malformed").Wrap(err)
	}
	return s.cancelRequestIn(ctx, tx, userID, s.now())
}
