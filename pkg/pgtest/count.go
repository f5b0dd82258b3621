package pgtest

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/manas360/platform/pkg/pg"
)

// Trips notes what a pool sends and waits for: each statement, BEGIN and COMMIT
// among them, and each batch as one.
type Trips struct {
	mu   sync.Mutex // guards sent
	sent []string
}

// Counted opens the database of db once more, with everything noted.
func Counted(tb testing.TB, db *pg.DB) (*pg.DB, *Trips) {
	tb.Helper()
	t := &Trips{}
	c := db.Pool.Config()
	c.ConnConfig.Tracer = t
	pool, err := pgxpool.NewWithConfig(tb.Context(), c)
	if err != nil {
		tb.Fatalf("open the database once more: %v", err)
	}
	tb.Cleanup(pool.Close)
	return &pg.DB{Pool: pool}, t
}

// Take gives what was sent since it was last asked.
func (t *Trips) Take() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	sent := t.sent
	t.sent = nil
	return sent
}

func (t *Trips) note(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent = append(t.sent, what)
}

// TraceQueryStart is the driver's hook.
func (t *Trips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	t.note(d.SQL)
	return ctx
}

// TraceQueryEnd is the driver's hook.
func (t *Trips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart is the driver's hook.
func (t *Trips) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	t.note("a batch")
	return ctx
}

// TraceBatchQuery is the driver's hook.
func (t *Trips) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd is the driver's hook.
func (t *Trips) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}
