package pg_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/pgtest"
)

func counter(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE SCHEMA s; CREATE TABLE s.n (id int PRIMARY KEY, v int NOT NULL, CONSTRAINT small CHECK (v < 1000)); INSERT INTO s.n VALUES (1, 0), (2, 0)`)
	return errors.Join(err, conn.Close(ctx))
}

// TestDeadlockIsRepeated has two transactions hold one row each and ask for the
// other's: the database ends one, InTx runs it again, and both count.
func TestDeadlockIsRepeated(t *testing.T) {
	db := pgtest.New(t, "pgtest", counter)
	var holding, wg sync.WaitGroup
	var runs atomic.Int64
	holding.Add(2)
	for i := range 2 {
		first := true
		wg.Go(func() {
			err := db.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
				runs.Add(1)
				if _, err := tx.Exec(ctx, `UPDATE s.n SET v = v + 1 WHERE id = $1`, 1+i); err != nil {
					return err
				}
				if first {
					first = false
					holding.Done()
					holding.Wait() // until the other holds its row too
				}
				_, err := tx.Exec(ctx, `UPDATE s.n SET v = v + 1 WHERE id = $1`, 2-i)
				return err
			})
			if err != nil {
				t.Errorf("transaction: %v", err)
			}
		})
	}
	wg.Wait()
	var low, high int
	if err := db.Pool.QueryRow(t.Context(), `SELECT min(v), max(v) FROM s.n`).Scan(&low, &high); err != nil {
		t.Fatal(err)
	}
	if low != 2 || high != 2 || runs.Load() < 3 {
		t.Errorf("counted %d and %d in %d runs, want 2 twice in 3", low, high, runs.Load())
	}
}

// TestRepetitionEnds has a transaction that can never be serialized.
func TestRepetitionEnds(t *testing.T) {
	db := pgtest.New(t, "pgtest", counter)
	runs := 0
	err := db.InTx(t.Context(), func(context.Context, pgx.Tx) error {
		runs++
		return &pgconn.PgError{Code: "40001"}
	})
	if err == nil || runs != 4 {
		t.Errorf("%v after %d runs, want an error after 4", err, runs)
	}
}

// TestCallerLeaves keeps apart a caller that gives up and a database that does.
func TestCallerLeaves(t *testing.T) {
	db := pgtest.New(t, "pgtest", counter)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := db.InTx(ctx, func(context.Context, pgx.Tx) error { return nil })
	if !errors.Is(err, context.Canceled) || fail.Is(err, fail.Unavailable) {
		t.Errorf("got %v, want a cancelled context", err)
	}
}

// TestTooSlow takes a wait that the role's timeouts end for an absence.
func TestTooSlow(t *testing.T) {
	db := pgtest.New(t, "pgtest", counter)
	err := db.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = '10ms'`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `SELECT pg_sleep(20)`)
		return err
	})
	if !fail.Is(err, fail.Unavailable) {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
}

func TestPoolFigures(t *testing.T) {
	db := pgtest.New(t, "pgtest", counter)
	r := prometheus.NewPedanticRegistry()
	if err := db.Metrics(r); err != nil {
		t.Fatal(err)
	}
	conn, err := db.Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	families, err := r.Gather()
	if err != nil || len(families) != 6 {
		t.Fatalf("%d figures, %v; want 6", len(families), err)
	}
	for _, f := range families {
		if f.GetName() == "pg_pool_connections_used" && f.GetMetric()[0].GetGauge().GetValue() != 1 {
			t.Errorf("in use: %v, want 1", f.GetMetric()[0])
		}
	}
}

func TestErrorRollsBack(t *testing.T) {
	db := pgtest.New(t, "pgtest", counter)
	boom := errors.New("boom")
	err := db.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE s.n SET v = 7`); err != nil {
			return err
		}
		return boom
	})
	var v int
	if e := db.Pool.QueryRow(t.Context(), `SELECT max(v) FROM s.n`).Scan(&v); e != nil || v != 0 || !errors.Is(err, boom) {
		t.Errorf("err %v, v %d, %v; want boom and 0", err, v, e)
	}
}

func TestUniqueByName(t *testing.T) {
	db := pgtest.New(t, "pgtest", counter)
	_, err := db.Pool.Exec(t.Context(), `INSERT INTO s.n VALUES (1, 1)`)
	if !pg.IsUnique(err, "n_pkey") || pg.IsUnique(err, "other") || pg.IsUnique(nil, "n_pkey") {
		t.Errorf("%v: want a violation of n_pkey and of nothing else", err)
	}
}

// TestAway opens a database that is not there: opening works, and every use
// says Unavailable within the time a client will wait.
func TestAway(t *testing.T) {
	db, err := pg.Open(t.Context(), pg.Config{URL: "postgres://nobody@127.0.0.1:1/none", Max: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	began := time.Now()
	err = db.InTx(t.Context(), func(context.Context, pgx.Tx) error { return nil })
	if !fail.Is(err, fail.Unavailable) {
		t.Errorf("a transaction: %v, want UNAVAILABLE", err)
	}
	_, err = db.Pool.Exec(t.Context(), `SELECT 1`)
	if !fail.Is(pg.Err(err), fail.Unavailable) {
		t.Errorf("a query: %v, want UNAVAILABLE", pg.Err(err))
	}
	if err := db.Ping(t.Context()); err == nil {
		t.Error("ping: no error")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("three answers took %v", took)
	}
}

// TestBackendKilled ends the connection under a transaction.
func TestBackendKilled(t *testing.T) {
	db := pgtest.New(t, "pgtest", counter)
	err := db.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
		var pid int
		if err := tx.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			return err
		}
		if _, err := db.Pool.Exec(ctx, `SELECT pg_terminate_backend($1)`, pid); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `SELECT 1`)
		return err
	})
	if !fail.Is(err, fail.Unavailable) {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("the pool has not healed: %v", err)
	}
}

func TestWrongAddress(t *testing.T) {
	// identity.md row 60: no setting brings the simple protocol back.
	for _, c := range []pg.Config{{URL: "postgres://%zz"}, {URL: "postgres://a@b/c", ExecMode: "simple_protocol"}} {
		if db, err := pg.Open(t.Context(), c); err == nil {
			db.Close()
			t.Errorf("%+v was taken", c)
		}
	}
}
