// Package e2e_test drives the real binaries through the public API, on a
// PostgreSQL and a Redis of their own, and takes parts of them away.
package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/dev/stack"
	"github.com/manas360/platform/deploy/internal/api"
	"github.com/manas360/platform/deploy/internal/local"
)

const (
	startLimit = 10 * time.Minute // the first build compiles the world
	stopLimit  = 2 * time.Minute
)

// suite is the one stack all tests share; set by TestMain.
var suite struct {
	*stack.Stack

	api      string // http://127.0.0.1:…/api/v1
	root     string // the same without the path
	creds    api.Credentials
	messages api.Messages
}

func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "miniredis" { // a child of the stack, on a machine without Redis
		os.Exit(miniredis(os.Args[3]))
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func miniredis(addr string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := stack.Miniredis(ctx, addr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func run(m *testing.M) (code int, err error) {
	// The programs are built in the workspace, whatever the test was built in.
	for name, value := range map[string]string{"GOWORK": "", "GOFLAGS": "-trimpath -buildvcs=false"} {
		if err := os.Setenv(name, value); err != nil {
			return 1, err
		}
	}
	dir, err := os.MkdirTemp("", "manas-e2e-") // short: sockets lie in it
	if err != nil {
		return 1, err
	}
	defer func() {
		if code != 0 {
			fmt.Fprintf(os.Stderr, "e2e: the logs are in %s/logs\n", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	out := &buffer{}
	s, err := newStack(dir, out)
	if err != nil {
		return 1, err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Up(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		return 1, fmt.Errorf("the stack did not start: %w\n%s", err, out)
	case <-time.After(startLimit):
		return 1, fmt.Errorf("the stack did not start within %v\n%s", startLimit, out)
	}
	suite.Stack, suite.messages = s, api.Messages(dir+"/messages")
	suite.root = "http://127.0.0.1:" + strconv.Itoa(s.Port)
	suite.api = suite.root + "/api/v1"
	if suite.creds, err = api.ReadCredentials(dir); err != nil {
		return 1, err
	}
	code = m.Run()
	cancel()
	select {
	case err = <-ended:
	case <-time.After(stopLimit):
		err = fmt.Errorf("the stack did not stop within %v\n%s", stopLimit, out)
	}
	return code, err
}

// newStack is `make up` with nothing from the outside but PATH.
func newStack(dir string, out *buffer) (*stack.Stack, error) {
	at, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	ports, err := stack.FreePorts(context.Background(), 2)
	if err != nil {
		return nil, err
	}
	env := map[string]string{
		"PORT": strconv.Itoa(ports[0]), "SANDBOX_PORT": strconv.Itoa(ports[1]), "MANAS_DATA_DIR": dir, "LOG_LEVEL": "info",
		"ALLOWED_ORIGINS": allowedOrigin,
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "MANAS_POSTGRES", "MANAS_REDIS"} {
		env[name] = os.Getenv(name)
	}
	c, err := stack.Read(func(name string) string { return env[name] }, at)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return &stack.Stack{Config: c, Hooks: local.Hooks(), Now: time.Now, Rand: rand.Reader, Out: out, Self: self, Tolerant: true}, nil
}

// buffer may be written and read at the same time.
type buffer struct {
	mu sync.Mutex // guards b
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
