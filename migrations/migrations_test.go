package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/manas360/platform/migrations"
)

// database makes an empty one on the test server. migrations imports nothing
// of ours, so it cannot use pkg/pgtest.
func database(t *testing.T) string {
	t.Helper()
	admin := os.Getenv("MANAS_TEST_PG")
	if admin == "" {
		if os.Getenv("MANAS_TEST_REQUIRE") == "1" {
			t.Fatal("MANAS_TEST_PG is not set; `make test` starts a PostgreSQL and sets it")
		}
		t.Skip("MANAS_TEST_PG is not set; `make test` starts a PostgreSQL and sets it")
	}
	name := fmt.Sprintf("m_%d_%d", os.Getpid(), time.Now().UnixNano())
	exec(t, admin, "CREATE DATABASE "+name)
	t.Cleanup(func() { exec(t, admin, "DROP DATABASE "+name+" WITH (FORCE)") })
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

func exec(t *testing.T, dsn, sql string) {
	t.Helper()
	if err := try(dsn, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func try(dsn, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// TestUpDownUp takes every schema up, down to nothing, and up again.
func TestUpDownUp(t *testing.T) {
	dsn := database(t)
	for _, s := range migrations.Services() {
		t.Run(s, func(t *testing.T) {
			first, err := migrations.Up(t.Context(), s, dsn)
			if err != nil || len(first) == 0 {
				t.Fatalf("up applied %v, %v", first, err)
			}
			if again, err := migrations.Up(t.Context(), s, dsn); err != nil || len(again) != 0 {
				t.Fatalf("a second up applied %v, %v; want nothing", again, err)
			}
			if err := migrations.Down(t.Context(), s, dsn); err != nil {
				t.Fatalf("down: %v", err)
			}
			left := tables(t, dsn, migrations.Schema(s))
			if len(left) != 1 || left[0] != "goose_version" {
				t.Errorf("after down there is %v, want the version table alone", left)
			}
			if second, err := migrations.Up(t.Context(), s, dsn); err != nil || len(second) != len(first) {
				t.Fatalf("up again applied %v, %v; want %v", second, err, first)
			}
		})
	}
}

func tables(t *testing.T, dsn, schema string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(t.Context(), `
SELECT c.relname FROM pg_class c
 WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
 ORDER BY 1`, schema)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRolesStayAtHome lets each role read its own schema and no neighbour's,
// and alter nothing.
func TestRolesStayAtHome(t *testing.T) {
	dsn := database(t)
	for range 2 { // as every start of a stack does
		if err := migrations.Bootstrap(t.Context(), dsn, nil); err != nil {
			t.Fatal(err)
		}
		for _, s := range migrations.Services() {
			if err := migrations.For(s)(t.Context(), dsn); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, s := range migrations.Services() {
		as := "SET ROLE " + migrations.Role(s) + "; "
		for _, other := range migrations.Services() {
			for _, table := range tables(t, dsn, migrations.Schema(other)) {
				if table == "goose_version" {
					continue
				}
				name := migrations.Schema(other) + "." + table
				err := try(dsn, as+"SELECT 1 FROM "+name+" LIMIT 1")
				if own := s == other; own && err != nil {
					t.Errorf("%s cannot read its own %s: %v", s, name, err)
				} else if !own && !refused(err) {
					t.Errorf("%s reads %s: %v, want a refusal", s, name, err)
				}
				if err := try(dsn, as+"DROP TABLE "+name); !refused(err) {
					t.Errorf("%s drops %s: %v, want a refusal", s, name, err)
				}
			}
		}
	}
	for _, sql := range []string{
		"UPDATE audit.event SET action = 'x'", "DELETE FROM audit.event", "DELETE FROM audit.event_target", "TRUNCATE audit.event",
		"DELETE FROM audit.log_head", "UPDATE audit.event_security SET action = 'x'",
	} {
		if err := try(dsn, "SET ROLE manas_audit; "+sql); !refused(err) {
			t.Errorf("audit may run %s: %v", sql, err)
		}
	}
}

// TestBooksOnlyGrow asks for what the payment service must never have, also
// after the grants were given again.
func TestBooksOnlyGrow(t *testing.T) {
	dsn := database(t)
	for range 2 {
		if err := migrations.Bootstrap(t.Context(), dsn, nil); err != nil {
			t.Fatal(err)
		}
		if err := migrations.For("payment")(t.Context(), dsn); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"journal", "posting", "journal_seal", "ledger_seal", "account", "payout_item", "split_rule"} {
			as := "SET ROLE manas_payment; "
			if err := try(dsn, as+"DELETE FROM payment."+table); !refused(err) {
				t.Errorf("payment deletes from %s: %v, want a refusal", table, err)
			}
			if err := try(dsn, as+"TRUNCATE payment."+table); !refused(err) {
				t.Errorf("payment empties %s: %v, want a refusal", table, err)
			}
			if err := try(dsn, as+"ALTER TABLE payment."+table+" DISABLE TRIGGER ALL"); !refused(err) {
				t.Errorf("payment takes the triggers of %s away: %v, want a refusal", table, err)
			}
		}
		for _, set := range []string{"journal SET kind = ''", "posting SET amount_minor = 1", "journal_seal SET seq = 1", "ledger_seal SET seq = 1"} {
			if err := try(dsn, "SET ROLE manas_payment; UPDATE payment."+set); !refused(err) {
				t.Errorf("payment updates %s: %v, want a refusal", set, err)
			}
		}
		if err := try(dsn, "SET ROLE manas_payment; DELETE FROM payment.journal_unsealed"); err != nil {
			t.Errorf("payment cannot take journals from the queue: %v", err)
		}
	}
}

// refused reports "insufficient privilege", or "not the owner", which is it too.
func refused(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && pe.Code == "42501"
}

// TestSignsIn connects as a service does, by its own role, and finds its own
// tables, its limits, and nobody else's door open.
func TestSignsIn(t *testing.T) {
	dsn := database(t)
	passwords := map[string]string{}
	for _, s := range migrations.Services() {
		passwords[s] = "of " + s + ", 'quoted'"
	}
	if err := migrations.Bootstrap(t.Context(), dsn, passwords); err != nil {
		t.Fatal(err)
	}
	for _, s := range migrations.Services() {
		if err := migrations.For(s)(t.Context(), dsn); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range migrations.Services() {
		c, err := pgx.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		c.User, c.Password = migrations.Role(s), passwords[s]
		conn, err := pgx.ConnectConfig(t.Context(), c)
		if err != nil {
			t.Fatalf("%s cannot sign in: %v", c.User, err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		var limits, who string
		err = conn.QueryRow(t.Context(), `
SELECT current_user,
       concat_ws(' ', current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'))`).Scan(&who, &limits)
		if err != nil || who != c.User || limits != "5s 2s 10s" {
			t.Errorf("%s has limits %q, %v; want 5s 2s 10s", who, limits, err)
		}
		for _, other := range migrations.Services() {
			_, err := conn.Exec(t.Context(), "SELECT 1 FROM "+migrations.Schema(other)+"."+first(t, dsn, other)+" LIMIT 1")
			if s == other && err != nil {
				t.Errorf("%s cannot read its own tables: %v", s, err)
			} else if s != other && !refused(err) {
				t.Errorf("%s reads tables of %s: %v, want a refusal", s, other, err)
			}
		}
		for _, sql := range []string{"CREATE TABLE public.x ()", "CREATE TABLE " + migrations.Schema(s) + ".x ()", "CREATE SCHEMA x"} {
			if _, err := conn.Exec(t.Context(), sql); !refused(err) {
				t.Errorf("%s runs %s: %v, want a refusal", s, sql, err)
			}
		}
	}
}

// first names a table of a service's own.
func first(t *testing.T, dsn, service string) string {
	t.Helper()
	for _, name := range tables(t, dsn, migrations.Schema(service)) {
		if name != "goose_version" {
			return name
		}
	}
	t.Fatalf("%s has no table", service)
	return ""
}

// TestPasswordsAreQuoted sets one that would break out of a statement.
func TestPasswordsAreQuoted(t *testing.T) {
	dsn := database(t)
	if err := migrations.Bootstrap(t.Context(), dsn, map[string]string{"auth": `it's "quoted"; DROP`}); err != nil {
		t.Fatal(err)
	}
}

// TestAtOnce starts four migrators of an empty database.
func TestAtOnce(t *testing.T) {
	dsn := database(t)
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() { errs <- migrations.For("user")(t.Context(), dsn) }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Errorf("up at once: %v", err)
		}
	}
}

// TestPortable keeps out what would tie a schema to one session or one engine.
func TestPortable(t *testing.T) {
	for _, s := range migrations.Services() {
		files, err := os.ReadDir(s)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d migrations, %v", s, len(files), err)
		}
		for _, f := range files {
			raw, err := os.ReadFile(s + "/" + f.Name())
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"SERIAL", "LISTEN ", "NOTIFY ", "pg_advisory_lock(", "CREATE TEMP"} {
				if strings.Contains(strings.ToUpper(string(raw)), strings.ToUpper(word)) {
					t.Errorf("%s/%s holds %q", s, f.Name(), word)
				}
			}
		}
	}
}
