package outbox

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/pg"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

const (
	pollInterval = 200 * time.Millisecond // when nobody wakes the relay
	batchBytes   = 512 << 10              // of payload; a receiver takes messages of 1 MiB
	deliverLimit = 5 * time.Second        // of applying one batch
	ackLimit     = 6 * time.Second        // until its answer; a role may idle in a transaction for 10 s
	turnLimit    = time.Second            // of sending in one transaction: others commit, a receiver that drains waits little
	firstDelay   = 100 * time.Millisecond // before an event refused for now is tried again
	longestDelay = time.Minute
)

// row is one event on its way to one destination.
type row struct {
	Seq         int64
	EventID     uuid.UUID
	Type        string
	Key         string
	Payload     []byte
	RequestID   string
	Traceparent string
	OccurredAt  time.Time
	Attempts    int
	NextAttempt time.Time
}

// Relay answers a worker that delivers the outbox to one destination. Any
// number may run: a transaction-scoped lock lets one deliver at a time, and its
// rows go only once the consumer has committed them.
func (o *Outbox) Relay(db *pg.DB, dest string, client eventv1.EventInboxServiceClient, log zerolog.Logger) func(ctx context.Context) error {
	r := &relay{Outbox: o, db: db, dest: dest, client: client, size: batchSize, log: log.With().Str("destination", dest).Logger()}
	return r.run
}

type relay struct {
	*Outbox

	db     *pg.DB
	dest   string
	client eventv1.EventInboxServiceClient
	log    zerolog.Logger
	silent bool // the destination's absence has been logged

	size      int       // events in a batch at most; halved around a batch that failed as a whole
	accepted  time.Time // when the destination last took an event
	unaryTill time.Time // the destination is of an older release: no streams until then
}

func (r *relay) run(ctx context.Context) error {
	wake, leave := r.waker()
	defer leave()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		more, err := r.once(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !r.silent:
			r.log.Warn().Err(err).Msg("events wait: delivery failed")
			r.silent = true
		case err == nil && r.silent:
			r.log.Info().Msg("delivery works again")
			r.silent = false
		}
		if more && err == nil {
			continue
		}
		if err != nil { // do not hammer a service that is away; its events are safe
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-tick.C:
		}
	}
}

const takeTurn = `SELECT pg_try_advisory_xact_lock(@key)`

// An event waits while an earlier one of its key does: order within a key is
// kept, other keys pass.
const selectDue = `
SELECT o.seq, o.event_id, o.type, o.key, o.payload, o.request_id, o.traceparent, o.occurred_at, o.attempts, o.next_attempt_at
  FROM {schema}.outbox o
 WHERE o.destination = @destination
   AND o.seq > @after
   AND o.next_attempt_at <= @now
   AND NOT EXISTS (SELECT 1 FROM {schema}.outbox e
                    WHERE e.destination = o.destination AND e.key = o.key AND e.seq < o.seq AND e.next_attempt_at > @now)
 ORDER BY o.seq
 LIMIT @limit`

const deleteDone = `DELETE FROM {schema}.outbox WHERE seq = ANY (@seqs)`

const delayEvent = `
UPDATE {schema}.outbox
   SET attempts = attempts + 1, next_attempt_at = @next, last_error = @reason
 WHERE seq = @seq`

const buryEvent = `
WITH gone AS (DELETE FROM {schema}.outbox WHERE seq = @seq RETURNING *)
INSERT INTO {schema}.outbox_dead (seq, event_id, destination, type, key, payload, request_id, traceparent, occurred_at,
                                  attempts, next_attempt_at, last_error, dead_at, reason)
SELECT seq, event_id, destination, type, key, payload, request_id, traceparent, occurred_at,
       attempts + 1, next_attempt_at, last_error, @now, @reason
  FROM gone
    ON CONFLICT (event_id, destination) DO NOTHING`

