package pgtest_test

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pgtest"
)

func migrate(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE TABLE n (v int)`)
	return errors.Join(err, conn.Close(ctx))
}

func TestEachHasItsOwn(t *testing.T) {
	a, b := pgtest.New(t, "own", migrate), pgtest.New(t, "own", migrate)
	if _, err := a.Pool.Exec(t.Context(), `INSERT INTO n VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	var rows int
	if err := b.Pool.QueryRow(t.Context(), `SELECT count(*) FROM n`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("the neighbour sees %d rows, %v; want none", rows, err)
	}
}

func TestDroppedAtTheEnd(t *testing.T) {
	var name string
	t.Run("inner", func(t *testing.T) {
		if err := pgtest.New(t, "own", migrate).Pool.QueryRow(t.Context(), `SELECT current_database()`).Scan(&name); err != nil {
			t.Fatal(err)
		}
	})
	db := pgtest.New(t, "own", migrate)
	if exists(t, db.Pool, name) {
		t.Errorf("%s is still there", name)
	}
}

// TestClearsUpAfterTheDead leaves a database as a killed process does, and one
// of a process that lives.
func TestClearsUpAfterTheDead(t *testing.T) {
	db := pgtest.New(t, "own", migrate) // skips without a server
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), os.Getenv("MANAS_TEST_PG"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	other, sweeper := connect(), connect()
	name := func() (owner, database string) {
		u := uuid.New()
		owner = hex.EncodeToString(u[8:])
		return owner, "tpl_" + owner + "_x"
	}
	_, dead := name()
	owner, alive := name()
	if _, err := other.Exec(t.Context(), "SELECT pg_advisory_lock($1)", pgtest.LockOf(owner)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{dead, alive} {
		if _, err := other.Exec(t.Context(), "CREATE DATABASE "+n); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = sweeper.Exec(context.Background(), "DROP DATABASE IF EXISTS "+n) })
	}
	if err := pgtest.Sweep(t.Context(), sweeper); err != nil {
		t.Fatal(err)
	}
	if exists(t, db.Pool, dead) {
		t.Error("a dead process's database is still there")
	}
	if !exists(t, db.Pool, alive) {
		t.Error("a living process's database is gone")
	}
}

func exists(t *testing.T, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, name string,
) bool {
	t.Helper()
	var there bool
	if err := db.QueryRow(t.Context(), `SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)`, name).Scan(&there); err != nil {
		t.Fatal(err)
	}
	return there
}
