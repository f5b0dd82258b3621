package admin

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

// believer plays auth after the bearer was checked: it does what it is asked,
// but not to the untouchable.
type believer struct {
	authv1.UnimplementedAuthInternalServiceServer
	authv1.UnimplementedRoleInternalServiceServer
	paymentv1.UnimplementedRefundInternalServiceServer

	mu          sync.Mutex // guards person
	person      *authv1.Account
	superadmins int32
	untouchable []byte
	acts        atomic.Int32
}

func (b *believer) GetAccount(context.Context, *authv1.GetAccountRequest) (*authv1.GetAccountResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &authv1.GetAccountResponse{Account: proto.CloneOf(b.person)}, nil
}

func (b *believer) ListRoles(context.Context, *authv1.ListRolesRequest) (*authv1.ListRolesResponse, error) {
	return &authv1.ListRolesResponse{Roles: []*authv1.Role{{Name: "superadmin", Users: &b.superadmins}}}, nil
}

func (b *believer) SetAccountRoles(_ context.Context, r *authv1.SetAccountRolesRequest) (*authv1.SetAccountRolesResponse, error) {
	b.acts.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.person.Roles = r.GetRoles()
	return &authv1.SetAccountRolesResponse{Account: proto.CloneOf(b.person)}, nil
}

func (b *believer) SuspendAccount(_ context.Context, r *authv1.SuspendAccountRequest) (*authv1.SuspendAccountResponse, error) {
	if string(r.GetUserId()) == string(b.untouchable) {
		return nil, fail.New(fail.PermissionDenied, "you may not change this account")
	}
	b.acts.Add(1)
	return &authv1.SuspendAccountResponse{Account: &authv1.Account{Id: r.GetUserId()}}, nil
}

func (b *believer) FindRefunds(context.Context, *paymentv1.FindRefundsRequest) (*paymentv1.FindRefundsResponse, error) {
	return &paymentv1.FindRefundsResponse{}, nil
}

// trusting serves b without the chain that checks callers.
func trusting(t *testing.T, b *believer) *grpc.ClientConn {
	t.Helper()
	g := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		out, err := next(ctx, r)
		if err != nil {
			return nil, fail.ToStatus(err).Err()
		}
		return out, nil
	}))
	authv1.RegisterAuthInternalServiceServer(g, b)
	authv1.RegisterRoleInternalServiceServer(g, b)
	paymentv1.RegisterRefundInternalServiceServer(g, b)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { _ = g.Serve(l) })
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, r, out any, c *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return fail.FromError(invoke(ctx, method, r, out, c, opts...))
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		served.Wait()
	})
	return conn
}

// sent is where a handler leaves its header.
type sent struct{ md metadata.MD }

func (*sent) Method() string                    { return "/test/Test" }
func (s *sent) SetHeader(md metadata.MD) error  { s.md = metadata.Join(s.md, md); return nil }
func (s *sent) SendHeader(md metadata.MD) error { return s.SetHeader(md) }
func (*sent) SetTrailer(metadata.MD) error      { return nil }

// as is a caller with permissions, signed in with a second factor.
func as(t *testing.T, who uuid.UUID, permissions ...string) context.Context {
	t.Helper()
	ctx := grpc.NewContextWithServerTransportStream(t.Context(), &sent{})
	return token.NewContext(ctx, &token.Caller{UserID: who, Permissions: permissions, AMR: []string{"pwd", "otp", "mfa"}, AuthTime: time.Now()})
}

type council struct {
	*believer
	roles    *roleServer
	bulk     *bulkServer
	payments *paymentServer
	clock    *atomic.Int64 // hours ahead
}

