package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/fail"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// Register puts a consumer on g: its Deliver, and the stream of batches that
// ends there too.
func Register(g grpc.ServiceRegistrar, in eventv1.EventInboxServiceServer) {
	eventv1.RegisterEventInboxServiceServer(g, in)
	s := &streamServer{inbox: in, most: batchSize}
	if _, each := in.(*Inbox); each { // a transaction for each event: a thousand would keep the answer back for seconds
		s.most = unaryBatch
	}
	eventv1.RegisterEventStreamServiceServer(g, s)
}

type streamServer struct {
	eventv1.UnimplementedEventStreamServiceServer

	inbox eventv1.EventInboxServiceServer
	most  int32 // events in a batch
}

// DeliverBatches applies one batch after the other; those under way wait in the
// stream's window.
func (s *streamServer) DeliverBatches(stream grpc.BidiStreamingServer[eventv1.DeliverBatchesRequest, eventv1.DeliverBatchesResponse]) error {
	if err := stream.Send(&eventv1.DeliverBatchesResponse{Credits: inFlight, MaxEvents: s.most}); err != nil {
		return fmt.Errorf("offer credits: %w", err)
	}
	waiting := map[string]bool{} // keys that are held back until the stream ends
	for n := int64(1); ; n++ {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err //nolint:wrapcheck // a refused message's own error
		}
		if r.GetBatch() != n {
			return fail.New(fail.InvalidArgument, "batch %d where %d is expected", r.GetBatch(), n)
		}
		results, err := s.apply(stream.Context(), r.GetEvents(), waiting)
		if err != nil {
			return err
		}
		if err := stream.Send(&eventv1.DeliverBatchesResponse{Batch: n, Results: results, Credits: 1}); err != nil {
			return fmt.Errorf("answer batch %d: %w", n, err)
		}
	}
}

func (s *streamServer) apply(ctx context.Context, events []*eventv1.Event, waiting map[string]bool) ([]*eventv1.DeliverResponse_Result, error) {
	ctx, cancel := context.WithTimeout(ctx, deliverLimit)
	defer cancel()
	var (
		results = make([]*eventv1.DeliverResponse_Result, len(events))
		open    = make([]*eventv1.Event, 0, len(events))
		places  = make([]int, 0, len(events))
	)
	for i, ev := range events {
		if waiting[ev.GetKey()] {
			results[i] = &eventv1.DeliverResponse_Result{Outcome: eventv1.DeliverResponse_Result_RETRY, Reason: "an earlier event of this key waits"}
			continue
		}
		open, places = append(open, ev), append(places, i)
	}
	if len(open) == 0 {
		return results, nil
	}
	resp, err := s.inbox.Deliver(ctx, &eventv1.DeliverRequest{Events: open})
	if err != nil {
		return nil, err //nolint:wrapcheck // the consumer's own
	}
	if len(resp.GetResults()) != len(open) {
		return nil, fmt.Errorf("%d results for %d events", len(resp.GetResults()), len(open))
	}
	for j, res := range resp.GetResults() {
		results[places[j]] = res
		if res.GetOutcome() == eventv1.DeliverResponse_Result_RETRY {
			waiting[open[j].GetKey()] = true
		}
	}
	return results, nil
}
