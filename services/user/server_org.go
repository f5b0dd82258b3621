package user

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

type orgServer struct {
	userv1.UnimplementedOrganizationServiceServer
	*Service
}

// subject is the caller and the organization asked for; a malformed id is one
// that does not exist.
func subject(ctx context.Context, org string) (*token.Caller, uuid.UUID, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, uuid.Nil, err
	}
	orgID, err := id.Parse("org", org)
	if err != nil {
		return nil, uuid.Nil, noOrg()
	}
	return caller, orgID, nil
}

func (s *orgServer) CreateOrganization(ctx context.Context, r *userv1.CreateOrganizationRequest) (*userv1.CreateOrganizationResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	o, err := s.createOrg(ctx, caller, r.GetName(), r.GetType().String())
	if err != nil {
		return nil, err
	}
	return &userv1.CreateOrganizationResponse{Organization: packOrg(o)}, nil
}

func (s *orgServer) ListOrganizations(ctx context.Context, r *userv1.ListOrganizationsRequest) (*userv1.ListOrganizationsResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	query := "organizations\x00" + caller.UserID.String()
	before, err := s.from(query, r.GetPageToken(), newest)
	if err != nil {
		return nil, err
	}
	rows, n, err := s.orgs(ctx, caller.UserID, before, pageSize(r.GetPageSize())+1)
	if err != nil {
		return nil, err
	}
	out := &userv1.ListOrganizationsResponse{TotalSize: total(n)}
	rows, out.NextPageToken = cut(s.Service, query, rows, r.GetPageSize(), organization.at)
	if rows, err = s.countedAll(ctx, rows); err != nil {
		return nil, err
	}
	for _, o := range rows {
		out.Organizations = append(out.Organizations, packOrg(o))
	}
	return out, nil
}

func (s *orgServer) GetOrganization(ctx context.Context, r *userv1.GetOrganizationRequest) (*userv1.GetOrganizationResponse, error) {
	caller, orgID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	o, err := s.org(ctx, s.db.Pool, caller.UserID, orgID)
	if err != nil {
		return nil, err
	}
	if o, err = s.counted(ctx, o); err != nil {
		return nil, err
	}
	return &userv1.GetOrganizationResponse{Organization: packOrg(o)}, nil
}

func (s *orgServer) UpdateOrganization(ctx context.Context, r *userv1.UpdateOrganizationRequest) (*userv1.UpdateOrganizationResponse, error) {
	caller, orgID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	in := r.GetOrganization()
	o, err := s.updateOrg(ctx, caller, orgID, r.GetUpdateMask().GetPaths(), in.GetName(), in.GetType().String(), ifMatch(ctx))
	if err != nil {
		return nil, err
	}
	return &userv1.UpdateOrganizationResponse{Organization: packOrg(o)}, nil
}

func (s *orgServer) DeleteOrganization(ctx context.Context, r *userv1.DeleteOrganizationRequest) (*userv1.DeleteOrganizationResponse, error) {
	caller, orgID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	if err := s.deleteOrg(ctx, caller, orgID, ifMatch(ctx)); err != nil {
		return nil, err
	}
	return &userv1.DeleteOrganizationResponse{}, nil
}

func (s *orgServer) ListMembers(ctx context.Context, r *userv1.ListMembersRequest) (*userv1.ListMembersResponse, error) {
	caller, orgID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	o, err := s.org(ctx, s.db.Pool, caller.UserID, orgID)
	if err != nil {
		return nil, err
	}
	query := "members\x00" + orgID.String()
	after, err := s.from(query, r.GetPageToken(), oldest)
	if err != nil {
		return nil, err
	}
	rows, n, err := s.members(ctx, orgID, after, pageSize(r.GetPageSize())+1)
	if err != nil {
		return nil, err
	}
	out := &userv1.ListMembersResponse{TotalSize: total(n)}
	rows, out.NextPageToken = cut(s.Service, query, rows, r.GetPageSize(), memberView.at)
	for _, m := range rows {
		out.Members = append(out.Members, packMember(m, mayRun(o.Role) || m.UserID == caller.UserID))
	}
	return out, nil
}

func (s *orgServer) UpdateMember(ctx context.Context, r *userv1.UpdateMemberRequest) (*userv1.UpdateMemberResponse, error) {
	caller, orgID, userID, err := s.whose(ctx, r.GetId(), r.GetUserId())
	if err != nil {
		return nil, err
	}
	m, err := s.setMemberRole(ctx, caller, orgID, userID, r.GetRole().String())
	if err != nil {
		return nil, err
	}
	return &userv1.UpdateMemberResponse{Member: packMember(m, true)}, nil
}

func (s *orgServer) RemoveMember(ctx context.Context, r *userv1.RemoveMemberRequest) (*userv1.RemoveMemberResponse, error) {
	caller, orgID, userID, err := s.whose(ctx, r.GetId(), r.GetUserId())
	if err != nil {
		return nil, err
	}
	if err := s.removeMember(ctx, caller, orgID, userID); err != nil {
		return nil, err
	}
	return &userv1.RemoveMemberResponse{}, nil
}

// whose reads who asks for which member of what.
func (s *orgServer) whose(ctx context.Context, org, user string) (caller *token.Caller, orgID, userID uuid.UUID, err error) {
	if caller, orgID, err = subject(ctx, org); err != nil {
		return nil, uuid.Nil, uuid.Nil, err
	}
	if userID, err = id.Parse("usr", user); err != nil {
		return nil, uuid.Nil, uuid.Nil, noMember()
	}
	return caller, orgID, userID, nil
}

func packOrg(o organization) *userv1.Organization {
	return &userv1.Organization{
		Id: id.Format("org", o.ID), Name: o.Name, Type: userv1.Organization_Type(userv1.Organization_Type_value[o.Type]),
		Role: packRole(o.Role), Seats: o.Seats, SeatsUsed: o.Used,
		CreatedAt: timestamppb.New(o.CreatedAt), UpdatedAt: timestamppb.New(o.UpdatedAt), Etag: etagOf(o.Version),
	}
}

func packRole(role string) userv1.Member_Role {
	return userv1.Member_Role(userv1.Member_Role_value[role])
}

// packMember shows a member, with the address to who may see it.
func packMember(m memberView, address bool) *userv1.Member {
	out := &userv1.Member{
		UserId: id.Format("usr", m.UserID), DisplayName: m.DisplayName, Role: packRole(m.Role), JoinedAt: timestamppb.New(m.JoinedAt),
	}
	if address {
		out.Email = m.Email
	}
	return out
}
