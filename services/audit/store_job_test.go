package audit

import (
	"log/slog" //nolint:depguard // River takes no other
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// TestRiverSchema compares our migration with River's own, so that a newer
// River cannot come in without the migration it needs.
func TestRiverSchema(t *testing.T) {
	s, _ := open(t)
	if _, err := s.db.Pool.Exec(t.Context(), `CREATE SCHEMA theirs`); err != nil {
		t.Fatal(err)
	}
	for schema, up := range map[string]bool{"theirs": true, "audit": false} {
		m, err := rivermigrate.New(riverpgxv5.New(s.db.Pool), &rivermigrate.Config{Schema: schema, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if up {
			if _, err := m.Migrate(t.Context(), rivermigrate.DirectionUp, nil); err != nil {
				t.Fatal(err)
			}
		}
		if v, err := m.Validate(t.Context(), nil); err != nil || !v.OK {
			t.Errorf("River asks %s for more migrations: %+v, %v", schema, v, err)
		}
	}
	if diff := cmp.Diff(riverShape(t, s, "theirs"), riverShape(t, s, "audit")); diff != "" {
		t.Errorf("schema (-River's +ours):\n%s", diff)
	}
}

// riverShape describes River's tables in a schema, the way ids are made apart.
func riverShape(t *testing.T, s *Service, schema string) []string {
	t.Helper()
	rows, err := s.db.Pool.Query(t.Context(), `
SELECT replace(replace(line, @schema || '.', ''), 'river_migration_pkey1', 'river_migration_pkey') FROM (
SELECT format('column %s.%s %s null=%s default=%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
              CASE WHEN a.attname = 'id' THEN 'made' ELSE pg_get_expr(d.adbin, d.adrelid) END) AS line
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = to_regnamespace(@schema) AND c.relkind = 'r' AND c.relname LIKE 'river%' AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT format('table %s %s', relname, relpersistence) FROM pg_class WHERE relnamespace = to_regnamespace(@schema) AND relkind = 'r' AND relname LIKE 'river%'
UNION ALL
SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname = @schema AND tablename LIKE 'river%'
UNION ALL
SELECT format('constraint %s %s %s', c.relname, k.conname, pg_get_constraintdef(k.oid))
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE c.relnamespace = to_regnamespace(@schema) AND c.relname LIKE 'river%' AND k.contype <> 'n'
UNION ALL
SELECT format('function %s %s %s', proname, provolatile, pg_get_function_arguments(oid)) FROM pg_proc WHERE pronamespace = to_regnamespace(@schema) AND proname LIKE 'river%'
UNION ALL
SELECT format('state %s', string_agg(enumlabel, ',' ORDER BY enumsortorder)) FROM pg_enum WHERE enumtypid = to_regtype(@schema || '.river_job_state')
) AS x ORDER BY 1`, pgx.NamedArgs{"schema": schema})
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}
