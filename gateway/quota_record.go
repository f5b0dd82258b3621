package gateway

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

const (
	recordEvery   = time.Second // while there is something to record
	recordBatch   = 500         // counters in one call
	recordTimeout = 5 * time.Second
)

// record tells subscription where the counters stand, a batch a second at most,
// until ctx ends. What it cannot tell waits.
func (q *quotas) record(ctx context.Context) error {
	pace := time.NewTimer(recordEvery)
	defer pace.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			q.recordLast(ctx)
			return nil
		case <-q.bell:
		}
		pace.Reset(recordEvery) // others join
		select {
		case <-ctx.Done():
			q.recordLast(ctx)
			return nil
		case <-pace.C:
		}
		err := q.recordOnce(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			q.log.Warn().Err(err).Msg("API calls not recorded")
		}
		failing = err != nil
	}
}

func (q *quotas) recordLast(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := q.recordOnce(ctx); err != nil {
		q.log.Warn().Err(err).Msg("API calls not recorded at the end; Redis has them")
	}
}

// recordOnce tells of a batch; the bell rings when there is more.
func (q *quotas) recordOnce(ctx context.Context) error {
	list := q.unrecorded(recordBatch)
	if len(list) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	err := q.tell(ctx, list)
	if err != nil {
		for _, c := range list {
			q.enqueue(c)
		}
	}
	return err
}

// unrecorded takes out counters that have moved, n at most.
func (q *quotas) unrecorded(n int) []*counter {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.fresh))
	out := make([]*counter, 0, n)
	for _, c := range q.fresh[:n] {
		c.waiting = false
		if c.seen > c.recorded {
			out = append(out, c)
		}
	}
	q.fresh = append(q.fresh[:0:0], q.fresh[n:]...)
	if len(q.fresh) > 0 {
		ring(q.bell)
	}
	return out
}

func (q *quotas) enqueue(c *counter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !c.waiting {
		c.waiting = true
		q.fresh = append(q.fresh, c)
	}
	ring(q.bell)
}

// tell records counters and learns what is on record.
func (q *quotas) tell(ctx context.Context, list []*counter) error {
	r := &subscriptionv1.RecordUsageRequest{}
	q.mu.Lock()
	for _, c := range list {
		r.Usage = append(r.Usage, &subscriptionv1.Usage{
			UserId: c.user[:], Feature: apiCalls, PeriodStart: timestamppb.New(c.start), Used: c.seen,
		})
	}
	q.mu.Unlock()
	answer, err := q.usage.RecordUsage(ctx, r)
	if err != nil {
		return fmt.Errorf("record usage: %w", err)
	}
	if len(answer.GetUsed()) != len(list) {
		return fmt.Errorf("record usage: %d answers to %d counters", len(answer.GetUsed()), len(list))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, c := range list {
		c.recorded = answer.GetUsed()[i]
		c.seen = max(c.seen, c.recorded)
	}
	return nil
}
