package chaos_test

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/dev/stack"
	"github.com/manas360/platform/pkg/pg"
)

const (
	cyclesVar   = "MANAS_CHAOS_CYCLES" // 500 by `make chaos`
	seedVar     = "MANAS_CHAOS_SEED"
	shortCycles = 16
)

// number reads an environment variable.
func number(t *testing.T, name string, fallback uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return fallback
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// audit_admin_ops.md, section 5: who pays, the relay, audit and PostgreSQL
// are killed in a loop. In the end every committed act is in the log once, nothing
// else is, each key's in their order, and the places are 1 to n.
func TestTrailSurvives(t *testing.T) {
	runtime.LockOSThread() // the kernel kills the children when this thread ends
	cycles := int(number(t, cyclesVar, shortCycles))
	seed := number(t, seedVar, uint64(time.Now().UnixNano()))
	t.Logf("seed %d, %d cycles", seed, cycles)
	random := rand.New(rand.NewPCG(seed, 0))
	cluster := newCluster(t)
	if err := migrateTrail(t.Context(), cluster.url()); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := stack.FreePorts(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	p := &troupe{t: t, self: self, dir: t.TempDir(), cmds: map[string]*exec.Cmd{}, env: append(os.Environ(),
		databaseVar+"="+cluster.url(), addressVar+"=127.0.0.1:"+strconv.Itoa(ports[0]))}
	t.Cleanup(func() {
		for role := range p.cmds {
			p.kill(role)
		}
	})
	roles := []string{"payer", "carrier", "audit", "postgres"}
	for _, r := range roles[:3] {
		p.start(r)
	}
	died, began := map[string]int{}, time.Now()
	for range cycles {
		if err := pause(t.Context(), time.Duration(100+random.IntN(500))*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		random.Shuffle(len(roles), func(i, j int) { roles[i], roles[j] = roles[j], roles[i] })
		victims := roles[:1+random.IntN(4)/3] // now and then two at once
		for _, r := range victims {
			died[r]++
			if r == "postgres" {
				cluster.stop([]syscall.Signal{syscall.SIGKILL, syscall.SIGQUIT}[random.IntN(2)])
				continue
			}
			p.kill(r)
		}
		for _, r := range victims {
			if r == "postgres" {
				cluster.start()
				continue
			}
			p.start(r)
		}
	}
	p.kill("payer")
	died["payer"]++
	t.Logf("killed %v in %.0f s", died, time.Since(began).Seconds())
	db, err := pg.Open(t.Context(), pg.Config{URL: cluster.url(), Max: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	settle(t, db)
	verifyTrail(t, db, 20*cycles)
}

func verifyTrail(t *testing.T, db *pg.DB, least int) {
	t.Helper()
	count := func(what, query string) (n int) {
		t.Helper()
		if err := db.Pool.QueryRow(t.Context(), query).Scan(&n); err != nil {
			t.Fatalf("count %s: %v", what, err)
		}
		return n
	}
	committed := count("rows", `SELECT count(*) FROM producer.row`)
	recorded := count("events", `SELECT count(*) FROM audit.event`)
	t.Logf("%d acts committed, %d recorded", committed, recorded)
	if committed < least || recorded != committed {
		t.Errorf("%d acts, %d events; want the same, and at least %d to mean something", committed, recorded, least)
	}
	for what, query := range map[string]string{
		"lost":     `SELECT count(*) FROM (SELECT key || '.' || value FROM producer.row EXCEPT SELECT target_id FROM audit.event_target) AS x`,
		"invented": `SELECT count(*) FROM (SELECT target_id FROM audit.event_target EXCEPT SELECT key || '.' || value FROM producer.row) AS x`,
		"doubled":  `SELECT count(*) FROM (SELECT FROM audit.event_target GROUP BY target_id HAVING count(*) > 1) AS x`,
		"out of order": `
SELECT count(*) FROM (SELECT split_part(target_id, '.', 2)::bigint AS value, row_number() OVER (PARTITION BY split_part(target_id, '.', 1) ORDER BY seq) AS place
                        FROM audit.event_target) AS x WHERE value <> place`,
		"refused":         `SELECT count(*) FROM producer.outbox_dead`,
		"without a place": `SELECT abs((SELECT count(DISTINCT seq) FROM audit.event) - (SELECT coalesce(max(seq), 0) FROM audit.event))`,
		"beside the head": `SELECT abs((SELECT size FROM audit.log_head) - (SELECT count(*) FROM audit.event))`,
	} {
		if n := count(what, query); n != 0 {
			t.Errorf("%d events %s", n, what)
		}
	}
}

// audit_admin_ops.md A-8: a backup, restored into a cluster with other transaction
// ids and an older outbox than audit's log, goes on: nothing is stuck, and what
// audit had already counts once.
func TestRestoredDumpGoesOn(t *testing.T) {
	runtime.LockOSThread()
	first, second := newCluster(t), newCluster(t)
	if err := migrateTrail(t.Context(), first.url()); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := stack.FreePorts(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	troupeOn := func(c *cluster) *troupe {
		return &troupe{t: t, self: self, dir: t.TempDir(), cmds: map[string]*exec.Cmd{}, env: append(os.Environ(),
			databaseVar+"="+c.url(), addressVar+"=127.0.0.1:"+strconv.Itoa(ports[0]))}
	}
	wait := func(db *pg.DB, query string, least int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), catchingUp)
		defer cancel()
		for n := 0; n < least; {
			if err := db.Pool.QueryRow(ctx, query).Scan(&n); err != nil {
				t.Fatalf("%s: %v", query, err)
			}
		}
	}
	open := func(c *cluster) *pg.DB {
		t.Helper()
		db, err := pg.Open(t.Context(), pg.Config{URL: c.url(), Max: 2})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		return db
	}
	p, db := troupeOn(first), open(first)
	for _, r := range []string{"payer", "carrier", "audit"} {
		p.start(r)
	}
	wait(db, `SELECT count(*) FROM audit.event`, 300)
	p.kill("carrier") // events wait in the dump
	wait(db, `SELECT count(*) FROM producer.outbox`, 50)
	p.kill("payer")
	p.kill("audit")
	// Some that audit has stand in the outbox as well: their deletion is not in the backup.
	if _, err := db.Pool.Exec(t.Context(), `
INSERT INTO producer.outbox (event_id, destination, type, key, payload, occurred_at, next_attempt_at)
SELECT event_id, 'audit', 'manas.audit.v1.Event', 'old', '\x0a00', occurred_at, now() FROM audit.event ORDER BY seq LIMIT 40`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Pool.Exec(t.Context(), `
UPDATE producer.outbox o SET payload = e.canonical FROM audit.event e WHERE o.event_id = e.event_id`); err != nil {
		t.Fatal(err)
	}
	dump(t, first, second)
	q, restored := troupeOn(second), open(second)
	for _, r := range []string{"payer", "carrier", "audit"} {
		q.start(r)
	}
	wait(restored, `SELECT count(*) FROM audit.event`, 600)
	for _, r := range []string{"payer"} {
		q.kill(r)
	}
	settle(t, restored)
	q.kill("carrier")
	q.kill("audit")
	verifyTrail(t, restored, 300)
}
