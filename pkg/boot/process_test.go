package boot

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

func newProcess(t *testing.T, log zerolog.Logger) *Process {
	t.Helper()
	return NewProcess(t.Context(), "demo", Base{NodeEnv: "test"}, log, time.Now, rand.Reader)
}

func TestWorkerStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := newProcess(t, zerolog.New(&log))
		var runs atomic.Int32
		p.Go("relay", func(ctx context.Context) error {
			switch runs.Add(1) {
			case 1:
				return errors.New("no luck")
			case 2:
				panic("a bug")
			}
			<-ctx.Done()
			return ctx.Err()
		})
		time.Sleep(firstPause + 2*firstPause + time.Millisecond)
		synctest.Wait()
		if got := runs.Load(); got != 3 {
			t.Errorf("runs: got %d, want 3", got)
		}
		if err := p.Stop(context.Background()); err != nil {
			t.Errorf("Stop: %v", err)
		}
		for _, want := range []string{"no luck", "panic: a bug", `"worker":"relay"`} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log lacks %s: %s", want, log.String())
			}
		}
	})
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t, zerolog.Nop())
		release := make(chan struct{})
		p.Go("stuck", func(context.Context) error { <-release; return nil })
		var closed []string
		p.OnStop("first", func(context.Context) error { closed = append(closed, "first"); return nil })
		p.OnStop("slow", func(ctx context.Context) error { <-ctx.Done(); closed = append(closed, "slow"); return ctx.Err() })
		began := time.Now()
		err := p.Stop(context.Background())
		if err == nil || !strings.Contains(err.Error(), "workers still running") || !strings.Contains(err.Error(), "stop slow") {
			t.Errorf("Stop: got %v", err)
		}
		if took := time.Since(began); took > drainCap {
			t.Errorf("Stop took %s", took)
		}
		if diff := cmp.Diff([]string{"slow", "first"}, closed); diff != "" {
			t.Errorf("closers (-want +got):\n%s", diff)
		}
		close(release)
	})
}

func TestReadyCachesAndBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t, zerolog.Nop())
		var asked, hung atomic.Int32
		release := make(chan struct{})
		p.Check("postgres", func(context.Context) error { asked.Add(1); return nil })
		p.Check("redis", func(context.Context) error { panic("a bug") })
		p.Check("auth", func(context.Context) error { hung.Add(1); <-release; return nil })
		began := time.Now()
		for range 3 {
			if diff := cmp.Diff([]string{"redis", "auth"}, p.Ready(t.Context())); diff != "" {
				t.Fatalf("failing (-want +got):\n%s", diff)
			}
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("three probes took %s", took)
		}
		if got := hung.Load(); got != 1 {
			t.Errorf("questions to a check that hangs: got %d, want 1", got)
		}
		if got := asked.Load(); got > 3 {
			t.Errorf("questions in %s: got %d", time.Since(began), got)
		}
		close(release)
		synctest.Wait()
		if diff := cmp.Diff([]string{"redis"}, p.Ready(t.Context())); diff != "" {
			t.Errorf("failing afterwards (-want +got):\n%s", diff)
		}
		before := asked.Load()
		for range 10 {
			p.Ready(t.Context())
		}
		if got := asked.Load(); got != before {
			t.Errorf("questions within a second: got %d, want none", got-before)
		}
		if err := p.Stop(context.Background()); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if diff := cmp.Diff([]string{"draining"}, p.Ready(t.Context())); diff != "" {
			t.Errorf("failing at the end (-want +got):\n%s", diff)
		}
	})
}
