package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

const (
	approvalLife  = 24 * time.Hour
	approvalLease = time.Minute

	roleGrant   = "ROLE_GRANT"
	bulkSuspend = "BULK_SUSPEND"
	bulkRevoke  = "BULK_REVOKE_SESSIONS"

	pending, running, approved, rejected, failed = "PENDING", "RUNNING", "APPROVED", "REJECTED", "FAILED"
)

// needs is what each kind takes, of who asks and of who approves.
var needs = map[string]string{roleGrant: "roles.manage", bulkSuspend: "users.manage", bulkRevoke: "users.manage"}

// hold writes down an act instead of doing it.
func (s *Service) hold(ctx context.Context, caller *token.Caller, kind, method, etag, reason string, request proto.Message) (approval, error) {
	frozen, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return approval{}, fmt.Errorf("freeze %s: %w", method, err)
	}
	now := s.now()
	a := approval{
		ID: s.ids.New(), Kind: kind, Method: method, Request: frozen, RequestHash: payloadHash(method, frozen), Etag: etag,
		RequestedBy: caller.UserID, Reason: reason, State: pending, CreatedAt: now, ExpiresAt: now.Add(approvalLife),
	}
	err = s.act(ctx, approvalMoved(caller, trail.AdminApprovalRequested, a, "", reason, now), func(ctx context.Context, tx pg.Tx) error {
		return s.insertApproval(ctx, tx, a)
	})
	if err != nil {
		return approval{}, err
	}
	if err := grpc.SetHeader(ctx, metadata.Pairs(acceptedHeader, "true")); err != nil {
		return approval{}, fmt.Errorf("say that it waits: %w", err)
	}
	return a, nil
}

func payloadHash(method string, request []byte) []byte {
	sum := sha256.Sum256(append([]byte(method+"\x00"), request...))
	return sum[:]
}

// grantWaits holds a grant of the administrator's role, if there is a second
// superadmin to approve it: with one alone nobody could ever be made one.
func (s *Service) grantWaits(ctx context.Context, caller *token.Caller, userID uuid.UUID, r *adminv1.SetUserRolesRequest) (*adminv1.UserSummary, bool, error) {
	if !slices.Contains(r.GetRoles(), "admin") {
		return nil, false, nil
	}
	found, err := s.peers.auth.GetAccount(ctx, &authv1.GetAccountRequest{UserId: userID[:]})
	if err != nil || slices.Contains(found.GetAccount().GetRoles(), "admin") {
		return nil, false, err
	}
	roles, err := s.peers.roles.ListRoles(ctx, &authv1.ListRolesRequest{CountUsers: true})
	if err != nil {
		return nil, false, err
	}
	i := slices.IndexFunc(roles.GetRoles(), func(x *authv1.Role) bool { return x.GetName() == "superadmin" })
	if i < 0 || roles.GetRoles()[i].GetUsers() < 2 {
		return nil, false, nil
	}
	if userID == caller.UserID {
		return nil, false, fail.New(fail.PermissionDenied, "you may not change this account")
	}
	a, err := s.hold(ctx, caller, roleGrant, authv1.RoleInternalService_SetAccountRoles_FullMethodName, accountEtag(found.GetAccount()), r.GetReason(),
		&authv1.SetAccountRolesRequest{UserId: userID[:], Roles: r.GetRoles(), Reason: r.GetReason()})
	if err != nil {
		return nil, false, err
	}
	u := summary(found.GetAccount(), nil)
	waits := id.Format(approvalPrefix, a.ID)
	u.ApprovalId = &waits
	return u, true, nil
}

// accountEtag changes with what an approver decides about.
func accountEtag(a *authv1.Account) string {
	return a.GetState().String() + "/" + strings.Join(slices.Sorted(slices.Values(a.GetRoles())), ",")
}

// waiting lists what the caller could approve or has asked for.
func (s *Service) waiting(ctx context.Context, caller *token.Caller) ([]*adminv1.Approval, error) {
	list, err := s.waitingApprovals(ctx)
	if err != nil {
		return nil, err
	}
	var out []*adminv1.Approval
	for _, a := range list {
		if caller.Has(needs[a.Kind]) {
			m, err := packOwn(a)
			if err != nil {
				return nil, err
			}
			out = append(out, m)
		}
	}
	return out, nil
}

