package stack

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain plays the processes of the suite when it is started under their names, and the daemon under `up`.
func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	switch {
	case name == "sandbox" || name == "auditwitness" || name == "gatewayd" || strings.HasSuffix(name, "d") && contains(Services, strings.TrimSuffix(name, "d")):
		os.Exit(play(name))
	case len(os.Args) > 1 && os.Args[1] == "miniredis":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := Miniredis(ctx, os.Args[3]); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	case len(os.Args) > 1 && os.Args[1] == "up":
		os.Exit(daemon())
	}
	os.Exit(m.Run())
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

// play answers 200 on every port the process would have, until it is asked to end.
func play(name string) int {
	// Before anyone can see it running: a signal that comes sooner would just kill it.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var addrs []string
	if a := os.Getenv("OPS_ADDR"); a != "" {
		addrs = append(addrs, a)
	}
	if name == "gatewayd" && os.Getenv("LOG_LEVEL") != "broken" { // as the real one, not ready without audit
		addrs = append(addrs, "127.0.0.1:"+os.Getenv("PORT"))
	}
	if name == "sandbox" {
		addrs = append(addrs, "127.0.0.1:"+os.Getenv("SANDBOX_PORT"))
	}
	if name == "auditd" && os.Getenv("LOG_LEVEL") == "broken" {
		fmt.Fprintln(os.Stderr, "auditd: the disk is full")
		return 3
	}
	_, _ = fmt.Fprintln(os.Stdout, "open")
	failed := make(chan error, len(addrs))
	for _, a := range addrs {
		srv := &http.Server{Addr: a, ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
		go func() { failed <- srv.ListenAndServe() }()
	}
	select {
	case err := <-failed:
		fmt.Fprintln(os.Stderr, err)
		return 1
	case <-ctx.Done():
		return 0
	}
}

func newTestStack(out io.Writer) (*Stack, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if d := os.Getenv("TEST_ROOT"); d != "" {
		dir = d
	}
	c, err := Read(os.Getenv, dir)
	if err != nil {
		return nil, err
	}
	c.NoBuild = true
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return &Stack{
		Config: c, Now: time.Now, Rand: rand.Reader, Out: out, Self: self,
		Hooks: Hooks{
			Migrate: func(ctx context.Context, adminURL string, _ map[string]string) error {
				return ask(ctx, adminURL, "SELECT 1")
			},
			Seed: func(context.Context, string, string, string, []Account) error { return nil },
		},
	}, nil
}

func daemon() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s, err := newTestStack(os.Stdout)
	if err == nil {
		err = s.Daemon(ctx)
	}
	if err != nil {
		return 1
	}
	return 0
}

