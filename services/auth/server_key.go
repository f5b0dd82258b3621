package auth

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
)

// keyTool is the peer that needs no person behind it: its certificate lies
// where only operators of the machine can read it.
const keyTool = "manasctl"

// keyServer is what operators do with signing keys.
type keyServer struct {
	authv1.UnimplementedKeyInternalServiceServer
	*Service

	peer func(context.Context) string
}

func (s *keyServer) ListSigningKeys(ctx context.Context, _ *authv1.ListSigningKeysRequest) (*authv1.ListSigningKeysResponse, error) {
	if _, err := s.operator(ctx, ""); err != nil {
		return nil, err
	}
	list, err := s.allKeys(ctx, s.now().Add(-deadShown))
	if err != nil {
		return nil, err
	}
	out := &authv1.ListSigningKeysResponse{}
	for _, k := range list {
		out.Keys = append(out.Keys, packKey(k))
	}
	return out, nil
}

func (s *keyServer) RotateSigningKey(ctx context.Context, r *authv1.RotateSigningKeyRequest) (*authv1.RotateSigningKeyResponse, error) {
	by, err := s.operator(ctx, r.GetOperator())
	if err != nil {
		return nil, err
	}
	k, err := s.rotateKey(ctx, by, plain(r.GetReason(), 2000))
	if err != nil {
		return nil, err
	}
	return &authv1.RotateSigningKeyResponse{Key: packKey(k)}, nil
}

func (s *keyServer) KillSigningKey(ctx context.Context, r *authv1.KillSigningKeyRequest) (*authv1.KillSigningKeyResponse, error) {
	by, err := s.operator(ctx, r.GetOperator())
	if err != nil {
		return nil, err
	}
	k, err := s.killKey(ctx, by, r.GetKid(), plain(r.GetReason(), 2000))
	if err != nil {
		return nil, err
	}
	return &authv1.KillSigningKeyResponse{Key: packKey(k)}, nil
}

// operator decides who moves a key: the tool at the machine, else an
// administrator who holds settings.manage and a second factor.
func (s *keyServer) operator(ctx context.Context, name string) (operator, error) {
	c := someone(ctx)
	if s.peer(ctx) == keyTool {
		who := actor{Type: "service", ID: keyTool}
		if name = plain(name, 64); name != "" {
			who.ID += "/" + name
		}
		return operator{actor: who, caller: &token.Caller{RequestID: rpc.RequestID(ctx)}}, nil
	}
	rule := &authzv1.Rule{Access: &authzv1.Rule_Permission{Permission: "settings.manage"}, Mfa: true}
	if err := rpc.Allow(rule, c, s.now()); err != nil {
		return operator{}, err //nolint:wrapcheck // already what the caller must see
	}
	return operator{actor: adminActor(c), caller: c}, nil
}

func packKey(k storedKey) *authv1.SigningKey {
	return &authv1.SigningKey{
		Kid: k.Kid, Alg: k.Alg, State: authv1.SigningKey_State(authv1.SigningKey_State_value[k.State]), CreatedAt: timestamppb.New(k.CreatedAt),
		SignsAt: stamp(k.DueAt), ActivatedAt: stamp(k.ActivatedAt), VerifyUntil: stamp(k.VerifyUntil), DeadAt: stamp(k.DeadAt),
	}
}

func stamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
