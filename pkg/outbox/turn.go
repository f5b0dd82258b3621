package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/manas360/platform/pkg/fail"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

const (
	batchSize  = 1000        // stream.proto's bound
	unaryBatch = 200         // event.proto's
	inFlight   = 4           // batches under way at once
	maxTries   = 8           // of an event that fails alone, half a minute in all, before it is buried
	unaryFor   = time.Minute // until a destination is asked for streams again
)

// pipe carries batches to a consumer, and its answers back in the same order.
type pipe interface {
	send(ctx context.Context, due []row) error
	// recv answers the oldest batch that is not answered yet; without results it
	// brings credits alone.
	recv(ctx context.Context) (results []*eventv1.DeliverResponse_Result, credits int, err error)
	close()
	most() int // events in a batch
}

// turn delivers until nothing is due, its time is up or something stops it. more
// says that another turn is worth while at once.
func (r *relay) turn(ctx context.Context, tx pgx.Tx) (more bool, stopped, err error) {
	began := r.now()
	first, err := r.due(ctx, tx, began, 0, min(r.size, unaryBatch)) // no stream for nothing
	if err != nil || len(first) == 0 {
		return false, nil, err
	}
	p, err := r.connect(ctx)
	if err != nil {
		return false, err, nil
	}
	defer p.close()
	f := &flight{relay: r, tx: tx, pipe: p, credits: 1, began: began, due: first}
	return f.run(ctx)
}

// flight is a turn in the air.
type flight struct {
	*relay
	pipe

	tx      pgx.Tx
	credits int
	began   time.Time
	due     []row   // read, not sent yet
	sent    [][]row // not answered yet
	after   int64   // seq of the last that was read
	unfit   error   // the newest of sent could not even be sent
	closing bool    // nothing more is sent
	more    bool
}

func (f *flight) run(ctx context.Context) (more bool, stopped, err error) {
	for {
		if err := f.fill(ctx); err != nil {
			return false, nil, err
		}
		switch {
		case len(f.sent) == 0:
			return f.more, nil, nil
		case len(f.sent) == 1 && f.unfit != nil:
			return f.failed(ctx, f.tx, f.sent[0], f.unfit)
		}
		results, credits, err := f.recv(ctx)
		if err != nil {
			return f.failed(ctx, f.tx, f.sent[0], err)
		}
		f.credits += credits
		if results == nil {
			continue
		}
		retried, err := f.settle(ctx, f.tx, f.sent[0], results)
		if err != nil {
			return false, nil, err
		}
		if retried { // the consumer holds back its key until the stream ends
			f.closing, f.more = true, true
		}
		f.sent = f.sent[1:]
		f.size = min(2*f.size, batchSize)
	}
}

// fill sends what is due, as far as the credits go: batches as large as what has
// come by now, so nothing waits for a batch to be full. While a failing event is
// looked for, one batch at a time tells which it was.
func (f *flight) fill(ctx context.Context) error {
	for !f.closing && f.credits > 0 && (f.size == batchSize || len(f.sent) == 0) {
		if f.now().Sub(f.began) > turnLimit {
			f.closing, f.more = true, true
			return nil
		}
		due := f.due
		f.due = nil
		if due == nil {
			var err error
			if due, err = f.relay.due(ctx, f.tx, f.began, f.after, min(f.size, f.most())); err != nil || len(due) == 0 {
				return err
			}
		}
		f.after = due[len(due)-1].Seq
		f.sent = append(f.sent, due)
		f.credits--
		if err := f.send(ctx, due); err != nil {
			f.closing = true
			if !errors.Is(err, io.EOF) { // that one means: recv knows why
				f.unfit = err
			}
		}
	}
	return nil
}

// failed decides what a batch's failure as a whole means. A consumer that is away
// is waited for. One that answers, but not for this batch, may be unable to bear
// one event of it: the batch is halved until that is alone, and so on each time
// it is tried. It alone waits then, and the later ones of its key; after maxTries
// it is buried, if others were taken in the meantime: a consumer that takes
// nothing at all is broken itself.
func (r *relay) failed(ctx context.Context, tx pgx.Tx, batch []row, cause error) (more bool, stopped, err error) {
	code := codeOf(cause)
	cause = fmt.Errorf("deliver %d events: %w", len(batch), cause)
	switch {
	case code == codes.Unimplemented && r.now().After(r.unaryTill):
		r.unaryTill = r.now().Add(unaryFor)
		return true, nil, nil
	case ctx.Err() != nil, !suspicious(code):
		return false, cause, nil
	case len(batch) > 1:
		r.size = len(batch) / 2
		return true, nil, nil
	}
	e, reason := batch[0], legible(cause.Error())
	log := r.log.Error().Str("event_id", e.EventID.String()).Str("event_type", e.Type).Int("tries", e.Attempts+1).Str("reason", reason)
	b := &pgx.Batch{}
	if e.Attempts+1 >= maxTries && code != codes.DeadlineExceeded && r.accepted.After(e.NextAttempt.Add(-delay(e.Attempts-1))) {
		log.Msg("event refused for good: it fails alone, others pass")
		b.Queue(table(r.schema, buryEvent), pgx.NamedArgs{"seq": e.Seq, "now": r.now(), "reason": reason})
		cause = nil
	} else {
		log.Msg("event fails alone; it waits")
		b.Queue(table(r.schema, delayEvent), pgx.NamedArgs{"seq": e.Seq, "next": r.now().Add(delay(e.Attempts)), "reason": reason})
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return false, nil, fmt.Errorf("set a failing event aside: %w", err)
	}
	return cause == nil, cause, nil
}

// codeOf reads a status out of an error, with or without our interceptor on the
// connection. What carries none comes from the way, not from the consumer.
func codeOf(err error) codes.Code {
	if e, ok := fail.As(err); ok {
		return fail.ToStatus(e).Code()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return codes.DeadlineExceeded
	}
	if s, ok := status.FromError(err); ok {
		return s.Code()
	}
	return codes.Unavailable
}

// suspicious reports whether a code may be one event's fault.
func suspicious(code codes.Code) bool {
	switch code {
	case codes.InvalidArgument, codes.Internal, codes.Unknown, codes.DataLoss, codes.OutOfRange, codes.FailedPrecondition,
		codes.Aborted, codes.DeadlineExceeded:
		return true
	default:
		return false
	}
}