// decideOwn approves or rejects an act that waits here; ours is false when the
// id is not of one.
func (s *Service) decideOwn(ctx context.Context, raw, reason string, approve bool) (m *adminv1.Approval, ours bool, err error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, false, err
	}
	approvalID, err := id.Parse(approvalPrefix, raw)
	if err != nil {
		return nil, false, nil //nolint:nilerr // a refund's own id, perhaps
	}
	a, found, err := s.approval(ctx, approvalID)
	if err != nil || !found {
		return nil, false, err
	}
	switch {
	case !caller.Has(needs[a.Kind]):
		return nil, true, fail.New(fail.PermissionDenied, "this is not for you to decide")
	case a.RequestedBy == caller.UserID:
		return nil, true, fail.New(fail.PermissionDenied, "nobody approves what they asked for")
	}
	state, what := running, trail.AdminApprovalApproved
	if !approve {
		state, what = rejected, trail.AdminApprovalRejected
	} else if err := s.unchanged(ctx, a); err != nil {
		return nil, true, err
	}
	if a, err = s.take(ctx, caller, a, state, what, reason); err != nil {
		return nil, true, err
	}
	if approve {
		if err := s.carryOut(ctx, caller, &a); err != nil {
			return nil, true, err
		}
	}
	m, err = packOwn(a)
	return m, true, err
}

// take decides on an act: of several at once, one.
func (s *Service) take(ctx context.Context, caller *token.Caller, a approval, state string, what trail.Action, reason string) (approval, error) {
	now, before := s.now(), a.State
	a.State = state
	var taken approval
	err := s.act(ctx, approvalMoved(caller, what, a, before, reason, now), func(ctx context.Context, tx pg.Tx) error {
		var ok bool
		var err error
		if taken, ok, err = s.takeApproval(ctx, tx, a.ID, caller.UserID, state, reason, now); err != nil {
			return err
		}
		if !ok {
			return fail.New(fail.Conflict, "it is decided already, or too old")
		}
		return nil
	})
	return taken, err
}

// unchanged refuses to act upon something else than what was asked about.
func (s *Service) unchanged(ctx context.Context, a approval) error {
	if string(payloadHash(a.Method, a.Request)) != string(a.RequestHash) {
		return fail.New(fail.PreconditionFailed, "what was asked for is no longer what is written")
	}
	if a.Kind != roleGrant {
		return nil
	}
	r := &authv1.SetAccountRolesRequest{}
	if err := proto.Unmarshal(a.Request, r); err != nil {
		return fmt.Errorf("read approval %s: %w", a.ID, err)
	}
	found, err := s.peers.auth.GetAccount(ctx, &authv1.GetAccountRequest{UserId: r.GetUserId()})
	if err != nil {
		return err //nolint:wrapcheck // what the caller must see
	}
	if accountEtag(found.GetAccount()) != a.Etag {
		return fail.New(fail.PreconditionFailed, "the account has changed since")
	}
	return nil
}

// carryOut does what was approved, as the one who approved it, and keeps what
// became of it.
func (s *Service) carryOut(ctx context.Context, caller *token.Caller, a *approval) error {
	results := &adminv1.Approval{}
	var err error
	switch a.Kind {
	case roleGrant:
		r := &authv1.SetAccountRolesRequest{}
		if err = proto.Unmarshal(a.Request, r); err == nil {
			_, err = s.peers.roles.SetAccountRoles(ctx, r)
		}
	default:
		results.Results, err = s.many(ctx, a)
	}
	what := trail.AdminApprovalCompleted
	if a.State = approved; err != nil {
		a.State, what = failed, trail.AdminApprovalFailed
	}
	if a.Result, _ = proto.Marshal(results); len(results.GetResults()) == 0 {
		a.Result = nil
	}
	ended := s.act(ctx, approvalMoved(caller, what, *a, running, a.DecisionReason, s.now()), func(ctx context.Context, tx pg.Tx) error {
		return s.endApproval(ctx, tx, *a)
	})
	if err != nil {
		return err
	}
	return ended
}

