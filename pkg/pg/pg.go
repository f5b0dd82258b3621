// Package pg opens PostgreSQL the way every service does: a small pool that
// does not need the server to be up, short waits, and transactions that repeat
// what the database asks to repeat.
package pg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/manas360/platform/pkg/fail"
)

const (
	connectTimeout = 2 * time.Second      // an outage is answered, not waited for
	acquireTimeout = time.Second          // longest wait for a free connection
	maxAttempts    = 4                    // of a transaction the database asks to repeat
	retryPause     = 5 * time.Millisecond // before the first repetition, doubled after
	retryAfter     = time.Second          // told to callers while the database is away
	maxIdle        = 5 * time.Minute      // an idle connection beyond the minimum is closed
	maxLife        = 30 * time.Minute     // connections move to a new primary by themselves
	lifeJitter     = 5 * time.Minute      // and not all at once
)

// Tx is a transaction. It stands here so that handlers of events can name it
// without importing the driver.
type Tx = pgx.Tx

// Config is the part of a service's environment that concerns its database.
// The other three addresses default to URL, so that a replica, a migration
// owner or a direct listener can be split off without a change of code.
type Config struct {
	URL          string `desc:"PostgreSQL address"                           env:"DATABASE_URL,required" secret:"true"`
	ReplicaURL   string `desc:"read replica; DATABASE_URL when empty"        env:"DATABASE_REPLICA_URL"  secret:"true"`
	MigrationURL string `desc:"owner for migrations; DATABASE_URL when empty" env:"DATABASE_MIGRATION_URL" secret:"true"`
	Min          int32  `desc:"connections kept open"                        env:"DB_POOL_MIN"           envDefault:"0"`
	Max          int32  `desc:"connections at most"                          env:"DB_POOL_MAX"           envDefault:"8"`
	ExecMode     string `desc:"pgx query mode, for poolers: cache_statement, cache_describe, describe_exec, exec" env:"DB_EXEC_MODE" envDefault:"cache_statement"`
}

// DB is an open database. Safe for concurrent use.
type DB struct {
	Pool *pgxpool.Pool
}

// Querier is a pool or a transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

var execModes = map[string]pgx.QueryExecMode{
	"cache_statement": pgx.QueryExecModeCacheStatement,
	"cache_describe":  pgx.QueryExecModeCacheDescribe,
	"describe_exec":   pgx.QueryExecModeDescribeExec,
	"exec":            pgx.QueryExecModeExec,
}

// Open makes a pool. It fails for a wrong address, not for a server that is
// away: that shows in Ping and in each query.
func Open(ctx context.Context, c Config) (*DB, error) {
	pc, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("parse the database address: %w", err)
	}
	mode, ok := execModes[c.ExecMode]
	if c.ExecMode == "" {
		mode, ok = pgx.QueryExecModeCacheStatement, true
	}
	if !ok {
		return nil, fmt.Errorf("DB_EXEC_MODE %q is not one of cache_statement, cache_describe, describe_exec, exec", c.ExecMode)
	}
	pc.ConnConfig.DefaultQueryExecMode = mode
	pc.ConnConfig.ConnectTimeout = connectTimeout
	pc.ConnConfig.Tracer = otelpgx.NewTracer()
	pc.MinConns, pc.MaxConns = c.Min, max(c.Max, 1)
	pc.PingTimeout = acquireTimeout // a connection whose server vanished without a word
	pc.MaxConnIdleTime, pc.MaxConnLifetime, pc.MaxConnLifetimeJitter = maxIdle, maxLife, lifeJitter
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("make the pool: %w", err)
	}
	return &DB{Pool: pool}, nil
}

// Close ends every connection once its query is done.
func (db *DB) Close() { db.Pool.Close() }

// Ping asks the server for a sign of life.
func (db *DB) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	if err := db.Pool.Ping(ctx); err != nil {
		return fmt.Errorf("ping the database: %w", err)
	}
	return nil
}

// InTx runs fn in a READ COMMITTED transaction and commits it. fn runs again
// when the database reports a serialization failure or a deadlock, so it must
// have no effect outside the transaction: no call to a provider or a peer. A
// database that is away is fail.Unavailable.
func (db *DB) InTx(ctx context.Context, fn func(ctx context.Context, tx pgx.Tx) error) error {
	pause := retryPause
	for attempt := 1; ; attempt++ {
		err := db.once(ctx, fn)
		if err == nil || attempt == maxAttempts || !repeatable(err) {
			return Err(err)
		}
		jitter := time.Duration(rand.Int64N(int64(pause))) //nolint:gosec // spreads repetitions, guards nothing
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause + jitter):
		}
		pause *= 2
	}
}

func (db *DB) once(ctx context.Context, fn func(ctx context.Context, tx pgx.Tx) error) error {
	acquire, cancel := context.WithTimeout(ctx, acquireTimeout+connectTimeout)
	conn, err := db.Pool.Acquire(acquire)
	cancel()
	if err != nil {
		if ctx.Err() != nil { // the caller left; the database may be well
			return fmt.Errorf("wait for a connection: %w", err)
		}
		return away(err)
	}
	defer conn.Release()
	// Said aloud: a server may have another default.
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error { return fn(ctx, tx) })
	if err != nil {
		return fmt.Errorf("transaction: %w", err)
	}
	return nil
}

// repeatable reports whether the database asks to run the transaction again.
func repeatable(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && (pe.Code == "40001" || pe.Code == "40P01")
}

// IsUnique reports whether err is a violation of the named unique constraint
// or index. Always name it: two constraints mean two different things.
func IsUnique(err error, constraint string) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && pe.Code == "23505" && pe.ConstraintName == constraint
}

// Err turns the errors of a database that is away, shutting down, out of
// connections or past the time its role may wait into fail.Unavailable; all
// others stay as they are.
func Err(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := fail.As(err); ok {
		return err
	}
	var (
		pe  *pgconn.PgError
		ce  *pgconn.ConnectError
		net net.Error
	)
	switch {
	case errors.As(err, &pe):
		switch {
		case strings.HasPrefix(pe.Code, "08"), strings.HasPrefix(pe.Code, "57P"), pe.Code == "53300", pe.Code == "25P03":
			return away(err)
		case pe.Code == "55P03", pe.Code == "57014": // lock_timeout and statement_timeout of bootstrap.sql
			return away(err)
		}
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &ce), errors.As(err, &net), pgconn.SafeToRetry(err), closed(err):
		return away(err)
	}
	return err
}

// closed reports a connection that broke under a query.
func closed(err error) bool {
	text := err.Error()
	return strings.Contains(text, "conn closed") || strings.Contains(text, "unexpected EOF") || strings.Contains(text, "closed pool")
}

func away(cause error) error {
	return fail.New(fail.Unavailable, "the database does not answer").RetryAfter(retryAfter).Wrap(cause)
}
