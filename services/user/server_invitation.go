package user

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

func (s *orgServer) CreateInvitation(ctx context.Context, r *userv1.CreateInvitationRequest) (*userv1.CreateInvitationResponse, error) {
	caller, orgID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	i, err := s.invite(ctx, caller, orgID, ask{Email: r.GetEmail(), Role: invitedRole(r.GetRole()), Locale: r.GetLocale()})
	if err != nil {
		return nil, err
	}
	return &userv1.CreateInvitationResponse{Invitation: packInvitation(i, s.now())}, nil
}

func (s *orgServer) BulkCreateInvitations(ctx context.Context, r *userv1.BulkCreateInvitationsRequest) (*userv1.BulkCreateInvitationsResponse, error) {
	caller, orgID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	lines, err := s.inviteAll(ctx, caller, orgID, r.GetEmails(), invitedRole(r.GetRole()), r.GetLocale())
	if err != nil {
		return nil, err
	}
	out := &userv1.BulkCreateInvitationsResponse{}
	for _, l := range lines {
		res := &userv1.BulkCreateInvitationsResponse_Result{Email: l.Email}
		if l.Invitation != nil {
			res.Invitation = packInvitation(*l.Invitation, s.now())
			out.Invited++
		} else {
			res.Code, res.Detail = l.Err.Kind.Reason, l.Err.Msg
		}
		out.Results = append(out.Results, res)
	}
	return out, nil
}

func (s *orgServer) ListInvitations(ctx context.Context, r *userv1.ListInvitationsRequest) (*userv1.ListInvitationsResponse, error) {
	caller, orgID, err := subject(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	o, err := s.org(ctx, s.db.Pool, caller.UserID, orgID)
	if err != nil {
		return nil, err
	}
	if !mayRun(o.Role) {
		return nil, fail.New(fail.PermissionDenied, "your role in the organization does not allow this")
	}
	query := "invitations\x00" + orgID.String()
	before, err := s.from(query, r.GetPageToken(), newest)
	if err != nil {
		return nil, err
	}
	rows, n, err := s.invitations(ctx, orgID, before, pageSize(r.GetPageSize())+1)
	if err != nil {
		return nil, err
	}
	out := &userv1.ListInvitationsResponse{TotalSize: total(n)}
	rows, out.NextPageToken = cut(s.Service, query, rows, r.GetPageSize(), invitation.at)
	for _, i := range rows {
		out.Invitations = append(out.Invitations, packInvitation(i, s.now()))
	}
	return out, nil
}

func (s *orgServer) ResendInvitation(ctx context.Context, r *userv1.ResendInvitationRequest) (*userv1.ResendInvitationResponse, error) {
	caller, orgID, invitationID, err := s.which(ctx, r.GetId(), r.GetInvitationId())
	if err != nil {
		return nil, err
	}
	i, err := s.resend(ctx, caller, orgID, invitationID)
	if err != nil {
		return nil, err
	}
	return &userv1.ResendInvitationResponse{Invitation: packInvitation(i, s.now())}, nil
}

func (s *orgServer) RevokeInvitation(ctx context.Context, r *userv1.RevokeInvitationRequest) (*userv1.RevokeInvitationResponse, error) {
	caller, orgID, invitationID, err := s.which(ctx, r.GetId(), r.GetInvitationId())
	if err != nil {
		return nil, err
	}
	if err := s.revoke(ctx, caller, orgID, invitationID); err != nil {
		return nil, err
	}
	return &userv1.RevokeInvitationResponse{}, nil
}

func (s *orgServer) AcceptInvitation(ctx context.Context, r *userv1.AcceptInvitationRequest) (*userv1.AcceptInvitationResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	o, err := s.accept(ctx, caller, r.GetToken())
	if err != nil {
		return nil, err
	}
	return &userv1.AcceptInvitationResponse{Organization: packOrg(o)}, nil
}

func (s *orgServer) ListMyInvitations(ctx context.Context, r *userv1.ListMyInvitationsRequest) (*userv1.ListMyInvitationsResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	email, err := s.provedEmail(ctx, caller.UserID)
	if err != nil {
		return nil, err
	}
	out := &userv1.ListMyInvitationsResponse{}
	if email == "" {
		return out, nil
	}
	query := "my invitations\x00" + email
	before, err := s.from(query, r.GetPageToken(), newest)
	if err != nil {
		return nil, err
	}
	rows, n, err := s.invitationsTo(ctx, email, before, pageSize(r.GetPageSize())+1)
	if err != nil {
		return nil, err
	}
	out.TotalSize = total(n)
	rows, out.NextPageToken = cut(s.Service, query, rows, r.GetPageSize(), invitation.at)
	for _, i := range rows {
		m := packInvitation(i, s.now())
		m.InvitedBy = "" // a member's id is the organization's to tell
		out.Invitations = append(out.Invitations, m)
	}
	return out, nil
}

// which reads who asks for which invitation of what.
func (s *orgServer) which(ctx context.Context, org, invitation string) (caller *token.Caller, orgID, invitationID uuid.UUID, err error) {
	if caller, orgID, err = subject(ctx, org); err != nil {
		return nil, uuid.Nil, uuid.Nil, err
	}
	if invitationID, err = id.Parse("inv", invitation); err != nil {
		return nil, uuid.Nil, uuid.Nil, noInvitation()
	}
	return caller, orgID, invitationID, nil
}

// invitedRole is MEMBER unless another is said.
func invitedRole(r userv1.Member_Role) string {
	if r == userv1.Member_ROLE_UNSPECIFIED {
		return orgMember
	}
	return r.String()
}

func packInvitation(i invitation, now time.Time) *userv1.Invitation {
	return &userv1.Invitation{
		Id: id.Format("inv", i.ID), OrganizationId: id.Format("org", i.OrgID), OrganizationName: i.OrgName, Email: i.Email,
		Role: packRole(i.Role), State: userv1.Invitation_State(userv1.Invitation_State_value[i.state(now)]),
		InvitedBy: id.Format("usr", i.InvitedBy), CreatedAt: timestamppb.New(i.CreatedAt), ExpiresAt: timestamppb.New(i.ExpiresAt),
	}
}
