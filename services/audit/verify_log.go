package audit

import (
	"context"
	"fmt"
	"sync"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/services/audit/merkle"
)

// Check says what Verify reads and whom it believes.
type Check struct {
	DatabaseURL string
	Origin      string
	LogKey      string // public; without it signatures are not checked
	WitnessKey  string // public; without it the witness's are not
	Since       int64  // the first event to read again; the tree is always read whole
	Workers     int

	Progress func(done, total int64)
	Found    func(line string)
}

// Verdict is what Verify saw.
type Verdict struct {
	Size     int64 // of the log
	Read     int64 // events read again
	Findings int
}

// Verify reads the log from the database again and tells every fault it finds.
// It believes nothing that is stored but the canonical bytes, and those only
// as far as the tree, the signatures and the witness bear them out. It writes
// nothing, and runs beside a service at work.
func Verify(ctx context.Context, c Check) (Verdict, error) {
	v := &verifier{origin: c.Origin}
	var err error
	if c.LogKey != "" {
		if v.log, err = note.NewVerifier(c.LogKey); err != nil {
			return Verdict{}, fmt.Errorf("log key: %w", err)
		}
	}
	if c.WitnessKey != "" {
		if v.witness, err = fnote.NewVerifierForCosignatureV1(c.WitnessKey); err != nil {
			return Verdict{}, fmt.Errorf("witness key: %w", err)
		}
	}
	workers := max(1, c.Workers)
	db, err := pg.Open(ctx, pg.Config{URL: c.DatabaseURL, Max: int32(workers) + 1}) //nolint:gosec // a handful
	if err != nil {
		return Verdict{}, fmt.Errorf("open the database: %w", err)
	}
	defer db.Close()
	v.q = db.Pool
	run := &verification{c: c, v: v}
	v.found = run.found
	err = run.all(ctx, workers)
	return run.verdict, err
}

// verification is one run of Verify.
type verification struct {
	c Check
	v *verifier

	mu      sync.Mutex // guards verdict and calls of the caller's functions
	verdict Verdict
}

func (r *verification) found(f finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verdict.Findings++
	r.c.Found(f.String())
}

func (r *verification) all(outer context.Context, workers int) error {
	ctx := outer
	g, err := r.v.ground(ctx)
	if err != nil || g == nil {
		return err
	}
	size := g.head.Edge.Size()
	r.verdict.Size = size
	if size < g.head.Size {
		r.v.fault(size+1, "the tree ends before it: a service that knows no tree wrote from here on")
	}
	from := max(0, r.c.Since-1) / merkle.Width * merkle.Width
	if from == 0 {
		r.v.sum = newRowSum()
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for after := from; after < size && ctx.Err() == nil; after += spanEvents {
		last := min(size, after+spanEvents)
		group.Go(func() error {
			if err := r.v.span(ctx, g, after, last); err != nil {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.verdict.Read += last - after
			r.c.Progress(r.verdict.Read, size-from)
			return nil
		})
	}
	// The rows of the index are added up beside.
	if from == 0 {
		group.Go(func() error { return subtractTargets(ctx, r.v.q, size, r.v.sum) })
	}
	if err := group.Wait(); err != nil {
		return err //nolint:wrapcheck // says what
	}
	if r.verdict.Read < size-from {
		return ctx.Err() //nolint:wrapcheck // the caller's own
	}
	if from > 0 || r.v.sum.even() {
		return nil
	}
	return r.targets(outer, size)
}

// targets says that the index of targets is not what it must be. Reading from
// an event on looks for each row and names those that lack.
func (r *verification) targets(ctx context.Context, size int64) error {
	n, err := targetCount(ctx, r.v.q, size)
	if err != nil {
		return err
	}
	r.v.fault(0, "the index of targets has %d rows, want %d of the events' own", n, r.v.targetsN.Load())
	return nil
}
