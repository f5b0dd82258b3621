package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/deploy/dev/stack"
)

// What this program asks is not counted.
const sumCalls = `
SELECT coalesce(sum(s.calls), 0)::bigint
  FROM pg_stat_statements AS s JOIN pg_roles AS r ON r.oid = s.userid
 WHERE r.rolname <> 'postgres'`

// countStatements lets the stack's PostgreSQL count what it is asked.
func (s *stand) countStatements(ctx context.Context) error {
	if err := s.ask(ctx, `ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'`); err != nil {
		return err
	}
	if err := s.stack.StopPart(ctx, "postgres"); err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	if err := s.stack.StartPart(ctx, "postgres"); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	return s.ask(ctx, `CREATE EXTENSION IF NOT EXISTS pg_stat_statements`)
}

func (s *stand) ask(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, s.stack.AdminURL())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

func (s *stand) statements(ctx context.Context) (n int64, err error) {
	conn, err := pgx.Connect(ctx, s.stack.AdminURL())
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	err = conn.QueryRow(ctx, sumCalls).Scan(&n)
	return n, errors.Join(err, conn.Close(ctx))
}

// mallocs is how many objects the gateway and the services have made.
func (s *stand) mallocs(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	for _, name := range append([]string{"gateway"}, stack.Services...) {
		url := "http://127.0.0.1:" + strconv.Itoa(s.stack.Endpoint(name).Ops) + "/metrics"
		err := s.load.send(ctx, request{method: http.MethodGet, url: url, want: http.StatusOK, done: func(raw []byte, _ error) {
			for lines := bufio.NewScanner(strings.NewReader(string(raw))); lines.Scan(); {
				if v, ok := strings.CutPrefix(lines.Text(), "go_memstats_mallocs_total "); ok {
					f, _ := strconv.ParseFloat(v, 64) // zero would show
					out[name] = int64(f)
				}
			}
		}})
		if err != nil {
			return nil, fmt.Errorf("ask %s for its metrics: %w", name, err)
		}
	}
	return out, nil
}

// meter is everything that is counted, at one moment.
type meter struct {
	at         time.Time
	use        map[string]usage
	statements int64
	mallocs    map[string]int64
}

func (s *stand) read(ctx context.Context) (m meter, err error) {
	var err1, err2, err3 error
	m.use, err1 = usageOf(s.pids())
	m.statements, err2 = s.statements(ctx)
	m.mallocs, err3 = s.mallocs(ctx)
	m.at = s.Now()
	return m, errors.Join(err1, err2, err3)
}

// cost is what a load took, each request's share, with what the stack does while
// nobody asks anything taken off.
type cost struct {
	CPU        map[string]time.Duration
	Statements float64
	Mallocs    map[string]int64
}

// idle is what the stack does in a second on its own.
type idle struct {
	CPU, Mallocs map[string]float64
	Statements   float64
}

func rest(a, b meter) idle {
	d := b.at.Sub(a.at).Seconds()
	out := idle{CPU: map[string]float64{}, Mallocs: map[string]float64{}, Statements: float64(b.statements-a.statements) / d}
	for name := range b.use {
		out.CPU[name] = float64(b.use[name].CPU-a.use[name].CPU) / d
	}
	for name := range b.mallocs {
		out.Mallocs[name] = float64(b.mallocs[name]-a.mallocs[name]) / d
	}
	return out
}

func share(a, b meter, calm idle, requests int64) cost {
	d, n := b.at.Sub(a.at).Seconds(), float64(max(1, requests))
	out := cost{CPU: map[string]time.Duration{}, Mallocs: map[string]int64{}}
	out.Statements = (float64(b.statements-a.statements) - calm.Statements*d) / n
	for name := range b.use {
		out.CPU[name] = time.Duration((float64(b.use[name].CPU-a.use[name].CPU) - calm.CPU[name]*d) / n)
	}
	for name := range b.mallocs {
		out.Mallocs[name] = int64((float64(b.mallocs[name]-a.mallocs[name]) - calm.Mallocs[name]*d) / n)
	}
	return out
}

func (c cost) cpu() (sum time.Duration) {
	for _, d := range c.CPU {
		sum += d
	}
	return sum
}