// once is a turn at delivering: a transaction that holds the destination's lock.
// What stopped the turn, if anything did, is err; what was settled before it is
// committed.
func (r *relay) once(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, turnLimit+(inFlight+1)*ackLimit)
	defer cancel()
	var stopped error
	err = r.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		more, stopped = false, nil
		var mine bool
		if err := tx.QueryRow(ctx, takeTurn, pgx.NamedArgs{"key": lockKey(r.schema, r.dest)}).Scan(&mine); err != nil || !mine {
			return err
		}
		more, stopped, err = r.turn(ctx, tx)
		return err
	})
	return more, errors.Join(err, stopped)
}

// due reads a batch of events that may go, in order, after the place that the
// turn has reached. now is the turn's beginning: one that was not due then must
// not become so behind that place, where its key would go on without it. New
// ones of the key are not behind: their number is taken under its lock.
func (r *relay) due(ctx context.Context, tx pgx.Tx, now time.Time, after int64, limit int) ([]row, error) {
	rows, err := tx.Query(ctx, table(r.schema, selectDue), pgx.NamedArgs{"destination": r.dest, "now": now, "after": after, "limit": limit})
	if err != nil {
		return nil, fmt.Errorf("select due events: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return nil, fmt.Errorf("read due events: %w", err)
	}
	return withinBytes(list), nil
}

// withinBytes cuts a batch to what fits one message; the first event always does.
func withinBytes(due []row) []row {
	size := 0
	for i, e := range due {
		if size += len(e.Payload); size > batchBytes && i > 0 {
			return due[:i]
		}
	}
	return due
}

// settle does with each row what its result says.
func (r *relay) settle(ctx context.Context, tx pgx.Tx, due []row, results []*eventv1.DeliverResponse_Result) (retried bool, err error) {
	if len(results) != len(due) {
		return false, fmt.Errorf("%d results for %d events", len(results), len(due))
	}
	batch := &pgx.Batch{}
	var done []int64
	for i, res := range results {
		e, reason := due[i], legible(res.GetReason())
		switch res.GetOutcome() {
		case eventv1.DeliverResponse_Result_APPLIED, eventv1.DeliverResponse_Result_DUPLICATE:
			done = append(done, e.Seq)
		case eventv1.DeliverResponse_Result_REJECTED:
			r.log.Error().Str("event_id", e.EventID.String()).Str("event_type", e.Type).Str("reason", reason).Msg("event refused for good")
			batch.Queue(table(r.schema, buryEvent), pgx.NamedArgs{"seq": e.Seq, "now": r.now(), "reason": reason})
		default: // RETRY, and whatever a newer consumer may say: never lose it
			retried = true
			batch.Queue(table(r.schema, delayEvent), pgx.NamedArgs{"seq": e.Seq, "next": r.now().Add(delay(e.Attempts)), "reason": reason})
		}
	}
	if len(done) > 0 {
		r.accepted = r.now()
		batch.Queue(table(r.schema, deleteDone), pgx.NamedArgs{"seqs": done})
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return false, fmt.Errorf("settle events: %w", err)
	}
	return retried, nil
}

// delay doubles from 100 ms to a minute.
func delay(attempts int) time.Duration {
	if attempts > 10 {
		return longestDelay
	}
	return min(firstDelay<<attempts, longestDelay)
}

// lockKey spreads the relays of one database over the advisory locks.
func lockKey(schema, dest string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("outbox\x00" + schema + "\x00" + dest)) // never fails
	return int64(h.Sum64())                                       //nolint:gosec // any 64 bits will do
}

// Pending says how many events wait for a destination and since when; zero
// time when none does.
func (o *Outbox) Pending(ctx context.Context, db *pg.DB, dest string) (n int64, oldest time.Time, err error) {
	var since *time.Time
	err = db.Pool.QueryRow(ctx, table(o.schema, countPending), pgx.NamedArgs{"destination": dest}).Scan(&n, &since)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, time.Time{}, nil
	}
	if err != nil {
		return 0, time.Time{}, pg.Err(fmt.Errorf("count events: %w", err))
	}
	if since != nil {
		oldest = *since
	}
	return n, oldest, nil
}

const countPending = `SELECT count(*), min(occurred_at) FROM {schema}.outbox WHERE destination = @destination`
