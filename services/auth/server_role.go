package auth

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// roleServer is what the suite knows of roles, and what operators do.
type roleServer struct {
	authv1.UnimplementedRoleInternalServiceServer
	*Service
}

func (s *roleServer) ListRoles(ctx context.Context, r *authv1.ListRolesRequest) (*authv1.ListRolesResponse, error) {
	var list []role
	var err error
	if r.GetCountUsers() {
		list, err = s.countedRoles(ctx)
	} else {
		list, err = s.roles(ctx, s.db.Pool)
	}
	if err != nil {
		return nil, err
	}
	out := &authv1.ListRolesResponse{Epoch: epochOf(list)}
	for _, x := range list {
		p := packRole(x)
		if r.GetCountUsers() {
			n := int32(min(x.Users, 1<<31-1)) //nolint:gosec // bounded here
			p.Users = &n
		}
		out.Roles = append(out.Roles, p)
	}
	return out, nil
}

func packRole(x role) *authv1.Role {
	return &authv1.Role{
		Name: x.Name, Permissions: x.Permissions, Level: int32(x.Level), NeedsMfa: x.NeedsMFA, Epoch: x.Epoch, //nolint:gosec // 0 to 100
	}
}

func (s *roleServer) UpdateRole(ctx context.Context, r *authv1.UpdateRoleRequest) (*authv1.UpdateRoleResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	x, err := s.updateRole(ctx, c, r.GetName(), r.GetPermissions(), plain(r.GetReason(), 2000))
	if err != nil {
		return nil, err
	}
	return &authv1.UpdateRoleResponse{Role: packRole(x)}, nil
}

func (s *roleServer) SetAccountRoles(ctx context.Context, r *authv1.SetAccountRolesRequest) (*authv1.SetAccountRolesResponse, error) {
	c, userID, err := operation(ctx, r.GetUserId())
	if err != nil {
		return nil, err
	}
	acc, err := s.setRoles(ctx, c, userID, r.GetRoles(), plain(r.GetReason(), 2000))
	if err != nil {
		return nil, err
	}
	return &authv1.SetAccountRolesResponse{Account: packAccount(acc)}, nil
}

func (s *roleServer) UnlockAccount(ctx context.Context, r *authv1.UnlockAccountRequest) (*authv1.UnlockAccountResponse, error) {
	c, userID, err := operation(ctx, r.GetUserId())
	if err != nil {
		return nil, err
	}
	acc, err := s.unlock(ctx, c, userID, plain(r.GetReason(), 2000))
	if err != nil {
		return nil, err
	}
	return &authv1.UnlockAccountResponse{Account: packAccount(acc)}, nil
}

func (s *roleServer) RevokeAccountSessions(ctx context.Context, r *authv1.RevokeAccountSessionsRequest) (*authv1.RevokeAccountSessionsResponse, error) {
	c, userID, err := operation(ctx, r.GetUserId())
	if err != nil {
		return nil, err
	}
	acc, err := s.endAll(ctx, c, userID, plain(r.GetReason(), 2000))
	if err != nil {
		return nil, err
	}
	return &authv1.RevokeAccountSessionsResponse{Account: packAccount(acc)}, nil
}

func (s *roleServer) ImpersonateAccount(ctx context.Context, r *authv1.ImpersonateAccountRequest) (*authv1.ImpersonateAccountResponse, error) {
	c, userID, err := operation(ctx, r.GetUserId())
	if err != nil {
		return nil, err
	}
	g, err := s.impersonate(ctx, c, userID, plain(r.GetReason(), 2000))
	if err != nil {
		return nil, err
	}
	return &authv1.ImpersonateAccountResponse{AccessToken: g.Access, ExpiresIn: seconds(g.AccessTTL), Account: packAccount(g.Account)}, nil
}

// operation is who asks and whom it is about.
func operation(ctx context.Context, user []byte) (*token.Caller, uuid.UUID, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, uuid.Nil, err
	}
	userID, err := parseUser(user)
	return c, userID, err
}
