package chaos_test

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// cluster is a PostgreSQL of the test's own, with fsync on: it is killed too, and
// must not lie about what it has committed.
type cluster struct {
	t      *testing.T
	bin    string
	dir    string
	sock   string
	log    *os.File
	server *exec.Cmd
	gone   chan struct{} // closed when server has ended
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: filepath.Join(t.TempDir(), "pg")}
	c.bin = binaries(t)
	sock, err := os.MkdirTemp("/tmp", "manas-chaos-") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	c.sock = sock
	if c.log, err = os.Create(filepath.Join(t.TempDir(), "pg.log")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(c.bin, "initdb"), "-D", c.dir, "-U", "postgres", "-E", "UTF8", "--locale=C", "--auth=trust", "--no-instructions")
	cmd.SysProcAttr = asNobodySpecial()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if c.server != nil {
			c.stop(syscall.SIGQUIT)
		}
		_ = os.RemoveAll(sock)
	})
	c.start()
	return c
}

// binaries finds PostgreSQL as `make up` does.
func binaries(t *testing.T) string {
	t.Helper()
	var dirs []string
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well formed
	slices.Reverse(found)
	for _, dir := range append(dirs, found...) {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir
		}
	}
	const missing = "no PostgreSQL binaries to start a server of the test's own"
	if os.Getenv("MANAS_TEST_REQUIRE") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

func (c *cluster) url() string {
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/postgres", RawQuery: url.Values{"host": {c.sock}}.Encode()}
	return u.String()
}

// start waits until the server has recovered and answers. What a killed one left
// running holds the data for a while.
func (c *cluster) start() {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		c.server = exec.Command(filepath.Join(c.bin, "postgres"), "-D", c.dir, "-k", c.sock, "-c", "listen_addresses=", "-c", "fsync=on",
			"-c", "synchronous_commit=on", "-c", "shared_buffers=32MB", "-c", "max_connections=60")
		c.server.SysProcAttr, c.server.Stdout, c.server.Stderr = asNobodySpecial(), c.log, c.log
		if err := c.server.Start(); err != nil {
			c.t.Fatal(err)
		}
		server, gone := c.server, make(chan struct{})
		c.gone = gone
		go func() { _ = server.Wait(); close(gone) }() // how it ended does not matter here
		if c.answers(gone, deadline) {
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(c.log.Name())
			c.t.Fatalf("postgres does not start:\n%s", said[max(0, len(said)-4000):])
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (c *cluster) answers(gone <-chan struct{}, deadline time.Time) bool {
	for time.Now().Before(deadline) {
		select {
		case <-gone:
			return false
		case <-time.After(20 * time.Millisecond):
		}
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		conn, err := pgx.Connect(ctx, c.url())
		if err == nil {
			_ = conn.Close(ctx)
		}
		cancel()
		if err == nil {
			return true
		}
	}
	return false
}

// stop ends the server without a shutdown: SIGKILL ends the postmaster alone and
// leaves its children to notice, SIGQUIT is pg_ctl's immediate mode.
func (c *cluster) stop(how syscall.Signal) {
	_ = c.server.Process.Signal(how) // it may have gone
	<-c.gone
	c.server = nil
}

// dump copies a database into another one of another cluster, as a restored
// backup would be.
func dump(t *testing.T, from, to *cluster) {
	t.Helper()
	var script bytes.Buffer
	out := exec.Command(filepath.Join(from.bin, "pg_dump"), "--dbname", from.url())
	out.Stdout, out.Stderr = &script, os.Stderr
	if err := out.Run(); err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	in := exec.Command(filepath.Join(to.bin, "psql"), "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--dbname", to.url())
	in.Stdin = &script
	if said, err := in.CombinedOutput(); err != nil {
		t.Fatalf("psql: %v\n%s", err, fmt.Sprintf("%.2000s", said))
	}
}
