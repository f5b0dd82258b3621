// Package pgtest gives each test a migrated database of its own, cloned from a
// template in some tens of milliseconds.
package pgtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
)

const (
	setUp     = time.Minute // to build a template on a busy machine
	createKey = 360_360     // one lock for all processes that build templates or clone
)

var (
	mu        sync.Mutex // guards templates and keeper
	templates = map[string]string{}
	keeper    *pgx.Conn // holds the lock on owner while this process lives

	// owner stands in the names of all databases of this process. A process that
	// is killed cannot drop them; the next one sees that nobody holds the lock.
	owner = hex.EncodeToString(newOwner())
)

func newOwner() []byte { u := uuid.New(); return u[8:] }

// New answers a database in which migrate has run for schema; within a process
// a schema has one migrate. The server is the one at MANAS_TEST_PG; the
// database is dropped when the test ends.
func New(tb testing.TB, schema string, migrate func(ctx context.Context, url string) error) *pg.DB {
	tb.Helper()
	db, err := pg.Open(tb.Context(), pg.Config{URL: URL(tb, schema, migrate), Max: 16})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(db.Close)
	return db
}

// URL is New for code that opens the database itself.
func URL(tb testing.TB, schema string, migrate func(ctx context.Context, url string) error) string {
	tb.Helper()
	admin := os.Getenv("MANAS_TEST_PG") //nolint:forbidigo // tests have no other configuration
	if admin == "" {
		const why = "MANAS_TEST_PG is not set; `make test` starts a PostgreSQL and sets it"
		if os.Getenv("MANAS_TEST_REQUIRE") == "1" { //nolint:forbidigo // as above
			tb.Fatal(why)
		}
		tb.Skip(why)
	}
	ctx, cancel := context.WithTimeout(context.Background(), setUp) //nolint:forbidigo // outlives the test's own in Cleanup
	defer cancel()
	template, err := templateOf(ctx, admin, schema, migrate)
	if err != nil {
		tb.Fatalf("make the template of %s: %v", schema, err)
	}
	name := "t_" + owner + "_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if err := locked(ctx, admin, "CREATE DATABASE "+name+" TEMPLATE "+template); err != nil {
		tb.Fatalf("clone %s: %v", template, err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), setUp) //nolint:forbidigo // the test's own context has ended
		defer cancel()
		if err := exec(ctx, admin, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			tb.Errorf("drop %s: %v", name, err)
		}
	})
	url, err := withDatabase(admin, name)
	if err != nil {
		tb.Fatal(err)
	}
	return url
}

// templateOf makes schema's template once a process. A process makes its own:
// a template left by an older build would hide a changed migration.
func templateOf(ctx context.Context, admin, schema string, migrate func(ctx context.Context, url string) error) (string, error) {
	mu.Lock()
	defer mu.Unlock()
	if err := keep(ctx, admin); err != nil {
		return "", fmt.Errorf("clear up after dead processes: %w", err)
	}
	sum := sha256.Sum256([]byte(admin + "\x00" + schema))
	key := hex.EncodeToString(sum[:4])
	if name, ok := templates[key]; ok {
		return name, nil
	}
	name := "tpl_" + owner + "_" + key
	if err := locked(ctx, admin, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	url, err := withDatabase(admin, name)
	if err != nil {
		return "", err
	}
	if err := migrate(ctx, url); err != nil {
		return "", errors.Join(fmt.Errorf("migrate: %w", err), exec(ctx, admin, "DROP DATABASE "+name+" WITH (FORCE)"))
	}
	templates[key] = name
	return name, nil
}

// keep takes the lock on owner, and drops what dead processes left.
func keep(ctx context.Context, admin string) error {
	if keeper != nil {
		return nil
	}
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", lockOf(owner)); err != nil {
		return errors.Join(fmt.Errorf("lock: %w", err), conn.Close(ctx))
	}
	if err := sweep(ctx, conn); err != nil {
		return errors.Join(err, conn.Close(ctx))
	}
	keeper = conn
	return nil
}

// sweep drops the databases of processes that live no more, whose locks the
// server has let go.
func sweep(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, "SELECT datname FROM pg_database WHERE datname ~ '^(tpl|t)_[0-9a-f]{16}_'")
	if err != nil {
		return fmt.Errorf("list databases: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list databases: %w", err)
	}
	for _, name := range names {
		whose := strings.Split(name, "_")[1]
		if whose == owner {
			continue
		}
		var dead bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", lockOf(whose)).Scan(&dead); err != nil {
			return fmt.Errorf("try the lock of %s: %w", name, err)
		}
		if !dead {
			continue
		}
		_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		if _, uerr := conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", lockOf(whose)); err != nil || uerr != nil {
			return errors.Join(err, uerr)
		}
	}
	return nil
}

// lockOf is the advisory lock of an owner: its 8 bytes as a number.
func lockOf(owner string) int64 {
	raw, err := hex.DecodeString(owner)
	if err != nil || len(raw) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(raw)) //nolint:gosec // any 64 bits will do
}

// locked runs a statement that copies a database; two at once on one template
// would refuse each other.
func locked(ctx context.Context, url, sql string) error {
	return with(ctx, url, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", createKey); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		_, err := conn.Exec(ctx, sql)
		return err // closing the connection frees the lock
	})
}

func exec(ctx context.Context, url, sql string) error {
	return with(ctx, url, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
}

func with(ctx context.Context, url string, do func(conn *pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // nothing is left to lose
	return do(conn)
}

// withDatabase is url with another database.
func withDatabase(url, name string) (string, error) {
	head, query, _ := strings.Cut(url, "?")
	slash := strings.LastIndex(head, "/")
	if slash < len("postgres://") {
		return "", fmt.Errorf("MANAS_TEST_PG %q is not of the form postgres://user@host/database?…", head)
	}
	out := head[:slash+1] + name
	if query != "" {
		out += "?" + query
	}
	return out, nil
}
