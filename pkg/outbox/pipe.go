package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// Client is the delivery end of another service: with several batches under way
// at once, or with one after the other when the service is of an older release.
func Client(conn grpc.ClientConnInterface) eventv1.EventInboxServiceClient {
	return &client{EventInboxServiceClient: eventv1.NewEventInboxServiceClient(conn), EventStreamServiceClient: eventv1.NewEventStreamServiceClient(conn)}
}

type client struct {
	eventv1.EventInboxServiceClient
	eventv1.EventStreamServiceClient
}

func (r *relay) connect(ctx context.Context) (pipe, error) {
	streams, ok := r.client.(eventv1.EventStreamServiceClient)
	if !ok || r.now().Before(r.unaryTill) {
		return &callPipe{client: r.client}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	s, err := streams.DeliverBatches(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	return &streamPipe{stream: s, cancel: cancel, max: unaryBatch}, nil
}

func envelopes(due []row) []*eventv1.Event {
	out := make([]*eventv1.Event, 0, len(due))
	for _, e := range due {
		out = append(out, &eventv1.Event{
			Id: e.EventID[:], Type: e.Type, Key: e.Key, Payload: e.Payload, OccurredAt: timestamppb.New(e.OccurredAt),
			RequestId: e.RequestID, Traceparent: e.Traceparent,
		})
	}
	return out
}

// callPipe makes a call of each batch.
type callPipe struct {
	client  eventv1.EventInboxServiceClient
	results []*eventv1.DeliverResponse_Result
}

func (p *callPipe) most() int { return unaryBatch }
func (p *callPipe) close()    {}

func (p *callPipe) send(ctx context.Context, due []row) error {
	ctx, cancel := context.WithTimeout(ctx, deliverLimit)
	defer cancel()
	resp, err := p.client.Deliver(ctx, &eventv1.DeliverRequest{Events: envelopes(due)})
	if err != nil {
		return err //nolint:wrapcheck // the relay says what was done
	}
	p.results = resp.GetResults()
	return nil
}

func (p *callPipe) recv(context.Context) ([]*eventv1.DeliverResponse_Result, int, error) {
	return p.results, 1, nil
}

// streamPipe has several batches under way.
type streamPipe struct {
	stream grpc.BidiStreamingClient[eventv1.DeliverBatchesRequest, eventv1.DeliverBatchesResponse]
	cancel context.CancelFunc
	batch  int64 // number of the last that was sent
	max    int   // events in a batch; the consumer says
	broken bool
}

func (p *streamPipe) most() int { return p.max }

// close ends the stream; its answers have all come, or it is broken.
func (p *streamPipe) close() {
	defer p.cancel()
	if p.broken || p.stream.CloseSend() != nil {
		return
	}
	_, _ = p.receive() // the consumer's goodbye: cut off before it, the stream would look failed there
}

func (p *streamPipe) send(_ context.Context, due []row) error {
	p.batch++
	err := p.stream.Send(&eventv1.DeliverBatchesRequest{Batch: p.batch, Events: envelopes(due)})
	p.broken = p.broken || err != nil
	return err //nolint:wrapcheck // the relay says what was done
}

func (p *streamPipe) recv(context.Context) ([]*eventv1.DeliverResponse_Result, int, error) {
	m, err := p.receive()
	switch {
	case errors.Is(err, io.EOF):
		p.broken = true
		return nil, 0, errors.New("the consumer ended the stream")
	case err != nil:
		p.broken = true
		return nil, 0, err
	case m.GetBatch() == 0:
		if n := int(m.GetMaxEvents()); n > 0 {
			p.max = min(n, batchSize)
		}
		return nil, int(m.GetCredits()) - 1, nil // one is taken for granted, to save a round trip
	}
	return m.GetResults(), int(m.GetCredits()), nil
}

// receive waits for ackLimit.
func (p *streamPipe) receive() (*eventv1.DeliverBatchesResponse, error) {
	late := time.AfterFunc(ackLimit, p.cancel)
	m, err := p.stream.Recv()
	if !late.Stop() && err != nil {
		return nil, fmt.Errorf("no answer in %v: %w", ackLimit, context.DeadlineExceeded)
	}
	return m, err //nolint:wrapcheck // the relay says what was done
}
