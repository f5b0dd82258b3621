// Package migrations holds every service's schema and brings it to a database.
//
// Migrations only expand: a release runs on the schema before it and after it.
// One that has landed is never edited.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // goose speaks database/sql
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

//go:embed auth/*.sql user/*.sql subscription/*.sql payment/*.sql audit/*.sql admin/*.sql
var files embed.FS

//go:embed bootstrap.sql
var bootstrapSQL string

// schemas maps a service to its schema. "user" is a reserved word in SQL.
var schemas = map[string]string{
	"auth": "auth", "user": "users", "subscription": "subscription", "payment": "payment", "audit": "audit", "admin": "admin",
}

// lockKey keeps two migrators of one database apart. It is held by a
// transaction, not by a session, so it works behind a transaction pooler.
const lockKey = 360_001

// Services lists the services that have a schema, sorted.
func Services() []string {
	out := make([]string, 0, len(schemas))
	for s := range schemas {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// Schema names the schema of a service, "" for an unknown one.
func Schema(service string) string { return schemas[service] }

// Role names the database role of a service.
func Role(service string) string { return "manas_" + service }

// For answers a function that brings a service's schema up to date at url,
// making the schema if it is missing. Safe to repeat and to run at once from
// several processes.
func For(service string) func(ctx context.Context, url string) error {
	return func(ctx context.Context, url string) error {
		_, err := Up(ctx, service, url)
		return err
	}
}

// Up applies what is missing and answers the versions it applied.
func Up(ctx context.Context, service, url string) ([]int64, error) {
	var done []int64
	err := locked(ctx, service, url, func(p *goose.Provider) error {
		results, err := p.Up(ctx)
		for _, r := range results {
			done = append(done, r.Source.Version)
		}
		return err
	})
	return done, err
}

// Down takes the whole schema of a service down again; for tests and for
// development, since it loses what the tables hold.
func Down(ctx context.Context, service, url string) error {
	return locked(ctx, service, url, func(p *goose.Provider) error {
		_, err := p.DownTo(ctx, 0)
		return err
	})
}

// State is one migration and whether it has been applied.
type State struct {
	Version int64
	Name    string
	Applied bool
}

// Status lists a service's migrations in order.
func Status(ctx context.Context, service, url string) ([]State, error) {
	var out []State
	err := locked(ctx, service, url, func(p *goose.Provider) error {
		list, err := p.Status(ctx)
		for _, s := range list {
			out = append(out, State{Version: s.Source.Version, Name: s.Source.Path, Applied: s.State == goose.StateApplied})
		}
		return err
	})
	return out, err
}

// locked runs do with a provider while this process alone migrates the
// database.
func locked(ctx context.Context, service, url string, do func(p *goose.Provider) error) (err error) {
	schema, ok := schemas[service]
	if !ok {
		return fmt.Errorf("there is no service %q", service)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	guard, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin the lock: %w", err)
	}
	defer func() { _ = guard.Rollback(ctx) }() // it holds the lock and nothing else
	// A server's own limits must not let the lock go while a long migration runs,
	// nor end the wait for another migrator.
	const patient = "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0"
	if _, err := guard.Exec(ctx, patient); err != nil {
		return fmt.Errorf("lift the lock's limits: %w", err)
	}
	if _, err := guard.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lockKey); err != nil {
		return fmt.Errorf("take the lock: %w", err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+schema); err != nil {
		return fmt.Errorf("make schema %s: %w", schema, err)
	}
	store, err := database.NewStore(database.DialectPostgres, schema+".goose_version")
	if err != nil {
		return fmt.Errorf("name the version table: %w", err)
	}
	dir, err := fs.Sub(files, service)
	if err != nil {
		return fmt.Errorf("find the migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectCustom, db, dir, goose.WithStore(store))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	if err := do(p); err != nil {
		return fmt.Errorf("migrate %s: %w", service, err)
	}
	return nil
}

// Bootstrap makes the schemas and one role each, with rights on its own schema
// only, and sets the roles' passwords. adminURL is a superuser's, or a role's
// that may create roles and owns the database. Run it before migrating; safe
// to repeat.
func Bootstrap(ctx context.Context, adminURL string, passwords map[string]string) (err error) {
	conn, err := pgx.Connect(ctx, adminURL)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// Roles belong to the whole cluster: two stacks on one server must not
		// race, and neither must two starts of one.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lockKey); err != nil {
			return fmt.Errorf("take the lock: %w", err)
		}
		if _, err := tx.Exec(ctx, bootstrapSQL); err != nil {
			return fmt.Errorf("make schemas and roles: %w", err)
		}
		for _, service := range Services() {
			password, ok := passwords[service]
			if !ok {
				continue
			}
			var set string // utility statements take no parameters; format quotes as the server does
			if err := tx.QueryRow(ctx, "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", Role(service), password).Scan(&set); err != nil {
				return fmt.Errorf("quote a password: %w", err)
			}
			if _, err := tx.Exec(ctx, set); err != nil {
				return fmt.Errorf("set the password of %s: %w", Role(service), err)
			}
		}
		return nil
	})
}