func newCouncil(t *testing.T) *council {
	t.Helper()
	s, w := open(t)
	b := &believer{person: proto.CloneOf(w.person), superadmins: 2}
	conn := trusting(t, b)
	s.peers.auth, s.peers.roles = authv1.NewAuthInternalServiceClient(conn), authv1.NewRoleInternalServiceClient(conn)
	s.peers.refunds = paymentv1.NewRefundInternalServiceClient(conn)
	ahead := &atomic.Int64{}
	s.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load()) * time.Hour) }
	return &council{
		believer: b, roles: &roleServer{server: s}, bulk: &bulkServer{server: s}, payments: &paymentServer{server: s}, clock: ahead,
	}
}

// grant asks for somebody to become an administrator.
func (c *council) grant(t *testing.T, by uuid.UUID) string {
	t.Helper()
	r, err := c.roles.SetUserRoles(as(t, by, "roles.manage", "users.manage"), &adminv1.SetUserRolesRequest{
		Id: id.Format("usr", uuid.UUID(c.person.GetId())), Roles: []string{"admin"}, Reason: "the new head of support",
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.GetUser().GetApprovalId()
}

func (c *council) approve(t *testing.T, by uuid.UUID, approvalID string, permissions ...string) (*adminv1.Approval, error) {
	t.Helper()
	r, err := c.payments.ApproveApproval(as(t, by, permissions...), &adminv1.ApproveApprovalRequest{Id: approvalID, Reason: "I know her and agree"})
	return r.GetApproval(), err
}

// TestFourEyes gives the administrator's role: audit_admin_ops.md B-7. Not by
// oneself, not by whoever could not ask for it, once whoever approves at once.
func TestFourEyes(t *testing.T) {
	c := newCouncil(t)
	first, second := uuid.New(), uuid.New()
	waits := c.grant(t, first)
	if waits == "" || c.acts.Load() != 0 {
		t.Fatalf("done at once: approval %q, %d acts", waits, c.acts.Load())
	}
	list, err := c.payments.ListApprovals(as(t, second, "payments.manage", "roles.manage"), &adminv1.ListApprovalsRequest{})
	if err != nil || len(list.GetApprovals()) != 1 || list.GetApprovals()[0].GetRoles()[0] != "admin" || list.GetApprovals()[0].GetState() != pending {
		t.Errorf("listed %v, %v", list, err)
	}
	if list, err := c.payments.ListApprovals(as(t, second, "payments.manage"), &adminv1.ListApprovalsRequest{}); err != nil || len(list.GetApprovals()) != 0 {
		t.Errorf("shown to whoever may not decide: %v, %v", list, err)
	}
	if _, err := c.approve(t, first, waits, "roles.manage"); !fail.Is(err, fail.PermissionDenied) {
		t.Errorf("by the one who asked: %v", err)
	}
	if _, err := c.approve(t, second, waits, "payments.manage"); !fail.Is(err, fail.PermissionDenied) {
		t.Errorf("by whoever may not ask for it: %v", err)
	}
	var (
		all  sync.WaitGroup
		won  atomic.Int32
		lost atomic.Int32
	)
	for range 8 {
		ctx := as(t, uuid.New(), "roles.manage")
		all.Go(func() {
			_, err := c.payments.ApproveApproval(ctx, &adminv1.ApproveApprovalRequest{Id: waits, Reason: "I know her and agree"})
			switch {
			case err == nil:
				won.Add(1)
			case fail.Is(err, fail.Conflict), fail.Is(err, fail.PreconditionFailed):
				lost.Add(1)
			default:
				t.Errorf("one of many: %v", err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 || lost.Load() != 7 || c.acts.Load() != 1 {
		t.Errorf("%d won, %d lost, done %d times", won.Load(), lost.Load(), c.acts.Load())
	}
	var actions []string
	for _, ev := range recorded(t, c.roles.server) {
		actions = append(actions, ev.GetAction())
	}
	if n := len(actions); actions[0] != "admin.approval_requested" || actions[n-2] != "admin.approval_approved" || actions[n-1] != "admin.approval_completed" {
		t.Errorf("recorded %v", actions)
	}
}

func TestApprovalOfWhatChanged(t *testing.T) {
	c := newCouncil(t)
	waits := c.grant(t, uuid.New())
	c.mu.Lock()
	c.person.Roles = []string{"user", "therapist"}
	c.mu.Unlock()
	if _, err := c.approve(t, uuid.New(), waits, "roles.manage"); !fail.Is(err, fail.PreconditionFailed) || c.acts.Load() != 0 {
		t.Errorf("the account changed: %v, done %d times", err, c.acts.Load())
	}
}

func TestApprovalOfAnotherPayload(t *testing.T) {
	c := newCouncil(t)
	waits := c.grant(t, uuid.New())
	other, err := proto.Marshal(&authv1.SetAccountRolesRequest{UserId: c.person.GetId(), Roles: []string{"superadmin"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.roles.db.Pool.Exec(t.Context(), `UPDATE admin.approval SET request = $1`, other); err != nil {
		t.Fatal(err)
	}
	if _, err := c.approve(t, uuid.New(), waits, "roles.manage"); !fail.Is(err, fail.PreconditionFailed) || c.acts.Load() != 0 {
		t.Errorf("another payload: %v, done %d times", err, c.acts.Load())
	}
}

func TestApprovalEnds(t *testing.T) {
	c := newCouncil(t)
	old, refused := c.grant(t, uuid.New()), c.grant(t, uuid.New())
	by := uuid.New()
	r, err := c.payments.RejectApproval(as(t, by, "roles.manage"), &adminv1.RejectApprovalRequest{Id: refused, Reason: "I do not know her"})
	if err != nil || r.GetApproval().GetState() != rejected || r.GetApproval().GetDecidedBy() != id.Format("usr", by) {
		t.Errorf("rejected: %v, %v", r, err)
	}
	if _, err := c.approve(t, uuid.New(), refused, "roles.manage"); !fail.Is(err, fail.Conflict) {
		t.Errorf("approved what was rejected: %v", err)
	}
	c.clock.Store(25)
	if _, err := c.approve(t, uuid.New(), old, "roles.manage"); !fail.Is(err, fail.Conflict) || c.acts.Load() != 0 {
		t.Errorf("a day later: %v, done %d times", err, c.acts.Load())
	}
}

// TestOneSuperadminAlone can still make an administrator: nobody could approve.
func TestOneSuperadminAlone(t *testing.T) {
	c := newCouncil(t)
	c.superadmins = 1
	if waits := c.grant(t, uuid.New()); waits != "" || c.acts.Load() != 1 {
		t.Errorf("approval %q, done %d times; want it done at once", waits, c.acts.Load())
	}
}

// TestBulk suspends three people, one of whom may not be touched: the others
// are suspended, and the answer says which was not.
func TestBulk(t *testing.T) {
	c := newCouncil(t)
	people := []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}
	c.untouchable = people[1][:]
	r := &adminv1.RequestBulkActRequest{Act: adminv1.RequestBulkActRequest_SUSPEND, Reason: "a farm of fake accounts"}
	for _, u := range people {
		r.UserIds = append(r.UserIds, id.Format("usr", u))
	}
	if _, err := c.bulk.RequestBulkAct(as(t, people[0], "users.manage"), r); !fail.Is(err, fail.PermissionDenied) {
		t.Errorf("upon oneself: %v", err)
	}
	asked, err := c.bulk.RequestBulkAct(as(t, uuid.New(), "users.manage"), r)
	if err != nil || c.acts.Load() != 0 {
		t.Fatalf("asked: %v, done %d times", err, c.acts.Load())
	}
	got, err := c.approve(t, uuid.New(), asked.GetApproval().GetId(), "users.manage")
	if err != nil || got.GetState() != approved || c.acts.Load() != 2 || len(got.GetResults()) != 3 {
		t.Fatalf("approved: %v, %v, done %d times", got, err, c.acts.Load())
	}
	for i, want := range []string{"", "PERMISSION_DENIED", ""} {
		if got.GetResults()[i].GetCode() != want {
			t.Errorf("result %d: %v, want %q", i, got.GetResults()[i], want)
		}
	}
}
