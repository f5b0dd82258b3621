package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog" //nolint:depguard // River logs through it, into zerolog
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
)

const (
	jobPoll    = time.Second      // nobody waits for an export with a finger on the key
	jobTimeout = time.Hour        // 4 GiB at the pace of a slow disk
	jobRescue  = 2 * jobTimeout   // what died is found sooner by its beat
	jobDrain   = 10 * time.Second // then an export is cut off, and another process begins it anew
)

// exportArgs is all a job holds.
type exportArgs struct {
	ExportID uuid.UUID `json:"export_id"`
}

// Kind names the job in River's table.
func (exportArgs) Kind() string { return "audit_export" }

// jobs adds work to River's tables.
type jobs struct{ client *river.Client[pgx.Tx] }

// newJobs makes the adding half; runJobs is the working one.
func newJobs(db *pg.DB) jobs {
	client, err := river.NewClient(riverpgxv5.New(db.Pool), &river.Config{
		Schema: "audit", PollOnly: true, Logger: slog.New(slog.DiscardHandler), SkipUnknownJobCheck: true,
	})
	if err != nil {
		panic("audit: make the job client: " + err.Error()) // its settings stand above
	}
	return jobs{client: client}
}

// add has an export written once tx is committed.
func (j jobs) add(ctx context.Context, tx pgx.Tx, export uuid.UUID) error {
	_, err := j.client.InsertTx(ctx, tx, exportArgs{ExportID: export}, &river.InsertOpts{MaxAttempts: exportTries})
	if err != nil {
		return pg.Err(fmt.Errorf("queue a job: %w", err))
	}
	return nil
}

// writer is River's worker.
type writer struct {
	river.WorkerDefaults[exportArgs]
	*Service

	encoder func(format string, w io.Writer) encoder
}

// Work writes the file of a job's export.
func (w writer) Work(ctx context.Context, job *river.Job[exportArgs]) error {
	err := w.runExport(ctx, job.Args.ExportID, w.encoder)
	final := job.Attempt >= job.MaxAttempts
	switch {
	case err == nil, errors.Is(err, errEnded):
		return nil
	case fail.Is(err, fail.InvalidArgument): // no repetition helps
		return w.giveUp(ctx, job.Args.ExportID, err.Error())
	case final && ctx.Err() == nil:
		return errors.Join(err, w.giveUp(ctx, job.Args.ExportID, "it could not be written"))
	default:
		return err
	}
}

// Timeout bounds one run.
func (writer) Timeout(*river.Job[exportArgs]) time.Duration { return jobTimeout }

// runJobs writes exports, one at a time, until ctx ends.
func (s *Service) runJobs(ctx context.Context, newEncoder func(string, io.Writer) encoder) error {
	log := zerolog.Ctx(ctx)
	workers := river.NewWorkers()
	river.AddWorker(workers, writer{Service: s, encoder: newEncoder})
	client, err := river.NewClient(riverpgxv5.New(s.db.Pool), &river.Config{
		Schema: "audit", Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}},
		PollOnly: true, FetchPollInterval: jobPoll, JobTimeout: jobTimeout, RescueStuckJobsAfter: jobRescue, SoftStopTimeout: jobDrain,
		ReindexerIndexNames: []string{}, // only their owner may, and a service owns no index
		Logger:              slog.New(zerolog.NewSlogHandler(log.Level(max(log.GetLevel(), zerolog.WarnLevel)))),
	})
	if err != nil {
		return fmt.Errorf("make the job client: %w", err)
	}
	if err := client.Start(ctx); err != nil {
		return fmt.Errorf("start the job client: %w", err)
	}
	<-client.Stopped()
	return nil
}
