package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog" //nolint:depguard // River logs through it, into zerolog
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/pg"
)

const (
	// A code must be out within a tenth of a second. NOTIFY tells of a commit;
	// of two within jobCooldown only one may, and the poll finds the other.
	jobCooldown = time.Millisecond
	jobPoll     = 500 * time.Millisecond
	jobPollOnly = 100 * time.Millisecond // behind a pooler, where nobody hears NOTIFY

	jobTimeout = 15 * time.Second // mailTimeout and the database
	jobRescue  = time.Minute      // then a process has died over it
	jobDrain   = 10 * time.Second // less than a process waits for its workers
	jobsAtOnce = 4                // of a channel: one that hangs holds up no other

	adoptEvery = time.Minute
	adoptAlot  = 500 // at a time
)

// sendArgs is all a job holds: it lies in the clear.
type sendArgs struct {
	MessageID uuid.UUID `json:"message_id"`
}

// Kind names the job in River's table.
func (sendArgs) Kind() string { return "send_message" }

// jobs adds work to River's tables.
type jobs struct{ client *river.Client[pgx.Tx] }

// newJobs makes the adding half; runJobs is the working one.
func newJobs(db *pg.DB) jobs {
	client, err := river.NewClient(riverpgxv5.New(db.Pool), &river.Config{
		Schema: schema, FetchCooldown: jobCooldown, Logger: slog.New(slog.DiscardHandler), SkipUnknownJobCheck: true,
	})
	if err != nil {
		panic("auth: make the job client: " + err.Error()) // its settings stand above
	}
	return jobs{client: client}
}

// add has a message sent once tx is committed.
func (j jobs) add(ctx context.Context, tx pg.Tx, message uuid.UUID, channel string, code bool) error {
	_, err := j.client.InsertTx(ctx, tx, sendArgs{MessageID: message}, &river.InsertOpts{Queue: strings.ToLower(channel), MaxAttempts: tries(code)})
	if err != nil {
		return pg.Err(fmt.Errorf("queue a job: %w", err))
	}
	return nil
}

// sender is River's worker.
type sender struct {
	river.WorkerDefaults[sendArgs]
	*Service
}

// Work sends the message of a job.
func (w sender) Work(ctx context.Context, job *river.Job[sendArgs]) error {
	err := w.sendMessage(ctx, job.Args.MessageID, job.Attempt >= job.MaxAttempts)
	if errors.Is(err, errGivenUp) {
		return river.JobCancel(err)
	}
	return err
}

// NextRetry is when a failed job runs again.
func (w sender) NextRetry(job *river.Job[sendArgs]) time.Time {
	return w.now().Add(backoff(job.Attempt))
}

// Timeout bounds one run.
func (w sender) Timeout(*river.Job[sendArgs]) time.Duration { return jobTimeout }

// runJobs sends messages until ctx ends and those on their way are out. A job
// cut off by the end is the next process's at once.
func (s *Service) runJobs(ctx context.Context) error {
	log := zerolog.Ctx(ctx)
	workers := river.NewWorkers()
	river.AddWorker(workers, sender{Service: s})
	c := &river.Config{
		Schema: schema, Workers: workers, Queues: map[string]river.QueueConfig{},
		FetchCooldown: jobCooldown, FetchPollInterval: jobPoll, JobTimeout: jobTimeout, RescueStuckJobsAfter: jobRescue, SoftStopTimeout: s.drain,
		ReindexerIndexNames: []string{}, // only their owner may, and a service owns no index
		Logger:              slog.New(zerolog.NewSlogHandler(log.Level(max(log.GetLevel(), zerolog.WarnLevel)))),
	}
	atOnce := jobsAtOnce
	if s.c.MessagesDir != "" {
		atOnce = 1 // files are read in order
	}
	for _, channel := range channels {
		c.Queues[strings.ToLower(channel)] = river.QueueConfig{MaxWorkers: atOnce}
	}
	if mode := s.c.ExecMode; mode != "" && mode != "cache_statement" {
		c.PollOnly, c.FetchPollInterval = true, jobPollOnly
	}
	client, err := river.NewClient(riverpgxv5.New(s.db.Pool), c)
	if err != nil {
		return fmt.Errorf("make the job client: %w", err)
	}
	if err := client.Start(ctx); err != nil {
		return fmt.Errorf("start the job client: %w", err)
	}
	s.adopt(ctx)
	<-client.Stopped()
	return nil
}

// adopt takes over what releases before River queued, until ctx ends: one of
// them may be running beside us.
func (s *Service) adopt(ctx context.Context) {
	tick := time.NewTicker(adoptEvery)
	defer tick.Stop()
	for {
		n, err := s.adoptOnce(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			zerolog.Ctx(ctx).Warn().Err(err).Msg("older messages wait: not read")
		case n > 0:
			zerolog.Ctx(ctx).Info().Int("messages", n).Msg("older messages taken over")
		}
		if n == adoptAlot {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// One that an older release is sending right now is locked: it stays with it.
const adoptMessages = `
UPDATE auth.message SET next_attempt_at = 'infinity'
 WHERE id IN (SELECT id FROM auth.message
               WHERE content IS NOT NULL AND next_attempt_at < 'infinity'
               ORDER BY next_attempt_at, id LIMIT @limit FOR UPDATE SKIP LOCKED)
RETURNING id, channel, template, locale, content`

// adoptOnce gives jobs to messages that have none, and says to how many.
func (s *Service) adoptOnce(ctx context.Context) (n int, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		list, err := all[queued](ctx, tx, "adopt messages", adoptMessages, args{"limit": adoptAlot})
		n = len(list)
		for _, q := range list {
			err = errors.Join(err, s.jobs.add(ctx, tx, q.ID, q.Channel, true))
		}
		return err
	})
	return n, err
}