// suite is a repository whose programs are this test, under their names.
func suite(t *testing.T, env ...string) *Stack {
	t.Helper()
	root := repository(t)
	if err := os.Mkdir(filepath.Join(root, ".bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append([]string{"gateway", "sandbox", "witness"}, Services...) {
		if err := os.Symlink(self, filepath.Join(root, ".bin", program(name))); err != nil {
			t.Fatal(err)
		}
	}
	ports, err := FreePorts(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_ROOT", root)
	for _, kv := range append([]string{
		"PORT=" + strconv.Itoa(ports[0]), "SANDBOX_PORT=" + strconv.Itoa(ports[1]), "DATABASE_URL=", "REDIS_HOST=", "MANAS_DATA_DIR=",
	}, env...) {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	s, err := newTestStack(&buffer{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// buffer may be written and read at the same time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (s *Stack) pids(t *testing.T) map[string]int {
	t.Helper()
	raw, err := os.ReadFile(s.path("ports.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for name, part := range all {
		var e Endpoint
		if json.Unmarshal(part, &e) == nil && e.PID != 0 && name != "supervisor" {
			got[name] = e.PID
		}
	}
	return got
}

// gone waits until none of the processes lives.
func gone(t *testing.T, pids map[string]int) {
	t.Helper()
	err := poll(t.Context(), 20*time.Second, func(context.Context) error {
		for name, pid := range pids {
			if startOf(pid) != "" {
				return fmt.Errorf("%s (%d) lives", name, pid)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestUpAndDown(t *testing.T) {
	s := suite(t)
	out, ok := s.Out.(*buffer)
	if !ok {
		t.Fatal("no buffer")
	}
	ctx, cancel := context.WithCancel(t.Context())
	up, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Up(ctx, func() { close(up) }) }()
	select {
	case <-up:
	case err := <-ended:
		t.Fatalf("Up = %v\n%s", err, out)
	}
	for _, want := range []string{"ready in ", s.url() + "/api/v1", s.url() + "/docs", ".data/credentials.json", ".data/messages"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the banner lacks %s:\n%s", want, out)
		}
	}
	pids := s.pids(t)
	if len(pids) != len(Services)+5 {
		t.Errorf("ports.json has %v, want the services, gateway, sandbox, witness, postgres and redis", pids)
	}
	second, err := newTestStack(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Up(t.Context(), func() {}); err == nil || !strings.Contains(err.Error(), "runs already") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second Up = %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Up ended with %v", err)
	}
	gone(t, pids)
}

func TestPortInUseStartsNothing(t *testing.T) {
	s := suite(t)
	srv := &http.Server{Addr: "127.0.0.1:" + strconv.Itoa(s.SandboxPort), ReadHeaderTimeout: time.Second}
	go func() { _ = srv.ListenAndServe() }()
	t.Cleanup(func() { _ = srv.Close() })
	if err := waitPort(t.Context(), srv.Addr, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	err := s.Up(t.Context(), func() {})
	if err == nil || !strings.Contains(err.Error(), "SANDBOX_PORT") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Up = %v, want one line that names SANDBOX_PORT", err)
	}
	if _, err := os.Stat(s.path("pg")); err == nil {
		t.Error("PostgreSQL was started all the same")
	}
}

func TestOneDeathEndsAll(t *testing.T) {
	s := suite(t)
	up, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Up(t.Context(), func() { close(up) }) }()
	select {
	case <-up:
	case err := <-ended:
		t.Fatal(err)
	}
	pids := s.pids(t)
	if err := syscall.Kill(pids["payment"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "payment died: signal: killed: open") {
		t.Errorf("Up = %v, want the name and the last line of payment", err)
	}
	gone(t, pids)
}

func TestDeathDuringTheStartIsNamed(t *testing.T) {
	s := suite(t, "LOG_LEVEL=broken")
	err := s.Up(t.Context(), func() { t.Error("ready without audit") })
	if err == nil || !strings.Contains(err.Error(), "audit died: exit status 3: auditd: the disk is full") {
		t.Errorf("Up = %v", err)
	}
}

func TestDetachedStackSurvivesAndDies(t *testing.T) {
	s := suite(t)
	out, ok := s.Out.(*buffer)
	if !ok {
		t.Fatal("no buffer")
	}
	started := time.Now()
	if err := s.Detach(t.Context(), os.Environ()); err != nil {
		t.Fatalf("Detach = %v\n%s", err, out)
	}
	t.Logf("cold start %.1f s", time.Since(started).Seconds())
	if !strings.Contains(out.String(), "ready in ") {
		t.Errorf("no banner:\n%s", out)
	}
	if err := ready(t.Context(), s.Port); err != nil {
		t.Errorf("the stack did not outlive its starter: %v", err)
	}
	// Killed without a chance to clean up: nothing may be left, and the next start must work.
	pids := s.pids(t)
	p, alive, err := readPID(s.path("dev.pid"))
	if err != nil || !alive {
		t.Fatalf("dev.pid: %+v %t %v", p, alive, err)
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, pids)
	started = time.Now()
	if err := s.Detach(t.Context(), os.Environ()); err != nil {
		t.Fatalf("Detach after a crash = %v\n%s", err, out)
	}
	t.Logf("start after a crash %.1f s", time.Since(started).Seconds())
	pids = s.pids(t)
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone(t, pids)
	if _, err := os.Stat(s.path("dev.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("dev.pid after Down: %v", err)
	}
	if err := s.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(s.DataDir); err != nil || len(left) != 0 {
		t.Errorf("reset left %v, %v", left, err)
	}
}

func TestProblemsAreOneLine(t *testing.T) {
	s := suite(t, "DATABASE_URL=postgres://nobody@127.0.0.1:1/none")
	began := time.Now()
	err := s.Up(t.Context(), func() {})
	if err == nil || !strings.Contains(err.Error(), "DATABASE_URL") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Up = %v after %s", err, time.Since(began))
	}
}

func TestBuildFailureIsShown(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Fatal(err)
	}
	s := suite(t)
	s.NoBuild, s.Root = false, repository(t)
	if err := s.build(t.Context()); err == nil || !strings.Contains(err.Error(), "the build failed") {
		t.Errorf("build = %v", err)
	}
}
