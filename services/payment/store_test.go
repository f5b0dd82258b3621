package payment

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	param  = regexp.MustCompile(`@[a-z_]+`)
	leader = regexp.MustCompile(`^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b`)
)

// statements collects the string constants that are SQL, concatenations folded.
func statements(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	consts := map[string]ast.Expr{}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "store") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
				consts[v.Names[0].Name] = v.Values[0]
			}
			return true
		})
	}
	var fold func(e ast.Expr) string
	fold = func(e ast.Expr) string {
		switch e := e.(type) {
		case *ast.BasicLit:
			if e.Kind == token.STRING {
				return constant.StringVal(constant.MakeFromLiteral(e.Value, e.Kind, 0))
			}
		case *ast.BinaryExpr:
			return fold(e.X) + fold(e.Y)
		case *ast.Ident:
			if v, ok := consts[e.Name]; ok {
				return fold(v)
			}
		}
		return ""
	}
	out := map[string]string{}
	for name, e := range consts {
		if sql := fold(e); leader.MatchString(sql) {
			out[name] = sql
		}
	}
	return out
}

func TestQueriesPrepare(t *testing.T) {
	r := newRig(t)
	all := statements(t)
	if len(all) < 25 {
		t.Fatalf("found %d statements, which is too few", len(all))
	}
	conn, err := r.db.Pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for name, sql := range all {
		seen := map[string]int{}
		numbered := param.ReplaceAllStringFunc(sql, func(p string) string {
			if seen[p] == 0 {
				seen[p] = len(seen) + 1
			}
			return fmt.Sprintf("$%d", seen[p])
		})
		if _, err := conn.Conn().Prepare(t.Context(), name, numbered); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDatabaseKeepsTheBooks writes past the code: the database itself must refuse.
func TestDatabaseKeepsTheBooks(t *testing.T) {
	r := newRig(t)
	p := r.open(someOrder())
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	if _, err := r.sync(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	journal := func(ref string, amounts ...int64) []string {
		u := uuid.New().String()
		out := []string{`INSERT INTO payment.journal (id, ref, kind, payment_id, occurred_at, posted_at) VALUES ('` + u + `', '` + ref + `', 'test', '` + p.ID.String() + `', now(), now())`}
		for i, a := range amounts {
			out = append(out, fmt.Sprintf(`INSERT INTO payment.posting (journal_id, seq, account, amount_minor, currency) VALUES ('%s', %d, 'bank', %d, 'INR')`, u, i+1, a))
		}
		return out
	}
	var first uuid.UUID
	if err := r.db.Pool.QueryRow(t.Context(), `SELECT id FROM payment.journal`).Scan(&first); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		sql  []string
		want string // code, empty for success
	}{
		{"balanced", journal("a", 5, -5), ""},
		{"unbalanced", journal("b", 5, -4), "23514"},
		{"one leg", journal("c", 5), "23514"},
		{"no legs", journal("d"), "23514"},
		{"two currencies", append(journal("e", 5), strings.Replace(journal("x", 1, -5)[2], "'INR'", "'USD'", 1)), "23503"}, // another journal's id
		{"a line of nothing", journal("f", 0, 0), "23514"},
		{"the same thing twice", journal("capture:"+p.MerchantOrderID, 5, -5), "23505"},
		{"one more line", []string{fmt.Sprintf(`INSERT INTO payment.posting VALUES ('%s', 9, 'bank', 1, 'INR')`, first)}, "23514"},
		{"an unknown account", []string{fmt.Sprintf(`INSERT INTO payment.posting VALUES ('%s', 9, 'pocket', 1, 'INR')`, first)}, "23503"},
		{"changed", []string{`UPDATE payment.posting SET amount_minor = 2 * amount_minor`}, "23001"},
		{"deleted", []string{`DELETE FROM payment.posting`}, "23001"},
		{"emptied", []string{`TRUNCATE payment.posting`}, "23001"},
		{"renamed", []string{`UPDATE payment.journal SET ref = 'x'`}, "23001"},
		{"too much given back", []string{`UPDATE payment.payment SET refunded_minor = captured_minor + 1`}, "23514"},
		{"too much taken", []string{`UPDATE payment.payment SET captured_minor = amount_minor + 1`}, "23514"},
		{"paid without money", []string{`UPDATE payment.payment SET captured_minor = 0`}, "23514"},
		{"two orders open", []string{
			`INSERT INTO payment.attempt (payment_id, no, merchant_order_id, state, created_at, updated_at) VALUES ('` + p.ID.String() + `', 8, 'PA-8', 'unknown', now(), now()), ('` + p.ID.String() + `', 9, 'PA-9', 'prepared', now(), now())`,
		}, "23505"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := r.db.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
				for _, sql := range tt.sql {
					if _, err := tx.Exec(ctx, sql); err != nil {
						return err
					}
				}
				return nil
			})
			var pe *pgconn.PgError
			got := ""
			if errors.As(err, &pe) {
				got = pe.Code
			}
			if got != tt.want || err != nil && got == "" {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
