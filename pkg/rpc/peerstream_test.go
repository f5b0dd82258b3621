package rpc_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

type streamed struct {
	eventv1.UnimplementedEventStreamServiceServer
}

func (streamed) DeliverBatches(s eventv1.EventStreamService_DeliverBatchesServer) error {
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		if r.GetBatch() == 13 {
			panic("unlucky")
		}
		if rpc.RequestID(s.Context()) == "" || rpc.Peer(s.Context()) == "" {
			return status.Error(codes.DataLoss, "no context")
		}
		if err := s.Send(&eventv1.DeliverBatchesResponse{Batch: r.GetBatch()}); err != nil {
			return err
		}
	}
}

// TestStreamsBetweenProcesses: a stream has the rule, the bounds and the
// recovery of a call.
func TestStreamsBetweenProcesses(t *testing.T) {
	p := rpctest.Process(t, "audit")
	g, err := rpc.NewServer(rpc.ServerConfig{Process: p})
	if err != nil {
		t.Fatal(err)
	}
	eventv1.RegisterEventStreamServiceServer(g, streamed{})
	addr := rpctest.Serve(t, g)
	good := func(n int64) *eventv1.DeliverBatchesRequest {
		return &eventv1.DeliverBatchesRequest{Batch: n, Events: []*eventv1.Event{{Id: make([]byte, 16), Type: "t", OccurredAt: timestamppb.New(time.Unix(1, 0))}}}
	}
	for _, tt := range []struct {
		name, as string
		send     *eventv1.DeliverBatchesRequest
		want     codes.Code
	}{
		{"a service", "payment", good(1), codes.OK},
		{"a stranger", "sandbox", good(1), codes.PermissionDenied},
		{"out of bounds", "payment", &eventv1.DeliverBatchesRequest{Batch: 1}, codes.InvalidArgument},
		{"panics", "payment", good(13), codes.Internal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := eventv1.NewEventStreamServiceClient(rpctest.Dial(t, tt.as, "audit", addr)).DeliverBatches(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_ = s.Send(tt.send) // Recv knows why
			if _, err = s.Recv(); status.Code(err) != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}
