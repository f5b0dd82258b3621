package admin

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/trail"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
)

// patience is how long a service may take to say how it is. A call has ten
// seconds: one that is dead must not take the page down with it.
const patience = 2 * time.Second

// systemServer tells how the suite is.
type systemServer struct {
	adminv1.UnimplementedAdminSystemServiceServer
	*server
}

func (s *systemServer) GetSystem(ctx context.Context, _ *adminv1.GetSystemRequest) (*adminv1.GetSystemResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, listed(caller, trail.AdminSystemListed, len(s.peers.conns)+1, s.now())); err != nil {
		return nil, err
	}
	out := &adminv1.GetSystemResponse{CheckedAt: timestamppb.New(s.now()), Services: []*adminv1.GetSystemResponse_ServiceStatus{s.self(ctx)}}
	var (
		asked sync.WaitGroup
		mu    sync.Mutex // guards out
	)
	for name, conn := range s.peers.conns {
		asked.Go(func() {
			status := s.ask(ctx, name, conn)
			mu.Lock()
			defer mu.Unlock()
			out.Services = append(out.Services, status)
		})
	}
	asked.Wait()
	slices.SortFunc(out.GetServices(), func(a, b *adminv1.GetSystemResponse_ServiceStatus) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return out, nil
}

// ask gives how one service is; its silence is an answer as well.
func (s *systemServer) ask(ctx context.Context, name string, conn grpc.ClientConnInterface) *adminv1.GetSystemResponse_ServiceStatus {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out := &adminv1.GetSystemResponse_ServiceStatus{Name: name, State: adminv1.GetSystemResponse_ServiceStatus_DOWN}
	began := s.now()
	health, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	out.LatencyMs = counted(s.now().Sub(began).Milliseconds())
	if err != nil {
		return out
	}
	if name == "audit" { // it has no outbox, and tells of its own log elsewhere
		out.State = adminv1.GetSystemResponse_ServiceStatus_UP
		if health.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			out.State = adminv1.GetSystemResponse_ServiceStatus_DEGRADED
		}
		return out
	}
	status, err := adminv1.NewStatusInternalServiceClient(conn).GetStatus(ctx, &adminv1.GetStatusRequest{})
	if out.State = adminv1.GetSystemResponse_ServiceStatus_UP; err != nil || health.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		out.State = adminv1.GetSystemResponse_ServiceStatus_DEGRADED
	}
	out.Version, out.Queues = status.GetVersion(), status.GetQueues()
	return out
}

// self is how this service is: it answers, so it is up.
func (s *systemServer) self(ctx context.Context) *adminv1.GetSystemResponse_ServiceStatus {
	out := &adminv1.GetSystemResponse_ServiceStatus{Name: schema, State: adminv1.GetSystemResponse_ServiceStatus_UP}
	status, err := outbox.NewStatus(s.db, schema, s.now).GetStatus(ctx, &adminv1.GetStatusRequest{})
	if err != nil {
		out.State = adminv1.GetSystemResponse_ServiceStatus_DEGRADED
	}
	out.Version, out.Queues = status.GetVersion(), status.GetQueues()
	return out
}
