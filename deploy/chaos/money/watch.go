package money

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	sampleEvery = 500 * time.Millisecond
	barEvery    = 1  // samples, on a terminal
	lineEvery   = 20 // samples, elsewhere
	barWidth    = 30
)

// sample is one look at the run.
type sample struct {
	At      time.Duration
	Started int64
	Open    int64 // payments and refunds that are not terminal
}

// mark is a death, or a turn of the run.
type mark struct {
	At   time.Duration
	What string
}

// timeline is what the plot is drawn from. Safe for concurrent use.
type timeline struct {
	mu      sync.Mutex // guards all below
	samples []sample
	marks   []mark
}

func (t *timeline) mark(at time.Duration, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.marks = append(t.marks, mark{at, what})
}

func (t *timeline) add(s sample) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.samples = append(t.samples, s)
}

// watch samples and shows progress until ctx ends.
func (r *run) watch(ctx context.Context) {
	var conn *pgx.Conn
	var open int64 // the last that was seen: Postgres may be dead
	for n := 0; pause(ctx, sampleEvery); n++ {
		look, cancel := context.WithTimeout(ctx, sampleEvery)
		var err error
		if conn == nil {
			conn, err = pgx.Connect(look, r.stack.AdminURL())
		}
		if err == nil {
			var l leftovers
			if l, err = left(look, conn); err == nil {
				open = int64(l.Payments)
			} else {
				_ = conn.Close(look) // it is broken
				conn = nil
			}
		} else {
			conn = nil
		}
		cancel()
		s := sample{At: r.Now().Sub(r.began), Started: r.started.Load(), Open: open}
		r.line.add(s)
		every := lineEvery
		if r.TTY {
			every = barEvery
		}
		if n%every == 0 {
			r.show(s)
		}
	}
	if r.TTY {
		_, _ = fmt.Fprintln(r.Out)
	}
	if conn != nil {
		_ = conn.Close(context.WithoutCancel(ctx)) // only looked
	}
}

func (r *run) show(s sample) {
	whole := max(r.Payments, 1)
	full := int(s.Started) * barWidth / whole
	text := fmt.Sprintf("%5.0fs  %d/%d payments  %d/%d kills  %d faults  %d open",
		s.At.Seconds(), s.Started, r.Payments, r.killed.Load(), r.Kills, r.faults.Load(), s.Open)
	if r.TTY {
		_, _ = fmt.Fprintf(r.Out, "\r\033[K[%s%s] %s", strings.Repeat("#", full), strings.Repeat(".", max(barWidth-full, 0)), text)
		return
	}
	_, _ = fmt.Fprintln(r.Out, text)
}
