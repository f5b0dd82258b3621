package outbox_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// act is a business transaction: a row is read under lock, changed, and written
// down; and an event if o is there.
func act(ctx context.Context, db *pg.DB, o *outbox.Outbox, key string, n int64) error {
	return db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var value int64
		err := tx.QueryRow(ctx, `SELECT value FROM s.applied WHERE key = $1 FOR UPDATE`, key).Scan(&value)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE s.applied SET value = $2 WHERE key = $1`, key, value+1); err != nil {
			return err
		}
		if o == nil {
			return nil
		}
		return o.Append(ctx, tx, event(key, n))
	})
}

// BenchmarkAppend measures what an event adds to a business transaction:
// transactions with and without one take turns, so that what else the machine
// does meets both. Reported are the 50th and 99th hundredth of each, and their
// difference.
func BenchmarkAppend(b *testing.B) {
	db, o := open(b)
	if _, err := db.Pool.Exec(b.Context(), `INSERT INTO s.applied (key, value) VALUES ('k', 0)`); err != nil {
		b.Fatal(err)
	}
	took := map[bool][]time.Duration{}
	for i := 0; b.Loop(); i++ {
		with := i%2 == 0
		out := o
		if !with {
			out = nil
		}
		began := time.Now()
		if err := act(b.Context(), db, out, "k", int64(i)); err != nil {
			b.Fatal(err)
		}
		took[with] = append(took[with], time.Since(began))
	}
	at := func(with bool, hundredth int) float64 {
		list := took[with]
		if len(list) == 0 {
			return 0
		}
		slices.Sort(list)
		return float64(list[len(list)*hundredth/100].Microseconds())
	}
	for _, h := range []int{50, 99} {
		b.ReportMetric(at(false, h), fmt.Sprintf("µs-bare-p%d", h))
		b.ReportMetric(at(true, h), fmt.Sprintf("µs-event-p%d", h))
		b.ReportMetric(at(true, h)-at(false, h), fmt.Sprintf("µs-added-p%d", h))
	}
}

// BenchmarkAppendAlone measures the call itself in an open transaction, and what
// any statement takes there and back in the same run.
func BenchmarkAppendAlone(b *testing.B) {
	db, o := open(b)
	var took, empty []time.Duration
	err := db.InTx(b.Context(), func(ctx context.Context, tx pgx.Tx) error {
		for i := 0; b.Loop(); i++ {
			began := time.Now()
			if err := o.Append(ctx, tx, event("k", int64(i))); err != nil {
				return err
			}
			took = append(took, time.Since(began))
			began = time.Now()
			if _, err := tx.Exec(ctx, `SELECT 1`); err != nil {
				return err
			}
			empty = append(empty, time.Since(began))
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	slices.Sort(took)
	slices.Sort(empty)
	for _, h := range []int{50, 99} {
		b.ReportMetric(float64(took[len(took)*h/100].Microseconds()), fmt.Sprintf("µs-p%d", h))
		b.ReportMetric(float64(empty[len(empty)*h/100].Microseconds()), fmt.Sprintf("µs-select1-p%d", h))
	}
}

// BenchmarkRelay measures how many events a second a backlog goes at, over a
// real connection.
func BenchmarkRelay(b *testing.B) {
	for name, old := range map[string]bool{"streams": false, "calls": true} {
		b.Run(name, func(b *testing.B) {
			db, o := open(b)
			c := &consumer{old: old, inbox: &whole{db: db, refuse: accept}}
			c.start(b)
			const n = 10_000
			for b.Loop() {
				backlog(b, db, o, n, 100)
				began := time.Now()
				stop := relays(b, db, o, c.dial(b), 1)
				until(b, db, 0, `SELECT count(*) FROM s.outbox`)
				b.ReportMetric(n/time.Since(began).Seconds(), "events/s")
				stop()
			}
		})
	}
}

// BenchmarkWriters measures what events cost 64 writers at once: with a lock that
// all transactions share, as NOTIFY takes one at the commit, the share would be
// far below 1.
func BenchmarkWriters(b *testing.B) {
	db, o := open(b)
	const writers, each = 64, 20
	for w := range writers {
		if _, err := db.Pool.Exec(b.Context(), `INSERT INTO s.applied (key, value) VALUES ($1, 0)`, strconv.Itoa(w)); err != nil {
			b.Fatal(err)
		}
	}
	run := func(with *outbox.Outbox) time.Duration {
		began := time.Now()
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					if err := act(b.Context(), db, with, strconv.Itoa(w), int64(i)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return time.Since(began)
	}
	var bare, events time.Duration
	for b.Loop() {
		bare += run(nil)
		events += run(o)
	}
	b.ReportMetric(bare.Seconds()/events.Seconds(), "of-bare-throughput")
}

// audit_admin_ops.md D-3: nothing NOTIFYs in the transaction of a change; wake-ups
// are a channel in the process and a poll.
func TestNoNotify(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(f, "_test.go") && strings.Contains(strings.ToLower(string(raw)), "notify") {
			t.Errorf("%s speaks of NOTIFY", f)
		}
	}
}

func accept(*eventv1.Event) error { return nil }
