package auth

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

type apiKeyServer struct {
	authv1.UnimplementedApiKeyServiceServer
	*Service
}

func (s *apiKeyServer) CreateApiKey(ctx context.Context, r *authv1.CreateApiKeyRequest) (*authv1.CreateApiKeyResponse, error) { //nolint:revive,staticcheck // the contract spells it so
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	w := keyWish{Name: r.GetName(), Permissions: r.GetPermissions()}
	if t := r.GetExpiresAt(); t != nil {
		if !t.IsValid() {
			return nil, fail.New(fail.InvalidArgument, "the request is invalid").Field("expiresAt", "must be a time")
		}
		w.ExpiresAt = t.AsTime()
	}
	k, raw, err := s.createAPIKey(ctx, w, c)
	if err != nil {
		return nil, err
	}
	out := packAPIKey(k)
	out.Secret = &raw
	return &authv1.CreateApiKeyResponse{ApiKey: out}, nil
}

func (s *apiKeyServer) ListApiKeys(ctx context.Context, r *authv1.ListApiKeysRequest) (*authv1.ListApiKeysResponse, error) { //nolint:revive,staticcheck // the contract spells it so
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	query := "api-keys\x00" + c.UserID.String()
	from := first
	if r.GetPageToken() != "" {
		if err := s.pages.Open(query, r.GetPageToken(), &from); err != nil {
			return nil, err
		}
	}
	size, now := page.Size(r.GetPageSize()), s.now()
	list, err := s.apiKeys(ctx, c.UserID, from, size+1, now)
	if err != nil {
		return nil, err
	}
	total, err := s.countAPIKeys(ctx, s.db.Pool, c.UserID, now)
	if err != nil {
		return nil, err
	}
	out := &authv1.ListApiKeysResponse{TotalSize: int32(total)} //nolint:gosec // maxAPIKeys at most
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		out.NextPageToken = s.pages.Seal(query, cursor{Time: last.CreatedAt, ID: last.ID})
	}
	for _, k := range list {
		out.ApiKeys = append(out.ApiKeys, packAPIKey(k))
	}
	return out, nil
}

func (s *apiKeyServer) DeleteApiKey(ctx context.Context, r *authv1.DeleteApiKeyRequest) (*authv1.DeleteApiKeyResponse, error) { //nolint:revive,staticcheck // the contract spells it so
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	key, err := id.Parse("apk", r.GetId())
	if err != nil {
		return nil, noSuchKey()
	}
	if err := s.deleteAPIKey(ctx, key, c); err != nil {
		return nil, err
	}
	return &authv1.DeleteApiKeyResponse{}, nil
}

func (s *internalServer) ExchangeApiKey(ctx context.Context, r *authv1.ExchangeApiKeyRequest) (*authv1.ExchangeApiKeyResponse, error) { //nolint:revive,staticcheck // the contract spells it so
	x, err := s.exchangeAPIKey(ctx, r.GetKey())
	if err != nil {
		return nil, err
	}
	return &authv1.ExchangeApiKeyResponse{AccessToken: x.Access, ExpiresAt: timestamppb.New(x.Expires)}, nil
}

func packAPIKey(k apiKey) *authv1.ApiKey {
	return &authv1.ApiKey{
		Id: apiKeyName(k.ID), Name: k.Name, Permissions: k.Permissions, CreatedAt: timestamppb.New(k.CreatedAt),
		ExpiresAt: timestamppb.New(k.ExpiresAt), LastUsedAt: optionalTime(k.LastUsedDay),
	}
}

func optionalTime(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
