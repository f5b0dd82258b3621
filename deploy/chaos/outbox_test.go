package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/dev/stack"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/pgtest"
)

const (
	murders    = 36
	leastWork  = 500              // rows; fewer would prove nothing
	aliveFor   = 900              // ms at most between two kills
	catchingUp = 60 * time.Second // for what is left in the end
)

// TestMain plays a process of the loop when it is started as one.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// troupe is the three processes, by role.
type troupe struct {
	t    *testing.T
	self string
	env  []string
	dir  string
	cmds map[string]*exec.Cmd
}

func (p *troupe) start(role string) {
	p.t.Helper()
	log, err := os.OpenFile(filepath.Join(p.dir, role+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(p.self)
	cmd.Env, cmd.Stderr, cmd.Stdout, cmd.SysProcAttr = append(p.env, roleVar+"="+role), log, log, dieWithTest()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	if err := log.Close(); err != nil { // the child has its own
		p.t.Fatal(err)
	}
	p.cmds[role] = cmd
}

// kill ends a process at whatever it does. One that has ended by itself has
// failed, and tells why.
func (p *troupe) kill(role string) {
	p.t.Helper()
	cmd := p.cmds[role]
	delete(p.cmds, role)
	_ = cmd.Process.Kill() // the state below tells
	err := cmd.Wait()
	if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !st.Signaled() || st.Signal() != syscall.SIGKILL {
		said, _ := os.ReadFile(filepath.Join(p.dir, role+".log"))
		p.t.Fatalf("%s ended by itself: %v\n%s", role, err, said)
	}
}

// TestNothingLostNothingDoubled kills the writer of events, their relay and
// their consumer with SIGKILL in a loop. In the end every committed row has
// arrived once, in the order of its key, and nothing that was undone has.
func TestNothingLostNothingDoubled(t *testing.T) {
	// The kernel kills the children when this thread ends, so it ends with the test.
	runtime.LockOSThread()
	url := pgtest.URL(t, "chaos", migrate)
	db, err := pg.Open(t.Context(), pg.Config{URL: url, Max: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := stack.FreePorts(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p := &troupe{t: t, self: self, dir: t.TempDir(), cmds: map[string]*exec.Cmd{}, env: append(os.Environ(),
		databaseVar+"="+url, addressVar+"=127.0.0.1:"+strconv.Itoa(ports[0]))}
	t.Cleanup(func() {
		for role := range p.cmds {
			p.kill(role)
		}
	})
	roles := []string{"producer", "relay", "consumer"}
	for _, r := range roles {
		p.start(r)
	}
	died := map[string]int{}
	for range murders {
		if err := pause(t.Context(), time.Duration(200+random.IntN(aliveFor-200))*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		random.Shuffle(len(roles), func(i, j int) { roles[i], roles[j] = roles[j], roles[i] })
		victims := roles[:1+random.IntN(4)/3] // now and then two at once
		for _, r := range victims {
			p.kill(r)
			died[r]++
		}
		for _, r := range victims {
			p.start(r)
		}
	}
	p.kill("producer")
	died["producer"]++
	settle(t, db)
	verify(t, db, died)
}

// settle waits until all events have gone; the last producer's transaction may
// still be ending.
func settle(t *testing.T, db *pg.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), catchingUp)
	defer cancel()
	for {
		var waiting, open int
		err := db.Pool.QueryRow(ctx, `
SELECT (SELECT count(*) FROM producer.outbox),
       (SELECT count(*) FROM pg_locks WHERE relation = 'producer.row'::regclass AND mode = 'RowExclusiveLock')`).Scan(&waiting, &open)
		if err != nil {
			t.Fatalf("%d events still wait: %v", waiting, err)
		}
		if waiting == 0 && open == 0 {
			return
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			t.Fatalf("%d events still wait after %v", waiting, catchingUp)
		}
	}
}

func verify(t *testing.T, db *pg.DB, died map[string]int) {
	t.Helper()
	count := func(what, query string) (n int) {
		t.Helper()
		if err := db.Pool.QueryRow(t.Context(), query).Scan(&n); err != nil {
			t.Fatalf("count %s: %v", what, err)
		}
		return n
	}
	committed := count("rows", `SELECT count(*) FROM producer.row`)
	applied := count("applied rows", `SELECT count(*) FROM consumer.applied`)
	t.Logf("killed %v; %d rows committed, %d applied", died, committed, applied)
	if committed < leastWork {
		t.Errorf("%d rows committed, want at least %d for the test to mean something", committed, leastWork)
	}
	if applied != committed {
		t.Errorf("%d rows applied, want the %d committed", applied, committed)
	}
	for what, query := range map[string]string{
		"lost":     `SELECT count(*) FROM (SELECT key, value FROM producer.row EXCEPT SELECT key, value FROM consumer.applied) AS x`,
		"invented": `SELECT count(*) FROM (SELECT key, value FROM consumer.applied EXCEPT SELECT key, value FROM producer.row) AS x`,
		"doubled":  `SELECT count(*) FROM (SELECT FROM consumer.applied GROUP BY key, value HAVING count(*) > 1) AS x`,
		"out of order": `
SELECT count(*) FROM (SELECT value, row_number() OVER (PARTITION BY key ORDER BY n) AS place FROM consumer.applied) AS x WHERE value <> place`,
		"refused": `SELECT count(*) FROM producer.outbox_dead`,
		"missing from the inbox": `
SELECT abs((SELECT count(*) FROM consumer.inbox) - (SELECT count(*) FROM consumer.applied))`,
	} {
		if n := count(what, query); n != 0 {
			t.Errorf("%d rows %s", n, what)
		}
	}
}
