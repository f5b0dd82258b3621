package admin

import (
	"context"

	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// roleServer is what operators do with roles and to the accounts below their
// own. auth decides, acts and records, all in one transaction of its own.
type roleServer struct {
	adminv1.UnimplementedAdminRoleServiceServer
	*server
}

func (s *roleServer) ListRoles(ctx context.Context, _ *adminv1.ListRolesRequest) (*adminv1.ListRolesResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.peers.roles.ListRoles(ctx, &authv1.ListRolesRequest{CountUsers: true})
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, rolesListed(caller, s.now())); err != nil {
		return nil, err
	}
	out := &adminv1.ListRolesResponse{TotalSize: int32(len(list.GetRoles()))} //nolint:gosec // a few
	for _, r := range list.GetRoles() {
		out.Roles = append(out.Roles, packRole(r))
	}
	return out, nil
}

func (s *roleServer) UpdateRole(ctx context.Context, r *adminv1.UpdateRoleRequest) (*adminv1.UpdateRoleResponse, error) {
	if _, err := operator(ctx); err != nil {
		return nil, err
	}
	out, err := s.peers.roles.UpdateRole(ctx, &authv1.UpdateRoleRequest{Name: r.GetName(), Permissions: r.GetPermissions(), Reason: r.GetReason()})
	if err != nil {
		return nil, err
	}
	return &adminv1.UpdateRoleResponse{Role: packRole(out.GetRole())}, nil
}

func (s *roleServer) SetUserRoles(ctx context.Context, r *adminv1.SetUserRolesRequest) (*adminv1.SetUserRolesResponse, error) {
	caller, userID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	if a, waits, err := s.grantWaits(ctx, caller, userID, r); err != nil || waits {
		return &adminv1.SetUserRolesResponse{User: a}, err
	}
	out, err := s.peers.roles.SetAccountRoles(ctx, &authv1.SetAccountRolesRequest{UserId: userID[:], Roles: r.GetRoles(), Reason: r.GetReason()})
	if err != nil {
		return nil, err
	}
	u, err := s.after(ctx, out.GetAccount())
	return &adminv1.SetUserRolesResponse{User: u}, err
}

func (s *roleServer) UnlockUser(ctx context.Context, r *adminv1.UnlockUserRequest) (*adminv1.UnlockUserResponse, error) {
	_, userID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	out, err := s.peers.roles.UnlockAccount(ctx, &authv1.UnlockAccountRequest{UserId: userID[:], Reason: r.GetReason()})
	if err != nil {
		return nil, err
	}
	u, err := s.after(ctx, out.GetAccount())
	return &adminv1.UnlockUserResponse{User: u}, err
}

func (s *roleServer) RevokeUserSessions(ctx context.Context, r *adminv1.RevokeUserSessionsRequest) (*adminv1.RevokeUserSessionsResponse, error) {
	_, userID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	out, err := s.peers.roles.RevokeAccountSessions(ctx, &authv1.RevokeAccountSessionsRequest{UserId: userID[:], Reason: r.GetReason()})
	if err != nil {
		return nil, err
	}
	u, err := s.after(ctx, out.GetAccount())
	return &adminv1.RevokeUserSessionsResponse{User: u}, err
}

func (s *roleServer) ImpersonateUser(ctx context.Context, r *adminv1.ImpersonateUserRequest) (*adminv1.ImpersonateUserResponse, error) {
	_, userID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	out, err := s.peers.roles.ImpersonateAccount(ctx, &authv1.ImpersonateAccountRequest{UserId: userID[:], Reason: r.GetReason()})
	if err != nil {
		return nil, err
	}
	u, err := s.after(ctx, out.GetAccount())
	if err != nil {
		return nil, err
	}
	return &adminv1.ImpersonateUserResponse{AccessToken: out.GetAccessToken(), TokenType: "Bearer", ExpiresIn: out.GetExpiresIn(), User: u}, nil
}

func packRole(r *authv1.Role) *adminv1.Role {
	return &adminv1.Role{Name: r.GetName(), Permissions: r.GetPermissions(), Level: r.GetLevel(), NeedsMfa: r.GetNeedsMfa(), Users: r.Users}
}