// packOwn tells of an act that waits, or waited, here.
func packOwn(a approval) (*adminv1.Approval, error) {
	m := &adminv1.Approval{
		Id: id.Format(approvalPrefix, a.ID), Kind: a.Kind, State: a.State, RequestedBy: id.Format("usr", a.RequestedBy), Reason: a.Reason,
		CreatedAt: timestamppb.New(a.CreatedAt), ExpiresAt: timestamppb.New(a.ExpiresAt), PayloadHash: hex.EncodeToString(a.RequestHash),
	}
	if a.State == running {
		m.State = pending
	}
	if a.DecidedBy != nil {
		by := id.Format("usr", *a.DecidedBy)
		m.DecidedBy = &by
	}
	if a.Kind == roleGrant {
		r := &authv1.SetAccountRolesRequest{}
		if err := proto.Unmarshal(a.Request, r); err != nil {
			return nil, fmt.Errorf("read approval %s: %w", a.ID, err)
		}
		userID, err := uuid.FromBytes(r.GetUserId())
		m.UserIds, m.Roles = []string{id.Format("usr", userID)}, r.GetRoles()
		return m, err
	}
	r := &adminv1.RequestBulkActRequest{}
	if err := proto.Unmarshal(a.Request, r); err != nil {
		return nil, fmt.Errorf("read approval %s: %w", a.ID, err)
	}
	m.UserIds = r.GetUserIds()
	kept := &adminv1.Approval{}
	if err := proto.Unmarshal(a.Result, kept); err != nil {
		return nil, fmt.Errorf("read the results of approval %s: %w", a.ID, err)
	}
	m.Results = kept.GetResults()
	return m, nil
}

type bulkServer struct {
	adminv1.UnimplementedAdminBulkServiceServer
	*server
}

func (s *bulkServer) RequestBulkAct(ctx context.Context, r *adminv1.RequestBulkActRequest) (*adminv1.RequestBulkActResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	for i, raw := range r.GetUserIds() {
		userID, err := id.Parse("usr", raw)
		if err != nil {
			return nil, fail.New(fail.InvalidArgument, "the request is invalid").Field(fmt.Sprintf("userIds[%d]", i), "is not a user's id").Wrap(err)
		}
		if userID == caller.UserID {
			return nil, fail.New(fail.PermissionDenied, "you are among them")
		}
	}
	kind := bulkSuspend
	if r.GetAct() == adminv1.RequestBulkActRequest_REVOKE_SESSIONS {
		kind = bulkRevoke
	}
	a, err := s.hold(ctx, caller, kind, adminv1.AdminBulkService_RequestBulkAct_FullMethodName, "", r.GetReason(), r)
	if err != nil {
		return nil, err
	}
	m, err := packOwn(a)
	return &adminv1.RequestBulkActResponse{Approval: m}, err
}

// many acts upon each person in turn. Who may not be touched, or is gone, does
// not keep the others from it; a service that is away does: what is left is then
// told as not done.
func (s *Service) many(ctx context.Context, a *approval) ([]*adminv1.Approval_Result, error) {
	r := &adminv1.RequestBulkActRequest{}
	if err := proto.Unmarshal(a.Request, r); err != nil {
		return nil, fmt.Errorf("read approval %s: %w", a.ID, err)
	}
	out := make([]*adminv1.Approval_Result, 0, len(r.GetUserIds()))
	for _, raw := range r.GetUserIds() {
		userID, err := id.Parse("usr", raw)
		if err == nil && a.Kind == bulkSuspend {
			_, err = s.peers.auth.SuspendAccount(ctx, &authv1.SuspendAccountRequest{UserId: userID[:], Reason: r.GetReason()})
		} else if err == nil {
			_, err = s.peers.roles.RevokeAccountSessions(ctx, &authv1.RevokeAccountSessionsRequest{UserId: userID[:], Reason: r.GetReason()})
		}
		out = append(out, &adminv1.Approval_Result{UserId: raw, Code: codeOf(err)})
	}
	return out, nil
}

// codeOf is what the contract calls an error; empty without one.
func codeOf(err error) string {
	if err == nil {
		return ""
	}
	if f, ok := fail.As(err); ok {
		return f.Kind.Reason
	}
	return fail.Internal.Reason
}
