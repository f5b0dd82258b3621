package boot

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/manas360/platform/pkg/config"
)

type settings struct {
	Base
	Secret string `env:"SECRET,required" secret:"true" desc:"a secret"`
}

// journal collects what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// machine is a world whose log can be waited for.
type machine struct {
	world
	signals chan os.Signal
	exited  chan int
	logs    chan map[string]any
	stderr  *bytes.Buffer
}

func newMachine(t *testing.T, environ ...string) *machine {
	t.Helper()
	r, w := io.Pipe()
	m := &machine{
		signals: make(chan os.Signal, 2), exited: make(chan int, 1),
		logs: make(chan map[string]any, 1000), stderr: &bytes.Buffer{},
	}
	go func() {
		defer close(m.logs)
		for s := bufio.NewScanner(r); s.Scan(); {
			line := map[string]any{}
			if err := json.Unmarshal(s.Bytes(), &line); err == nil {
				m.logs <- line
			}
		}
	}()
	t.Cleanup(func() { _ = w.Close() })
	m.world = world{
		environ: append([]string{"SECRET=x", "NODE_ENV=test", "DRAIN_DELAY=10ms"}, environ...),
		stdout:  w, stderr: m.stderr, signals: m.signals, now: time.Now,
		exit: func(code int) { m.exited <- code },
	}
	return m
}

// address waits for the server to say where it listens.
func (m *machine) address(t *testing.T, server string) string {
	t.Helper()
	for line := range m.logs {
		if line["server"] == server && line["message"] == "serving" {
			addr, _ := line["addr"].(string)
			return addr
		}
	}
	t.Fatalf("no server %s", server)
	return ""
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestConfiguration(t *testing.T) {
	never := func(context.Context, *Process, settings) error {
		t.Error("ran")
		return nil
	}
	var out bytes.Buffer
	if code := start("demo", world{args: []string{"-config"}, stdout: &out}, never); code != 0 {
		t.Errorf("-config: got exit %d", code)
	}
	for _, want := range []string{"SECRET", "GRPC_ADDR", "a secret"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("-config lacks %s:\n%s", want, out.String())
		}
	}
	var stderr bytes.Buffer
	code := start("demo", world{environ: []string{"NODE_ENV=prod", "LOG_LEVEL=loud", "SECRET=x"}, stdout: io.Discard, stderr: &stderr}, never)
	want := "demo: NODE_ENV: \"prod\" is not development, test or production\ndemo: LOG_LEVEL: \"loud\" is not a level\n"
	if code != 2 || stderr.String() != want {
		t.Errorf("bad configuration: got exit %d and\n%s", code, stderr.String())
	}
	stderr.Reset()
	if code := start("demo", world{args: []string{"-x"}, stderr: &stderr}, never); code != 2 || stderr.Len() == 0 {
		t.Errorf("unknown argument: got exit %d", code)
	}
	m := newMachine(t)
	late := start("demo", m.world, func(context.Context, *Process, settings) error {
		return errors.Join(errors.New("x"), &config.Error{Problems: []string{"TLS_CA_FILE: bad"}})
	})
	if late != 2 || m.stderr.String() != "demo: TLS_CA_FILE: bad\n" {
		t.Errorf("late configuration error: got exit %d, %q", late, m.stderr.String())
	}
}

func TestFailedStartStopsWhatWasStarted(t *testing.T) {
	m := newMachine(t)
	var j journal
	code := start("demo", m.world, func(ctx context.Context, p *Process, _ settings) error {
		p.OnStop("db", func(context.Context) error { j.add("db closed"); return nil })
		p.Go("relay", func(ctx context.Context) error { <-ctx.Done(); j.add("relay ended"); return ctx.Err() })
		return errors.New("no such thing")
	})
	if code != 1 {
		t.Errorf("exit: got %d, want 1", code)
	}
	if diff := cmp.Diff([]string{"relay ended", "db closed"}, j.lines); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestDrainHTTP(t *testing.T) {
	m := newMachine(t, "OPS_ADDR=127.0.0.1:0", "DRAIN_DELAY=300ms")
	var j journal
	arrived, release := make(chan struct{}), make(chan struct{})
	var up atomic.Bool
	code := make(chan int, 1)
	go func() {
		code <- start("demo", m.world, func(ctx context.Context, p *Process, _ settings) error {
			p.Check("postgres", func(context.Context) error {
				if !up.Load() {
					return errors.New("down")
				}
				return nil
			})
			p.OnStop("postgres", func(context.Context) error { j.add("postgres closed"); return nil })
			p.OnStop("redis", func(context.Context) error { j.add("redis closed"); return nil })
			p.Go("relay", func(ctx context.Context) error { <-ctx.Done(); j.add("relay ended"); return nil })
			return p.ServeHTTP(ctx, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				<-release
				if r.Context().Err() != nil {
					j.add("request cut")
				}
				j.add("request done")
			}))
		})
	}()
	ops := "http://" + m.address(t, "ops")
	public := "http://" + m.address(t, "http")
	if status, body := get(t, ops+"/readyz"); status != 503 || body != `{"failing":["postgres"],"status":"unready"}` {
		t.Errorf("readyz with postgres down: got %d %s", status, body)
	}
	if status, _ := get(t, ops+"/livez"); status != 200 {
		t.Errorf("livez: got %d", status)
	}
	if status, body := get(t, ops+"/metrics"); status != 200 || !strings.Contains(body, "go_goroutines") {
		t.Errorf("metrics: got %d", status)
	}
	up.Store(true)
	answered := make(chan int, 1)
	go func() {
		status, _ := get(t, public)
		answered <- status
	}()
	<-arrived
	m.signals <- syscall.SIGTERM
	for {
		status, body := get(t, ops+"/readyz")
		if status == 503 && strings.Contains(body, "draining") {
			break
		}
	}
	close(release)
	if got := <-answered; got != 200 {
		t.Errorf("request in flight: got %d, want 200", got)
	}
	if got := <-code; got != 0 {
		t.Errorf("exit: got %d, want 0", got)
	}
	want := []string{"request done", "relay ended", "redis closed", "postgres closed"}
	if diff := cmp.Diff(want, j.lines); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestServeGRPC(t *testing.T) {
	m := newMachine(t, "GRPC_ADDR=127.0.0.1:0")
	code := make(chan int, 1)
	go func() {
		code <- start("demo", m.world, func(ctx context.Context, p *Process, _ settings) error {
			s := grpc.NewServer()
			healthpb.RegisterHealthServer(s, p.Health)
			return p.ServeGRPC(ctx, s)
		})
	}()
	conn, err := grpc.NewClient(m.address(t, "grpc"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	waitFor := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for {
			got, err := watch.Recv()
			if err != nil {
				t.Fatalf("watch: %v", err)
			}
			if got.GetStatus() == want {
				return
			}
		}
	}
	waitFor(healthpb.HealthCheckResponse_SERVING)
	m.signals <- syscall.SIGTERM
	waitFor(healthpb.HealthCheckResponse_NOT_SERVING)
	_ = conn.Close() // a Watch never ends by itself
	if got := <-code; got != 0 {
		t.Errorf("exit: got %d, want 0", got)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	m := newMachine(t)
	release := make(chan struct{})
	code := make(chan int, 1)
	go func() {
		code <- start("demo", m.world, func(ctx context.Context, _ *Process, _ settings) error {
			<-ctx.Done()
			m.signals <- os.Interrupt
			<-release
			return nil
		})
	}()
	m.signals <- syscall.SIGTERM
	if got := <-m.exited; got != 1 {
		t.Errorf("exit: got %d, want 1", got)
	}
	close(release)
	<-code
}
