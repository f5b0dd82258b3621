package auth

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/page"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

const (
	authzPage    = 500
	authzPageMax = 1000
)

type internalServer struct {
	authv1.UnimplementedAuthInternalServiceServer
	*Service
}

func (s *internalServer) GetKeys(ctx context.Context, _ *authv1.GetKeysRequest) (*authv1.GetKeysResponse, error) {
	// As they are now: who asks may have heard of a change that this replica has
	// not. Without the database the last known must do.
	if err := s.loadKeys(ctx); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("signing keys not reloaded")
	}
	set, err := s.keys.jwks()
	if err != nil {
		return nil, err
	}
	return &authv1.GetKeysResponse{Jwks: set}, nil
}

// position is a place in auth's log, for a page token.
type position struct {
	Seq int64 `json:"s"`
}

func (s *internalServer) ListAuthzEvents(ctx context.Context, r *authv1.ListAuthzEventsRequest) (*authv1.ListAuthzEventsResponse, error) {
	now := s.now()
	since := time.Unix(0, 0)
	if r.GetSince() != nil {
		since = r.GetSince().AsTime()
	}
	query := "authz\x00" + since.UTC().Format(time.RFC3339Nano)
	var after position
	if r.GetPageToken() != "" {
		if err := s.pages.Open(query, r.GetPageToken(), &after); err != nil {
			return nil, err
		}
	}
	size := int(r.GetPageSize())
	if size <= 0 {
		size = authzPage
	}
	size = min(size, authzPageMax)
	list, err := s.authzEvents(ctx, since, after.Seq, size+1, now)
	if err != nil {
		return nil, err
	}
	out := &authv1.ListAuthzEventsResponse{Now: timestamppb.New(now)}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal(query, position{Seq: list[size-1].Seq})
	}
	for _, ev := range list {
		out.Events = append(out.Events, packAuthz(ev))
	}
	return out, nil
}

func (s *internalServer) GetAccount(ctx context.Context, r *authv1.GetAccountRequest) (*authv1.GetAccountResponse, error) {
	userID, err := parseUser(r.GetUserId())
	if err != nil {
		return nil, err
	}
	acc, err := s.getAccount(ctx, userID)
	if err != nil {
		return nil, err
	}
	_, live, err := s.sessions(ctx, userID, first, 1, s.now())
	if err != nil {
		return nil, err
	}
	return &authv1.GetAccountResponse{Account: packAccount(acc), Sessions: int32(min(live, 1<<31-1))}, nil //nolint:gosec // bounded here
}

func (s *internalServer) ListAccounts(ctx context.Context, r *authv1.ListAccountsRequest) (*authv1.ListAccountsResponse, error) {
	f := accountSearch{Search: plain(r.GetSearch(), 254), Role: plain(r.GetRole(), 64), Sort: r.GetSort()}
	if r.GetState() != authv1.Account_STATE_UNSPECIFIED {
		f.State = r.GetState().String()
	}
	from := f.start()
	if r.GetPageToken() != "" {
		if err := s.pages.Open(f.name(), r.GetPageToken(), &from); err != nil {
			return nil, err
		}
	}
	size := page.Size(r.GetPageSize())
	list, total, err := s.accounts(ctx, f, from, size+1)
	if err != nil {
		return nil, err
	}
	out := &authv1.ListAccountsResponse{TotalSize: int32(min(total, 1<<31-1))} //nolint:gosec // bounded here
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		out.NextPageToken = s.pages.Seal(f.name(), cursor{Time: last.CreatedAt, ID: last.ID, Email: last.Email})
	}
	for _, a := range list {
		out.Accounts = append(out.Accounts, packAccount(a))
	}
	return out, nil
}

func (s *internalServer) SuspendAccount(ctx context.Context, r *authv1.SuspendAccountRequest) (*authv1.SuspendAccountResponse, error) {
	acc, err := s.stateRequest(ctx, r.GetUserId(), stateSuspended, r.GetReason())
	if err != nil {
		return nil, err
	}
	return &authv1.SuspendAccountResponse{Account: packAccount(acc)}, nil
}

func (s *internalServer) ReactivateAccount(ctx context.Context, r *authv1.ReactivateAccountRequest) (*authv1.ReactivateAccountResponse, error) {
	acc, err := s.stateRequest(ctx, r.GetUserId(), stateActive, r.GetReason())
	if err != nil {
		return nil, err
	}
	return &authv1.ReactivateAccountResponse{Account: packAccount(acc)}, nil
}

func (s *internalServer) stateRequest(ctx context.Context, user []byte, state, reason string) (account, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return account{}, err
	}
	userID, err := parseUser(user)
	if err != nil {
		return account{}, err
	}
	return s.changeState(ctx, c, userID, state, plain(reason, 2000))
}

func parseUser(b []byte) (uuid.UUID, error) {
	u, err := uuid.FromBytes(b)
	if err != nil {
		return uuid.Nil, fail.New(fail.InvalidArgument, "the request is invalid").Field("userId", "must be 16 bytes")
	}
	return u, nil
}
